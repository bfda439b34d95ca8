"""Open connections to the targets of upstreams: over TCP, over TLS, to a unix socket.

An opener is a target's address together with everything that decides who will be at
the other end of a connection: two openers that compare equal by `identity` lead to the
same peer under the same checks, so that a reload keeps what the old one opened.

Names are resolved as `gateway.names` says (by `getaddrinfo`, which uvloop runs on its threads), for
each new connection anew unless the answer is younger than `NAME_TTL_S`; the resolver of
the system tells no TTL of its own. While the name service does not answer, the last
answer is used. Of several addresses the first that accepts is taken (RFC 8305), and
connections begin in turn at another one.

TLS is 1.2 or later, the certificate is always verified, and so is the name. There is no
way to switch that off: `tls.ca_file` is how to trust a private authority.

Sources: RFC 8305; RFC 9525 6 (service identity); RFC 9325 3.1.1 (protocol versions).
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol, cast

from aiohappyeyeballs import AddrInfoType, start_connection

from gateway.files import UnusableFileError
from gateway.hosts import is_localhost
from gateway.names import NEXT_ADDRESS_AFTER_S, addresses_of
from gateway.proxy.pem import CERTIFICATE_FORM, KEY_FORM, load_pair, read_pem
from gateway.settings.model import TargetSettings, UnixTargetSettings, UpstreamTlsSettings

UPSTREAM_HIGH_WATER_BYTES = 320 * 1024
NAME_TTL_S = 5.0
ASK_AGAIN_AFTER_S = 1.0
"""When the name service did not answer and the last answer stands in."""
STALE_AFTER_S = 0.25
"""How long a new connection waits for a fresh answer when there is an old one."""

SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""Errors that say what this machine lacks: descriptors, memory, local ports."""

ProtocolFactory = Callable[[], asyncio.BaseProtocol]
AskNames = Callable[[str, int], Awaitable[Sequence[AddrInfoType]]]
"""Return the addresses of a host, or raise OSError."""


class AttemptFailure(StrEnum):
    """What broke when a request was brought to a target and tried again, or never sent: the metric label."""

    CONNECT = "connect"
    TLS = "tls"
    DNS = "dns"
    TIMEOUT = "timeout"
    RESET = "reset"


class NotConnectedError(OSError):
    """None of the addresses behind a name accepted; `errno` is what all of them said, if they agree."""

    def __init__(self, errno_: int | None, failures: Sequence[tuple[str, OSError]]) -> None:
        super().__init__(errno_, "no address accepted")
        self.failures = failures
        """By address, as `spell_place` spells it."""


class TlsFileError(Exception):
    """A file of an upstream's `tls` cannot be used."""

    def __init__(self, key: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.key = key
        """The key under `tls` that names it."""
        self.message = message
        self.hint = hint
        """What to do about it."""


@dataclass(frozen=True, slots=True, eq=False)
class UpstreamTls:
    """How `https://` targets of one upstream are verified, read from its files."""

    context: ssl.SSLContext
    server_name: str | None
    fingerprint: str
    """Equal for two that trust and show the same."""


class Opener(Protocol):
    """The way to one target."""

    @property
    def identity(self) -> object:
        """What decides who answers at the other end."""

    @property
    def authority(self) -> str:
        """The Host value of a request of our own."""

    @property
    def place(self) -> str:
        """Where it leads, for people: host and port, or a path."""

    @property
    def names(self) -> Names | None:
        """The addresses behind the target's name, or None when it has no name."""

    async def open(self, factory: ProtocolFactory) -> None:
        """Open a connection for the protocol that `factory` makes.

        Raises:
            OSError: It cannot be opened, or the other end is not who it should be.
        """


class Names:
    """The addresses behind one host name."""

    __slots__ = (
        "_ask",
        "_asking",
        "_fresh_until",
        "_host",
        "_port",
        "_stopwatch",
        "_takes_turns",
        "_turn",
        "_version",
        "found",
    )

    def __init__(self, host: str, port: int, *, ask: AskNames, stopwatch: Callable[[], float]) -> None:
        self._host = host
        self._port = port
        self._ask = ask
        self._stopwatch = stopwatch
        self.found: Sequence[AddrInfoType] = ()
        self._fresh_until = 0.0
        self._asking: asyncio.Task[None] | None = None
        self._turn = 0
        self._takes_turns = not is_localhost(host)
        """Behind one name for this machine there may be two services, one for each family."""
        self._version = 0

    @property
    def version(self) -> int:
        """Return a number that grows whenever the addresses change."""
        return self._version

    @property
    def hosts(self) -> frozenset[str]:
        """Return the addresses as a connection names its peer."""
        return frozenset(info[4][0] for info in self.found)

    def refresh(self, monotonic_now: float) -> None:
        """Begin to ask again when the answer is old; never waits."""
        if monotonic_now >= self._fresh_until:
            self._start_asking()

    async def addresses(self) -> Sequence[AddrInfoType]:
        """Return the addresses, in turn another one first; those of this machine always in one order.

        Raises:
            OSError: The name is not known, and never was.
        """
        if self._stopwatch() >= self._fresh_until:
            asking = self._start_asking()
            await asyncio.wait({asking}, timeout=STALE_AFTER_S if self.found else None)
            if not self.found:
                asking.result()
        found = self.found
        self._turn += self._takes_turns
        start = self._turn % len(found)
        return [*found[start:], *found[:start]]

    def _start_asking(self) -> asyncio.Task[None]:
        """Return the one question that is being asked."""
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._find())
            self._asking.add_done_callback(self._asked)
        return self._asking

    def _asked(self, asking: asyncio.Task[None]) -> None:
        self._asking = None
        if not asking.cancelled():
            asking.exception()  # who waits has it; nobody else need see it

    async def _find(self) -> None:
        try:
            found = await self._ask(self._host, self._port)
        except UnicodeError as error:  # a label too long for the IDNA codec
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from error
        except OSError:
            self._fresh_until = self._stopwatch() + (ASK_AGAIN_AFTER_S if self.found else 0.0)
            raise
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no addresses")
        before = self.hosts
        self.found = tuple(found)
        self._fresh_until = self._stopwatch() + NAME_TTL_S
        if self.hosts != before:
            self._version += 1


