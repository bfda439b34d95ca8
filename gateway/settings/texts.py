"""Check the texts of a configuration: names, addresses, URLs, paths, methods.

Pure functions from text to a value; each raises `SpellingError` with what is wrong and
never repeats the text itself. Everything here may end up in a header, a log line
or a metric label, so control characters are refused everywhere.

Sources: RFC 6749 3.3 (scope-token) and A.1 (client_id), RFC 9110 5.6.2 (token),
RFC 3986 3 (URI parts), RFC 8414 2 (issuer identifier).
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote, urlsplit

from gateway.hosts import HOST_NAME, address_of, is_loopback
from gateway.http1.claim_fields import IDENTITY_NAMES
from gateway.http1.dropped_fields import Kept, group_of, spelled_alike
from gateway.http1.forwarding_rules import HOP_BY_HOP, REPLACED, ForwardingRules, may_forward
from gateway.http1.grammar import TCHAR
from gateway.settings.model import (
    KeySetProxySettings,
    ListenAddress,
    RedisSettings,
    TargetSettings,
    TcpAddress,
    UnixAddress,
    UnixTargetSettings,
)
from gateway.settings.problems import LATER, SpellingError
from gateway.settings.suggestions import (
    as_url,
    authority_in,
    closest_word,
    host_and_port,
    path_in,
    without_port,
)
from gateway.tokens.claims import RESERVED_CLAIMS, SCOPE_CHARACTER
from gateway.tokens.origins import BadAddressError, origin_of

_CLIENT_ID = re.compile(r"[\x20-\x7e]{1,512}\Z")
_SCOPE = re.compile(rf"{SCOPE_CHARACTER}{{1,256}}\Z")
_ENDS_HERE = "it is meant for Sidegate, not for what is behind it"
_OWN_FRAMING = "Sidegate writes it from the body as it forwards it"
_OWN_TRACE = "Sidegate checks the caller's and always sends one"
_INSTEAD = {
    "upgrade": "name the protocol in the route's `upgrade`",
    "transfer-encoding": _OWN_FRAMING,
    "content-length": _OWN_FRAMING,
    "host": "it is always sent; the upstream's `host` replaces it",
    "authorization": "use forward_token",
    "max-forwards": "Sidegate decides upon it",
    "x-request-id": _OWN_TRACE,
    "traceparent": _OWN_TRACE,
}
_NEVER_KEPT = {name: _INSTEAD.get(name, _ENDS_HERE) for name in map(bytes.decode, HOP_BY_HOP | REPLACED)}
"""Fields of which nothing decides whether they are kept, with what to do instead."""
_NEVER_DROPPED = {
    **_NEVER_KEPT,
    "authorization": "it is dropped unless forward_token says otherwise",
    "expect": "Sidegate answers it, or sends it on for the upstream to answer",
}
"""Fields that `drop_headers` cannot name, with the reason."""
_FROM_ANYBODY = ForwardingRules(
    keep_headers=frozenset(), forward_token=False, host=None, forwarded_x=False, trusted_peer=False
)
_TCHAR = TCHAR.decode()
_PROTOCOL = re.compile(rf"{_TCHAR}{{1,64}}(?:/{_TCHAR}{{1,32}})?\Z")
_CLAIM_FIELD = re.compile(r"[Xx]-[Aa][Uu][Tt][Hh](?:-[A-Za-z0-9]+)+\Z")
_TOKEN = re.compile(rf"{_TCHAR}{{1,128}}\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,=:@%-]+)+\Z")
_URI_TEXT = re.compile(r"[!$&'()*+,/:;=?@\[\]A-Za-z0-9._~%#-]+\Z")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def parse_line(text: str) -> str:
    """Return text without control characters; it may be empty."""
    if not text.isprintable():
        raise SpellingError(
            "holds a control character", "line breaks and other control characters are not allowed here"
        )
    return text


def parse_name(text: str) -> str:
    """Return a name for routes, upstreams and tests: 1 to 200 printable characters."""
    parse_line(text)
    if not text.strip() or len(text) > 200:
        raise SpellingError("is not a name", "1 to 200 printable characters")
    return text


def parse_client_id(text: str) -> str:
    """Return a client id: 1 to 512 printable ASCII characters, no space at the ends (RFC 6749 A.1)."""
    if not _CLIENT_ID.match(text):
        raise SpellingError("is not a client id", "1 to 512 printable ASCII characters")
    if text != text.strip():
        raise SpellingError("is not a client id", "it begins or ends with a space")
    return text


def parse_scope(text: str) -> str:
    """Return one scope name (RFC 6749 3.3)."""
    if " " in text.strip() or "," in text:
        raise SpellingError("is no single scope", "each scope is an item of its own")
    if not _SCOPE.match(text):
        raise SpellingError("is not a scope name", 'printable ASCII without space, " and \\')
    return text


def parse_claim_name(text: str) -> str:
    """Return the name of a claim."""
    parse_line(text)
    if not text or len(text) > 128:
        raise SpellingError("is not a claim name", "1 to 128 printable characters")
    return text


def parse_own_claim_name(text: str) -> str:
    """Return the name of a claim that a client may carry; the issuer's own names are refused."""
    if text in RESERVED_CLAIMS:
        raise SpellingError(
            "is set by the issuer and cannot be given here", "choose another name", is_remedy=True
        )
    return parse_claim_name(text)


