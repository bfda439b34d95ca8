"""Read one whole request head into a value, or say why it is refused.

The theory of it:

* A head is judged only when it is complete, that is at its first CRLF CRLF. There is
  no state between two heads, so what a head means never depends on how its bytes
  were cut into reads.
* The request line is held to one pattern of our own. The fields are read by llhttp
  (httptools), always behind the same request line, and must also match one pattern
  of our own. So the result is a pure function of the field bytes, and callers that
  send the same fields again are answered from a `Memo`.
* Three fields are new with each request of many callers: a token, a trace, an id. Lines
  of theirs that are beyond doubt are taken out before, so that the rest is a block seen
  before. No line changes how another one is read, for folding is refused; and if the
  rest names one of the three again, the block is read with all of its lines.
* Everything llhttp lets through but two parsers could read in two ways is refused
  here: a missing or repeated Host, codings other than one `chunked`, a length
  beside a coding, and so on.

It does not find the end of a head, read bodies or decide about access: that is
`gateway.proxy.downstream`, `gateway.http1.chunked` and `gateway.enforce`.

Sources: RFC 9112 2.2, 3, 5 and 6; RFC 9110 5.5, 7.2, 7.6.1, 10.1.1.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import httptools

from gateway.hosts import split_authority
from gateway.http1 import grammar
from gateway.http1.diagnosis import what_is_wrong_with_fields, what_is_wrong_with_line
from gateway.http1.field_collector import FieldCollector
from gateway.http1.memo import Memo
from gateway.reasons import Reason

MEMO_ENTRIES = 1024
MEMO_HEADS = 2048
"""Whole heads, for callers that repeat a request to the letter."""
MEMO_HEAD_BYTES = 2048
ONCE_ENTRIES = 8192
"""Fingerprints of heads that came once: the second time they are remembered."""
MEMO_BLOCK_BYTES = 4096
"""Larger field blocks are read anew each time: they are rare, and memory stays bounded."""
BLOCKS_BUDGET_BYTES = 6 * 1024 * 1024
HEADS_BUDGET_BYTES = 8 * 1024 * 1024
"""What is remembered may take twice these: two generations (docs/decisions/0004)."""
FORWARDABLE_BYTES_PER_BLOCK = 8192
"""What `FieldBlock.forwardable` may hold; `gateway.http1.forwarding` sees to it."""

Field = tuple[bytes, bytes, bytes]
"""One field line: its name in lower case, its name as sent, its value without outer white space."""


@dataclass(frozen=True, slots=True)
class BadRequest:
    """A request head that is refused before any route is looked for.

    `detail` says what is wrong in plain ASCII and quotes nothing the caller sent. The
    connection must be closed after the answer.
    """

    reason: Reason
    detail: str
    exact_status: int | None = None
    """Where RFC 9110 has a more exact one than the reason's."""

    @property
    def status(self) -> int:
        """Return the status of the answer."""
        return self.reason.status if self.exact_status is None else self.exact_status


@dataclass(frozen=True, slots=True, eq=False)
class FieldBlock:
    """The fields of one request head, read and judged; shared by all heads with the same bytes."""

    fields: tuple[Field, ...]
    host: bytes | None
    """The Host value, syntactically valid, or None when absent (HTTP/1.0 only)."""
    authorization: bytes | None
    """The first Authorization value."""
    authorization_count: int
    content_length: int | None
    chunked: bool
    close: bool
    """Connection has `close`."""
    keep_alive: bool
    """Connection has `keep-alive`."""
    connection_options: frozenset[bytes]
    """Lower-case names listed in Connection."""
    upgrade: tuple[bytes, ...]
    """The protocols the caller would switch to, as sent; empty unless Connection has `upgrade`."""
    expect_continue: bool
    expect_unknown: bool
    request_id: bytes | None
    """The caller's X-Request-Id when there is one and it is acceptable."""
    traceparent: bytes | None
    """The caller's traceparent when there is exactly one and it is well-formed."""
    has_tracestate: bool
    via: tuple[bytes, ...]
    host_text: str
    """The Host value as text, for logs; empty when absent."""
    max_forwards: bytes | None
    """The one Max-Forwards value, when it is a number (RFC 9110 7.6.2)."""
    takes_trailers: bool
    """TE has `trailers`: the caller can read trailer fields (RFC 9110 10.1.4)."""
    names_personal: bool
    """There is an Authorization, a traceparent or an X-Request-Id among `fields`."""
    needs_care: bool
    """Anything that most requests do not have: Upgrade, Via, Max-Forwards, TE or a strange Expect."""
    forwardable: dict[object, bytes] = field(default_factory=dict)
    """A place for `gateway.http1.forwarding` to keep what it made of these fields, by rules."""


