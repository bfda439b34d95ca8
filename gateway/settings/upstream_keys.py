"""List the keys of upstreams, and make settings of them."""

from operator import attrgetter
from pathlib import Path

from gateway.observe.secret_parameters import mask_address
from gateway.settings.document import Node
from gateway.settings.kinds import Quantity, Ratio, Text, Whole
from gateway.settings.lists import ListOf, MapOf
from gateway.settings.model import (
    Balance,
    CircuitBreakerSettings,
    Forwarded,
    HealthCheckSettings,
    OutlierSettings,
    TargetSettings,
    UnixTargetSettings,
    UpstreamSettings,
    UpstreamTlsSettings,
)
from gateway.settings.quantities import DURATION
from gateway.settings.reading import UNSAID, Reading
from gateway.settings.sections import Field, Section
from gateway.settings.shared_kinds import (
    COUNT_OR_NONE,
    FILE,
    FLAG,
    TIMEOUT,
    TIMEOUT_OR_NONE,
    Values,
    member_of,
)
from gateway.settings.texts import (
    field_as_read,
    is_dropped_by_default,
    is_spelled_like,
    parse_check_path,
    parse_claim_field,
    parse_claim_name,
    parse_dropped_header,
    parse_host_value,
    parse_kept_header,
    parse_server_name,
    parse_target,
)

_INTERVAL = Quantity(DURATION, 0.25, 86400, "from 250ms to 1d")


def place_target(
    directory: Path, target: TargetSettings | UnixTargetSettings
) -> TargetSettings | UnixTargetSettings:
    """Return a target, the path of a unix socket relative to `directory`."""
    return UnixTargetSettings(directory / target.path) if isinstance(target, UnixTargetSettings) else target


_BLANK = UpstreamSettings("", ())

QUEUE = Section(
    "queue",
    (
        Field(
            "size",
            COUNT_OR_NONE,
            "How many requests may wait for a free connection. 0: none.",
            attribute="queue_size",
            aliases="length max max_size max_pending max_pending_requests",
        ),
        Field(
            "timeout",
            TIMEOUT,
            "How long one of them may wait.",
            attribute="queue_timeout_s",
            aliases="wait max_wait",
        ),
    ),
    _BLANK,
    is_merged=True,
)


UPSTREAM_TLS = Section(
    "TLS setting",
    (
        Field(
            "ca_file",
            FILE,
            "The certificate authorities (PEM) that are trusted, and no others. Null: those of the system.",
            such_as="ca.pem",
            aliases="ca ca_cert cacert ca_bundle trusted_ca root_ca rootCAs trustedCertificate "
            "proxy_ssl_trusted_certificate",
        ),
        Field(
            "server_name",
            Text("name", parse_server_name),
            "The name that is asked for and that the certificate must hold. Null: the target's host.",
            such_as="country.internal",
            aliases="sni hostname host proxy_ssl_name",
        ),
        Field(
            "certificate_file",
            FILE,
            "The certificate (PEM, with its chain) that is shown to targets which ask for one.",
            such_as="client.pem",
            aliases="cert cert_file certificate client_cert client_certificate crt proxy_ssl_certificate",
        ),
        Field(
            "key_file",
            FILE,
            "Its private key (PEM, unencrypted). Null: in `certificate_file`, too.",
            needs="certificate_file",
            such_as="client.key",
            aliases="key private_key client_key proxy_ssl_certificate_key",
        ),
    ),
    UpstreamTlsSettings(),
)


HEALTH_CHECK = Section(
    "health check",
    (
        Field(
            "path",
            Text("path", parse_check_path, spell=mask_address),
            "What is asked for.",
            required=True,
            such_as="/healthz",
            aliases="uri url endpoint http_path",
        ),
        Field(
            "interval",
            _INTERVAL,
            "How often, give or take a tenth.",
            attribute="interval_s",
            aliases="period every",
        ),
        Field("timeout", TIMEOUT, "How long an answer may take, connecting included.", attribute="timeout_s"),
        Field(
            "unhealthy_after",
            Whole(1, 1000),
            "Failures in a row that make a target unhealthy.",
            aliases="fall fails unhealthy_threshold failure_threshold max_fails",
        ),
        Field(
            "healthy_after",
            Whole(1, 1000),
            "Good answers in a row that make it healthy again.",
            aliases="rise passes healthy_threshold success_threshold",
        ),
    ),
    HealthCheckSettings("/"),
)


