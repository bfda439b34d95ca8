"""Put every reason through the enforcer, and take away what was remembered."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from jwcrypto.jwk import JWK

from gateway.enforce.enforcer import (
    LOCATION_MEMO_ENTRIES,
    LONGEST_REMEMBERED_PATH_BYTES,
    VERDICTS_PER_TOKEN,
    Enforcer,
)
from gateway.enforce.location import SERVES_GATE, SERVES_ISSUER
from gateway.enforce.token_cache import EXPIRED_ENTRIES, CachedToken, Holder, TokenCache
from gateway.enforce.verdict import OF_TOKEN, Depends, Permit, Place, Verdict
from gateway.http1.request import FieldBlock, RequestHead, RequestReader, read_fields
from gateway.policy.model import Decision
from gateway.reasons import Reason
from gateway.settings.model import RouteSettings
from gateway.tokens.claims import AccessToken, read_access_token
from gateway.tokens.revocations import Revocations
from tests.enforce.conftest import BOTH, NOW, READ, ROUTES, Process, grants, ring_of


def block(*authorizations: bytes) -> FieldBlock:
    lines = b"Host: a\r\n" + b"".join(b"Authorization: %b\r\n" % value for value in authorizations) + b"\r\n"
    read = read_fields(lines, max_fields=10)
    assert isinstance(read, FieldBlock)
    return read


def ask(
    enforcer: Enforcer,
    token: bytes | None = None,
    *,
    path: bytes = b"/read/x",
    method: str = "GET",
    now: float = NOW,
) -> Verdict:
    fields = block() if token is None else block(b"Bearer " + token)
    return enforcer.check(enforcer.locate(method, path, b"a", serves=BOTH), fields, now)


@dataclass(frozen=True)
class Case:
    reason: Reason
    ask: Callable[[Process], Verdict]


STRANGER = JWK.generate(kty="EC", crv="P-256")
CASES = [
    Case(Reason.OK, lambda p: ask(p.enforcer(), p.token())),
    Case(Reason.PUBLIC, lambda p: ask(p.enforcer(), path=b"/open/x")),
    Case(Reason.OPTIONAL_ANONYMOUS, lambda p: ask(p.enforcer(), path=b"/either")),
    Case(Reason.NO_TOKEN, lambda p: ask(p.enforcer())),
    Case(Reason.MALFORMED_TOKEN, lambda p: ask(p.enforcer(), b"a.b.c")),
    Case(Reason.BAD_SIGNATURE, lambda p: ask(p.enforcer(), p.token()[:-8] + b"AAAAAAAA")),
    Case(Reason.UNKNOWN_KEY, lambda p: ask(p.enforcer(), p.token(jwk=STRANGER))),
    Case(Reason.WRONG_TYPE, lambda p: ask(p.enforcer(), p.token(typ="JWT"))),
    Case(Reason.WRONG_ISSUER, lambda p: ask(p.enforcer(), p.token(iss="https://other.example"))),
    Case(Reason.EXPIRED, lambda p: ask(p.enforcer(), p.token(exp=int(NOW)))),
    Case(Reason.NOT_YET_VALID, lambda p: ask(p.enforcer(), p.token(nbf=int(NOW) + 1))),
    Case(Reason.WRONG_AUDIENCE, lambda p: ask(p.enforcer(), p.token(aud="others"))),
    Case(Reason.MISSING_SCOPE, lambda p: ask(p.enforcer(), p.token(scope="write"))),
    Case(Reason.MISSING_SCOPE, lambda p: ask(p.enforcer(granted=grants(scopes=())), p.token())),
    Case(Reason.CLAIM_MISMATCH, lambda p: ask(p.enforcer(), p.token(tenant="beta"), path=b"/acme")),
    Case(Reason.CLIENT_DISABLED, lambda p: ask(p.enforcer(granted=grants(disabled=True)), p.token())),
    Case(Reason.CLIENT_DISABLED, lambda p: ask(p.enforcer(granted={}), p.token())),
    Case(Reason.CLIENT_NOT_ALLOWED, lambda p: ask(p.enforcer(granted=grants(until=NOW)), p.token())),
    Case(Reason.KEYS_UNAVAILABLE, lambda p: ask(p.enforcer(without_keys=True), p.token())),
    Case(Reason.NO_ROUTE, lambda p: ask(p.enforcer(), p.token(), path=b"/nowhere")),
    Case(Reason.METHOD_NOT_ALLOWED, lambda p: ask(p.enforcer(), p.token(), method="PUT")),
    Case(Reason.BAD_PATH, lambda p: ask(p.enforcer(), p.token(), path=b"/read/../x")),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.reason)
def test_every_reason(case: Case, process: Process) -> None:
    verdict = case.ask(process)
    assert verdict.decision.reason is case.reason
    assert verdict.permits is verdict.decision.permits
    assert not verdict.shadowed


def test_two_authorization_fields_are_refused_also_where_a_token_is_optional(process: Process) -> None:
    enforcer = process.enforcer()
    token = b"Bearer " + process.token()
    for path in (b"/read/x", b"/either"):
        location = enforcer.locate("GET", path, b"a", serves=BOTH)
        verdict = enforcer.check(location, block(token, token), NOW)
        assert verdict.decision.reason is Reason.DUPLICATE_AUTHORIZATION


@pytest.mark.parametrize("defect", [{"scope": None}, {"aud": "others"}, {"iss": "https://x.example"}])
def test_where_a_token_is_optional_a_bad_one_is_refused(defect: dict[str, object], process: Process) -> None:
    assert not ask(process.enforcer(), process.token(**defect), path=b"/either").permits


def test_a_public_route_looks_at_no_token(process: Process) -> None:
    verdict = ask(process.enforcer(without_keys=True), b"a.b.c", path=b"/open/x")
    assert (verdict.decision.reason, verdict.verified) == (Reason.PUBLIC, None)


@pytest.mark.parametrize(
    ("token", "verified"),
    [
        (None, False),
        (b"a.b.c", False),
        ({"aud": "others"}, True),
        ({"scope": None}, True),
        ({"exp": 1}, False),
    ],
)
def test_shadow_routes_record_and_permit(token: object, verified: bool, process: Process) -> None:
    raw = process.token(**token) if isinstance(token, dict) else token
    assert raw is None or isinstance(raw, bytes)
    verdict = ask(process.enforcer(), raw, path=b"/shadow")
    assert (verdict.permits, verdict.shadowed) == (True, True)
    assert not verdict.decision.permits
    assert (verdict.verified is not None) == verified


def test_shadow_routes_refuse_without_keys(process: Process) -> None:
    verdict = ask(process.enforcer(without_keys=True), process.token(), path=b"/shadow")
    assert (verdict.permits, verdict.decision.reason) == (False, Reason.KEYS_UNAVAILABLE)


# --- what is remembered


def test_a_token_is_verified_once(process: Process) -> None:
    enforcer, token = process.enforcer(), process.token()
    for _ in range(5):
        assert ask(enforcer, token).permits
    assert process.checks == ["ES256"]
    assert dict(process.counts.take()) == {("ok", "miss"): 1, ("ok", "hit"): 4}
    assert process.counts.take() == []


def test_a_forged_token_is_verified_once(process: Process) -> None:
    enforcer, forged = process.enforcer(), process.token()[:-8] + b"AAAAAAAA"
    for _ in range(5):
        assert ask(enforcer, forged).decision.reason is Reason.BAD_SIGNATURE
    assert dict(process.counts.take()) == {("bad_signature", "miss"): 1, ("bad_signature", "hit"): 4}


def test_a_remembered_token_expires(process: Process) -> None:
    enforcer, token = process.enforcer(), process.token()
    assert ask(enforcer, token, now=NOW + 599.999).permits
    for now in (NOW + 600, NOW + 600.5):
        assert ask(enforcer, token, now=now).decision.reason is Reason.EXPIRED
    assert process.cache.sizes[0] == 0


def test_a_remembered_token_is_revoked(process: Process) -> None:
    enforcer, token = process.enforcer(), process.token()
    other = process.token(jti="two")
    assert ask(enforcer, token).permits
    process.revocations.add("one", int(NOW) + 600, now=NOW)
    assert ask(enforcer, token).decision.reason is Reason.REVOKED
    assert ask(enforcer, token, path=b"/either").decision.reason is Reason.REVOKED
    assert ask(enforcer, other).permits


def test_a_remembered_decision_ends_with_its_authorization(process: Process) -> None:
    enforcer, token = process.enforcer(granted=grants(until=NOW + 10)), process.token()
    assert ask(enforcer, token, now=NOW + 9.9).permits
    assert ask(enforcer, token, now=NOW + 10).decision.reason is Reason.CLIENT_NOT_ALLOWED


def test_a_new_snapshot_decides_anew_without_verifying_anew(process: Process) -> None:
    token = process.token()
    assert ask(process.enforcer(), token).permits
    assert ask(process.enforcer(granted=grants(scopes=())), token).decision.reason is Reason.MISSING_SCOPE
    assert (
        ask(process.enforcer(granted=grants(disabled=True)), token).decision.reason is Reason.CLIENT_DISABLED
    )
    assert ask(process.enforcer(), token).permits
    assert process.checks == ["ES256"]


def test_a_key_that_is_gone_takes_its_tokens_along(process: Process) -> None:
    fresh = JWK.generate(kty="EC", crv="P-256")
    token = process.token()
    assert ask(process.enforcer(keys=ring_of(fresh, process.jwk)[1]), token).permits
    assert ask(process.enforcer(keys=ring_of(fresh)[1]), token).decision.reason is Reason.UNKNOWN_KEY
    assert process.cache.sizes[0] == 0


def test_without_keys_nothing_remembered_is_believed(process: Process) -> None:
    token = process.token()
    assert ask(process.enforcer(), token).permits
    assert ask(process.enforcer(without_keys=True), token).decision.reason is Reason.KEYS_UNAVAILABLE


def test_another_issuer_believes_no_former_token(process: Process) -> None:
    token = process.token()
    assert ask(process.enforcer(), token).permits
    other = process.enforcer(issuer="https://other.example")
    assert ask(other, token).decision.reason is Reason.WRONG_ISSUER


def issued(process: Process, **changes: object) -> tuple[bytes, CachedToken]:
    """Return a token as the issuer hands it to the cache: of no snapshot."""
    raw = process.token(**changes)
    kid = next(iter(ring_of(process.jwk)[1].verification))
    claims: dict[str, object] = {
        "iss": "https://issuer.example",
        "sub": "reader",
        "client_id": "reader",
        "aud": "countries",
        "iat": int(NOW),
        "nbf": int(NOW),
        "exp": int(NOW) + 600,
        "jti": "one",
        "scope": "read",
    }
    token = read_access_token(claims | changes, kid)
    assert isinstance(token, AccessToken)
    return raw, CachedToken(token, generation=0)


def test_a_token_just_issued_is_not_verified(process: Process) -> None:
    raw, entry = issued(process)
    process.cache.put_issued(raw, entry)
    assert ask(process.enforcer(), raw).permits
    assert process.checks == []


def test_a_token_issued_under_keys_that_are_gone_is_refused(process: Process) -> None:
    """A reload may come between signing and remembering."""
    raw, entry = issued(process)
    enforcer = process.enforcer(keys=ring_of(JWK.generate(kty="EC", crv="P-256"))[1])
    process.cache.put_issued(raw, entry)
    assert ask(enforcer, raw).decision.reason is Reason.UNKNOWN_KEY


# --- whose token was refused


def test_the_record_of_a_refused_token_names_its_client(process: Process) -> None:
    enforcer, token, other = process.enforcer(), process.token(), process.token(jti="two")
    assert ask(enforcer, token).permits
    assert ask(enforcer, other).permits
    process.revocations.add("two", int(NOW) + 600, now=NOW)
    assert ask(enforcer, other).words == ("reader", "countries", "deny", "revoked")
    for now in (NOW + 600, NOW + 601, NOW + 9000):  # the first forgets the token
        assert ask(enforcer, token, now=now).words == ("reader", "countries", "deny", "expired")
    assert ask(enforcer, token, path=b"/shadow", now=NOW + 600).words[2:] == ("shadow_deny", "expired")
    assert process.cache.sizes[0] == 1


@pytest.mark.parametrize("path", [b"/shadow", b"/read/x"])
def test_a_refused_token_gives_no_identity_to_the_upstream(path: bytes, process: Process) -> None:
    enforcer, token = process.enforcer(), process.token()
    assert ask(enforcer, token).permits
    process.revocations.add("one", int(NOW) + 600, now=NOW)
    for now in (NOW, NOW + 600):
        verdict = ask(enforcer, token, path=path, now=now)
        assert verdict.words[0] == "reader"
        assert verdict.verified is None


def test_the_record_names_nobody_whose_token_was_not_verified(process: Process) -> None:
    enforcer = process.enforcer()
    for raw in (
        process.token(exp=int(NOW)),
        process.token()[:-8] + b"AAAAAAAA",
        process.token(jwk=STRANGER),
        process.token(iss="https://other.example"),
        process.token(nbf=int(NOW) + 1),
    ):
        assert ask(enforcer, raw).words[:2] == ("", "")


def test_those_whose_tokens_have_expired_cannot_fill_memory(process: Process) -> None:
    cache = TokenCache()
    for number in range(3 * EXPIRED_ENTRIES):
        cache.expire(b"%d" % number, Holder("reader", "countries"))
    known = [number for number in range(3 * EXPIRED_ENTRIES) if cache.expired_of(b"%d" % number)]
    assert len(known) <= EXPIRED_ENTRIES
    assert known[-1] == 3 * EXPIRED_ENTRIES - 1


# --- a head that comes again


def bearing(token: bytes) -> RequestHead:
    head = RequestReader(max_fields=10).read(
        b"GET /read/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n\r\n" % token
    )
    assert isinstance(head, RequestHead)
    return head


def kept(process: Process, enforcer: Enforcer, now: float = NOW, **claims: object) -> Place:
    """Return the place of a head whose verdict was made and kept at `now`."""
    head = bearing(process.token(**claims))
    place = enforcer.place(head, BOTH)
    verdict = enforcer.check(place.location, head, now)
    assert verdict.permits
    enforcer.remember(place, Permit(place.location, place.query, verdict))
    return place


def test_a_kept_verdict_is_the_one_that_was_made(process: Process) -> None:
    enforcer = process.enforcer()
    place = kept(process, enforcer)
    permit = enforcer.recall(place, NOW + 599)
    assert permit is place.permit
    assert permit is not None
    assert permit.verdict is not None
    assert permit.verdict.words == ("reader", "countries", "allow", "ok")
    assert process.counts.take() == [(("ok", "miss"), 1), (("ok", "hit"), 1)]


def test_a_kept_verdict_ends_with_its_token(process: Process) -> None:
    enforcer = process.enforcer()
    place = kept(process, enforcer)
    assert enforcer.recall(place, NOW + 600) is None


def test_a_kept_verdict_ends_when_its_authorization_does(process: Process) -> None:
    enforcer = process.enforcer(granted=grants(until=NOW + 5))
    place = kept(process, enforcer)
    assert enforcer.recall(place, NOW + 4.9) is not None
    assert enforcer.recall(place, NOW + 5) is None


@pytest.mark.parametrize(
    "revoke",
    [
        lambda revocations: revocations.add("one", int(NOW) + 600, now=NOW),
        lambda revocations: revocations.add_client("reader", int(NOW)),
    ],
)
def test_a_kept_verdict_ends_with_any_revocation(
    revoke: Callable[[Revocations], None], process: Process
) -> None:
    enforcer = process.enforcer()
    place = kept(process, enforcer)
    revoke(process.revocations)
    assert enforcer.recall(place, NOW) is None


def test_a_kept_verdict_is_not_believed_while_revocations_may_be_missing(process: Process) -> None:
    @dataclass
    class Lease:
        held: bool = True

        def holds(self) -> bool:
            return self.held

    lease = process.revocations.lease = Lease()
    enforcer = process.enforcer()
    place = kept(process, enforcer)
    assert enforcer.recall(place, NOW) is not None
    lease.held = False
    assert enforcer.recall(place, NOW) is None


def test_a_new_snapshot_keeps_no_verdict(process: Process) -> None:
    before, after = process.enforcer(), process.enforcer(granted={})
    head = bearing(process.token())
    place = before.place(head, BOTH)
    before.remember(place, Permit(place.location, place.query, before.check(place.location, head, NOW)))
    assert before.recall(before.place(head, BOTH), NOW) is not None
    assert after.recall(after.place(head, BOTH), NOW) is None


def test_another_kind_of_listener_keeps_no_verdict(process: Process) -> None:
    enforcer = process.enforcer()
    head = bearing(process.token())
    place = enforcer.place(head, BOTH)
    enforcer.remember(place, Permit(place.location, place.query, enforcer.check(place.location, head, NOW)))
    assert enforcer.recall(enforcer.place(head, BOTH), NOW) is not None
    assert enforcer.recall(enforcer.place(head, SERVES_ISSUER), NOW) is None
    assert enforcer.place(head, SERVES_ISSUER).location.route is None


def test_where_no_token_is_looked_at_a_verdict_is_kept_and_no_token_counted(process: Process) -> None:
    enforcer = process.enforcer()
    head = RequestReader(max_fields=10).read(b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert isinstance(head, RequestHead)
    place = enforcer.place(head, BOTH)
    enforcer.remember(place, Permit(place.location, place.query, enforcer.check(place.location, head, NOW)))
    assert enforcer.recall(place, NOW + 1e9) is place.permit
    assert process.counts.take() == []
    after = process.enforcer()
    assert after.recall(after.place(head, BOTH), NOW) is None


@pytest.mark.parametrize("more", [Depends.CALLER, Depends.PROOF])
def test_what_depends_on_caller_or_proof_is_kept_for_nobody(more: Depends, process: Process) -> None:
    enforcer = process.enforcer()
    head = bearing(process.token())
    place = enforcer.place(head, BOTH)
    verdict = enforcer.check(place.location, head, NOW)
    assert verdict.depends is OF_TOKEN
    enforcer.remember(place, Permit(place.location, b"", replace(verdict, depends=OF_TOKEN | more)))
    assert enforcer.recall(place, NOW) is None
    enforcer.remember(place, Permit(place.location, b"", verdict))
    assert enforcer.recall(place, NOW) is not None


def test_a_verdict_that_does_not_say_what_it_depends_on_is_kept_for_nobody(process: Process) -> None:
    enforcer = process.enforcer()
    place = enforcer.place(bearing(process.token()), BOTH)
    verdict = Verdict(Decision(Reason.OK), permits=True)
    enforcer.remember(place, Permit(place.location, b"", verdict))
    assert enforcer.recall(place, NOW) is None


# --- where requests lead


@pytest.mark.parametrize(
    ("path", "serves", "expected"),
    [
        (b"/oauth2/token", BOTH, "issuer"),
        (b"/oauth2/%74oken", BOTH, "issuer"),
        (b"/oauth2/token", SERVES_ISSUER, "issuer"),
        (b"/oauth2/token", SERVES_GATE, Reason.NO_ROUTE),
        (b"/oauth2/token/", BOTH, Reason.NO_ROUTE),
        (b"/oauth2/Token", BOTH, Reason.NO_ROUTE),
        (b"/oauth2//token", BOTH, Reason.BAD_PATH),
        (b"/oauth2/x/../token", BOTH, Reason.BAD_PATH),
        (b"/oauth2/token;x", BOTH, Reason.BAD_PATH),
        (b"/open/x", SERVES_GATE, "open"),
        (b"/open/x", SERVES_ISSUER, Reason.NO_ROUTE),
        (b"/open/%7ex", BOTH, "open"),
    ],
)
def test_locations(path: bytes, serves: int, expected: object, process: Process) -> None:
    enforcer = process.enforcer()
    for _ in range(2):  # once looked up, once remembered
        location = enforcer.locate("GET", path, b"a", serves=serves)
        if location.is_issuer:
            assert expected == "issuer"
        elif location.route is not None:
            assert expected == location.route.name
        else:
            assert location.refusal is not None
            assert expected is location.refusal.reason


def test_the_canonical_path_is_forwarded(process: Process) -> None:
    location = process.enforcer().locate("GET", b"/open/%7e%c3%a9%2d", b"a", serves=BOTH)
    assert location.forward_path == b"/open/~%C3%A9-"


def test_strangers_cannot_fill_the_memos(process: Process) -> None:
    enforcer = process.enforcer()
    for number in range(3 * LOCATION_MEMO_ENTRIES):
        enforcer.locate("GET", b"/%d" % number, b"h%d.example" % number, serves=BOTH)
    assert len(enforcer._locations) <= 2 * LOCATION_MEMO_ENTRIES
    before = len(enforcer._locations)
    enforcer.locate("GET", b"/" + b"x" * LONGEST_REMEMBERED_PATH_BYTES, b"a", serves=BOTH)
    assert len(enforcer._locations) == before


def test_a_caller_cannot_fill_memory_by_using_many_routes(process: Process) -> None:
    count = VERDICTS_PER_TOKEN + 10
    routes = tuple(RouteSettings(f"r{number}", f"/r{number}", "up", require=READ) for number in range(count))
    enforcer, token = process.enforcer(routes=(*ROUTES, *routes)), process.token()
    for number in range(count):
        verdict = ask(enforcer, token, path=b"/r%d" % number)
        assert verdict.permits
        entry = process.cache.get(token)
        assert entry is not None
        assert len(entry.verdicts) <= VERDICTS_PER_TOKEN
