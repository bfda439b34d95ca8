"""Bring a Host value into the form in which hosts are compared.

Whether there is exactly one Host field is `gateway.http1`'s matter; which routes a
host has is `gateway.policy.match`'s.

Sources: RFC 9110 4.2.3 and 7.2, RFC 3986 3.2.2, RFC 1034 3.1 (the trailing dot).
"""

import re
from ipaddress import AddressValueError, IPv6Address

_NAME = re.compile(rb"((?:[A-Za-z0-9_~-]+\.)*[A-Za-z0-9_~-]+)\.?(?::[0-9]{0,5})?").fullmatch
_IPV6 = re.compile(rb"\[([0-9A-Fa-f:.]+)\](?::[0-9]{0,5})?").fullmatch
_MAX_HOST_BYTES = 255


def normalise_host(host: bytes) -> str | None:
    """Return `host` in lower case without port and without one trailing dot, or None if it is no host.

    IPv6 addresses keep their brackets and get their shortest spelling.
    """
    if len(host) > _MAX_HOST_BYTES + len(b".:65535"):
        return None
    name = _NAME(host)
    if name:
        return name[1].decode("ascii").lower() if len(name[1]) <= _MAX_HOST_BYTES else None
    address = _IPV6(host)
    if address is None:
        return None
    try:
        return f"[{IPv6Address(address[1].decode('ascii')).compressed}]"
    except AddressValueError:
        return None