@dataclass(slots=True)
class RequestHead:
    """One request head: its line, and its fields."""

    method: str
    target: bytes
    """As sent: origin-form, absolute-form or `*`."""
    minor_version: int
    """0 for HTTP/1.0, 1 for HTTP/1.1."""
    block: FieldBlock
    method_bytes: bytes
    authorization: bytes | None
    """The first Authorization value."""
    authorization_count: int
    request_id: bytes | None
    """The caller's X-Request-Id when there is one and it is acceptable."""
    traceparent: bytes | None
    """The caller's traceparent when there is exactly one and it is well-formed."""
    has_own_authorization: bool
    """Authorization stands here only, not among the block's fields."""
    place: Any = None
    """A place for `gateway.enforce.enforcer` to keep where this head leads under one snapshot."""


class RequestReader:
    """Read request heads, remembering the field blocks seen last.

    Args:
        max_fields: How many field lines are accepted (431 beyond it); 0 = unlimited.
    """

    __slots__ = ("_fresh", "_heads", "_max_fields", "_memo", "_new_block", "_once")

    def __init__(self, *, max_fields: int) -> None:
        self._max_fields = max_fields
        self._memo: Memo[bytes, FieldBlock] = Memo(
            MEMO_ENTRIES, weigh=_weigh_block, budget=BLOCKS_BUDGET_BYTES
        )
        self._heads: Memo[bytes, RequestHead] = Memo(MEMO_HEADS, weigh=_weigh_head, budget=HEADS_BUDGET_BYTES)
        self._once: set[int] = set()
        self._new_block: tuple[bytes, FieldBlock] | None = None
        """Field lines that were read just now, and what they are; None when they were remembered."""
        self._fresh: tuple[bytes, RequestHead, tuple[bytes, FieldBlock] | None] | None = None
        """The head that was read last, until `keep` was asked for it."""

    def read(self, head: bytes) -> RequestHead | BadRequest:
        """Return the head that `head` spells, up to and including its first CRLF CRLF.

        Never raises on any input. The head is shared with others of the same bytes, if it was kept.
        """
        known = self._heads.young.get(head) or self._heads.recall(head)
        if known is not None:
            return known
        read = self._read_anew(head)
        self._fresh = None if isinstance(read, BadRequest) else (head, read, self._new_block)
        return read

    def keep(self, head: RequestHead) -> None:
        """Remember how `head` reads: its request is let through. Of one that is refused nothing is kept.

        Does nothing unless it was read just now. Its fields are remembered at once, the whole head when
        it comes for the second time.
        """
        fresh = self._fresh
        if fresh is None or fresh[1] is not head:
            return
        self._fresh = None
        octets, _, new_block = fresh
        if new_block is not None and len(new_block[0]) <= MEMO_BLOCK_BYTES:
            self._memo.remember(*new_block)
        if len(octets) <= MEMO_HEAD_BYTES and self._came_before(octets):
            self._heads.remember(octets, head)

    def _came_before(self, head: bytes) -> bool:
        """Return whether `head` came lately: those that come once are not worth their memory."""
        fingerprint = hash(head)  # keyed anew by each process: nobody can aim at it
        if fingerprint in self._once:
            return True
        if len(self._once) >= ONCE_ENTRIES:
            self._once.clear()
        self._once.add(fingerprint)
        return False

    def _read_anew(self, head: bytes) -> RequestHead | BadRequest:
        line = grammar.REQUEST_LINE.match(head)
        if line is None:
            return _bad_request_line(head)
        method, target, minor = line.groups()
        if method not in grammar.METHODS:
            return BadRequest(
                Reason.BAD_FRAMING, "this method is not forwarded; methods are in capitals, such as GET", 501
            )
        personal, rest = _take_out_personal_lines(head, line.end())
        block = self._read_block(rest, taken_out=len(personal))
        if personal and (isinstance(block, BadRequest) or block.names_personal):
            personal = {}
            block = self._read_block(head[line.end() :], taken_out=0)
        if isinstance(block, BadRequest):
            return block
        if minor == b"1":
            if block.host is None:
                return BadRequest(Reason.BAD_FRAMING, "an HTTP/1.1 request needs a Host field")
        elif block.chunked:
            # RFC 9112 6.1: a server cannot know that an HTTP/1.0 hop did not pass it on unread.
            return BadRequest(
                Reason.BAD_FRAMING, "Transfer-Encoding does not exist in HTTP/1.0: use HTTP/1.1"
            )
        elif block.expect_continue or block.expect_unknown:
            block = _without_expectations(block)
        own_authorization = personal.get(_AUTHORIZATION)
        return RequestHead(
            method.decode("ascii"),
            target,
            1 if minor == b"1" else 0,
            block,
            method,
            own_authorization or block.authorization,
            1 if own_authorization is not None else block.authorization_count,
            personal.get(_REQUEST_ID) or block.request_id,
            personal.get(_TRACEPARENT) or block.traceparent,
            own_authorization is not None,
        )

    def _read_block(self, lines: bytes, *, taken_out: int) -> FieldBlock | BadRequest:
        """Return the block that `lines` make, remembered or read; `taken_out` lines count as well."""
        block = self._memo.young.get(lines) or self._memo.recall(lines)
        if block is None:
            read = read_fields(lines, max_fields=self._max_fields)
            if isinstance(read, BadRequest):
                return read
            block = read
            self._new_block = (lines, block)
        else:
            self._new_block = None
        if self._max_fields and len(block.fields) + taken_out > self._max_fields:
            return _too_many_fields(self._max_fields)
        return block


