"""Run services: so many at a time, the rest by turns, and bodies that are on their way within bounds.

A service runs as a task and to its end, also when its caller leaves: what it has begun to write is
written. So one whose caller has left still has its place. While all places are taken, requests wait
in a queue in which peers take turns (`gateway.clients.fair_queue`).

What is held of bodies that are not complete, and of requests that wait, has a bound that few peers
cannot fill: each may hold a part of what is left for all others.

What runs long (scrypt, RSA signatures) runs on threads of its own and has bounds of its own there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.clients.fair_queue import FairQueue
from gateway.reasons import Reason

if TYPE_CHECKING:
    from gateway.proxy.service_call import ServiceCall

MOST_RUNNING = 512
"""Half of them may be waiting for a slow secret to be checked (`gateway.clients.scrypt_worker`): the
other half is for everything else that a service answers."""
MOST_WAITING = 4096
HELD_BYTES = 32 * 1024 * 1024
PEERS_PART = 8
"""A peer may hold so great a part of what is free: one alone a ninth of all, and when forty have taken
all that they may, another one has room for a form of 32 KiB."""
CLOSE_TIMEOUT_S = 10.0
"""What runs when the process ends has so long to come to its end."""


class ServiceRunner:
    """The services that run, the requests that wait for one, and what is held for both."""

    __slots__ = ("_held", "_held_by_peer", "_is_closed", "_running", "_waiting")

    def __init__(self) -> None:
        self._running: dict[ServiceCall, asyncio.Task[None]] = {}
        self._waiting: FairQueue[ServiceCall] = FairQueue(MOST_WAITING)
        self._held = 0
        self._held_by_peer: dict[str, int] = {}
        self._is_closed = False

    @property
    def gauges(self) -> dict[str, int]:
        """Return the requests by state, in the words of an upstream's connections; none is ever idle."""
        return {"idle": 0, "active": len(self._running), "waiting": len(self._waiting)}

    @property
    def held_bytes(self) -> int:
        """Return how much is held of bodies."""
        return self._held

    def run(self, call: ServiceCall) -> None:
        """Run the service of `call` now or when it is its turn, or tell it that it has none."""
        if self._is_closed:
            call.has_no_turn(Reason.DRAINING, "the process is ending")
        elif len(self._running) < MOST_RUNNING:
            self._start(call)
        elif call.wait_for_turn():
            displaced = self._waiting.put(call.peer, call)
            if displaced is not None:
                displaced.has_no_turn(Reason.OVERLOADED, "the queue for the service is full")

    def forget(self, call: ServiceCall) -> None:
        """Let a request wait no longer; a service that runs goes on."""
        self._waiting.discard(call.peer, call)

    def hold(self, peer: str, size: int) -> bool:
        """Count what is held of a body of `peer`; return False when that is more than its part."""
        own = self._held_by_peer.get(peer, 0) + size
        if own * PEERS_PART > HELD_BYTES - self._held - size:
            return False
        self._held_by_peer[peer] = own
        self._held += size
        return True

    def let_go(self, peer: str, size: int) -> None:
        """Count what is held no longer."""
        self._held -= size
        own = self._held_by_peer.pop(peer, 0) - size
        if own > 0:
            self._held_by_peer[peer] = own

    async def close(self) -> None:
        """Start nothing more, and let what runs come to its end."""
        self._is_closed = True
        while (call := self._waiting.take()) is not None:
            call.has_no_turn(Reason.DRAINING, "the process is ending")
        tasks = list(self._running.values())
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_S)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    def _start(self, call: ServiceCall) -> None:
        self._running[call] = asyncio.get_running_loop().create_task(self._serve(call))

    async def _serve(self, call: ServiceCall) -> None:
        try:
            await call.respond()
        finally:
            del self._running[call]
            if not self._is_closed and (following := self._waiting.take()) is not None:
                self._start(following)
