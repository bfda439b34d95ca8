"""Hold the settings of one process as frozen values.

These are the YAML files after resolving, defaulting and checking; nothing here
is parsed or validated again (that is `gateway.settings.load`). Durations are
`float` seconds and end in `_s`, sizes are `int` bytes and end in `_bytes`; a
limit of 0 means unlimited. Names and meanings follow the configuration contract
in `docs/configuration.md`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

EMPTY_MAPPING: Mapping[str, object] = MappingProxyType({})
MAX_CLOCK_SKEW_S = 600.0
"""The most leeway that can be given to the clocks of others."""


class Access(StrEnum):
    """What a route demands of a caller's token."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    PUBLIC = "public"


class Mode(StrEnum):
    """Whether a route's refusals are carried out or only recorded."""

    ENFORCE = "enforce"
    SHADOW = "shadow"


class Balance(StrEnum):
    """How one target of several is chosen."""

    LEAST_CONNECTIONS = "least_connections"
    ROUND_ROBIN = "round_robin"


class LimitBy(StrEnum):
    """Whose requests a route's rate limit counts together."""

    CLIENT = "client"
    PEER = "peer"
    ROUTE = "route"


class ClientCertificate(StrEnum):
    """What a listener asks of a caller's certificate."""

    OFF = "off"
    OPTIONAL = "optional"
    """A certificate that is sent must be valid; none need be sent."""
    REQUIRED = "required"


class Forwarded(StrEnum):
    """Which forwarding fields are added towards the upstream."""

    X = "x"
    RFC7239 = "rfc7239"
    BOTH = "both"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a setting was written, for messages: `file:line:column`."""

    file: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """An address to listen on; `host` has no brackets, `port` 0 asks the system for one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A unix socket to listen on, by the path of its file."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


