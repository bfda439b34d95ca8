"""Speak HTTP/1.1 as a client on one connection to a target, for one request at a time.

The theory of it: an answer head is read when it is complete
(`gateway.http1.response`); the body behind it is counted or, when it is chunked, read
by `gateway.http1.chunked`, and handed on piece by piece as it comes. The connection
goes back to the pool exactly when the answer ended where its framing said, nothing
follows, the request was sent whole, and both sides keep the connection. Everything
else closes it; bytes that nobody asked for close it too, when they are seen before the
next request is sent. Behind an answer without content, where upstreams err (a body to
HEAD, in a 304), the pool looks for them first. What comes later cannot be told from
an answer: an upstream that sends more than it announced can spoil its own next answer.

A connection whose tunnel has ended is leaving: what is buffered for it is still sent, and
what it says meanwhile is read over, for an unread byte would make our close a reset that
takes what it has not read yet. It has a deadline and a limit for that; the gate keeps it.

A mistake of ours ends the one request it strikes, as `internal` (`_struck`): whatever raises
in a callback, the connection is given back or closed, and no target is blamed for it.

It does not decide about retries or about what the caller sees: that is
`gateway.proxy.relay`.

Sources: RFC 9112 6.3, 9.3; RFC 9110 15.2 (1xx).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import socket
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, cast

from gateway.http1.chunked import ChunkedReader, ChunkError
from gateway.http1.response import RESET_CONTENT, BadResponse, ResponseHead, body_length
from gateway.proxy.last_words import read_last_words
from gateway.proxy.tunnel import reset_at_close
from gateway.reasons import Reason

if TYPE_CHECKING:
    from gateway.proxy.pool import TargetState, UpstreamPool
    from gateway.proxy.relay import Relay

_log = logging.getLogger(__name__)

HEAD_LIMIT_BYTES = 64 * 1024
INTERIM_LIMIT = 16
"""1xx heads before a final one; more are an attempt to keep us busy."""

LEAVE_CHECK_S = 30.0
"""An upstream that took nothing for this long of what a tunnel left behind is cut off; so is one
that has taken all of it and does not close."""
LEAVE_LIMIT_S = 2.0
"""One that has taken everything gets this long to close: it holds a place among `max_connections`."""
LEAVE_LIMIT_BYTES = 4 * 1024 * 1024
"""So much of what it says meanwhile is read over."""

_AWAIT_HEAD, _COUNTED, _CHUNKED, _UNTIL_CLOSE, _TUNNEL, _LEAVING = range(6)


class UpstreamConnection(asyncio.Protocol):
    """One connection to one target."""

    __slots__ = (
        "_backlog",
        "_chunks",
        "_forbids_content",
        "_held",
        "_interim_count",
        "_leaving",
        "_mode",
        "_relay",
        "_remaining",
        "_reusable",
        "_saw_end",
        "_second_hold",
        "_sent_body",
        "_transport",
        "deadline",
        "had_no_content",
        "idle_since",
        "is_closed",
        "is_counted",
        "is_lent",
        "is_paused",
        "is_retired",
        "is_struck",
        "pool",
        "requests",
        "target",
    )

    def __init__(self, pool: UpstreamPool, target: TargetState) -> None:
        self.pool = pool
        self.target = target
        self.idle_since = 0.0
        self.had_no_content = False
        """Its last answer had none: if the upstream thinks otherwise, the content is on its way."""
        self.requests = 0
        """Requests sent on it: more than one means that it was kept alive."""
        self.is_closed = False
        self.is_counted = False
        """It is one of those that `max_connections` limits."""
        self.is_lent = False
        """A request has it: it is one of its target's `active`."""
        self.is_paused = False
        self.is_retired = False
        """It will carry no further request."""
        self.is_struck = False
        """A mistake of ours struck it: what becomes of it says nothing of its target."""
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set by connection_made
        self._relay: Relay | None = None
        self._mode = _AWAIT_HEAD
        self._held = b""
        self._remaining = 0
        self._chunks: ChunkedReader | None = None
        self._forbids_content = False
        self._reusable = False
        self._saw_end = False
        """The other side said that it is done; over TLS, by TLS's own word for it."""
        self._interim_count = 0
        self._sent_body = False
        """More was sent than the first bytes of the request in flight, so they have left."""
        self._second_hold: socket.socket | None = None
        """The same socket once more, where the transport lets go of it before we hear of its end."""
        self._leaving: set[UpstreamConnection] | None = None
        """Where the gate keeps it while it is leaving."""
        self._backlog = 0
        """While it is leaving: what it had not taken when that was last looked at."""
        self.deadline = inf
        """Monotonic seconds; while it is leaving, `expire` is called when it has passed."""

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast(asyncio.Transport, transport)
        self.is_counted = True
        try:
            self.pool.stands(self)
        except Exception:
            self._struck(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request in flight, if any, that no more will come."""
        self.is_closed = True
        if self._leaving is not None:
            self._leaving.discard(self)
        relay = self._relay
        clean = exc is None
        try:
            if relay is not None and not clean and (self._sent_body or self.requests == 1):
                clean = self._take_last_words(exc)
                relay = self._relay
            if self._second_hold is not None:
                self._let_go(self._second_hold)
            self._relay = None
            if relay is not None:
                self.pool.discard(self)
            self.pool.lost(self)
            if relay is not None:
                self._end_by_close(relay, clean=clean)
        except Exception:
            self._struck(relay)

    def _take_last_words(self, exc: Exception | None) -> bool:
        """Take what the upstream said before a write to it failed; return whether it had said all.

        An upstream that does not want an upload answers, and closes with the rest unread: the write
        that fails then is no word about the answer, which lies in the socket. Not on a kept
        connection that failed at once: what lies there came before the request, and is no answer.
        """
        sock = self._second_hold or self._transport.get_extra_info("socket")
        if sock is None:
            return False
        for data in read_last_words(sock, self._transport):
            if not data:
                # A broken pipe: an end came, and only what we sent behind it was answered by a reset.
                self._saw_end = isinstance(exc, BrokenPipeError)
                return self._saw_end
            self.data_received(data)
            if self._relay is None:
                break
        return False

    def _let_go(self, hold: socket.socket) -> None:
        hold.close()
        self._second_hold = None

    def eof_received(self) -> bool:
        """Close: an upstream that has finished sending has finished. In a tunnel it only sends no more."""
        self._saw_end = True
        relay = self._relay
        try:
            if self._mode == _TUNNEL and relay is not None and relay.tunnel is not None:
                relay.tunnel.upstream_ended()
                return not self.is_closed and self._transport.can_write_eof()
            if relay is None:
                self.pool.drop_idle(self)
        except Exception:
            self._struck(relay)
        return False

    def pause_writing(self) -> None:
        """Stop reading the request body while the upstream does not take it."""
        self._upstream_blocked(blocked=True)

    def resume_writing(self) -> None:
        """Read on."""
        self._upstream_blocked(blocked=False)

    def _upstream_blocked(self, *, blocked: bool) -> None:
        relay = self._relay
        if relay is not None:
            try:
                relay.upstream_blocked(blocked=blocked)
            except Exception:
                self._struck(relay)

    def data_received(self, data: bytes) -> None:
        """Take bytes of an answer."""
        relay = self._relay
        try:
            if relay is None:
                self._take_unasked(data)
                return
            mode = self._mode
            if mode == _AWAIT_HEAD:
                self._read_head(relay, data)
            elif mode == _COUNTED:
                excess = len(data) - self._remaining
                if excess < 0:
                    self._remaining = -excess
                    relay.body_received(data)
                else:
                    self._end(relay, data[: self._remaining] if excess else data, clean=not excess)
            elif mode == _CHUNKED:
                self._read_chunks(relay, data)
            elif mode == _TUNNEL and relay.tunnel is not None:
                relay.tunnel.from_upstream(data)
            elif self._forbids_content:
                self._fail(relay, "content in an answer that has none")
            else:
                relay.body_received(data)
        except Exception:
            self._struck(relay)

    def _take_unasked(self, data: bytes) -> None:
        if self._mode == _LEAVING:
            self._drop(data)
        else:
            self.pool.drop_idle(self)
            self.close()  # nobody asked: never keep it for the next request

    def _struck(self, relay: Relay | None) -> None:
        """End the one request that the exception being handled struck; give back what it borrowed.

        The rescue point of this side. The request is the one whose callback it was, also when the
        connection had gone back to the pool by then; if it carries another one already, that goes on.
        """
        _log.exception("an answer failed inside the gateway")
        if self._relay is None or self._relay is relay:
            self._relay = None
            self.is_struck = True
            self.pool.struck(self)
            self.close()
        if relay is not None:
            relay.struck()

    # --- called by the relay

    def send(self, relay: Relay, data: bytes) -> None:
        """Send the first bytes of a request, at least its whole head."""
        self._relay = relay
        self._mode = _AWAIT_HEAD
        self._reusable = True
        self._interim_count = 0
        self._sent_body = False
        self.requests += 1
        self._transport.write(data)

    def send_body(self, data: bytes) -> None:
        """Send more of the request's body, or of a tunnel."""
        if not self._sent_body:
            self._sent_body = True
            if self._mode != _TUNNEL and not self._transport.can_write_eof():
                self._hold_twice()
        self._transport.write(data)

    def _hold_twice(self) -> None:
        """Keep the socket of an upload over TLS: its transport closes it before it tells us of the end."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            with contextlib.suppress(OSError):  # no descriptor left: then without
                self._second_hold = socket.fromfd(sock.fileno(), sock.family, sock.type)
                self._second_hold.setblocking(False)

    def end_writing(self) -> bool:
        """Tell the upstream that nothing more will come; return False where that closes both ways (TLS)."""
        if self.is_closed or not self._transport.can_write_eof():
            return False
        self._transport.write_eof()
        return True

    def pause_reading(self) -> None:
        """Read no more until the caller takes what is there."""
        self.is_paused = True
        if not self.is_closed and self._relay is not None:  # never one that goes back to the pool
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self.is_paused = False
        if not self.is_closed:
            self._transport.resume_reading()

    def carries(self, relay: Relay) -> bool:
        """Return whether the request of `relay` is the one in flight here."""
        return self._relay is relay

    def abandon(self) -> None:
        """Give up the request in flight: nothing of it may be taken for an answer to another."""
        if self._relay is not None:
            self._relay = None
            self.pool.discard(self)
        self.close()

    def cut(self) -> None:
        """Give up the tunnel: what was sent must not look whole."""
        if not self.is_closed:
            reset_at_close(self._transport)
        self.abandon()

    def close_after_write(self, leaving: set[UpstreamConnection], *, in_order: bool) -> None:
        """End a tunnel whose caller is gone: what is buffered is still sent.

        Args:
            leaving: Where it is kept until it is closed; whoever keeps it calls `expire`.
            in_order: The caller had said all it had to say. Otherwise a reset ends the connection;
                over TLS at once, because a close that sends what is there also says that it is all.
        """
        if self._relay is not None:
            self._relay = None
            self.pool.discard(self)
        self.is_retired = True
        self._mode = _LEAVING
        if self.is_closed:
            return
        half_closes = self._transport.can_write_eof()
        if not in_order and not half_closes:
            self.cut()
            return
        self._backlog = self.write_buffer_bytes
        self.deadline = perf_counter() + (LEAVE_CHECK_S if self._backlog else LEAVE_LIMIT_S)
        self._remaining = LEAVE_LIMIT_BYTES
        self._leaving = leaving
        leaving.add(self)
        if in_order and half_closes and not self._saw_end:
            self._transport.write_eof()
            self.resume_reading()
        else:
            if not in_order:
                reset_at_close(self._transport)
            self._transport.close()  # TLS reads over what comes, for 30 s, until all is sent

    @property
    def only_lingers(self) -> bool:
        """Return whether it waits for nothing but the upstream's end: what was left has been taken."""
        return self._mode == _LEAVING and not self.is_closed and not self.write_buffer_bytes

    def expire(self, monotonic_now: float) -> None:
        """Stop leaving at the deadline, unless something of what was left has been taken since the last."""
        backlog = self.write_buffer_bytes
        if backlog < self._backlog:
            self._backlog = backlog
            self.deadline = monotonic_now + (LEAVE_CHECK_S if backlog else LEAVE_LIMIT_S)
        else:
            self.stop_leaving()

    def stop_leaving(self) -> None:
        """Close at once, with a reset when something was left to send."""
        if self.write_buffer_bytes:
            self.cut()
        else:
            self.close()

    def _drop(self, data: bytes) -> None:
        self._remaining -= len(data)
        if self._remaining < 0:
            self.stop_leaving()

    def close(self) -> None:
        """Close at once; a peer that does not read cannot hold it open."""
        self.is_retired = True
        if not self.is_closed and self._transport is not None:
            self._transport.abort()

    @property
    def looks_closed(self) -> bool:
        """Return whether an idle connection has something to read: its end, or bytes nobody asked for."""
        sock = None if self.is_closed else self._transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    @property
    def peer_host(self) -> str:
        """Return the target's address, or nothing when it has none."""
        peername = self._transport.get_extra_info("peername")
        return peername[0] if isinstance(peername, tuple) else ""

    @property
    def write_buffer_bytes(self) -> int:
        """Return how much of the request the upstream has not taken yet."""
        return 0 if self.is_closed else self._transport.get_write_buffer_size()

    # --- reading the answer

    def _read_head(self, relay: Relay, data: bytes) -> None:
        if self._held:
            data = self._held + data
            self._held = b""
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0 or end > HEAD_LIMIT_BYTES:
                if len(data) > HEAD_LIMIT_BYTES:
                    self._fail(relay, "the answer's head is too long")
                else:
                    self._held = data
                return
            end += 4
            head = relay.gate.responses.read(data[:end])
            if isinstance(head, BadResponse):
                self._fail(relay, head.detail)
                return
            data = data[end:]
            if head.status >= 200:
                self._begin_body(relay, head, data)
                return
            self._interim_count += 1
            if head.status == 101 and relay.may_switch(head):
                self._mode = _TUNNEL
                relay.switched(head, data)
                return
            if head.status == 101 or self._interim_count > INTERIM_LIMIT:
                self._fail(relay, "an interim answer that nobody asked for")
                return
            relay.interim_received(head)
            if not data:
                return

    def _begin_body(self, relay: Relay, head: ResponseHead, data: bytes) -> None:
        self._reusable = head.reusable
        if self.target.is_watched or head.status >= 500:
            self.pool.answered(self.target, head.status, self)
        length = body_length(head, request_method=relay.method)
        if length is not None:
            excess = len(data) - length
            self.had_no_content = not length
            if not excess:
                self._relay = None
                clean = self._reusable
                relay.head_received(head, data, complete=True)
                self._leave(clean=clean and relay.body_sent)
                relay.finished()
                return
            if excess > 0:
                # A second head, or a body where none may be: nothing of it is believed (RFC 9112 6.3).
                self._fail(relay, "more came than belongs to the answer")
                return
            self._mode = _COUNTED
            self._remaining = -excess
            relay.head_received(head, data, complete=False)
            return
        self._forbids_content = head.status == RESET_CONTENT
        if head.chunked:
            self._mode = _CHUNKED
            self._chunks = ChunkedReader()
            relay.head_received(head, b"", complete=False)
            if data:
                self._read_chunks(relay, data)
            return
        if data and self._forbids_content:
            self._fail(relay, "content in an answer that has none")
            return
        self._mode = _UNTIL_CLOSE
        self._reusable = False
        relay.head_received(head, data, complete=False)

    def _read_chunks(self, relay: Relay, data: bytes) -> None:
        chunks = self._chunks
        assert chunks is not None
        try:
            pieces = chunks.feed(data)
        except ChunkError:
            self._fail(relay, "the chunked coding is malformed")
            return
        if chunks.is_behind:
            # A read full of tiny chunks: let the others have their turn before the next of them.
            self.pause_reading()
            asyncio.get_running_loop().call_soon(self._catch_up, relay)
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if body and self._forbids_content:
            self._fail(relay, "content in an answer that has none")
        elif chunks.done:
            self._chunks = None
            self._end(relay, body, clean=not chunks.rest, trailers=chunks.trailers)
        elif body:
            relay.body_received(body)

    def _catch_up(self, relay: Relay) -> None:
        if self._relay is not relay or self._chunks is None:
            return  # it was abandoned meanwhile
        try:
            if not relay.is_downstream_blocked:
                self.resume_reading()
            self._read_chunks(relay, b"")
        except Exception:
            self._struck(relay)

    def _end(self, relay: Relay, data: bytes, *, clean: bool, trailers: bytes = b"") -> None:
        """End the answer where its framing says it ends."""
        self._relay = None
        clean = clean and self._reusable
        relay.body_ended(data, trailers)
        self._leave(clean=clean and relay.body_sent)
        relay.finished()

    def _leave(self, *, clean: bool) -> None:
        if self._second_hold is not None:
            self._let_go(self._second_hold)
        if clean and not self.is_closed:
            if self.is_paused:
                self.resume_reading()  # the caller's slowness is not the next one's
            self.pool.release(self)
        else:
            self.pool.discard(self)
            self.close()

    def _end_by_close(self, relay: Relay, *, clean: bool) -> None:
        if self._mode == _TUNNEL:
            if relay.tunnel is not None:
                relay.tunnel.upstream_lost()
        elif self._mode == _UNTIL_CLOSE and clean and self._saw_end:
            # RFC 9112 9.8: without a closure alert, anybody on the way may have ended it.
            relay.body_ended(b"")
            relay.finished()
        elif self._mode == _AWAIT_HEAD:
            began = bool(self._held) or self._interim_count > 0
            if began or self.requests == 1:  # else it may have been closed for having been idle
                self.pool.failed(self.target, "closed before the answer's head", self)
            relay.closed_before_head(began=began)
        else:
            self.pool.failed(self.target, "broke off an answer", self)
            relay.broken(Reason.UPSTREAM_RESET, "the answer ended before its end")

    def _fail(self, relay: Relay, detail: str) -> None:
        self._relay = None
        self.pool.discard(self)
        self.close()
        self.pool.failed(self.target, detail, self)
        relay.broken(Reason.UPSTREAM_PROTOCOL, detail)
