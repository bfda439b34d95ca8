"""List every key of the configuration: its kind, default, meaning, availability.

The loader reads by this table and `docs/configuration.md` is rendered from it,
so a key that is not here does not exist. A key of the contract that has no
effect yet is here with `available=False`; deleting that argument (and giving the
model a place for the value) makes it work. Defaults are written as YAML for the
reader; the real ones are those of `gateway.settings.model`, and a test holds the
two together.

Sources: CONTRACT section 2.
"""

from gateway.oauth_names import AUTH_METHODS, auth_methods
from gateway.settings import build
from gateway.settings.credential_kinds import InlineKeys, KeyFile, SecretText
from gateway.settings.kinds import (
    Buckets,
    EntryName,
    Flag,
    Json,
    MovedFile,
    OneOrMore,
    PublicFile,
    Quantity,
    Ratio,
    Text,
    Whole,
)
from gateway.settings.model import MAX_CLOCK_SKEW_S, REASONS_FOR_REFUSAL
from gateway.settings.quantities import DURATION, SIZE
from gateway.settings.reading import Kind
from gateway.settings.sections import Claims, Field, ListOf, MapOf, Section, SomeOf
from gateway.settings.texts import (
    choose_from,
    parse_address,
    parse_admin_host,
    parse_check_path,
    parse_claim_name,
    parse_client_id,
    parse_dropped_header,
    parse_file_text,
    parse_host_pattern,
    parse_host_value,
    parse_identity_text,
    parse_issuer_url,
    parse_kept_header,
    parse_key_set_proxy,
    parse_key_uri,
    parse_line,
    parse_method,
    parse_name,
    parse_network,
    parse_origin,
    parse_own_claim_name,
    parse_path_prefix,
    parse_path_template,
    parse_protocol,
    parse_scope,
    parse_server_name,
    parse_target,
    parse_token_origin,
    parse_variable,
    place_address,
)

_YEAR = 365 * 86400
_TIMEOUT = Quantity(DURATION, 0.001, _YEAR, "from 1ms to 365d; it cannot be unlimited")
_DELAY = Quantity(DURATION, 0, 3600, "from 0s to 1h")
_TIMEOUT_OR_NONE = Quantity(DURATION, 0, _YEAR, "up to 365d; 0 is unlimited")
_INTERVAL = Quantity(DURATION, 0.25, 86400, "from 250ms to 1d")
_LIFETIME = Quantity(DURATION, 1, _YEAR, "whole seconds, from 1s to 365d", whole=True)
_BODY_SIZE = Quantity(SIZE, 0, 2**50, "up to 1024TiB; 0 is unlimited")
_HEADER_SIZE = Quantity(SIZE, 1024, 2**20, "from 1KiB to 1MiB")
_COUNT_OR_NONE = Whole(0, 10_000_000)
_FLAG = Flag()
_LINE = Text("text", parse_line)
_FILE = Text("path", parse_file_text, build.place_path)
_CLIENT = Text("client id", parse_client_id)
_SCOPE = Text("scope name", parse_scope)
_SCOPES = ListOf("list of scopes", _SCOPE)
_SCOPE_SET = ListOf("list of scopes", _SCOPE, into=frozenset)
_CLIENT_SET = ListOf("list of client ids", _CLIENT, into=frozenset)


def _one_of(*words: str, later: tuple[str, ...] = ()) -> Text:
    return Text(" | ".join(words), choose_from("known here", words, later), words=words)


def _later(key: str, doc: str, default: str | None = None, kind: Kind = Json("value")) -> Field:  # noqa: B008 (frozen)
    """Return a key that the contract has and this version does not."""
    return Field(key, kind, doc, default, available=False)


# --- the process: gateway.yaml only ---------------------------------------------

_ADDRESS = Text("address", parse_address, place_address)

SERVER_TLS = Section(
    "TLS",
    (
        Field(
            "certificate_file",
            _FILE,
            "PEM file with the certificate and the chain behind it. This and the two other files are "
            "read again when they change; until they fit together the former ones stay in use.",
            required=True,
        ),
        Field("key_file", _FILE, "PEM file with the private key, not encrypted.", required=True),
        Field(
            "client_certificate",
            _one_of("off", "optional", "required"),
            "Whether callers are asked for a certificate. `optional`: one that is sent must be valid; "
            "`required`: no connection without one.",
            '"off"',
        ),
        Field(
            "client_ca_file",
            _FILE,
            "PEM file with the authorities that may have signed callers' certificates. Needed unless "
            "`client_certificate` is `off`.",
            "null",
        ),
    ),
    build.make_tls,
)

BEARER_TOKEN = Section(
    "bearer token",
    (
        Field(
            "file",
            _FILE,
            "The file that holds it, there when the configuration is loaded and read again for every fetch.",
            required=True,
        ),
        Field(
            "origins",
            ListOf(
                "list of origins",
                Text("origin", parse_token_origin, is_address=True),
                1,
                hint="at least one https://host",
            ),
            "Where it may be sent: `https://host[:port]`, or `http://` on loopback. Nothing else gets it, "
            "whatever a policy, a redirect or an issuer's metadata names.",
            required=True,
        ),
    ),
    build.make_bearer_token,
)

