"""List the keys of what callers may take, and make settings of them."""

from gateway.settings.document import Node
from gateway.settings.kinds import Quantity, Whole
from gateway.settings.model import LimitSettings, Rate
from gateway.settings.quantities import SIZE
from gateway.settings.reading import Reading
from gateway.settings.sections import Field, Section
from gateway.settings.shared_kinds import COUNT_OR_NONE, TIMEOUT, TIMEOUT_OR_NONE, Values

_BODY_SIZE = Quantity(SIZE, 0, 2**50, "up to 1024TiB; 0 is unlimited")
_HEADER_SIZE = Quantity(SIZE, 1024, 2**20, "from 1KiB to 1MiB")


def make_bad_tokens(values: Values, node: Node, reading: Reading) -> Rate:
    """Return how many bad tokens a peer may send."""
    known = LimitSettings().bad_tokens
    return Rate(values.get("requests", known.requests), values.get("per_s", known.per_s))


BAD_TOKENS = Section(
    "rate",
    (
        Field("requests", COUNT_OR_NONE, "How many per period. 0: unlimited.", "200"),
        Field("per", TIMEOUT, "The period.", "1s", "per_s"),
    ),
    make_bad_tokens,
)


def make_auth_failures(values: Values, node: Node, reading: Reading) -> Rate:
    """Return how often a caller may be wrong about a client's secret."""
    known = LimitSettings().auth_failures
    return Rate(values.get("requests", known.requests), values.get("per_s", known.per_s))


AUTH_FAILURES = Section(
    "rate",
    (
        Field("requests", COUNT_OR_NONE, "How many per period. 0: unlimited.", "100"),
        Field("per", TIMEOUT, "The period.", "1m", "per_s"),
    ),
    make_auth_failures,
)


def make_limits(values: Values, node: Node, reading: Reading) -> LimitSettings:
    """Return the limits."""
    return LimitSettings(**values)


LIMITS = Section(
    "limits",
    (
        Field("connections", COUNT_OR_NONE, "Connections from callers at a time. 0: unlimited.", "10000"),
        Field(
            "header_bytes", _HEADER_SIZE, "The head of a request, from 1KiB to 1MiB; beyond it 431.", "32KiB"
        ),
        Field("header_count", Whole(1, 10_000), "Fields in the head of a request.", "100"),
        Field("body_bytes", _BODY_SIZE, "The body of a request; beyond it 413. 0: unlimited.", "0"),
        Field(
            "header_timeout", TIMEOUT, "Until the head of a request is complete.", "10s", "header_timeout_s"
        ),
        Field(
            "body_idle_timeout",
            TIMEOUT_OR_NONE,
            "Silence in the body of a request. 0: unlimited.",
            "30s",
            "body_idle_timeout_s",
        ),
        Field(
            "keep_alive_timeout",
            TIMEOUT,
            "How long a connection stays open between two requests.",
            "75s",
            "keep_alive_timeout_s",
        ),
        Field(
            "connections_per_peer",
            COUNT_OR_NONE,
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
            TIMEOUT_OR_NONE,
            "When the event loop runs later than this, a growing share of requests to routes is refused "
            "with 503 until it does not. 0: never.",
            "250ms",
            "loop_lag_s",
        ),
    ),
    make_limits,
)
