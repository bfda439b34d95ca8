"""Show that the example of each key can be written at that very place, and that no word leads astray.

One configuration holds what the examples name. Each key is set to its example in a section of its own
that is whole, and the real loader and the schema must take it.
"""

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import yaml
from jsonschema import Draft202012Validator

from gateway.settings.fields import MAIN_FILE
from gateway.settings.lists import ListOf, MapOf
from gateway.settings.policy_keys import POLICY_FIELDS
from gateway.settings.problems import plain_word
from gateway.settings.reading import Kind
from gateway.settings.schema import main_schema, policy_schema
from gateway.settings.sections import Field, Section
from gateway.settings.unknown_keys import KeyFinder
from tests.settings.conftest import Load
from tests.settings.every_key import FILES

KEY_SET = FILES["partner.jwks"]
NAMED = {"reporting.jwks": KEY_SET, "partner-ca.pem": "", "ca.pem": "", "secrets/admin.token": "t" * 40}
"""The files that examples name and that are read when they are loaded."""

WORLD = """\
policy_environment: [REPORTING_SECRET]
bearer_token_files: {kubernetes: {file: token, origins: ["https://accounts.example"]}}
key_set_proxies: {corporate: "http://proxy.internal:3128"}
trusted_proxies: [10.0.0.0/8]
upstreams:
  country: {targets: ["https://10.0.0.5:9001"]}
clients:
  country-service: {scopes: {country.read: Read, country.write: Write}}
  reporting-job: {secrets: [env:REPORTING_SECRET]}
authorizations: [{client: reporting-job, audience: country-service, scopes: [country.read]}]
routes: [{path: /health, upstream: country, access: public}]
"""
ENVIRON = {"REPORTING_SECRET": "0123456789abcdef0123456789abcdef"}

WHOLE: dict[str, Any] = {
    "listeners": {"address": "127.0.0.1:8081"},
    "listeners.tls": {"certificate_file": "a.pem", "key_file": "a.key"},
    "upstreams": {"targets": ["https://10.0.0.5:9001"]},
    "upstreams.tls": {"certificate_file": "a.pem"},
    "upstreams.health_check": {"path": "/healthz"},
    "issuer.rate_limit": {"requests": 100},
    "bearer_token_files": {"file": "token", "origins": ["https://accounts.example"]},
    "state": {"url": "rediss://redis.internal"},
    "clients.assertions": {"issuer": "https://accounts.example", "subject": "job"},
    "authorizations": {
        "client": "country-service",
        "audience": "country-service",
        "scopes": ["country.read"],
    },
    "routes": {"path": "/ms-system/mine", "upstream": "country", "require": {"audience": "country-service"}},
    "routes.require": {"audience": "country-service"},
    "routes.rate_limit": {"requests": 10, "per": "1s"},
    "tests": {"request": "GET /health", "expect": "allow"},
}
"""What a section holds beside the one key, where that is demanded."""
BESIDE: dict[str, dict[str, Any]] = {
    "listeners.tls.client_certificate": {"client_ca_file": "ca.pem"},
    "listeners.tls.client_ca_file": {"client_certificate": "optional"},
    "clients.proxy": {"jwks_uri": "https://accounts.example/jwks"},
    "clients.auth_methods": {"secrets": ["env:REPORTING_SECRET"]},
    "clients.assertions.bearer_token": {"jwks_uri": "https://accounts.example/jwks"},
    "authorizations.default_scopes": {"scopes": ["country.read"]},
    "routes.access": {"require": None},
    "routes.path": {"require": {"audience": "country-service", "scopes": ["country.write"]}},
    "tests.scopes": {"client": "reporting-job"},
    "tests.audience": {"client": "reporting-job"},
}


class Row(NamedTuple):
    """One key and where it stands: the keys that lead to it."""

    way: tuple[Field, ...]

    @property
    def name(self) -> str:
        return ".".join(item.key for item in self.way)


def section_of(kind: Kind) -> Section | None:
    """Return the section whose entries a kind holds."""
    for inner in (
        kind,
        getattr(kind, "item", None),
        getattr(kind, "value", None),
        getattr(kind, "mapping", None),
    ):
        if isinstance(inner, Section):
            return inner
    return None


