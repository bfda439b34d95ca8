"""Show the claims that upstreams are to be told and that no token has, each with its place."""
# ruff: noqa: E501 (rows of tables are read better whole)

from collections.abc import Callable

import pytest

from tests.settings.test_claim_headers import CLIENTS, telling

Problems = Callable[..., list[str]]

WARNED = {
    "{X-Auth-T: tennant}": "W gateway.yaml:2:77: upstreams.u.claim_headers.X-Auth-T: no token has this claim (hint: did you mean tenant?)",
    "{X-Auth-T: groups}": "W gateway.yaml:2:77: upstreams.u.claim_headers.X-Auth-T: no token has this claim (hint: did you mean Groups?)",
    "{X-Auth-T: cnf}": "W gateway.yaml:2:77: upstreams.u.claim_headers.X-Auth-T: no token has this claim (hint: `claims` of a client say what its tokens carry)",
    "{X-Auth-T: scope}": "W gateway.yaml:2:77: upstreams.u.claim_headers.X-Auth-T: several scopes have spaces between them, and are left out (hint: identity_headers sends X-Auth-Scope)",
}  # fmt: skip


@pytest.mark.parametrize("members", WARNED)
def test_a_claim_that_never_comes(members: str, problems_of: Problems) -> None:
    assert problems_of(telling(members)) == [WARNED[members]]


@pytest.mark.parametrize(
    "claim", ["tenant", "Groups", "iss", "sub", "client_id", "aud", "iat", "nbf", "exp", "jti"]
)
def test_a_claim_that_comes(claim: str, problems_of: Problems) -> None:
    assert problems_of(telling(f"{{X-Auth-T: {claim}}}")) == []


def test_nobody_has_a_token_yet(problems_of: Problems) -> None:
    assert problems_of(telling("{X-Auth-T: anything}").removeprefix(CLIENTS)) == []


def test_suggestions_have_an_end(problems_of: Problems) -> None:
    found = problems_of(telling("{" + ", ".join(f"X-Auth-C{number}: tennant" for number in range(32)) + "}"))
    assert [line.count("did you mean tenant?") for line in found] == [1] * 20 + [0] * 12