def parse_method(text: str) -> str:
    """Return a request method; CONNECT and TRACE are never forwarded and refused."""
    if not _TOKEN.match(text):
        raise SpellingError("is not a method")
    if text in ("CONNECT", "TRACE"):
        raise SpellingError("is never forwarded", "leave it out", is_remedy=True)
    if text != text.upper():
        raise SpellingError(
            "is not a method", f"methods are case-sensitive; write {text.upper()}", is_remedy=True
        )
    return text


def parse_protocol(text: str) -> str:
    """Return the lower-case name of a protocol that a route may switch to (RFC 9110 7.8)."""
    if not _PROTOCOL.match(text):
        raise SpellingError("is not a protocol name", "for example websocket")
    name = text.lower().partition("/")[0]
    if name in ("h2", "h2c", "h3", "http", "https", "tls"):
        # Any HTTP in a tunnel, in whatever version or cipher, would carry requests that nobody judged.
        raise SpellingError(
            "can never be switched to", "requests inside it would pass unjudged", is_remedy=True
        )
    return text.lower()


def parse_kept_header(text: str) -> str:
    """Return the lower-case name of a field to keep, unless no setting could keep it."""
    if not _TOKEN.match(text):
        raise SpellingError("is not a field name", instead=text.partition(":")[0] if ":" in text else "")
    name = text.lower()
    if _is_ours(name):
        raise SpellingError(
            "can never be kept",
            "X-Auth-* and X-Sidegate-* are Sidegate's own words to the upstream",
            is_remedy=True,
        )
    if name in _NEVER_KEPT:
        raise SpellingError("can never be kept", _NEVER_KEPT[name], is_remedy=True)
    return name


def parse_dropped_header(text: str) -> str:
    """Return the lower-case name of a field that callers may not send, unless it has a rule of its own."""
    if not _TOKEN.match(text) or not spelled_alike(text.encode()):
        raise SpellingError("is not a field name", instead=text.partition(":")[0] if ":" in text else "")
    name = text.lower()
    if _is_ours(name):
        raise SpellingError("is never taken from callers", "leave it out", is_remedy=True)
    if name in _NEVER_DROPPED:
        raise SpellingError("has a rule of its own", _NEVER_DROPPED[name], is_remedy=True)
    return name


def parse_claim_field(text: str) -> str:
    """Return the name of a field that tells a claim. Callers can send none of these, in any spelling."""
    if not _CLAIM_FIELD.match(text) or len(text) > 128:
        hint = "X-Auth- and a word: X-Auth-Tenant"
        raise SpellingError("is not the name of a field for a claim", hint, is_remedy=True)
    if any(is_spelled_like(text, own.decode()) for own in IDENTITY_NAMES):
        hint = "identity_headers sends it; choose another name"
        raise SpellingError("says who calls", hint, is_remedy=True)
    return text


def _is_ours(field_name: str) -> bool:
    group = group_of(field_name.encode())
    return group is not None and group.kept is Kept.NEVER


def is_dropped_by_default(field_name: str) -> bool:
    """Return whether a caller's field of this lower-case name reaches the upstream only when it is kept."""
    return not may_forward(field_name.encode(), _FROM_ANYBODY)


def needs_trusted_proxy(field_name: str) -> bool:
    """Return whether a field of this lower-case name is kept from `trusted_proxies` only."""
    group = group_of(field_name.encode())
    return group is not None and group.kept is Kept.TRUSTED_AND_NAMED


def is_spelled_like(field_name: str, other: str) -> bool:
    """Return whether CGI-like servers cannot tell the two names apart."""
    return field_as_read(field_name) == field_as_read(other)


