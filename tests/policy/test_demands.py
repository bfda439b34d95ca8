"""Hold what a token is compared with to its meaning, and its cost to what the token holds."""

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.enforce.challenge import NAMES_CHARACTERS, refusal_for
from gateway.policy.decide import decide
from gateway.policy.demands import claim_matches, prepare_demands, typed_values
from gateway.policy.model import AudienceGrant, ClientGrants, Route
from gateway.policy.strength import demands_as_much
from gateway.reasons import Reason
from gateway.settings.model import Access, Mode, RequireSettings, RewriteSettings
from gateway.tokens.claims import AccessToken

MANY = 50_000
NAMES = frozenset(f"name-{number:05}" for number in range(MANY))
HELD = frozenset(f"held-{number:04}" for number in range(1000))


def a_route(**require: Any) -> Route:
    return Route(
        name="r",
        upstream="u",
        path="/a",
        host=None,
        methods=None,
        access=Access.REQUIRED,
        mode=Mode.ENFORCE,
        require=RequireSettings(**{"audiences": frozenset({"country"}), **require}),
        rewrite=RewriteSettings(),
        timeout_s=None,
        allow_encoded_slash=False,
        allow_parameters=False,
        upgrade=frozenset(),
        realm="country",
    )


def a_token(scopes: frozenset[str] = frozenset(), **claims: object) -> AccessToken:
    return AccessToken(
        client_id="caller",
        subject="caller",
        audience="country",
        scope=" ".join(scopes),
        scopes=scopes,
        jti="j",
        issued_at=0,
        not_before=0,
        expires_at=2**40,
        kid="k",
        claims=claims,
    )


GRANTS = {"caller": ClientGrants(False, {"country": AudienceGrant(NAMES, None)})}


def claims(**accepted: tuple[object, ...]) -> Mapping[str, tuple[object, ...]]:
    return MappingProxyType(accepted)


LONG_LISTS = [
    ("claims", {"claims": claims(t=tuple(range(MANY)))}, a_token(t=[-n for n in range(1, 1301)])),
    ("claims of one value", {"claims": claims(t=tuple(range(MANY)))}, a_token(t=-1)),
    ("scopes", {"scopes": NAMES}, a_token(HELD)),
    ("any_scopes", {"any_scopes": NAMES}, a_token(HELD)),
    ("both", {"scopes": NAMES, "any_scopes": HELD}, a_token(HELD)),
    ("clients", {"clients": NAMES}, a_token()),
    ("audiences", {"audiences": NAMES}, a_token()),
]


@pytest.mark.parametrize(
    ("require", "token"), [row[1:] for row in LONG_LISTS], ids=[r[0] for r in LONG_LISTS]
)
def test_a_refusal_costs_and_shows_no_more_for_a_long_list_of_the_policy(
    require: dict[str, Any], token: AccessToken
) -> None:
    """A product of the two lists takes seconds, walking the policy's alone tens of milliseconds."""
    route = a_route(**require)

    def refuse() -> float:
        began = time.thread_time()
        decision = decide(route, token, grants=GRANTS, now=0.0)
        refusal = refusal_for(decision)
        took = time.thread_time() - began
        assert not decision.permits
        assert len(decision.expected) < 1000
        assert len(repr(refusal)) < 2 * NAMES_CHARACTERS + 2048
        return took

    assert min(refuse() for _ in range(5)) < 0.003


def test_a_list_that_is_cut_says_how_much_is_left_out() -> None:
    decision = decide(a_route(scopes=NAMES), a_token(), grants=GRANTS, now=0.0)
    assert decision.reason is Reason.MISSING_SCOPE
    refusal = refusal_for(decision)
    members = dict(refusal.members)
    assert members["required_scopes"] == tuple(sorted(NAMES))[:64]
    assert members["required_scopes_omitted"] == MANY - 64
    (field,) = refusal.fields
    assert b"insufficient_scope" in field[1]
    assert b"scope=" not in field[1]


def test_audiences_that_are_cut_are_counted() -> None:
    decision = decide(a_route(audiences=NAMES), a_token(), grants=GRANTS, now=0.0)
    members = dict(refusal_for(decision).members)
    assert members["required_audience"] == tuple(sorted(NAMES))[:64]
    assert members["required_audience_omitted"] == MANY - 64
    assert members["token_audience"] == "country"


def test_long_lists_of_two_routes_are_compared_as_sets() -> None:
    most, fewer = tuple(range(MANY)), tuple(range(MANY - 1))
    began = time.thread_time()
    assert demands_as_much(a_route(claims=claims(t=fewer)), a_route(claims=claims(t=most)))
    assert not demands_as_much(a_route(claims=claims(t=most)), a_route(claims=claims(t=fewer)))
    assert time.thread_time() - began < 1.0


@pytest.mark.parametrize(
    ("mine", "other", "as_much"),
    [
        ((1,), (1, 2), True),
        ((True,), (1,), False),
        ((1.0,), (1,), False),
        (("1",), (1,), False),
        ((1, 2), (1,), False),
        ((None,), (None, ""), True),
    ],
)
def test_types_count_between_routes(mine: Any, other: Any, as_much: bool) -> None:
    assert demands_as_much(a_route(claims=claims(t=mine)), a_route(claims=claims(t=other))) is as_much
    assert not demands_as_much(a_route(), a_route(claims=claims(t=other)))


SCALARS = st.sampled_from([True, False, 1, 0, 1.0, 0.0, "1", "", None, "acme", 2**80])
ODD = st.sampled_from([[], [1], {}, {"acme": 1}])


@given(st.lists(SCALARS, min_size=1, max_size=4), SCALARS | ODD | st.lists(SCALARS | ODD, max_size=4))
def test_a_claim_matches_what_has_its_type_and_value(accepted: list[object], claim: object) -> None:
    values = claim if isinstance(claim, list) else [claim]
    expected = any(type(v) is type(a) and v == a for v in values for a in accepted)
    assert claim_matches({"c": claim}, "c", typed_values(accepted)) is expected
    assert not claim_matches({}, "c", typed_values(accepted))


def test_the_first_few_values_are_named() -> None:
    (demand,) = prepare_demands(RequireSettings(claims=claims(t=tuple(range(20))))).claims
    assert demand.expected == "t: 0 or 1 or 2 or 3 or 4 or 5 or 6 or 7 and 12 more"
    (demand,) = prepare_demands(RequireSettings(claims=claims(t=("x" * 9999,)))).claims
    assert len(demand.expected) < 300
