"""Show that the effective configuration loads again as itself and holds no secret."""

from collections.abc import Callable

from gateway.settings.credential_kinds import MASK
from gateway.settings.load import Loaded
from gateway.settings.model import Settings
from gateway.settings.reference import examples
from gateway.settings.show import effective

Load = Callable[..., Loaded]

MORE = """
routes:
  - name: 'on'
    path: /{a}/**
    host: '*.example.com'
    methods: [GET]
    upstream: 010
    access: optional
    mode: shadow
    require:
      any_audience: [a, b]
      any_scopes: [r]
      claims: {x: [1, null, true, '1e3', "0o17"]}
      clients: [a]
    rewrite: {add_prefix: /v2}
    timeout: 1500ms
    allow_in_path: [opaque_slash, parameters]
    rate_limit: {requests: 100, per: 1500ms, burst: 200, by: peer}
clients:
  a: {scopes: {r: ''}, claims: {x: {y: [1, 'off', '010']}}, disabled: true, token_lifetime: 90s}
  b: {auth_methods: [client_secret_post], grants: [client_credentials]}
authorizations:
  - {client: a, audience: a, scopes: [r], default_scopes: [r], until: 2099-12-31, token_lifetime: 1d}
tests:
  - {request: GET /a, claims: {}, expect: 401}
  - {request: GET /a, client: a, scopes: [], expect: {deny: no_route}}
upstreams:
  '010':
    targets: ['http://[::1]:81']
    host: a:1
    queue: {size: 0, timeout: 1ms}
    idle_timeout: 0
    forwarded: both
  secure:
    targets: ['https://[::1]:8443', 'unix:/run/service.sock']
    tls: {ca_file: ca.pem, server_name: service.internal, certificate_file: client.pem}
    health_check: {path: '/healthz?x=1', interval: 1500ms, unhealthy_after: 2}
    outlier: {consecutive_failures: 0}
    circuit_breaker: {failure_ratio: 0.25, open: 1m}
state: 'memory:'
issuer: {rate_limit: {requests: 7, per: 1m}}
limits:
  {body_bytes: 0, header_bytes: 1000KiB, connections_per_peer: 9, loop_lag: 0,
   bad_tokens: {requests: 3, per: 1m}}
listeners:
  - {address: '[::1]:8080', serves: [gate]}
  - address: unix:run/gate.sock
    proxy_protocol: true
    tls: {certificate_file: a.pem, key_file: a.key, client_certificate: "off"}
  - address: '[::1]:8443'
    tls: {certificate_file: a.pem, key_file: a.key, client_certificate: optional, client_ca_file: ca.pem}
""".replace("upstream: 010", "upstream: '010'")


def _comparable(settings: Settings) -> dict[str, object]:
    """Return the settings as text without places and hashes."""
    values: dict[str, object] = {}
    for name in Settings.__dataclass_fields__:
        if name not in ("content_hash", "watched"):
            values[name] = getattr(settings, name)
    for name in ("authorizations", "routes", "tests"):
        values[name] = [_without_origin(item) for item in getattr(settings, name)]
    values["clients"] = [_without_origin(item) for item in settings.clients.values()]
    return values


def _without_origin(item: object) -> dict[str, object]:
    names = item.__dataclass_fields__  # type: ignore[attr-defined]
    return {name: getattr(item, name) for name in names if name != "origin"}


def test_it_loads_again_as_the_same(load_text: Load) -> None:
    settings = load_text(MORE).settings
    assert _comparable(load_text(effective(settings)).settings) == _comparable(settings)


def test_secrets_are_masked(load_text: Load) -> None:
    digest = "cd" * 32
    secrets = (
        f"'plain:hunter2', 'env:S', 'sha256:{'ab' * 16}:{digest}', 'scrypt:1024:8:1:{'ef' * 16}:{digest}'"
    )
    loaded = load_text(f"clients: {{a: {{secrets: [{secrets}]}}}}", environ={"S": "hunter3"})
    text = effective(loaded.settings)
    for hidden in ("hunter2", "hunter3", "abab", "cdcd", "efef"):
        assert hidden not in text
    assert text.count(MASK) == 4


def test_addresses_are_shown_without_passwords_and_secret_parameters(load_text: Load) -> None:
    loaded = load_text(
        """
        upstreams: {u: {targets: ['http://u:1'], health_check: {path: '/h;token=hunter2'}}}
        clients: {a: {assertions: [{issuer: 'https://u:hunter2@x', subject: s, jwks_uri: 'https://x/k?sig=hunter2'}]}}
        tests:
          - {request: 'GET http://u:hunter2@x/y', expect: deny}
          - {name: n, request: 'GET http://u:hunter2@x/z?token=hunter2', expect: deny}
        """
    )
    text = effective(loaded.settings)
    assert "hunter2" not in text
    assert "GET http://[masked]@x/z?token=[masked]" in text


def test_the_examples_of_the_reference_load(load_text: Load) -> None:
    loaded = load_text("".join(examples().values()))
    assert loaded.warnings == ()


def test_what_is_no_reference_to_the_environment_does_not_become_one(load_text: Load) -> None:
    settings = load_text(
        "clients: {a: {description: 'costs $${PRICE} or $$${X}', claims: {'${a}': ['$${b}']}}}"
    ).settings
    assert settings.clients["a"].description == "costs ${PRICE} or $${X}"
    again = load_text(effective(settings), environ={"PRICE": "1", "X": "2"}).settings
    assert _comparable(again) == _comparable(settings)
