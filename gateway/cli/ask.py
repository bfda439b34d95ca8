"""Ask a running process one question over HTTP, for commands.

Plain and blocking: one connection, one request, one answer of bounded size, and no redirect is
followed, which would take a secret along to wherever it leads. What is asked, and what the
answer means, is `gateway.cli.admin` and `gateway.cli.issuer`.

Sources: RFC 9112; RFC 9110 9.3.6 (CONNECT).
"""

import http.client
import json
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from gateway.cli.failure import CommandError, why
from gateway.hosts import is_loopback
from gateway.settings.model import ListenAddress, UnixAddress

_MOST_BYTES = 16 * 1024 * 1024
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where such a listener is reached from here
_NO_URL = "is not an http:// or https:// URL"


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered."""

    status: int
    document: Mapping[str, Any] = field(repr=False)
    """The JSON object in the body; empty when there is none."""


def ask_listener(
    address: ListenAddress,
    method: str,
    target: str,
    *,
    timeout_s: float,
    headers: Mapping[str, str],
    body: bytes | None = None,
) -> Reply:
    """Return what the admin listener of a process answers. Raises CommandError when it does not."""
    connection: http.client.HTTPConnection
    if isinstance(address, UnixAddress):
        connection = _UnixConnection(address.path, timeout_s)
    else:
        host = _WILDCARDS.get(address.host, address.host)
        connection = http.client.HTTPConnection(host, address.port, timeout=timeout_s)
    return _ask(connection, method, target, f"the admin listener at {address}", headers, body)


def ask_url(
    url: str,
    *,
    timeout_s: float,
    context: ssl.SSLContext | None = None,
    headers: Mapping[str, str] | None = None,
    form: bytes | None = None,
) -> Reply:
    """Return what is answered at `url` to a GET, or to a POST of `form`.

    A proxy of the environment (`HTTPS_PROXY`, `NO_PROXY`) is asked for https:// by CONNECT, so that it sees
    no secret; for http:// and for this machine none is.

    Args:
        url: An absolute one.
        timeout_s: For each step of it.
        context: The authorities that are trusted, for https://.
        headers: Besides Host.
        form: URL-encoded.

    Raises:
        CommandError: It is no such URL, or nobody answers there.
    """
    try:
        parts = urlsplit(url)
        connection = _connection_to(parts, timeout_s, context)
    except ValueError:
        raise CommandError(f"{url}: {_NO_URL}") from None
    fields = dict(headers or {})
    if form is not None:
        fields["Content-Type"] = "application/x-www-form-urlencoded"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _ask(connection, "GET" if form is None else "POST", target, f"{url}:", fields, form)


def _connection_to(
    parts: SplitResult, timeout_s: float, context: ssl.SSLContext | None
) -> http.client.HTTPConnection:
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(_NO_URL)
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port or 80, timeout=timeout_s)
    port = parts.port or 443
    proxy = _proxy_for(host)
    if proxy is None:
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
    way = http.client.HTTPSConnection(
        proxy.hostname or "", proxy.port or 80, timeout=timeout_s, context=context
    )
    way.set_tunnel(host, port, _proxy_credentials(proxy))
    return way


def _proxy_for(host: str) -> SplitResult | None:
    """Return the proxy that the environment names for https:// to this host."""
    if is_loopback(host) or not any(name.lower() == "https_proxy" for name in os.environ):
        return None
    # Imported when wanted: it takes longer to load than a probe to be answered.
    from urllib.request import getproxies_environment, proxy_bypass

    named = getproxies_environment().get("https")
    if not named or proxy_bypass(host):
        return None
    return urlsplit(named if "://" in named else f"http://{named}")


def _proxy_credentials(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    from base64 import b64encode

    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(pair.encode()).decode()}"}


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket, to a host that is always this one."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's file."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _ask(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    place: str,
    headers: Mapping[str, str],
    body: bytes | None,
) -> Reply:
    try:
        connection.request(method, target, body=body, headers=dict(headers))
        answer = connection.getresponse()
        return Reply(answer.status, _object(answer.read(_MOST_BYTES)))
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        raise CommandError(f"{place} does not answer: {why(error)}") from error
    finally:
        connection.close()


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
