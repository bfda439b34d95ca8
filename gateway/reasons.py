"""Name each reason for which a request is let through or refused, with all that goes with it.

The closed list: the word of a reason is the metric label, the log field, the end of the problem
type, the field `Sidegate-Reason` and what policy tests expect. One row per reason; whoever
needs a word, a status or a sentence for one takes it from here. What is said besides in a single
refusal (the needed scopes, the seconds to wait) is `gateway.enforce.challenge`.

Sources: RFC 6750 3.1 (401, 403 and the error codes of a challenge), RFC 9110 15 (status codes),
RFC 6585 (429, 431), RFC 5842 7.2 (508), RFC 9457 3.1.3 (a title belongs to the type).
"""

from enum import StrEnum


class Challenge(StrEnum):
    """What a refusal asks of the caller in `WWW-Authenticate`: the error code of RFC 6750 3.1."""

    NONE = ""
    """No such field."""
    WANTED = "wanted"
    """A token, with no error code: none was sent (RFC 6750 3.1)."""
    INVALID_REQUEST = "invalid_request"
    INVALID_TOKEN = "invalid_token"  # noqa: S105 (an error code)
    INSUFFICIENT_SCOPE = "insufficient_scope"


_Row = tuple[str, int, str, str, Challenge, bool, bool]


def _row(
    word: str,
    status: int,
    summary: str,
    detail: str,
    challenge: Challenge = Challenge.NONE,
    *,
    retry_soon: bool = False,
    by_rule: bool = False,
) -> _Row:
    return word, status, summary, detail, challenge, retry_soon, by_rule