OUTLIER = Section(
    "outlier",
    (
        Field(
            "consecutive_failures",
            Whole(0, 1000),
            "Failures in a row of one target. 0: it is never left out.",
            aliases="consecutive_5xx max_fails failures threshold consecutive_errors",
        ),
        Field(
            "ejection",
            TIMEOUT,
            "How long it is left out: twice as long each time that it fails again upon its return, up to ten "
            "times.",
            attribute="ejection_s",
            aliases="base_ejection_time fail_timeout ejection_time",
        ),
    ),
    OutlierSettings(),
)


CIRCUIT_BREAKER = Section(
    "circuit breaker",
    (
        Field(
            "failure_ratio",
            Ratio(),
            "The share of failures that opens the circuit.",
            aliases="ratio threshold error_ratio failure_rate expression",
        ),
        Field(
            "window", TIMEOUT, "The time that is looked at.", attribute="window_s", aliases="interval period"
        ),
        Field(
            "minimum",
            Whole(1, 1_000_000),
            "Fewer requests in the window open nothing.",
            aliases="min_requests request_volume minimum_requests",
        ),
        Field(
            "open",
            TIMEOUT,
            "How long nothing is sent; then one request at a time tries.",
            attribute="open_s",
            aliases="recovery fallback_duration sleep_window open_for",
        ),
    ),
    CircuitBreakerSettings(),
)


def _join_upstream(values: Values, node: Node, reading: Reading) -> None:
    values |= values.pop("queue", {})
    if (
        "tls" in values
        and values["targets"]
        and not any(isinstance(target, TargetSettings) and target.tls for target in values["targets"])
    ):
        reading.warn(node, "tls has no effect: no target is https://")
    for name in sorted(values.get("keep_headers", ())):
        if not is_dropped_by_default(name):
            reading.warn(node, f"keep_headers: {name} is forwarded anyway", "leave it out")
        if any(is_spelled_like(name, dropped) for dropped in values.get("drop_headers", ())):
            reading.error(
                node, f"keep_headers: {name} is in drop_headers, too", "leave it out of one of them"
            )


def _part_upstream(upstream: UpstreamSettings) -> Values:
    # Without a target that is https:// it would be a warning.
    tls = UNSAID if upstream.tls == UpstreamTlsSettings() else upstream.tls
    return {"queue": upstream, "tls": tls}