LISTENER = Section(
    "listener",
    (
        Field(
            "address",
            _ADDRESS,
            'Where to listen: `host:port`, IPv6 in brackets (`"[::1]:8080"`, quoted), or `unix:PATH`, made '
            "with mode 0660. Port 0 lets the system choose.",
            required=True,
        ),
        Field(
            "serves",
            ListOf("list of parts", _one_of("issuer", "gate"), 1, hint="issuer, gate or both"),
            "Which halves answer here. On a listener that serves both, the issuer's endpoints win over "
            "routes.",
            "[issuer, gate]",
        ),
        Field(
            "proxy_protocol",
            _FLAG,
            "Each connection begins with a PROXY protocol header (v1 or v2) that names the caller. Only "
            "peers in `trusted_proxies`, and those that may open the unix socket, are let in.",
            "false",
        ),
        Field(
            "tls",
            SERVER_TLS,
            "Certificate and key of this listener, and what it asks of client certificates.",
            "null",
        ),
    ),
    build.make_listener,
)

ADMIN = Section(
    "admin listener",
    (
        Field(
            "address",
            _ADDRESS,
            "Where metrics, health and the admin API answer: `host:port` or `unix:PATH`. Keep it on "
            "loopback or a unix socket, or set `token_file`.",
            "127.0.0.1:9090",
        ),
        Field(
            "hosts",
            ListOf("list of hosts", Text("host", parse_admin_host)),
            "`Host` values it answers to besides loopback names; all others are refused (DNS rebinding).",
            "[]",
        ),
        Field(
            "token_file",
            _FILE,
            "A file with the bearer token of the admin API. Demanded as soon as `address` is neither "
            "loopback nor a unix socket.",
            "null",
        ),
    ),
    build.make_admin,
)

CLIENT_RATE = Section(
    "rate",
    (
        Field("requests", _COUNT_OR_NONE, "How many per period. 0: unlimited.", required=True),
        Field("per", _TIMEOUT, "The period.", "1s", "per_s"),
    ),
    build.make_client_rate,
)

ISSUER = Section(
    "issuer",
    (
        Field(
            "url",
            Text("URL", parse_issuer_url, is_address=True),
            "The issuer identifier: the `iss` claim of every token, byte for byte, and the beginning of "
            "the endpoint addresses in the metadata. Use `https://` everywhere but on loopback.",
            "http://127.0.0.1:8080",
        ),
        Field(
            "path_prefix",
            Text("path prefix", parse_path_prefix),
            "Where the endpoints are mounted, e.g. `/ms-auth-server`. Empty: at the root. The metadata are"
            " also at the well-known places of `url`.",
            '""',
        ),
        Field(
            "token_lifetime",
            _LIFETIME,
            "How long a token is valid, unless its client or authorization says otherwise.",
            "1h",
            "token_lifetime_s",
        ),
        Field(
            "signing_algorithm",
            _one_of("ES256", "RS256", "PS256", "EdDSA"),
            "What a newly made signing key uses: ES256, RS256, PS256 or EdDSA.",
            "ES256",
        ),
        Field(
            "scope_claim",
            _one_of("string", "array"),
            "How tokens carry their scopes: one `string` separated by spaces (RFC 9068), or an `array`.",
            "string",
        ),
        Field(
            "introspection",
            _one_of("owner_or_audience", "any_client"),
            "Which client may ask about a token: its owner and its audience, or any client that "
            "authenticates.",
            "owner_or_audience",
        ),
        Field(
            "assertion_max_lifetime",
            _LIFETIME,
            "How far ahead the `exp` of an assertion may lie, and how far back its `iat`.",
            "1h",
            "assertion_max_lifetime_s",
        ),
        Field(
            "clock_skew",
            Quantity(DURATION, 0, MAX_CLOCK_SKEW_S, "up to 10m"),
            "Leeway for the clocks of others, in assertions; never for our own tokens.",
            "60s",
            "clock_skew_s",
        ),
        Field(
            "cors_origins",
            ListOf("list of origins", Text("origin", parse_origin, is_address=True)),
            "Origins (`https://app.example`) whose pages may call the token endpoint from a browser. Exact "
            "ones only, and never with cookies.",
            "[]",
        ),
        Field(
            "rate_limit",
            CLIENT_RATE,
            "How many token, introspection and revocation requests of one client are answered, after it has "
            "proven itself (for the jwt-bearer grant: the client it acts as); beyond it 429 "
            "`temporarily_unavailable`. Each process counts alone. Null: no limit.",
            "null",
        ),
        _later("dpop", "Sender-constrained tokens (RFC 9449).", "{nonce: false, max_age: 60s}"),
    ),
    build.make_issuer,
)

