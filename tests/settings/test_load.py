"""Show how files become settings, and that every mistake is named at its place, at once."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from gateway.settings.fields import MAIN_FILE
from gateway.settings.lists import ListOf, MapOf
from gateway.settings.load import Loaded, load
from gateway.settings.model import (
    Access,
    CircuitBreakerSettings,
    HealthCheckSettings,
    Origin,
    OutlierSettings,
    PlainSecret,
    PolicyTest,
    RequireSettings,
    RewriteSettings,
    Settings,
    TargetSettings,
    TcpAddress,
    UnixTargetSettings,
    UpstreamTlsSettings,
)
from gateway.settings.problems import MOST_PROBLEMS, SettingsError
from gateway.settings.reading import Kind
from gateway.settings.sections import Field, Section

Load = Callable[..., Loaded]
Problems = Callable[..., list[str]]

POLICY = """\
clients:
  country-service:
    scopes: {country.read: Read}
  reader:
    secrets: ["sha256:00112233445566778899aabbccddeeff:%s"]
authorizations:
  - {client: reader, audience: country-service, scopes: [country.read], until: 2027-06-30}
routes:
  - path: /country/{code}
    methods: [GET, HEAD]
    host: API.example.com
    upstream: country
    require: {audience: country-service, scopes: [country.read], claims: {tenant: [acme, 7], beta: true}}
    rewrite: {strip_prefix: /country, add_prefix: /v2}
    timeout: 5s
    allow_in_path: [encoded_slash]
