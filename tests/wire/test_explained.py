"""Show that a refusal says what its caller needs to mend it, and nothing that it does not know."""

import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.enforce.challenge import NAMES_CHARACTERS, NAMES_IN_ANSWER
from gateway.tokens.jwt import MAX_TOKEN_BYTES
from tests.support.appliance import AUDIENCE, ISSUER, Appliance
from tests.support.caller import Answer, assert_own
from tests.support.jws import make_key
from tests.wire.conftest import Start

PLATFORM = "https://platform.example"
PLATFORM_KEY = make_key(kid="2026-06")
SCOPES = {"country.read": "Read", "country.write": "Write", "country.delete": "Delete"}


def demand(**require: Any) -> dict[str, Any]:
    return {"audience": AUDIENCE, "scopes": ["country.read"], **require}


ROUTES = [
    {"name": "read", "path": "/read/{code}", "upstream": "country", "require": demand()},
    {
        "name": "acme",
        "path": "/acme",
        "upstream": "country",
        "require": demand(claims={"tenant": ["acme", "secret-partner"]}),
    },
    {
        "name": "several",
        "path": "/several",
        "upstream": "country",
        "require": {"any_audience": ["other-service", AUDIENCE], "scopes": ["country.read"]},
    },
    {
        "name": "all",
        "path": "/all",
        "upstream": "country",
        "require": demand(scopes=["country.read", "country.write", "country.delete"]),
    },
    {"name": "slashed", "path": "/slashed/", "upstream": "country", "require": demand()},
]
CHANGES: dict[str, Any] = {
    "clients": {
        AUDIENCE: {"scopes": SCOPES, "secrets": ["plain:service"]},
        "other-service": {"scopes": {"country.read": "Read"}},
        "reader": {"secrets": ["plain:reader"]},
    },
    "authorizations": [
        {"client": "reader", "audience": AUDIENCE, "scopes": ["country.read", "country.write"]}
    ],
    "routes": ROUTES,
}


async def get(appliance: Appliance, target: str, *fields: str) -> Answer:
    lines = "".join(f"{line}\r\n" for line in fields)
    return await appliance.ask(f"GET {target} HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n".encode())


def bearer(token: bytes) -> str:
    return f"Authorization: Bearer {token.decode()}"


@dataclass(frozen=True)
class Case:
    name: str
    target: str
    claims: dict[str, object]
    status: int
    reason: str
    members: dict[str, object]
    detail: list[str] = field(default_factory=list)


