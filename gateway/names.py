"""Find the addresses behind a host name, in every family, and connect to the first that answers.

Names are the system's to resolve, with one exception: `localhost`, and what ends in `.localhost`,
is both loopback addresses (RFC 6761 6.3), also where the system's hosts file lists one only, and
nothing else, whatever the DNS says: what may be sent to this machine alone goes there. What the
system says comes first. A family that this machine does not have is not asked for less: a
connection to it fails at once, and the next address is tried.

Sources: RFC 6761 6.3; RFC 8305 (happy eyeballs).
"""

import asyncio
import contextlib
import socket
from collections.abc import Sequence

from aiohappyeyeballs import AddrInfoType, start_connection

from gateway.hosts import is_localhost, is_loopback

NEXT_ADDRESS_AFTER_S = 0.25
"""RFC 8305 5: the Connection Attempt Delay."""

_LOOPBACK = ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1"))


async def addresses_of(host: str, port: int) -> Sequence[AddrInfoType]:
    """Return the addresses of a name.

    Raises:
        OSError: The name is not known.
    """
    loop = asyncio.get_running_loop()
    if not is_localhost(host):
        return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    found: list[AddrInfoType] = []
    with contextlib.suppress(OSError):
        found += await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    found = [info for info in found if is_loopback(info[4][0])]
    known = {info[4][0] for info in found}
    for family, address in _LOOPBACK:
        if address not in known:
            place = (address, port, 0, 0) if family is socket.AF_INET6 else (address, port)
            found.append((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place))
    return found


async def connect_to(host: str, port: int) -> socket.socket:
    """Return a socket that is connected to the first address of a name that accepts; it does not block.

    Raises:
        OSError: The name is not known, or nobody accepts.
    """
    return await start_connection(await addresses_of(host, port), happy_eyeballs_delay=NEXT_ADDRESS_AFTER_S)
