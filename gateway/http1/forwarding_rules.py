"""Say which of a caller's fields may reach an upstream.

How they are brought there is `gateway.http1.forwarding`; what is believed of them by default
is the table of `gateway.http1.dropped_fields`. Pure.

Sources: RFC 9110 7.6.1 (Connection); RFC 9700 4.13 (a reverse proxy sanitises what the application trusts).
"""

from dataclasses import dataclass

from gateway.http1.dropped_fields import group_of, is_kept, spelled_alike

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-authentication-info",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
"""Fields that end at each hop (RFC 9110 7.6.1)."""
REPLACED = frozenset(
    {b"host", b"max-forwards", b"content-length", b"x-request-id", b"traceparent", b"authorization"}
)
"""Fields that are written anew, or decided upon, for each request."""


@dataclass(frozen=True, slots=True, eq=False)
class ForwardingRules:
    """What an upstream wants to see of a caller's fields. By identity a key of `forwardable`."""

    keep_headers: frozenset[bytes]
    """Lower-case names kept although they are dropped by default, as `gateway.http1.dropped_fields` says."""
    forward_token: bool
    host: bytes | None
    """The Host to send, or None for the caller's."""
    forwarded_x: bool
    """X-Forwarded-* is added."""
    trusted_peer: bool
    """The peer is a trusted proxy: its forwarding fields are kept."""
    drop_headers: frozenset[bytes] = frozenset()
    """Further names that callers may not send, as `spelled_alike` spells them."""


def may_forward(lower_name: bytes, rules: ForwardingRules) -> bool:
    """Return whether a caller's field of this name may reach the upstream.

    Connection options and fields that are written anew are the caller's job.
    """
    if lower_name in HOP_BY_HOP or (rules.drop_headers and spelled_alike(lower_name) in rules.drop_headers):
        return False
    group = group_of(lower_name)
    if group is None:
        return True
    is_named = lower_name in rules.keep_headers
    return is_kept(lower_name, group, is_named=is_named, is_trusted=rules.trusted_peer)