CASES = [
    Case(
        "a scope that was not asked for",
        "/read/AUS",
        {"scope": "country.write"},
        403,
        "missing_scope",
        {"required_scopes": ["country.read"], "token_scopes": ["country.write"]},
        ["Not asked for: country.read."],
    ),
    Case(
        "no scope at all",
        "/read/AUS",
        {"scope": None},
        403,
        "missing_scope",
        {"required_scopes": ["country.read"], "token_scopes": []},
        ["Not asked for: country.read."],
    ),
    Case(
        "one of each cause",
        "/all",
        {"scope": "country.read country.delete"},
        403,
        "missing_scope",
        {
            "required_scopes": ["country.delete", "country.read", "country.write"],
            "token_scopes": ["country.delete", "country.read"],
        },
        ["Not asked for: country.write.", "No longer granted: country.delete."],
    ),
    Case(
        "a scope that the client may not have",
        "/all",
        {"scope": "country.read country.write"},
        403,
        "missing_scope",
        {
            "required_scopes": ["country.delete", "country.read", "country.write"],
            "token_scopes": ["country.read", "country.write"],
        },
        ["Not granted to the client: country.delete."],
    ),
    Case(
        "another audience",
        "/read/AUS",
        {"aud": "other-service"},
        401,
        "wrong_audience",
        {"required_audience": AUDIENCE, "token_audience": "other-service"},
    ),
    Case(
        "none of several audiences",
        "/several",
        {"aud": "third-service"},
        401,
        "wrong_audience",
        {"required_audience": [AUDIENCE, "other-service"], "token_audience": "third-service"},
    ),
    Case("a claim that is absent", "/acme", {}, 403, "claim_mismatch", {"claim": "tenant"}),
    Case("a claim of another value", "/acme", {"tenant": "beta"}, 403, "claim_mismatch", {"claim": "tenant"}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_what_was_needed_and_what_was_held(case: Case, start: Start) -> None:
    async with start(**CHANGES) as appliance:
        token = appliance.sign(**case.claims)
        for _ in range(2):  # once decided, once remembered
            answer = await get(appliance, case.target, bearer(token))
            assert_own(answer, case.status, case.reason)
            problem = answer.json()
            assert {name: problem.get(name) for name in case.members} == case.members
            for sentence in case.detail:
                assert sentence in problem["detail"]
            # What would do is not told: it may be another tenant's name.
            assert b"secret-partner" not in answer.head + answer.body


async def test_nothing_is_told_of_a_token_that_was_not_verified(start: Start) -> None:
    async with start(**CHANGES) as appliance:
        good = appliance.sign(scope="country.hidden", aud="hidden-service")
        forged = good[:-8] + (b"AAAAAAAA" if good[-8:] != b"AAAAAAAA" else b"BBBBBBBB")
        answer = await get(appliance, "/read/AUS", bearer(forged))
        assert_own(answer, 401, "bad_signature")
        assert b"hidden" not in answer.head + answer.body


@pytest.mark.parametrize("scopes", [[f"scope-{number:04}" for number in range(900)], ["x" * 10_000]])
async def test_a_large_token_makes_no_large_answer(scopes: list[str], start: Start) -> None:
    async with start(**CHANGES) as appliance:
        answer = await get(appliance, "/read/AUS", bearer(appliance.sign(scope=" ".join(scopes))))
        assert_own(answer, 403, "missing_scope")
        problem = answer.json()
        assert problem["token_scopes"] == scopes[: len(problem["token_scopes"])]
        assert len(problem["token_scopes"]) + problem["token_scopes_omitted"] == len(scopes)
        assert len(problem["token_scopes"]) <= NAMES_IN_ANSWER
        assert len(answer.head) + len(answer.body) < NAMES_CHARACTERS + 2048


SECRET = "c2VjcmV0LXRoYXQtbm9ib2R5LW1heS1zZWU"


@pytest.mark.parametrize(
    ("target", "fields", "sentence"),
    [
        ("/read/AUS", [], "Authorization field."),
        (f"/read/AUS?access_token={SECRET}", [], "A token in the query is not read."),
        (f"/read/AUS?a=1&TOKEN={SECRET}", [], "A token in the query is not read."),
        (f"/read/AUS?a=1;jwt={SECRET}", [], "A token in the query is not read."),
        (f"/read/AUS?mytoken={SECRET}", [], "Authorization field."),
        ("/read/AUS", [f"Authorization: Token {SECRET}"], "has scheme Token, not Bearer."),
        ("/read/AUS", [f"Authorization: basic {SECRET}"], "has scheme Basic, not Bearer."),
        ("/read/AUS", [f"Authorization: {SECRET[:20]} {SECRET}"], "has another scheme, not Bearer."),
        ("/read/AUS", [f"Authorization: {SECRET}"], "write Bearer and a space before the token."),
        ("/read/AUS", [f"Authorization: Hunter {SECRET}"], "has another scheme, not Bearer."),
    ],
)
async def test_no_token_says_where_one_was_not_looked_for(
    target: str, fields: list[str], sentence: str, start: Start
) -> None:
    async with start(**CHANGES) as appliance:
        answer = await get(appliance, target, *fields)
        assert_own(answer, 401, "no_token")
        assert answer.json()["detail"].endswith(sentence)
        assert answer.one("WWW-Authenticate") == f'Bearer realm="{AUDIENCE}"'
        for echoed in (SECRET, SECRET[:20], "Hunter"):
            assert echoed.encode() not in answer.head + answer.body


async def test_a_token_that_is_too_large_is_told_so(start: Start) -> None:
    async with start(**CHANGES) as appliance:
        answer = await get(appliance, "/read/AUS", bearer(appliance.sign(filler="x" * MAX_TOKEN_BYTES)))
        assert_own(answer, 401, "malformed_token")
        assert f"larger than {MAX_TOKEN_BYTES} bytes" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("/read/AUS/", "without the slash at its end"),
        ("/slashed", "with a slash at its end"),
        ("/oauth2/token/", "without the slash at its end"),
        ("/.well-known/jwks.json/", "without the slash at its end"),
        ("/nowhere", ""),
        ("/nowhere/", ""),
        ("/", ""),
    ],
)
async def test_a_missing_route_tells_of_its_twin(target: str, hint: str, start: Start) -> None:
    async with start(**CHANGES) as appliance:
        answer = await get(appliance, target)
        assert_own(answer, 404, "no_route")
        detail = answer.json()["detail"]
        assert hint in detail
        assert bool(hint) == ("slash" in detail)


