"""Compute the head that goes to an upstream, and what goes back to the caller.

Pure. The caller's end-to-end fields are kept as they were sent and in their order;
what only a hop, or only this gateway, may say is removed. The removals depend on
nothing but the fields and the rules, so they are made once for a field block
(`FieldBlock.forwardable`); what is particular to one request is joined behind.

Sources: RFC 9110 7.6.1 (Connection), 7.6.3 (Via), 11.6.2 (Authorization); RFC 7239; W3C Trace Context;
RFC 9700 4.13 (a reverse proxy sanitises what the application trusts).
"""

import re

from gateway.http1.claim_fields import IDENTITY_NAMES
from gateway.http1.dropped_fields import group_of
from gateway.http1.forwarding_rules import HOP_BY_HOP, REPLACED, ForwardingRules, may_forward
from gateway.http1.request import FORWARDABLE_BYTES_PER_BLOCK, FieldBlock, RequestHead

RULES_PER_BLOCK = 8
FORWARDED_FOR = b"X-Forwarded-For: "

_FORWARDED_PROTO_LINE = re.compile(rb"X-Forwarded-Proto: [^\r]*\r\n")
_FORWARDED_PREFIX_LINE = re.compile(rb"^x-forwarded-prefix:([^\r]*)\r\n", re.IGNORECASE | re.MULTILINE)
_PREFIX = re.compile(
    rb"(?:/(?!\.{1,2}(?:/|\Z))(?:[A-Za-z0-9\-._~!$&'()*+;=:@]|%(?!2[EeFf]|5[Cc])[0-9A-Fa-f]{2})+)+"
)
"""A path without empty and dot segments, or escapes that make them: what may stand before another path."""
_NEVER_TRAILERS = frozenset(
    {
        b"host",
        b"authorization",
        b"cookie",
        b"set-cookie",
        b"www-authenticate",
        b"expect",
        b"max-forwards",
        b"range",
        b"cache-control",
        b"pragma",
        b"via",
        b"x-request-id",
        b"traceparent",
        b"tracestate",
        b"sidegate-reason",
    }
)


def forwardable_fields(block: FieldBlock, rules: ForwardingRules, *, traced: bool) -> bytes:
    """Return the Host line and the caller's fields that may pass, each with CRLF.

    Remembered on the block. Host comes first (RFC 9110 7.2); X-Forwarded-Host names the
    host the caller used, when `rules` ask for it.

    Args:
        block: The caller's fields.
        rules: Of the upstream.
        traced: The caller's traceparent is kept. Otherwise a new trace begins here, and a
            tracestate, which tells of another one, ends here (W3C Trace Context).
    """
    loses_tracestate = block.has_tracestate and not traced
    key: object = (rules, "new trace") if loses_tracestate else rules
    known = block.forwardable.get(key)
    if known is None:
        dropped = block.connection_options | {b"tracestate"} if loses_tracestate else block.connection_options
        known = _forwardable_fields(block, rules, dropped)
        count = len(block.forwardable)
        if count >= RULES_PER_BLOCK or (count + 1) * len(known) > FORWARDABLE_BYTES_PER_BLOCK:
            block.forwardable.clear()  # rules of snapshots that are gone, or of many upstreams
        block.forwardable[key] = known
    return known


def own_authorization(head: RequestHead, rules: ForwardingRules) -> bytes:
    """Return the Authorization line of a head that has it apart from its block, when it may pass."""
    if (
        not rules.forward_token
        or not head.has_own_authorization
        or head.authorization is None
        or b"authorization" in head.block.connection_options
    ):
        return b""
    return b"Authorization: %b\r\n" % head.authorization


def _forwardable_fields(block: FieldBlock, rules: ForwardingRules, dropped: frozenset[bytes]) -> bytes:
    host = rules.host if rules.host is not None else (block.host or b"")
    lines = [b"Host: %b\r\n" % host]
    names = set()
    for lower, name, value in block.fields:
        if lower == b"authorization":
            if rules.forward_token and lower not in dropped:
                lines.append(b"%b: %b\r\n" % (name, value))
            continue
        if lower in REPLACED or lower in dropped or not may_forward(lower, rules):
            continue
        if rules.trusted_peer and rules.forwarded_x and lower == b"x-forwarded-for":
            continue  # joined with our own entry by `forwarding_fields`
        names.add(lower)
        lines.append(b"%b: %b\r\n" % (name, value))
    if rules.forwarded_x and b"x-forwarded-host" not in names and block.host is not None:
        lines.append(b"X-Forwarded-Host: %b\r\n" % block.host)
    return b"".join(lines)


