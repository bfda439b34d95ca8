"""Say what a host is: how it is spelled in requests and configurations, and which are this machine.

The one grammar of it. Three readers need different parts: a request may name whatever RFC 3986
calls a host (`split_authority`); routes are looked up by one spelling of it (`normalise_host`);
what a configuration names has to be a name that the DNS could hold (`HOST_NAME`) or an address.
Pure: nobody is asked. Who resolves names is `gateway.names`, which keeps what is said here of
`localhost`.

Sources: RFC 9110 4.2.3 and 7.2, RFC 3986 3.2.2 and 3.2.3, RFC 1034 3.1 (the trailing dot),
RFC 1123 2.1 (labels), RFC 6761 6.3 (localhost).
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

_ADDRESS_IN_BRACKETS = r"\[[0-9A-Fa-f:.]{2,45}\]"
_CHARACTERS = r"[A-Za-z0-9_~-]"
_PORT = r"[0-9]{1,5}"
_MAX_HOST_BYTES = 255
_MAX_PORT = 65535

_AUTHORITY = re.compile(
    rf"({_ADDRESS_IN_BRACKETS}|(?:{_CHARACTERS}|\.){{1,{_MAX_HOST_BYTES}}})(?::({_PORT}))?".encode()
).fullmatch
_NAME = re.compile(rf"((?:{_CHARACTERS}+\.)*{_CHARACTERS}+)\.?(?::(?:{_PORT})?)?".encode()).fullmatch
_ADDRESS = re.compile(rf"({_ADDRESS_IN_BRACKETS})(?::(?:{_PORT})?)?".encode()).fullmatch

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
HOST_NAME = re.compile(rf"(?!.{{254}}){_LABEL}(?:\.{_LABEL})*\.?").fullmatch
"""A name that the DNS could hold, with or without its dot at the end; `_` is common inside clusters."""


def split_authority(value: bytes) -> tuple[bytes, int | None] | None:
    """Return host and port of `host` or `host:port`, an address in its brackets; None for anything else."""
    match = _AUTHORITY(value)
    if match is None:
        return None
    host, digits = match.groups()
    port = None if digits is None else int(digits)
    return None if port is not None and port > _MAX_PORT else (host, port)


def normalise_host(host: bytes) -> str | None:
    """Return `host` in lower case without port and without one trailing dot, or None if it is no host.

    IPv6 addresses keep their brackets and get their shortest spelling.
    """
    if len(host) > _MAX_HOST_BYTES + len(b".:65535"):
        return None
    name = _NAME(host)
    if name:
        return name[1].decode("ascii").lower() if len(name[1]) <= _MAX_HOST_BYTES else None
    address = _ADDRESS(host)
    if address is None:
        return None
    try:
        return f"[{IPv6Address(address[1][1:-1].decode('ascii')).compressed}]"
    except ValueError:
        return None


def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that `host` spells, one of IPv6 in brackets or without; None for a name.

    An IPv4 address in IPv6 is the IPv4 address: that is where a connection goes.
    """
    try:
        address = IPv6Address(host[1:-1]) if host[:1] + host[-1:] == "[]" else ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_localhost(name: str) -> bool:
    """Return whether a name is this machine's own, `localhost` or one below it, whoever resolves it."""
    name = name.rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost")


def is_loopback(host: str) -> bool:
    """Return whether a host, by name or address, can only be reached from this machine."""
    address = address_of(host)
    return is_localhost(host) if address is None else address.is_loopback


def may_be_this_machine(host: str) -> bool:
    """Return whether a host is, or by some systems is taken for, this machine."""
    address = address_of(host)
    return is_loopback(host) or (address is not None and address.is_unspecified)
