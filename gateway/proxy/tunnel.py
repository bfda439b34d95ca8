"""Carry bytes both ways after an upstream has switched protocols.

A tunnel begins at the upstream's 101 and never earlier. It knows nothing of what is
spoken in it; it keeps what HTTP no longer does for it: back-pressure (through the two
connections), silence (`idle_timeout`), half-closes, and the permission it was opened
with. That is judged again several times per second, so a tunnel ends when its token
expires or is revoked, and when its route or its right is gone.

Sources: RFC 9110 7.8 (Upgrade).
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.proxy.downstream import DownstreamConnection
    from gateway.proxy.relay import Relay
    from gateway.proxy.upstream import UpstreamConnection


class Tunnel:
    """One switched connection pair."""

    __slots__ = ("_caller_ended", "_downstream", "_idle_timeout_s", "_relay", "_upstream", "_upstream_ended")

    def __init__(
        self,
        relay: Relay,
        downstream: DownstreamConnection,
        upstream: UpstreamConnection,
        idle_timeout_s: float,
    ) -> None:
        self._relay = relay
        self._downstream = downstream
        self._upstream = upstream
        self._idle_timeout_s = idle_timeout_s
        self._caller_ended = False
        self._upstream_ended = False
        downstream.gate.tunnels.add(self)
        downstream.answering(idle_timeout_s)  # also when it is unlimited: the time for the 101 is over

    def from_caller(self, data: bytes) -> None:
        """Send on what the caller sent."""
        self._relay.request_bytes += len(data)
        self._upstream.send_body(data)
        self._renew_deadline()

    def from_upstream(self, data: bytes) -> None:
        """Send on what the upstream sent."""
        self._relay.response_bytes += len(data)
        self._downstream.write(data)
        self._renew_deadline()

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

    def judge_again(self, now: float) -> None:
        """End, unless the request that opened the tunnel would still be let through.

        Args:
            now: Wall-clock seconds since the epoch.
        """
        decision = self._relay.judge_again(now)
        if decision is not None:
            self.end(decision.reason.value, "the permission for the tunnel has ended")

    def end(self, reason: str, detail: str) -> None:
        """Close both sides and record the request; what is buffered is still sent.

        Not to an upstream when the permission is gone, or when it was silent or broke off.

        Args:
            reason: A word of the closed list, or nothing when it ended by itself.
            detail: For the log.
        """
        self._downstream.gate.tunnels.discard(self)
        if reason:
            self._upstream.abandon()
        else:
            self._upstream.close_after_write()
        self._relay.tunnel_ended(reason, detail)
        self._downstream.close_after_write()

    def _renew_deadline(self) -> None:
        if self._idle_timeout_s:
            self._downstream.deadline = perf_counter() + self._idle_timeout_s
