"""Accept connections on one address and see them through until the gate takes them.

The theory of it. A plain connection is the gate's as soon as it is accepted. Others
arrive in steps, and may take `limits.header_timeout` for all of them together:

    accepted -> PROXY header read -> TLS handshake done -> the gate's

While they arrive they count against `limits.connections` like those that are there
(`Gate.arriving`), so neither silent peers nor half handshakes escape the limit. At the
limit a plain connection is answered by the gate; one that would first cost a handshake
is closed.

The accept loop is our own because each handshake must begin with the context that is
current then (see `gateway.proxy.certificates`), because a PROXY header must be taken
off the socket to its last byte and no further before TLS begins, and because a server of
the event loop closes itself when the process runs out of file descriptors. Here
accepting then pauses for a moment. Per turn of the loop only a batch is accepted, a
smaller one where handshakes follow, so that a rush of callers does not hold up those
who are there.

Who is the caller: the PROXY header's word stands for the peer everywhere (logs, limits,
X-Forwarded-For). Forwarding fields are then believed only if *that* address is one of
`trusted_proxies`, for they came from there; a sender that does not name a caller (LOCAL,
UNKNOWN) is itself the peer, and its forwarding fields are not believed.

Sources: accept(2) "Error handling", unix(7), recv(2) MSG_PEEK; PROXY protocol 2020/03/05, 2.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import ssl
import stat
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.hosts import is_localhost, is_loopback
from gateway.policy.peers import peer_group
from gateway.proxy.proxy_protocol import LONGEST_BYTES, BadProxyHeader, read_proxy_header
from gateway.reasons import Reason
from gateway.settings.model import ListenAddress, TcpAddress, UnixAddress

if TYPE_CHECKING:
    from gateway.proxy.certificates import TlsEndpoint
    from gateway.proxy.gate import Gate, ListenerInfo

_log = logging.getLogger(__name__)

BACKLOG = 4096
UNIX_MODE = 0o660
ACCEPT_BATCH = 64
ACCEPT_BATCH_TLS = 8
"""Each of them costs a handshake, up to a millisecond, in the next turns of the loop."""
PAUSE_S = 0.25
"""How long nothing is accepted after the system had no descriptor or memory left."""
PAUSE_LOG_INTERVAL_S = 60.0
TLS_SHUTDOWN_TIMEOUT_S = 3600.0
"""The last resort: the gate's sweep ends a connection that neither takes our close nor what is before it."""
ARRIVAL_GRACE_S = 1.0
"""What a connection that is on its way in gets when the listener closes."""

REFUSALS = (
    "limit",
    "limit_per_peer",
    "timeout",
    "handshake",
    "client_certificate",
    "proxy_header",
    "untrusted_proxy",
    "closed",
    "closing",
    Reason.INTERNAL.value,
)
"""Why a connection is not let in: the closed list of the metric label."""

_SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_Opening = Coroutine[Any, Any, Any]


class AddressInUseError(OSError):
    """A unix socket's path is taken: by a listening process, or by something that is no socket."""


