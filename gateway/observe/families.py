"""Name the metric families, once: kind, labels, what their values mean, bounds, help.

Data only. Their values are kept by `gateway.observe.series`; what is counted when is
`gateway.observe.metrics`, how it is written for a scraper `gateway.observe.exposition`,
and for people `gateway.observe.reference`.

Sources: OpenMetrics 1.0 (metric types, histogram buckets), Prometheus naming practices.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from gateway.reasons import PERMITTING, Reason

NONE = "_none_"
"""The label value of something that does not exist: no route, no client."""
OTHER = "_other_"
"""The label value that stands for all values beyond the limit."""

ALL = "_all_"
"""The route of histograms that all routes share."""

ROUTE, UPSTREAM, CLIENT, AUDIENCE, ISSUER = LIMITED = ("route", "upstream", "client", "audience", "issuer")
"""The labels whose values are names of the configuration; each has a limit (`metrics.label_limit`)."""

REQUEST_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
OVERHEAD_BOUNDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)
VERIFY_BOUNDS = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01)
TOKEN_REQUEST_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
SIZE_BOUNDS = (256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0)
LIFETIME_BOUNDS = (60.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 14400.0, 86400.0)
LAG_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class Kind(StrEnum):
    """The type a scraper is told."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """One metric family as it is described to scrapers and people. `name` carries no `_total`."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    meanings: tuple[str, ...] = ()
    """Of the values of each label, for people; nothing where the label's name says it."""
    bounds: tuple[float, ...] = ()
    """Of a histogram's buckets."""
    from_start: str = ""
    """Of a counter: which of its series are there at 0 before anything happened, for people."""

    @property
    def sample_name(self) -> str:
        """Return the name under which scrapers find the values."""
        return f"{self.name}_total" if self.kind is Kind.COUNTER else self.name


SeriesOf = tuple[Family, Iterable[tuple[str, ...]]]
"""Series of one family: label values in its order, made while they are read."""


@dataclass(frozen=True, slots=True)
class GaugeSample:
    """One current value of a gauge; `labels` in the family's order."""

    family: Family
    labels: tuple[str, ...]
    value: float


def _counter(name: str, text: str, from_start: str = "", /, **labels: str) -> Family:
    return Family(name, Kind.COUNTER, text, tuple(labels), tuple(labels.values()), from_start=from_start)


def _gauge(name: str, text: str, /, **labels: str) -> Family:
    return Family(name, Kind.GAUGE, text, tuple(labels), tuple(labels.values()))


def _histogram(name: str, text: str, bounds: tuple[float, ...], /, **labels: str) -> Family:
    return Family(name, Kind.HISTOGRAM, text, tuple(labels), tuple(labels.values()), bounds)


_ROUTES = "names of routes, and `_issuer_`"
_OWN_ROUTES = f"{_ROUTES}; `_all_` alone without `metrics.route_histograms`"
_PERMITTING = ", ".join(f"`{reason}`" for reason in Reason if reason in PERMITTING)
_REASONS = f"the closed list of [concepts](concepts.md), or {_PERMITTING}"
_CODE_CLASSES = "`1xx` to `5xx`, `none` without an answer"
_GRANTS = "`client_credentials`, `jwt-bearer`, `token-exchange`, `_OTHER`"