def field_as_read(field_name: str) -> bytes:
    """Return what CGI-like servers make of a name: they cannot tell those apart that are equal by it."""
    return spelled_alike(field_name.encode())


def parse_variable(text: str) -> str:
    """Return the name of an environment variable."""
    if not VARIABLE.match(text):
        name = text.lstrip("$").strip("{}")
        instead = name if VARIABLE.match(name) else ""
        raise SpellingError("is not the name of an environment variable", instead=instead)
    return text


def parse_file_text(text: str) -> str:
    """Return the text of a file path: not empty, no control characters."""
    parse_line(text)
    if not text:
        raise SpellingError("is not a path")
    if "://" in text:
        raise SpellingError("is an address, not a path", "the path of a file on this machine")
    return text


def parse_address(text: str) -> ListenAddress:
    """Return an address to listen on: `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`, `unix:PATH`."""
    if text.startswith("unix:"):
        return UnixAddress(Path(parse_file_text(text.removeprefix("unix:"))))
    _refuse_more(text)
    if text.startswith((":", "*:")):
        rest = text.removeprefix("*")
        raise SpellingError("names no host", instead=f"0.0.0.0{rest}" if _PORT.match(rest[1:]) else "")  # noqa: S104 (a suggestion)
    host, port = _split_authority(text)
    if port is None:
        raise SpellingError(
            "is not host:port or unix:PATH", "127.0.0.1:8080 or [::1]:8080; 0.0.0.0:8080 for all addresses"
        )
    return TcpAddress(host, port)


def place_address(directory: Path, address: ListenAddress) -> ListenAddress:
    """Return an address to listen on, a unix socket's path relative to `directory`."""
    return UnixAddress(directory / address.path) if isinstance(address, UnixAddress) else address


def parse_target(text: str) -> TargetSettings | UnixTargetSettings:
    """Return one address of an upstream: `http://host[:port]`, `https://host[:port]`, `unix:PATH`."""
    if text.startswith("unix:"):
        return UnixTargetSettings(Path(parse_file_text(text.removeprefix("unix:"))))
    scheme, _, rest = text.partition("://")
    if scheme not in ("http", "https"):
        raise SpellingError(
            "is not an upstream address",
            "http://host:port, https://host:port or unix:PATH",
            instead=as_url("http", rest or text) if scheme in (text, "tcp", "h2c", "ws") else "",
        )
    rest = rest.removesuffix("/")
    if any(char in rest for char in "/?#@"):
        raise SpellingError(
            "holds more than host and port",
            f"{scheme}://host:port; change paths with `rewrite` on a route",
            instead=as_url(scheme, rest),
        )
    host, port = _split_authority(rest)
    if port == 0:
        raise SpellingError("names port 0")
    tls = scheme == "https"
    return TargetSettings(host, (443 if tls else 80) if port is None else port, tls)


def parse_redis_url(text: str) -> RedisSettings:
    """Return where a Redis server is: `redis[s]://[[user]:password@]host[:port][/database]`."""
    scheme, _, rest = text.partition("://")
    authority, _, path = rest.partition("/")
    user, at, place = authority.rpartition("@")
    if any(char in rest for char in "?#") or not (path == "" or re.fullmatch("[0-9]{1,5}", path)):
        raise SpellingError("is not the URL of a Redis server", f"{scheme}://[user:password@]host:port/0")
    host, port = _split_authority(place)
    if port == 0:
        raise SpellingError("names port 0")
    name, colon, password = user.partition(":")
    if at and (not colon or not password):
        raise SpellingError("has no password before @", f"{scheme}://:password@host:port/0")
    return RedisSettings(
        host,
        6379 if port is None else port,
        int(path or 0),
        unquote(name) or None,
        unquote(password) or None,
        tls=scheme == "rediss",
    )


def parse_origin(text: str) -> str:
    """Return a web origin as browsers send it: `https://host[:port]`, lower-case, no path."""
    scheme, _, rest = text.partition("://")
    if scheme not in ("http", "https") or text != text.lower() or any(char in rest for char in "/?#@*"):
        raise SpellingError(
            "is not an origin",
            "https://host or https://host:port in lower case, without a path",
            instead=as_url(scheme if rest else "https", rest or text).lower(),
        )
    _, port = _split_authority(rest)
    if port is not None and (
        port == (443 if scheme == "https" else 80) or str(port) != rest.rpartition(":")[2]
    ):
        raise SpellingError(
            "is not how a browser writes this origin", "leave out the scheme's own port", is_remedy=True
        )
    return text