class Listener:
    """One address, and the connections on their way in through it.

    Args:
        gate: Takes the connections.
        info: What they must know of this listener.
        sockets: Bound and listening (`open_sockets`); closed by this listener.
        tls: What to serve TLS with, or None for plain connections.
        proxy_protocol: Whether connections begin with a PROXY header.
    """

    def __init__(
        self,
        gate: Gate,
        info: ListenerInfo,
        sockets: list[socket.socket],
        *,
        tls: TlsEndpoint | None = None,
        proxy_protocol: bool = False,
    ) -> None:
        self.gate = gate
        self.info = info
        self.sockets = tuple(sockets)
        self.tls = tls
        self.proxy_protocol = proxy_protocol
        self.arrived = 0
        """Connections that came in steps, let in or not."""
        self.pauses = 0
        """How often accepting had to pause."""
        self.refused: Counter[str] = Counter(dict.fromkeys(REFUSALS, 0))
        """Connections that never became the gate's, by reason (a closed list)."""
        self.loop = asyncio.get_running_loop()
        self.arrivals: set[_Arrival] = set()
        self._batch = ACCEPT_BATCH if tls is None else ACCEPT_BATCH_TLS
        self._accepting: set[socket.socket] = set()
        self._started = False
        self._closed = False
        self._complained_at = float("-inf")
        self._files = socket_files(sockets)

    @property
    def is_bound(self) -> bool:
        """Return whether callers get here: each socket listens, and a unix socket has its file."""
        return (
            self._started
            and not self._closed
            and all(map(_listens, self.sockets))
            and all(file.is_there for file in self._files)
        )

    def start(self) -> None:
        """Accept from now on."""
        self._started = True
        for listening in self.sockets:
            self._resume(listening)

    def close(self) -> None:
        """Stop accepting, after what has reached the system already; connections stay.

        Those on their way in have `ARRIVAL_GRACE_S` to come through. The file of a unix socket goes.
        """
        if self._closed:
            return
        self._closed = True
        for listening in self.sockets:
            if listening in self._accepting:
                self.loop.remove_reader(listening)
                # Whoever is in the backlog sees an open connection, and may have sent a request.
                self._accept(listening, BACKLOG)
            listening.close()
        self._accepting.clear()
        for file in self._files:
            file.remove()
        self.loop.call_later(ARRIVAL_GRACE_S, self.abort)

    def abort(self) -> None:
        """Stop accepting and cut what is still on its way in."""
        self.close()
        for arrival in tuple(self.arrivals):
            arrival.abort()

    def refuse(self, reason: str, detail: object = "") -> None:
        """Count a connection that is not let in."""
        self.refused[reason] += 1
        _log.debug("%s: a connection was refused: %s %s", self.info.name, reason, detail)

    # --- accepting

    def _resume(self, listening: socket.socket) -> None:
        if not self._closed:
            self._accepting.add(listening)
            self.loop.add_reader(listening, self._accept, listening, self._batch)

    def _accept(self, listening: socket.socket, most: int) -> None:
        """Accept what waits, up to `most` connections."""
        try:
            for _ in range(most):
                try:
                    accepted, address = listening.accept()
                except ConnectionAbortedError:
                    continue  # gone before it was accepted
                self._admit(accepted, address)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._pause(listening, error)
        except Exception:
            # The one rescue point of accepting: one connection is lost, the listener is not.
            _log.exception("a connection could not be taken in")

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        """Accept nothing for a moment: the connections wait in the backlog, and the loop does not spin."""
        self.pauses += 1
        now = self.loop.time()
        if now - self._complained_at >= PAUSE_LOG_INTERVAL_S:
            self._complained_at = now
            cause = "the process or the system is short of it" if error.errno in _SCARCE else "accept failed"
            _log.error("%s: accepting pauses: %s (%s)", self.info.name, error.strerror, cause)
        if listening in self._accepting and not self._closed:
            self._accepting.discard(listening)
            self.loop.remove_reader(listening)
            self.loop.call_later(PAUSE_S, self._resume, listening)

    def _admit(self, accepted: socket.socket, address: object) -> None:
        peer = address[0] if isinstance(address, tuple) else ""
        gate = self.gate
        limit = gate.limits.connections
        if self.info.in_steps:
            if limit and len(gate.connections) + gate.arriving >= limit:
                accepted.close()
                self.refuse("limit")
            else:
                _Arrival(self, accepted, peer).begin()
        else:
            opening = self.loop.connect_accepted_socket(partial(gate.accept, self.info, peer), accepted)
            _advance(opening, partial(self.taken_in, accepted))

    def taken_in(self, accepted: socket.socket, error: Exception | None) -> None:
        """Take what came of handing a connection to the event loop: it is the gate's now, or it is closed."""
        if error is None:
            return
        accepted.close()  # where the loop has it already, when that lets go of it
        self.refuse(_why_not_taken_in(error), error)
        if not isinstance(error, OSError):
            _log.error("taking in a connection failed inside the gateway", exc_info=error)


