"""Show what asks for a reload and what ends a process, with real files, signals and sockets."""

import asyncio
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from gateway.lifecycle import (
    CLOCK_TICK_S,
    SHUTDOWN_DELAY_S,
    ContentWatch,
    Signals,
    choose_shutdown_delay,
    content_fingerprint,
    notify_systemd,
    reload_on_signal,
    stat_fingerprint,
    wait_drained,
    wait_shutdown_delay,
)
from gateway.settings.model import TcpAddress, UnixAddress

INTERVAL_S = 0.005


class Reloads:
    """Counts reloads of a watch; each may do something while it runs."""

    def __init__(self, paths, *, since):
        self.count = 0
        self.counted = asyncio.Condition()
        self.paths = paths
        self.meanwhile = []
        self.watch = ContentWatch(lambda: tuple(self.paths), self.reload, since=since)

    async def reload(self):
        await self.watch.look()
        if self.meanwhile:
            self.meanwhile.pop(0)()
        async with self.counted:
            self.count += 1
            self.counted.notify_all()

    async def until(self, count):
        async with asyncio.timeout(10), self.counted:
            await self.counted.wait_for(lambda: self.count >= count)

    async def several_looks(self):
        for _ in range(10):
            await asyncio.sleep(INTERVAL_S)


@pytest.fixture
def watched(tmp_path):
    """Return a directory with one file, both older than any process that watches them."""
    (tmp_path / "a.yaml").write_text("one")
    return tmp_path


@pytest.fixture
async def reloads(watched):
    # Later than the time stamps of the files by more than the watch's allowance for clocks.
    watch = Reloads([watched / "a.yaml", watched], since=time.time() + 1)
    await watch.watch.begin()
    task = asyncio.create_task(watch.watch.watch(interval_s=INTERVAL_S))
    yield watch
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


CHANGES = {
    "other bytes": lambda at: (at / "a.yaml").write_text("two"),
    "another file": lambda at: (at / "b.yaml").write_text(""),
    "a file less": lambda at: (at / "a.yaml").unlink(),
    "a file in its place": lambda at: (
        (at / "b.tmp").write_text("two"),
        (at / "b.tmp").replace(at / "a.yaml"),
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_change_of_content_asks_for_one_reload(reloads, watched, change):
    change(watched)
    await reloads.until(1)
    await reloads.several_looks()
    assert reloads.count <= 2  # the second only when it was seen half done


async def test_time_stamps_alone_ask_for_nothing(reloads, watched):
    os.utime(watched / "a.yaml")
    await reloads.several_looks()
    (watched / "a.yaml").write_text("one")
    await reloads.several_looks()
    assert reloads.count == 0


async def test_a_reload_by_others_is_not_repeated(reloads, watched):
    (watched / "a.yaml").write_text("two")
    await reloads.reload()
    await reloads.several_looks()
    assert reloads.count <= 2
    (watched / "a.yaml").write_text("two")
    count = reloads.count
    await reloads.several_looks()
    assert reloads.count == count


async def test_a_change_during_a_reload_is_not_missed(reloads, watched):
    reloads.meanwhile.append(lambda: (watched / "a.yaml").write_text("three"))
    (watched / "a.yaml").write_text("two")
    await reloads.until(2)


async def test_paths_that_a_reload_brings_in_are_watched(reloads, watched, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "c.yaml"
    other.write_text("one")
    reloads.paths.append(other)
    await reloads.reload()
    await reloads.several_looks()
    count = reloads.count
    other.write_text("two")
    await reloads.until(count + 1)


async def test_a_file_that_a_reload_read_and_that_then_went_is_missed(watched):
    """It goes before the watch has looked at what the reload read: the rights in it would stay."""
    reloads = Reloads([watched], since=time.time() + 1)
    await reloads.watch.begin()
    more = watched / "b.yaml"
    more.write_text("one")
    await asyncio.sleep(3 * CLOCK_TICK_S)  # older than the allowance for clocks
    reloads.meanwhile.append(lambda: (reloads.paths.append(more), more.unlink()))
    await reloads.reload()
    task = asyncio.create_task(reloads.watch.watch(interval_s=INTERVAL_S))
    await reloads.until(2)
    await reloads.several_looks()
    assert reloads.count == 2
    task.cancel()


async def test_what_changed_while_the_process_started_is_brought_in(watched):
    reloads = Reloads([watched / "a.yaml"], since=time.time() - 60)
    task = asyncio.create_task(reloads.watch.watch(interval_s=INTERVAL_S))
    await reloads.until(1)
    await reloads.several_looks()
    assert reloads.count == 1
    task.cancel()


def test_the_content_decides_not_the_file_it_lies_in(tmp_path):
    """A mounted ConfigMap swaps one symbolic link; equal content behind another link is no change."""
    for version, text in (("v1", "one"), ("v2", "one"), ("v3", "two")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.yaml").write_text(text)
    seen = []
    for version in ("v1", "v2", "v3"):
        (tmp_path / "tmp").symlink_to(version)
        (tmp_path / "tmp").replace(tmp_path / "data")
        path = tmp_path / "data" / "a.yaml"
        seen.append((content_fingerprint([path]), stat_fingerprint([path])))
    (first, first_stat), (second, second_stat), (third, _) = seen
    assert first == second != third
    assert first_stat != second_stat


def test_a_file_that_is_not_there_is_no_error(tmp_path):
    assert stat_fingerprint([tmp_path / "gone"]) == ()
    empty = content_fingerprint([tmp_path / "gone"])
    (tmp_path / "gone").write_text("")
    assert content_fingerprint([tmp_path / "gone"]) != empty


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