class _Attempts:
    """Connects sockets for `start_connection`, and remembers whom it could not reach."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.failures: list[tuple[str, OSError]] = []

    async def sock_connect(self, sock: socket.socket, address: tuple[str, int]) -> None:
        try:
            await self._loop.sock_connect(sock, address)
        except OSError as error:
            self.failures.append((spell_place(address[0], address[1]), error))
            raise


class TcpOpener:
    """The way to a target with an address or a name, plain or over TLS."""

    __slots__ = ("_arguments", "_host", "_port", "authority", "identity", "names", "place")

    def __init__(
        self,
        target: TargetSettings,
        tls: UpstreamTls | None,
        *,
        stopwatch: Callable[[], float],
        ask: AskNames = addresses_of,
    ) -> None:
        self._host = target.host
        self._port = target.port
        self.place = spell_place(target.host, target.port)
        self.authority = target.authority
        self._arguments: dict[str, Any] = {}
        self.identity: object = target
        if target.tls:
            assert tls is not None
            name = tls.server_name or target.host.rstrip(".")
            self._arguments = {"ssl": tls.context, "server_hostname": name}
            self.identity = (target, name, tls.fingerprint)
        self.names = (
            None
            if _is_address(target.host)
            else Names(target.host, target.port, ask=ask, stopwatch=stopwatch)
        )

    async def open(self, factory: ProtocolFactory) -> None:
        """Open a connection; with TLS it stands when the certificate and its name are verified."""
        loop = asyncio.get_running_loop()
        if self.names is None:
            transport, _ = await loop.create_connection(factory, self._host, self._port, **self._arguments)
        else:
            addresses = await self.names.addresses()
            attempts = _Attempts(loop)
            try:
                sock = await start_connection(
                    addresses,
                    happy_eyeballs_delay=NEXT_ADDRESS_AFTER_S,
                    loop=cast(asyncio.AbstractEventLoop, attempts),
                )
            except OSError as error:
                raise NotConnectedError(error.errno, attempts.failures) from error
            transport, _ = await loop.create_connection(factory, sock=sock, **self._arguments)
        transport.set_write_buffer_limits(high=UPSTREAM_HIGH_WATER_BYTES)


class UnixOpener:
    """The way to a target behind a socket in the file system."""

    __slots__ = ("_path", "authority", "identity", "place")

    names = None

    def __init__(self, target: UnixTargetSettings) -> None:
        self._path = target.path
        self.place = str(target.path)
        self.authority = target.authority
        self.identity: object = target

    async def open(self, factory: ProtocolFactory) -> None:
        """Open a connection."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_unix_connection(factory, str(self._path))
        transport.set_write_buffer_limits(high=UPSTREAM_HIGH_WATER_BYTES)


