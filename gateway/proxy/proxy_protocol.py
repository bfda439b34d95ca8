"""Read the header that a PROXY protocol sender puts in front of a connection.

Pure: bytes to a value. Who may send such a header, how long it may take and how the
bytes are taken off the socket is `gateway.proxy.listener`.

Strict, because what stands here becomes the caller's address in logs, limits and
forwarding fields: one spelling of each thing, a bounded length, and nothing is skipped
over until it fits. What does not begin like a header is refused at its first wrong byte,
so that a sender of something else is not waited for.

Sources: HAProxy, "The PROXY protocol, versions 1 & 2" (2020/03/05), sections 2.1 and 2.2.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

V1_LIMIT_BYTES = 107
"""Of a version 1 line, its CRLF included (2.1)."""
V2_LIMIT_BYTES = 4096
"""Of a version 2 header. The addresses need 52 bytes; the rest are TLVs, which are skipped."""
LONGEST_BYTES = max(V1_LIMIT_BYTES, V2_LIMIT_BYTES)

_V2_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED_BYTES = 16
_V1_START: Final = b"PROXY "
_PORT = r"(?:0|[1-9][0-9]{0,4})"
_V1_LINE = re.compile(
    rf"PROXY (?P<family>TCP4|TCP6) (?P<source>[0-9A-Fa-f:.]{{2,45}}) (?P<destination>[0-9A-Fa-f:.]{{2,45}})"
    rf" (?P<source_port>{_PORT}) (?P<destination_port>{_PORT})".encode("ascii")
)

_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED, _TCP4, _TCP6, _UNIX_STREAM = 0x00, 0x11, 0x21, 0x31
_ADDRESS_BYTES = {_UNSPECIFIED: 0, _TCP4: 12, _TCP6: 36, _UNIX_STREAM: 216}


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A whole header: how long it is, and whom it names."""

    length: int
    source: str | None
    """The caller's IP address; None when the sender speaks for itself (LOCAL) or does not know."""


@dataclass(frozen=True, slots=True)
class BadProxyHeader:
    """Bytes that are no header, and why."""

    detail: str


NEEDS_MORE: Final = None
"""The bytes so far are the beginning of a header, and no byte behind it is among them."""


def read_proxy_header(data: bytes) -> ProxyHeader | BadProxyHeader | None:
    """Return the header at the beginning of `data`, why there is none, or NEEDS_MORE.

    Never raises. Bytes behind the header are not looked at. While this returns
    NEEDS_MORE, every byte of `data` belongs to the header.
    """
    if data.startswith(_V2_SIGNATURE):
        return _read_v2(data)
    if data.startswith(_V1_START):
        return _read_v1(data)
    if _V2_SIGNATURE.startswith(data) or _V1_START.startswith(data):
        return NEEDS_MORE
    return BadProxyHeader("the connection does not begin with a PROXY header")


def _read_v1(data: bytes) -> ProxyHeader | BadProxyHeader | None:
    end = data.find(b"\n", 0, V1_LIMIT_BYTES)
    if end < 0:
        if len(data) >= V1_LIMIT_BYTES:
            return BadProxyHeader("the version 1 line is too long")
        return NEEDS_MORE
    line = data[: end + 1]
    if not line.endswith(b"\r\n"):
        return BadProxyHeader("the version 1 line does not end in CRLF")
    length = end + 1
    # What follows UNKNOWN must be ignored up to the CRLF (2.1); a second CR would be another line's.
    if line == b"PROXY UNKNOWN\r\n" or (line.startswith(b"PROXY UNKNOWN ") and line.count(b"\r") == 1):
        return ProxyHeader(length, None)
    match = _V1_LINE.fullmatch(line[:-2])
    if match is None:
        return BadProxyHeader("the version 1 line is malformed")
    if int(match["source_port"]) > 65535 or int(match["destination_port"]) > 65535:
        return BadProxyHeader("the version 1 line has a port out of range")
    read = ipaddress.IPv4Address if match["family"] == b"TCP4" else ipaddress.IPv6Address
    try:
        source = read(match["source"].decode("ascii"))
        read(match["destination"].decode("ascii"))
    except ValueError:
        return BadProxyHeader("the version 1 line has a malformed address")
    return ProxyHeader(length, _text(source))


def _read_v2(data: bytes) -> ProxyHeader | BadProxyHeader | None:
    if len(data) < _V2_FIXED_BYTES:
        return NEEDS_MORE
    command, family = data[12], data[13]
    behind = int.from_bytes(data[14:16], "big")
    length = _V2_FIXED_BYTES + behind
    if command not in (_LOCAL, _PROXY):
        return BadProxyHeader("the version or command is unknown")
    if length > V2_LIMIT_BYTES:
        return BadProxyHeader("the version 2 header is too long")
    if command == _PROXY:
        if family not in _ADDRESS_BYTES:
            return BadProxyHeader("the address family or transport is not one of a TCP or unix stream")
        if behind < _ADDRESS_BYTES[family]:
            return BadProxyHeader("the version 2 header is too short for its addresses")
    if len(data) < length:
        return NEEDS_MORE
    if command == _LOCAL:
        return ProxyHeader(length, None)  # the family must be ignored (2.2)
    if family == _TCP4:
        return ProxyHeader(length, _text(ipaddress.IPv4Address(data[16:20])))
    if family == _TCP6:
        return ProxyHeader(length, _text(ipaddress.IPv6Address(data[16:32])))
    return ProxyHeader(length, None)


def _text(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Return the address in its one spelling; IPv4 in IPv6 is IPv4, or one caller would have two names."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