KEYS = Section(
    "key directory",
    (
        Field(
            "directory",
            Text("path", parse_file_text, build.defer_path),
            "The directory of the signing keys, in `data_directory` if relative; made on the first start "
            "when absent.",
            "keys",
        ),
        _later("passphrase_file", "The passphrase of encrypted keys.", "null"),
        _later("rotate_every", "Rotate the signing key by itself, e.g. every `30d`.", "null"),
        Field(
            "publish_ahead",
            Quantity(DURATION, 0, 30 * 86400, "up to 30d"),
            "How long a new key is in the JWKS before `sidegate keys activate` lets it sign: for so long "
            "callers may keep a copy.",
            "1h",
            "publish_ahead_s",
        ),
    ),
    build.make_keys,
)

QUEUE = Section(
    "queue",
    (
        Field(
            "size",
            _COUNT_OR_NONE,
            "How many requests may wait for a free connection. 0: none.",
            "1024",
            "queue_size",
        ),
        Field("timeout", _TIMEOUT, "How long one of them may wait.", "1s", "queue_timeout_s"),
    ),
    build.keep_values,
)

UPSTREAM_TLS = Section(
    "TLS setting",
    (
        Field(
            "ca_file",
            _FILE,
            "The certificate authorities (PEM) that are trusted, and no others. Null: those of the system.",
            "null",
        ),
        Field(
            "server_name",
            Text("name", parse_server_name),
            "The name that is asked for and that the certificate must hold. Null: the target's host.",
            "null",
        ),
        Field(
            "certificate_file",
            _FILE,
            "The certificate (PEM, with its chain) that is shown to targets which ask for one.",
            "null",
        ),
        Field(
            "key_file",
            _FILE,
            "Its private key (PEM, unencrypted). Null: in `certificate_file`, too.",
            "null",
            needs="certificate_file",
        ),
    ),
    build.make_upstream_tls,
)

HEALTH_CHECK = Section(
    "health check",
    (
        Field("path", Text("path", parse_check_path), "What is asked for.", required=True),
        Field("interval", _INTERVAL, "How often, give or take a tenth.", "5s", "interval_s"),
        Field("timeout", _TIMEOUT, "How long an answer may take, connecting included.", "2s", "timeout_s"),
        Field("unhealthy_after", Whole(1, 1000), "Failures in a row that make a target unhealthy.", "3"),
        Field("healthy_after", Whole(1, 1000), "Good answers in a row that make it healthy again.", "1"),
    ),
    build.make_health_check,
)

OUTLIER = Section(
    "outlier",
    (
        Field(
            "consecutive_failures",
            Whole(0, 1000),
            "Failures in a row of one target. 0: it is never left out.",
            "5",
        ),
        Field(
            "ejection",
            _TIMEOUT,
            "How long it is left out: twice as long each time that it fails again upon its return, up to ten "
            "times.",
            "30s",
            "ejection_s",
        ),
    ),
    build.make_outlier,
)

CIRCUIT_BREAKER = Section(
    "circuit breaker",
    (
        Field("failure_ratio", Ratio(), "The share of failures that opens the circuit.", "0.5"),
        Field("window", _TIMEOUT, "The time that is looked at.", "10s", "window_s"),
        Field("minimum", Whole(1, 1_000_000), "Fewer requests in the window open nothing.", "20"),
        Field(
            "open", _TIMEOUT, "How long nothing is sent; then one request at a time tries.", "5s", "open_s"
        ),
    ),
    build.make_circuit_breaker,
)

