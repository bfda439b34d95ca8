"""Hold what is remembered to what is made anew, through random histories.

Each history asks one process about the same heads, from several callers, while it is reloaded (routes,
grants, keys, issuer, the longest body), tokens and clients are revoked, time passes, and revocations may be
missing for a while. Each answer is compared with that of a judge that remembers nothing. Then the
same histories are run with faults planted in what is compared: every one is found.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jwcrypto.jwk import JWK

from gateway.enforce import enforcer as enforcer_module
from gateway.enforce.enforcer import Enforcer, VerifyCounts
from gateway.enforce.judge import CallerFacts, Judge
from gateway.enforce.location import SERVES_GATE, SERVES_ISSUER
from gateway.enforce.token_cache import CachedToken, TokenCache
from gateway.enforce.verdict import OF_TOKEN, Depends, Permit, Place, Refused, Verdict
from gateway.http1.request import RequestHead, RequestReader
from gateway.policy.compile import compile_routes
from gateway.policy.model import Decision, Grants
from gateway.reasons import Reason
from gateway.settings.model import Access, RouteSettings
from gateway.tokens.revocations import Revocations
from tests.enforce.conftest import BOTH, ISSUER, NOW, READ, ROUTES, Process, grants, ring_of

KEYS = [JWK.generate(kty="EC", crv="P-256") for _ in range(2)]
RINGS = [ring_of(*KEYS)[1], ring_of(KEYS[0])[1], ring_of(KEYS[1])[1], None]
WEBSOCKET = frozenset({"websocket"})
SOME_ROUTES = tuple(replace(route, upgrade=WEBSOCKET) for route in ROUTES)
OTHER_ROUTES = (
    RouteSettings("read", "/read/**", "up", require=READ),
    RouteSettings("open", "/open/**", "up", access=Access.OPTIONAL, require=READ),
    RouteSettings("shadow", "/shadow", "up", require=READ),
)
TABLES = [compile_routes(routes, reserved_paths=frozenset()).table for routes in (SOME_ROUTES, OTHER_ROUTES)]
GRANTS: list[Grants] = [
    grants(until=NOW + 300),
    grants(),
    grants(scopes=()),
    grants(disabled=True),
    {},
]
CALLERS = [
    CallerFacts(BOTH, "a"),
    CallerFacts(BOTH, "b"),
    CallerFacts(SERVES_GATE, "a"),
    CallerFacts(SERVES_ISSUER),
]


def _head(line: bytes, token: bytes | None = None, more: bytes = b"") -> RequestHead:
    bearer = b"" if token is None else b"Authorization: Bearer %b\r\n" % token
    read = RequestReader(max_fields=10).read(b"%b HTTP/1.1\r\nHost: a\r\n%b%b\r\n" % (line, bearer, more))
    assert isinstance(read, RequestHead)
    return read


def _heads() -> list[RequestHead]:
    """Return heads as a reader that remembers them would: each time the same ones."""
    process = Process(KEYS[0])
    one, two = process.token(jti="one"), process.token(jwk=KEYS[1], jti="two", exp=int(NOW) + 900)
    acme = process.token(jti="three", tenant="acme")
    return [
        _head(b"GET /read/x", one),
        _head(b"GET /read/x", two),
        _head(b"GET /acme", acme),
        _head(b"GET /shadow", two),
        _head(b"GET /shadow"),
        _head(b"GET /open/x"),
        _head(b"GET /either", one),
        _head(b"GET /either"),
        _head(b"GET /read/x", one, b"Content-Length: 5\r\n"),
        _head(b"PUT /read/x", one),
        _head(b"GET /nowhere", one),
        _head(b"POST /oauth2/token"),
        _head(b"OPTIONS /either", acme, b"Max-Forwards: 0\r\n"),
    ]


TUNNELS = (0, 1, 2)
"""Of the heads, those that could have opened one, and whose token was looked at then."""


@dataclass
class Lease:
    held: bool = True

    def holds(self) -> bool:
        return self.held


class NoShedding:
    share = 0.0

    def refuses(self) -> bool:
        return False


@dataclass
class Gate:
    """One process; what it remembers outlives its snapshots."""

    heads: list[RequestHead] = field(default_factory=_heads)
    cache: TokenCache = field(default_factory=TokenCache)
    revocations: Revocations = field(default_factory=Revocations)
    now: float = NOW
    generation: int = 0
    facts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CHANGES, 0))
    opened: dict[int, Permit] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lease = self.revocations.lease = Lease()
        self.judge = self.new_judge(self.cache)

    def new_judge(self, cache: TokenCache) -> Judge:
        """Return the judge of a new snapshot of what is so now."""
        self.generation += 1
        facts = self.facts
        enforcer = Enforcer(
            table=TABLES[facts["routes"]],
            grants=GRANTS[facts["grants"]],
            keys=RINGS[facts["keys"]],
            issuer=(ISSUER, "https://other.example")[facts["issuer"]],
            issuer_paths=["/oauth2/token"],
            cache=cache,
            revocations=self.revocations,
            counts=VerifyCounts(),
            generation=self.generation,
            observe_verification=lambda _alg, _seconds: None,
            stopwatch=lambda: 0.0,
        )
        return Judge(
            enforcer,
            body_bytes=(0, 3)[facts["body"]],
            own_name=b"sidegate-here",
            shedding=NoShedding(),
            peer_of=lambda caller, _block: caller.peer_group,
            keep=lambda _head: None,
        )

    def ask(self, number: int, caller: CallerFacts) -> None:
        """Compare what is answered with what would be if nothing were remembered."""
        head = self.heads[number]
        judged = self.judge.judge(head, caller, self.now)
        anew_judge = self.new_judge(TokenCache())
        anew = anew_judge.judge(replace(head, place=None), caller, self.now)
        assert told(judged) == told(anew)
        opened = self.opened.get(number)
        if caller is CALLERS[0] and opened is not None:
            ended = self.judge.judge_again(head, caller, opened, "websocket", self.now)
            route = anew.location.route
            goes_on = isinstance(anew, Permit) and route is not None and "websocket" in route.upgrade
            assert (ended is None) == goes_on
        elif caller is CALLERS[0] and number in TUNNELS and isinstance(judged, Permit):
            self.opened[number] = judged


def told(judged: Permit | Refused) -> tuple[object, ...]:
    """Return what a caller, an upstream and the record are told.

    Left out is whose a refused token was: that is known of one that was seen before it expired.
    """
    location, verdict = judged.location, judged.verdict
    place = (type(judged), location.name, location.forward_path, judged.query)
    if isinstance(judged, Refused):
        return *place, judged.refusal
    if verdict is None:
        return place
    words = verdict.words[2:] if verdict.verified is None else (verdict.verified.token.jti, *verdict.words)
    return *place, verdict.decision, verdict.shadowed, *words


CHANGES = {"routes": len(TABLES), "grants": len(GRANTS), "keys": len(RINGS), "issuer": 2, "body": 2}
ASK = st.tuples(st.just("ask"), st.integers(0, len(_heads()) - 1), st.sampled_from(range(len(CALLERS))))
OTHER_STEPS = st.one_of(
    *(st.tuples(st.just(what), st.integers(0, count - 1)) for what, count in CHANGES.items()),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 310.0, 650.0])),
    st.tuples(st.just("revoke"), st.sampled_from(["one", "two", "three"])),
    st.tuples(st.just("revoke_client"), st.just("reader")),
    st.tuples(st.just("lease"), st.booleans()),
)
HISTORIES = st.lists(st.one_of(ASK, ASK, OTHER_STEPS), min_size=12, max_size=40)


def live(history: list[tuple[Any, ...]]) -> None:
    """Live through a history; after each change every head is asked about that was asked about before."""
    gate = Gate()
    asked: set[tuple[int, int]] = set()
    for what, *how in history:
        match what:
            case "ask":
                asked.add((how[0], how[1]))
            case "wait":
                gate.now += how[0]
            case "revoke":
                gate.revocations.add(how[0], int(NOW) + 900, now=gate.now)
            case "revoke_client":
                gate.revocations.add_client(how[0], int(gate.now))
            case "lease":
                gate.lease.held = how[0]
            case _:
                gate.facts[what] = how[0]
                gate.judge = gate.new_judge(gate.cache)
        for number, caller in sorted(asked):
            gate.ask(number, CALLERS[caller])


@given(HISTORIES)
def test_what_is_remembered_equals_what_is_made_anew(history: list[tuple[Any, ...]]) -> None:
    live(history)


# --- planted faults

_remember, _recall, _check, _renew = Enforcer.remember, Enforcer.recall, Enforcer.check, Enforcer._renew
_judge, _why_over, _make_verdict = Judge.judge, enforcer_module.why_over, enforcer_module.make_verdict


def never_ends(self: Enforcer, place: Place, permit: Permit) -> None:
    _remember(self, place, permit)
    place.valid_until = inf


def knows_no_revocations(self: Enforcer, place: Place, now: float) -> Permit | None:
    place.revocations = self._revocations.generation
    return _recall(self, place, now)


def asks_no_lease(self: Enforcer, place: Place, now: float) -> Permit | None:
    lease, self._revocations.lease = self._revocations.lease, None
    try:
        return _recall(self, place, now)
    finally:
        self._revocations.lease = lease


def keeps_denials_and_permits(self: Enforcer, raw: bytes, entry: CachedToken) -> bool:
    kept = dict(entry.verdicts)
    renewed = _renew(self, raw, entry)
    entry.verdicts.update(kept)
    return renewed


def takes_any_place(self: Judge, head: RequestHead, caller: CallerFacts, now: float) -> Permit | Refused:
    if head.place is not None:
        head.place.generation = self.enforcer.generation
    return _judge(self, head, caller, now)


def takes_any_listener(self: Judge, head: RequestHead, caller: CallerFacts, now: float) -> Permit | Refused:
    if head.place is not None:
        head.place.serves = caller.serves
    return _judge(self, head, caller, now)


def forgets_when_a_right_ends(*args: Any, **more: Any) -> Verdict:
    return replace(_make_verdict(*args, **more), valid_until=None)


def once_cleared_always_cleared(
    token: Any, revocations: Revocations, now: float, cleared: int
) -> Reason | None:
    return _why_over(token, revocations, now, cleared if cleared < 0 else revocations.generation)


def trusts_any_key(*_: object) -> None:
    """Take a remembered token over into any snapshot."""


def depends_on_the_caller(depends: Depends) -> Callable[..., Verdict]:
    """Return a check that refuses one peer what it permits others, and says that it depends on `depends`."""

    def check(self: Enforcer, location: Any, head: Any, now: float, peer: str = "") -> Verdict:
        verdict = _check(self, location, head, now, peer)
        if peer == "b" and verdict.permits:
            refusal = Decision(Reason.CLIENT_NOT_ALLOWED, location.label)
            return replace(verdict, decision=refusal, permits=False, shadowed=False, depends=depends)
        return replace(verdict, depends=depends)

    return check


@dataclass(frozen=True)
class Fault:
    where: object
    name: str
    what: object
    shown_by: tuple[Any, ...]
    """The step that shows it, once the first head was asked about."""


FROM_ANOTHER_PEER = ("ask", 0, 1)
FAULTS = [
    Fault(Enforcer, "remember", never_ends, ("wait", 310.0)),
    Fault(Enforcer, "recall", knows_no_revocations, ("revoke", "one")),
    Fault(Enforcer, "recall", asks_no_lease, ("lease", False)),
    Fault(Enforcer, "_renew", keeps_denials_and_permits, ("grants", 1)),
    Fault(Judge, "judge", takes_any_place, ("routes", 1)),
    Fault(Judge, "judge", takes_any_listener, ("ask", 0, 3)),
    Fault(enforcer_module, "make_verdict", forgets_when_a_right_ends, ("wait", 310.0)),
    Fault(enforcer_module, "why_over", once_cleared_always_cleared, ("revoke", "one")),
    Fault(enforcer_module, "why_distrusted", trusts_any_key, ("keys", 2)),
    Fault(Enforcer, "check", depends_on_the_caller(OF_TOKEN), FROM_ANOTHER_PEER),
]


@contextmanager
def planted(fault: Fault) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fault.where, fault.name, fault.what)
        yield


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: getattr(fault.what, "__name__", "fault"))
def test_a_planted_fault_is_found(fault: Fault) -> None:
    """By a history that random ones hold again and again."""
    history = [("ask", 0, 0), fault.shown_by]
    live(history)
    with planted(fault), pytest.raises(AssertionError):
        live(history)


def test_a_verdict_that_says_that_it_depends_on_the_caller_is_no_fault() -> None:
    honest = Fault(Enforcer, "check", depends_on_the_caller(OF_TOKEN | Depends.CALLER), FROM_ANOTHER_PEER)
    with planted(honest):

        @given(HISTORIES)
        def holds(history: list[tuple[Any, ...]]) -> None:
            live(history)

        holds()
