"""Put issuer and gate of one process together, before they are given listeners.

There is no logic of any of the parts here.
"""

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from gateway.clients.scrypt_worker import ScryptWorker
from gateway.enforce.enforcer import VerifyCounts
from gateway.enforce.token_cache import CachedToken, TokenCache
from gateway.issuer.context import IssuerContext, log_request
from gateway.issuer.service import Issuer
from gateway.observe.exchange import Exchange
from gateway.observe.issuer_request import IssuerRequest
from gateway.observe.metrics import Metrics
from gateway.policy.peers import peer_group
from gateway.proxy.gate import Gate
from gateway.reload.apply import Live, Take
from gateway.reload.plan import Parts, RuntimeState, Snapshot, plan_snapshot
from gateway.settings.model import RedisSettings, Settings
from gateway.state.interface import SharedCounters, StateStore, StateUnavailableError
from gateway.state.memory import MemoryStore
from gateway.state.sqlite import open_sqlite
from gateway.tokens.claims import AccessToken
from gateway.tokens.jwks_client import RemoteKeySets
from gateway.tokens.revocations import CLOCKS_APART_S, KEPT_S, Revocations

if TYPE_CHECKING:
    from gateway.state.redis import RedisStore


class StartError(Exception):
    """The process cannot start for a reason outside its configuration; the text says which."""


@dataclass(frozen=True, slots=True, eq=False)
class DataPlane:
    """Issuer and gate of one process, before they are given listeners."""

    gate: Gate
    live: Live
    state: RuntimeState
    store: StateStore
    key_sets: RemoteKeySets


async def open_data_plane(
    stack: contextlib.AsyncExitStack,
    snapshot: Snapshot,
    *,
    metrics: Metrics,
    record: Callable[[Exchange], None],
    on_request: Callable[[IssuerRequest], None] = log_request,
    others: tuple[Take, ...] = (),
) -> DataPlane:
    """Return issuer and gate, serving `snapshot`; `stack` ends them.

    Args:
        stack: Closes what is opened here.
        snapshot: The configuration to begin with.
        metrics: Told what the issuer does and how long signature checks take.
        record: Takes the record of each finished request of the gate.
        on_request: Takes what the log says of each request to the issuer.
        others: What else works by the configuration in force.

    Raises:
        StartError: The state store cannot be opened.
    """
    revocations = Revocations(clocks_apart_s=CLOCKS_APART_S, kept_s=KEPT_S)
    store, counters = await _open_store(stack, snapshot.settings, revocations)
    state = RuntimeState(TokenCache(), revocations, VerifyCounts(), metrics.token_verify_seconds)
    live_cell: list[Live] = []

    def warm_cache(raw: bytes, token: AccessToken) -> None:
        # Of no snapshot: the one it is first presented to looks whether key and issuer are its own,
        # for a reload may have come between signing and here.
        state.cache.put_issued(raw, CachedToken(token, generation=0))

    scrypt = ScryptWorker()
    stack.callback(scrypt.close)
    key_sets = RemoteKeySets(metrics)
    stack.push_async_callback(key_sets.close)
    issuer = Issuer(
        IssuerContext(
            snapshot=lambda: live_cell[0].plan.snapshot.issuer,
            revocations=state.revocations,
            store=store,
            scrypt=scrypt,
            on_issued=warm_cache,
            on_request=on_request,
            observer=metrics,
            replay=store,
            counters=counters,
            key_sets=key_sets,
            may_fetch_keys=lambda peer: _may_send_tokens(state, peer),
            on_bad_assertion=lambda peer: _count_bad_token(state, peer),
        )
    )
    stack.callback(issuer.close)
    gate = Gate(record, issuer)
    stack.callback(gate.close)
    stack.push_async_callback(gate.service_runner.close)
    live = Live(Parts(gate, state), key_sets, others=others)
    live_cell.append(live)
    live.apply(plan_snapshot(snapshot, live.parts))
    return DataPlane(gate, live, state, store, key_sets)


async def _open_store(
    stack: contextlib.AsyncExitStack, settings: Settings, revocations: Revocations
) -> tuple[StateStore, SharedCounters | None]:
    """Return the state store, which keeps `revocations` up to date, and what counts over all processes."""
    state = settings.state
    store: StateStore = MemoryStore()
    counters = None
    try:
        if state.sqlite_path is not None:
            store = await open_sqlite(state.sqlite_path)
        elif state.redis is not None:
            store = counters = await _open_redis(state.redis, settings.issuer.url, strict=state.strict)
        stack.push_async_callback(store.close)
        await store.follow(revocations)
    except StateUnavailableError as error:
        raise StartError(f"state: {error}") from error
    return store, counters


async def _open_redis(settings: RedisSettings, issuer: str, *, strict: bool) -> "RedisStore":
    # Imported when wanted: the client is an extra, and takes megabytes.
    try:
        from gateway.state.redis import open_redis
    except ImportError as error:
        raise StartError(
            "state: redis:// needs the redis client, which is not installed here: requirements.lock has it "
            f"({sys.executable} -m pip install --require-hashes -r requirements.lock)"
        ) from error
    return await open_redis(settings, issuer=issuer, strict=strict)


def _may_send_tokens(state: RuntimeState, peer: str) -> bool:
    limit = state.rate_limits.bad_tokens
    return limit is None or limit.exceeded(peer_group(peer), perf_counter()) is None


def _count_bad_token(state: RuntimeState, peer: str) -> None:
    limit = state.rate_limits.bad_tokens
    if limit is not None:
        limit.count(peer_group(peer), perf_counter())