def _weigh_block(lines: bytes, block: FieldBlock, _: set[int]) -> int:
    """Return what a block takes with the most that is ever kept on it; measured, rounded up."""
    forwardable = min(8 * len(lines), FORWARDABLE_BYTES_PER_BLOCK)
    return 2000 + 170 * len(block.fields) + 2 * len(lines) + forwardable


def _weigh_head(octets: bytes, head: RequestHead, seen: set[int]) -> int:
    """Return what a head takes with what is kept on it, and its block unless another head has that, too."""
    weight = 1200 + 4 * len(octets)
    if id(head.block) not in seen:
        seen.add(id(head.block))  # it lives as long as this head, and that as long as `seen`
        weight += _weigh_block(octets, head.block, seen)
    return weight


# Groups of `grammar.PERSONAL_LINES`.
_AUTHORIZATION, _TRACEPARENT, _REQUEST_ID = 1, 2, 3


def _too_many_fields(limit: int) -> BadRequest:
    return BadRequest(Reason.HEADER_TOO_LARGE, f"there are more than {limit} header fields")


def _take_out_personal_lines(head: bytes, start: int) -> tuple[dict[int, bytes], bytes]:
    """Return the values of the personal lines by group, and the field lines without them.

    Nothing is taken out when one of the fields stands there twice.

    Args:
        head: A head whose request line is well-formed.
        start: Where its field lines begin.
    """
    values: dict[int, bytes] = {}
    kept: list[bytes] = []
    position = start - 2  # a line is found behind the CRLF of the one before
    for match in grammar.PERSONAL_LINES.finditer(head, position):
        group = match.lastindex
        assert group is not None
        if group in values:
            return {}, head[start:]
        values[group] = match[group]
        kept.append(head[position : match.start()])
        position = match.end()
    if not values:
        return {}, head[start:]
    kept.append(head[position:])
    return values, b"".join(kept)[2:]


def _bad_request_line(head: bytes) -> BadRequest:
    if grammar.OTHER_VERSION.match(head):
        return BadRequest(Reason.BAD_FRAMING, "only HTTP/1.1 and HTTP/1.0 are spoken here", 505)
    return BadRequest(Reason.BAD_FRAMING, what_is_wrong_with_line(head))


def read_fields(lines: bytes, *, max_fields: int) -> FieldBlock | BadRequest:
    """Return the judged fields of `lines`: field lines, each with its CRLF, then an empty line."""
    collector = FieldCollector()
    parser = httptools.HttpRequestParser(collector)
    try:
        parser.feed_data(b"POST / HTTP/1.1\r\n" + lines)
    except httptools.HttpParserUpgrade:
        pass  # no promise of a tunnel: the fields were read, and that is all we asked
    except httptools.HttpParserError:
        return BadRequest(Reason.BAD_FRAMING, what_is_wrong_with_fields(lines))
    if not grammar.FIELD_LINES.fullmatch(lines) or lines.count(b"\n") != len(collector.fields) + 1:
        # Stricter than llhttp, and proof that both counted the same lines.
        return BadRequest(Reason.BAD_FRAMING, what_is_wrong_with_fields(lines))
    if max_fields and len(collector.fields) > max_fields:
        return _too_many_fields(max_fields)
    fields = tuple((name.lower(), name, value.strip(b" \t")) for name, value in collector.fields)
    return _judge(fields)


