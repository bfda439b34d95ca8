"""Hold what all connections of the data plane share, and nothing of any one request.

Four kinds of state meet here: the snapshot (immutable, swapped by one assignment),
the pools (keyed by upstream and target, kept across swaps), the open connections, and
small process-wide values such as the pseudonym in Via. The composition root makes one
gate, gives it listeners and calls `sweep` a few times per second.

Sources: RFC 9110 7.6.3 (Via), 10.1.1 (Expect), 6.6.1 (Date); RFC 7239 7.4.
"""

from __future__ import annotations

import logging
import random
import secrets
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial
from time import perf_counter, time
from types import MappingProxyType

from gateway.enforce.challenge import refusal_for
from gateway.enforce.enforcer import Enforcer
from gateway.enforce.judge import CallerFacts, Judge
from gateway.enforce.verdict import Permit, Refused, Verdict
from gateway.http1.claim_fields import ClaimFields, claim_fields_of
from gateway.http1.dropped_fields import spelled_alike
from gateway.http1.forwarding_rules import ForwardingRules
from gateway.http1.request import FieldBlock, RequestReader
from gateway.http1.response import ResponseReader
from gateway.observe.exchange import Exchange
from gateway.policy.model import Decision
from gateway.policy.peers import Networks
from gateway.policy.rate_limits import RouteLimit
from gateway.proxy.admission import CONNECTIONS_PER_PEER, LINGERING, Admission
from gateway.proxy.downstream import DownstreamConnection
from gateway.proxy.isolation import act_on_each
from gateway.proxy.pool import PoolSettings, UpstreamPool
from gateway.proxy.service_runner import ServiceRunner
from gateway.proxy.targets import AttemptFailure, UpstreamTls, opener_for
from gateway.proxy.told_claims import ToldClaims
from gateway.proxy.tunnel import Tunnel
from gateway.proxy.upstream import UpstreamConnection
from gateway.reasons import Reason
from gateway.services import Service
from gateway.settings.model import Forwarded, LimitSettings, UpstreamSettings

_log = logging.getLogger(__name__)

SWEEP_INTERVAL_S = 0.25
ID_BATCH = 256


@dataclass(frozen=True, slots=True)
class ListenerInfo:
    """What a connection must know of the listener it came through."""

    name: str
    serves: int
    """`SERVES_ISSUER`, `SERVES_GATE` (of `gateway.enforce.enforcer`), or both added."""
    scheme: str = "http"
    in_steps: bool = False
    """A PROXY header or a handshake comes before a connection is the gate's."""
    asks_certificate: bool = False
    """Callers may or must show a certificate, which the handshake has verified."""


@dataclass(frozen=True, slots=True, eq=False)
class UpstreamPlan:
    """One upstream as a snapshot sees it: its pool, and how requests to it are written."""

    name: str
    pool: UpstreamPool
    rules: ForwardingRules
    trusted_rules: ForwardingRules
    identity_headers: bool
    forwarded_rfc7239: bool
    response_timeout_s: float
    idle_timeout_s: float
    retries: int
    claim_fields: ClaimFields | None = None
    """None where the upstream is told no claims."""


@dataclass(frozen=True, slots=True, eq=False)
class GateSnapshot:
    """One compiled configuration as the data plane sees it."""

    enforcer: Enforcer
    plans: Mapping[str, UpstreamPlan]
    limits: LimitSettings
    trusted_networks: Networks
    route_limits: Mapping[str, RouteLimit] = field(default_factory=lambda: MappingProxyType({}))
    """By the route's name."""


