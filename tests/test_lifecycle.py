"""Show what asks for a reload and what ends a process, with real files, signals and sockets."""

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest

from gateway.lifecycle import (
    SHUTDOWN_DELAY_S,
    Signals,
    choose_shutdown_delay,
    notify_systemd,
    reload_on_signal,
    wait_drained,
    wait_shutdown_delay,
)
from gateway.settings.model import TcpAddress, UnixAddress

INTERVAL_S = 0.005


@pytest.fixture
def signals():
    loop = asyncio.new_event_loop()
    signals = Signals(loop)
    signals.install()
    yield loop, signals
    signals.remove()
    loop.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_stops_and_the_second_stops_at_once(signals, number):
    loop, seen = signals

    async def send_two():
        os.kill(os.getpid(), number)
        await seen.stop.wait()
        assert not seen.stop_at_once.is_set()
        os.kill(os.getpid(), number)
        await seen.stop_at_once.wait()

    loop.run_until_complete(asyncio.wait_for(send_two(), 5))


def test_hang_ups_during_a_reload_count_once(signals):
    loop, seen = signals
    begun = []

    async def hang_up():
        going_on, go_on = asyncio.Event(), asyncio.Event()

        async def reload():
            begun.append(1)
            going_on.set()
            await go_on.wait()

        task = asyncio.create_task(reload_on_signal(seen, reload))
        os.kill(os.getpid(), signal.SIGHUP)
        await going_on.wait()
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
        await seen.reload.wait()
        going_on.clear()
        go_on.set()
        await going_on.wait()
        await asyncio.sleep(0.02)
        task.cancel()

    loop.run_until_complete(asyncio.wait_for(hang_up(), 5))
    assert len(begun) == 2


def test_a_reload_that_raises_leaves_the_next_signal_heard(signals, caplog):
    loop, seen = signals
    begun = []

    async def hang_up():
        done = asyncio.Event()

        async def reload():
            begun.append(None)
            done.set()
            if len(begun) == 1:
                raise ValueError("inside")

        task = asyncio.create_task(reload_on_signal(seen, reload))
        for _ in range(2):
            done.clear()
            os.kill(os.getpid(), signal.SIGHUP)
            await done.wait()
        task.cancel()

    loop.run_until_complete(asyncio.wait_for(hang_up(), 5))
    assert len(begun) == 2
    assert "inside" in caplog.text


@pytest.mark.parametrize(
    ("drained", "hurried", "timeout_s", "result"),
    [
        pytest.param(True, False, 1.0, True, id="drained already"),
        pytest.param(False, True, 5.0, False, id="a second signal"),
        pytest.param(False, False, 0.03, False, id="the deadline"),
        pytest.param(True, True, 0.0, True, id="no deadline"),
    ],
)
async def test_the_drain_ends(drained, hurried, timeout_s, result):
    seen = Signals(asyncio.get_running_loop())
    if hurried:
        seen.stop_at_once.set()
    async with asyncio.timeout(5):
        assert await wait_drained(lambda: drained, seen, timeout_s) is result


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_where_it_asked(monkeypatch, tmp_path, abstract):
    name = f"@sidegate-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name[1:] if abstract else name)
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        notify_systemd("READY=1")
        assert listening.recv(100) == b"READY=1"


def test_nobody_is_told_where_nobody_asked(monkeypatch, tmp_path):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify_systemd("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify_systemd("READY=1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wanted_s", "addresses", "expected_s"),
    [
        (None, [TcpAddress("127.0.0.1", 1)], 0),
        (None, [TcpAddress("::1", 1), TcpAddress("localhost", 1)], 0),
        (None, [UnixAddress(Path("/run/a.sock"))], 0),
        (None, [TcpAddress("127.0.0.1", 1), TcpAddress("0.0.0.0", 1)], SHUTDOWN_DELAY_S),
        (None, [TcpAddress("::", 1)], SHUTDOWN_DELAY_S),
        (None, [TcpAddress("10.0.0.5", 1)], SHUTDOWN_DELAY_S),
        (None, [TcpAddress("a.example", 1)], SHUTDOWN_DELAY_S),
        (0.0, [TcpAddress("0.0.0.0", 1)], 0),
        (7.0, [TcpAddress("127.0.0.1", 1)], 7),
    ],
)
def test_how_long_listeners_still_accept(wanted_s, addresses, expected_s):
    assert choose_shutdown_delay(wanted_s, addresses) == expected_s


async def test_a_second_signal_ends_the_delay():
    signals = Signals(asyncio.get_running_loop())
    signals.stop_at_once.set()
    async with asyncio.timeout(10):
        await wait_shutdown_delay(signals, 3600)
