"""Say what the gate answers to one request head, and for how long that may be believed.

A verdict is what the rules say of one request. It names what it depends on, and only what is
compared whenever it is recalled may be in a verdict that is remembered: not who the caller is, for
the same bytes can come from another connection, and not a proof, which is good once.

    depends on      is compared with
    GENERATION      the snapshot's number: a reload, other keys, another issuer make a new one
    TIME            the clock: `Place.valid_until`, or `Verdict.valid_until` beside the token
    REVOCATIONS     their generation, and their lease where others revoke as well

The judge's answer is a `Permit` or a `Refused`. Only with a permit can an upstream or a service be
asked: a refusal has another type.
"""

from dataclasses import dataclass, field
from enum import Flag, auto
from typing import Any

from gateway.enforce.challenge import Refusal
from gateway.enforce.location import NO_LOCATION, Location
from gateway.enforce.token_cache import Holder, VerifiedToken
from gateway.http1.request import BadRequest
from gateway.policy.model import Decision, Route
from gateway.reasons import Reason
from gateway.settings.model import Mode


class Depends(Flag):
    """What can make a verdict another one while the request's bytes are the same."""

    GENERATION = auto()
    """The snapshot: routes, grants, keys, issuer."""
    TIME = auto()
    REVOCATIONS = auto()
    CALLER = auto()
    """Who is at the other end of the connection: address, certificate."""
    PROOF = auto()
    """Something in the request that is good once."""


OF_SNAPSHOT = Depends.GENERATION
OF_TOKEN = Depends.GENERATION | Depends.TIME | Depends.REVOCATIONS
ANYTHING = OF_TOKEN | Depends.CALLER | Depends.PROOF
"""Of a verdict that does not say."""
COMPARED = OF_TOKEN
"""What a recalled verdict is compared with. One that depends on more is made anew each time."""


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What the rules say of one request."""

    decision: Decision
    verified: VerifiedToken | None = None
    permits: bool = False
    shadowed: bool = False
    """The route is in shadow mode: `decision` was recorded, not carried out."""
    valid_until: float | None = None
    """Epoch seconds from which it must be made anew for the same token; None = never."""
    holder: Holder | None = None
    """Whose token was refused before its claims counted; for the record alone."""
    depends: Depends = ANYTHING
    may_be_remembered: bool = field(init=False)
    """Comparing what `COMPARED` names suffices to believe it again."""
    words: tuple[str, str, str, str] = field(init=False)
    """For the record: client, audience, `allow`, `deny` or `shadow_deny`, and the reason."""

    def __post_init__(self) -> None:
        """Find once what is asked for with each request."""
        word = "shadow_deny" if self.shadowed else "allow" if self.permits else "deny"
        client = audience = ""
        if self.verified is not None:
            client, audience = self.verified.token.client_id, self.verified.token.audience
        elif self.holder is not None:
            client, audience = self.holder
        # Most depend on their token; a flag's `in` is a call, and this is done for each token that is new.
        object.__setattr__(self, "may_be_remembered", self.depends is OF_TOKEN or self.depends in COMPARED)
        object.__setattr__(self, "words", (client, audience, word, self.decision.word))


@dataclass(slots=True, eq=False)
class Permit:
    """The request may go on: to the location's upstream, or to the service that is there.

    Never changed, and not frozen: one is made for each head that is new, and that would take thrice as long.
    """

    location: Location
    query: bytes
    """With its question mark, or empty."""
    verdict: Verdict | None
    """None where a service says itself whom it refuses."""


@dataclass(frozen=True, slots=True, eq=False)
class Refused:
    """The request ends here."""

    refusal: Refusal
    location: Location = NO_LOCATION
    query: bytes = b""
    verdict: Verdict | None = None
    """None where it was refused before its token was looked at."""


@dataclass(slots=True, eq=False)
class Place:
    """Where one request head leads under one snapshot and on one kind of listener."""

    generation: int
    serves: int
    location: Location
    query: bytes
    """With its question mark, or empty."""
    problem: BadRequest | None = None
    """Set when the target leads nowhere because of its form."""
    permit: Permit | None = None
    """What `Enforcer.remember` was given; only `Enforcer.recall` may believe it."""
    valid_until: float = 0.0
    revocations: int = 0
    """The generation of the revocations it was made under."""
    opening: Any = None
    """A place for `gateway.proxy.relay` to keep how requests with that permit are opened."""


def make_verdict(
    decision: Decision,
    route: Route,
    verified: VerifiedToken | None = None,
    holder: Holder | None = None,
    depends: Depends = ANYTHING,
) -> Verdict:
    """Return what becomes of a decision on this route: in shadow mode most refusals are only recorded."""
    shadowed = not decision.permits and route.mode is Mode.SHADOW and decision.reason not in _NEVER_SHADOWED
    permits = decision.permits or shadowed
    holder = None if decision.permits else holder
    return Verdict(decision, verified, permits, shadowed, decision.valid_until, holder, depends)


_NEVER_SHADOWED = frozenset(
    {
        Reason.KEYS_UNAVAILABLE,
        Reason.INTERNAL,
        Reason.BAD_PATH,
        Reason.RATE_LIMITED,
        Reason.DUPLICATE_AUTHORIZATION,  # that is how the request is framed, not what its token says
    }
)
"""Shadow mode records what a token, scope, claim or client check would refuse, and nothing else."""