HTTP_REQUESTS = _counter(
    "sidegate_http_requests",
    "Finished requests.",
    route=_ROUTES,
    method="`_OTHER` for what is no method of HTTP",
    code="the status, `none` without an answer",
    reason=_REASONS,
)
HTTP_DURATION = _histogram(
    "sidegate_http_request_duration_seconds",
    "Time from the request head until the end of the answer.",
    REQUEST_BOUNDS,
    route=_OWN_ROUTES,
    code_class=_CODE_CLASSES,
)
HTTP_OVERHEAD = _histogram(
    "sidegate_http_overhead_seconds",
    "The gateway's own part of the duration.",
    OVERHEAD_BOUNDS,
    route=_OWN_ROUTES,
)
HTTP_REQUEST_BODY = _histogram(
    "sidegate_http_request_body_bytes", "Size of request bodies.", SIZE_BOUNDS, route=_OWN_ROUTES
)
HTTP_RESPONSE_BODY = _histogram(
    "sidegate_http_response_body_bytes", "Size of answer bodies.", SIZE_BOUNDS, route=_OWN_ROUTES
)
DECISIONS = _counter(
    "sidegate_decisions",
    "Policy decisions.",
    route=_ROUTES,
    decision="`allow`, `deny`, `shadow_allow`, `shadow_deny`",
    reason=_REASONS,
)
DECISION_DURATION = _histogram(
    "sidegate_decision_duration_seconds",
    "Time to decide about a request.",
    OVERHEAD_BOUNDS,
    route=_OWN_ROUTES,
)
CLIENT_DECISIONS = _counter(
    "sidegate_client_decisions",
    "Policy decisions about the requests of a client; of callers whose token does not verify under _none_.",
    "each client",
    client="ids of clients, `_none_`",
    decision="`allow`, `deny`, `shadow_allow`, `shadow_deny`",
)
TOKEN_VERIFY = _counter(
    "sidegate_token_verify",
    "Access tokens checked by the gate.",
    "all results",
    issuer="the configured issuer",
    result="`ok` or a reason",
    cache="`hit`, `miss`",
)
TOKEN_VERIFY_DURATION = _histogram(
    "sidegate_token_verify_duration_seconds",
    "Time to verify a signature that was not cached.",
    VERIFY_BOUNDS,
    alg="one of the algorithms of our keys",
)
TOKEN_REQUESTS = _counter(
    "sidegate_token_requests",
    "Requests to the token endpoint.",
    grant=_GRANTS,
    auth_method="as in metadata, or `none`",
    client="ids of clients that were proven",
    result="`ok` or the OAuth error",
)
TOKEN_REQUEST_DURATION = _histogram(
    "sidegate_token_request_duration_seconds",
    "Time to answer a token request.",
    TOKEN_REQUEST_BOUNDS,
    grant=_GRANTS,
    result_class="`ok`, `refused`, `failed`",
)
TOKENS_ISSUED = _counter(
    "sidegate_tokens_issued", "Access tokens issued.", client="ids of clients", audience="ids of clients"
)
TOKEN_LIFETIME = _histogram(
    "sidegate_token_lifetime_seconds", "Lifetime of issued tokens.", LIFETIME_BOUNDS, grant=_GRANTS
)
CLIENT_AUTH_FAILURES = _counter(
    "sidegate_client_auth_failures",
    "Failed client authentications.",
    "what each method can fail by",
    auth_method="as in metadata, `none`, or `jwt-bearer` for that grant",
    reason="one word; the log of the issuer's requests has it as `cause`",
)
REPLAY_REJECTED = _counter(
    "sidegate_replay_rejected",
    "Assertions refused because they were used before.",
    "both kinds",
    kind="`client_assertion`, `grant_assertion`",
)
LEGACY_AUDIENCE = _counter(
    "sidegate_legacy_audience",
    "Client assertions accepted that name the token endpoint as their audience, not the issuer.",
    "each client with `legacy_audience`; the setting can go when this stands still",
    client="ids of clients",
)
JWKS_FETCH = _counter(
    "sidegate_jwks_fetch",
    "Fetches of remote key sets.",
    "each issuer whose keys are fetched",
    issuer="issuers of assertions, or the client whose keys these are",
    result="`ok`, `unreachable`, `bad_status`, `too_large`, `bad_redirect`, `bad_address`, `invalid`, "
    "`no_credentials`, `internal`",
)
JWKS_AGE = _gauge(
    "sidegate_jwks_age_seconds",
    "Time since the keys in use were fetched; the oldest of an issuer.",
    issuer="as above",
)
UPSTREAM_REQUESTS = _counter(
    "sidegate_upstream_requests",
    "Requests sent to upstreams; code_class is none when no answer began.",
    "each upstream",
    upstream="names of upstreams",
    code_class=_CODE_CLASSES,
    attempt="`first`, `retry`",
)
UPSTREAM_DURATION = _histogram(
    "sidegate_upstream_duration_seconds",
    "Time spent at upstreams, by phase.",
    REQUEST_BOUNDS,
    upstream="names of upstreams",
    phase="`connect`, `ttfb`, `total`",
)
UPSTREAM_ERRORS = _counter(
    "sidegate_upstream_errors",
    "Attempts that an upstream failed, also of requests that another attempt saved; not the end of a kept "
    "connection, which is ordinary.",
    "each upstream",
    upstream="names of upstreams",
    reason="`connect`, `tls`, `dns`, `timeout`, `reset`, `protocol`",
)
CLAIMS_LEFT_OUT = _counter(
    "sidegate_claim_headers_left_out",
    "Claims that an upstream is not told because of what they hold; counted when the fields of a token are "
    "made, not with each request.",
    "each upstream with `claim_headers`",
    upstream="names of upstreams",
    cause="`kind` (no text, whole number, truth value or list of these), `size` (over 1 KiB), `characters` "
    "(other than visible ASCII), `ambiguous` (an item of a list is empty or holds a comma)",
)
CONFIG_RELOADS = _counter(
    "sidegate_config_reloads",
    "Reloads of the configuration.",
    "all results and causes",
    result="`ok`, `invalid`, `io_error`, `timeout`",
    cause="`signal`, `watch`, `api`",
)
CONFIG_RELOAD_SUCCESSFUL = _gauge(
    "sidegate_config_last_reload_successful", "1 when the last load of the configuration took effect."
)
CONFIG_RELOAD_TIMESTAMP = _gauge(
    "sidegate_config_last_reload_success_timestamp_seconds", "When a configuration last took effect."
)
SOURCE_SUCCESSFUL = _gauge(
    "sidegate_source_last_load_successful",
    "0 while a source could not be loaded and stays as it was.",
    source="`configuration`, `keys`, `certificates`",
)
SOURCE_TIMESTAMP = _gauge(
    "sidegate_source_last_load_timestamp_seconds",
    "When what a source works by was loaded.",
    source="as above",
)
READY = _gauge("sidegate_ready", "1 while callers should be sent here, as /readyz says.")
STATE_UP = _gauge("sidegate_state_up", "1 while the state store answers.")
CONFIG_INFO = _gauge(
    "sidegate_config_info", "The configuration in effect.", hash="of its content; one series"
)
EVENT_LOOP_LAG = _histogram(
    "sidegate_event_loop_lag_seconds", "How late the event loop runs its timers.", LAG_BOUNDS
)
TASK_RESTARTS = _counter(
    "sidegate_task_restarts",
    "How often a background task failed and had to be started again; the log says why.",
    "each task",
    task="`sweep`, `readiness`, `signals`, `watch`, `key sets`, and with TLS `memory`",
)
LOOP_HELD = _counter("sidegate_loop_held", "How often the event loop stood still for 100 ms or more.", "yes")
RATE_LIMITED = _counter(
    "sidegate_rate_limited",
    "Requests and connections refused because a limit was used up.",
    "each route with its limits, and `_none_` with `connections_per_peer`",
    route="names of routes; `_none_` where a limit comes before the route",
    limit="`rate_limit`, `bad_tokens`, `connections_per_peer`",
)
BUILD_INFO = _gauge("sidegate_build_info", "What is running.", version="", python="", uvloop="")
ACCESS_LOG_DROPPED = _counter(
    "sidegate_access_log_dropped",
    "Lines of the access log, and of the log with the issuer's requests, dropped instead of waited for.",
    "yes",
)
LABEL_OVERFLOW = _counter(
    "sidegate_metrics_label_overflow",
    "Observations folded into _other_ because a label has too many values.",
    "all",
    label="`route`, `upstream`, `client`, `audience`, `issuer`",
)

