"""Read one whole upstream answer head into a value, or say why it is not believed.

As with requests, a head is judged only when it is complete; llhttp reads the fields
and patterns of our own are laid over it, so the result is a pure function of the
bytes and identical heads are read once (`Memo`). How long the body is depends on
the request too (HEAD) and is decided by `body_length`.

What reaches the caller is prepared here as well: the end-to-end fields, without
those that only a hop or this gateway may set.

Sources: RFC 9112 4, 6.3; RFC 9110 6.4.1, 7.6.1, 15.2.
"""

from dataclasses import dataclass

import httptools

from gateway.http1 import grammar
from gateway.http1.field_collector import FieldCollector
from gateway.http1.forwarding_rules import HOP_BY_HOP
from gateway.http1.memo import Memo

MEMO_ENTRIES = 512
MEMO_HEAD_BYTES = 2048
MEMO_BUDGET_BYTES = 2 * 1024 * 1024

RESET_CONTENT = 205
"""RFC 9110 15.3.6: no content, although framed like other answers: not every reader looks for its end."""

RESERVED_FIELDS = frozenset({b"sidegate-reason", b"x-request-id"})
"""Fields that only this gateway speaks for: an upstream's are not passed on."""


@dataclass(frozen=True, slots=True)
class BadResponse:
    """An answer head that cannot be trusted: 502 `upstream_protocol`, and the connection ends."""

    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class ResponseHead:
    """One answer head of an upstream."""

    status: int
    minor_version: int
    content_length: int | None
    chunked: bool
    reusable: bool
    """The connection may carry another request, as far as the head tells."""
    forward: bytes
    """Status line and end-to-end fields, each with CRLF, without framing fields."""
    framed: bytes
    """`forward` with the Content-Length the upstream gave, if it gave one."""
    chunked_framed: bytes
    """`forward` with Transfer-Encoding: chunked."""
    natural_length: bool
    """The caller can tell the body's length from `framed` and the status alone."""
    connection_options: frozenset[bytes]
    upgrade: bytes
    """The protocol a 101 switches to, in lower case; empty when it does not say so properly."""
    has_date: bool


class ResponseReader:
    """Read answer heads, remembering those seen last."""

    __slots__ = ("_memo",)

    def __init__(self) -> None:
        self._memo: Memo[bytes, ResponseHead] = Memo(
            MEMO_ENTRIES, weigh=lambda head, _, __: 1000 + 5 * len(head), budget=MEMO_BUDGET_BYTES
        )

    def read(self, head: bytes) -> ResponseHead | BadResponse:
        """Return the head that `head` spells, up to and including its first CRLF CRLF."""
        known = self._memo.young.get(head) or self._memo.recall(head)
        if known is not None:
            return known
        read = read_response_head(head)
        if isinstance(read, ResponseHead) and len(head) <= MEMO_HEAD_BYTES:
            self._memo.remember(head, read)
        return read


def read_response_head(head: bytes) -> ResponseHead | BadResponse:
    """Return the judged head. Never raises on any input."""
    line = grammar.STATUS_LINE.match(head)
    if line is None:
        return BadResponse("the status line is malformed")
    minor_version, status = int(line.group(1)), int(line.group(2))
    lines = head[line.end() :]
    if not grammar.FIELD_LINES.fullmatch(lines):
        return BadResponse("the header fields are malformed")
    collector = FieldCollector()
    try:
        httptools.HttpResponseParser(collector).feed_data(b"HTTP/1.1 200 OK\r\n" + lines)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        return BadResponse("the header fields are malformed")
    if lines.count(b"\n") != len(collector.fields) + 1:
        return BadResponse("the header fields are malformed")
    return _judge(head[: line.end()], status, minor_version, collector.fields)


def _judge(
    status_line: bytes, status: int, minor_version: int, fields: list[tuple[bytes, bytes]]
) -> ResponseHead | BadResponse:
    by_name: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        by_name.setdefault(name.lower(), []).append(value.strip(b" \t"))
    lengths = by_name.get(b"content-length", [])
    codings = by_name.get(b"transfer-encoding", [])
    if codings and (lengths or len(codings) > 1 or codings[0].lower() != b"chunked" or minor_version == 0):
        return BadResponse("the transfer coding is not a single chunked")
    if len(lengths) > 1 or (lengths and not grammar.CONTENT_LENGTH.fullmatch(lengths[0])):
        return BadResponse("Content-Length is not one decimal number")
    if codings and (status < 200 or status == 204):
        return BadResponse("a transfer coding on an answer that has no body")
    if lengths and status < 200:
        return BadResponse("a length on an interim answer")  # RFC 9110 8.6
    if status == RESET_CONTENT and lengths and int(lengths[0]):
        return BadResponse("content in an answer that has none")
    options = frozenset(
        option.strip(b" \t").lower()
        for value in by_name.get(b"connection", [])
        for option in value.split(b",")
    ) - {b""}
    dropped = HOP_BY_HOP | RESERVED_FIELDS | options | {b"content-length"}
    code = b"HTTP/1.1 %d " % status  # RFC 9112 4: the space stays even when there is no phrase
    start = code + status_line.rstrip(b"\r\n")[len(code) :] + b"\r\n"
    forward = start + b"".join(
        b"%s: %s\r\n" % (name, value.strip(b" \t")) for name, value in fields if name.lower() not in dropped
    )
    bodiless = status < 200 or status in (204, 304)
    # RFC 9110 8.6: a 1xx or 204 answer has no Content-Length; a 304 may tell that of the 200.
    has_length = bool(lengths) and not (status < 200 or status == 204)
    return ResponseHead(
        status=status,
        minor_version=minor_version,
        content_length=int(lengths[0]) if lengths else None,
        chunked=bool(codings),
        reusable=(b"close" not in options) if minor_version else (b"keep-alive" in options),
        forward=forward,
        framed=forward + b"Content-Length: %s\r\n" % lengths[0] if has_length else forward,
        chunked_framed=forward + b"Transfer-Encoding: chunked\r\n",
        natural_length=bodiless or has_length,
        connection_options=options,
        upgrade=b", ".join(by_name.get(b"upgrade", [])).lower() if b"upgrade" in options else b"",
        has_date=b"date" in by_name and b"date" not in options,
    )


def body_length(head: ResponseHead, *, request_method: str) -> int | None:
    """Return how many body bytes follow, or None when only its end tells (chunked, or close).

    RFC 9112 6.3: answers to HEAD and 1xx, 204 and 304 have none, whatever the fields say.
    """
    if request_method == "HEAD" or head.status < 200 or head.status in (204, 304):
        return 0
    return None if head.chunked else head.content_length