UPSTREAM = Section(
    "upstream",
    (
        Field(
            "targets",
            ListOf(
                "list of addresses",
                Text("address", parse_target, build.place_target, is_address=True),
                1,
                hint="name at least one http://host:port",
            ),
            "The addresses of the resource service, one or more: `http://host:port`, `https://host:port` or "
            "`unix:PATH` (a socket, relative to this file).",
            required=True,
        ),
        Field(
            "balance",
            _one_of("least_connections", "round_robin"),
            "How one target of several is chosen.",
            "least_connections",
        ),
        Field(
            "host",
            Text("host", parse_host_value),
            "The `Host` field to send. Null keeps the one the caller sent.",
            "null",
        ),
        Field(
            "forward_token",
            _FLAG,
            "Forward the caller's `Authorization` field. Off, the service never sees a token.",
            "false",
        ),
        Field(
            "identity_headers",
            _FLAG,
            "Tell the service who calls: `X-Auth-Client-Id`, `X-Auth-Subject`, `X-Auth-Audience`, "
            "`X-Auth-Scope`. What a caller sends under these names never arrives, whatever is set here.",
            "true",
        ),
        Field(
            "forwarded",
            _one_of("x", "rfc7239", "both", "none"),
            "Which forwarding fields are added: `X-Forwarded-*` (`x`), `Forwarded` (`rfc7239`), `both` "
            "or `none`. `X-Forwarded-Prefix` is among the first where a route strips a prefix.",
            "x",
        ),
        Field(
            "keep_headers",
            ListOf("list of field names", Text("field name", parse_kept_header), into=frozenset),
            "Fields that are dropped unless named here: names with `_`, method and URL overrides, and what "
            "other hops say (of TLS, scheme, host and user from `trusted_proxies` only): the list is in "
            "[security](security.md#fields-that-callers-are-not-believed).",
            "[]",
        ),
        Field(
            "drop_headers",
            ListOf("list of field names", Text("field name", parse_dropped_header), into=frozenset),
            "Further fields that callers may not send, in any spelling: those in which this service believes "
            "what stands before it, and which the list does not know.",
            "[]",
        ),
        Field("connect_timeout", _TIMEOUT, "Until a connection stands.", "2s", "connect_timeout_s"),
        Field(
            "response_timeout",
            _TIMEOUT_OR_NONE,
            "Until the head of the response; a body is never cut by it. 0: unlimited.",
            "30s",
            "response_timeout_s",
        ),
        Field("idle_timeout", _TIMEOUT_OR_NONE, "Silence in a body. 0: unlimited.", "5m", "idle_timeout_s"),
        Field("max_connections", _COUNT_OR_NONE, "Connections to all targets together. 0: unlimited.", "256"),
        Field(
            "queue",
            QUEUE,
            "Requests that wait while all connections are busy; beyond it the answer is 503.",
            "{size: 1024, timeout: 1s}",
        ),
        Field(
            "retries",
            Whole(0, 10),
            "How often a request is sent again when that is safe: nothing of it was written, or it is "
            "idempotent, unanswered and small.",
            "1",
        ),
        Field(
            "tls",
            UPSTREAM_TLS,
            "How `https://` targets are verified, and what is shown to them. Certificate and name are always "
            "verified. The files are read again by every reload, and watched.",
        ),
        Field(
            "health_check",
            HEALTH_CHECK,
            "Ask each target regularly, on a connection of its own, whether it is well: 2xx and 3xx are. "
            "While no target is, the answer is 503 `circuit_open`. Null: targets are not asked.",
            "null",
        ),
        Field(
            "outlier",
            OUTLIER,
            "Leave out a target that fails again and again: no connection, an answer that is broken off, "
            "malformed or late, or 502, 503, 504. The last one left is never left out.",
        ),
        Field(
            "circuit_breaker",
            CIRCUIT_BREAKER,
            "Stop asking an upstream that fails too often (by the same signs): the answer is 503 "
            "`circuit_open` at once. Null: never.",
            "null",
        ),
    ),
    build.make_upstream,
)

BAD_TOKENS = Section(
    "rate",
    (
        Field("requests", _COUNT_OR_NONE, "How many per period. 0: unlimited.", "200"),
        Field("per", _TIMEOUT, "The period.", "1s", "per_s"),
    ),
    build.make_bad_tokens,
)

AUTH_FAILURES = Section(
    "rate",
    (
        Field("requests", _COUNT_OR_NONE, "How many per period. 0: unlimited.", "100"),
        Field("per", _TIMEOUT, "The period.", "1m", "per_s"),
    ),
    build.make_auth_failures,
)

LIMITS = Section(
    "limits",
    (
        Field("connections", _COUNT_OR_NONE, "Connections from callers at a time. 0: unlimited.", "10000"),
        Field(
            "header_bytes", _HEADER_SIZE, "The head of a request, from 1KiB to 1MiB; beyond it 431.", "32KiB"
        ),
        Field("header_count", Whole(1, 10_000), "Fields in the head of a request.", "100"),
        Field("body_bytes", _BODY_SIZE, "The body of a request; beyond it 413. 0: unlimited.", "0"),
        Field(
            "header_timeout", _TIMEOUT, "Until the head of a request is complete.", "10s", "header_timeout_s"
        ),
        Field(
            "body_idle_timeout",
            _TIMEOUT_OR_NONE,
            "Silence in the body of a request. 0: unlimited.",
            "30s",
            "body_idle_timeout_s",
        ),
        Field(
            "keep_alive_timeout",
            _TIMEOUT,
            "How long a connection stays open between two requests.",
            "75s",
            "keep_alive_timeout_s",
        ),
        Field(
            "connections_per_peer",
            _COUNT_OR_NONE,
            "Connections of one caller's address (IPv6: of its /64) at a time; beyond it 429 and the end. "
            "`trusted_proxies` are exempt. 0: unlimited.",
            "0",
        ),
        Field(
            "auth_failures",
            AUTH_FAILURES,
            "Failed proofs (wrong secrets, assertions that prove nothing) for one client from one caller's "
            "address (IPv6: its /64), and ten times as many for all clients together. Beyond it 429 for that "
            "address until the period is over; the client itself is not locked out elsewhere. Counted over "
            "all processes that share a Redis.",
            "{requests: 100, per: 1m}",
        ),
        Field(
            "bad_tokens",
            BAD_TOKENS,
            "Signature checks that failed, per caller's address (IPv6: its /64). Beyond it, tokens from "
            "there that are not known yet are refused unchecked with 429; known good ones go on working.",
            "{requests: 200, per: 1s}",
        ),
        Field(
            "loop_lag",
            _TIMEOUT_OR_NONE,
            "When the event loop runs later than this, a growing share of requests to routes is refused "
            "with 503 until it does not. 0: never.",
            "250ms",
            "loop_lag_s",
        ),
    ),
    build.make_limits,
)