@dataclass(eq=False)
class Gate:
    """The data plane's shared state."""

    record: Callable[[Exchange], None]
    """Takes the record of each finished request; must not block."""
    service: Service
    """Answers what is the issuer's."""
    service_runner: ServiceRunner = field(default_factory=ServiceRunner)
    snapshot: GateSnapshot = field(init=False)
    """Set by `take`, which must be called before anything is accepted."""
    pools: dict[str, UpstreamPool] = field(default_factory=dict)
    connections: set[DownstreamConnection] = field(default_factory=set)
    arriving: int = 0
    """Connections that listeners accepted and that are not ours yet: handshakes go on."""
    admission: Admission = field(default_factory=Admission)
    claims: ToldClaims = field(default_factory=ToldClaims)
    tunnels: set[Tunnel] = field(default_factory=set)
    leaving: set[UpstreamConnection] = field(default_factory=set)
    """Connections to upstreams that still take what a tunnel left behind."""
    stopping: bool = False
    """The process was told to stop: every answer from now on is the last of its connection."""
    draining: bool = False
    """And nothing is accepted any more."""
    judge: Judge = field(init=False)
    """Of the snapshot."""
    reader: RequestReader = field(init=False)
    responses: ResponseReader = field(default_factory=ResponseReader)
    limits: LimitSettings = field(init=False)
    date_line: bytes = field(init=False)

    def __post_init__(self) -> None:
        """Choose this process's name in Via and start its sequence of request ids."""
        self.limits = LimitSettings()
        self.longest_head_bytes = self.limits.header_bytes
        self.reader = RequestReader(max_fields=self.limits.header_count)
        self.pseudonym = f"sidegate-{secrets.token_hex(4)}".encode("ascii")
        self.via_lines = tuple(b"Via: 1.%d %b\r\n" % (minor, self.pseudonym) for minor in (0, 1))
        self.via_and_request_id = self.via_lines[1] + b"X-Request-Id: "
        self._failed_attempts: Counter[tuple[str, AttemptFailure]] = Counter()
        self._pools_seen: dict[str, UpstreamPool] = {}
        """Those that requests may have used; one that is none of `pools` any more is removed."""
        self._judged_by = Networks()
        """The `trusted_proxies` that decided which peers of open connections are believed."""
        self._ids: list[bytes] = []
        # An id has to be unlike others, not hard to guess; the kernel's generator costs 2 µs for each.
        self._random = random.Random(secrets.randbits(256))  # noqa: S311
        self._refresh_date()

    # --- snapshot

    def take(self, snapshot: GateSnapshot, pools: Mapping[str, UpstreamPool]) -> Callable[[], None]:
        """Use `snapshot` from the next request on, and return the way back to the former.

        No connection notices before `settle` is called.

        Args:
            snapshot: The compiled configuration.
            pools: Of all its upstreams, by name.
        """
        reader = self.reader
        if snapshot.limits.header_count != self.limits.header_count:
            reader = RequestReader(max_fields=snapshot.limits.header_count)
        former = getattr(self, "snapshot", snapshot)
        way_back = partial(self._work_by, former, self.pools, self.reader, self.limits)
        self._work_by(snapshot, dict(pools), reader, snapshot.limits)
        return way_back

    def _work_by(
        self,
        snapshot: GateSnapshot,
        pools: dict[str, UpstreamPool],
        reader: RequestReader,
        limits: LimitSettings,
    ) -> None:
        self.snapshot = snapshot
        self.pools = pools
        self.reader = reader
        self.limits = limits
        self.longest_head_bytes = limits.header_bytes or sys.maxsize
        self.judge = Judge(
            snapshot.enforcer,
            body_bytes=limits.body_bytes,
            own_name=self.pseudonym,
            shedding=self.admission.shedding,
            peer_of=self.peer_of,
            keep=reader.keep,
        )

    def settle(self) -> None:
        """After `take`, when all of the process works by the new configuration: let connections notice."""
        if self.snapshot.trusted_networks != self._judged_by:
            self._judged_by = self.snapshot.trusted_networks
            act_on_each(list(self.connections), lambda connection: connection.judge_peer())
        self.admission.forget_forwarded()
        for name in [name for name, pool in self._pools_seen.items() if self.pools.get(name) is not pool]:
            self._pools_seen.pop(name).remove()
        self._pools_seen |= self.pools
        act_on_each(list(self.pools.values()), UpstreamPool.settle)

    def new_pool(self, name: str) -> UpstreamPool:
        """Return a pool for the upstream `name`, which nobody uses before it is taken."""
        return UpstreamPool(name, stopwatch=perf_counter, failures=self._failed_attempts)

    # --- connections

    def accept(
        self,
        listener: ListenerInfo,
        peer: str | None = None,
        *,
        believes: bool = True,
        arrived: Callable[[], None] | None = None,
    ) -> DownstreamConnection:
        """Return the protocol for a connection that came in through `listener`.

        Args:
            listener: What it must know of where it came in.
            peer: The caller's address; None to take it from the transport.
            believes: Whether its forwarding fields are believed, if the peer is a trusted proxy.
            arrived: Called when the transport is there, before the connection is counted.
        """
        return DownstreamConnection(self, listener, peer, believes=believes, arrived=arrived)

    def enter(self, connection: DownstreamConnection) -> Reason | None:
        """Count a new connection; return OK, why it must go, or None when it is to be cut unheard.

        Those that are told why are few: who opens thousands must not make us talk and linger.
        """
        limits = self.limits
        of_peer = self.admission.enter(connection.facts.peer_group)
        self.connections.add(connection)
        excess = len(self.connections) + self.arriving - limits.connections
        if limits.connections and excess > 0:
            return Reason.OVERLOADED if excess <= LINGERING else None
        excess = self.connections_too_many(connection.peer, of_peer)
        if excess:
            self.admission.refused["", CONNECTIONS_PER_PEER] += 1
            return Reason.RATE_LIMITED if excess <= LINGERING else None
        return Reason.OK

    def connections_too_many(self, peer: str, count: int) -> int:
        """Return how many of the `count` connections of `peer` are beyond its share.

        Trusted proxies have none, also where they name no caller, nor who comes through a unix socket.
        """
        limit = self.limits.connections_per_peer
        if not limit or count <= limit or not peer or self.is_trusted(peer):
            return 0
        return count - limit

    def leave(self, connection: DownstreamConnection) -> None:
        """Forget a connection that is gone, if it was counted."""
        if connection in self.connections:
            self.connections.discard(connection)
            self.admission.leave(connection.facts.peer_group)

    def observe_lag(self, lag_s: float) -> None:
        """Take one measurement of how late the event loop runs."""
        self.admission.shedding.observe(lag_s, limit_s=self.limits.loop_lag_s)

    @property
    def shed_share(self) -> float:
        """Return how many of the new requests to routes are refused because the loop runs late."""
        return self.admission.shedding.share

    def peer_of(self, caller: CallerFacts, block: FieldBlock) -> str:
        """Return whom a request counts for: its peer, or whom a trusted proxy names."""
        if not caller.is_trusted:
            return caller.peer_group
        return self.admission.forwarded_peer(block, self.is_trusted) or caller.peer_group

    def count_refused(self, decision: Decision) -> None:
        """Count what a used-up limit refused."""
        if decision.exceeded is not None:
            name = "" if decision.route is None else decision.route.name
            self.admission.refused[name, decision.exceeded.limit] += 1

    def count_request(self, permit: Permit, peer: str, monotonic_now: float) -> bytes | Refused:
        """Count a permitted request against its route's limit; return the fields that tell of it.

        Where the limit is used up the permit becomes a refusal.
        """
        location, verdict = permit.location, permit.verdict
        route = location.route
        assert route is not None
        assert verdict is not None
        verified = verdict.verified
        client = verified.token.client_id if verified is not None else None
        counted = self.snapshot.route_limits[route.name].take(client, peer, monotonic_now)
        if isinstance(counted, bytes):
            return counted
        decision = Decision(Reason.RATE_LIMITED, route.label, exceeded=counted)
        return Refused(refusal_for(decision), location, permit.query, Verdict(decision, verified))

    def is_trusted(self, peer: str) -> bool:
        """Return whether forwarding fields of this peer are believed."""
        networks = self.snapshot.trusted_networks
        return bool(peer) and bool(networks) and networks.include(peer)

    def forwarded_x_lines(self, peer: str, scheme: str) -> bytes:
        """Return our X-Forwarded-For line and X-Forwarded-Proto."""
        return f"X-Forwarded-For: {peer or 'unknown'}\r\nX-Forwarded-Proto: {scheme}\r\n".encode("ascii")

    def sweep(self, monotonic_now: float) -> None:
        """Act on every deadline that has passed. Called every `SWEEP_INTERVAL_S`. Never raises.

        A mistake with one connection, tunnel or pool ends that one, and nothing is left undone for others.
        """
        steps: tuple[Callable[[], None], ...] = (
            self._refresh_date,
            partial(self._expire_connections, monotonic_now),
            partial(self._sweep_pools, monotonic_now),
            self._judge_tunnels,
        )
        act_on_each(steps, lambda step: step())

    def _expire_connections(self, monotonic_now: float) -> None:
        expired = [connection for connection in self.connections if connection.deadline <= monotonic_now]
        for connection in act_on_each(expired, lambda connection: connection.expire(monotonic_now)):
            connection.struck()
        if self.leaving:
            past = [left for left in self.leaving if left.deadline <= monotonic_now]
            for left in act_on_each(past, lambda left: left.expire(monotonic_now)):
                self.leaving.discard(left)
                left.close()

    def _sweep_pools(self, monotonic_now: float) -> None:
        act_on_each(list(self.pools.values()), lambda pool: pool.sweep(monotonic_now))

    def _judge_tunnels(self) -> None:
        if self.tunnels:
            now = time()
            for tunnel in act_on_each(list(self.tunnels), lambda tunnel: tunnel.judge_again(now)):
                tunnel.struck()

    def announce_stop(self) -> None:
        """Let each further answer close its connection, so that callers open their next one elsewhere.

        Idle connections stay: closed now, they would cut the request that is on its way.
        """
        self.stopping = True

    def drain(self) -> None:
        """Close idle connections; those in use close after their answer, WebSockets after a word."""
        self.stopping = self.draining = True
        for connection in list(self.connections):
            connection.drain()
        for tunnel in list(self.tunnels):
            tunnel.go_away()

    def close(self) -> None:
        """Cut what is still open."""
        for connection in list(self.connections):
            connection.abort(Reason.DRAINING)
        for left in list(self.leaving):
            left.stop_leaving()
        for pool in self.pools.values():
            pool.close()

    @property
    def is_drained(self) -> bool:
        """Return whether nothing is left of what callers began."""
        return not self.connections and not self.arriving and not self.leaving

    def connections_by_state(self) -> Mapping[tuple[str, str], int]:
        """Return the number of connections by (listener, active or idle)."""
        return Counter((connection.listener_name, connection.state) for connection in self.connections)

    def in_flight_by_route(self) -> Mapping[str, int]:
        """Return the number of requests being relayed, by route name."""
        return Counter(
            connection.relay.location.name for connection in self.connections if connection.relay is not None
        )

    def take_failed_attempts(self) -> list[tuple[tuple[str, AttemptFailure], int]]:
        """Return how many attempts failed since the last call, by upstream and what broke.

        Those that no `Exchange` tells of: connections that were not opened, and requests sent again.
        """
        taken = list(self._failed_attempts.items())
        self._failed_attempts.clear()
        return taken

    # --- small things every request needs

    def new_request_id(self) -> bytes:
        """Return 32 random hexadecimal digits that also serve as a trace id."""
        ids = self._ids
        if not ids:
            digits = self._random.randbytes(16 * ID_BATCH).hex().encode("ascii")
            ids.extend(digits[start : start + 32] for start in range(0, len(digits), 32))
        return ids.pop()

    def log_internal_error(self) -> None:
        """Log the exception being handled; its text may not reach any peer."""
        _log.exception("a connection failed inside the gateway")

    def _refresh_date(self) -> None:
        self.date_line = f"Date: {formatdate(usegmt=True)}\r\n".encode("ascii")


