"""Tell the origin of an address that key sets may be fetched from.

Pure. One reading for the configuration, which lists the origins that a token of ours
may be sent to, and for the fetch, which compares: two readings would let a token go
where nobody listed. What is fetched, and with what, is `gateway.tokens.jwks_client`.

Sources: RFC 6454 4 (origin of a URI), RFC 3986 3.2.
"""

from urllib.parse import urlsplit

from gateway.hosts import is_loopback, may_be_this_machine

_PORTS = {"https": 443, "http": 80}


class BadAddressError(ValueError):
    """Say why an address is never asked for keys; the message holds nothing of it."""


def origin_of(url: str) -> str:
    """Return `scheme://host:port` of an address that may be asked: https, or http on loopback.

    Host and scheme are in lower case, IPv6 in brackets, and the port is always there.

    Raises:
        BadAddressError: For any other address, and for one that is no URL.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise BadAddressError("the address is no URL") from None
    if not host or parts.username is not None or parts.password is not None:
        raise BadAddressError("the address has no host or holds user information")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise BadAddressError("the address is neither https:// nor http:// on loopback")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}:{port or _PORTS[parts.scheme]}"


def may_be_proxied(url: str) -> bool:
    """Return whether an address may be reached through a proxy: https, and not on this machine.

    Raises:
        BadAddressError: The address may not be asked at all.
    """
    origin = origin_of(url)
    return origin.startswith("https:") and not may_be_this_machine(urlsplit(url).hostname or "")
