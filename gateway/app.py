"""Compose one process: this file reads as its table of contents.

Everything is made here, handed to each other here, and ended here in reverse order.
There is no logic of any of the parts.
"""

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from importlib.metadata import version as version_of
from math import inf
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import uvloop
from aiohttp import web

from gateway.admin.context import AdminContext, ReloadOutcome
from gateway.admin.web import start_admin
from gateway.clients.scrypt_worker import ScryptWorker
from gateway.enforce.enforcer import SERVES_GATE, SERVES_ISSUER, VerifyCounts
from gateway.enforce.token_cache import CachedToken, TokenCache
from gateway.issuer.context import IssuerContext, PeerInfo, log_request
from gateway.issuer.web import build_issuer, build_issuer_runner
from gateway.lifecycle import (
    Signals,
    choose_shutdown_delay,
    notify_systemd,
    raise_file_limit,
    reload_on_signal,
    wait_drained,
    wait_shutdown_delay,
)
from gateway.live import (
    Live,
    ReloadResult,
    RuntimeState,
    Snapshot,
    build_gate_snapshot,
    build_snapshot,
)
from gateway.observe.access_log import lines_encoder
from gateway.observe.exchange import Exchange
from gateway.observe.exposition import Exposition
from gateway.observe.issuer_log import IssuerLog
from gateway.observe.issuer_request import IssuerRequest
from gateway.observe.line_writer import LineWriter
from gateway.observe.logs import configure_logging
from gateway.observe.loop_lag import LoopLag
from gateway.observe.loop_watch import LoopWatch
from gateway.observe.metrics import Metrics
from gateway.observe.recorder import AccessLog, Recorder
from gateway.policy.peers import forwarded_address, peer_group
from gateway.proxy.certificates import CertificateError, TlsEndpoint
from gateway.proxy.gate import ISSUER, SWEEP_INTERVAL_S, Gate, ListenerInfo, plan_issuer
from gateway.proxy.heap import give_back_free_memory, separate_large_buffers
from gateway.proxy.isolation import act_on_each
from gateway.proxy.listener import Listener, open_sockets, socket_files
from gateway.readiness import Readiness
from gateway.reload.compile import compile_configuration, policy_test_problems, run_configured_tests
from gateway.reload.watch import FileWatch
from gateway.settings.model import (
    ClientCertificate,
    ListenerSettings,
    LogSettings,
    RedisSettings,
    Settings,
    TcpAddress,
    UnixAddress,
)
from gateway.settings.problems import SettingsError
from gateway.state.interface import SharedCounters, StateStore, StateUnavailableError
from gateway.state.memory import MemoryStore
from gateway.state.revoke_client import revoke_client
from gateway.state.sqlite import open_sqlite
from gateway.tokens.claims import AccessToken
from gateway.tokens.jwks_client import RemoteKeySets
from gateway.tokens.revocations import CLOCKS_APART_S, KEPT_S, Revocations
from gateway.version import VERSION
from gateway.views import (
    amiss_conditions,
    current_gauges,
    describe_process,
    duties,
    render_metrics,
    report_reload,
    route_names,
    unready_conditions,
    with_refusals,
)

if TYPE_CHECKING:
    from gateway.state.redis import RedisStore

_log = logging.getLogger(__name__)

TRIM_INTERVAL_S = 5.0
TRIM_AFTER = 200
"""TLS connections that have gone since the last time."""


class StartError(Exception):
    """The process cannot start for a reason outside its configuration; the text says which."""


@dataclass(frozen=True, slots=True)
class Running:
    """What is known of a process once it serves."""

    addresses: tuple[str, ...]
    """Of the listeners, in the order of the settings; a port chosen by the system is in them."""
    admin_address: str


@dataclass(frozen=True, slots=True, eq=False)
class DataPlane:
    """Issuer and gate of one process, before they are given listeners."""

    gate: Gate
    live: Live
    state: RuntimeState
    store: StateStore
    key_sets: RemoteKeySets


