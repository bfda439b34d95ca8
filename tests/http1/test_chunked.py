"""Hold the chunked reader against llhttp, and against every way of cutting its input."""

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http1.chunked import (
    EXTENSIONS_LIMIT_BYTES,
    LAST_CHUNK,
    LINE_LIMIT_BYTES,
    TRAILER_LIMIT_BYTES,
    ChunkedReader,
    ChunkError,
    chunk,
)

Reading = tuple[bytes, bytes] | str | None
"""(body, what is behind its end), why it is refused, or None while it is incomplete."""


def read(pieces: list[bytes]) -> Reading:
    """Return what our reader makes of `pieces`."""
    reader = ChunkedReader()
    body, rest = b"", b""
    for piece in pieces:
        if reader.done:
            rest += piece
            continue
        try:
            found = reader.feed(piece)
            while reader.is_behind:
                found += reader.feed(b"")
        except ChunkError as error:
            return str(error)
        assert all(found), "an empty piece"
        body += b"".join(found)
    return (body, reader.rest + rest) if reader.done else None


class Oracle:
    """llhttp, at its strict defaults."""

    def __init__(self) -> None:
        self.body = b""
        self.complete = False

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True

    @classmethod
    def read(cls, data: bytes) -> bytes | None:
        """Return the body, or None when it is refused or incomplete. What follows is not looked at."""
        oracle = cls()
        parser = httptools.HttpRequestParser(oracle)
        parser.feed_data(
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for position in range(len(data)):
            try:
                parser.feed_data(data[position : position + 1])
            except httptools.HttpParserError:
                return None
            if oracle.complete:
                return oracle.body
        return None


ACCEPTED = [
    (b"0\r\n\r\n", b""),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    (b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello"),
    (b"00005\r\nhello\r\n000\r\n\r\n", b"hello"),
    (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    (b"5;a\r\nhello\r\n0;b=c\r\n\r\n", b"hello"),
    (b'5;a="b;c"\r\nhello\r\n0\r\n\r\n', b"hello"),
    (b"5\r\n\r\n\r\n\r\r\n0\r\n\r\n", b"\r\n\r\n\r"),
    (b"5\r\nhello\r\n0\r\nA: 1\r\nB:\r\n\r\n", b"hello"),
]
LENIENT = [b"1; a", b"1 ;a", b"1; a = b", b"1;", b"1;=", b"1;a=", b'1;"', b"1;\x80"]
"""What is in an extension is not looked at, but for control bytes: it ends here. llhttp refuses these."""
REFUSED = [
    b"\r\n",
    b"g\r\n",
    b"-1\r\nx\r\n0\r\n\r\n",
    b"+1\r\nx\r\n0\r\n\r\n",
    b"0x1\r\nx\r\n0\r\n\r\n",
    b"1_0\r\n",
    b" 1\r\nx\r\n0\r\n\r\n",
    b"1 \r\nx\r\n0\r\n\r\n",
    b"1\t\r\nx\r\n0\r\n\r\n",
    b"\xd9\xa3\r\n",
    b"1\nx\r\n0\r\n\r\n",
    b"1\rx\r\n0\r\n\r\n",
    b"1\r\r\nx\r\n0\r\n\r\n",
    b"1\r\nx\n0\r\n\r\n",
    b"1\r\nxy\r\n0\r\n\r\n",
    b"1\r\nx0\r\n\r\n",
    b"1\r\nx\r\r\n0\r\n\r\n",
    b"1;\x00\r\nx\r\n0\r\n\r\n",
    b"1;a\x7f\r\nx\r\n0\r\n\r\n",
    b"1234567890123456\r\n",
    b"0\r\nA : 1\r\n\r\n",
    b"0\r\n A: 1\r\n\r\n",
    b"0\r\nA: 1\r\n B\r\n\r\n",
    b"0\r\nA: 1\nB: 2\r\n\r\n",
    b"0\r\nA\r\n\r\n",
    b"0\r\nA: \x00\r\n\r\n",
    b"0\r\n\n\r\n\r\n",
]


@pytest.mark.parametrize(("data", "body"), ACCEPTED)
@pytest.mark.parametrize("behind", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\r\n", b"\x00"])
def test_accepted_at_every_cut(data: bytes, body: bytes, behind: bytes) -> None:
    assert Oracle.read(data + behind) == body
    whole = data + behind
    assert read([whole]) == (body, behind)
    assert read([bytes([byte]) for byte in whole]) == (body, behind)
    for cut in range(len(whole) + 1):
        assert read([whole[:cut], whole[cut:]]) == (body, behind)


@pytest.mark.parametrize("line", LENIENT)
def test_extensions_are_read_over(line: bytes) -> None:
    assert read([line + b"\r\nx\r\n0\r\n\r\n"]) == (b"x", b"")


@pytest.mark.parametrize("data", REFUSED)
def test_refused_at_every_cut(data: bytes) -> None:
    assert Oracle.read(data) is None
    assert isinstance(read([data]), str)
    assert isinstance(read([bytes([byte]) for byte in data]), str)
    for cut in range(len(data) + 1):
        assert isinstance(read([data[:cut], data[cut:]]), str)


@pytest.mark.parametrize(("data", "_body"), ACCEPTED)
def test_incomplete_until_the_last_byte(data: bytes, _body: bytes) -> None:
    for cut in range(len(data)):
        assert read([data[:cut]]) is None


SIZES = st.integers(0, 40).map(lambda size: b"%x" % size) | st.sampled_from(
    [
        b"00",
        b"0F",
        b"f",
        b"",
        b"-1",
        b"+1",
        b"0x1",
        b" 1",
        b"1 ",
        b"1\t",
        b"ffffffffffffffff",
        b"fffffffffffffff",
    ]
)
EXTENSIONS = st.sampled_from([b"", b"", b"", b";a", b";a=b", b';a="b\\"c"', b";a;b", b";\x00", b";\x7f"])
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n", b""])
TRAILERS = st.sampled_from(
    [b"", b"", b"A: 1\r\n", b"A:\r\nB: \x80\r\n", b"A : 1\r\n", b"A: 1\n", b" A: 1\r\n", b": 1\r\n"]
)


@st.composite
def codings(draw: st.DrawFn) -> bytes:
    """Draw something between a chunked body and nonsense, with something behind it."""
    data = b""
    for _ in range(draw(st.integers(0, 3))):
        body = draw(st.binary(max_size=20))
        size = draw(st.just(b"%x" % len(body)) | SIZES)
        data += size + draw(EXTENSIONS) + draw(ENDS) + body + draw(ENDS)
    data += draw(st.sampled_from([b"0", b"0", b"00", b""])) + draw(EXTENSIONS) + draw(ENDS)
    return data + draw(TRAILERS) + draw(ENDS) + draw(st.binary(max_size=5))


@given(codings())
def test_what_we_accept_llhttp_reads_alike(data: bytes) -> None:
    """Where ours accepts, both find the same body at the same end; llhttp may refuse an extension."""
    reading = read([data])
    if isinstance(reading, tuple):
        body, rest = reading
        accepted = data[: len(data) - len(rest)]
        assert Oracle.read(accepted) == body or (b";" in accepted and Oracle.read(accepted) is None)


@given(codings() | st.binary(max_size=60), st.data())
def test_cuts_make_no_difference(data: bytes, draws: st.DataObject) -> None:
    cuts = sorted(draws.draw(st.lists(st.integers(0, len(data)), max_size=6)))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert read([data]) == read(pieces) == read([bytes([byte]) for byte in data])


@given(st.lists(st.binary(min_size=1, max_size=300)))
def test_what_chunk_writes_is_read_back(bodies: list[bytes]) -> None:
    data = b"".join(map(chunk, bodies)) + LAST_CHUNK
    assert read([data, b"next"]) == (b"".join(bodies), b"next")
    assert Oracle.read(data) == b"".join(bodies)


def test_pieces_of_a_chunk_come_out_as_they_arrive() -> None:
    reader = ChunkedReader()
    assert reader.feed(b"fffffff\r\nabc") == [b"abc"]
    assert reader.feed(b"def") == [b"def"]
    assert not reader.done


@pytest.mark.parametrize(
    ("accepted", "refused"),
    [
        (
            b"0;" + b"x" * (LINE_LIMIT_BYTES - 4) + b"\r\n\r\n",
            b"0;" + b"x" * (LINE_LIMIT_BYTES - 3) + b"\r\n\r\n",
        ),
        (
            b"0\r\nA: " + b"x" * (TRAILER_LIMIT_BYTES - 3) + b"\r\n\r\n",
            b"0\r\nA: " + b"x" * (TRAILER_LIMIT_BYTES - 2) + b"\r\n\r\n",
        ),
    ],
)
def test_limits(accepted: bytes, refused: bytes) -> None:
    for pieces in ([accepted], [bytes([byte]) for byte in accepted]):
        assert read(pieces) == (b"", b"")
    for pieces in ([refused], [bytes([byte]) for byte in refused]):
        assert isinstance(read(pieces), str)


@pytest.mark.parametrize("endless", [b"0" * 5000, b"1;" + b"x" * 5000, b"0\r\n" + b"A: x\r\n" * 2000])
def test_what_never_ends_is_refused_before_it_fills_memory(endless: bytes) -> None:
    assert isinstance(read([bytes([byte]) for byte in endless]), str)


def test_extensions_are_bounded_over_the_whole_body() -> None:
    line = b"1;" + b"x" * 200 + b"\r\ny\r\n"
    count = EXTENSIONS_LIMIT_BYTES // 180
    assert read([line * count]) == "too many chunk extensions"
    assert read([line * (count // 2) + LAST_CHUNK]) == (b"y" * (count // 2), b"")


def test_many_small_chunks_need_no_extensions() -> None:
    data = b"1\r\ny\r\n" * 20_000 + LAST_CHUNK
    assert read([data]) == (b"y" * 20_000, b"")