UPSTREAM = Section(
    "upstream",
    (
        Field(
            "targets",
            ListOf(
                "list of addresses",
                Text("address", parse_target, place_target, is_address=True, spell=attrgetter("url")),
                1,
                hint="name at least one http://host:port",
            ),
            "The addresses of the resource service, one or more: `http://host:port`, `https://host:port` or "
            "`unix:PATH` (a socket, relative to this file).",
            required=True,
            such_as="[http://10.0.0.5:9001]",
            aliases="target url urls server servers endpoint endpoints address addresses nodes backends "
            "hosts load_assignment loadBalancer upstream",
        ),
        Field(
            "balance",
            member_of(
                Balance,
                least_connections="least_conn least_request leastconn",
                round_robin="rr wrr random",
            ),
            "How one target of several is chosen.",
            such_as="round_robin",
            aliases="lb_policy algorithm load_balancing strategy lb",
        ),
        Field(
            "host",
            Text("host", parse_host_value),
            "The `Host` field to send. Null keeps the one the caller sent.",
            such_as="country.internal",
            aliases="host_header preserve_host pass_host_header host_rewrite rewrite_host",
        ),
        Field(
            "forward_token",
            FLAG,
            "Forward the caller's `Authorization` field. Off, the service never sees a token.",
            aliases="pass_authorization_header forward_authorization keep_token pass_access_token",
        ),
        Field(
            "identity_headers",
            FLAG,
            "Tell the service who calls: `X-Auth-Client-Id`, `X-Auth-Subject`, `X-Auth-Audience`, "
            "`X-Auth-Scope`. What a caller sends under these names never arrives, whatever is set here.",
            aliases="pass_user_headers set_xauthrequest",
        ),
        Field(
            "forwarded",
            member_of(
                Forwarded, x="x_forwarded x_forwarded_for", rfc7239="forwarded", both="all", none="off"
            ),
            "Which forwarding fields are added: `X-Forwarded-*` (`x`), `Forwarded` (`rfc7239`), `both` "
            "or `none`. `X-Forwarded-Prefix` is among the first where a route strips a prefix.",
            aliases="x_forwarded forwarded_headers proxy_headers",
        ),
        Field(
            "keep_headers",
            ListOf("list of field names", Text("field name", parse_kept_header), into=frozenset),
            "Fields that are dropped unless named here: names with `_`, method and URL overrides, and what "
            "other hops say (of TLS, scheme, host and user from `trusted_proxies` only): the list is in "
            "[security](security.md#fields-that-callers-are-not-believed).",
            such_as="[X-Forwarded-User]",
            aliases="allow_headers pass_headers",
        ),
        Field(
            "drop_headers",
            ListOf("list of field names", Text("field name", parse_dropped_header), into=frozenset),
            "Further fields that callers may not send, in any spelling: those in which this service believes "
            "what stands before it, and which the list does not know.",
            such_as="[X-Tenant]",
            aliases="remove_headers strip_headers request_headers_to_remove hide_headers",
        ),
        Field(
            "connect_timeout",
            TIMEOUT,
            "Until a connection stands.",
            attribute="connect_timeout_s",
            aliases="proxy_connect_timeout dial_timeout",
        ),
        Field(
            "claim_headers",
            MapOf(
                "mapping of field names to claims",
                parse_claim_field,
                Text("claim name", parse_claim_name),
                alike=field_as_read,
                most=32,
            ),
            "What else of the token the service is told: fields, each with the claim that is its value "
            "(`{X-Auth-Tenant: tenant}`). Their names begin with `X-Auth-`, so no caller can send them. "
            "Which values are sent, and which are left out and counted: "
            "[security](security.md#claims-that-services-are-told).",
            such_as="{X-Auth-Tenant: tenant}",
            aliases="claim_to_headers claims_to_headers claim_header propagate_claims header_claims",
        ),
        Field(
            "response_timeout",
            TIMEOUT_OR_NONE,
            "Until the head of the response; a body is never cut by it. 0: unlimited.",
            attribute="response_timeout_s",
            aliases="timeout request_timeout read_timeout proxy_read_timeout response_header_timeout "
            "write_timeout",
        ),
        Field(
            "idle_timeout",
            TIMEOUT_OR_NONE,
            "Silence in a body. 0: unlimited.",
            attribute="idle_timeout_s",
            aliases="stream_idle_timeout keepalive_timeout send_timeout proxy_send_timeout",
        ),
        Field(
            "max_connections",
            COUNT_OR_NONE,
            "Connections to all targets together. 0: unlimited.",
            aliases="max_conns connections pool_size max_idle_conns",
        ),
        Field(
            "queue",
            QUEUE,
            "Requests that wait while all connections are busy; beyond it the answer is 503.",
            such_as="{size: 1024, timeout: 1s}",
            aliases="pending wait_queue",
        ),
        Field(
            "retries",
            Whole(0, 10),
            "How often a request is sent again when that is safe: nothing of it was written, or it is "
            "idempotent, unanswered and small.",
            aliases="retry num_retries max_retries retry_policy attempts proxy_next_upstream_tries",
        ),
        Field(
            "tls",
            UPSTREAM_TLS,
            "How `https://` targets are verified, and what is shown to them. Certificate and name are always "
            "verified. The files are read again by every reload, and watched.",
            such_as="{ca_file: ca.pem}",
            aliases="ssl https transport_socket servers_transport",
        ),
        Field(
            "health_check",
            HEALTH_CHECK,
            "Ask each target regularly, on a connection of its own, whether it is well: 2xx and 3xx are. "
            "While no target is, the answer is 503 `circuit_open`. Null: targets are not asked.",
            such_as="{path: /healthz}",
            aliases="health health_checks probe",
        ),
        Field(
            "outlier",
            OUTLIER,
            "Leave out a target that fails again and again: no connection, an answer that is broken off, "
            "malformed or late, or 502, 503, 504. The last one left is never left out.",
            such_as="{consecutive_failures: 5, ejection: 30s}",
            aliases="outlier_detection passive_health_check max_fails",
        ),
        Field(
            "circuit_breaker",
            CIRCUIT_BREAKER,
            "Stop asking an upstream that fails too often (by the same signs): the answer is 503 "
            "`circuit_open` at once. Null: never.",
            such_as="{failure_ratio: 0.5}",
            aliases="circuit_breakers breaker",
        ),
    ),
    _BLANK,
    _join_upstream,
    _part_upstream,
)
