"""Compose one process: this file reads as its table of contents.

Everything is made here, handed to each other here, and ended here in reverse order.
There is no logic of any of the parts.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version as version_of
from pathlib import Path
from time import perf_counter
from typing import Any

import uvloop

from gateway.admin.context import AdminContext, ReloadOutcome
from gateway.admin.web import start_admin
from gateway.data_plane import DataPlane, StartError, open_data_plane
from gateway.enforce.location import SERVES_GATE, SERVES_ISSUER
from gateway.label_values import labels_at_zero, names_in
from gateway.lifecycle import (
    Signals,
    choose_shutdown_delay,
    notify_systemd,
    raise_file_limit,
    reload_on_signal,
    wait_drained,
    wait_shutdown_delay,
)
from gateway.observe import families
from gateway.observe.access_log import lines_encoder
from gateway.observe.exposition import Exposition
from gateway.observe.issuer_log import IssuerLog
from gateway.observe.line_writer import LineWriter
from gateway.observe.logs import configure_logging
from gateway.observe.loop_watch import LoopWatch
from gateway.observe.metrics import Metrics
from gateway.observe.recorder import AccessLog, Recorder
from gateway.proxy.certificates import TlsEndpoint
from gateway.proxy.gate import SWEEP_INTERVAL_S, Gate, ListenerInfo
from gateway.proxy.heap import give_back_free_memory, separate_large_buffers
from gateway.proxy.isolation import act_on_each
from gateway.proxy.listener import Listener, open_sockets, socket_files
from gateway.readiness import Readiness
from gateway.reload.apply import Live
from gateway.reload.certificates import CertificateSource
from gateway.reload.compile import compile_configuration
from gateway.reload.configuration import ConfigurationSource
from gateway.reload.key_directory import load_first_keys
from gateway.reload.keys import KeySource
from gateway.reload.material import listener_key
from gateway.reload.plan import Plan, RuntimeState, Snapshot, snapshot_of
from gateway.reload.policy_tests import policy_test_problems, run_configured_tests
from gateway.reload.source import Cause
from gateway.reload.sources import Note, Report, Sources
from gateway.reload.supervisor import Supervisor
from gateway.settings.model import (
    AdminSettings,
    ClientCertificate,
    ListenerSettings,
    LogSettings,
    TcpAddress,
    UnixAddress,
)
from gateway.settings.problems import SettingsError
from gateway.state.revoke_client import revoke_client
from gateway.version import VERSION
from gateway.views import (
    authorization_ends,
    current_gauges,
    describe_process,
    describe_start,
    duties,
    note_load,
    readiness_gauges,
    render_metrics,
    source_gauges,
    task_gauges,
    unready_conditions,
)

_log = logging.getLogger(__name__)

TRIM_INTERVAL_S = 5.0
TRIM_AFTER = 200
"""TLS connections that have gone since the last time."""


@dataclass(frozen=True, slots=True)
class Running:
    """What is known of a process once it serves."""

    addresses: tuple[str, ...]
    """Of the listeners, in the order of the settings; a port chosen by the system is in them."""
    admin_address: str


@dataclass(frozen=True, slots=True, eq=False)
class Process:
    """The parts of one process, opened and not yet serving."""

    plane: DataPlane
    listeners: tuple[Listener, ...]
    sources: Sources
    supervisor: Supervisor
    readiness: Readiness
    metrics: Metrics
    recorder: Recorder
    issuer_log: IssuerLog

    async def reload(self, cause: Cause, *, dry_run: bool = False) -> Report:
        """Reload all sources, and open the access log anew: it may have been moved away."""
        if not dry_run:
            self.recorder.reopen_log()
        return await self.sources.reload(cause, dry_run=dry_run)


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
    # Until there is something to reload: what changes meanwhile is seen by the first look of the watch.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(path, beside))


async def _serve(path: Path, beside: Callable[[Running], Coroutine[Any, Any, None]] | None) -> int:
    async with contextlib.AsyncExitStack() as stack:
        process = await _open(stack, path)
        admin = await _open_admin(stack, process)
        signals = Signals(asyncio.get_running_loop())
        signals.install()
        stack.callback(signals.remove)
        stack.push_async_callback(process.supervisor.close)
        _start_tasks(process, signals)
        addresses = tuple(_bound(listener.sockets[0]) for listener in process.listeners)
        _start_serving(process, addresses, admin)
        await _until_stopped(signals, beside, Running(addresses, admin))
        drained = await _drain(process, signals)
    return 1 if signals.stop_at_once.is_set() and not drained else 0


def load_first_snapshot(path: Path, now: float) -> Snapshot:
    """Return what a process starts with, its first key made if need be. Raises SettingsError."""
    configuration = compile_configuration(path, environ=os.environ, now=now)
    failed = policy_test_problems(run_configured_tests(configuration, now=now), path)
    if failed:
        raise SettingsError(failed)
    return snapshot_of(configuration, load_first_keys(configuration, create=True), generation=1, now=now)


async def _open(stack: contextlib.AsyncExitStack, path: Path) -> Process:
    """Open everything but what is needed to serve. No local of the process's life refers to the snapshot."""
    now = time.time()
    snapshot = load_first_snapshot(path, now)
    settings = snapshot.settings
    log_writer = _open_process_log(stack, settings.logs)
    for warning in (*snapshot.configuration.warnings, *snapshot.keys.warnings):
        _log.warning("%s", warning)
    metrics = Metrics(
        settings.metrics, issuer=settings.issuer.url, version=VERSION, uvloop_version=version_of("uvloop")
    )
    metrics.config_loaded(settings.content_hash, now)
    recorder = _open_recorder(stack, settings.logs, metrics)
    issuer_log = _open_issuer_log(stack, settings.logs, log_writer, metrics)
    plane = await open_data_plane(
        stack,
        snapshot,
        metrics=metrics,
        record=recorder.record,
        on_request=issuer_log.record,
        others=(lambda plan: _take_labels(metrics, plan),),
    )
    listeners = open_listeners(stack, plane.gate, settings.listeners, snapshot.configuration.material)
    live = plane.live
    sources = make_sources(
        path,
        live,
        listeners,
        since=now,
        note=lambda name, cause: note_load(metrics, sources, live, name, cause),
    )
    supervisor = Supervisor()
    readiness = Readiness(
        plane.store,
        refuses_without_store=settings.state.strict,
        unready=lambda: unready_conditions(plane.gate, live, listeners),
        amiss=lambda: {**sources.amiss(), **supervisor.amiss()},
    )
    metrics.gauges = lambda: (
        *current_gauges(plane.gate, live, plane.state, listeners, metrics.few_names(families.ROUTE)),
        *metrics.jwks_ages(plane.key_sets.ages()),
        *metrics.authorization_ends(authorization_ends(live.plan.snapshot.settings)),
        *source_gauges(sources),
        *task_gauges(supervisor),
        *readiness_gauges(readiness),
    )
    _watch_loop(stack, plane.gate, metrics)
    await sources.follow()
    await readiness.look()
    return Process(plane, tuple(listeners), sources, supervisor, readiness, metrics, recorder, issuer_log)