METRICS = Section(
    "metrics",
    (
        Field(
            "buckets",
            Buckets(),
            "Bounds in seconds of the request duration histograms, ascending. Null: the built-in ones.",
            "null",
        ),
        Field(
            "label_limit",
            Whole(1, 100_000),
            "How many different values a label such as `route` or `client` may take before the rest is "
            "counted as `_other_`.",
            "500",
        ),
        Field(
            "route_histograms",
            _FLAG,
            "Durations and sizes of requests are told apart by route, which is about 70 series for each "
            "route. `false`: they are of all routes together, under `_all_`; counters stay as they are.",
            "true",
        ),
    ),
    build.make_metrics,
)

LOGS = Section(
    "logs",
    (
        Field(
            "level",
            _one_of("debug", "info", "warning", "error"),
            "The least severe message that is logged.",
            "info",
        ),
        Field(
            "access",
            Text("stdout | stderr | off | path", parse_file_text, build.place_log),
            "Where the access log goes: `stdout`, `stderr`, `off`, or a file.",
            "stdout",
        ),
        Field("format", _one_of("json", "text"), "One JSON object per line, or text for people.", "json"),
        Field(
            "query", _FLAG, "Log query strings. They often hold personal data, so they are left out.", "false"
        ),
    ),
    build.make_logs,
)

STATE = Section(
    "state store",
    (
        Field(
            "url",
            Text("state store", build.parse_state, build.defer_state, is_address=True),
            "The store.",
            required=True,
        ),
        Field(
            "consistency",
            _one_of("cached", "strict"),
            "When other processes know of a revocation: within a second, or before it is answered.",
            "cached",
        ),
        Field("ca_file", _FILE, "Who signed the certificate of a `rediss://` server.", "null"),
    ),
    build.make_state,
)

PROCESS_FIELDS = (
    Field(
        "listeners",
        ListOf("list of listeners", LISTENER, 1, hint="name at least one address", distinct=False),
        "The addresses at which callers reach the issuer and the gate.",
        "[{address: 127.0.0.1:8080}]",
    ),
    Field("admin", ADMIN, "The admin listener.", nullable=True),
    Field("issuer", ISSUER, "The token issuer.", nullable=True),
    Field("keys", KEYS, "The signing keys.", nullable=True),
    Field(
        "state",
        build.StateText("state store", build.parse_state, build.defer_state, is_address=True, mapping=STATE),
        "Where revocations and used assertions are kept: `memory:` (gone with the process), `sqlite:PATH` "
        "(one process; in `data_directory` if relative), or "
        "`redis://[user:password@]host[:port][/database]` (shared by many; `rediss://` with TLS). Or a "
        "mapping: `url`, one of these; `consistency`, `cached` (other processes know of a revocation within "
        "a second) or `strict` (at once: it is answered when all know it, and a process that may miss one "
        "refuses tokens); `ca_file`, who signed the certificate of a `rediss://` server.",
        "sqlite:state/sidegate.db",
    ),
    Field(
        "data_directory",
        _FILE,
        "Where a relative `keys.directory` and a relative `sqlite:` file lie: the only places that are "
        "written. Null: the directory that `$SIDEGATE_DATA` names, else the one of this file.",
        "null",
    ),
    Field(
        "secrets_directory",
        _FILE,
        "The directory in which `file:` secrets of policy files must lie. What the process itself keeps "
        "secret (this file, keys, admin and bearer tokens, state, keys of listeners and upstreams) is never "
        "one, wherever it lies and by whatever link it is named.",
        "secrets",
    ),
    Field(
        "bearer_token_files",
        MapOf("mapping of bearer tokens", parse_name, BEARER_TOKEN, "name"),
        "The tokens of ours that fetches of key sets may carry, by the name that identities give in "
        "`bearer_token`. Which token goes where is said here and nowhere else.",
        "{}",
        nullable=True,
    ),
    Field(
        "key_set_proxies",
        MapOf("mapping of proxies", parse_name, Text("proxy", parse_key_set_proxy, is_address=True)),
        "Proxies for key sets outside, `http://host:port` by the name that `proxy` gives. They are asked by "
        "`CONNECT` only, so they see the host's name and no content, and never for `http://` or loopback "
        "addresses. Those of the environment (`HTTPS_PROXY`) are never asked.",
        "{}",
        nullable=True,
    ),
    Field(
        "policy_environment",
        ListOf("list of names", Text("name", parse_variable)),
        "The environment variables that policy files may use, in `${NAME}` and in `env:NAME`.",
        "[]",
    ),
    Field(
        "upstreams",
        MapOf("mapping of upstreams", parse_name, UPSTREAM, "name"),
        "The resource services behind the gate, by name.",
        "{}",
        nullable=True,
    ),
    Field("limits", LIMITS, "What one caller, or all together, may take.", nullable=True),
    Field("metrics", METRICS, "What is measured.", nullable=True),
    Field("logs", LOGS, "What is logged.", nullable=True),
    _later("audit", "A log of decisions with a hash chain.", "{file: null}"),
    Field(
        "drain_timeout",
        _TIMEOUT,
        "How long requests in flight may take to finish when the process stops.",
        "30s",
        "drain_timeout_s",
    ),
    Field(
        "shutdown_delay",
        _DELAY,
        "How long the listeners still accept after SIGTERM, while `/readyz` is 503 already and answers close "
        "their connections: the time in which load balancers notice. Null: 5s where a listener is off "
        "loopback, else 0s.",
        "null",
        "shutdown_delay_s",
    ),
    Field(
        "trusted_proxies",
        ListOf("list of networks", Text("network", parse_network)),
        "Networks (CIDR) whose `X-Forwarded-*` and `Forwarded` fields are believed.",
        "[]",
    ),
    Field(
        "policies",
        ListOf("list of file patterns", Text("file pattern", parse_file_text)),
        "The policy files: paths or patterns (`*`, `?`, `**`), relative to this file, read in "
        "alphabetical order. Files whose name begins with a dot are not matched by a pattern.",
        "[policies/*.yaml]",
    ),
)

