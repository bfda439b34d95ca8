"""Show that a configuration is compiled whole, and that all its problems come at once, in file order."""

import json
import os
from pathlib import Path

import pytest

from gateway.clients.conditions import ClaimValues
from gateway.reasons import Reason
from gateway.reload.compile import compile_configuration
from gateway.reload.key_directory import load_first_keys
from gateway.reload.policy_tests import policy_test_problems, run_configured_tests
from gateway.settings.problems import SettingsError, Severity
from gateway.tokens.key_sets import KeySet
from tests.support.certificates import Authority
from tests.support.jws import make_key

NOW = 1_800_000_000.0

MAIN = """\
version: 1
issuer: {url: "http://127.0.0.1:8080"}
state: "memory:"
upstreams:
  country: {targets: ["http://127.0.0.1:9001"]}
"""
POLICY = """\
clients:
  country-service: {scopes: {country.read: Read}}
  caller:
    secrets: ["plain:a-secret"]
authorizations:
  - {client: caller, audience: country-service, scopes: [country.read]}
"""


@pytest.fixture
def load(tmp_path):
    """Return a function that loads a main file and policies, or returns their problems as lines."""

    def load_files(main=MAIN, **policies):
        if policies:
            (tmp_path / "policies").mkdir(exist_ok=True)
        (tmp_path / "gateway.yaml").write_text(main)
        for name, text in policies.items():
            (tmp_path / "policies" / f"{name}.yaml").write_text(text)
        return compile_configuration(tmp_path / "gateway.yaml", environ={}, now=NOW)

    return load_files


def problems_of(load, *arguments, **policies):
    with pytest.raises(SettingsError) as caught:
        load(*arguments, **policies)
    assert caught.value.watched
    return [
        (problem.file.rpartition("/")[2], problem.line, problem.path, problem.message)
        for problem in caught.value.problems
        if problem.severity is Severity.ERROR
    ]


ROUTES = """\
routes:
  - {name: one, path: "/a/{x}", upstream: country, require: {audience: country-service}}
  - {name: two, path: "/a/{y}", upstream: country, require: {audience: country-service}}
  - {name: three, path: "/b/{", upstream: country, require: {audience: country-service}}
  - {name: four, path: /oauth2/token, upstream: cuntry, require: {audience: country-service}}
"""


OPAQUE = """\
routes:
  - name: project
    path: /projects/{id}
    upstream: country
    access: public
    allow_in_path: [opaque_slash]
  - {name: secret, path: "/projects/{id}/secret", upstream: country, require: {audience: country-service}}
"""


def test_what_a_service_that_decodes_slashes_would_reach_is_a_warning(load):
    found = load(a=POLICY, b=OPAQUE).warnings
    told = [(each.file.rpartition("/")[2], each.line, each.path, each.message) for each in found]
    assert (
        "b.yaml",
        6,
        "routes[0].allow_in_path[0]",
        "a service that decodes %2F would reach 'secret' instead, e.g. GET /projects/segment%2Fsecret",
    ) in told


def test_problems_of_settings_and_of_the_route_table_come_together_in_file_order(load):
    found = problems_of(
        load,
        MAIN + "limitz: {}\n",
        a_clients=POLICY + "  - {client: nobody, audience: country-service, scopes: []}\n",
        b_routes=ROUTES,
        c_more="tests:\n  - {name: t, request: GET /a/1, client: nobody, expect: allow}\n",
    )
    assert [(file, line, path) for file, line, path, _ in found] == [
        ("gateway.yaml", 6, "limitz"),
        ("a_clients.yaml", 7, "authorizations[1].client"),
        ("b_routes.yaml", 3, "routes[1].path"),
        ("b_routes.yaml", 4, "routes[2].path"),
        ("b_routes.yaml", 5, "routes[3].path"),
        ("b_routes.yaml", 5, "routes[3].upstream"),
        ("c_more.yaml", 2, "tests[0].client"),
    ]
    messages = [message for *_, message in found]
    assert "ties with route 'one'" in messages[2]
    assert "is not a parameter" in messages[3]
    assert "the issuer's endpoint /oauth2/token would hide a part of this route" in messages[4]


def test_a_route_that_could_not_be_read_whole_leads_to_no_tie(load):
    """Without its methods it would take all of them, and tie with its neighbour for no reason of its own."""
    found = problems_of(
        load,
        a=POLICY,
        b="""\
routes:
  - {path: /a, methods: [GE T], upstream: country, require: {audience: country-service}}
  - {path: /a, methods: [GET], upstream: country, require: {audience: country-service}}
""",
    )
    assert [(line, path) for _, line, path, _ in found] == [(2, "routes[0].methods[0]")]


def test_routes_tie_across_files(load):
    route = (
        "routes:\n  - {{name: {0}, path: /a, upstream: country, require: {{audience: country-service}}}}\n"
    )
    found = problems_of(load, a=POLICY, b=route.format("b"), c=route.format("c"))
    (problem,) = found
    assert problem[:2] == ("c.yaml", 2)
    assert "b.yaml:2:5" in problem[3]


def test_issuer_paths_are_taken_only_where_issuer_and_gate_share_a_listener(load):
    route = "routes:\n  - {path: /oauth2/token, upstream: country, access: public}\n"
    apart = (
        MAIN + 'listeners:\n  - {address: "127.0.0.1:1", serves: [issuer]}\n'
        '  - {address: "127.0.0.1:2", serves: [gate]}\n'
    )
    assert load(apart, a=route).table.routes[0].path == "/oauth2/token"
    assert len(problems_of(load, a=route)) == 1