def make_sources(
    path: Path, live: Live, listeners: Iterable[Listener], *, since: float, note: Note
) -> Sources:
    """Return the three sources of a process, in the order in which they are loaded.

    Args:
        path: The main configuration file.
        live: What they are swapped in under.
        listeners: Whose certificates are among them.
        since: Epoch seconds at which their files began to be read first.
        note: Is told of every load.
    """
    endpoints = [listener.tls for listener in listeners if listener.tls is not None]
    sources = (
        CertificateSource(path, live, endpoints, since=since),
        KeySource(path, live),
        ConfigurationSource(path, live, since=since),
    )
    return Sources(sources, path, note=note)


def _take_labels(metrics: Metrics, plan: Plan) -> Callable[[], None]:
    snapshot = plan.snapshot
    return metrics.take_names(
        names_in(snapshot), labels_at_zero(snapshot), issuer=snapshot.settings.issuer.url
    )


def _watch_loop(stack: contextlib.AsyncExitStack, gate: Gate, metrics: Metrics) -> None:
    loop_watch = LoopWatch(
        asyncio.get_running_loop(),
        metrics.loop_held,
        on_lag=lambda seconds: _note_lag(gate, metrics, seconds),
    )
    loop_watch.start()
    stack.callback(loop_watch.stop)


def _start_tasks(process: Process, signals: Signals) -> None:
    plane, supervisor = process.plane, process.supervisor
    supervisor.start("sweep", lambda: _sweep(plane.gate, plane.state))
    supervisor.start("readiness", process.readiness.watch)
    supervisor.start("signals", lambda: reload_on_signal(signals, lambda: process.reload(Cause.SIGNAL)))
    supervisor.start("watch", process.sources.watch)
    supervisor.start("key sets", plane.key_sets.refresh)
    if any(listener.tls is not None for listener in process.listeners) and separate_large_buffers():
        supervisor.start("memory", lambda: _give_back_memory(plane.gate, process.listeners))


def _start_serving(process: Process, addresses: tuple[str, ...], admin: str) -> None:
    # What exists now stays: keep it out of the collector's sight (a full collection
    # beside ten thousand connections holds the loop for 70 ms).
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    for address, listener in zip(addresses, process.listeners, strict=True):
        listener.start()
        _log.info("listening on %s for %s", address, " and ".join(duties(listener.info)))
    _log.info("admin listening on %s", admin)
    _log.info("serving", extra=describe_start(process.plane.live.plan.snapshot))
    notify_systemd("READY=1")


