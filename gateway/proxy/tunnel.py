"""Carry bytes both ways after an upstream has switched protocols.

A tunnel begins at the upstream's 101 and never earlier. It knows nothing of what is
spoken in it; it keeps what HTTP no longer does for it: back-pressure (through the two
connections), silence (`idle_timeout`), half-closes, and the permission it was opened
with. That is judged again several times per second, so a tunnel ends when its token
expires or is revoked, and when its route or its right is gone.

An end of the stream is passed on as one only when its sender said so: a FIN, or over TLS
a closure alert. Where what is spoken ends with the connection, a stream that was broken
off would look whole otherwise. Every other end is a reset: when a side breaks off (by a
reset itself, or over TLS without the alert), is silent for too long or may not go on.
Where a side broke off, what came from it before is still sent first, except over TLS;
what the kernel still holds then may be lost with the reset, as with nobody in between.

A WebSocket is told when this process goes away: `gateway.http1.websocket_frames` follows where
frames end, so that a close frame with 1001 can stand between two of them, masked towards the
upstream. What follows it from either side is not passed on; the tunnel ends when both have closed.

Imperfect: a unix socket knows no reset; its other end sees an end like any other. TLS as
it is done here cannot end one way only: the end of one side is then the end of both.

Sources: RFC 9110 7.8 (Upgrade), 9.3.6 (what the closed side sent is still delivered); RFC 9113 8.5
(a reset becomes a reset); RFC 8446 6.1; RFC 6455 5.5.1, 7.1.2, 7.4.1.
"""

from __future__ import annotations

import secrets
import socket
import struct
from time import perf_counter
from typing import TYPE_CHECKING

from gateway.http1.websocket_frames import GOING_AWAY, FrameReader, masked_going_away
from gateway.reasons import Reason

if TYPE_CHECKING:
    import asyncio

    from gateway.proxy.downstream import DownstreamConnection
    from gateway.proxy.relay import Relay
    from gateway.proxy.upstream import UpstreamConnection

_RESET_AT_ONCE = struct.pack("ii", 1, 0)


