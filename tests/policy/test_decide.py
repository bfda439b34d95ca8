"""Hold the decision to one row per reason, and to the property that rights only ever add."""

from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy import decide as decide_module
from gateway.policy.decide import decide
from gateway.policy.model import AudienceGrant, ClientGrants, Decision, Grants, Route
from gateway.reasons import Reason
from gateway.settings.model import Access, Mode, RequireSettings, RewriteSettings
from gateway.tokens.claims import AccessToken

NOW = 1_800_000_000.0
UNTIL = NOW + 60


def a_route(access: Access = Access.REQUIRED, **require: object) -> Route:
    demands = {"audiences": frozenset({"country"}), **require}
    return Route(
        name="r",
        upstream="u",
        path="/a",
        host=None,
        methods=None,
        access=access,
        mode=Mode.ENFORCE,
        require=RequireSettings(**demands),  # type: ignore[arg-type]
        rewrite=RewriteSettings(),
        timeout_s=None,
        allow_encoded_slash=False,
        allow_parameters=False,
        upgrade=frozenset(),
        realm="country",
    )


def a_token(
    scope: str = "read write", *, client: str = "caller", audience: str = "country", **claims: object
) -> AccessToken:
    return AccessToken(
        client_id=client,
        subject=client,
        audience=audience,
        scope=scope,
        scopes=frozenset(scope.split()),
        jti="j",
        issued_at=0,
        not_before=0,
        expires_at=2**40,
        kid="k",
        claims=claims,
    )


def grant(scopes: str = "read write admin", until: float | None = None) -> AudienceGrant:
    return AudienceGrant(frozenset(scopes.split()), until)


GRANTS: Grants = {
    "caller": ClientGrants(False, {"country": grant()}),
    "disabled": ClientGrants(True, {"country": grant()}),
    "elsewhere": ClientGrants(False, {"city": grant()}),
    "limited": ClientGrants(False, {"country": grant("read", UNTIL)}),
    "ended": ClientGrants(False, {"country": grant("read", NOW)}),
}

SCOPES = {"scopes": frozenset({"read", "write"})}
ANY = {"any_scopes": frozenset({"admin", "write"})}
TENANT = {"claims": MappingProxyType({"tenant": ("acme", 1)})}
ROWS: list[tuple[str, Route, AccessToken | None, Reason]] = [
    ("public", a_route(Access.PUBLIC), None, Reason.PUBLIC),
    ("public with a token", a_route(Access.PUBLIC), a_token(audience="x"), Reason.PUBLIC),
    ("no token", a_route(), None, Reason.NO_TOKEN),
    ("optional without", a_route(Access.OPTIONAL, **SCOPES), None, Reason.OPTIONAL_ANONYMOUS),
    ("optional with", a_route(Access.OPTIONAL, **SCOPES), a_token(), Reason.OK),
    ("optional with too little", a_route(Access.OPTIONAL, **SCOPES), a_token("read"), Reason.MISSING_SCOPE),
    ("plain", a_route(), a_token(), Reason.OK),
    ("no scope needed", a_route(), a_token(""), Reason.OK),
    ("other audience", a_route(), a_token(audience="city"), Reason.WRONG_AUDIENCE),
    ("one of audiences", a_route(audiences=frozenset({"city", "country"})), a_token(), Reason.OK),
    ("route without audience", a_route(audiences=frozenset()), a_token(), Reason.WRONG_AUDIENCE),
    ("unknown client", a_route(), a_token(client="gone"), Reason.CLIENT_DISABLED),
    ("disabled client", a_route(), a_token(client="disabled"), Reason.CLIENT_DISABLED),
    ("no authorization", a_route(), a_token(client="elsewhere"), Reason.CLIENT_NOT_ALLOWED),
    ("authorization that holds", a_route(), a_token(client="limited"), Reason.OK),
    ("authorization on its end", a_route(), a_token(client="ended"), Reason.CLIENT_NOT_ALLOWED),
    ("all scopes", a_route(**SCOPES), a_token(), Reason.OK),
    ("token lacks one", a_route(**SCOPES), a_token("read"), Reason.MISSING_SCOPE),
    ("grant lacks one", a_route(**SCOPES), a_token(client="limited"), Reason.MISSING_SCOPE),
    ("any scope", a_route(**ANY), a_token("write"), Reason.OK),
    ("any scope, none there", a_route(**ANY), a_token("read"), Reason.MISSING_SCOPE),
    ("any scope, withdrawn", a_route(**ANY), a_token("write", client="limited"), Reason.MISSING_SCOPE),
    ("claim equal", a_route(**TENANT), a_token(tenant="acme"), Reason.OK),
    ("claim other", a_route(**TENANT), a_token(tenant="other"), Reason.CLAIM_MISMATCH),
    ("claim absent", a_route(**TENANT), a_token(), Reason.CLAIM_MISMATCH),
    ("claim array", a_route(**TENANT), a_token(tenant=["x", "acme"]), Reason.OK),
    ("claim empty array", a_route(**TENANT), a_token(tenant=[]), Reason.CLAIM_MISMATCH),
    ("claim of another type", a_route(**TENANT), a_token(tenant=True), Reason.CLAIM_MISMATCH),
    ("claim of the right type", a_route(**TENANT), a_token(tenant=1), Reason.OK),
    ("claim as float", a_route(**TENANT), a_token(tenant=1.0), Reason.CLAIM_MISMATCH),
    ("claim within text", a_route(**TENANT), a_token(tenant="acme beta"), Reason.CLAIM_MISMATCH),
    ("claim as object", a_route(**TENANT), a_token(tenant={"acme": 1}), Reason.CLAIM_MISMATCH),
    ("on the allow list", a_route(clients=frozenset({"caller"})), a_token(), Reason.OK),
    ("not on the allow list", a_route(clients=frozenset({"x"})), a_token(), Reason.CLIENT_NOT_ALLOWED),
]


