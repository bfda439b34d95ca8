"""List the keys of what callers may take, and make settings of them."""

from gateway.settings.kinds import Quantity, Whole
from gateway.settings.model import LimitSettings
from gateway.settings.quantities import SIZE
from gateway.settings.sections import Field, Section
from gateway.settings.shared_kinds import COUNT_OR_NONE, TIMEOUT, TIMEOUT_OR_NONE

_BODY_SIZE = Quantity(SIZE, 0, 2**50, "up to 1024TiB; 0 is unlimited")
_HEADER_SIZE = Quantity(SIZE, 1024, 2**20, "from 1KiB to 1MiB")


BAD_TOKENS = Section(
    "rate",
    (
        Field(
            "requests", COUNT_OR_NONE, "How many per period. 0: unlimited.", aliases="rate limit max count"
        ),
        Field("per", TIMEOUT, "The period.", attribute="per_s", aliases="period unit interval window"),
    ),
    LimitSettings().bad_tokens,
)


AUTH_FAILURES = Section(
    "rate",
    (
        Field(
            "requests",
            COUNT_OR_NONE,
            "How many per period. 0: unlimited.",
            aliases="rate limit max count attempts",
        ),
        Field("per", TIMEOUT, "The period.", attribute="per_s", aliases="period unit interval window"),
    ),
    LimitSettings().auth_failures,
)


LIMITS = Section(
    "limits",
    (
        Field(
            "connections",
            COUNT_OR_NONE,
            "Connections from callers at a time. 0: unlimited.",
            aliases="max_connections worker_connections max_conns",
        ),
        Field(
            "header_bytes",
            _HEADER_SIZE,
            "The head of a request, from 1KiB to 1MiB; beyond it 431.",
            aliases="max_header_bytes max_header_size header_size large_client_header_buffers",
        ),
        Field(
            "header_count",
            Whole(1, 10_000),
            "Fields in the head of a request.",
            aliases="max_headers max_header_count",
        ),
        Field(
            "body_bytes",
            _BODY_SIZE,
            "The body of a request; beyond it 413. 0: unlimited.",
            such_as="10MiB",
            aliases="max_body max_body_size body_size client_max_body_size max_request_body "
            "max_request_bytes",
        ),
        Field(
            "header_timeout",
            TIMEOUT,
            "Until the head of a request is complete.",
            attribute="header_timeout_s",
            aliases="client_header_timeout read_header_timeout request_headers_timeout",
        ),
        Field(
            "body_idle_timeout",
            TIMEOUT_OR_NONE,
            "Silence in the body of a request. 0: unlimited.",
            attribute="body_idle_timeout_s",
            aliases="client_body_timeout read_timeout body_timeout",
        ),
        Field(
            "keep_alive_timeout",
            TIMEOUT,
            "How long a connection stays open between two requests.",
            attribute="keep_alive_timeout_s",
            aliases="keepalive idle_timeout",
        ),
        Field(
            "connections_per_peer",
            COUNT_OR_NONE,
            "Connections of one caller's address (IPv6: of its /64) at a time; beyond it 429 and the end. "
            "`trusted_proxies` are exempt. 0: unlimited.",
            such_as="1000",
            aliases="limit_conn connections_per_ip max_connections_per_ip",
        ),
        Field(
            "auth_failures",
            AUTH_FAILURES,
            "Failed proofs (wrong secrets, assertions that prove nothing) for one client from one caller's "
            "address (IPv6: its /64), and ten times as many for all clients together. Beyond it 429 for that "
            "address until the period is over; the client itself is not locked out elsewhere. Counted over "
            "all processes that share a Redis.",
            such_as="{requests: 100, per: 1m}",
            aliases="login_failures failed_logins brute_force",
        ),
        Field(
            "bad_tokens",
            BAD_TOKENS,
            "Signature checks that failed, per caller's address (IPv6: its /64). Beyond it, tokens from "
            "there that are not known yet are refused unchecked with 429; known good ones go on working.",
            such_as="{requests: 200, per: 1s}",
            aliases="invalid_tokens",
        ),
        Field(
            "loop_lag",
            TIMEOUT_OR_NONE,
            "When the event loop runs later than this, a growing share of requests to routes is refused "
            "with 503 until it does not. 0: never.",
            attribute="loop_lag_s",
            aliases="overload event_loop_lag",
        ),
    ),
    LimitSettings(),
)