class Reason(StrEnum):
    """A reason: its word, and as attributes what it means for everybody who tells of it."""

    status: int
    """The rule; who has a more exact one at hand (framing: 501, 505) says it."""
    summary: str
    """The title of its problem type."""
    detail: str
    """A sentence for the caller: printable ASCII without `"` and backslash (RFC 6750 3)."""
    challenge: Challenge
    retry_soon: bool
    """It passes by itself within seconds: `Retry-After` (RFC 9110 10.2.3)."""
    by_rule: bool
    """Rules alone can give it, so a policy test can meet it; others need traffic, keys or an upstream."""

    def __new__(cls, word: str, *rest: object) -> "Reason":
        """Make the member of one row."""
        member = str.__new__(cls, word)
        member._value_ = word
        names = ("status", "summary", "detail", "challenge", "retry_soon", "by_rule")
        for name, value in zip(names, rest, strict=True):
            setattr(member, name, value)
        return member

    # What policy tests call an allowed request; on the wire the upstream's own status stands.
    OK = _row("ok", 200, "Allowed", "The token fulfils what the route demands.", by_rule=True)
    PUBLIC = _row("public", 200, "Public", "The route is public.", by_rule=True)
    OPTIONAL_ANONYMOUS = _row(
        "optional_anonymous",
        200,
        "Allowed without a token",
        "The route takes callers without a token.",
        by_rule=True,
    )
    NO_TOKEN = _row(
        "no_token",
        401,
        "No token",
        "This resource needs a bearer token in the Authorization field.",
        Challenge.WANTED,
        by_rule=True,
    )
    DUPLICATE_AUTHORIZATION = _row(
        "duplicate_authorization",
        400,
        "More than one Authorization field",
        "Send exactly one Authorization field.",
        Challenge.INVALID_REQUEST,
    )
    MALFORMED_TOKEN = _row(
        "malformed_token",
        401,
        "Malformed token",
        "The bearer token is not a well-formed signed JWT.",
        Challenge.INVALID_TOKEN,
        by_rule=True,
    )
    BAD_SIGNATURE = _row(
        "bad_signature",
        401,
        "Bad signature",
        "The signature of the token does not verify.",
        Challenge.INVALID_TOKEN,
    )
    UNKNOWN_KEY = _row(
        "unknown_key",
        401,
        "Unknown key",
        "The token was signed with a key that is not, or no longer, in use here.",
        Challenge.INVALID_TOKEN,
    )
    ALG_NOT_ALLOWED = _row(
        "alg_not_allowed",
        401,
        "Algorithm not allowed",
        "The token's signature algorithm is not the one of its key.",
        Challenge.INVALID_TOKEN,
    )
    WRONG_TYPE = _row(
        "wrong_type",
        401,
        "Wrong type of token",
        "The JWT is not an access token (typ at+jwt).",
        Challenge.INVALID_TOKEN,
    )
    WRONG_ISSUER = _row(
        "wrong_issuer", 401, "Wrong issuer", "The token was issued by somebody else.", Challenge.INVALID_TOKEN
    )
    EXPIRED = _row(
        "expired",
        401,
        "Expired token",
        "The token has expired; get a new one.",
        Challenge.INVALID_TOKEN,
        by_rule=True,
    )
    NOT_YET_VALID = _row(
        "not_yet_valid",
        401,
        "Token not yet valid",
        "The token is not valid yet.",
        Challenge.INVALID_TOKEN,
        by_rule=True,
    )
    WRONG_AUDIENCE = _row(
        "wrong_audience",
        401,
        "Wrong audience",
        "The token is meant for another audience.",
        Challenge.INVALID_TOKEN,
        by_rule=True,
    )
    MISSING_SCOPE = _row(
        "missing_scope",
        403,
        "Missing scope",
        "The token does not grant the scopes that this resource needs.",
        Challenge.INSUFFICIENT_SCOPE,
        by_rule=True,
    )
    CLAIM_MISMATCH = _row(
        "claim_mismatch",
        403,
        "Claim mismatch",
        "A claim of the token is not what this resource demands.",
        by_rule=True,
    )
    CLIENT_NOT_ALLOWED = _row(
        "client_not_allowed",
        403,
        "Client not allowed",
        "This client is not, or no longer, authorized for this resource.",
        by_rule=True,
    )
    CLIENT_DISABLED = _row(
        "client_disabled", 403, "Client disabled", "This client is disabled.", by_rule=True
    )
    REVOKED = _row("revoked", 401, "Revoked token", "The token was revoked.", Challenge.INVALID_TOKEN)
    BINDING_MISSING = _row(
        "binding_missing",
        401,
        "No proof of a bound token",
        "The token is bound to a key or a certificate, and the proof of it was not sent.",
        Challenge.INVALID_TOKEN,
    )
    BINDING_MISMATCH = _row(
        "binding_mismatch",
        401,
        "Wrong proof of a bound token",
        "The token is bound to another key or certificate.",
        Challenge.INVALID_TOKEN,
    )
    REPLAYED = _row(
        "replayed",
        401,
        "Proof used before",
        "The proof was used before; make one for each request.",
        Challenge.INVALID_TOKEN,
    )
    NO_ROUTE = _row("no_route", 404, "No route", "Nothing is published here.", by_rule=True)
    METHOD_NOT_ALLOWED = _row(
        "method_not_allowed",
        405,
        "Method not allowed",
        "This path exists, but not for this method.",
        by_rule=True,
    )
    RATE_LIMITED = _row(
        "rate_limited", 429, "Too many requests", "Too many requests; try again later.", retry_soon=True
    )
    OVERLOADED = _row(
        "overloaded", 503, "Overloaded", "Too much is going on; try again soon.", retry_soon=True
    )
    BODY_TOO_LARGE = _row(
        "body_too_large", 413, "Body too large", "The body is larger than this gateway accepts."
    )
    HEADER_TOO_LARGE = _row(
        "header_too_large", 431, "Header too large", "The header is larger than this gateway accepts."
    )
    URI_TOO_LONG = _row(
        "uri_too_long",
        414,
        "Request target too long",
        "The request target is longer than this gateway accepts.",
    )
    BAD_PATH = _row("bad_path", 400, "Bad path", "The path is ambiguous or malformed.", by_rule=True)
    BAD_FRAMING = _row(
        "bad_framing", 400, "Malformed request", "The request is not well-formed HTTP/1.1.", by_rule=True
    )
    EXPECTATION_FAILED = _row(
        "expectation_failed",
        417,
        "Expectation failed",
        "The only expectation that can be met is 100-continue.",
    )
    REQUEST_TIMEOUT = _row("request_timeout", 408, "Request timed out", "The request did not arrive in time.")
    # Never sent: nobody is there to read it. The number is nginx's, for logs.
    CLIENT_CLOSED = _row("client_closed", 499, "Caller gone", "The caller went away before the answer.")
    LOOP_DETECTED = _row(
        "loop_detected", 508, "Loop detected", "The request came back to the gateway that forwarded it."
    )
    KEYS_UNAVAILABLE = _row(
        "keys_unavailable", 503, "No keys", "Tokens cannot be verified at the moment.", retry_soon=True
    )
    UPSTREAM_CONNECT = _row(
        "upstream_connect", 502, "Upstream not reached", "The service behind this gateway cannot be reached."
    )
    UPSTREAM_TIMEOUT = _row(
        "upstream_timeout", 504, "Upstream too slow", "The service behind this gateway took too long."
    )
    UPSTREAM_RESET = _row(
        "upstream_reset", 502, "Upstream broke off", "The service behind this gateway broke the connection."
    )
    UPSTREAM_PROTOCOL = _row(
        "upstream_protocol",
        502,
        "Upstream answer malformed",
        "The service behind this gateway answered in a way that is not HTTP.",
    )
    CIRCUIT_OPEN = _row(
        "circuit_open",
        503,
        "Upstream not asked",
        "The service behind this gateway is not well and is not asked for the moment.",
        retry_soon=True,
    )
    DRAINING = _row(
        "draining", 503, "Shutting down", "This gateway is shutting down; try again.", retry_soon=True
    )
    INTERNAL = _row("internal", 500, "Internal error", "Something went wrong inside the gateway.")


PERMITTING = frozenset({Reason.OK, Reason.PUBLIC, Reason.OPTIONAL_ANONYMOUS})
REFUSALS = tuple(reason for reason in Reason if reason not in PERMITTING)
"""What a request can be refused for."""
