"""Hold the runner of policy tests, and the sequence it shares with the gate."""

from typing import Any

import pytest

from gateway.policy.compile import compile_routes
from gateway.policy.evaluate import Located, locate
from gateway.policy.model import AudienceGrant, ClientGrants, Grants
from gateway.policy.policy_tests import PolicyTestOutcome, TokenRefused, run_policy_tests, split_url
from gateway.reasons import Reason
from gateway.settings.model import Access, Origin, PolicyTest, RequireSettings, RouteSettings, Settings
from gateway.tokens.claims import AccessToken

NOW = 1_800_000_000.0
READ = RequireSettings(audiences=frozenset({"country"}), scopes=frozenset({"country.read"}))
TABLE = compile_routes(
    [
        RouteSettings("read", "/code/{c}", "u", methods=frozenset({"GET"}), require=READ),
        RouteSettings("either", "/either", "u", require=RequireSettings(audiences=frozenset({"a", "b"}))),
        RouteSettings("open", "/open", "u", access=Access.PUBLIC),
        RouteSettings("maybe", "/maybe", "u", access=Access.OPTIONAL, require=READ),
        RouteSettings("there", "/x", "u", host="api.example.com", access=Access.PUBLIC),
        RouteSettings("slash", "/s/**", "u", access=Access.PUBLIC, allow_encoded_slash=True),
        RouteSettings("private", "/s/private/{x}", "u", require=READ),
        RouteSettings("opaque", "/o/{x}", "u", access=Access.PUBLIC, allow_opaque_slash=True),
        RouteSettings("matrix", "/m/{x}", "u", access=Access.PUBLIC, allow_parameters=True),
    ],
    reserved_paths=(),
).table
GRANTS: Grants = {
    "reader": ClientGrants(False, {"country": AudienceGrant(frozenset({"country.read", "other"}), None)}),
    "b-only": ClientGrants(False, {"b": AudienceGrant(frozenset(), None)}),
    "stranger": ClientGrants(False, {}),
    "off": ClientGrants(True, {"country": AudienceGrant(frozenset({"country.read"}), None)}),
}


def grant_token(client: str, audience: str | None, scopes: tuple[str, ...]) -> AccessToken | TokenRefused:
    """Grant as the issuer does, in its simplest form."""
    grants = GRANTS[client]
    if grants.disabled:
        return TokenRefused(Reason.CLIENT_DISABLED, "disabled")
    grant = grants.audiences.get(audience or "")
    if grant is None or audience is None:
        return TokenRefused(Reason.CLIENT_NOT_ALLOWED, "invalid_target")
    if not set(scopes) <= grant.scopes:
        return TokenRefused(Reason.MISSING_SCOPE, "invalid_scope")
    claims: dict[str, object] = {"client_id": client, "sub": client, "aud": audience}
    if scopes:
        claims["scope"] = " ".join(scopes)
    return AccessToken(
        client, client, audience, " ".join(scopes), frozenset(scopes), "j", 0, 0, 2**40, "k", claims
    )


def run(method: str, url: str, **more: Any) -> PolicyTestOutcome:
    test = PolicyTest("t", method, url, **({"expect_allow": True} | more))
    [outcome] = run_policy_tests(Settings(tests=(test,)), TABLE, GRANTS, grant_token=grant_token, now=NOW)
    return outcome


REQUESTS: list[tuple[str, str, dict[str, Any], Reason]] = [
    ("GET", "/code/AUS", {"client": "reader"}, Reason.OK),
    ("GET", "/code/AUS?x=1", {"client": "reader", "scopes": ("country.read",)}, Reason.OK),
    ("GET", "/code/AUS", {"client": "reader", "scopes": ("other",)}, Reason.MISSING_SCOPE),
    ("GET", "/code/AUS", {"client": "reader", "scopes": ()}, Reason.MISSING_SCOPE),
    ("GET", "/code/AUS", {"client": "reader", "scopes": ("none.such",)}, Reason.MISSING_SCOPE),
    ("GET", "/code/AUS", {"client": "stranger"}, Reason.CLIENT_NOT_ALLOWED),
    ("GET", "/code/AUS", {"client": "off"}, Reason.CLIENT_DISABLED),
    ("GET", "/code/AUS", {}, Reason.NO_TOKEN),
    ("POST", "/code/AUS", {"client": "reader"}, Reason.METHOD_NOT_ALLOWED),
    ("GET", "/nowhere", {"client": "reader"}, Reason.NO_ROUTE),
    ("GET", "/code/..", {"client": "reader"}, Reason.BAD_PATH),
    ("GET", "/code/a%2Fb", {"client": "reader"}, Reason.BAD_PATH),
    ("GET", "/s/private%2Fb", {"client": "reader"}, Reason.BAD_PATH),
    ("GET", "/s/other%2Fb", {}, Reason.PUBLIC),
    ("GET", "/either", {"client": "b-only"}, Reason.OK),
    ("GET", "/either", {"client": "reader", "audience": "country"}, Reason.WRONG_AUDIENCE),
    ("GET", "/open", {"client": "stranger"}, Reason.PUBLIC),
    ("GET", "/maybe", {}, Reason.OPTIONAL_ANONYMOUS),
    ("GET", "/maybe", {"client": "stranger"}, Reason.CLIENT_NOT_ALLOWED),
    ("GET", "/x", {}, Reason.NO_ROUTE),
    ("GET", "https://API.example.com:8443/x?y", {}, Reason.PUBLIC),
    ("GET", "http:///x", {}, Reason.BAD_FRAMING),
    ("GET", "/code/AUS", {"claims": {"client_id": "reader", "scope": "country.read"}}, Reason.OK),
    ("GET", "/code/AUS", {"claims": {"sub": "reader", "scope": ["country.read"]}}, Reason.OK),
    ("GET", "/code/AUS", {"claims": {"sub": "reader"}}, Reason.MISSING_SCOPE),
    ("GET", "/code/AUS", {"claims": {"sub": "reader", "aud": "city"}}, Reason.WRONG_AUDIENCE),
    ("GET", "/code/AUS", {"claims": {"sub": "reader", "exp": int(NOW)}}, Reason.EXPIRED),
    ("GET", "/code/AUS", {"claims": {"sub": "reader", "nbf": int(NOW) + 1}}, Reason.NOT_YET_VALID),
    ("GET", "/code/AUS", {"claims": {"sub": "reader", "exp": "soon"}}, Reason.MALFORMED_TOKEN),
    ("GET", "/code/AUS", {"claims": {"scope": "country.read"}}, Reason.MALFORMED_TOKEN),
    ("GET", "/code/AUS", {"client": "reader", "claims": {"aud": "city"}}, Reason.WRONG_AUDIENCE),
]


