"""Show who is sent compressed metrics, and that they are the same metrics."""

import gzip
from collections.abc import AsyncIterator

import pytest

from gateway.admin.compression import LONGEST_ACCEPT_ENCODING, accepts_gzip, gzipped


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=0.5", True),
        ("gzip ; q=1.000", True),
        ("br;q=1, *;q=0.1", True),
        ("*", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000, *", False),
        ("*;q=0", False),
        ("gzip;q=2", False),
        ("gzip;q=0.1234", False),
        ("gzip;q=x", False),
        ("gzip;level=1", False),
        ("xgzip, gzipx", False),
        ("gzip" + " " * LONGEST_ACCEPT_ENCODING, False),
    ],
)
def test_gzip_is_sent_to_who_takes_it(text: str, accepted: bool) -> None:
    assert accepts_gzip(text) is accepted


async def test_chunks_become_one_member() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for number in range(100):
            yield f"sidegate_{number} 1\n".encode() * 100

    compressed = [chunk async for chunk in gzipped(chunks())]
    plain = b"".join([chunk async for chunk in chunks()])
    assert gzip.decompress(b"".join(compressed)) == plain
    assert sum(map(len, compressed)) < len(plain) / 10


async def test_nothing_is_a_whole_member_too() -> None:
    async def nothing() -> AsyncIterator[bytes]:
        return
        yield b""

    assert gzip.decompress(b"".join([chunk async for chunk in gzipped(nothing())])) == b""