# --- who may call what: any file ------------------------------------------------

_REPLAY = _one_of("single_use", "allow")
_KEY_URI = Text("URL", parse_key_uri, is_address=True)
_IDENTITY = Text("text", parse_identity_text)

_KEY_FIELDS = (
    Field(
        "jwks",
        InlineKeys(),
        "Public keys as a JWK Set: EC P-256 (ES256), RSA from 2048 bits (RS256, or PS256 by their `alg`), "
        "Ed25519 (EdDSA).",
        "{keys: []}",
    ),
    Field("jwks_file", KeyFile(), "The same from a file, which is watched.", "null"),
    Field(
        "jwks_uri",
        _KEY_URI,
        "The same from a URL, fetched and kept fresh: `https://`, or `http://` on loopback.",
        "null",
    ),
)

_KEY_PROXY = Field(
    "proxy",
    EntryName("key_set_proxies"),
    "How the keys are reached, by a name of `key_set_proxies` in the main file. Null: directly.",
    "null",
)

ASSERTION = Section(
    "identity",
    (
        Field("issuer", _IDENTITY, "Who vouches for it: the `iss` of its tokens.", required=True),
        Field(
            "subject",
            _IDENTITY,
            "Who it is: the `sub` of its tokens. Null: any, and `claims` must tell who.",
            "null",
        ),
        Field(
            "audience",
            _IDENTITY,
            "The one `aud` of its tokens. Null: our issuer identifier or the address of our token endpoint.",
            "null",
        ),
        Field(
            "claims",
            MapOf("mapping of claims", parse_claim_name, OneOrMore()),
            "Further claims that must be equal to the value, or to one of a list of values.",
            "{}",
        ),
        *_KEY_FIELDS,
        Field(
            "ca_file",
            PublicFile(),
            "The certificate authorities (PEM) that are trusted when the keys are fetched, and no others; "
            "read again every time. Null: those of the system.",
            "null",
        ),
        Field(
            "bearer_token",
            EntryName("bearer_token_files"),
            "The token to fetch the keys with, by its name in `bearer_token_files` of the main file.",
            "null",
        ),
        Field(
            "bearer_token_file",
            MovedFile(),
            "Replaced by `bearer_token`: an error that prints the lines to write instead.",
            nullable=True,
        ),
        _KEY_PROXY,
        Field(
            "replay",
            _REPLAY,
            "`single_use`: each token works once. `allow`: for tokens that their platform sends again.",
            "single_use",
        ),
        Field(
            "allow_missing_exp",
            _FLAG,
            "Whether its tokens may be without `exp`, then bounded by their `iat` alone, if any. A warning.",
            "false",
        ),
    ),
    build.make_assertion,
    one_of=(build.KEY_SOURCES,),
    some_of=(
        SomeOf(
            ("subject", "claims"),
            "everybody whom this issuer knows would be this client",
            "name the subject",
        ),
    ),
)