def reset_at_close(transport: asyncio.Transport) -> None:
    """Let the connection's end, when it comes, be a reset: what was sent must not look whole."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_ONCE)


class Tunnel:
    """One switched connection pair."""

    __slots__ = (
        "_caller_ended",
        "_caller_told",
        "_downstream",
        "_from_caller",
        "_from_upstream",
        "_goes_away",
        "_idle_timeout_s",
        "_relay",
        "_upstream",
        "_upstream_ended",
        "_upstream_told",
    )

    def __init__(
        self,
        relay: Relay,
        downstream: DownstreamConnection,
        upstream: UpstreamConnection,
        idle_timeout_s: float,
        *,
        is_websocket: bool,
    ) -> None:
        self._relay = relay
        self._downstream = downstream
        self._upstream = upstream
        self._idle_timeout_s = idle_timeout_s
        self._caller_ended = False
        self._upstream_ended = False
        self._from_caller = FrameReader() if is_websocket else None
        self._from_upstream = FrameReader() if is_websocket else None
        self._goes_away = False
        self._caller_told = False
        """It has had a close frame: nothing follows."""
        self._upstream_told = False
        downstream.gate.tunnels.add(self)
        downstream.answering(idle_timeout_s)  # also when it is unlimited: the time for the 101 is over

    def from_caller(self, data: bytes) -> None:
        """Send on what the caller sent."""
        self._relay.request_bytes += len(data)
        self._renew_deadline()
        frames = self._from_caller
        if self._goes_away and frames is not None:
            data, self._upstream_told = self._last_of(
                frames, data, self._upstream_told, masked_going_away(secrets.token_bytes(4))
            )
        elif frames is not None:
            frames.feed(data)
        if data:
            self._upstream.send_body(data)
        if self._goes_away:
            self._end_when_closed()

    def from_upstream(self, data: bytes) -> None:
        """Send on what the upstream sent."""
        self._relay.response_bytes += len(data)
        self._renew_deadline()
        frames = self._from_upstream
        if self._goes_away and frames is not None:
            data, self._caller_told = self._last_of(frames, data, self._caller_told, GOING_AWAY)
        elif frames is not None:
            frames.feed(data)
        if data:
            self._downstream.write(data)
        if self._goes_away:
            self._end_when_closed()

    # --- when this process goes away

    def go_away(self) -> None:
        """Say to both sides of a WebSocket that it ends (1001), between two frames; then await their word.

        Neither is sent anything behind a close frame. Other tunnels have no word for it, and go on.
        """
        down, up = self._from_upstream, self._from_caller
        if down is None or up is None or self._goes_away:
            return
        self._goes_away = True
        if down.is_between and not self._upstream_ended:
            if not down.closes:
                self._downstream.write(GOING_AWAY)
            self._caller_told = True
        if up.is_between and not self._caller_ended:
            if not up.closes:
                self._upstream.send_body(masked_going_away(secrets.token_bytes(4)))
            self._upstream_told = True
        self._end_when_closed()

    @staticmethod
    def _last_of(frames: FrameReader, data: bytes, told: bool, close: bytes) -> tuple[bytes, bool]:
        """Return what of `data` the other side is still sent, and whether it is told by now."""
        if told:
            frames.feed(data)
            return b"", True
        end = frames.next_end(data)
        if end < 0:
            return data, False
        last = data[:end] if frames.closes else data[:end] + close
        frames.feed(data[end:])
        return last, True

    def _end_when_closed(self) -> None:
        """End once both sides have answered the close frame, or ended without."""
        if self._have_both_closed:
            self.end(Reason.DRAINING.value, "")

    @property
    def _have_both_closed(self) -> bool:
        down, up = self._from_upstream, self._from_caller
        assert down is not None
        assert up is not None
        return (down.closes or self._upstream_ended) and (up.closes or self._caller_ended)

    def caller_ended(self) -> None:
        """The caller sends no more: let the upstream know, and end when it is done as well."""
        self._caller_ended = True
        if self._upstream_ended or not self._upstream.end_writing():
            self.end("", "")

    def upstream_ended(self) -> None:
        """The upstream sends no more: let the caller know, and end when it is done as well."""
        self._upstream_ended = True
        if self._caller_ended or not self._downstream.end_writing():
            self.end("", "")

    def caller_lost(self, reason: Reason) -> None:
        """The caller's connection is gone; when it had not ended, it broke off, or `reason` is why we cut it.

        Who had ended and is gone when an answer comes has said all the same what it had to say.
        """
        self.end("" if self._caller_ended and reason is Reason.CLIENT_CLOSED else reason.value, "")

    def upstream_lost(self) -> None:
        """The upstream's connection is gone; when it had not ended, it broke off."""
        self.end("" if self._upstream_ended else Reason.UPSTREAM_RESET.value, "")

    def judge_again(self, now: float) -> None:
        """End, unless the request that opened the tunnel would still be let through.

        Args:
            now: Wall-clock seconds since the epoch.
        """
        decision = self._relay.judge_again(now)
        if decision is not None:
            self.end(decision.reason.value, "the permission for the tunnel has ended")

    def struck(self) -> None:
        """End: whether it may go on cannot be judged for a mistake of ours. Never raises."""
        self._relay.struck()

    def end(self, reason: str, detail: str) -> None:
        """Close both sides and record the request; what is buffered is still sent.

        Not to an upstream when the permission is gone, or when it was silent or broke off.

        Args:
            reason: A word of the closed list, or nothing when it ended by itself; `draining` when this
                process goes away: in order when both sides took leave, else what is left is cut.
            detail: For the log.
        """
        gate = self._downstream.gate
        gate.tunnels.discard(self)
        in_order = not reason or (reason == Reason.DRAINING and self._goes_away and self._have_both_closed)
        if in_order or reason == Reason.CLIENT_CLOSED:
            self._upstream.close_after_write(gate.leaving, in_order=in_order)
        else:
            self._upstream.cut()
        self._relay.tunnel_ended(reason, detail)
        self._downstream.close_after_write(in_order=in_order or self._upstream_ended)

    def _renew_deadline(self) -> None:
        if self._idle_timeout_s:
            self._downstream.deadline = perf_counter() + self._idle_timeout_s
