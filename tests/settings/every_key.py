"""Hold one configuration that sets every key there is, for tests that go through all of them."""

FILES = {
    "partner.jwks": '{"keys": [{"kty": "OKP", "crv": "Ed25519", '
    '"x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}',
    "ca.pem": "",
    "token": "t" * 40,
}
"""What it names and what is read when it is loaded. The key is that of RFC 8037 A.2."""

PROCESS = """\
version: 1
listeners:
  - address: 127.0.0.1:8080
    serves: [issuer, gate]
    proxy_protocol: true
    behind_tls: true
    tls:
      certificate_file: tls/server.pem
      key_file: tls/server.key
      client_certificate: "off"
      client_ca_file: null
  - address: 127.0.0.1:8443
    tls: {certificate_file: a.pem, key_file: a.key, client_certificate: optional, client_ca_file: ca.pem}
admin:
  address: 127.0.0.1:9090
  hosts: [sidegate.internal]
  token_file: token
issuer:
  url: https://auth.example/prefix
  path_prefix: /prefix
  token_lifetime: 30m
  signing_algorithm: RS256
  scope_claim: array
  introspection: any_client
  assertion_max_lifetime: 2h
  clock_skew: 30s
  cors_origins: [https://app.example]
  rate_limit: {requests: 100, per: 1s}
keys: {directory: keys, publish_ahead: 2h}
state: {url: "rediss://:password@redis.example", consistency: strict, ca_file: ca.pem}
data_directory: data
secrets_directory: secrets
bearer_token_files:
  ours: {file: token, origins: ["https://partner.example"]}
key_set_proxies: {out: "http://proxy.example:3128"}
policy_environment: [BILLING_SECRET]
upstreams:
  country:
    targets: ["https://10.0.0.5:9001", "http://10.0.0.6", "unix:service.sock"]
    balance: round_robin
    host: country.internal
    forward_token: true
    identity_headers: false
    forwarded: both
    keep_headers: [X_Legacy]
    drop_headers: [X-Trusted]
    claim_headers: {X-Auth-Tenant: tenant}
    connect_timeout: 1s
    response_timeout: 10s
    idle_timeout: 1m
    max_connections: 64
    queue: {size: 64, timeout: 500ms}
    retries: 2
    tls: {ca_file: ca.pem, server_name: country.internal, certificate_file: a.pem, key_file: a.key}
    health_check: {path: /healthz, interval: 1s, timeout: 500ms, unhealthy_after: 2, healthy_after: 2}
    outlier: {consecutive_failures: 3, ejection: 10s}
    circuit_breaker: {failure_ratio: 0.25, window: 5s, minimum: 10, open: 1s}
limits:
  connections: 5000
  header_bytes: 16KiB
  header_count: 50
  body_bytes: 10MiB
  header_timeout: 5s
  body_idle_timeout: 10s
  keep_alive_timeout: 1m
  connections_per_peer: 100
  auth_failures: {requests: 10, per: 1m}
  bad_tokens: {requests: 20, per: 1s}
  loop_lag: 100ms
metrics: {buckets: [0.001, 0.1, 1], label_limit: 100, route_histograms: false}
logs: {level: warning, access: access.log, format: text, query: true}
drain_timeout: 10s
shutdown_delay: 1s
trusted_proxies: [10.0.0.0/8]
policies: []
"""

POLICY = """\
clients:
  country:
    description: Country codes
    scopes: {country.read: Read country codes}
  billing:
    secrets: ["sha256:00112233445566778899aabbccddeeff:DIGEST"]
    default_audience: country
    token_lifetime: 15m
    grants: [client_credentials, jwt-bearer]
    auth_methods: [client_secret_basic, private_key_jwt]
    claims: {tenant: acme}
    disabled: false
    jwks_uri: https://billing.example/jwks
    proxy: out
    replay: allow
    require_jti: true
    legacy_audience: true
    assertions:
      - issuer: https://partner.example
        subject: billing
        audience: https://auth.example/prefix
        claims: {team: [red, blue], level: 3}
        jwks_uri: https://partner.example/jwks
        ca_file: ca.pem
        bearer_token: ours
        bearer_token_file: null
        proxy: out
        replay: allow
        allow_missing_exp: true
      - {issuer: 'https://other.example', subject: billing, jwks_file: partner.jwks}
      - {issuer: 'https://third.example', subject: billing, jwks: PARTNER}
  filed: {jwks_file: partner.jwks}
  inline: {jwks: PARTNER}
authorizations:
  - client: billing
    audience: country
    scopes: [country.read]
    default_scopes: [country.read]
    token_lifetime: 5m
    until: 2099-12-31
routes:
  - name: read-country
    host: "*.country.example"
    path: /v1/country/{code}
    methods: [GET, HEAD]
    upstream: country
    require:
      audience: country
      scopes: [country.read]
      any_scopes: [country.read]
      claims: {tenant: [acme, beta]}
      clients: [billing]
    access: required
    rewrite: {strip_prefix: /v1, add_prefix: /v2}
    timeout: 5s
    allow_in_path: [opaque_slash, parameters]
    mode: shadow
    upgrade: [websocket]
    rate_limit: {requests: 10, per: 1s, burst: 20, by: peer}
  - path: /other
    upstream: country
    require: {any_audience: [country, billing]}
tests:
  - name: billing may read
    request: GET http://a.country.example/v1/country/AUS
    client: billing
    audience: country
    scopes: [country.read]
    expect: allow
  - {request: GET /other, claims: {tenant: acme}, expect: {deny: missing_scope}}
  - {request: GET /none, expect: 404}
""".replace("DIGEST", "ab" * 32).replace("PARTNER", FILES["partner.jwks"])
"""It may stand in the main file or in one of its own."""

WHOLE = PROCESS + POLICY