ListenAddress = TcpAddress | UnixAddress


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """The server's side of TLS on one listener. The files are read again whenever they change."""

    certificate_file: Path
    """PEM: the certificate, then the chain up to the root, which may be left out."""
    key_file: Path
    client_certificate: ClientCertificate = ClientCertificate.OFF
    client_ca_file: Path | None = None
    """PEM: who may have signed callers' certificates. Set when these are asked for."""


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """One address to listen on, and what is served there."""

    address: ListenAddress
    serves_issuer: bool = True
    serves_gate: bool = True
    tls: TlsSettings | None = None
    proxy_protocol: bool = False
    behind_tls: bool = False
    """Something before this listener ends TLS: callers use https, and what they send is not readable."""


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """The admin listener: health, metrics, status, reload."""

    address: ListenAddress = TcpAddress("127.0.0.1", 9090)
    hosts: tuple[str, ...] = ()
    token_file: Path | None = None


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """What tokens are issued, and under whose name."""

    url: str = "http://127.0.0.1:8080"
    """The `iss` claim, byte for byte."""
    path_prefix: str = ""
    """Empty or `/a/b` without a trailing slash: where the endpoints are mounted."""
    token_lifetime_s: float = 3600.0
    signing_algorithm: str = "ES256"
    """ES256, RS256, PS256 or EdDSA: what a newly made key uses."""
    scope_claim_as_array: bool = False
    introspection_by_any_client: bool = False
    assertion_max_lifetime_s: float = 3600.0
    clock_skew_s: float = 60.0
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call the token endpoint, as browsers write them."""
    rate_limit: "Rate | None" = None
    """Of the token, introspection and revocation requests of one client."""


@dataclass(frozen=True, slots=True)
class KeySettings:
    """Where the signing keys lie, and how they take turns."""

    directory: Path = Path("keys")
    publish_ahead_s: float = 3600.0
    """How long a new key is published before it may sign."""


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Where a Redis or Valkey server is, and how to speak to it. `host` has no brackets."""

    host: str
    port: int = 6379
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: Path | None = None
    """None: the certificate authorities of the system."""

    @property
    def shown_url(self) -> str:
        """Return the URL as it may be seen by anybody."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = "" if self.password is None else f"{self.username or ''}:***@"
        return f"{'rediss' if self.tls else 'redis'}://{user}{host}:{self.port}/{self.database}"


@dataclass(frozen=True, slots=True)
class StateSettings:
    """Where revocations and used assertions are kept."""

    sqlite_path: Path | None = None
    """The database file, or None for `memory:` or `redis`."""
    redis: RedisSettings | None = None
    strict: bool = False
    """A revocation is answered when every process knows it, and who may miss one refuses tokens."""


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """One TCP address of an upstream. `host` has no brackets."""

    host: str
    port: int
    tls: bool = False

    @property
    def authority(self) -> str:
        """Return `host:port` as a Host field would spell it (the scheme's own port omitted)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Return the target as it is written in settings and metric labels."""
        return f"{'https' if self.tls else 'http'}://{self.authority}"


@dataclass(frozen=True, slots=True)
class UnixTargetSettings:
    """One address of an upstream: a socket in the file system."""

    path: Path

    @property
    def authority(self) -> str:
        """Return the Host value of a request that has no other."""
        return "localhost"

    @property
    def url(self) -> str:
        """Return the target as it is written in settings and metric labels."""
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class UpstreamTlsSettings:
    """How `https://` targets are verified, and what is shown to them."""

    ca_file: Path | None = None
    """None: the certificate authorities of the system."""
    server_name: str | None = None
    """The name asked for and checked; None: the target's host."""
    certificate_file: Path | None = None
    key_file: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the files that are read."""
        named = (self.ca_file, self.certificate_file, self.key_file)
        return tuple(path for path in named if path is not None)


@dataclass(frozen=True, slots=True)
class HealthCheckSettings:
    """Asking each target regularly whether it is well."""

    path: str
    interval_s: float = 5.0
    timeout_s: float = 2.0
    unhealthy_after: int = 3
    healthy_after: int = 1


@dataclass(frozen=True, slots=True)
class OutlierSettings:
    """Leaving out a target that fails again and again; 0 failures: never."""

    consecutive_failures: int = 5
    ejection_s: float = 30.0


@dataclass(frozen=True, slots=True)
class CircuitBreakerSettings:
    """Not asking an upstream that fails too often."""

    failure_ratio: float = 0.5
    window_s: float = 10.0
    minimum: int = 20
    open_s: float = 5.0


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """A resource service: where it is, what it is sent, and how long it is waited for."""

    name: str
    targets: tuple[TargetSettings | UnixTargetSettings, ...]
    balance: Balance = Balance.LEAST_CONNECTIONS
    host: str | None = None
    """None keeps the caller's Host; else the fixed value to send."""
    forward_token: bool = False
    identity_headers: bool = True
    forwarded: Forwarded = Forwarded.X
    keep_headers: frozenset[str] = frozenset()
    """Lower-case field names that are forwarded although they are dropped by default."""
    drop_headers: frozenset[str] = frozenset()
    """Lower-case field names that callers may not send either, in any spelling."""
    claim_headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Field name, as it is sent -> the claim of the token that it tells."""
    connect_timeout_s: float = 2.0
    response_timeout_s: float = 30.0
    """Until the response head; 0 = unlimited."""
    idle_timeout_s: float = 300.0
    """Silence in a body; 0 = unlimited."""
    max_connections: int = 256
    """To all targets together; 0 = unlimited."""
    queue_size: int = 1024
    queue_timeout_s: float = 1.0
    retries: int = 1
    tls: UpstreamTlsSettings = UpstreamTlsSettings()
    health_check: HealthCheckSettings | None = None
    outlier: OutlierSettings = OutlierSettings()
    circuit_breaker: CircuitBreakerSettings | None = None


@dataclass(frozen=True, slots=True)
class Rate:
    """So many events in a period; 0 events = unlimited."""

    requests: int
    per_s: float


@dataclass(frozen=True, slots=True)
class RateLimitSettings:
    """A token bucket: `burst` at once, `requests` per period in the long run."""

    requests: int
    per_s: float
    burst: int
    by: LimitBy = LimitBy.CLIENT


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """How much of anything callers may take."""

    connections: int = 10_000
    connections_per_peer: int = 0
    header_bytes: int = 32 * 1024
    header_count: int = 100
    body_bytes: int = 0
    header_timeout_s: float = 10.0
    body_idle_timeout_s: float = 30.0
    keep_alive_timeout_s: float = 75.0
    auth_failures: Rate = Rate(100, 60.0)
    """Wrong secrets for one client, per peer."""
    bad_tokens: Rate = Rate(200, 1.0)
    """Signature checks that failed, per peer."""
    loop_lag_s: float = 0.25
    """Beyond it load is shed; 0 = never."""


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """What the metrics tell apart."""

    buckets: tuple[float, ...] | None = None
    """Bounds in seconds for request durations, ascending; None = the defaults."""
    label_limit: int = 500
    route_histograms: bool = True
    """Each route has histograms of its own; else all share theirs."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged, in which form."""

    level: str = "info"
    """debug, info, warning or error."""
    access: str = "stdout"
    """stdout, stderr, off or a file path."""
    format: str = "json"
    """json or text."""
    query: bool = False


# --- policy: who may call what -------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sha256Secret:
    """A random 256-bit secret, stored as SHA-256(salt + secret)."""

    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ScryptSecret:
    """A secret chosen by a person, stored as scrypt(secret, salt)."""

    n: int
    r: int
    p: int
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PlainSecret:
    """A readable secret; `env:` and `file:` are resolved at load, so a reload picks up a rotated file."""

    value: bytes = field(repr=False)
    source: str = "plain"
    """The scheme it was written with: plain, env or file."""


Secret = Sha256Secret | ScryptSecret | PlainSecret


@dataclass(frozen=True, slots=True)
class StaticKeySource:
    """A key set that is part of the configuration, written there or in a file."""

    document: bytes = field(repr=False)
    """The JWK Set as JSON; it was read once and found usable."""
    read: object = field(default=None, repr=False, compare=False)
    """What reading it gave, a `gateway.tokens.key_sets.KeySet`: ten thousand sets take a second.
    None where nobody has read it yet."""


@dataclass(frozen=True, slots=True)
class BearerTokenSettings:
    """A token of ours that fetches of key sets may carry, and where to."""

    name: str
    file: Path
    """Read again for every fetch, because platforms renew it."""
    origins: tuple[str, ...]
    """As `gateway.tokens.origins.origin_of` spells them; nowhere else is it sent."""


@dataclass(frozen=True, slots=True)
class KeySetProxySettings:
    """A proxy that is asked, by CONNECT, for the way to key sets outside."""

    name: str
    host: str
    """Without brackets."""
    port: int

    @property
    def url(self) -> str:
        """Return the proxy as it is written in settings."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RemoteKeySource:
    """A key set at a URL. Equal sources share what was fetched, also across reloads."""

    issuer: str
    """Whose keys these are: the issuer of assertions, or the client. Labels metrics."""
    uri: str | None
    """None: the `jwks_uri` of the issuer's metadata document."""
    ca_file: Path | None = None
    """None: the certificate authorities of the system."""
    bearer_token: BearerTokenSettings | None = None
    proxy: KeySetProxySettings | None = None
    """How the address is reached; None: directly."""


KeySource = StaticKeySource | RemoteKeySource


@dataclass(frozen=True, slots=True)
class AssertionSettings:
    """One identity of another platform that acts as a client (the jwt-bearer grant)."""

    issuer: str
    keys: KeySource
    subject: str | None = None
    """None: any, as far as `claims` allow."""
    audience: str | None = None
    """None: our issuer identifier or the address of our token endpoint."""
    claims: Mapping[str, tuple[object, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Claim name -> the values of which one must be equal."""
    single_use: bool = True
    allow_missing_exp: bool = False


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """A client, an audience, or both."""

    id: str
    description: str = ""
    scopes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The scopes it offers as an audience: name -> description."""
    secrets: tuple[Secret, ...] = ()
    default_audience: str | None = None
    token_lifetime_s: float | None = None
    grants: frozenset[str] | None = None
    """Full grant names; None = all that its credentials make possible."""
    auth_methods: frozenset[str] | None = None
    claims: Mapping[str, object] = field(default_factory=lambda: EMPTY_MAPPING)
    disabled: bool = False
    keys: KeySource | None = None
    """Its public keys, for private_key_jwt."""
    single_use_assertions: bool = True
    """Whether the jti of an assertion by which it authenticates counts once."""
    require_jti: bool = False
    legacy_audience: bool = False
    """Whether such an assertion may be for the address of the token endpoint."""
    assertions: tuple[AssertionSettings, ...] = ()
    origin: Origin | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class AuthorizationSettings:
    """What one client may ask for one audience."""

    client: str
    audience: str
    scopes: tuple[str, ...] = ()
    default_scopes: tuple[str, ...] = ()
    token_lifetime_s: float | None = None
    until: float | None = None
    """Epoch seconds of the end of its last day (exclusive), or None for no end."""
    origin: Origin | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class RequireSettings:
    """What a route demands of a token."""

    audiences: frozenset[str] = frozenset()
    """The token's audience must be one of these (`audience` gives one, `any_audience` several)."""
    scopes: frozenset[str] = frozenset()
    any_scopes: frozenset[str] = frozenset()
    claims: Mapping[str, tuple[object, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Claim name -> the values of which one must be equal."""
    clients: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RewriteSettings:
    """What becomes of the path on its way to the upstream."""

    strip_prefix: str = ""
    add_prefix: str = ""


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """Which requests a route takes, what it demands of them, and where they go."""

    name: str
    path: str
    """The path template as written, e.g. `/a/{id}/**`."""
    upstream: str
    host: str | None = None
    """Lower-case, `*.example.com` for a wildcard, None for any host."""
    methods: frozenset[str] | None = None
    """None = all methods."""
    access: Access = Access.REQUIRED
    require: RequireSettings = RequireSettings()
    rewrite: RewriteSettings = RewriteSettings()
    timeout_s: float | None = None
    allow_encoded_slash: bool = False
    """`%2F` is let through where every reading of it leads to this route."""
    allow_opaque_slash: bool = False
    """`%2F` is let through: the service never takes it for a slash."""
    allow_parameters: bool = False
    upgrade: frozenset[str] = frozenset()
    """Lower-case names of the protocols that may be switched to."""
    rate_limit: RateLimitSettings | None = None
    mode: Mode = Mode.ENFORCE
    origin: Origin | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class PolicyTest:
    """A request of a policy file's `tests:`, and what must come of it."""

    name: str
    method: str
    url: str
    """Path with optional query, or an absolute URL when the host matters."""
    client: str | None = None
    audience: str | None = None
    scopes: tuple[str, ...] | None = None
    claims: Mapping[str, object] | None = None
    """Claims of a token that is not taken from `client`."""
    expect_allow: bool | None = None
    """True for allow, False for deny, None when `expect_status` is given."""
    expect_reason: str | None = None
    expect_status: int | None = None
    origin: Origin | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """One complete, checked configuration."""

    listeners: tuple[ListenerSettings, ...] = (ListenerSettings(TcpAddress("127.0.0.1", 8080)),)
    admin: AdminSettings = AdminSettings()
    issuer: IssuerSettings = IssuerSettings()
    keys: KeySettings = KeySettings()
    state: StateSettings = StateSettings(Path("state/sidegate.db"))
    data_directory: Path = Path()
    """Where a relative `keys.directory` and state file lie; they are placed already."""
    secrets_directory: Path = Path("secrets")
    """Where `file:` secrets of policy files must lie."""
    bearer_token_files: Mapping[str, BearerTokenSettings] = field(
        default_factory=lambda: MappingProxyType({})
    )
    """The only tokens that identities may name."""
    key_set_proxies: Mapping[str, KeySetProxySettings] = field(default_factory=lambda: MappingProxyType({}))
    """The only proxies that identities may name."""
    policy_environment: tuple[str, ...] = ()
    """The environment variables that policy files may use."""
    upstreams: Mapping[str, UpstreamSettings] = field(default_factory=lambda: MappingProxyType({}))
    limits: LimitSettings = LimitSettings()
    metrics: MetricsSettings = MetricsSettings()
    logs: LogSettings = LogSettings()
    drain_timeout_s: float = 30.0
    shutdown_delay_s: float | None = None
    """How long listeners still accept after the stop signal; None: as where they listen needs it."""
    trusted_proxies: tuple[str, ...] = ()
    """CIDRs in canonical text."""
    clients: Mapping[str, ClientSettings] = field(default_factory=lambda: MappingProxyType({}))
    authorizations: tuple[AuthorizationSettings, ...] = ()
    routes: tuple[RouteSettings, ...] = ()
    tests: tuple[PolicyTest, ...] = ()
    content_hash: str = ""
    """SHA-256 (hex) over the bytes of every file that was read."""
    watched: tuple[Path, ...] = ()
    """The files and directories whose content this configuration was read from."""
