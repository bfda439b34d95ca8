"""Hold the request reader to tables of heads, and to llhttp and its memo."""

import tracemalloc
from collections.abc import Callable

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.hosts import split_authority
from gateway.http1.forwarding import RULES_PER_BLOCK, forwardable_fields
from gateway.http1.forwarding_rules import ForwardingRules
from gateway.http1.grammar import METHODS
from gateway.http1.request import (
    BLOCKS_BUDGET_BYTES,
    HEADS_BUDGET_BYTES,
    MEMO_BLOCK_BYTES,
    ONCE_ENTRIES,
    BadRequest,
    FieldBlock,
    RequestHead,
    RequestReader,
    read_fields,
)


def head_of(lines: bytes, *, line: bytes = b"GET /x HTTP/1.1") -> RequestHead | BadRequest:
    return RequestReader(max_fields=100).read(line + b"\r\n" + lines + b"\r\n")


def accepted(lines: bytes, *, line: bytes = b"GET /x HTTP/1.1") -> RequestHead:
    head = head_of(lines, line=line)
    assert isinstance(head, RequestHead), head
    return head


def block_of(lines: bytes) -> FieldBlock:
    return accepted(b"Host: a\r\n" + lines).block


LINES = [
    (b"GET /x HTTP/1.1", ("GET", b"/x", 1)),
    (b"GET /x HTTP/1.0", ("GET", b"/x", 0)),
    (b"GET /x?a=%zz&b=[]{}|^` HTTP/1.1", ("GET", b"/x?a=%zz&b=[]{}|^`", 1)),
    (b"GET http://a/x HTTP/1.1", ("GET", b"http://a/x", 1)),
    (b"OPTIONS * HTTP/1.1", ("OPTIONS", b"*", 1)),
    (b"M-SEARCH / HTTP/1.1", ("M-SEARCH", b"/", 1)),
    (b"QUERY / HTTP/1.1", ("QUERY", b"/", 1)),
    (b"GET " + b"/" * 20_000 + b" HTTP/1.1", ("GET", b"/" * 20_000, 1)),
]


@pytest.mark.parametrize(("line", "parts"), LINES, ids=lambda value: repr(value)[:40])
def test_request_lines(line: bytes, parts: tuple[str, bytes, int]) -> None:
    head = accepted(b"Host: a\r\n", line=line)
    assert (head.method, head.target, head.minor_version) == parts


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_that_is_forwarded_is_known_to_llhttp(method: bytes) -> None:
    httptools.HttpRequestParser(object()).feed_data(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert accepted(b"Host: a\r\n", line=method + b" / HTTP/1.1").method == method.decode()


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"CONNECT a:1 HTTP/1.1", 501),
        (b"TRACE / HTTP/1.1", 501),
        (b"FOO / HTTP/1.1", 501),
        (b"Get / HTTP/1.1", 501),
        (b"X" * 33 + b" / HTTP/1.1", 400),
        (b"GET / HTTP/1.2", 505),
        (b"GET / HTTP/2.0", 505),
        (b"GET /# HTTP/2.0", 505),
        (b"GET /# HTTP/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b"GET / HTTP/1.11", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET /\x80 HTTP/1.1", 400),
        (b"GET /", 400),
        (b"GET", 400),
        (b"", 400),
    ],
)
def test_refused_request_lines(line: bytes, status: int) -> None:
    head = head_of(b"Host: a\r\n", line=line)
    assert isinstance(head, BadRequest)
    assert (head.status, head.reason) == (status, "bad_framing")
    assert head.detail.isascii()