def parse_token_origin(text: str) -> str:
    """Return the origin that a token of ours may be sent to, as fetches spell it: `https://host:port`."""
    rest = text.partition("://")[2]
    if any(char in rest for char in "/?#@*\\") or not rest:
        raise SpellingError(
            "is not an origin",
            "https://host or https://host:port, without a path",
            instead=as_url("https", rest or text),
        )
    _, port = _split_authority(rest)
    if port == 0:
        raise SpellingError("names port 0")
    try:
        return origin_of(text)
    except BadAddressError:
        raise SpellingError(
            "is not https:// and not on loopback", "a token that travels unprotected is everybody's"
        ) from None


def parse_key_set_proxy(text: str) -> KeySetProxySettings:
    """Return the proxy at `http://host:port`, which has no name yet."""
    scheme, _, rest = text.partition("://")
    if "@" in text:
        raise SpellingError(
            "holds user information", "proxies with credentials are not supported: let this machine in"
        )
    if scheme == "https":
        raise SpellingError("is https://", "the proxy is asked by CONNECT over http://host:port")
    if scheme != "http" or any(char in rest.removesuffix("/") for char in "/?#"):
        raise SpellingError("is not the address of a proxy", "http://host:port")
    host, port = _split_authority(rest.removesuffix("/"))
    if not port:
        raise SpellingError("has no port", "http://host:port")
    return KeySetProxySettings("", host, port)


def parse_server_name(text: str) -> str:
    """Return the name that a target's certificate must hold: a host name or an IP address."""
    _refuse_more(text, with_port=False)
    host, port = _split_authority(_bracketed(text))
    if port is not None:
        raise SpellingError("names a port", "a name alone", instead=without_port(text))
    return host.rstrip(".")


def parse_check_path(text: str) -> str:
    """Return the path, with a query if there is one, that a health check asks for."""
    if not text.startswith("/") or not _URI_TEXT.match(text) or "#" in text or len(text) > 2000:
        raise SpellingError(
            "is not a path", "it begins with / and holds URL characters only", instead=path_in(text)
        )
    return text


def parse_host_value(text: str) -> str:
    """Return a fixed Host value: `host` or `host:port`; a bare IPv6 address gets its brackets."""
    _refuse_more(text)
    text = _bracketed(text)
    _split_authority(text)
    return text


def parse_admin_host(text: str) -> str:
    """Return a lower-case Host value that the admin listener answers to.

    A bare IPv6 address, which is what `status.podIP` holds in an IPv6 cluster, gets its brackets.
    """
    _refuse_more(text)
    text = _bracketed(text)
    host, _ = _split_authority(text)
    if "%" in host:
        raise SpellingError("names a zone", "a Host value holds an address alone: fe80::1")
    return text.lower()


def parse_host_pattern(text: str) -> str:
    """Return a route's host in lower case: a name, an IP address, or `*.name`."""
    _refuse_more(text, with_port=False)
    text = _bracketed(text)
    name = text.removeprefix("*.")
    if "*" in name:
        raise SpellingError("is not a host", 'a wildcard stands at the beginning only: "*.example.com"')
    host, port = _split_authority(name)
    if port is not None:
        raise SpellingError(
            "names a port",
            "a route's host is matched without the port; leave it out",
            instead=text.removesuffix(name) + without_port(name),
        )
    if name != text and ("." not in name or address_of(host) is not None):
        raise SpellingError("is not a host", "a wildcard needs a domain of two labels or more: *.example.com")
    return text.lower().rstrip(".")


def parse_issuer_url(text: str) -> str:
    """Return the issuer identifier as written (RFC 8414 2: no query, no fragment)."""
    if not _URI_TEXT.match(text):
        raise SpellingError("is not a URL", "an absolute https:// URL of URL characters")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise SpellingError("is not a URL", "an absolute https:// URL") from None
    if parts.scheme not in ("http", "https") or not text.startswith(("http://", "https://")) or not host:
        raise SpellingError(
            "is not an absolute http:// or https:// URL",
            instead="" if "://" in text else as_url("https", text, whole=True),
        )
    if "?" in text or "#" in text:
        raise SpellingError(
            "has a query or a fragment", "an issuer is compared byte for byte and has neither"
        )
    if parts.username is not None or parts.password is not None:
        raise SpellingError("holds user information", "leave out what stands before @")
    if port == 0:
        raise SpellingError("names port 0")
    _split_authority(parts.netloc)
    return text


