"""Read what upstreams are told of claims: every mistake beside a configuration that passes."""
# ruff: noqa: E501 (rows of tables are read better whole)

from collections.abc import Callable

import pytest

from gateway.settings.load import Loaded
from gateway.settings.reference import render

Load = Callable[..., Loaded]
Problems = Callable[..., list[str]]

CLIENTS = (
    "clients: {a: {secrets: ['sha256:00112233445566778899aabbccddeeff:"
    + "ab" * 32
    + "'], claims: {tenant: x, Groups: []}}}\n"
)


def telling(members: str) -> str:
    return f"{CLIENTS}upstreams: {{u: {{targets: ['http://127.0.0.1:81'], claim_headers: {members}}}}}\n"


def test_names_are_kept_as_they_are_written(load_text: Load) -> None:
    loaded = load_text(
        telling("{X-Auth-Tenant: tenant, x-auth-GROUPS-2: Groups, X-Auth-J: jti, X-Auth-Again: tenant}")
    )
    assert loaded.warnings == ()
    assert list(loaded.settings.upstreams["u"].claim_headers.items()) == [
        ("X-Auth-Tenant", "tenant"),
        ("x-auth-GROUPS-2", "Groups"),
        ("X-Auth-J", "jti"),
        ("X-Auth-Again", "tenant"),
    ]
    assert load_text(telling("{}")).settings.upstreams["u"].claim_headers == {}
    assert load_text("upstreams: {u: {targets: ['http://a']}}").settings.upstreams["u"].claim_headers == {}


HINT = "(hint: X-Auth- and a word: X-Auth-Tenant)"
OTHERS = [
    *("X-Tenant", "Tenant", "X-Auth", "X-Auth-", "X-Auth--Tenant", "X-Auth-Tenant-", "X-Auth-Ten--ant"),
    *("X_Auth_Tenant", "X-Auth_Tenant", "X-Auth-Ten_ant", "X-Authority-Tenant", "XAuth-Tenant", "Authorization"),
    *("X-Auth-Té", "X-Auth-Ten ant", "X-Auth-T:", "X-Sidegate-Tenant", "X-Auth-" + "x" * 122),
    *(r'"X-Auth-T\r\nX-Auth-Client-Id"', r'"X-Auth-T\n"', '"X-Auth-T "', '" X-Auth-T"', '""'),
]  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_a_name_that_a_caller_might_send(name: str, problems_of: Problems) -> None:
    quoted = name if name.startswith('"') else f"'{name}'"
    (found,) = problems_of(telling(f"{{{quoted}: tenant}}"))
    assert found.startswith("E gateway.yaml:2:67: upstreams.u.claim_headers")
    assert found.endswith(f"is not the name of a field for a claim {HINT}")


@pytest.mark.parametrize(
    "name", ["X-Auth-Client-Id", "x-auth-client-id", "X-AUTH-SUBJECT", "X-Auth-Audience", "X-Auth-Scope"]
)
@pytest.mark.parametrize("more", ["", ", identity_headers: false"])
def test_the_fields_that_say_who_calls(name: str, more: str, problems_of: Problems) -> None:
    (found,) = problems_of(telling(f"{{{name}: tenant}}{more}"))
    assert found == (
        f'E gateway.yaml:2:67: upstreams.u.claim_headers.{name}: "{name}" says who calls '
        "(hint: identity_headers sends it; choose another name)"
    )


MISTAKES = {
    "{X-Auth-T: tenant, x-AUTH-t: tenant}": 'E gateway.yaml:2:85: upstreams.u.claim_headers.x-AUTH-t: the name is the same as "X-Auth-T" for its reader (hint: write one)',
    "{X-Auth-T: tenant, X-Auth-T: tenant}": "E gateway.yaml:2:85: upstreams.u.claim_headers.X-Auth-T: the key is here twice, first in line 2 (hint: keep one of the two)",
    "{X-Auth-T: [tenant]}": "E gateway.yaml:2:77: upstreams.u.claim_headers.X-Auth-T: expected a claim name, found a list (hint: e.g. claim_headers: {X-Auth-Tenant: tenant})",
    "{X-Auth-T: 5}": "E gateway.yaml:2:77: upstreams.u.claim_headers.X-Auth-T: expected a claim name, found a number (hint: put it in quotes to make it text)",
    "{X-Auth-T: null}": "E gateway.yaml:2:77: upstreams.u.claim_headers.X-Auth-T: expected a claim name, found nothing (hint: e.g. claim_headers: {X-Auth-Tenant: tenant})",
    "{X-Auth-T: ''}": 'E gateway.yaml:2:77: upstreams.u.claim_headers.X-Auth-T: "" is not a claim name (hint: 1 to 128 printable characters; e.g. claim_headers: {X-Auth-Tenant: tenant})',
    "[X-Auth-T]": "E gateway.yaml:2:66: upstreams.u.claim_headers: expected a mapping of field names to claims, found a list (hint: e.g. claim_headers: {X-Auth-Tenant: tenant})",
}  # fmt: skip


@pytest.mark.parametrize("members", MISTAKES)
def test_a_mistake(members: str, problems_of: Problems) -> None:
    assert problems_of(telling(members)) == [MISTAKES[members]]


@pytest.mark.parametrize("count", [32, 33])
def test_an_upstream_is_told_so_many(count: int, problems_of: Problems) -> None:
    members = ", ".join(f"X-Auth-C{number}: tenant" for number in range(count))
    found = problems_of(telling(f"{{{members}}}"))
    too_many = "E gateway.yaml:2:66: upstreams.u.claim_headers: there are too many of them (hint: at most 32)"
    assert found == ([] if count == 32 else [too_many])


def test_the_reference_tells_of_it() -> None:
    assert "| `claim_headers` | mapping of field names to claims | `{}` |" in render()