def run(path: Path, *, beside: Callable[[Running], Coroutine[Any, Any, None]] | None = None) -> int:
    """Run the appliance until it is told to stop; return the exit code.

    Args:
        path: The main configuration file.
        beside: Runs once everything serves; the process drains when it returns.

    Raises:
        SettingsError: The configuration cannot be used.
        StartError: A listener, the state store or a log cannot be opened.
    """
    raise_file_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(path, beside))


async def _serve(path: Path, beside: Callable[[Running], Coroutine[Any, Any, None]] | None) -> int:
    now = time.time()
    configuration = compile_configuration(path, environ=os.environ, now=now)
    failed = policy_test_problems(run_configured_tests(configuration, now=now), path)
    if failed:
        raise SettingsError(failed)
    snapshot = build_snapshot(configuration, generation=1, now=now, create_keys=True)
    settings = snapshot.settings

    async with contextlib.AsyncExitStack() as stack:
        log_writer = _open_process_log(stack, settings.logs)
        for warning in (*configuration.warnings, *snapshot.keys.warnings):
            _log.warning("%s", warning)
        metrics = Metrics(
            settings.metrics, issuer=settings.issuer.url, version=VERSION, uvloop_version=version_of("uvloop")
        )
        recorder = _open_recorder(stack, settings.logs, metrics)
        issuer_log = _open_issuer_log(stack, settings.logs, log_writer, metrics)
        plane = await open_data_plane(
            stack, path, snapshot, metrics=metrics, record=recorder.record, on_request=issuer_log.record
        )
        gate, live, state, store = plane.gate, plane.live, plane.state, plane.store
        metrics.config_loaded(settings.content_hash, now)
        metrics.keep_routes(route_names(settings))

        listeners = open_listeners(stack, gate, settings.listeners)
        endpoints = [listener.tls for listener in listeners if listener.tls is not None]
        metrics.gauges = lambda: (
            *current_gauges(gate, live, state, listeners),
            *metrics.jwks_ages(plane.key_sets.ages()),
        )
        loop = asyncio.get_running_loop()
        lag = LoopLag(loop, lambda seconds: _note_lag(gate, metrics, seconds))
        lag.start()
        stack.callback(lag.stop)
        loop_watch = LoopWatch(loop, metrics.loop_held)
        loop_watch.start()
        stack.callback(loop_watch.stop)

        async def reload() -> ReloadResult:
            recorder.reopen_log()
            await watch.begin_load()
            await key_watch.begin_load()
            await reload_certificates()
            result = with_refusals(await live.reload(), live, endpoints)
            plane.key_sets.configure(live.snapshot.issuer.registry.remote_sources)
            report_reload(result, live, metrics)
            return result

        watch = FileWatch(lambda: live.watched, reload, since=now)
        await watch.follow()

        # From now on, because the first start has just made a key in it.
        key_watch = FileWatch(lambda: (live.snapshot.settings.keys.directory,), reload, since=inf)
        await key_watch.follow()

        async def reload_certificates() -> None:
            await certificate_watch.begin_load()
            for endpoint in endpoints:
                await endpoint.reload()

        # Apart from the configuration: a pair that somebody is just writing must not keep a
        # policy from taking effect, and a new certificate need not compile ten thousand routes.
        certificate_files = tuple(file for endpoint in endpoints for file in endpoint.files)
        certificate_watch = FileWatch(lambda: certificate_files, reload_certificates, since=now)
        readiness = Readiness(
            store,
            refuses_without_store=settings.state.strict,
            unready=lambda: unready_conditions(gate, live, listeners),
            amiss=lambda: amiss_conditions(live, endpoints),
        )
        await readiness.look()
        started = perf_counter()
        exposition = Exposition(metrics)
        admin = await _open_admin(
            stack,
            AdminContext(
                settings=lambda: live.snapshot.settings.admin,
                ready_checks=readiness.checks,
                degraded=readiness.degraded,
                status=lambda: describe_process(
                    gate, live, store, listeners, uptime_s=perf_counter() - started
                ),
                reload=lambda: _reload_for_admin(reload, live),
                render_metrics=lambda accept: render_metrics(exposition, metrics, gate, state.counts, accept),
                revoke_client=lambda client_id: _revoke_client(client_id, plane),
            ),
            settings,
        )
        addresses = tuple(_bound(listener.sockets[0]) for listener in listeners)
        running = Running(addresses, admin)

        signals = Signals(loop)
        signals.install()
        stack.callback(signals.remove)
        tasks = [
            loop.create_task(_sweep(gate, state)),
            loop.create_task(readiness.watch()),
            loop.create_task(reload_on_signal(signals, reload)),
            loop.create_task(watch.watch()),
            loop.create_task(key_watch.watch()),
            loop.create_task(certificate_watch.watch()),
            loop.create_task(_give_back_memory(gate, listeners)),
            loop.create_task(plane.key_sets.refresh()),
        ]
        stack.push_async_callback(_cancel, tasks)

        # What exists now stays: keep it out of the collector's sight (a full collection
        # beside ten thousand connections holds the loop for 70 ms).
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        for address, listener in zip(addresses, listeners, strict=True):
            listener.start()
            _log.info("listening on %s for %s", address, " and ".join(duties(listener.info)))
        _log.info("admin listening on %s", admin)
        notify_systemd("READY=1")

        await _until_stopped(signals, beside, running)

        notify_systemd("STOPPING=1")
        gate.announce_stop()
        if signals.stop.is_set():  # else nobody was ever told to come here
            wanted_s = live.snapshot.settings.shutdown_delay_s
            delay_s = choose_shutdown_delay(wanted_s, (item.address for item in settings.listeners))
            if delay_s:
                _log.info("stopping: not ready, accepting for %g s more", delay_s)
            await wait_shutdown_delay(signals, delay_s)
        _log.info("draining: %d connections", len(gate.connections))
        for listener in listeners:
            listener.close()
        gate.drain()
        timeout_s = live.snapshot.settings.drain_timeout_s
        drained = await wait_drained(lambda: gate.is_drained, signals, timeout_s)
        issuer_log.flush()
        if drained:
            _log.info("stopped")
        else:
            _log.warning("stopped with %d connections cut", len(gate.connections) + len(gate.leaving))
    return 1 if signals.stop_at_once.is_set() and not drained else 0