def parse_key_uri(text: str) -> str:
    """Return the address of a key set: https://, or http:// on loopback."""
    if not _URI_TEXT.match(text) or "#" in text:
        raise SpellingError("is not a URL", "an absolute https:// URL of URL characters")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise SpellingError("is not a URL", "an absolute https:// URL") from None
    if parts.username is not None or parts.password is not None:
        raise SpellingError("holds user information", "leave out what stands before @")
    if not host or port == 0 or parts.scheme not in ("http", "https"):
        raise SpellingError("is not an absolute https:// URL", "the path of a file is given by jwks_file")
    _split_authority(parts.netloc)
    if parts.scheme == "http" and not is_loopback(host):
        raise SpellingError(
            "is http:// and not on loopback", "keys that travel unprotected prove nothing; use https://"
        )
    return text


def parse_identity_text(text: str) -> str:
    """Return an issuer, subject or audience of foreign tokens: 1 to 1024 printable characters."""
    parse_line(text)
    if not 0 < len(text) <= 1024:
        raise SpellingError("is not such a text", "1 to 1024 printable characters")
    return text


def parse_path_prefix(text: str) -> str:
    """Return an empty text or `/a/b`: absolute, no trailing slash, no dot segments."""
    if text and (not _PREFIX.match(text) or "%" in text or _has_dot_segment(text)):
        raise SpellingError(
            "is not a path prefix",
            'empty, or /a/b without a slash at the end; "." and ".." are no segments',
            instead=path_in(text).rstrip("/"),
        )
    return text


def parse_path_template(text: str) -> str:
    """Return a route's path as written; its segments are judged by the policy compiler."""
    parse_line(text)
    if not text.startswith("/"):
        hint = "it begins with /, and is no regular expression"
        raise SpellingError("is not a path", hint, instead=path_in(text))
    if "?" in text or "#" in text:
        place = re.split("[?#]", text)[0]
        raise SpellingError("holds a query or fragment", "a route matches the path only", instead=place)
    if any(char.isspace() for char in text) or len(text) > 2000:
        raise SpellingError("is not a path", "up to 2000 characters without spaces")
    return text


def parse_network(text: str) -> str:
    """Return a CIDR (or one address) in canonical text."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        hint = "an address, or addresses with their prefix: 10.0.0.0/8, fd00::/8; names are none"
        raise SpellingError("is not a network", hint) from None
    raise SpellingError("has bits set behind its prefix", f"the network is {network}", is_remedy=True)


def choose_from(
    what: str,
    known: tuple[str, ...],
    later: tuple[str, ...] = (),
    others: Mapping[str, str] = MappingProxyType({}),
) -> Callable[[str], str]:
    """Return a parser that accepts the known words and says of `later` ones that they are to come.

    `others` are what people write for a known word, with spaces between.
    """
    hint = "one of: " + ", ".join(known)

    def parse(text: str) -> str:
        if text in known:
            return text
        if text in later:
            raise SpellingError(LATER, hint)
        raise SpellingError(f"is not {what}", hint, instead=partial(closest_word, text, known, others))

    return parse


def _refuse_more(text: str, *, with_port: bool = True) -> None:
    """Raise SpellingError for a URL, or a host with a path, with the host that is in it."""
    authority, is_url = authority_in(text)
    if is_url or (authority != text and "%" not in text):
        instead = host_and_port(authority) if with_port else without_port(authority)
        raise SpellingError("is a URL, not a host" if is_url else "holds more than a host", instead=instead)


def _split_authority(text: str) -> tuple[str, int | None]:
    """Return host (no brackets) and port (None when absent) of `host`, `host:port` or `[v6]:port`."""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or address_of(host) is None or ":" not in host or (rest and not rest.startswith(":")):
            raise SpellingError("is not a host", "an IPv6 address stands in brackets: [::1]:8080")
        port = rest[1:] if rest else None
    else:
        host, colon, after = text.partition(":")
        port = after if colon else None
        if not HOST_NAME(host):
            raise SpellingError(
                "is not a host", "a host name or an IP address, with :port where one is wanted"
            )
        if host.replace(".", "").isdigit() and address_of(host) is None:
            raise SpellingError("is not a host", "the IPv4 address is not complete or out of range")
    if port is None:
        return host, None
    if not _PORT.match(port) or int(port) > 65535:
        raise SpellingError("has no valid port", "a port is a number from 1 to 65535")
    return host, int(port)


def _bracketed(text: str) -> str:
    """Return a bare IPv6 address in brackets, and any other text as it is."""
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return text
    return f"[{text}]"


def _has_dot_segment(path: str) -> bool:
    return any(segment in (".", "..") for segment in path.split("/"))