async def _drain(process: Process, signals: Signals) -> bool:
    """Stop in steps; return whether every request ended by itself."""
    gate, live = process.plane.gate, process.plane.live
    notify_systemd("STOPPING=1")
    gate.announce_stop()
    if signals.stop.is_set():  # else nobody was ever told to come here
        settings = live.plan.snapshot.settings
        delay_s = choose_shutdown_delay(
            settings.shutdown_delay_s, (item.address for item in settings.listeners)
        )
        if delay_s:
            _log.info("stopping: not ready, accepting for %g s more", delay_s)
        await wait_shutdown_delay(signals, delay_s)
    _log.info("draining: %d connections", len(gate.connections))
    for listener in process.listeners:
        listener.close()
    gate.drain()
    timeout_s = live.plan.snapshot.settings.drain_timeout_s
    drained = await wait_drained(lambda: gate.is_drained, signals, timeout_s)
    process.issuer_log.flush()
    if drained:
        _log.info("stopped")
    else:
        _log.warning("stopped with %d connections cut", len(gate.connections) + len(gate.leaving))
    return drained


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


def open_listeners(
    stack: contextlib.AsyncExitStack,
    gate: Gate,
    settings: tuple[ListenerSettings, ...],
    material: Mapping[Hashable, Any],
) -> list[Listener]:
    """Return the listeners in the settings' order; they are bound, and accept once they are started.

    Args:
        stack: Ends them.
        gate: Whose they are.
        settings: One for each.
        material: Has the certificate of each that has one.

    Raises:
        StartError: An address cannot be listened on.
    """
    listeners = []
    for item in settings:
        name = str(item.address)
        tls = None
        if item.tls is not None:
            tls = TlsEndpoint(name, item.tls, material[listener_key(item.address, item.tls)])
        try:
            sockets = open_sockets(item.address)
        except OSError as error:
            raise StartError(f"listeners: cannot listen on {name}: {_why(error)}") from error
        info = ListenerInfo(
            name,
            SERVES_ISSUER * item.serves_issuer + SERVES_GATE * item.serves_gate,
            scheme="https" if tls is not None or item.behind_tls else "http",
            in_steps=tls is not None or item.proxy_protocol,
            asks_certificate=(
                item.tls is not None and item.tls.client_certificate is not ClientCertificate.OFF
            ),
        )
        listener = Listener(gate, info, sockets, tls=tls, proxy_protocol=item.proxy_protocol)
        stack.callback(listener.abort)
        listeners.append(listener)
    return listeners


async def _open_admin(stack: contextlib.AsyncExitStack, process: Process) -> str:
    """Serve operators; return where."""
    plane, sources, metrics = process.plane, process.sources, process.metrics
    gate, live = plane.gate, plane.live
    started = perf_counter()
    exposition = Exposition(metrics)
    context = AdminContext(
        settings=lambda: live.plan.snapshot.settings.admin,
        ready_checks=process.readiness.checks,
        degraded=process.readiness.degraded,
        status=lambda: describe_process(
            gate, live, sources, plane.store, process.listeners, uptime_s=perf_counter() - started
        ),
        reload=lambda dry_run: _reload_for_admin(process, dry_run=dry_run),
        render_metrics=lambda accept: render_metrics(exposition, metrics, gate, plane.state.counts, accept),
        revoke_client=lambda client_id: _revoke_client(client_id, plane),
    )
    return await _listen_for_admin(stack, context, live.plan.snapshot.settings.admin)


async def _listen_for_admin(
    stack: contextlib.AsyncExitStack, context: AdminContext, settings: AdminSettings
) -> str:
    try:
        sockets = open_sockets(settings.address)
    except OSError as error:
        raise StartError(f"admin: cannot listen on {settings.address}: {_why(error)}") from error
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


async def _reload_for_admin(process: Process, *, dry_run: bool) -> ReloadOutcome:
    report = await process.reload(Cause.API, dry_run=dry_run)
    problems = tuple(problem.as_object() for problem in report.problems)
    config_hash = process.plane.live.plan.snapshot.settings.content_hash
    return ReloadOutcome(report.applied, config_hash, problems, report.changes)


async def _revoke_client(client_id: str, plane: DataPlane) -> int | None:
    """Revoke what a client was issued until now; see `AdminContext.revoke_client`."""
    if client_id not in plane.live.plan.snapshot.settings.clients:
        return None
    return await revoke_client(client_id, plane.store, plane.state.revocations, now=time.time())


def _note_lag(gate: Gate, metrics: Metrics, seconds: float) -> None:
    metrics.loop_lag(seconds)
    gate.observe_lag(seconds)
