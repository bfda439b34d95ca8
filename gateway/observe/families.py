"""Name the metric families and hold their values: counters, histograms, label limits.

Data only; what is counted when is `gateway.observe.metrics`, how it is written
for a scraper is `gateway.observe.exposition`.

Sources: OpenMetrics 1.0 (metric types, histogram buckets), Prometheus naming practices.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

NONE = "_none_"
"""The label value of something that does not exist: no route, no client."""
OTHER = "_other_"
"""The label value that stands for all values beyond the limit."""

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


Exemplar = tuple[str, float, float]
"""Trace id, observed value, epoch seconds."""


class Histogram:
    """Counts per bucket and the sum of what was observed.

    `cells` holds one count per bound, then the count beyond the last bound, then
    the sum: one list, so that an observation in a hot loop is two item updates on
    a local name. `exemplars`, when kept, has one slot per bucket.
    """

    __slots__ = ("bounds", "cells", "exemplars")

    def __init__(self, bounds: tuple[float, ...], *, with_exemplars: bool = False) -> None:
        self.bounds = bounds
        self.cells: list[float] = [0] * (len(bounds) + 1) + [0.0]
        self.exemplars: list[Exemplar | None] | None = [None] * (len(bounds) + 1) if with_exemplars else None

    def observe(self, value: float) -> None:
        """Count one value; a bound belongs to its own bucket (le)."""
        self.cells[bisect_left(self.bounds, value)] += 1
        self.cells[-1] += value


Row = tuple[tuple[str, ...], "float | Histogram"]
"""Label values in the family's order, and the value."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family as it is described to scrapers. `name` carries no `_total`."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GaugeSample:
    """One current value of a gauge; `labels` in the family's order."""

    family: Family
    labels: tuple[str, ...]
    value: float


@dataclass(frozen=True, slots=True, eq=False)
class Collected:
    """One family with its rows, which are produced while they are read."""

    family: Family
    rows: Iterable[Row]