def opener_for(
    target: TargetSettings | UnixTargetSettings, tls: UpstreamTls | None, *, stopwatch: Callable[[], float]
) -> Opener:
    """Return the way to `target`; `tls` is needed for `https://` only."""
    if isinstance(target, UnixTargetSettings):
        return UnixOpener(target)
    return TcpOpener(target, tls, stopwatch=stopwatch)


def read_upstream_tls(settings: UpstreamTlsSettings) -> UpstreamTls:
    """Return what the files of `settings` say. Reads them: not for the event loop.

    Raises:
        TlsFileError: With the key whose file cannot be used, and why.
    """
    digest = hashlib.sha256()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if settings.ca_file is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        content = _read("ca_file", settings.ca_file)
        digest.update(content)
        try:
            context.load_verify_locations(cadata=content.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:  # ValueError: empty, or not ASCII
            raise TlsFileError("ca_file", "holds no certificates in PEM form", CERTIFICATE_FORM) from error
    digest.update(b"\0")
    if settings.certificate_file is not None:
        key_file = settings.key_file or settings.certificate_file
        chain = _read("certificate_file", settings.certificate_file)
        key = _read("key_file", key_file)
        digest.update(chain)
        digest.update(key)
        try:
            load_pair(context, chain, settings.certificate_file, key, key_file, password="")
        except (ssl.SSLError, OSError, ValueError) as error:
            raise TlsFileError(
                "certificate_file",
                "and its key are not a PEM certificate and its unencrypted private key",
                KEY_FORM,
            ) from error
    return UpstreamTls(context, settings.server_name, digest.hexdigest())


def is_own_shortage(error: Exception) -> bool:
    """Return whether a connection was not opened for want of something here: no word about the target."""
    # The codes of a name's resolution are numbers of their own.
    return (
        isinstance(error, OSError)
        and not isinstance(error, socket.gaierror | ssl.SSLError)
        and error.errno in SHORTAGES
    )


def kind_of_failure(error: Exception) -> AttemptFailure:
    """Return what broke while a connection was opened: a wrong certificate is not a closed port."""
    match error:
        case TimeoutError():
            return AttemptFailure.TIMEOUT
        case ssl.SSLError():  # a certificate that was refused is one
            return AttemptFailure.TLS
        case socket.gaierror():
            return AttemptFailure.DNS
        case _:
            return AttemptFailure.CONNECT


_WORDS = {
    errno.ECONNREFUSED: "connection refused by",
    errno.ECONNRESET: "connection reset by",
    errno.EHOSTUNREACH: "no route to",
    errno.ENETUNREACH: "no network leads to",
    errno.ETIMEDOUT: "no answer from",
    errno.ENOENT: "there is no socket at",
    errno.EACCES: "not permitted to connect to",
    errno.EPERM: "not permitted to connect to",
}


def describe_failure(error: Exception, place: str) -> str:
    """Return why a connection could not be opened, for logs: what the system said, nothing of the other end.

    Args:
        error: What `Opener.open` raised.
        place: The opener's.
    """
    match error:
        case TimeoutError() if error.errno is None:
            return f"connecting to {place} timed out"
        case ssl.SSLCertVerificationError():
            return f"the certificate was refused: {error.verify_message}"
        case ssl.SSLError():
            return "the TLS handshake failed"
        case socket.gaierror():
            return f"the name was not resolved: {place}"
        case _ if is_own_shortage(error):
            return "the gateway itself is short of descriptors, memory or ports"
        case NotConnectedError() if error.failures:
            by_words: dict[str, list[str]] = {}
            for where, failure in error.failures:
                by_words.setdefault(_what_the_system_said(failure), []).append(where)
            return ", ".join(f"{words} {' and '.join(places)}" for words, places in by_words.items())
        case OSError():
            return f"{_what_the_system_said(error)} {place}"
        case _:
            return f"connecting to {place} failed"


def _what_the_system_said(error: OSError) -> str:
    known = None if error.errno is None else _WORDS.get(error.errno)
    if known is not None:
        return known
    return f"connecting failed ({os.strerror(error.errno)}) to" if error.errno else "connecting failed to"


def spell_place(host: str, port: int) -> str:
    """Return host and port as one text, IPv6 addresses in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _read(key: str, path: Path) -> bytes:
    try:
        return read_pem(path)
    except UnusableFileError as problem:
        raise TlsFileError(key, str(problem), problem.remedy) from problem


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