def _judge(fields: tuple[Field, ...]) -> FieldBlock | BadRequest:
    """Return the block that `fields` make, or the first reason to refuse them."""
    by_name: dict[bytes, list[bytes]] = {}
    for lower, _, value in fields:
        by_name.setdefault(lower, []).append(value)

    hosts = by_name.get(b"host", [])
    if len(hosts) > 1:
        return BadRequest(Reason.BAD_FRAMING, "more than one Host field")
    if hosts and split_authority(hosts[0]) is None:
        return BadRequest(Reason.BAD_FRAMING, "the Host field is not a host with an optional port")

    framing = _read_framing(by_name)
    if isinstance(framing, BadRequest):
        return framing
    content_length, chunked = framing

    options = _options(by_name.get(b"connection", []))
    expectations = [value.lower() for value in by_name.get(b"expect", [])]
    request_ids = by_name.get(b"x-request-id", [])
    traceparents = by_name.get(b"traceparent", [])
    authorizations = by_name.get(b"authorization", [])
    upgrade = _list_members(by_name.get(b"upgrade", [])) if b"upgrade" in options else ()
    forwards = by_name.get(b"max-forwards", [])
    max_forwards = forwards[0] if len(forwards) == 1 and grammar.MAX_FORWARDS.fullmatch(forwards[0]) else None
    takes_trailers = b"te" in options and any(
        option.partition(b";")[0] == b"trailers" for option in _options(by_name.get(b"te", []))
    )
    return FieldBlock(
        fields=fields,
        host=hosts[0] if hosts else None,
        authorization=authorizations[0] if authorizations else None,
        authorization_count=len(authorizations),
        content_length=content_length,
        chunked=chunked,
        close=b"close" in options,
        keep_alive=b"keep-alive" in options,
        connection_options=options,
        upgrade=upgrade,
        expect_continue=b"100-continue" in expectations,
        expect_unknown=any(value != b"100-continue" for value in expectations),
        request_id=(
            request_ids[0] if len(request_ids) == 1 and grammar.REQUEST_ID.fullmatch(request_ids[0]) else None
        ),
        traceparent=(
            traceparents[0]
            if len(traceparents) == 1 and grammar.TRACEPARENT.fullmatch(traceparents[0])
            else None
        ),
        has_tracestate=b"tracestate" in by_name,
        via=tuple(by_name.get(b"via", [])),
        host_text=hosts[0].decode("ascii") if hosts else "",
        max_forwards=max_forwards,
        takes_trailers=takes_trailers,
        names_personal=bool(authorizations or traceparents or request_ids),
        needs_care=bool(
            upgrade
            or max_forwards
            or takes_trailers
            or by_name.get(b"via")
            or any(value != b"100-continue" for value in expectations)
        ),
    )


def _without_expectations(block: FieldBlock) -> FieldBlock:
    """Return the block without its Expect fields: RFC 9110 10.1.1 has HTTP/1.0 expect nothing.

    An upstream that saw one would answer with a 100 that no HTTP/1.0 caller may be sent, or refuse.
    """
    return replace(
        block,
        fields=tuple(each for each in block.fields if each[0] != b"expect"),
        expect_continue=False,
        expect_unknown=False,
        forwardable={},
    )


def _options(values: list[bytes]) -> frozenset[bytes]:
    """Return the members of a list whose case and order do not matter, in lower case."""
    return frozenset([each.strip(b" \t") for each in set(b",".join(values).lower().split(b","))]) - {b""}


def _list_members(values: list[bytes]) -> tuple[bytes, ...]:
    """Return the members of a comma-separated list field, empty ones left out (RFC 9110 5.6.1)."""
    return tuple([member for value in values for each in value.split(b",") if (member := each.strip(b" \t"))])


def _read_framing(by_name: dict[bytes, list[bytes]]) -> tuple[int | None, bool] | BadRequest:
    """Return (Content-Length or None, chunked), or why the framing is refused (RFC 9112 6)."""
    lengths = by_name.get(b"content-length", [])
    codings = by_name.get(b"transfer-encoding", [])
    if lengths and codings:
        return BadRequest(
            Reason.BAD_FRAMING, "Content-Length and Transfer-Encoding exclude each other: send one"
        )
    if codings:
        if len(codings) > 1:
            return BadRequest(Reason.BAD_FRAMING, "more than one Transfer-Encoding field")
        if codings[0].lower() != b"chunked":
            return BadRequest(Reason.BAD_FRAMING, "the only transfer coding here is a single chunked", 501)
        return None, True
    if not lengths:
        return None, False
    if len(lengths) > 1 or not grammar.CONTENT_LENGTH.fullmatch(lengths[0]):
        return BadRequest(Reason.BAD_FRAMING, "Content-Length is not one decimal number")
    return int(lengths[0]), False