tests:
  - {request: GET /country/AUS, client: reader, expect: {deny: missing_scope}, scopes: []}
  - {name: unknown, request: GET http://x/nothing, expect: 404}
  - {request: GET /country/AUS, claims: {sub: x}, expect: allow}
""" % ("ab" * 32)
MAIN = "upstreams: {country: {targets: ['http://127.0.0.1:9001']}}\n"


def test_the_emptiest_main_file_has_every_default(load_text: Load, tmp_path: Path) -> None:
    settings = load_text("version: 1").settings
    expected = Settings()
    for name in ("listeners", "admin", "issuer", "upstreams", "limits", "metrics", "logs", "drain_timeout_s"):
        assert getattr(settings, name) == getattr(expected, name), name
    assert settings.keys.directory == tmp_path / "keys"
    assert settings.state.sqlite_path == tmp_path / "state/sidegate.db"
    assert settings.secrets_directory == tmp_path / "secrets"


def _defaults(fields: tuple[Field, ...], indent: str = "") -> str:
    """Return the documented defaults of a section as YAML."""
    lines = []
    for item in fields:
        if item.available and isinstance(item.kind, Section) and item.default != "null":
            lines.append(f"{indent}{item.key}:\n{_defaults(item.kind.fields, indent + '  ')}")
        elif item.available and item.default is not None and item.key != "policies":
            lines.append(f"{indent}{item.key}: {item.default}\n")
    return "".join(lines)


def test_documented_defaults_are_the_real_ones(load_text: Load) -> None:
    written = load_text(_defaults(MAIN_FILE.fields)).settings
    silent = load_text("version: 1").settings
    for name in Settings.__dataclass_fields__:
        if name != "content_hash":
            assert getattr(written, name) == getattr(silent, name), name


def test_documented_policy_defaults_are_the_real_ones(load_text: Load) -> None:
    sections = {item.key: item.kind for item in MAIN_FILE.fields}
    required = {
        "upstreams": "  x:\n    targets: ['http://a']\n",
        "clients": "  x:\n    description: ''\n",
        "authorizations": "  -\n    client: x\n    audience: x\n",
        "routes": "  -\n    path: /a\n    upstream: x\n    require: {audience: x}\n",
        "tests": "  -\n    request: GET /a\n    client: x\n    expect: deny\n",
    }
    texts = {}
    for key, text in required.items():
        kind = sections[key]
        assert isinstance(kind, ListOf | MapOf)
        section = kind.item if isinstance(kind, ListOf) else kind.value
        assert isinstance(section, Section)
        defaults = _defaults(tuple(item for item in section.fields if item.key not in text), "    ")
        texts[key] = text + defaults.replace("default_audience: null", "default_audience: null")
    written = load_text("".join(f"{key}:\n{text}" for key, text in texts.items())).settings
    silent = load_text("".join(f"{key}:\n{text}" for key, text in required.items())).settings
    assert written.upstreams == silent.upstreams
    assert list(map(_without_origin, written.routes)) == list(map(_without_origin, silent.routes))
    assert list(map(_without_origin, written.clients.values())) == list(
        map(_without_origin, silent.clients.values())
    )
    assert list(map(_without_origin, written.authorizations)) == list(
        map(_without_origin, silent.authorizations)
    )
    assert list(map(_without_origin, written.tests)) == list(map(_without_origin, silent.tests))


def _without_origin(entry: object) -> dict[str, object]:
    names = entry.__dataclass_fields__  # type: ignore[attr-defined]
    return {name: getattr(entry, name) for name in names if name != "origin"}


def test_a_policy_file_whole(load_text: Load, tmp_path: Path) -> None:
    loaded = load_text(MAIN, {"policies/country.yaml": POLICY})
    assert loaded.warnings == ()
    settings = loaded.settings
    file = str(tmp_path / "policies/country.yaml")
    assert list(settings.clients) == ["country-service", "reader"]
    assert settings.clients["reader"].origin == Origin(file, 4, 3)
    assert settings.authorizations[0].until == 1814400000.0  # 2027-07-01T00:00:00Z
    route = settings.routes[0]
    assert route.name == "GET,HEAD api.example.com/country/{code}"
    assert route.host == "api.example.com"
    assert route.origin == Origin(file, 9, 5)
    assert route.access is Access.REQUIRED
    assert route.require == RequireSettings(
        audiences=frozenset({"country-service"}),
        scopes=frozenset({"country.read"}),
        claims={"tenant": ("acme", 7), "beta": (True,)},
    )
    assert route.rewrite == RewriteSettings("/country", "/v2")
    assert (route.timeout_s, route.allow_encoded_slash, route.allow_parameters) == (5.0, True, False)
    first, second, third = settings.tests
    assert first == PolicyTest(
        "GET /country/AUS",
        "GET",
        "/country/AUS",
        client="reader",
        scopes=(),
        expect_allow=False,
        expect_reason="missing_scope",
        origin=Origin(file, 18, 5),
    )
    assert (second.name, second.url, second.expect_status) == ("unknown", "http://x/nothing", 404)
    assert (third.claims, third.expect_allow) == ({"sub": "x"}, True)


def test_process_values(load_text: Load, tmp_path: Path) -> None:
    settings = load_text(
        """
listeners:
  - {address: '[::1]:8080', serves: [gate]}
  - {address: 127.0.0.1:8081, serves: [issuer]}
state: "memory:"
keys: {directory: /var/keys}
logs: {access: access.log, level: debug, format: text, query: true}
metrics: {buckets: [0.1, 1, 2.5]}
limits: {body_bytes: 10MiB, header_bytes: 8192, header_timeout: 250ms}
trusted_proxies: [10.0.0.0/8, 192.0.2.1]
upstreams:
  country:
    targets: [http://a, 'http://[::1]:81']
    host: fixed.example.com
    keep_headers: [X_Legacy]
    queue: {size: 5}
"""
    ).settings
    assert [listener.address for listener in settings.listeners] == [
        TcpAddress("::1", 8080),
        TcpAddress("127.0.0.1", 8081),
    ]
    assert [(item.serves_issuer, item.serves_gate) for item in settings.listeners] == [
        (False, True),
        (True, False),
    ]
    assert settings.state.sqlite_path is None
    assert settings.keys.directory == Path("/var/keys")
    assert settings.logs.access == str(tmp_path / "access.log")
    assert settings.metrics.buckets == (0.1, 1.0, 2.5)
    assert (settings.limits.body_bytes, settings.limits.header_bytes) == (10 * 1024 * 1024, 8192)
    assert settings.limits.header_timeout_s == 0.25
    assert settings.trusted_proxies == ("10.0.0.0/8", "192.0.2.1/32")
    upstream = settings.upstreams["country"]
    assert upstream.targets == (TargetSettings("a", 80), TargetSettings("::1", 81))
    assert (upstream.keep_headers, upstream.queue_size, upstream.queue_timeout_s) == (
        frozenset({"x_legacy"}),
        5,
        1.0,
    )


def test_an_upstream_that_has_it_all(load_text: Load, tmp_path: Path) -> None:
    upstream = load_text("""
upstreams:
  u:
    targets: ['https://service.internal', 'unix:service.sock']
    tls: {ca_file: ca.pem, server_name: other.internal, certificate_file: /client.pem, key_file: client.key}
    health_check: {path: /healthz}
    outlier: {ejection: 1m}
    circuit_breaker: {}
""").settings.upstreams["u"]
    assert upstream.targets == (
        TargetSettings("service.internal", 443, tls=True),
        UnixTargetSettings(tmp_path / "service.sock"),
    )
    assert [target.url for target in upstream.targets] == [
        "https://service.internal",
        f"unix:{tmp_path}/service.sock",
    ]
    assert upstream.tls == UpstreamTlsSettings(
        tmp_path / "ca.pem", "other.internal", Path("/client.pem"), tmp_path / "client.key"
    )
    assert upstream.health_check == HealthCheckSettings("/healthz", 5, 2, 3, 1)
    assert upstream.outlier == OutlierSettings(5, 60)
    assert upstream.circuit_breaker == CircuitBreakerSettings(0.5, 10, 20, 5)


def test_five_mistakes_are_five_problems_in_file_order(problems_of: Problems) -> None:
    main = "upstreams:\n  country:\n    targets: [ftp://a]\n    retires: 3\ndrain_timeout: 30\n"
    policy = POLICY.replace(
        "audience: country-service, scopes: [country.read], until", "audience: country, until"
    )
    wrong = "is not an upstream address (hint: http://host:port, https://host:port or unix:PATH; "
    wrong += "e.g. targets: [http://10.0.0.5:9001])"
    units = "(hint: a whole number and a unit: 250ms, 30s, 5m, 1h, 30d"
    known = "(hint: there are: country-service, reader)"
    assert problems_of(main, {"policies/a.yaml": policy.replace("timeout: 5s", "timeout: soon")}) == [
        f'E gateway.yaml:3:15: upstreams.country.targets[0]: "ftp://a" {wrong}',
        "E gateway.yaml:4:5: upstreams.country.retires: the key is unknown (hint: did you mean retries?)",
        f'E gateway.yaml:5:16: drain_timeout: "30" is not a duration {units}; e.g. drain_timeout: 30s)',
        f'E policies/a.yaml:7:32: authorizations[0].audience: "country" is not a client {known}',
        f'E policies/a.yaml:15:14: routes[0].timeout: "soon" is not a duration {units}; e.g. timeout: 5s)',
    ]


def _unavailable(kind: Kind, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    match kind:
        case Section(fields=fields):
            found = [(*path, item.key) for item in fields if not item.available]
            return found + [key for item in fields for key in _unavailable(item.kind, (*path, item.key))]
        case ListOf(item=inner):
            return _unavailable(inner, (*path, "[]"))
        case MapOf(value=inner):
            return _unavailable(inner, (*path, "x"))
    return []


UNAVAILABLE = _unavailable(MAIN_FILE, ())


@pytest.mark.parametrize("path", UNAVAILABLE, ids=".".join)
def test_keys_of_later_versions_are_errors(path: tuple[str, ...], problems_of: Problems) -> None:
    text: str = "null"
    for key in reversed(path):
        text = f"[{text}]" if key == "[]" else f"{{{key}: {text}}}"
    shown = ".".join(path).replace(".[]", "[0]")
    found = [problem for problem in problems_of(text) if f": {shown}: the key is not available" in problem]
    assert len(found) == 1
    assert found[0].startswith("E ")


def test_every_key_of_a_later_version_is_known() -> None:
    assert len(UNAVAILABLE) == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clients: {a: {grants: [token-exchange]}}", '"token-exchange" is not available in this version'),
        (
            "clients: {a: {auth_methods: [tls_client_auth]}}",
            '"tls_client_auth" is not available in this version',
        ),
    ],
)
def test_values_of_later_versions_are_errors(text: str, message: str, problems_of: Problems) -> None:
    assert any(message in problem for problem in problems_of(text))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "gateway.yaml:1:1: the file is empty"),
        (b"# nothing\n", "gateway.yaml:1:1: the file is empty"),
        (b"\xef\xbb\xbfversion: 1", "gateway.yaml:1:1: the file begins with a byte order mark"),
        (b"version: 1\n# \xff", "gateway.yaml:1:1: the file is not UTF-8: line 2 holds the byte 0xff"),
        (b"- 1", "gateway.yaml:1:1: expected a configuration as a mapping, found a list"),
        (b"text", "gateway.yaml:1:1: expected a configuration as a mapping, found text"),
        (b"a: [", "gateway.yaml:2:1: YAML syntax"),
        (b"version: 1\n---\nversion: 1\n", "gateway.yaml:2:1: a second document begins here"),
        (b"version: 2", "gateway.yaml:1:10: version: the number is out of bounds"),
    ],
)
def test_files_that_are_no_configuration(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load(tmp_path / "gateway.yaml", environ={})
    assert str(caught.value.problems[0]).replace(f"{tmp_path}/", "").startswith(message)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, message in (
        ("absent", "does not exist"),
        ("pipe", "not a regular file"),
        ("", "not a regular file"),
    ):
        with pytest.raises(SettingsError, match=message) as caught:
            load(tmp_path / name, environ={})
        assert caught.value.watched == (tmp_path / name,)


@pytest.mark.parametrize("leads_to", ["/dev/zero", "secret", "gateway.yaml"])
@pytest.mark.parametrize("policy", ["secrets: ['file:../secrets/secret']", "jwks_file: ../secrets/secret"])
def test_a_file_that_leads_where_it_may_not_is_watched_until_it_is_mended(
    load_text: Load, tmp_path: Path, policy: str, leads_to: str
) -> None:
    link = tmp_path / "secrets" / "secret"
    link.parent.mkdir()
    link.symlink_to(tmp_path / leads_to if leads_to == "gateway.yaml" else leads_to)
    with pytest.raises(SettingsError) as caught:
        load_text("version: 1", {"policies/a.yaml": f"clients: {{a: {{{policy}}}}}"})
    assert tmp_path / "policies" / ".." / "secrets" / "secret" in caught.value.watched


def test_a_broken_policy_file_hides_no_other_problem_and_causes_none(problems_of: Problems) -> None:
    files = {"policies/a.yaml": "clients: [", "policies/b.yaml": POLICY.replace("5s", "5")}
    found = problems_of(MAIN, files)
    assert [problem.partition(" ")[2].split(":")[0] for problem in found] == [
        "policies/a.yaml",
        "policies/b.yaml",
    ]


def test_a_process_key_in_a_policy_file(problems_of: Problems) -> None:
    found = problems_of(MAIN, {"policies/a.yaml": "limits: {}\n"})
    assert found[0].startswith("E policies/a.yaml:1:1: limits: the key belongs into the main file")


def test_a_client_in_two_files_names_both_places(problems_of: Problems) -> None:
    one = "clients:\n  country-service: {}\n"
    message = "this client is defined already at policies/a.yaml:2:3 (hint: one client, one place)"
    assert problems_of(MAIN, {"policies/a.yaml": one, "policies/b.yaml": "\n" + one}) == [
        f"E policies/b.yaml:3:3: clients.country-service: {message}"
    ]


def test_patterns(load_text: Load, problems_of: Problems, tmp_path: Path) -> None:
    files = {
        name: f"clients: {{{Path(name).stem}: {{}}}}" for name in ("p/b.yaml", "p/a.yaml", "p/deep/c.yaml")
    }
    files |= {"p/.hidden.yaml": "broken: [", "p/d.yml": "broken: ["}
    settings = load_text("policies: [p/**/*.yaml, p/a.yaml, '*.yaml']", files).settings
    assert list(settings.clients) == ["a", "b", "c"]
    assert settings.watched == tuple(
        tmp_path / name
        for name in ("gateway.yaml", "p", "p/deep", "p/a.yaml", "p/b.yaml", "p/deep/c.yaml", "")
    )
    assert problems_of("policies: [q/*.yaml]") == [
        (
            'E gateway.yaml:1:12: policies[0]: "q/*.yaml" matches no file'
            " (hint: correct it, or remove it; policies: [] for none)"
        )
    ]
    assert problems_of("policies: [q.yaml]") == [
        (
            'E gateway.yaml:1:12: policies[0]: "q.yaml" does not exist'
            " (hint: put it there, or correct the path)"
        )
    ]


def test_a_directory_for_policies_that_holds_none_is_an_error(
    load_text: Load, problems_of: Problems, tmp_path: Path
) -> None:
    assert load_text("version: 1").settings.routes == ()  # there is no such directory
    (tmp_path / "policies").mkdir()
    assert problems_of("version: 1") == [
        (
            "E gateway.yaml:1:1: policies: policies/*.yaml (the default) matches no file"
            " (hint: put a policy into policies, remove the directory, or write policies: [])"
        )
    ]
    assert load_text("policies: []").settings.routes == ()


def test_a_file_that_no_pattern_takes_is_a_warning(problems_of: Problems) -> None:
    assert problems_of("version: 1", {"policies/a.yaml": "{}", "policies/b.yml": "routes: ["}) == [
        (
            "W gateway.yaml:1:1: policies/b.yml lies beside policy files, and no pattern of `policies` takes "
            "it (hint: rename it, move it away, or add it to `policies`)"
        )
    ]


@pytest.mark.parametrize("text", ["", "# a comment\n", "---\n"])
def test_an_empty_policy_is_no_policy(text: str, problems_of: Problems) -> None:
    (found,) = problems_of("version: 1", {"policies/a.yaml": text})
    assert found.startswith("E policies/a.yaml:1:1: the file is empty")
    assert problems_of("version: 1", {"policies/a.yaml": "{}"}) == []


@pytest.mark.parametrize("make", ["directory", "fifo", "dangling link"])
def test_what_is_named_like_a_policy_and_is_none_is_an_error(
    make: str, problems_of: Problems, tmp_path: Path
) -> None:
    path = tmp_path / "policies" / "b.yaml"
    path.parent.mkdir()
    match make:
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case _:
            path.symlink_to("gone")
    (found,) = problems_of("version: 1", {"policies/a.yaml": "{}"})
    assert found.startswith("E policies/b.yaml:1:1: the file ")


def test_a_directory_that_cannot_be_listed_is_no_empty_policy(
    problems_of: Problems, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    files = {"policies/a.yaml": "{}"}
    assert problems_of("version: 1", files) == []
    monkeypatch.setattr(os, "listdir", refuse)
    for main in ("version: 1", "policies: [policies/*.yaml]", "policies: ['**/*.yaml']"):
        (found,) = problems_of(main, files)
        assert found.startswith("E gateway.yaml:1:")
        assert "cannot be read: Permission denied" in found


# --- environment and secrets


def test_the_environment_in_the_main_file(load_text: Load) -> None:
    settings = load_text(
        "metrics: {label_limit: 7}\ndrain_timeout: ${DRAIN:-9s}\nlimits:\n  connections: ${COUNT}\n"
        "admin:\n  token_file: ${TOKEN_FILE:-null}\n"
        "clients:\n  a:\n    description: '${COUNT} $${COUNT} ${NESTED}'\n    secrets: ['env:S']\n",
        environ={"COUNT": "12", "NESTED": "${COUNT}", "S": "hidden"},
    ).settings
    assert settings.limits.connections == 12
    assert settings.drain_timeout_s == 9
    assert settings.admin.token_file is None
    assert settings.clients["a"].description == "12 ${COUNT} ${COUNT}"
    assert settings.clients["a"].secrets == (PlainSecret(b"hidden", "env"),)


def test_a_quoted_value_stays_text_when_it_is_replaced(problems_of: Problems) -> None:
    found = problems_of("limits: {connections: '${COUNT}'}", environ={"COUNT": "12"})
    assert found == [
        (
            "E gateway.yaml:1:23: limits.connections: expected a whole number, found text"
            " (hint: write it without quotes; e.g. connections: 10000)"
        )
    ]


@pytest.mark.parametrize("allowed", [True, False])
def test_policy_files_use_only_the_allowed_environment(
    allowed: bool, load_text: Load, problems_of: Problems
) -> None:
    policy = {"policies/a.yaml": "clients:\n  a:\n    description: ${NAME}\n    secrets: ['env:NAME']\n"}
    main = "policy_environment: [NAME]" if allowed else "version: 1"
    if allowed:
        assert load_text(main, policy, {"NAME": "x"}).settings.clients["a"].description == "x"
    else:
        found = problems_of(main, policy, {"NAME": "x"})
        assert len(found) == 2
        assert (
            "clients.a.description: the environment variable NAME may not be used in a policy file"
            in found[0]
        )
        assert (
            "clients.a.secrets[0]: the secret cannot be read: the environment variable NAME may not"
            in found[1]
        )


def test_secret_files(load_text: Load) -> None:
    files = {"secrets/one": "first\n", "policies/a.yaml": "clients: {a: {secrets: ['file:../secrets/one']}}"}
    settings = load_text("secrets_directory: secrets", files).settings
    assert settings.clients["a"].secrets == (PlainSecret(b"first", "file"),)
    assert "first" not in repr(settings)


ESCAPES: list[tuple[str, Callable[[Path], object]]] = [
    ("../outside", lambda at: None),
    ("../secrets/../outside", lambda at: None),
    ("../secrets/link", lambda at: (at / "secrets/link").symlink_to(at / "outside")),
    ("../secrets/up/outside", lambda at: (at / "secrets/up").symlink_to(at, target_is_directory=True)),
    ("/etc/hostname", lambda at: None),
    ("../absent", lambda at: None),
]


@pytest.mark.parametrize(("written", "prepare"), ESCAPES, ids=[name for name, _ in ESCAPES])
def test_secret_files_outside_the_directory(
    written: str, prepare: Callable[[Path], object], problems_of: Problems, tmp_path: Path
) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "outside").write_text("hidden")
    prepare(tmp_path)
    policy = {"policies/a.yaml": f"clients: {{a: {{secrets: ['file:{written}']}}}}"}
    found = problems_of("secrets_directory: secrets", policy)
    assert len(found) == 1
    assert "the secret lies outside secrets_directory" in found[0]


def test_the_main_file_may_name_any_secret_file(load_text: Load, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"hidden\r\n")
    main = f"secrets_directory: secrets\nclients: {{a: {{secrets: ['file:{tmp_path}/outside']}}}}"
    assert load_text(main).settings.clients["a"].secrets == (PlainSecret(b"hidden", "file"),)


SECRETS: list[tuple[str, str]] = [
    ("[hunter2]", "the secret has none of the known forms"),
    ("['plain:']", "the secret is empty"),
    ("['plain:hunter2', 'plain:hunter2']", "the secret is readable in this file"),
    ("plain:hunter2", "expected a list of secrets, found text"),
    ("[{hunter2: x}]", "expected a stored secret, found a mapping"),
    ("['sha256:hunter2']", "the secret is not sha256:SALT:HEX"),
    ("['sha256:hunter2:hunter2']", "the secret has a SALT that is not"),
    (f"['sha256:{'0' * 32}:hunter2']", "the secret has a HEX that is not 64 hexadecimal digits"),
    ("['scrypt:hunter2']", "the secret is not scrypt:N:R:P:SALT:HASH"),
    (f"['scrypt:65536:8:1:{'0' * 32}:{'0' * 64}']", "the secret has an N out of bounds"),
    (f"['scrypt:16385:8:1:{'0' * 32}:{'0' * 64}']", "the secret has an N out of bounds"),
    (f"['scrypt:16384:9:1:{'0' * 32}:{'0' * 64}']", "the secret has an R or P out of bounds"),
    (f"['scrypt:16384:8:3:{'0' * 32}:{'0' * 64}']", "the secret has an R or P out of bounds"),
    (f"['scrypt:+16384:8:1:{'0' * 32}:{'0' * 64}']", "the secret has no number as N"),
    ("['env:hunter2']", "is not set"),
    ("['file:']", "the secret names no file"),
    ("['file:absent']", "the secret lies in a file that does not exist"),
    (f"['sha256:{'0' * 32}:{'0' * 64}']", "nobody can use this secret"),
]


@pytest.mark.parametrize(("secrets", "message"), SECRETS)
def test_no_message_repeats_a_secret(secrets: str, message: str, problems_of: Problems) -> None:
    found = problems_of(f"clients: {{a: {{secrets: {secrets}}}}}")
    assert message in found[0]
    if "env:" not in secrets:
        assert "hunter2" not in "".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "drain_timeout: ${V}",
        "issuer: {url: '${V}'}",
        "listeners: [{address: '${V}'}]",
        "state: ${V}",
        "clients: {a: {default_audience: '${V}'}}",
        "authorizations: [{client: '${V}', audience: '${V}', scopes: ['${V}', '${V}']}]",
        "upstreams: {u: {targets: ['${V}']}}\nroutes: [{path: '${V}', upstream: '${V}', methods: ['${V}']}]",
        "clients: {a: {scopes: {r: r}}}\nauthorizations: [{client: a, audience: a, scopes: ['${V}']}]",
        "policies: ['${V}*']",
        "limits: {connections: '${V}'}",
        "tests: [{request: '${V}', expect: '${V}'}]",
    ],
)
def test_messages_show_text_before_expansion(text: str, problems_of: Problems) -> None:
    found = "\n".join(problems_of(text, environ={"V": "hunter2"}))
    assert found
    assert "hunter2" not in found


def test_user_information_in_a_url_is_masked(problems_of: Problems) -> None:
    found = "".join(
        problems_of("issuer: {url: 'https://u:hunter2@a'}\nupstreams: {u: {targets: ['http://u:hunter2@a']}}")
    )
    assert "hunter2" not in found
    assert '"https://***@a" holds user information' in found


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
@pytest.mark.parametrize("scheme", ["env", "file"])
def test_one_line_break_at_the_end_of_a_stored_secret_is_dropped(
    scheme: str, ending: str, load_text: Load, tmp_path: Path
) -> None:
    (tmp_path / "S").write_bytes(b"correct horse battery" + ending.encode())
    main = f"clients: {{a: {{secrets: ['{scheme}:S']}}}}"
    loaded = load_text(main, environ={"S": "correct horse battery" + ending})
    assert loaded.settings.clients["a"].secrets == (PlainSecret(b"correct horse battery", scheme),)
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    "stored", [" secret of some length", "secret of some length\n\n", "secret of some length\t"]
)
def test_other_white_space_around_a_secret_is_a_warning(stored: str, problems_of: Problems) -> None:
    (found,) = problems_of("clients: {a: {secrets: ['env:S']}}", environ={"S": stored})
    assert found.startswith(
        "W gateway.yaml:1:25: clients.a.secrets[0]: the secret begins or ends with white space"
    )


@pytest.mark.parametrize(("count", "sound"), [(4, True), (5, False)])
def test_a_client_has_at_most_four_scrypt_secrets(count: int, sound: bool, problems_of: Problems) -> None:
    listed = ", ".join(
        [f"'sha256:{'ab' * 16}:{'cd' * 32}'", *[f"'scrypt:1024:8:1:{'0' * 32}:{'0' * 64}'"] * count]
    )
    found = problems_of(f"clients: {{a: {{secrets: [{listed}]}}}}")
    assert (found == []) is sound
    if not sound:
        assert found[0].startswith("E gateway.yaml:1:")
        assert "clients.a.secrets[5]: the client has more than 4 scrypt: secrets" in found[0]


@pytest.mark.parametrize(
    "form", ["'sha256:{0:032x}:{0:064x}'", "'plain:secret-number-{0:08}'", "env:SECRET", "file:s"]
)
@pytest.mark.parametrize(("count", "sound"), [(16, True), (17, False)])
def test_a_client_has_at_most_sixteen_secrets_of_any_form(
    form: str, count: int, sound: bool, problems_of: Problems
) -> None:
    """Everybody's failed login is compared with as many as the longest list has."""
    listed = ", ".join(form.format(number) for number in range(1, count + 1))
    text = f"policy_environment: [SECRET]\nclients: {{a: {{secrets: [{listed}]}}}}"
    found = problems_of(text, {"s": "0123456789abcdef"}, {"SECRET": "0123456789abcdef"})
    errors = [each for each in found if each.startswith("E ")]
    assert (errors == []) is sound
    if not sound:
        assert errors[0].startswith("E gateway.yaml:2:")
        assert "clients.a.secrets[16]: the client has more than 16 secrets" in errors[0]


@pytest.mark.parametrize(("count", "sound"), [(16, True), (17, False), (3000, False)])
def test_an_identity_names_at_most_sixteen_claims(count: int, sound: bool, problems_of: Problems) -> None:
    """An assertion of anybody may hold a thousand, and be compared with all of many identities."""
    claims = ", ".join(f"c{number}: x" for number in range(count))
    identity = f"{{issuer: https://a.example, claims: {{{claims}}}, jwks_uri: 'https://a.example/k'}}"
    found = problems_of(f"clients: {{a: {{assertions: [{identity}]}}}}")
    errors = [each for each in found if each.startswith("E ")]
    assert (errors == []) is sound, errors
    if not sound:
        assert errors[0].startswith("E gateway.yaml:1:")
        assert "clients.a.assertions[0].claims.c16: the identity names more than 16 claims" in errors[0]


@pytest.mark.parametrize("text", ["plain:${A:-${B}}", "x${A:-{}", "${A:-${A:-x}}"])
def test_a_nested_default_is_an_error_with_its_place(text: str, problems_of: Problems) -> None:
    (found,) = problems_of(f"clients: {{a: {{description: '{text}'}}}}", environ={"A": "hunter2"})
    assert found.startswith("E gateway.yaml:1:28: clients.a.description: the default of A holds {")
    assert "hunter2" not in found


def test_links_upon_links_are_walked_once_each(load_text: Load, tmp_path: Path) -> None:
    """Thirty levels of two links each are a thousand million ways to one file."""
    at = tmp_path / "policies"
    at.mkdir()
    for level in range(29):
        (tmp_path / f"d{level + 1}").mkdir()
        (at / "a").symlink_to(tmp_path / f"d{level + 1}")
        (at / "b").symlink_to(tmp_path / f"d{level + 1}")
        at = tmp_path / f"d{level + 1}"
    (at / "p.yaml").write_text("clients: {a: {}}\n")
    assert "a" in load_text("policies: ['policies/**/*.yaml']").settings.clients


def test_the_name_of_a_file_stays_on_its_line(problems_of: Problems) -> None:
    (found,) = problems_of("version: 1", {"policies/a\x1b[2J\nb.yaml": "cliens: {}"})
    assert found.startswith(r"E policies/a\x1b[2J\nb.yaml:1:1: cliens: ")


def test_more_mistakes_than_anybody_reads_are_counted(problems_of: Problems) -> None:
    warned = "".join(f"  c{index}: {{disabled: true}}\n" for index in range(10))
    wrong = "".join(f"  w{index}: {{secretz: 1}}\n" for index in range(MOST_PROBLEMS + 7))
    found = problems_of(f"clients:\n{warned}{wrong}")
    assert len(found) == MOST_PROBLEMS + 1
    assert all(line.startswith("E ") for line in found)  # the warnings are left out first
    assert found[-1] == "E gateway.yaml:1:1: 17 more are not listed"


def test_claims_that_no_token_can_hold_are_refused(problems_of: Problems) -> None:
    deep = "[" * 20 + "]" * 20
    (found,) = problems_of(f"clients: {{a: {{claims: {{x: {deep}}}}}}}")
    assert "clients.a.claims: the claims nest too deep for a token" in found
    assert problems_of("clients: {a: {claims: {x: [[[[[[1]]]]]]}}}") == []


def test_the_content_hash_follows_every_file(load_text: Load) -> None:
    def content_hash(main: str, files: Mapping[str, str]) -> str:
        return load_text(main, files).settings.content_hash

    policy = {"policies/a.yaml": "clients: {}", "policies/b.yaml": "routes: []"}
    hashes = {
        content_hash(MAIN, policy),
        content_hash(MAIN, policy | {"policies/a.yaml": "clients: {} "}),
        content_hash(MAIN, {"policies/a.yaml": "clients: {}#", "policies/b.yaml": "routes: []"}),
        content_hash(MAIN + "#", policy),
    }
    assert len(hashes) == 4
    assert content_hash(MAIN, policy) in hashes


def test_two_thousand_mistakes_are_all_named(problems_of: Problems) -> None:
    routes = "".join(
        f"  - {{path: /{index}, upstream: up{index}, access: public}}\n" for index in range(2000)
    )
    found = problems_of(f"routes:\n{routes}")
    assert len(found) == 2000
    assert found[-1].startswith('E gateway.yaml:2001:29: routes[1999].upstream: "up1999" is not an upstream')