@pytest.mark.parametrize(("method", "url", "more", "reason"), REQUESTS)
def test_a_test_gets_the_decision_of_the_gate(
    method: str, url: str, more: dict[str, Any], reason: Reason
) -> None:
    outcome = run(method, url, **more)
    assert outcome.decision.reason is reason
    assert outcome.passed is outcome.decision.permits


def test_rules_give_each_reason_that_is_said_to_be_theirs() -> None:
    claims = Reason.CLAIM_MISMATCH  # `tests/policy/test_decide.py` has the rows
    assert {reason for *_, reason in REQUESTS} | {claims} == {reason for reason in Reason if reason.by_rule}


@pytest.mark.parametrize(
    ("expect", "allowed", "refused", "words"),
    [
        ({"expect_allow": True}, True, False, "allow"),
        ({"expect_allow": False}, False, True, "deny"),
        ({"expect_allow": False, "expect_reason": "no_token"}, False, True, "deny: no_token"),
        ({"expect_allow": False, "expect_reason": "missing_scope"}, False, False, "deny: missing_scope"),
        (
            {"expect_allow": False, "expect_reason": "circuit_open"},
            False,
            False,
            "deny: circuit_open (which rules alone never give)",
        ),
        ({"expect_allow": None, "expect_status": 200}, True, False, "status 200"),
        ({"expect_allow": None, "expect_status": 401}, False, True, "status 401"),
        ({"expect_allow": None, "expect_status": 403}, False, False, "status 403"),
    ],
)
def test_expectations(expect: dict[str, Any], allowed: bool, refused: bool, words: str) -> None:
    assert run("GET", "/code/AUS", client="reader", **expect).passed is allowed
    outcome = run("GET", "/code/AUS", **expect)
    assert outcome.passed is refused
    assert outcome.expected == words
    assert (outcome.found, outcome.status) == ("deny: no_token (401)", 401)


def test_outcomes_keep_name_origin_and_order() -> None:
    tests = [
        PolicyTest(str(n), "GET", "/open", expect_allow=True, origin=Origin("p", n, 1)) for n in range(3)
    ]
    outcomes = run_policy_tests(Settings(tests=tests), TABLE, GRANTS, grant_token=grant_token, now=NOW)
    assert [(o.name, o.origin, o.found) for o in outcomes] == [
        (str(n), Origin("p", n, 1), "allow (public)") for n in range(3)
    ]


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("/a/../b?x", ("", b"/a/../b")),
        ("/café", ("", b"/caf%C3%A9")),
        ("http://x.example", ("x.example", b"/")),
        ("http://x.example?q=/a", ("x.example", b"/")),
        ("HTTPS://X.example:1/a//b", ("x.example", b"/a//b")),
        ("http://[::1]:80/a", ("[::1]", b"/a")),
        ("http://user@x/a", None),
    ],
)
def test_split_url_tidies_nothing(url: str, parts: tuple[str, bytes] | None) -> None:
    assert split_url(url) == parts


@pytest.mark.parametrize(
    ("path", "outcome"),
    [
        (b"/s/a%2Fb", "slash"),
        (b"/s/private%2Fb", "bad_path"),
        (b"/o/a%2Fb", "opaque"),
        (b"/m/a;v=1", "matrix"),
        (b"/s/a;v=1", "bad_path"),
        (b"/m/a%2Fb", "bad_path"),
        (b"/none/a;v=1", "bad_path"),
        (b"/none/a%2Fb", "bad_path"),
        (b"/none", "no_route"),
        (b"//", "bad_path"),
    ],
)
def test_what_a_path_may_hold_is_the_routes_say(path: bytes, outcome: str) -> None:
    located = locate(TABLE, "h", path, "GET")
    name = located.route.name if isinstance(located, Located) else str(located.reason)
    assert name == outcome
