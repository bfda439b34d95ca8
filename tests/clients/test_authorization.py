"""Hold audience, scope and lifetime rules to the contract by a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clients.authorization import Grant, GrantRequest, resolve_grant
from gateway.clients.problems import ErrorCode, OAuthProblem
from gateway.clients.registry import compile_registry
from gateway.settings.model import AuthorizationSettings, ClientSettings, Settings

NOW = 1_000.5
URI = "https://country.example/api"

CLIENTS = [
    ClientSettings("country", scopes={"read": "", "write": "", "admin": ""}),
    ClientSettings(URI, scopes={"read": ""}),
    ClientSettings("//host", scopes={"read": ""}),
    ClientSettings("single"),
    ClientSettings("many", token_lifetime_s=120.0),
    ClientSettings("defaulted", default_audience="country"),
    ClientSettings("lost", default_audience="//host"),
    ClientSettings("nothing"),
    ClientSettings("ending"),
    ClientSettings("ended"),
]
AUTHORIZATIONS = (
    AuthorizationSettings("single", "country", ("read", "write", "gone")),
    AuthorizationSettings("many", "country", ("read", "write"), ("read",), 30.0),
    AuthorizationSettings("many", URI, ("read",)),
    AuthorizationSettings("many", "//host"),
    AuthorizationSettings("defaulted", "country", ("read",)),
    AuthorizationSettings("defaulted", URI, ("read",)),
    AuthorizationSettings("lost", "country", ("read",)),
    AuthorizationSettings("ending", "country", ("read",), until=1_020.0),
    AuthorizationSettings("ending", URI, ("read",), until=1_000.5),
    AuthorizationSettings("ended", "country", ("read",), until=1_000.0),
    AuthorizationSettings("ended", URI, ("read",), until=900.0),
)
REGISTRY = compile_registry(
    Settings(clients={client.id: client for client in CLIENTS}, authorizations=AUTHORIZATIONS)
)


def resolve(client: str, asked: GrantRequest) -> Grant | OAuthProblem:
    return resolve_grant(REGISTRY.clients[client], asked, default_lifetime_s=3600.0, now=NOW)


@pytest.mark.parametrize(
    ("client", "asked", "expected"),
    [
        # audience
        ("single", GrantRequest(), Grant("country", (), 3600)),
        ("single", GrantRequest(audience="country"), Grant("country", (), 3600)),
        ("defaulted", GrantRequest(), Grant("country", (), 3600)),
        ("defaulted", GrantRequest(audience=URI), Grant(URI, (), 3600)),
        ("many", GrantRequest(resources=(URI,)), Grant(URI, (), 120)),
        ("many", GrantRequest(resources=(URI, URI)), Grant(URI, (), 120)),
        ("many", GrantRequest(audience=URI, resources=(URI,)), Grant(URI, (), 120)),
        ("many", GrantRequest(audience="//host"), Grant("//host", (), 120)),
        # scopes
        ("single", GrantRequest(scope="read"), Grant("country", ("read",), 3600)),
        ("single", GrantRequest(scope="write read write"), Grant("country", ("write", "read"), 3600)),
        ("many", GrantRequest(audience="country"), Grant("country", ("read",), 30)),
        ("many", GrantRequest(audience="country", scope="write"), Grant("country", ("write",), 30)),
        # an authorization that ends soon shortens the token, one that ended does not count
        ("ending", GrantRequest(), Grant("country", (), 20)),
    ],
)
def test_what_is_granted(client: str, asked: GrantRequest, expected: Grant) -> None:
    assert resolve(client, asked) == expected


@pytest.mark.parametrize(
    ("client", "asked", "code", "field"),
    [
        ("many", GrantRequest(), ErrorCode.INVALID_REQUEST, "audience"),
        ("nothing", GrantRequest(), ErrorCode.INVALID_REQUEST, "audience"),
        ("nothing", GrantRequest(audience="country"), ErrorCode.INVALID_TARGET, "audience"),
        ("single", GrantRequest(audience="unknown"), ErrorCode.INVALID_TARGET, "audience"),
        ("single", GrantRequest(audience="Country"), ErrorCode.INVALID_TARGET, "audience"),
        ("single", GrantRequest(audience=URI), ErrorCode.INVALID_TARGET, "audience"),
        ("lost", GrantRequest(), ErrorCode.INVALID_TARGET, "audience"),
        ("ending", GrantRequest(audience=URI), ErrorCode.INVALID_TARGET, "audience"),
        ("many", GrantRequest(audience="country", resources=(URI,)), ErrorCode.INVALID_TARGET, "resource"),
        ("many", GrantRequest(resources=(URI, URI + "/x")), ErrorCode.INVALID_TARGET, "resource"),
        ("single", GrantRequest(resources=("country",)), ErrorCode.INVALID_TARGET, "resource"),
        ("many", GrantRequest(resources=("//host",)), ErrorCode.INVALID_TARGET, "resource"),
        ("many", GrantRequest(resources=(URI + "#x",)), ErrorCode.INVALID_TARGET, "resource"),
        ("single", GrantRequest(scope="admin"), ErrorCode.INVALID_SCOPE, "scope"),
        ("single", GrantRequest(scope="read admin"), ErrorCode.INVALID_SCOPE, "scope"),
        ("single", GrantRequest(scope="gone"), ErrorCode.INVALID_SCOPE, "scope"),
        ("single", GrantRequest(scope="READ"), ErrorCode.INVALID_SCOPE, "scope"),
        ("single", GrantRequest(scope="read  write"), ErrorCode.INVALID_SCOPE, "scope"),
        ("single", GrantRequest(scope=" read"), ErrorCode.INVALID_SCOPE, "scope"),
        ("single", GrantRequest(scope='read"'), ErrorCode.INVALID_SCOPE, "scope"),
        ("single", GrantRequest(scope="unknown", audience="x"), ErrorCode.INVALID_TARGET, "audience"),
    ],
)
def test_what_is_refused(client: str, asked: GrantRequest, code: ErrorCode, field: str) -> None:
    problem = resolve(client, asked)
    assert isinstance(problem, OAuthProblem)
    assert problem.code is code
    assert field in problem.description


@pytest.mark.parametrize(
    ("client", "audience", "description"),
    [
        ("many", None, "audience: is missing; name the audience that the token is for"),
        ("nothing", None, "audience: the client is not authorized for any"),
        ("ended", None, "audience: every authorization of the client has ended"),
        ("ended", "country", "audience: the authorization of the client has ended"),
        ("ending", URI, "audience: the authorization of the client has ended"),
        ("ended", "unknown", "audience: is unknown, or the client is not authorized for it"),
    ],
)
def test_a_refusal_names_what_is_wrong(client: str, audience: str | None, description: str) -> None:
    problem = resolve(client, GrantRequest(audience=audience))
    assert isinstance(problem, OAuthProblem)
    assert problem.description == description


def test_unknown_and_unauthorized_audiences_are_alike() -> None:
    assert resolve("nothing", GrantRequest(audience="country")) == resolve(
        "nothing", GrantRequest(audience="?")
    )


@given(
    st.sampled_from([client.id for client in CLIENTS]),
    st.none() | st.sampled_from([client.id for client in CLIENTS]),
    st.none() | st.lists(st.sampled_from(["read", "write", "admin", "gone"]), min_size=1).map(" ".join),
)
def test_nothing_is_granted_beyond_an_authorization(
    client: str, audience: str | None, scope: str | None
) -> None:
    grant = resolve(client, GrantRequest(audience=audience, scope=scope))
    if isinstance(grant, Grant):
        (entry,) = [e for e in AUTHORIZATIONS if (e.client, e.audience) == (client, grant.audience)]
        assert set(grant.scopes) <= set(entry.scopes)
        assert set(grant.scopes) <= set(next(c for c in CLIENTS if c.id == grant.audience).scopes)
