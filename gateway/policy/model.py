"""Name the things a decision is made of: routes, grants, decisions.

Frozen data only. The reasons are `gateway.reasons`. How routes are found is
`gateway.policy.match`, how they are decided `gateway.policy.decide`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.policy.demands import Demands, prepare_demands
from gateway.reasons import PERMITTING, Reason
from gateway.settings.model import Access, Mode, RateLimitSettings, RequireSettings, RewriteSettings


@dataclass(frozen=True, slots=True)
class RouteLabel:
    """What a decision tells of its route.

    Not the route itself, which keeps decisions: the two would hold each other, and a
    configuration that was replaced would not be freed.
    """

    name: str
    realm: str
    """For the challenge: the one required audience, else the first by name, else empty."""


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One compiled rule of the gate. Compared and hashed by identity."""

    name: str
    upstream: str
    path: str
    """The template as written, e.g. `/a/{id}/**`."""
    host: str | None
    methods: frozenset[str] | None
    access: Access
    mode: Mode
    require: RequireSettings
    rewrite: RewriteSettings
    timeout_s: float | None
    allow_encoded_slash: bool
    """Also where only `opaque_slash` is written."""
    allow_parameters: bool
    upgrade: frozenset[str]
    """Lower-case names of the protocols that may be switched to."""
    realm: str
    """For the challenge: the one required audience, else the first by name, else empty."""
    rate_limit: RateLimitSettings | None = None
    allow_opaque_slash: bool = False
    """The service behind never decodes `%2F`."""
    demands: Demands = field(init=False, repr=False)
    """What `require` says, ready to be compared and explained."""
    label: RouteLabel = field(init=False, repr=False)
    ok: "Decision" = field(init=False, repr=False)
    public: "Decision" = field(init=False, repr=False)
    anonymous: "Decision" = field(init=False, repr=False)
    no_token: "Decision" = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Prepare what is required, and the decisions that never vary: permitting allocates nothing."""
        object.__setattr__(self, "demands", prepare_demands(self.require))
        label = RouteLabel(self.name, self.realm)
        object.__setattr__(self, "label", label)
        object.__setattr__(self, "ok", Decision(Reason.OK, label))
        object.__setattr__(self, "public", Decision(Reason.PUBLIC, label))
        object.__setattr__(self, "anonymous", Decision(Reason.OPTIONAL_ANONYMOUS, label))
        object.__setattr__(
            self, "no_token", Decision(Reason.NO_TOKEN, label, expected="a bearer token", found="none")
        )


@dataclass(frozen=True, slots=True)
class AudienceGrant:
    """What one authorization grants now: the scopes both offered and authorized."""

    scopes: frozenset[str]
    until: float | None
    """Epoch seconds from which it no longer holds, or None."""


@dataclass(frozen=True, slots=True)
class ClientGrants:
    """What one client may hold tokens for, compared with live tokens on every request."""

    disabled: bool
    audiences: Mapping[str, AudienceGrant]


Grants = Mapping[str, ClientGrants]
"""Client id -> its grants. A client that is absent has none."""


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A limit that is used up for now."""

    limit: str
    """The limit's setting, `rate_limit` or `bad_tokens`: a metric label."""
    policy: bytes
    """The value of the RateLimit-Policy field; begins with the limit's quoted name."""
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome for one request: one reason, and what is told of the route it was judged by.

    `needed_scopes` is filled for `missing_scope` (RFC 6750 3: the scope attribute),
    `allowed_methods` for `method_not_allowed` (RFC 9110 15.5.6: the Allow field).
    `expected` and `found` say what was compared, for the operator's explanations; they
    never hold token text. What the caller may be told is in `hint` and the `held_`
    and `needed_` fields: of a token only what its holder can read in it, and only if it
    was verified.
    """

    reason: Reason
    route: RouteLabel | None = None
    needed_scopes: tuple[str, ...] = ()
    allowed_methods: tuple[str, ...] = ()
    expected: str = ""
    found: str = ""
    valid_until: float | None = None
    """Epoch seconds from which it must be made anew although its inputs are the same; None = never."""
    exceeded: Exceeded | None = None
    """The limit behind `rate_limited`."""
    held_scopes: tuple[str, ...] = ()
    """For `missing_scope`: what the token says, sorted."""
    needed_audiences: tuple[str, ...] = ()
    """For `wrong_audience`: those of the route, sorted."""
    held_audience: str = ""
    """For `wrong_audience`: the token's."""
    claim: str = ""
    """For `claim_mismatch`: the name of the claim."""
    hint: str = ""
    """A sentence for the caller on how to mend it; printable ASCII, of bounded length."""
    permits: bool = field(init=False)
    word: str = field(init=False)
    """The reason as plain text: cheaper to hash and to encode than the enum's member."""

    def __post_init__(self) -> None:
        """Derive `permits` from the reason, so that both can never disagree."""
        object.__setattr__(self, "permits", self.reason in PERMITTING)
        object.__setattr__(self, "word", self.reason.value)
