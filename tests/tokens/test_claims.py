"""Read claims without coercing anything."""

import pytest

from gateway.tokens.claims import AccessToken, ClaimProblem, parse_scope, read_access_token

GOOD: dict[str, object] = {
    "iss": "i",
    "sub": "s",
    "client_id": "c",
    "aud": "a",
    "iat": 1,
    "nbf": 1,
    "exp": 2,
    "jti": "j",
    "scope": "x y",
}


def test_every_claim_is_read() -> None:
    token = read_access_token(GOOD, "k")
    assert isinstance(token, AccessToken)
    assert (token.subject, token.client_id, token.audience, token.jti, token.kid) == ("s", "c", "a", "j", "k")
    assert (token.issued_at, token.not_before, token.expires_at) == (1, 1, 2)
    assert (token.scope, token.scopes) == ("x y", frozenset({"x", "y"}))
    assert token.claims == GOOD


def test_a_token_without_scope_has_none() -> None:
    token = read_access_token({k: v for k, v in GOOD.items() if k != "scope"}, "k")
    assert isinstance(token, AccessToken)
    assert (token.scope, token.scopes) == (None, frozenset())


@pytest.mark.parametrize("claim", ["sub", "client_id", "aud", "jti"])
@pytest.mark.parametrize("value", [None, "", 1, True, ["a"], {"a": "b"}, b"x"])
def test_texts_are_non_empty_strings(claim: str, value: object) -> None:
    problem = read_access_token({**GOOD, claim: value}, "k")
    assert isinstance(problem, ClaimProblem)
    assert problem.claim == claim


@pytest.mark.parametrize("claim", ["iat", "nbf", "exp"])
@pytest.mark.parametrize("value", [None, True, False, "1", 1.0, 1.5, -1, 10**12, float("nan"), [1]])
def test_times_are_integers(claim: str, value: object) -> None:
    problem = read_access_token({**GOOD, claim: value}, "k")
    assert isinstance(problem, ClaimProblem)
    assert problem.claim == claim


@pytest.mark.parametrize(
    "value", [None, "", " ", "a ", " a", "a  b", 'a"', "a\\", "é", [], [""], ["a b"], [1], 5, {}]
)
def test_scopes_are_names_with_single_spaces(value: object) -> None:
    problem = read_access_token({**GOOD, "scope": value}, "k")
    assert isinstance(problem, ClaimProblem)
    assert problem.claim == "scope"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", ("a",)),
        ("a b", ("a", "b")),
        ("b a b", ("b", "a")),
        ("https://x/y.z:w/!#[]~", ("https://x/y.z:w/!#[]~",)),
        ("", None),
        (" ", None),
        ("a  b", None),
        ("a\tb", None),
        ('"', None),
    ],
)
def test_scope_lists(text: str, expected: tuple[str, ...] | None) -> None:
    assert parse_scope(text) == expected