def rows(section: Section, before: tuple[Field, ...] = ()) -> Iterator[Row]:
    """Yield every key that works, in every section."""
    for item in section.fields:
        if item.available:
            yield Row((*before, item))
            below = section_of(item.kind)
            if below is not None:
                yield from rows(below, (*before, item))


ROWS = {row.name: row for row in rows(MAIN_FILE)}
MOVED = "clients.assertions.bearer_token_file"


def placed(row: Row) -> dict[str, Any]:
    """Return the configuration with the key set to its example, in a section that is whole."""
    value: Any = row.way[-1].example_value
    for index in range(len(row.way) - 1, 0, -1):
        owner, name = row.way[index - 1], ".".join(item.key for item in row.way[:index])
        key = row.way[index].key
        beside = BESIDE.get(f"{name}.{key}", {}) if index == len(row.way) - 1 else {}
        members = {**copy.deepcopy(WHOLE.get(name, {})), **beside, key: value}
        section = section_of(owner.kind)
        assert section is not None
        for group in section.one_of:
            if key in group:
                members = {
                    member: each for member, each in members.items() if member not in group or member == key
                }
        value = {member: each for member, each in members.items() if each is not None or member == key}
        if isinstance(owner.kind, ListOf):
            value = [value]
        elif isinstance(owner.kind, MapOf):
            value = {"mine": value}
    whole = yaml.safe_load(WORLD)
    first = row.way[0].key
    if isinstance(value, dict) and isinstance(whole.get(first), dict):
        value = {**whole[first], **value}
    elif (
        isinstance(value, list)
        and isinstance(whole.get(first), list)
        and isinstance(section_of(row.way[0].kind), Section)
    ):
        value = [*whole[first], *(item for item in value if item not in whole[first])]
    return {**whole, first: value}


@pytest.mark.parametrize("name", [name for name in ROWS if name != MOVED])
def test_the_example_of_each_key_is_taken_at_its_place(name: str, load_text: Load) -> None:
    row = ROWS[name]
    assert row.way[-1].example(), "a key has an example: give it `such_as`"
    whole = placed(row)
    files = {**NAMED, "token": "t" * 40, "a.pem": "", "a.key": "", "policies/none.yaml": "{}"}
    load_text(yaml.safe_dump(whole, sort_keys=False), files, ENVIRON)
    assert [error.message for error in Draft202012Validator(main_schema()).iter_errors(whole)] == []
    if row.way[0] in POLICY_FIELDS:
        policy = {item.key: whole[item.key] for item in POLICY_FIELDS if item.key in whole}
        assert list(Draft202012Validator(policy_schema()).iter_errors(policy)) == []


@pytest.mark.parametrize("name", [name for name in ROWS if name != MOVED])
def test_the_example_stands_in_the_schema_and_in_what_is_said(name: str, load_text: Load) -> None:
    item = ROWS[name].way[-1]
    assert item.schema()["examples"] == [item.example_value]
    written = yaml.safe_load(item.with_example())
    assert written == {item.key: yaml.safe_load(item.example())}
    assert "\n" not in item.example()


@pytest.mark.parametrize(
    "section", {id(row.way[-1]): row for row in ROWS.values()}.values(), ids=lambda row: row.name
)
def test_an_alias_leads_to_its_key_and_is_none_itself(section: Row) -> None:
    *before, item = section.way
    owner = section_of(before[-1].kind) if before else MAIN_FILE
    assert owner is not None
    keys = {plain_word(each.key) for each in owner.fields}
    finder = KeyFinder(MAIN_FILE)
    for alias in item.aliases.split():
        assert plain_word(alias) not in keys, f"{alias} is a key here"
        others = [each.key for each in owner.fields if each is not item and alias in each.aliases.split()]
        assert others == [], f"{alias} stands for {others}, too"
        found = finder.find(owner, alias)
        assert found.hint == f"did you mean {item.key}? e.g. {item.with_example()}"
        assert found.keys == ((owner, item.key),)