def test_policy_tests_get_their_tokens_by_the_issuers_rules(load):
    configuration = load(
        a=POLICY,
        b="""\
routes:
  - path: /a
    upstream: country
    require: {audience: country-service, scopes: [country.read]}
tests:
  - {name: allowed, request: GET /a, client: caller, scopes: [country.read], expect: allow}
  - {name: without its scope, request: GET /a, client: caller, scopes: [], expect: {deny: missing_scope}}
  - {name: no right at all, request: GET /a, client: country-service, expect: {deny: client_not_allowed}}
  - {name: wrong, request: GET /a, client: caller, scopes: [country.read], expect: {deny: no_route}}
""",
    )
    outcomes = run_configured_tests(configuration, now=NOW)
    assert [(outcome.name, outcome.passed) for outcome in outcomes] == [
        ("allowed", True),
        ("without its scope", True),
        ("no right at all", True),
        ("wrong", False),
    ]
    (problem,) = policy_test_problems(outcomes, configuration.path)
    assert (problem.line, problem.path) == (9, "tests[wrong]")
    assert str(Reason.NO_ROUTE) in problem.message


def test_a_key_directory_without_keys_is_a_problem_of_the_configuration(load):
    configuration = load(a=POLICY)
    with pytest.raises(SettingsError, match=r"keys.directory: .*sidegate keys generate"):
        load_first_keys(configuration, create=False)
    made = load_first_keys(configuration, create=True)
    again = load_first_keys(configuration, create=False)
    assert [key.kid for key in again.keys] == [key.kid for key in made.keys]


IDENTITY = """\
clients:
  country-service: {{scopes: {{country.read: Read}}}}
  workload:
    assertions:
      - issuer: https://platform.example
        subject: job
        {files}
{entries}authorizations:
  - {{client: workload, audience: country-service, scopes: [country.read]}}
"""


def prepare_files(directory: Path) -> None:
    (directory / "ca.pem").write_bytes(Authority.make("ours").pem)
    (directory / "token").write_text("platform-token\n")
    (directory / "empty").write_text("")
    (directory / "words").write_text("two words, and no certificate")
    os.mkfifo(directory / "pipe")


@pytest.mark.parametrize(
    ("key", "name", "message"),
    [
        ("ca_file", "absent.pem", '"absent.pem" does not exist'),
        ("ca_file", ".", '"." is not a regular file'),
        ("ca_file", "pipe", '"pipe" is not a regular file'),
        ("ca_file", "ca.pem/below", '"ca.pem/below" cannot be read: Not a directory'),
        ("ca_file", "empty", '"empty" holds no certificates in PEM form'),
        ("ca_file", "words", '"words" holds no certificates in PEM form'),
        ("token", "absent", '"absent" does not exist'),
        ("token", "pipe", '"pipe" is not a regular file'),
        ("token", "empty", '"empty" holds no token'),
        ("token", "words", '"words" holds no token'),
    ],
)
def test_the_files_that_keys_are_fetched_with_are_tried(load, tmp_path, key, name, message):
    prepare_files(tmp_path)

    def with_files(ca_file="ca.pem", token="token"):
        entries = f"bearer_token_files: {{t: {{file: {token}, origins: ['https://platform.example']}}}}\n"
        return MAIN + IDENTITY.format(files=f"ca_file: {ca_file}\n        bearer_token: t", entries=entries)

    load(with_files())
    place = {
        "ca_file": (12, "clients.workload.assertions[0].ca_file"),
        "token": (14, "bearer_token_files.t.file"),
    }[key]
    assert problems_of(load, with_files(**{key: name})) == [("gateway.yaml", *place, message)]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("absent", "does not exist"), ("empty", "is empty"), ("pipe", "is not a regular file")],
)
def test_the_admin_token_is_tried(load, tmp_path, name, reason):
    prepare_files(tmp_path)
    load(MAIN + "admin: {token_file: token}\n")
    message = f'"{name}" cannot be used: the file {reason}'
    found = problems_of(load, MAIN + f"admin: {{token_file: {name}}}\n")
    assert found == [("gateway.yaml", 6, "admin.token_file", message)]


def test_a_policy_learns_nothing_of_files_outside_of_the_secrets(load, tmp_path):
    prepare_files(tmp_path)
    for name in ("token", "absent"):
        policy = f"clients: {{a: {{secrets: ['file:../{name}']}}}}\n"
        ((_, _, _, message),) = problems_of(load, MAIN, country=policy)
        assert message == "the secret lies outside secrets_directory"


def test_key_sets_in_the_configuration_are_read_once(load, tmp_path):
    key = make_key("ES256", "k1").public
    (tmp_path / "keys.jwks").write_text(json.dumps(key))
    loaded = load(
        MAIN
        + f"""\
clients:
  inline: {{jwks: {json.dumps({"keys": [key]})}}}
  filed: {{assertions: [{{issuer: x, subject: y, jwks_file: keys.jwks}}]}}
"""
    )
    inline, filed = (
        loaded.settings.clients["inline"].keys,
        loaded.settings.clients["filed"].assertions[0].keys,
    )
    (identity,) = loaded.registry.identities.find("x", "y", ClaimValues({}), client_id=None)
    assert isinstance(inline.read, KeySet)
    assert loaded.registry.clients["inline"].keys is inline.read
    assert identity.keys is filed.read