CLIENT = Section(
    "client",
    (
        Field("description", _LINE, "For people.", '""'),
        Field(
            "scopes",
            MapOf("mapping from scope names to descriptions", parse_scope, _LINE),
            "The scopes it offers when it is the audience: name and description.",
            "{}",
        ),
        Field(
            "secrets",
            ListOf("list of secrets", SecretText(), distinct=False),
            "Its secrets, at most 16; any of them is valid, so two make a rotation. Forms: `sha256:SALT:HEX` "
            "for random secrets (printed by `sidegate secret generate`), `scrypt:N:R:P:SALT:HASH` for "
            "secrets that people chose (`sidegate secret hash`; N up to 2^15, R up to 8, P up to 2; at most "
            "4 of these), `env:NAME`, `file:PATH` (of both one line break at the end is dropped), and "
            "`plain:TEXT`, which is a warning. SALT, HEX and HASH are hexadecimal.",
            "[]",
        ),
        Field(
            "default_audience",
            _CLIENT,
            "The audience of its tokens when it asks for none.",
            "null",
        ),
        Field(
            "token_lifetime",
            _LIFETIME,
            "How long its tokens are valid, in place of the issuer's.",
            "null",
            "token_lifetime_s",
        ),
        Field(
            "grants",
            ListOf(
                "list of grants",
                Text("grant", build.parse_grant, words=build.GRANT_WORDS),
                1,
                frozenset,
                "leave the key out for all that its credentials make possible",
            ),
            "The grants it may use: `client_credentials`, `jwt-bearer`. Null: all that its credentials "
            "make possible.",
            "null",
        ),
        Field(
            "auth_methods",
            ListOf(
                "list of methods",
                _one_of(
                    *auth_methods(),
                    later=tuple(method.name for method in AUTH_METHODS if not method.available),
                ),
                into=frozenset,
            ),
            "How it may prove who it is: `client_secret_basic`, `client_secret_post`, `client_secret_jwt` "
            "(with a readable secret of 32 bytes or more), `private_key_jwt`. Empty: all that its "
            "credentials make possible.",
            "[]",
        ),
        Field(
            "claims",
            Claims(parse_own_claim_name),
            "Further claims in its tokens, for `require.claims` of routes and for the services themselves.",
            "{}",
        ),
        Field("disabled", _FLAG, "True: no token for it, and its live tokens stop working.", "false"),
        *_KEY_FIELDS,
        _KEY_PROXY,
        Field(
            "replay",
            _REPLAY,
            "Whether the `jti` of an assertion by which it authenticates counts once (`single_use`) or may "
            "come again until `exp` (`allow`).",
            "single_use",
        ),
        Field("require_jti", _FLAG, "Whether such an assertion must have a `jti`.", "false"),
        Field(
            "legacy_audience",
            _FLAG,
            "Whether each value of `aud` in such an assertion may be the address of the token endpoint, too, "
            "not only the issuer.",
            "false",
        ),
        Field(
            "assertions",
            ListOf("list of identities", ASSERTION, distinct=False),
            "Identities of other platforms that act as this client (the `jwt-bearer` grant).",
            "[]",
        ),
        _later("tls_client_auth", "Its client certificate."),
        _later("token_format", "`jwt` or `opaque`.", "jwt"),
    ),
    build.make_client,
    one_of=(build.KEY_SOURCES,),
)

AUTHORIZATION = Section(
    "authorization",
    (
        Field("client", _CLIENT, "The caller.", required=True),
        Field("audience", _CLIENT, "The client that is called.", required=True),
        Field("scopes", _SCOPES, "The scopes it may ask for, all of them offered by the audience.", "[]"),
        Field("default_scopes", _SCOPES, "What it gets when it asks for none; a part of `scopes`.", "[]"),
        Field("token_lifetime", _LIFETIME, "How long these tokens are valid.", "null", "token_lifetime_s"),
        Field(
            "until",
            Text("day", build.parse_last_day),
            "The last day (UTC) on which it holds, `YYYY-MM-DD`.",
            "null",
        ),
    ),
    build.make_authorization,
)

REQUIRE = Section(
    "requirement",
    (
        Field("audience", _CLIENT, "The audience that the token must be for.", attribute="audience"),
        Field("any_audience", _CLIENT_SET, "Several audiences, of which one will do.", "[]"),
        Field("scopes", _SCOPE_SET, "Scopes that the token must have, all of them.", "[]"),
        Field("any_scopes", _SCOPE_SET, "Scopes of which it must have at least one.", "[]"),
        Field(
            "claims",
            MapOf("mapping of claims", parse_claim_name, OneOrMore()),
            "Claims that must be equal to the value, or to one of a list of values.",
            "{}",
        ),
        Field(
            "clients",
            _CLIENT_SET,
            "The only clients that may call. Empty: every client with the rights.",
            "[]",
        ),
    ),
    build.make_require,
    one_of=(("audience", "any_audience"),),
)

REWRITE = Section(
    "rewrite",
    (
        Field(
            "strip_prefix",
            Text("path prefix", parse_path_prefix),
            "Taken from the beginning of the path.",
            '""',
        ),
        Field("add_prefix", Text("path prefix", parse_path_prefix), "Put before what is left.", '""'),
    ),
    build.make_rewrite,
)

RATE_LIMIT = Section(
    "rate limit",
    (
        Field(
            "requests", Whole(1, 10_000_000), "How many requests per period in the long run.", required=True
        ),
        Field("per", _TIMEOUT, "The period.", attribute="per_s", required=True),
        Field("burst", Whole(1, 10_000_000), "How many at once after a pause. Default: `requests`."),
        Field(
            "by",
            _one_of("client", "peer", "route"),
            "Whose requests are counted together: those of one `client` (by its token; without one, of its "
            "address), of one `peer` (its address; IPv6: its /64), or all of the `route`.",
            "client",
        ),
    ),
    build.make_rate_limit,
)

