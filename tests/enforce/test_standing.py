"""Hold who says whether a token still stands to one table, for every combination of the facts."""

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest
from jwcrypto.jwk import JWK

from gateway.clients.registry import compile_registry
from gateway.enforce.enforcer import Enforcer, RefusedToken
from gateway.enforce.token_cache import CachedToken, TokenCache
from gateway.enforce.verdict import Permit
from gateway.http1.request import RequestHead, RequestReader
from gateway.issuer.introspect import INACTIVE, introspect
from gateway.issuer.snapshot import build_issuer_snapshot
from gateway.policy.model import Exceeded
from gateway.settings.model import RequireSettings, RouteSettings
from gateway.tokens.key_ring import make_empty_ring
from tests.enforce.conftest import BOTH, ISSUER, NOW, Process, ring_of
from tests.issuer.conftest import make_settings

TABLE = Path(__file__).with_name("standings.txt")
REQUIRE = RequireSettings(audiences=frozenset({"country-service"}), scopes=frozenset({"country.read"}))
ROUTES = (RouteSettings("read", "/read/{x}", "up", require=REQUIRE),)
REGISTRY = compile_registry(make_settings())
STRANGER = ring_of(JWK.generate(kty="EC", crv="P-256"))[1]


@dataclass
class Lease:
    held: bool = True

    def holds(self) -> bool:
        return self.held


@dataclass(frozen=True)
class Facts:
    """What is so when the question is asked; all was well when the token was first presented."""

    keys: str
    """`here`, `gone` (others are), or `none`."""
    ours: bool
    expired: bool
    revoked: bool
    known: bool
    """No revocation can be missing."""

    def __str__(self) -> str:
        words = (
            f"keys {self.keys}",
            "our issuer" if self.ours else "another issuer",
            "expired" if self.expired else "in time",
            "revoked" if self.revoked else "not revoked",
            "all known" if self.known else "some missing",
        )
        return ", ".join(words)


YES_NO, NO_YES = (True, False), (False, True)
EVERY = [
    Facts(*combination) for combination in product(("here", "gone", "none"), YES_NO, NO_YES, NO_YES, YES_NO)
]


def new_enforcer(process: Process, facts: Facts | None = None) -> Enforcer:
    return process.enforcer(
        routes=ROUTES,
        granted=REGISTRY.grants,
        keys=STRANGER if facts is not None and facts.keys == "gone" else None,
        without_keys=facts is not None and facts.keys == "none",
        issuer=ISSUER if facts is None or facts.ours else "https://other.example",
    )


def word_of(verified: CachedToken | RefusedToken | Exceeded) -> str:
    assert not isinstance(verified, Exceeded)
    return "ok" if isinstance(verified, CachedToken) else verified.reason.value


def answers(facts: Facts) -> str:
    """Return what each place that is asked says, in the order of the first line of the table."""
    process = Process()
    process.revocations.lease = lease = Lease()
    raw = process.token(aud="country-service", scope="country.read")
    head = RequestReader(max_fields=10).read(
        b"GET /read/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n\r\n" % raw
    )
    assert isinstance(head, RequestHead)
    before = new_enforcer(process)
    place = before.place(head, BOTH)
    before.remember(place, Permit(place.location, place.query, before.check(place.location, head, NOW)))
    first = before.verify(raw, NOW)
    assert isinstance(first, CachedToken)

    now = NOW + 600 * facts.expired
    if facts.revoked:
        process.revocations.add("one", int(NOW) + 600, now=NOW)
    lease.held = facts.known
    # What a snapshot settles does not change under one: keys and issuer that are others make another.
    recalled = "yes" if before.recall(place, now) is not None else "no"
    same = word_of(before.verify(raw, now)) if facts.keys == "here" and facts.ours else "-"
    after = new_enforcer(process, facts)
    again = after.judge_again(after.place(head, BOTH).location, first.verified, now).word
    process.cache.main.setdefault(raw, first)
    taken_over = word_of(after.verify(raw, now))
    process.cache = TokenCache()
    fresh = word_of(new_enforcer(process, facts).verify(raw, now))

    snapshot = build_issuer_snapshot(
        make_settings(url=ISSUER if facts.ours else "https://other.example"),
        REGISTRY,
        ring_of(process.jwk)[1],
    )
    if facts.keys != "here":
        snapshot = snapshot.with_keys(
            STRANGER if facts.keys == "gone" else make_empty_ring(), make_settings()
        )
    told = introspect(raw, REGISTRY.clients["reader"], snapshot, process.revocations, now=now)
    if (
        told is None or not process.revocations.are_complete
    ):  # the endpoint asks that first, whatever the token
        active = "unknown"
    else:
        active = "inactive" if told == INACTIVE else "active"
    return f"{facts}: {recalled} | {same} | {taken_over} | {fresh} | {again} | {active}"


@pytest.mark.parametrize("facts", EVERY, ids=str)
def test_each_place_answers_as_the_table_says(facts: Facts) -> None:
    lines = TABLE.read_text("ascii").splitlines()
    assert answers(facts) in lines
    assert len(lines) == 1 + len(EVERY)