def forwardable_trailers(
    trailers: bytes, connection_options: frozenset[bytes], rules: ForwardingRules | None
) -> bytes:
    """Return those of the trailer lines that may pass (RFC 9110 6.5.1, 7.6.1).

    A trailer can never be what a head decides: framing, routing, authentication,
    forwarding or identity fields in a trailer section are dropped.

    Args:
        trailers: Lines that `gateway.http1.chunked` accepted.
        connection_options: Lower-case names that the head's Connection lists: they end here too.
        rules: Of the upstream for a request's trailers, None for an answer's.
    """
    passing = []
    for line in trailers.splitlines(keepends=True):
        name = line.partition(b":")[0].lower()
        if name in HOP_BY_HOP or name in _NEVER_TRAILERS or name in connection_options:
            continue
        if name.startswith((b"content-", b"if-")):
            continue
        if rules is not None and not may_forward(name, rules):
            continue
        group = group_of(name)
        if group is not None and not group.in_trailers:
            continue
        passing.append(line)
    return b"".join(passing)


def join_forwarded_for(own_lines: bytes, block: FieldBlock, rules: ForwardingRules) -> bytes:
    """Return `own_lines` with a trusted peer's X-Forwarded-For entries before our own.

    When the peer said the scheme, its word is already among the caller's fields and ours is left
    out: an upstream that found both would take the last, or refuse.

    Args:
        own_lines: What the upstream is told of the connection; begins with our
            X-Forwarded-For line when the rules ask for one.
        block: The caller's fields.
        rules: Of the upstream, for a trusted peer.
    """
    if not rules.forwarded_x:
        return own_lines
    proto = b"x-forwarded-proto"
    if (
        proto not in block.connection_options
        and may_forward(proto, rules)
        and any(lower == proto for lower, _, _ in block.fields)
    ):
        own_lines = _FORWARDED_PROTO_LINE.sub(b"", own_lines, count=1)
    if b"x-forwarded-for" in block.connection_options or not may_forward(b"x-forwarded-for", rules):
        return own_lines
    values = [value for lower, _, value in block.fields if lower == b"x-forwarded-for" and value]
    if not values:
        return own_lines
    return FORWARDED_FOR + b", ".join(values) + b", " + own_lines.removeprefix(FORWARDED_FOR)


def tell_prefix(fields: bytes, prefix: bytes) -> bytes:
    """Return `fields` with one X-Forwarded-Prefix: where the caller finds the path that was forwarded.

    What a believed peer says was taken away before it came to us stands before `prefix`, in one
    path: services that read one value and those that join a list see the same. What is no path is left
    out: a believed peer may pass on what its caller wrote, and `//host` before a path leads elsewhere.

    Args:
        fields: Of the caller, those that may pass.
        prefix: What the route takes from the beginning of the path.
    """
    if b"-forwarded-prefix:" in fields.lower():
        values = b",".join(_FORWARDED_PREFIX_LINE.findall(fields)).split(b",")
        parts = (value.strip(b" \t").removesuffix(b"/") for value in values)
        prefix = b"".join(part for part in parts if _PREFIX.fullmatch(part)) + prefix
        fields = _FORWARDED_PREFIX_LINE.sub(b"", fields)
    return b"%bX-Forwarded-Prefix: %b\r\n" % (fields, prefix)


def forwarded_element(peer: str, scheme: str, host: bytes | None) -> bytes:
    """Return one Forwarded element (RFC 7239 4): IPv6 in brackets, quoted as its grammar asks.

    Args:
        peer: The address of the TCP peer, or nothing when it has none.
        scheme: http or https, as the caller used it.
        host: The Host the caller sent, already held to its grammar, or None.
    """
    node = f'"[{peer}]"' if ":" in peer else (peer or "unknown")
    element = f"for={node};proto={scheme}".encode("ascii", "replace")
    return element if host is None else element + b';host="%b"' % host


_IDENTITY_LINES = "".join(f"{name.decode('ascii')}: %s\r\n" for name in IDENTITY_NAMES)


def identity_fields(*, client_id: str, subject: str, audience: str, scope: str | None) -> bytes:
    """Return the X-Auth-* lines for one verified token.

    The values come from our own registry's printable ASCII; anything else, which no
    issued token holds, is left out rather than sent in a changed form.
    """
    values = (client_id, subject, audience, scope or "")
    whole = "".join(values)
    if whole.isascii() and whole.isprintable():  # as always; done for each token that is issued or verified
        return (_IDENTITY_LINES % values).encode("ascii")
    lines = []
    for name, value in zip(IDENTITY_NAMES, values, strict=True):
        if value.isascii() and value.isprintable():
            lines.append(b"%b: %b\r\n" % (name, value.encode("ascii")))
    return b"".join(lines)