ROUTE = Section(
    "route",
    (
        Field(
            "name",
            Text("name", parse_name),
            "For logs, metrics and explanations. Default: from methods, host, path.",
        ),
        Field(
            "host",
            Text("host", parse_host_pattern),
            "Only requests for this host, or with `*.example.com` for every name below it.",
            "null",
        ),
        Field(
            "path",
            Text("path", parse_path_template),
            "Exact segments, `{name}` for any one segment, `/**` at the end for the rest (`/x/**` also "
            "matches `/x`). The most specific route wins, wherever it is written.",
            required=True,
        ),
        Field(
            "methods",
            ListOf(
                "list of methods",
                Text("method", parse_method),
                1,
                frozenset,
                "leave the key out for all methods",
            ),
            "Only these methods; GET does not imply HEAD. Null: all methods.",
            "null",
        ),
        Field(
            "upstream", Text("name", parse_name), "The upstream that allowed requests go to.", required=True
        ),
        Field("require", REQUIRE, "What the caller's token must grant."),
        Field(
            "access",
            _one_of("required", "optional", "public"),
            "`required`: no token, no entry. `optional`: a token that is sent is checked, none is fine. "
            "`public`: no token is looked at, and `require` is not allowed.",
            "required",
        ),
        Field(
            "rewrite",
            REWRITE,
            "How the path changes on its way to the upstream.",
            '{strip_prefix: "", add_prefix: ""}',
        ),
        Field(
            "timeout",
            _TIMEOUT,
            "Until the head of the response, in place of the upstream's `response_timeout`.",
            "null",
            "timeout_s",
        ),
        Field(
            "allow_in_path",
            ListOf("list of exceptions", _one_of("encoded_slash", "opaque_slash", "parameters")),
            "What is let through although it is refused elsewhere: `encoded_slash` (`%2F`, where the path "
            "leads to this very route also when it is read as `/`), `opaque_slash` (any `%2F`: the service "
            "never decodes it), `parameters` (`;`: the service cuts them off).",
            "[]",
        ),
        Field(
            "mode",
            _one_of("enforce", "shadow"),
            "`shadow`: refusals of the token, scope, claim and client checks are recorded, not carried "
            "out. A warning.",
            "enforce",
        ),
        Field(
            "upgrade",
            ListOf("list of protocols", Text("protocol", parse_protocol), into=frozenset),
            "Protocols that may be switched to, e.g. `[websocket]`; the field is dropped for all others, and "
            "beside a body it is 400 for these. Never HTTP or TLS (`h2c`, `HTTP/2.0`, `TLS/1.0`).",
            "[]",
        ),
        Field(
            "rate_limit",
            RATE_LIMIT,
            "How many allowed requests a client, a caller's address or all callers together may make; "
            "beyond it 429. Null: no limit.",
            "null",
        ),
        _later("resource_metadata", "Publish RFC 9728 metadata for this route.", "false"),
    ),
    build.make_route,
)

TEST = Section(
    "test",
    (
        Field("name", Text("name", parse_name), "What is shown. Default: the request."),
        Field(
            "request",
            Text("request", build.parse_request),
            "`METHOD /path`, or `METHOD http://host/path`.",
            required=True,
        ),
        Field("client", _CLIENT, "The caller, with a token as the issuer would give it.", "null"),
        Field("audience", _CLIENT, "The audience of that token. Default: the route's.", "null"),
        Field(
            "scopes",
            _SCOPES,
            "The scopes it asks for. Null: all that it is granted for the audience.",
            "null",
        ),
        Field(
            "claims",
            Claims(parse_claim_name),
            "The claims of a token that is made up for the test, in place of `client`.",
            "null",
        ),
        Field(
            "expect",
            build.Expectation(REASONS_FOR_REFUSAL),
            "`allow`, `deny`, `{deny: reason}` with a reason of the closed list, or a status.",
            required=True,
        ),
    ),
    build.make_test,
)

POLICY_FIELDS = (
    Field(
        "clients",
        MapOf("mapping of clients", parse_client_id, CLIENT, "id"),
        "Every client by its id. A client is a possible caller, and a possible audience.",
        "{}",
        nullable=True,
    ),
    Field(
        "authorizations",
        ListOf("list of authorizations", AUTHORIZATION, distinct=False),
        "Which client may have tokens for which audience, with which scopes. No authorization, no token.",
        "[]",
        nullable=True,
    ),
    Field(
        "routes",
        ListOf("list of routes", ROUTE, distinct=False),
        "What the gate lets through. No route, no way: nothing is forwarded by default.",
        "[]",
        nullable=True,
    ),
    Field(
        "tests",
        ListOf("list of tests", TEST, distinct=False),
        "What must hold: run by `sidegate test` and before every reload.",
        "[]",
        nullable=True,
    ),
)

VERSION_FIELD = Field("version", Whole(1, 1), "The version of this format.", "1")

MAIN_FILE = Section("configuration", (VERSION_FIELD, *PROCESS_FIELDS, *POLICY_FIELDS), build.keep_values)
POLICY_FILE = Section(
    "policy file",
    (VERSION_FIELD, *POLICY_FIELDS),
    build.keep_values,
    foreign=frozenset(item.key for item in PROCESS_FIELDS),
)