async def test_a_listener_of_the_issuer_alone_tells_of_no_route(start: Start) -> None:
    listeners = [{"address": "127.0.0.1:0", "serves": ["issuer"]}]
    async with start(**{**CHANGES, "listeners": listeners}) as appliance:
        for target, hinted in (("/slashed", False), ("/oauth2/token/", True)):
            answer = await get(appliance, target)
            assert_own(answer, 404, "no_route")
            assert ("slash" in answer.json()["detail"]) == hinted


async def test_a_listener_of_the_gate_alone_tells_of_no_issuer(start: Start) -> None:
    async with start(
        **{**CHANGES, "listeners": [{"address": "127.0.0.1:0", "serves": ["gate"]}]}
    ) as appliance:
        answer = await get(appliance, "/oauth2/token/")
        assert_own(answer, 404, "no_route")
        assert "slash" not in answer.json()["detail"]


async def test_an_authorization_that_has_ended_is_named(start: Start) -> None:
    async with start(**CHANGES) as appliance:
        settings = {**CHANGES["authorizations"][0], "until": "2020-01-01"}
        from_now_on = {**CHANGES, "authorizations": [settings]}
        async with start(**from_now_on) as ended:
            answer = await get(ended, "/read/AUS", bearer(ended.sign()))
            assert_own(answer, 403, "client_not_allowed")
            assert "has ended" in answer.json()["detail"]
        assert (await get(appliance, "/read/AUS", bearer(appliance.sign()))).status == 200


def of_platform(**claims: object) -> bytes:
    """Return a token that another platform signed with a key of its own."""
    now = int(time.time())
    payload = {
        "iss": PLATFORM,
        "sub": "system:serviceaccount:shop:web",
        "aud": "x",
        "iat": now,
        "exp": now + 600,
    }
    return PLATFORM_KEY.token(payload | claims, typ=None).encode()


async def test_a_token_of_another_issuer_is_told_where_to_get_one(start: Start) -> None:
    limits = {"bad_tokens": {"requests": 2, "per": "1m"}}
    async with start(**{**CHANGES, "limits": limits}) as appliance:
        for _ in range(5):  # no signature is checked, so none counts as a bad one
            answer = await get(appliance, "/read/AUS", bearer(of_platform()))
            assert_own(answer, 401, "wrong_issuer")
            assert answer.json()["detail"].endswith(f"This issuer is {ISSUER}.")
            assert b"platform.example" not in answer.head + answer.body
            assert_own(
                await get(appliance, "/read/AUS", bearer(of_platform(iss="reader", sub="reader"))),
                401,
                "wrong_type",
            )
        assert (await get(appliance, "/read/AUS", bearer(appliance.sign()))).status == 200