class _Arrival:
    """One connection on its way in."""

    __slots__ = (
        "_begun_at",
        "_believes",
        "_counted_for",
        "_deadline",
        "_header",
        "_is_there",
        "_listener",
        "_peer",
        "_socket",
    )

    def __init__(self, listener: Listener, accepted: socket.socket, peer: str) -> None:
        self._listener = listener
        self._socket = accepted
        self._peer = peer
        self._believes = True
        """Whether the peer's forwarding fields may be believed, if it is one of `trusted_proxies`."""
        self._header = b""
        """What was taken of a PROXY header that is not complete."""
        self._deadline: asyncio.TimerHandle | None = None
        self._begun_at = 0.0
        self._counted_for: str | None = None
        """The peer whose connections this one is counted among."""
        self._is_there = False

    def begin(self) -> None:
        """Take the first step."""
        listener = self._listener
        listener.arrivals.add(self)
        listener.arrived += 1
        listener.gate.arriving += 1
        self._begun_at = listener.loop.time()
        if not listener.proxy_protocol:
            self._connect()
        elif self._socket.family == socket.AF_UNIX or listener.gate.is_trusted(self._peer):
            timeout_s = listener.gate.limits.header_timeout_s
            self._deadline = listener.loop.call_later(timeout_s, self._refuse, "timeout")
            listener.loop.add_reader(self._socket, self._read_header)
            self._read_header()
        else:
            self._refuse("untrusted_proxy", self._peer)

    def abort(self) -> None:
        """Cut the connection."""
        if self._deadline is not None:
            self._refuse("closing")
        else:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # which ends the handshake

    # --- PROXY header

    def _read_header(self) -> None:
        """Take the header off the socket, or as much of it as is there, and nothing behind it."""
        try:
            seen = self._socket.recv(LONGEST_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            if not seen:
                self._refuse("closed")
                return
            header = read_proxy_header(self._header + seen)
            if isinstance(header, BadProxyHeader):
                self._refuse("proxy_header", header.detail)
                return
            # Taken even when there is more to come: what was only peeked at would wake us again at once.
            taken = self._take(len(seen) if header is None else header.length - len(self._header))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._refuse("closed", error)
            return
        if header is None:
            self._header += taken
            return
        self._stop_reading()
        if header.source is None:
            self._believes = False
        else:
            self._peer = header.source
        self._header = b""
        self._connect()

    def _take(self, count: int) -> bytes:
        taken = self._socket.recv(count, socket.MSG_DONTWAIT)
        if len(taken) != count:
            raise ConnectionAbortedError("bytes that were there are gone")
        return taken

    def _stop_reading(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
            self._listener.loop.remove_reader(self._socket)

    # --- TLS

    def _connect(self) -> None:
        """Hand the socket to the event loop, which does the handshake where there is one to do."""
        listener = self._listener
        loop = listener.loop
        if not self._may_come():
            self._refuse("limit_per_peer", self._peer)
            return
        accept = partial(
            listener.gate.accept, listener.info, self._peer, believes=self._believes, arrived=self._leave
        )
        if listener.tls is None:
            opening = loop.connect_accepted_socket(accept, self._socket)
        else:
            left_s = self._begun_at + listener.gate.limits.header_timeout_s - loop.time()
            opening = loop.connect_accepted_socket(
                accept,
                self._socket,
                ssl=listener.tls.current.context,
                ssl_handshake_timeout=max(left_s, 0.001),
                ssl_shutdown_timeout=TLS_SHUTDOWN_TIMEOUT_S,
            )
        _advance(opening, self._connected)

    def _may_come(self) -> bool:
        """Count the connection for its peer; return whether that is not one too many."""
        gate = self._listener.gate
        self._counted_for = peer_group(self._peer)
        return not gate.connections_too_many(self._peer, gate.admission.enter(self._counted_for))

    def _connected(self, error: Exception | None) -> None:
        self._listener.taken_in(self._socket, error)
        self._leave()

    def _refuse(self, reason: str, detail: object = "") -> None:
        """Close the connection before it was handed to the event loop."""
        self._stop_reading()
        self._socket.close()
        self._listener.refuse(reason, detail)
        self._leave()

    def _leave(self) -> None:
        """Stop being counted: the connection is gone, or is about to be counted as the gate's."""
        if not self._is_there:
            self._is_there = True
            self._listener.arrivals.discard(self)
            gate = self._listener.gate
            gate.arriving -= 1
            if self._counted_for is not None:
                gate.admission.leave(self._counted_for)


def _advance(opening: _Opening, done: Callable[[Exception | None], None], _waited: object = None) -> None:
    """Let `opening` go on until it waits for a future, and again after that; then call `done`.

    It is what a task does, without what we do not need of one: a task costs 3 µs more, a tenth
    of what a new connection costs.
    """
    try:
        future = opening.send(None)
    except StopIteration:
        done(None)
    except Exception as error:
        done(error)
    else:
        future.add_done_callback(partial(_advance, opening, done))


def _why_not_taken_in(error: Exception) -> str:
    """Return the word for what kept a connection from the gate; all but a mistake of ours is an OSError."""
    if not isinstance(error, OSError):
        return Reason.INTERNAL.value
    if isinstance(error, ssl.SSLError):
        about = f"{getattr(error, 'reason', '')}".upper()
        return "client_certificate" if "CERTIFICATE" in about else "handshake"
    if isinstance(error, ConnectionAbortedError):
        return "timeout"
    return "closed"


# --- sockets


def open_sockets(address: ListenAddress) -> list[socket.socket]:
    """Return listening, non-blocking sockets: one for each address that a host name stands for.

    Raises:
        OSError: An address cannot be listened on.
    """
    if isinstance(address, UnixAddress):
        return [_open_unix_socket(address.path)]
    return _open_tcp_sockets(address)


def _open_tcp_sockets(address: TcpAddress) -> list[socket.socket]:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    if is_localhost(address.host):
        # Whatever the DNS says: what may be done without a token there is for this machine alone.
        found = [each for each in found if is_loopback(str(each[4][0]))]
        if not found:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    opened: list[socket.socket] = []
    try:
        for family, kind, protocol, _, where in dict.fromkeys(found):
            listening = socket.socket(family, kind, protocol)
            opened.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # "[::]:80" and "0.0.0.0:80" are two listeners; and no peer has two spellings.
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(where)
            listening.listen(BACKLOG)
            listening.setblocking(False)
    except OSError:
        for listening in opened:
            listening.close()
        raise
    return opened


def _open_unix_socket(path: Path) -> socket.socket:
    """Return a socket at `path`, which only its owner and group may connect to.

    A file that a process left behind is removed; one that somebody listens on is not.
    """
    _remove_stale_socket(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # By the mask, because a chmod afterwards would come too late for the first peers.
    former = os.umask(0o777 & ~UNIX_MODE)
    try:
        listening.bind(str(path))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(former)
    return listening


@dataclass(frozen=True, slots=True)
class SocketFile:
    """The file of a unix socket that we bound."""

    path: str
    inode: int

    @property
    def is_there(self) -> bool:
        """Return whether the path still leads to it."""
        try:
            return os.stat(self.path).st_ino == self.inode
        except OSError:
            return False

    def remove(self) -> None:
        """Remove it, unless the path is another's by now."""
        with contextlib.suppress(OSError):
            if self.is_there:
                os.unlink(self.path)


def socket_files(sockets: Iterable[socket.socket]) -> tuple[SocketFile, ...]:
    """Return the files of those that are unix sockets, to be removed in the end."""
    paths = [bound.getsockname() for bound in sockets if bound.family == socket.AF_UNIX]
    return tuple(SocketFile(path, os.stat(path).st_ino) for path in paths)


def _listens(bound: socket.socket) -> bool:
    """Return whether the system takes connections for it."""
    try:
        return bool(bound.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False


def _remove_stale_socket(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise AddressInUseError(errno.EADDRINUSE, "the path is taken by a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EINPROGRESS):
                raise
    raise AddressInUseError(errno.EADDRINUSE, "another process listens on the socket")
