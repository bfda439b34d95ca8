"""Show which bytes are a PROXY header, by table: whole, byte by byte, and with bytes behind it."""

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.proxy_protocol import (
    LONGEST_BYTES,
    V1_LIMIT_BYTES,
    V2_LIMIT_BYTES,
    BadProxyHeader,
    ProxyHeader,
    read_proxy_header,
)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = ip_address("203.0.113.7").packed + ip_address("10.0.0.1").packed + struct.pack(">HH", 5000, 443)
V6 = ip_address("2001:db8::7").packed + ip_address("2001:db8::1").packed + struct.pack(">HH", 5000, 443)
MAPPED = ip_address("::ffff:203.0.113.7").packed + ip_address("::1").packed + struct.pack(">HH", 1, 2)
UNIX = b"/a".ljust(108, b"\0") + b"/b".ljust(108, b"\0")
TLVS = b"\x03\x00\x04abcd" + b"\x20\x00\x05\x01\x00\x00\x00\x00"


def v2(command: int, family: int, behind: bytes, length: int | None = None) -> bytes:
    return (
        SIGNATURE
        + bytes((command, family))
        + struct.pack(">H", len(behind) if length is None else length)
        + behind
    )


ACCEPTED = [
    # 2.1
    (b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 443\r\n", "203.0.113.7"),
    (b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", "0.0.0.0"),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 5000 443\r\n", "2001:db8::7"),
    (b"PROXY TCP6 2001:0DB8:0000:0000:0000:0000:0000:0007 ::1 5000 443\r\n", "2001:db8::7"),
    (b"PROXY TCP6 ::ffff:203.0.113.7 ::1 5000 443\r\n", "203.0.113.7"),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff:f... whatever it is 65535\r\n", None),
    (b"PROXY UNKNOWN " + b"x" * (V1_LIMIT_BYTES - 16) + b"\r\n", None),
    # 2.2
    (v2(0x21, 0x11, V4), "203.0.113.7"),
    (v2(0x21, 0x21, V6), "2001:db8::7"),
    (v2(0x21, 0x21, MAPPED), "203.0.113.7"),
    (v2(0x21, 0x11, V4 + TLVS), "203.0.113.7"),
    (v2(0x21, 0x31, UNIX), None),
    (v2(0x21, 0x00, b""), None),
    (v2(0x21, 0x00, TLVS), None),
    (v2(0x20, 0x00, b""), None),
    (v2(0x20, 0x11, V4), None),
    (v2(0x20, 0xFF, b"ignored"), None),
    (v2(0x21, 0x11, V4 + bytes(V2_LIMIT_BYTES - 16 - len(V4))), "203.0.113.7"),
]

REFUSED = [
    b"GET / HTTP/1.1\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01",
    b"proxy TCP4 203.0.113.7 10.0.0.1 5000 443\r\n",
    b"PROXY  TCP4 203.0.113.7 10.0.0.1 5000 443\r\n",
    b" PROXY TCP4 203.0.113.7 10.0.0.1 5000 443\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 443\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 443 \r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 443\r\r\n",
    b"PROXY TCP4\r203.0.113.7 10.0.0.1 5000 443\r\n",
    b"PROXY TCP4 203.0.113.7  10.0.0.1 5000 443\r\n",
    b"PROXY TCP4 203.0.113.7\t10.0.0.1 5000 443\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 5000\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 443 1\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 05000 443\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 65536 443\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 99999\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 +500 443\r\n",
    b"PROXY TCP4 203.0.113.7 10.0.0.1 -1 443\r\n",
    b"PROXY TCP4 203.0.113.07 10.0.0.1 5000 443\r\n",
    b"PROXY TCP4 203.0.113 10.0.0.1 5000 443\r\n",
    b"PROXY TCP4 203.0.113.256 10.0.0.1 5000 443\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 5000 443\r\n",
    b"PROXY TCP4 203.0.113.7 ::1 5000 443\r\n",
    b"PROXY TCP6 203.0.113.7 10.0.0.1 5000 443\r\n",
    b"PROXY TCP6 2001:db8::7%eth0 2001:db8::1 5000 443\r\n",
    b"PROXY TCP6 2001:db8:::7 2001:db8::1 5000 443\r\n",
    b"PROXY TCP5 203.0.113.7 10.0.0.1 5000 443\r\n",
    b"PROXY UDP4 203.0.113.7 10.0.0.1 5000 443\r\n",
    b"PROXY UNKNOWNX\r\n",
    b"PROXY UNKNOWN \r \r\n",
    b"PROXY UNKNOWN\n",
    b"PROXY UNKNOWN " + b"x" * (V1_LIMIT_BYTES - 15) + b"\r\n",
    b"PROXY \r\n",
    b"PROXY " + b"x" * V1_LIMIT_BYTES,
    SIGNATURE[:-1] + b"\r",
    v2(0x11, 0x11, V4),
    v2(0x31, 0x11, V4),
    v2(0x22, 0x11, V4),
    v2(0x21, 0x12, V4),
    v2(0x21, 0x22, V6),
    v2(0x21, 0x32, UNIX),
    v2(0x21, 0x41, V4),
    v2(0x21, 0x01, V4),
    v2(0x21, 0x11, V4[:-1]),
    v2(0x21, 0x21, V6[:-1]),
    v2(0x21, 0x31, UNIX[:-1]),
    v2(0x21, 0x11, V4, length=V2_LIMIT_BYTES - 15),
    v2(0x20, 0x00, b"", length=0xFFFF),
]


@pytest.mark.parametrize(("header", "source"), ACCEPTED)
@pytest.mark.parametrize("behind", [b"", b"\x16", b"GET / HTTP/1.1\r\n", b"\n", SIGNATURE])
def test_a_header_ends_where_it_ends(header: bytes, source: str | None, behind: bytes) -> None:
    assert read_proxy_header(header + behind) == ProxyHeader(len(header), source)


@pytest.mark.parametrize("header", [header for header, _ in ACCEPTED])
def test_a_header_that_is_not_complete_needs_more(header: bytes) -> None:
    for end in range(len(header)):
        assert read_proxy_header(header[:end]) is None


@pytest.mark.parametrize("data", REFUSED)
@pytest.mark.parametrize("behind", [b"", b"GET / HTTP/1.1\r\n\r\n"])
def test_what_is_no_header_is_refused(data: bytes, behind: bytes) -> None:
    assert isinstance(read_proxy_header(data + behind), BadProxyHeader)


@given(
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]),
    st.binary(max_size=300),
)
def test_anything_gets_one_of_three_answers(start: bytes, rest: bytes) -> None:
    read = read_proxy_header(start + rest)
    if isinstance(read, ProxyHeader):
        assert 0 < read.length <= min(LONGEST_BYTES, len(start + rest))
        assert read.source is None or str(ip_address(read.source)) == read.source
    elif read is None:
        assert len(start + rest) < LONGEST_BYTES