async def _until_stopped(
    signals: Signals, beside: Callable[[Running], Coroutine[Any, Any, None]] | None, running: Running
) -> None:
    """Return at the first stop signal, or when `beside` is done."""
    waiting: list[asyncio.Future[Any]] = [asyncio.ensure_future(signals.stop.wait())]
    if beside is not None:
        waiting.append(asyncio.ensure_future(beside(running)))
    done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    await _cancel(pending)
    for task in done:
        task.result()


async def _cancel(tasks: Iterable[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _sweep(gate: Gate, state: RuntimeState) -> None:
    """Let deadlines pass and forget what has expired, a few times per second."""
    while True:
        await asyncio.sleep(SWEEP_INTERVAL_S)
        steps: tuple[Callable[[], object], ...] = (
            lambda: gate.sweep(perf_counter()),
            lambda: state.rate_limits.prune(perf_counter()),
            lambda: state.revocations.prune(time.time(), limit=100),
        )
        act_on_each(steps, lambda step: step())


async def _give_back_memory(gate: Gate, listeners: Iterable[Listener]) -> None:
    """Return to the system what TLS connections have left behind, whenever so many are gone."""
    secure = [listener for listener in listeners if listener.tls is not None]
    if not secure or not separate_large_buffers():
        return
    names = {listener.info.name for listener in secure}
    gone_before = 0
    while True:
        await asyncio.sleep(TRIM_INTERVAL_S)
        there = sum(connection.listener_name in names for connection in gate.connections)
        gone = sum(listener.arrived for listener in secure) - there
        if gone - gone_before >= TRIM_AFTER:
            gone_before = gone
            await asyncio.to_thread(give_back_free_memory)


# --- opening the parts


def _open_process_log(stack: contextlib.AsyncExitStack, settings: LogSettings) -> LineWriter:
    writer = LineWriter(sys.stderr.fileno())
    stack.callback(writer.close, timeout_s=1.0)
    configure_logging(settings.level, settings.format, writer)
    return writer


def _open_issuer_log(
    stack: contextlib.AsyncExitStack, settings: LogSettings, writer: LineWriter, metrics: Metrics
) -> IssuerLog:
    is_wanted = logging.getLogger("gateway.issuer").isEnabledFor(logging.INFO)
    log = IssuerLog(
        asyncio.get_running_loop(), settings.format, writer if is_wanted else None, metrics.access_log_dropped
    )
    stack.callback(log.close)
    return log


def _open_recorder(stack: contextlib.AsyncExitStack, settings: LogSettings, metrics: Metrics) -> Recorder:
    access_log = None
    if settings.access != "off":
        destination: int | Path
        match settings.access:
            case "stdout":
                destination = sys.stdout.fileno()
            case "stderr":
                destination = sys.stderr.fileno()
            case path:
                destination = Path(path)
        try:
            writer = LineWriter(destination)
        except OSError as error:
            raise StartError(f"logs.access: cannot open {settings.access}: {error.strerror}") from error
        stack.callback(writer.close, timeout_s=2.0)
        access_log = AccessLog(lines_encoder(settings.format, query=settings.query), writer)
    recorder = Recorder(asyncio.get_running_loop(), metrics, access_log)
    stack.callback(recorder.close)
    return recorder


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


async def open_data_plane(
    stack: contextlib.AsyncExitStack,
    path: Path,
    snapshot: Snapshot,
    *,
    metrics: Metrics,
    record: Callable[[Exchange], None],
    on_request: Callable[[IssuerRequest], None] = log_request,
) -> DataPlane:
    """Return issuer and gate, serving `snapshot`; `stack` ends them.

    Args:
        stack: Closes what is opened here.
        path: The main configuration file, read again by a reload.
        snapshot: The configuration to begin with.
        metrics: Told what the issuer does and how long signature checks take.
        record: Takes the record of each finished request of the gate.
        on_request: Takes what the log says of each request to the issuer.

    Raises:
        StartError: The state store cannot be opened.
    """
    revocations = Revocations(clocks_apart_s=CLOCKS_APART_S, kept_s=KEPT_S)
    store, counters = await _open_store(stack, snapshot.settings, revocations)
    state = RuntimeState(TokenCache(), revocations, VerifyCounts(), metrics.token_verify_seconds)
    gate = Gate(record)
    stack.callback(gate.close)
    live_cell: list[Live] = []

    def live() -> Live:
        return live_cell[0]

    def warm_cache(raw: bytes, token: AccessToken) -> None:
        # Of no snapshot: the one it is first presented to looks whether key and issuer are its own,
        # for a reload may have come between signing and here.
        state.cache.put_issued(raw, CachedToken(token, generation=0))

    scrypt = ScryptWorker()
    stack.callback(scrypt.close)
    key_sets = RemoteKeySets(metrics)
    stack.push_async_callback(key_sets.close)
    key_sets.configure(snapshot.issuer.registry.remote_sources)
    issuer = build_issuer_runner(
        build_issuer(
            IssuerContext(
                snapshot=lambda: live().snapshot.issuer,
                revocations=state.revocations,
                store=store,
                scrypt=scrypt,
                on_issued=warm_cache,
                on_request=on_request,
                observer=metrics,
                replay=store,
                counters=counters,
                peer_of=_peer_finder(gate),
                key_sets=key_sets,
                may_fetch_keys=lambda peer: _may_send_tokens(state, peer),
                on_bad_assertion=lambda peer: _count_bad_token(state, peer),
            )
        )
    )
    await issuer.setup()
    stack.push_async_callback(issuer.cleanup)
    assert issuer.server is not None
    issuer_plan = plan_issuer(gate.pool(ISSUER), issuer.server)
    gate.swap(build_gate_snapshot(snapshot, state, gate.pool, issuer_plan))
    live_cell.append(Live(path, snapshot, state, gate, issuer_plan))
    return DataPlane(gate, live(), state, store, key_sets)


def open_listeners(
    stack: contextlib.AsyncExitStack, gate: Gate, settings: tuple[ListenerSettings, ...]
) -> list[Listener]:
    """Return the listeners in the settings' order; they are bound, and accept once they are started.

    Raises:
        StartError: An address cannot be listened on, or a certificate cannot be used.
    """
    listeners = []
    for item in settings:
        name = str(item.address)
        try:
            tls = None if item.tls is None else TlsEndpoint(name, item.tls)
        except CertificateError as error:
            raise StartError(f"listeners: {name}: tls.{error.key}: the file {error}") from error
        try:
            sockets = open_sockets(item.address)
        except OSError as error:
            raise StartError(f"listeners: cannot listen on {name}: {_why(error)}") from error
        info = ListenerInfo(
            name,
            SERVES_ISSUER * item.serves_issuer + SERVES_GATE * item.serves_gate,
            scheme="http" if tls is None else "https",
            in_steps=tls is not None or item.proxy_protocol,
            asks_certificate=(
                item.tls is not None and item.tls.client_certificate is not ClientCertificate.OFF
            ),
        )
        listener = Listener(gate, info, sockets, tls=tls, proxy_protocol=item.proxy_protocol)
        stack.callback(listener.abort)
        listeners.append(listener)
    return listeners


async def _open_admin(stack: contextlib.AsyncExitStack, context: AdminContext, settings: Settings) -> str:
    try:
        sockets = open_sockets(settings.admin.address)
    except OSError as error:
        raise StartError(f"admin: cannot listen on {settings.admin.address}: {_why(error)}") from error
    address = _bound(sockets[0])
    for file in socket_files(sockets):
        stack.callback(file.remove)
    runner = await start_admin(context, sockets)
    stack.push_async_callback(runner.cleanup)
    return address


def _why(error: OSError) -> str:
    """Return the system's words: asyncio writes the address into its own once more."""
    if error.errno is None or error.errno < 0:  # negative: an error of name resolution
        return error.strerror or str(error)
    return os.strerror(error.errno)


def _bound(listening: socket.socket) -> str:
    """Return where a socket listens, in the words of the settings."""
    name = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return str(UnixAddress(Path(name)))
    host, port = name[:2]
    return str(TcpAddress(host, port))


def _peer_finder(gate: Gate) -> Callable[[web.BaseRequest], PeerInfo]:
    def peer_of(request: web.BaseRequest) -> PeerInfo:
        caller = gate.caller(request.headers.get("X-Sidegate-Connection", ""))
        if caller is None:
            return PeerInfo("", "http")
        # The gate passes this field on from trusted proxies only.
        forwarded = request.headers.getall("X-Forwarded-For", ())
        address = caller.address
        if forwarded:
            values = [value.encode("utf-8", "surrogateescape") for value in forwarded]
            address = forwarded_address(values, gate.is_trusted) or address
        return PeerInfo(address, caller.scheme, caller.certificate)

    return peer_of


def _may_send_tokens(state: RuntimeState, peer: str) -> bool:
    limit = state.rate_limits.bad_tokens
    return limit is None or limit.exceeded(peer_group(peer), perf_counter()) is None


def _count_bad_token(state: RuntimeState, peer: str) -> None:
    limit = state.rate_limits.bad_tokens
    if limit is not None:
        limit.count(peer_group(peer), perf_counter())


async def _reload_for_admin(reload: Callable[[], Awaitable[ReloadResult]], live: Live) -> ReloadOutcome:
    result = await reload()
    problems = tuple(problem.as_object() for problem in result.problems)
    return ReloadOutcome(result.applied, live.snapshot.settings.content_hash, problems)


async def _revoke_client(client_id: str, plane: DataPlane) -> int | None:
    """Revoke what a client was issued until now; see `AdminContext.revoke_client`."""
    if client_id not in plane.live.snapshot.settings.clients:
        return None
    return await revoke_client(client_id, plane.store, plane.state.revocations, now=time.time())


def _note_lag(gate: Gate, metrics: Metrics, seconds: float) -> None:
    metrics.loop_lag(seconds)
    gate.observe_lag(seconds)