class LabelLimit:
    """Admits the first `limit` different values of one label and folds the rest into `_other_`.

    A limit of 0 admits all. Admitted values are never forgotten unless released.
    """

    __slots__ = ("_admitted", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._admitted: set[str] = set()

    def admit(self, value: str) -> str:
        """Return the label for `value`: itself, `_none_` when it is empty, or `_other_`."""
        if value in self._admitted:
            return value
        if not value:
            return NONE
        if self._limit and len(self._admitted) >= self._limit:
            return OTHER
        self._admitted.add(value)
        return value

    def release(self, value: str) -> None:
        """Forget one value, so that another can take its place."""
        self._admitted.discard(value)


def _counter(name: str, text: str, *labels: str) -> Family:
    return Family(name, Kind.COUNTER, text, labels)


def _gauge(name: str, text: str, *labels: str) -> Family:
    return Family(name, Kind.GAUGE, text, labels)


def _histogram(name: str, text: str, *labels: str) -> Family:
    return Family(name, Kind.HISTOGRAM, text, labels)


HTTP_REQUESTS = _counter("sidegate_http_requests", "Finished requests.", "route", "method", "code", "reason")
HTTP_DURATION = _histogram(
    "sidegate_http_request_duration_seconds",
    "Time from the request head until the end of the answer.",
    "route",
    "code_class",
)
HTTP_OVERHEAD = _histogram(
    "sidegate_http_overhead_seconds", "The gateway's own part of the duration.", "route"
)
HTTP_REQUEST_BODY = _histogram("sidegate_http_request_body_bytes", "Size of request bodies.", "route")
HTTP_RESPONSE_BODY = _histogram("sidegate_http_response_body_bytes", "Size of answer bodies.", "route")
DECISIONS = _counter("sidegate_decisions", "Policy decisions.", "route", "decision", "reason")
DECISION_DURATION = _histogram(
    "sidegate_decision_duration_seconds", "Time to decide about a request.", "route"
)
TOKEN_VERIFY = _counter(
    "sidegate_token_verify", "Access tokens checked by the gate.", "issuer", "result", "cache"
)
TOKEN_VERIFY_DURATION = _histogram(
    "sidegate_token_verify_duration_seconds", "Time to verify a signature that was not cached.", "alg"
)
TOKEN_REQUESTS = _counter(
    "sidegate_token_requests",
    "Requests to the token endpoint.",
    "grant",
    "auth_method",
    "client",
    "result",
)
TOKEN_REQUEST_DURATION = _histogram(
    "sidegate_token_request_duration_seconds",
    "Time to answer a token request.",
    "grant",
    "result_class",
)
TOKENS_ISSUED = _counter("sidegate_tokens_issued", "Access tokens issued.", "client", "audience")
TOKEN_LIFETIME = _histogram("sidegate_token_lifetime_seconds", "Lifetime of issued tokens.", "grant")
CLIENT_AUTH_FAILURES = _counter(
    "sidegate_client_auth_failures", "Failed client authentications.", "auth_method", "reason"
)
REPLAY_REJECTED = _counter(
    "sidegate_replay_rejected", "Assertions refused because they were used before.", "kind"
)
LEGACY_AUDIENCE = _counter(
    "sidegate_legacy_audience",
    "Client assertions accepted that name the token endpoint as their audience, not the issuer.",
    "client",
)
JWKS_FETCH = _counter("sidegate_jwks_fetch", "Fetches of remote key sets.", "issuer", "result")
JWKS_AGE = _gauge(
    "sidegate_jwks_age_seconds", "Time since the keys in use were fetched; the oldest of an issuer.", "issuer"
)
UPSTREAM_REQUESTS = _counter(
    "sidegate_upstream_requests",
    "Requests sent to upstreams; code_class is none when no answer began.",
    "upstream",
    "code_class",
    "attempt",
)
UPSTREAM_DURATION = _histogram(
    "sidegate_upstream_duration_seconds", "Time spent at upstreams, by phase.", "upstream", "phase"
)
UPSTREAM_ERRORS = _counter(
    "sidegate_upstream_errors", "Attempts that an upstream failed.", "upstream", "reason"
)
CONFIG_RELOADS = _counter("sidegate_config_reloads", "Reloads of the configuration.", "result", "cause")
CONFIG_RELOAD_SUCCESSFUL = _gauge(
    "sidegate_config_last_reload_successful", "1 when the last load of the configuration took effect."
)
CONFIG_RELOAD_TIMESTAMP = _gauge(
    "sidegate_config_last_reload_success_timestamp_seconds", "When a configuration last took effect."
)
SOURCE_SUCCESSFUL = _gauge(
    "sidegate_source_last_load_successful",
    "0 while a source could not be loaded and stays as it was.",
    "source",
)
SOURCE_TIMESTAMP = _gauge(
    "sidegate_source_last_load_timestamp_seconds", "When what a source works by was loaded.", "source"
)
READY = _gauge("sidegate_ready", "1 while callers should be sent here, as /readyz says.")
STATE_UP = _gauge("sidegate_state_up", "1 while the state store answers.")
CONFIG_INFO = _gauge("sidegate_config_info", "The configuration in effect.", "hash")
EVENT_LOOP_LAG = _histogram("sidegate_event_loop_lag_seconds", "How late the event loop runs its timers.")
LOOP_HELD = _counter("sidegate_loop_held", "How often the event loop stood still for 100 ms or more.")
RATE_LIMITED = _counter(
    "sidegate_rate_limited", "Requests and connections refused because a limit was used up.", "route", "limit"
)
BUILD_INFO = _gauge("sidegate_build_info", "What is running.", "version", "python", "uvloop")
ACCESS_LOG_DROPPED = _counter(
    "sidegate_access_log_dropped",
    "Lines of the access log, and of the log with the issuer's requests, dropped instead of waited for.",
)
LABEL_OVERFLOW = _counter(
    "sidegate_metrics_label_overflow",
    "Observations folded into _other_ because a label has too many values.",
    "label",
)

IN_FLIGHT = _gauge("sidegate_http_requests_in_flight", "Requests being worked on.", "route")
CONNECTIONS = _gauge(
    "sidegate_connections", "Downstream connections: active, idle or upgraded.", "listener", "state"
)
CONNECTIONS_REFUSED = _counter(
    "sidegate_connections_refused",
    "Connections that were closed before they could send a request.",
    "listener",
    "reason",
)
ACCEPT_PAUSES = _counter(
    "sidegate_accept_pauses",
    "How often accepting paused because descriptors or memory ran out.",
    "listener",
)
TLS_NOT_AFTER = _gauge(
    "sidegate_tls_certificate_not_after_timestamp_seconds",
    "When the certificate in use expires.",
    "listener",
    "name",
)
TLS_CURRENT = _gauge(
    "sidegate_tls_certificate_last_reload_successful",
    "1 when the certificate in use is what its files say, 0 when they cannot be used.",
    "listener",
)
UPSTREAM_POOL = _gauge(
    "sidegate_upstream_pool_connections",
    "Upstream connections: idle or active, and requests waiting for one.",
    "upstream",
    "state",
)
UPSTREAM_HEALTHY = _gauge(
    "sidegate_upstream_healthy", "1 while requests are sent to the target.", "upstream", "target"
)
UPSTREAM_CIRCUIT = _gauge(
    "sidegate_upstream_circuit_state", "1 for the state of the circuit breaker.", "upstream", "state"
)
TOKEN_CACHE_ENTRIES = _gauge("sidegate_token_cache_entries", "Verified tokens held in memory.")
SIGNING_KEY_INFO = _gauge(
    "sidegate_signing_key_info", "The keys of the key directory.", "kid", "alg", "state"
)
RULES = _gauge("sidegate_rules", "Routes in effect.")
CLIENTS = _gauge("sidegate_clients", "Clients in effect.")
REVOCATIONS = _gauge("sidegate_revocations", "Revoked tokens that have not expired yet.")