IN_FLIGHT = _gauge("sidegate_http_requests_in_flight", "Requests being worked on.", route=_ROUTES)
CONNECTIONS = _gauge(
    "sidegate_connections",
    "Downstream connections.",
    listener="addresses of listeners",
    state="`active`, `idle`, `upgraded`",
)
CONNECTIONS_REFUSED = _counter(
    "sidegate_connections_refused",
    "Connections that were closed before they could send a request.",
    "each listener",
    listener="addresses of listeners",
    reason="`limit`, `limit_per_peer`, `timeout`, `handshake`, `client_certificate`, `proxy_header`, "
    "`untrusted_proxy`, `closed`, `closing`, `internal`",
)
ACCEPT_PAUSES = _counter(
    "sidegate_accept_pauses",
    "How often accepting paused because descriptors or memory ran out.",
    "each listener",
    listener="addresses of listeners",
)
TLS_NOT_AFTER = _gauge(
    "sidegate_tls_certificate_not_after_timestamp_seconds",
    "When the certificate in use expires.",
    listener="addresses of listeners",
    name="the certificate's first DNS name",
)
TLS_CURRENT = _gauge(
    "sidegate_tls_certificate_last_reload_successful",
    "1 when the certificate in use is what its files say, 0 when they cannot be used.",
    listener="addresses of listeners",
)
UPSTREAM_POOL = _gauge(
    "sidegate_upstream_pool_connections",
    "Upstream connections: idle or active, and requests waiting for one.",
    upstream="names of upstreams",
    state="`idle`, `active`, `waiting`",
)
UPSTREAM_HEALTHY = _gauge(
    "sidegate_upstream_healthy",
    "1 while requests are sent to the target.",
    upstream="names of upstreams",
    target="as configured",
)
UPSTREAM_CIRCUIT = _gauge(
    "sidegate_upstream_circuit_state",
    "1 for the state of the circuit breaker, where there is one.",
    upstream="names of upstreams",
    state="`closed`, `open`, `half_open`",
)
TOKEN_CACHE_ENTRIES = _gauge("sidegate_token_cache_entries", "Verified tokens held in memory.")
SIGNING_KEY_INFO = _gauge(
    "sidegate_signing_key_info",
    "The keys of the key directory.",
    kid="",
    alg="",
    state="`next`, `active`, `retiring`",
)
SIGNING_KEY_CREATED = _gauge(
    "sidegate_signing_key_created_timestamp_seconds",
    "When the file of a signing key came to be as it is.",
    kid="",
)
SIGNING_KEY_NOT_AFTER = _gauge(
    "sidegate_signing_key_not_after_timestamp_seconds",
    "When the last token of a retiring key is over; from then on its file may go.",
    kid="",
)
AUTHORIZATION_UNTIL = _gauge(
    "sidegate_authorization_until_timestamp_seconds",
    "When an authorization that has an end is over; of several the first.",
    client="ids of clients",
    audience="ids of clients",
)
RULES = _gauge("sidegate_rules", "Routes in effect.")
CLIENTS = _gauge("sidegate_clients", "Clients in effect.")
REVOCATIONS = _gauge("sidegate_revocations", "Revoked tokens that have not expired yet.")

FAMILIES = tuple(value for value in tuple(globals().values()) if isinstance(value, Family))
"""Every family of our own, in the order in which scrapers and people read them."""