@pytest.mark.parametrize(
    ("route", "token", "reason"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_decision(route: Route, token: AccessToken | None, reason: Reason) -> None:
    decision = decide(route, token, grants=GRANTS, now=NOW)
    assert decision.reason is reason
    assert decision.route is route.label
    assert decision.permits is (reason.status == 200)
    if not decision.permits:
        assert decision.expected
        assert decision.found


def test_every_reason_that_can_be_returned_has_a_row() -> None:
    names = set(decide_module.__dict__["decide"].__code__.co_names)
    for function in ("_not_authorized", "_missing_scope"):
        names |= set(decide_module.__dict__[function].__code__.co_names)
    written = {reason for reason in Reason if reason.name in names}
    premade = {Reason.PUBLIC, Reason.OPTIONAL_ANONYMOUS, Reason.NO_TOKEN, Reason.OK}
    assert {row[3] for row in ROWS} == written | premade


def test_the_first_failing_check_gives_the_reason() -> None:
    """Take the faults away one by one, in the order of the checks."""
    route = a_route(scopes=frozenset({"read"}), clients=frozenset({"x"}), **TENANT)
    worst = a_token("", client="disabled", audience="city")
    steps = [
        (worst, Reason.WRONG_AUDIENCE),
        (replace(worst, audience="country"), Reason.CLIENT_DISABLED),
        (a_token("", client="elsewhere"), Reason.CLIENT_NOT_ALLOWED),
        (a_token(""), Reason.MISSING_SCOPE),
        (a_token("read"), Reason.CLAIM_MISMATCH),
        (a_token("read", tenant="acme"), Reason.CLIENT_NOT_ALLOWED),
    ]
    assert [decide(route, token, grants=GRANTS, now=NOW).reason for token, _ in steps] == [
        r for _, r in steps
    ]


@pytest.mark.parametrize(
    ("require", "token", "needed"),
    [
        (SCOPES, a_token("read"), ("read", "write")),
        (ANY, a_token("read"), ("admin",)),
        (ANY, a_token("read", client="limited"), ("admin",)),
        ({"any_scopes": frozenset({"a", "read"})}, a_token("", client="limited"), ("read",)),
        ({**SCOPES, **ANY}, a_token("write"), ("read", "write")),
        ({"scopes": frozenset({"read"}), **ANY}, a_token(""), ("admin", "read")),
    ],
)
def test_the_scopes_that_would_help_are_named(
    require: dict[str, object], token: AccessToken, needed: tuple[str, ...]
) -> None:
    assert decide(a_route(**require), token, grants=GRANTS, now=NOW).needed_scopes == needed


def test_a_withdrawn_scope_is_told_from_one_never_held() -> None:
    decision = decide(a_route(**SCOPES), a_token(client="limited"), grants=GRANTS, now=NOW)
    assert decision.found == "read (no longer granted: write)"


def test_permitting_without_an_end_allocates_nothing() -> None:
    route = a_route()
    first, second = (decide(route, a_token(), grants=GRANTS, now=NOW) for _ in range(2))
    assert first is second is route.ok


@pytest.mark.parametrize(
    ("route", "token"),
    [
        (a_route(), a_token(client="limited")),
        (a_route(**SCOPES), a_token(client="limited")),
        (a_route(**TENANT), a_token(client="limited")),
        (a_route(clients=frozenset({"x"})), a_token(client="limited")),
    ],
)
def test_a_decision_that_time_will_change_says_when(route: Route, token: AccessToken) -> None:
    decision = decide(route, token, grants=GRANTS, now=NOW)
    assert decision.valid_until == UNTIL
    just_before = decide(route, token, grants=GRANTS, now=UNTIL - 0.001)
    assert just_before == decision
    after = decide(route, token, grants=GRANTS, now=UNTIL)
    assert (after.reason, after.valid_until) == (Reason.CLIENT_NOT_ALLOWED, None)


NAMES = st.frozensets(st.sampled_from(["a", "b", "c", "d"]))


@given(required=NAMES, alternatives=NAMES, held=NAMES, granted=NAMES, more=NAMES)
def test_more_scopes_never_turn_allow_into_deny(
    required: frozenset[str],
    alternatives: frozenset[str],
    held: frozenset[str],
    granted: frozenset[str],
    more: frozenset[str],
) -> None:
    route = a_route(scopes=required, any_scopes=alternatives)

    def outcome(token_scopes: frozenset[str], grant_scopes: frozenset[str]) -> Decision:
        grants = {"caller": ClientGrants(False, {"country": AudienceGrant(grant_scopes, None)})}
        return decide(route, a_token(" ".join(token_scopes)), grants=grants, now=NOW)

    decision = outcome(held, granted)
    if decision.permits:
        assert outcome(held | more, granted).permits
        assert outcome(held, granted | more).permits
    else:
        assert set(decision.needed_scopes) >= required
        # With what is named, and all else alike, it would pass.
        assert outcome(held | set(decision.needed_scopes), granted | set(decision.needed_scopes)).permits
