"""Say whose address counts when limits are kept per peer.

Pure. One subscriber of IPv6 has at least a /64 and may use any address in it, so all
of a /64 count as one; an IPv4 address counts alone, however it is spelled. Behind a
trusted proxy, the caller is who that proxy says it is: the last entry of
X-Forwarded-For that no trusted proxy added, for everything before it may be invented.
Only the last few entries are looked at: a caller can put any number of addresses in
front, trusted ones too, and each costs time. What one costs does not grow with the number
of trusted networks.

Sources: RFC 6177 2, RFC 4291 2.5.5.2 (IPv4-mapped addresses), RFC 7239 5.2 and 6.
"""

import re
from bisect import bisect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_network,
)

MAX_HOPS = 16
"""Entries of X-Forwarded-For that are looked at, from the right; no chain of proxies is longer."""
MAX_ENTRY = 64
"""Octets of an entry that may be an address: the longest has 53, in brackets and with a port."""

_LOW_HALF = (1 << 64) - 1
_PORT = re.compile(r":[0-9]{1,5}\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Networks:
    """Ranges of addresses, ready to be looked up: thousands cost hardly more than one."""

    v4: tuple[tuple[int, int], ...] = ()
    """First and last address of each, apart from each other and sorted."""
    v6: tuple[tuple[int, int], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.v4 or self.v6)

    def include(self, address: str) -> bool:
        """Return whether an address, its zone left out, is in one of them.

        Raises:
            ValueError: It is no address.
        """
        parsed = ip_address(address.partition("%")[0])
        ranges, number = (self.v4 if parsed.version == 4 else self.v6), int(parsed)
        at = bisect(ranges, number, key=_first) - 1
        return at >= 0 and number <= ranges[at][1]


def read_networks(texts: Iterable[str]) -> Networks:
    """Return the networks that are written in CIDR notation; raises ValueError for what is none."""
    v4: list[IPv4Network] = []
    v6: list[IPv6Network] = []
    for text in texts:
        network = ip_network(text)
        if isinstance(network, IPv4Network):
            v4.append(network)
        else:
            v6.append(network)
    return Networks(_ranges(collapse_addresses(v4)), _ranges(collapse_addresses(v6)))


def _ranges(networks: Iterable[IPv4Network | IPv6Network]) -> tuple[tuple[int, int], ...]:
    return tuple((int(network.network_address), int(network.broadcast_address)) for network in networks)


def _first(span: tuple[int, int]) -> int:
    return span[0]


def peer_group(address: str) -> str:
    """Return the key under which limits count `address`: itself, or for IPv6 its /64.

    What is no address (the empty text of a Unix socket) is returned as it is.
    """
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address.partition("%")[0])
    except AddressValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) & ~_LOW_HALF)}/64"


def forwarded_address(values: Iterable[bytes], is_trusted: Callable[[str], bool]) -> str | None:
    """Return the caller's address by the X-Forwarded-For values of a trusted proxy, or None.

    When as many as are looked at are trusted, the first of these is taken for the caller.

    Args:
        values: Of the fields, in order.
        is_trusted: Whether an address is one of `trusted_proxies`.
    """
    found = None
    for entry in reversed(b",".join(values).rsplit(b",", MAX_HOPS)[-MAX_HOPS:]):
        address = _address(entry.strip(b" \t"))
        if address is None:
            break
        found = address
        if not is_trusted(address):
            break
    return found


def _address(entry: bytes) -> str | None:
    """Return the address in one entry, its port and brackets removed; None when it is none."""
    if len(entry) > MAX_ENTRY:
        return None
    text = entry.decode("latin-1")
    if text.startswith("["):
        text = _PORT.sub("", text).removeprefix("[").removesuffix("]")
    elif text.count(":") == 1:
        text = _PORT.sub("", text)
    try:
        return str(IPv6Address(text)) if ":" in text else str(IPv4Address(text))
    except AddressValueError:
        return None
