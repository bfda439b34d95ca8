"""Give each reason its HTTP status.

A few refusals have a more exact status at hand (framing: 501 or 505 where RFC 9112
says so); those who make them say it, this table is the rule for everybody else.

Sources: RFC 6750 3.1 (401, 403), RFC 9110 15 (status codes), RFC 6585 (429, 431),
RFC 5842 7.2 (508).
"""

from collections.abc import Mapping
from types import MappingProxyType

from gateway.policy.model import Reason

STATUS_OF_REASON: Mapping[Reason, int] = MappingProxyType(
    {
        # What policy tests call an allowed request; on the wire the upstream's own status stands.
        Reason.OK: 200,
        Reason.PUBLIC: 200,
        Reason.OPTIONAL_ANONYMOUS: 200,
        Reason.DUPLICATE_AUTHORIZATION: 400,
        Reason.BAD_PATH: 400,
        Reason.BAD_FRAMING: 400,
        Reason.NO_TOKEN: 401,
        Reason.MALFORMED_TOKEN: 401,
        Reason.BAD_SIGNATURE: 401,
        Reason.UNKNOWN_KEY: 401,
        Reason.ALG_NOT_ALLOWED: 401,
        Reason.WRONG_TYPE: 401,
        Reason.WRONG_ISSUER: 401,
        Reason.EXPIRED: 401,
        Reason.NOT_YET_VALID: 401,
        Reason.WRONG_AUDIENCE: 401,
        Reason.REVOKED: 401,
        Reason.BINDING_MISSING: 401,
        Reason.BINDING_MISMATCH: 401,
        Reason.REPLAYED: 401,
        Reason.MISSING_SCOPE: 403,
        Reason.CLAIM_MISMATCH: 403,
        Reason.CLIENT_NOT_ALLOWED: 403,
        Reason.CLIENT_DISABLED: 403,
        Reason.NO_ROUTE: 404,
        Reason.METHOD_NOT_ALLOWED: 405,
        Reason.REQUEST_TIMEOUT: 408,
        Reason.BODY_TOO_LARGE: 413,
        Reason.URI_TOO_LONG: 414,
        Reason.EXPECTATION_FAILED: 417,
        Reason.RATE_LIMITED: 429,
        Reason.HEADER_TOO_LARGE: 431,
        # Never sent: nobody is there to read it. The number is nginx's, for logs.
        Reason.CLIENT_CLOSED: 499,
        Reason.INTERNAL: 500,
        Reason.UPSTREAM_CONNECT: 502,
        Reason.UPSTREAM_RESET: 502,
        Reason.UPSTREAM_PROTOCOL: 502,
        Reason.OVERLOADED: 503,
        Reason.KEYS_UNAVAILABLE: 503,
        Reason.CIRCUIT_OPEN: 503,
        Reason.DRAINING: 503,
        Reason.UPSTREAM_TIMEOUT: 504,
        Reason.LOOP_DETECTED: 508,
    }
)