FRAMING = [
    (b"", (None, False)),
    (b"Content-Length: 0\r\n", (0, False)),
    (b"content-length:7\r\n", (7, False)),
    (b"Content-Length: \t 7 \t\r\n", (7, False)),
    (b"Content-Length: 007\r\n", (7, False)),
    (b"Content-Length: 999999999999999999\r\n", (999999999999999999, False)),
    (b"Transfer-Encoding: chunked\r\n", (None, True)),
    (b"TRANSFER-ENCODING:  CHUNKED \r\n", (None, True)),
    (b"Content-Length: 1000000000000000000\r\n", 400),
    (b"Content-Length: 18446744073709551617\r\n", 400),
    (b"Content-Length: 1, 1\r\n", 400),
    (b"Content-Length: 1\r\nContent-Length: 1\r\n", 400),
    (b"Content-Length: 1 1\r\n", 400),
    (b"Content-Length: 1;\r\n", 400),
    (b"Content-Length:\r\n", 400),
    (b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
    (b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", 400),
    (b"Transfer-Encoding: gzip, chunked\r\n", 501),
    (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
    (b"Transfer-Encoding: chunked;q=1\r\n", (501, 400)),
    (b"Transfer-Encoding: chunked,\r\n", (501, 400)),
    (b"Transfer-Encoding: , chunked\r\n", (501, 400)),
    (b"Transfer-Encoding: \x0bchunked\r\n", 400),
    (b"Transfer_Encoding: chunked\r\n", (None, False)),
]


@pytest.mark.parametrize(("lines", "expected"), FRAMING)
def test_framing(lines: bytes, expected: object) -> None:
    head = head_of(b"Host: a\r\n" + lines, line=b"POST / HTTP/1.1")
    if isinstance(head, BadRequest):
        assert head.status in (expected if isinstance(expected, tuple) else (expected,))
    else:
        assert (head.block.content_length, head.block.chunked) == expected


def test_a_coding_does_not_exist_in_http_1_0() -> None:
    reader = RequestReader(max_fields=100)
    lines = b"Host: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    for line, kind in ((b"1.1", RequestHead), (b"1.0", BadRequest), (b"1.1", RequestHead)):
        assert isinstance(reader.read(b"POST / HTTP/%b\r\n" % line + lines), kind)


def test_only_http_1_0_may_do_without_host() -> None:
    reader = RequestReader(max_fields=100)
    for line, kind in ((b"1.0", RequestHead), (b"1.1", BadRequest), (b"1.0", RequestHead)):
        assert isinstance(reader.read(b"GET / HTTP/%b\r\nX: 1\r\n\r\n" % line), kind)


@pytest.mark.parametrize(
    ("value", "accepted_"),
    [
        (b"a", True),
        (b"a.example:80", True),
        (b"a_b.example", True),
        (b"a.example.", True),
        (b"127.0.0.1:65535", True),
        (b"[::1]", True),
        (b"[::1]:80", True),
        (b"[::ffff:1.2.3.4]:80", True),
        (b"", False),
        (b":80", False),
        (b"a:", False),
        (b"a:65536", False),
        (b"a:000080", False),
        (b"a:80:80", False),
        (b"a:8x", False),
        (b"::1", False),
        (b"[::1", False),
        (b"[::1]x", False),
        (b"[::1]:", False),
        (b"a b", False),
        (b"a,b", False),
        (b"a/b", False),
        (b"a@b", False),
        (b"a?b", False),
        (b"a#b", False),
        (b"a%41", False),
        (b"\xc3\xa9", False),
        (b"x" * 256, False),
    ],
)
def test_authorities(value: bytes, accepted_: bool) -> None:
    assert (split_authority(value) is not None) == accepted_
    assert isinstance(head_of(b"Host: " + value + b"\r\n"), RequestHead) == accepted_


def test_what_a_block_says() -> None:
    block = block_of(
        b"CONNECTION: Close, , x-A\r\nConnection:keep-alive\r\nAuthorization: Bearer a\r\n"
        b"authorization: b\r\nExpect: 100-Continue\r\nX-Request-Id: id-1\r\nVia: 1.1 a\r\nVia: 1.0 b\r\n"
        b"X: \xff \r\n"
    )
    assert block.fields[-1] == (b"x", b"X", b"\xff")
    assert block.connection_options == {b"close", b"x-a", b"keep-alive"}
    assert (block.close, block.keep_alive) == (True, True)
    assert (block.authorization, block.authorization_count) == (b"Bearer a", 2)
    assert (block.expect_continue, block.expect_unknown) == (True, False)
    assert block.request_id == b"id-1"
    assert block.via == (b"1.1 a", b"1.0 b")


@pytest.mark.parametrize("value", [b"tea", b"100-continue, tea", b"100-continue;q", b""])
def test_unknown_expectations(value: bytes) -> None:
    assert block_of(b"Expect: " + value + b"\r\n").expect_unknown


@pytest.mark.parametrize("value", [b"100-continue", b"tea"])
def test_nobody_expects_anything_in_http_1_0(value: bytes) -> None:
    lines = b"Host: a\r\nExpect: %b\r\nX: 1\r\nexpect: 100-continue\r\n" % value
    reader = RequestReader(max_fields=100)
    for _ in range(2):  # the block is shared by both versions
        old = reader.read(b"POST / HTTP/1.0\r\n" + lines + b"\r\n")
        new = reader.read(b"POST / HTTP/1.1\r\n" + lines + b"\r\n")
        assert isinstance(old, RequestHead)
        assert isinstance(new, RequestHead)
        assert [name for name, _, _ in old.block.fields] == [b"host", b"x"]
        assert (old.block.expect_continue, old.block.expect_unknown) == (False, False)
        assert len(new.block.fields) == 4
        assert (new.block.expect_continue, new.block.expect_unknown) == (True, value == b"tea")


GOOD_TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        ([GOOD_TRACE], GOOD_TRACE),
        ([b"cc" + GOOD_TRACE[2:] + b"-more"], b"cc" + GOOD_TRACE[2:] + b"-more"),
        ([GOOD_TRACE, GOOD_TRACE], None),
        ([GOOD_TRACE + b"-more"], None),
        ([b"ff" + GOOD_TRACE[2:]], None),
        ([GOOD_TRACE[:-3]], None),
        ([GOOD_TRACE.replace(b"b7ad6b7169203331", b"0" * 16)], None),
    ],
)
def test_trace_contexts(lines: list[bytes], kept: bytes | None) -> None:
    assert (
        accepted(b"Host: a\r\n" + b"".join(b"traceparent: %b\r\n" % line for line in lines)).traceparent
        == kept
    )


def test_two_request_ids_are_none() -> None:
    assert accepted(b"Host: a\r\nX-Request-Id: a\r\nX-Request-Id: b\r\n").request_id is None


def test_the_number_of_fields_is_limited() -> None:
    for count, status in ((9, None), (10, 431)):
        head = RequestReader(max_fields=10).read(
            b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * count + b"\r\n"
        )
        assert (head.status if isinstance(head, BadRequest) else None) == status
    head = RequestReader(max_fields=0).read(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 5000 + b"\r\n")
    assert isinstance(head, RequestHead)


# --- the lines that are taken out before a block is remembered

PERSONAL = [
    b"Authorization: Bearer a.b.c\r\n",
    b"authorization:bearer  a.b.c \r\n",
    b"Authorization: Basic YTpi\r\n",
    b"Authorization: Bearer a b\r\n",
    b"Authorization : Bearer a\r\n",
    b"X-Authorization: Bearer a\r\n",
    b"traceparent: %b\r\n" % GOOD_TRACE,
    b"traceparent: 01%b-x\r\n" % GOOD_TRACE[2:],
    b"traceparent: nonsense\r\n",
    b"X-Request-Id: one\r\n",
    b"x-request-id:\ttwo\r\n",
    b"X-Request-Id: not acceptable\r\n",
    b"X-Other: Authorization: Bearer z\r\n",
    b"Connection: authorization\r\n",
    b"X: 1\r\n",
    b" folded\r\n",
]


@given(st.lists(st.sampled_from(PERSONAL), max_size=7))
def test_taking_lines_out_changes_nothing(lines: list[bytes]) -> None:
    head = b"GET / HTTP/1.1\r\n%b\r\n" % b"".join([*lines[:2], b"Host: a\r\n", *lines[2:]])
    read = RequestReader(max_fields=100).read(head)
    whole = read_fields(head.partition(b"\r\n")[2], max_fields=100)
    if not isinstance(whole, FieldBlock):
        assert read == whole
        return
    assert isinstance(read, RequestHead)
    assert (read.authorization, read.authorization_count, read.request_id, read.traceparent) == (
        whole.authorization,
        whole.authorization_count,
        whole.request_id,
        whole.traceparent,
    )
    personal = {b"authorization", b"traceparent", b"x-request-id"}
    assert [field for field in read.block.fields if field[0] not in personal] == [
        field for field in whole.fields if field[0] not in personal
    ]
    assert read.has_own_authorization == (
        read.authorization is not None and all(field[0] != b"authorization" for field in read.block.fields)
    )
    assert read.block.connection_options == whole.connection_options


def test_lines_taken_out_count_against_the_limit() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nX-Request-Id: b\r\n\r\n"
    assert isinstance(RequestReader(max_fields=3).read(head), RequestHead)
    refused = RequestReader(max_fields=2).read(head)
    assert isinstance(refused, BadRequest)
    assert refused.reason == "header_too_large"


# --- the memo, and llhttp


FIELD_TEXT = st.lists(
    st.tuples(
        st.sampled_from(
            [b"X", b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"X_y", b"", b"a b"]
        ),
        st.sampled_from([b": ", b":", b" : ", b""]),
        st.sampled_from([b"1", b"a", b"chunked", b"close", b"\x80", b"\x00", b"1, 1", b"", b"a:1"]),
        st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r\n ", b"\r"]),
    ).map(b"".join),
    max_size=5,
).map(b"".join)


@given(FIELD_TEXT | st.binary(max_size=60), st.sampled_from([b"1.0", b"1.1"]))
def test_a_hit_of_the_memo_is_what_a_miss_would_be(lines: bytes, version: bytes) -> None:
    head = b"POST /x HTTP/%b\r\nHost: a\r\n%b\r\n\r\n" % (version, lines)
    head = head[: head.find(b"\r\n\r\n") + 4]
    used = RequestReader(max_fields=100)
    for _ in range(3):  # read, read and remembered, recalled
        read_and_kept(used, head)
    again, anew = used.read(head), RequestReader(max_fields=100).read(head)
    if isinstance(anew, RequestHead) and isinstance(again, RequestHead):
        assert again.block.fields == anew.block.fields
        assert (again.method, again.target, again.minor_version) == (
            anew.method,
            anew.target,
            anew.minor_version,
        )
        assert (again.block.content_length, again.block.chunked) == (
            anew.block.content_length,
            anew.block.chunked,
        )
    else:
        assert again == anew


def read_and_kept(reader: RequestReader, head: bytes) -> RequestHead | BadRequest:
    """Return what is read of the head of a request that is let through."""
    read = reader.read(head)
    if isinstance(read, RequestHead):
        reader.keep(read)
    return read


def test_a_head_that_comes_once_is_not_kept() -> None:
    reader = RequestReader(max_fields=100)
    for number in range(100):
        read_and_kept(reader, b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
    assert len(reader._heads) == 0
    head = b"GET /0 HTTP/1.1\r\nHost: a\r\n\r\n"
    assert read_and_kept(reader, head) is reader.read(head)


def test_nothing_is_kept_of_a_request_that_is_refused() -> None:
    reader = RequestReader(max_fields=100)
    head = b"GET /0 HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n"
    for _ in range(3):
        refused = reader.read(head)
        reader.read(b"GET /1 HTTP/1.1\r\nHost: a\r\nX: 2\r\n\r\n")
        assert isinstance(refused, RequestHead)
        reader.keep(refused)  # too late: it is not the one that was read last
    assert (len(reader._heads), len(reader._memo), len(reader._once)) == (0, 0, 0)


def test_strangers_cannot_fill_the_reader_with_fingerprints() -> None:
    reader = RequestReader(max_fields=100)
    for number in range(ONCE_ENTRIES + 10):
        read_and_kept(reader, b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
    assert len(reader._once) <= ONCE_ENTRIES


RULES = [
    ForwardingRules(
        keep_headers=frozenset(), forward_token=False, host=None, forwarded_x=True, trusted_peer=False
    )
    for _ in range(2 * RULES_PER_BLOCK)
]
"""Of as many upstreams, all public."""
WORST: dict[str, Callable[[int], bytes]] = {
    "many short fields": lambda number: b"".join(b"%x%x:\r\n" % (number + 4096, each) for each in range(98)),
    "many fields": lambda number: b"".join(
        b"x%d-%d: %b\r\n" % (number, each, b"v" * 20) for each in range(98)
    ),
    "long fields": lambda number: b"".join(
        b"x%d-%d: %b\r\n" % (number, each, b"v" * 900) for each in range(4)
    ),
    "one field": lambda number: b"x%d: %b\r\n" % (number, b"v" * 3900),
    "heads of two KiB": lambda number: b"x%d: %b\r\n" % (number, b"v" * 1900),
    "small heads": lambda number: b"x: %d\r\n" % number,
}


@pytest.mark.parametrize("name", WORST)
def test_the_worst_that_callers_send_takes_no_more_than_is_promised(name: str) -> None:
    """Of requests that are let through, each twice, to many upstreams (docs/decisions/0004).

    Of the budgets half is used: they count a block for its heads and for itself.
    """
    reader = RequestReader(max_fields=100)
    tracemalloc.start()
    try:
        for number in range(700 if name == "many fields" else 400):
            head = b"GET /%d HTTP/1.1\r\nHost: a\r\n%b\r\n" % (number, WORST[name](number))
            for _ in range(2):
                read = read_and_kept(reader, head)
                assert isinstance(read, RequestHead)
                for rules in RULES[: 2 + 14 * (number % 8 == 0)]:
                    forwardable_fields(read.block, rules, traced=True)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < BLOCKS_BUDGET_BYTES + HEADS_BUDGET_BYTES


class Oracle:
    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.strip(b" \t")))


@given(FIELD_TEXT | st.binary(max_size=60))
def test_what_is_accepted_llhttp_reads_alike(lines: bytes) -> None:
    """Whole and byte by byte: our reader only ever refuses more."""
    lines += b"\r\n"
    block = read_fields(lines, max_fields=100)
    if isinstance(block, FieldBlock):
        oracle = Oracle()
        parser = httptools.HttpRequestParser(oracle)
        try:
            for byte in b"POST / HTTP/1.1\r\n" + lines:
                parser.feed_data(bytes([byte]))
        except httptools.HttpParserUpgrade:
            pass
        assert [(lower, value) for lower, _, value in block.fields] == oracle.fields


@given(st.binary(max_size=200))
def test_no_input_raises(head: bytes) -> None:
    RequestReader(max_fields=100).read(head)
    RequestReader(max_fields=100).read(head + b"\r\n\r\n")


def test_a_block_is_shared_by_equal_fields_and_large_ones_are_not_kept() -> None:
    reader = RequestReader(max_fields=100)
    small = b"Host: a\r\n\r\n"
    large = b"Host: a\r\nX: " + b"x" * MEMO_BLOCK_BYTES + b"\r\n\r\n"
    for lines, shared in ((small, True), (large, False)):
        heads = [
            read_and_kept(reader, line + lines) for line in (b"GET /a HTTP/1.1\r\n", b"PUT /b HTTP/1.0\r\n")
        ]
        blocks = [head.block for head in heads if isinstance(head, RequestHead)]
        assert (blocks[0] is blocks[1]) == shared
