"""Decide whose login is compared, have it compared, and remember how it ended.

For one attempt of a peer to be a client, in this order:

1. Has this peer failed too often for this client (`limits.auth_failures`), nothing is
   compared. For a client that was proven from there within a day, failures with secrets
   and with assertions count apart: junk of one kind does not close the other.
2. Has it failed too often for all clients together, its address is closed to strangers.
   A client that was proven from there within a day is compared all the same, until its
   own failures are used up: who shares an address with a guesser is not locked out.
3. The secret or assertion is compared. What is learned from that, and by whom, is in
   `gateway.clients.authenticate` and `gateway.issuer.assertions`.

At a closed address every failure has one answer, the 429 that nobody there escapes, and so
has every failure of a client that is closed to strangers there. Whoever is not known at a
closed address is compared like a client that does not exist. No scrypt is computed there, but
for a known client's secrets that were never shown to this process (it is the only sign, to
its neighbours alone, that such a client exists).

The failures of all processes are added up (`SharedCounters`); who is known is each
process's own: after a start callers are strangers until their first login.

Sources: RFC 6749 2.3.1, RFC 6585 4.
"""

import logging
import math
from dataclasses import dataclass, replace
from types import MappingProxyType

from gateway.clients.assertions import Assertion
from gateway.clients.authenticate import (
    AuthFailure,
    PresentedSecret,
    ProvenClient,
    ScryptChecker,
    authenticate,
)
from gateway.clients.known_callers import KnownCallers
from gateway.clients.registry import Registry
from gateway.clients.throttle import FailureThrottle
from gateway.issuer.assertions import Caller, prove_client
from gateway.issuer.context import IssuerContext
from gateway.issuer.snapshot import IssuerSnapshot
from gateway.policy.peers import peer_group
from gateway.settings.model import Rate
from gateway.state.interface import StateUnavailableError

SLOWED_DOWN = "slowed_down"
"""Why a login is not looked at: a peer was wrong too often. A word of metrics and logs."""

_log = logging.getLogger("gateway.issuer")


@dataclass(frozen=True, slots=True)
class SlowedDown:
    """The peer has failed too often."""

    retry_after_s: int


def claimed_client(proof: PresentedSecret | Assertion) -> str:
    """Return the id of the client that an attempt counts for.

    An assertion counts for whom it names, whether or not the form says so, too.
    """
    return proof.issuer if isinstance(proof, Assertion) else proof.client_id


def kind_of(proof: PresentedSecret | Assertion) -> str:
    """Return the kind of proof whose failures are counted together."""
    return "assertion" if isinstance(proof, Assertion) else "secret"


class Logins:
    """The attempts at one process. Not thread-safe: the event loop's own."""

    __slots__ = ("_context", "_emptied", "_known", "_registry", "_throttle")

    def __init__(self, context: IssuerContext) -> None:
        self._context = context
        self._throttle = FailureThrottle()
        self._known = KnownCallers()
        self._registry: Registry | None = None
        """The one that what is remembered of secrets fits to."""
        self._emptied: tuple[IssuerSnapshot, IssuerSnapshot] | None = None
        """A configuration, and the same without clients: made once, or the time would tell for whom."""

    async def prove(
        self, proof: PresentedSecret | Assertion, snapshot: IssuerSnapshot, caller: Caller
    ) -> ProvenClient | AuthFailure | SlowedDown:
        """Return the client that `proof` proves, or why not.

        Args:
            proof: A secret or a client assertion, nothing of it verified.
            snapshot: The current configuration.
            caller: Who asks, and when.

        Raises:
            OverloadedError: Too many logins wait; nothing was computed.
        """
        client_id = claimed_client(proof)
        peer, rate, now = peer_group(caller.peer), snapshot.auth_failures, self._context.stopwatch()
        of_pair_s, of_peer_s = self._throttle.waits_s(peer, client_id, rate, now)
        kind = kind_of(proof) if self._known.includes(peer, client_id, now) else None
        own_s = of_pair_s
        if kind is not None:
            own_s = self._throttle.kind_wait_s(peer, client_id, kind, rate, now)
        if own_s:
            return SlowedDown(math.ceil(of_pair_s or own_s))
        strangers_wait_s = of_pair_s or of_peer_s
        is_known, is_closed = kind is not None, bool(strangers_wait_s)
        if is_closed and not is_known:
            snapshot = self._without_clients(snapshot)
        scrypt = self._choose_scrypt(client_id, snapshot, is_known=is_known, is_closed=is_closed)
        if isinstance(proof, Assertion):
            proven = await prove_client(proof, snapshot, self._context, caller)
        else:
            proven = await authenticate(proof, snapshot.registry, scrypt, peer=peer)
        if isinstance(proven, ProvenClient):
            self._known.note(peer, proven.client.id, self._context.stopwatch())
        elif is_closed and proven.is_guess:
            if is_known:
                self._throttle.count(peer, client_id, rate, self._context.stopwatch(), kind=kind)
            return SlowedDown(math.ceil(strangers_wait_s))
        elif proven.is_guess:
            await self._count_failure(peer, client_id, rate, kind)
        return proven

    def _choose_scrypt(
        self, client_id: str, snapshot: IssuerSnapshot, *, is_known: bool, is_closed: bool
    ) -> ScryptChecker:
        worker = self._context.scrypt
        if self._registry is not snapshot.registry and not is_closed:
            self._registry = snapshot.registry
            worker.keep_only(snapshot.registry.scrypt_secrets)
        return worker.reserved_for(client_id, sparing=is_closed) if is_known or is_closed else worker

    def _without_clients(self, snapshot: IssuerSnapshot) -> IssuerSnapshot:
        """Return a configuration in which nobody is a client, and failures cost what they do in this one."""
        if self._emptied is None or self._emptied[0] is not snapshot:
            registry = replace(snapshot.registry, clients=MappingProxyType({}))
            self._emptied = snapshot, replace(snapshot, registry=registry)
        return self._emptied[1]

    async def _count_failure(self, peer: str, client_id: str, rate: Rate, kind: str | None) -> None:
        """Count a guess here, and everywhere else if the processes share a store that answers."""
        stopwatch, counters = self._context.stopwatch, self._context.counters
        for counted in self._throttle.count(peer, client_id, rate, stopwatch(), kind=kind):
            if counters is None:
                continue
            try:
                failures, ends_in_s = await counters.count(counted.key, counted.window_s)
            except StateUnavailableError as error:
                _log.warning("failures are counted by this process alone: %s", error)
                return
            self._throttle.learn(counted, failures, ends_in_s, stopwatch())