def plan_upstream(settings: UpstreamSettings, pool: UpstreamPool) -> UpstreamPlan:
    """Return how requests to an upstream are written, and its pool."""

    def rules(*, trusted: bool) -> ForwardingRules:
        return ForwardingRules(
            keep_headers=frozenset(name.encode("ascii") for name in settings.keep_headers),
            forward_token=settings.forward_token,
            host=settings.host.encode("ascii") if settings.host is not None else None,
            forwarded_x=settings.forwarded in (Forwarded.X, Forwarded.BOTH),
            trusted_peer=trusted,
            drop_headers=frozenset(spelled_alike(name.encode("ascii")) for name in settings.drop_headers),
        )

    return UpstreamPlan(
        name=settings.name,
        pool=pool,
        rules=rules(trusted=False),
        trusted_rules=rules(trusted=True),
        identity_headers=settings.identity_headers,
        forwarded_rfc7239=settings.forwarded in (Forwarded.RFC7239, Forwarded.BOTH),
        response_timeout_s=settings.response_timeout_s,
        idle_timeout_s=settings.idle_timeout_s,
        retries=settings.retries,
        claim_fields=claim_fields_of(settings.claim_headers),
    )


def pool_settings(settings: UpstreamSettings, tls: UpstreamTls | None) -> PoolSettings:
    """Return how the pool of an upstream works; `tls` is for `https://` targets."""
    return PoolSettings(
        {target.url: opener_for(target, tls, stopwatch=perf_counter) for target in settings.targets},
        balance=settings.balance,
        connect_timeout_s=settings.connect_timeout_s,
        max_connections=settings.max_connections,
        queue_size=settings.queue_size,
        queue_timeout_s=settings.queue_timeout_s,
        outlier=settings.outlier,
        circuit_breaker=settings.circuit_breaker,
        health_check=settings.health_check,
        host=settings.host,
    )
