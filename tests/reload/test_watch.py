"""Show what asks for a load, with real files that are looked at every few milliseconds."""

import asyncio
import errno
import os
import time
from pathlib import Path

import pytest

from gateway.reload import sources as reloading
from gateway.reload.settle import ABSENT, Present
from gateway.reload.source import Cause, Outcome, Result, failed
from gateway.reload.sources import Sources
from gateway.reload.watch import CLOCK_TICK_S, ShortageError, digest_content, take_look
from tests.support.waiting import until

INTERVAL_S = 0.005


class Counted:
    """A source that counts its loads; each may do something while it runs."""

    name = "counted"

    def __init__(self, paths, *, since):
        self.since = since
        self.paths = paths
        self.count = 0
        self.counted = asyncio.Condition()
        self.meanwhile = []
        self.outcome = Outcome()
        self.sources = Sources([self], Path("gateway.yaml"), note=lambda name, cause: None)

    def watched(self):
        return tuple(self.paths)

    async def load(self, *, dry_run):
        if self.meanwhile:
            self.meanwhile.pop(0)()
        async with self.counted:
            self.count += 1
            self.counted.notify_all()
        return self.outcome

    async def reload(self):
        await self.sources.reload(Cause.API)

    def watch(self):
        return asyncio.create_task(self.sources.watch(interval_s=INTERVAL_S))

    async def until(self, count):
        async with asyncio.timeout(10), self.counted:
            await self.counted.wait_for(lambda: self.count >= count)

    async def several_looks(self):
        for _ in range(20):
            await asyncio.sleep(INTERVAL_S)


@pytest.fixture
def watched(tmp_path):
    """Return a directory with one file, both older than any process that watches them."""
    (tmp_path / "a.yaml").write_text("one")
    return tmp_path


@pytest.fixture
async def reloads(watched):
    # Later than the time stamps of the files by more than the watch's allowance for clocks.
    source = Counted([watched / "a.yaml", watched], since=time.time() + 1)
    await source.sources.follow()
    task = source.watch()
    yield source
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
    reloads = Counted([watched], since=time.time() + 1)
    await reloads.sources.follow()
    more = watched / "b.yaml"
    more.write_text("one")
    await asyncio.sleep(3 * CLOCK_TICK_S)  # older than the allowance for clocks
    reloads.meanwhile.append(lambda: (reloads.paths.append(more), more.unlink()))
    await reloads.reload()
    task = reloads.watch()
    await reloads.until(2)
    await reloads.several_looks()
    assert reloads.count == 2
    task.cancel()


async def test_what_changed_while_the_process_started_is_brought_in(watched):
    reloads = Counted([watched / "a.yaml"], since=time.time() - 60)
    task = reloads.watch()
    await reloads.until(1)
    await reloads.several_looks()
    assert reloads.count == 1
    task.cancel()


async def test_what_is_mended_before_the_watch_has_looked_is_brought_in(tmp_path):
    """A load found a directory away and went on to watch less; it is back, and no stamp tells of it."""
    policies, aside = tmp_path / "policies", tmp_path / "aside"
    policies.mkdir()
    (policies / "a.yaml").write_text("one")
    source = Counted([policies / "a.yaml", policies], since=time.time() + 1)
    await source.sources.follow()
    await asyncio.sleep(3 * CLOCK_TICK_S)
    policies.rename(aside)
    source.meanwhile.append(lambda: (source.paths.pop(0), aside.rename(policies)))
    await source.reload()
    task = source.watch()
    await source.until(2)
    await source.several_looks()
    assert source.count == 2
    task.cancel()


def test_the_content_decides_not_the_file_it_lies_in(tmp_path):
    """A mounted ConfigMap swaps one symbolic link; equal content behind another link is no change."""
    for version, text in (("v1", "one"), ("v2", "one"), ("v3", "two")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.yaml").write_text(text)
    looks, digests = [], []
    for version in ("v1", "v2", "v3"):
        (tmp_path / "tmp").symlink_to(version)
        (tmp_path / "tmp").replace(tmp_path / "data")
        looks.append(take_look([tmp_path / "data" / "a.yaml"]))
        digests.append(digest_content(looks[-1]))
    assert digests[0] == digests[1] != digests[2]
    assert looks[0] != looks[1]


def test_a_file_that_is_not_there_is_no_error(tmp_path):
    gone = tmp_path / "gone"
    assert take_look([gone]) == {gone: ABSENT}
    empty = digest_content(take_look([gone]))
    gone.write_text("")
    assert digest_content(take_look([gone])) != empty


def test_a_path_that_cannot_be_looked_at_is_a_state(tmp_path, monkeypatch):
    """Whatever the system says of it; the next look may find it in order."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("x")
    whole = take_look([tmp_path / "a"])
    assert [type(state) for state in whole.values()] == [Present]
    for number in (errno.EACCES, errno.EIO, errno.ESTALE, errno.ELOOP):

        def refuse(*_, number=number):
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patched:
            patched.setattr(os, "listdir", refuse)
            assert take_look([tmp_path / "a"]) != whole
        with monkeypatch.context() as patched:
            patched.setattr(Path, "stat", refuse)
            assert take_look([tmp_path / "a"]) != whole
        assert take_look([tmp_path / "a"]) == whole


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_look_without_descriptors_says_nothing(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(ShortageError):
        take_look([tmp_path])


async def test_what_lies_beside_under_a_hidden_name_puts_nothing_off(reloads, watched):
    """An open editor writes its swap file again and again; who writes beside and renames waits for nobody."""
    swap, beside = watched / ".b.yaml.swp", watched / ".new"
    whole = take_look([watched])
    for path in (swap, beside):
        path.write_text("half")
    assert take_look([watched]) == whole
    await reloads.several_looks()
    assert reloads.count == 0
    beside.replace(watched / "a.yaml")
    for turn in range(200):
        swap.write_text("x" * turn)
        if reloads.count:
            break
        await asyncio.sleep(INTERVAL_S)
    assert reloads.count == 1


def test_two_looks_at_a_directory_share_their_paths(tmp_path):
    """Ten thousand paths that are only equal take the loop 15 ms to compare, once a second."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("x")
    first, second = (take_look([tmp_path / "a"]) for _ in range(2))
    (one,), (other,) = first, second
    assert one is other


async def test_a_directory_that_cannot_be_read_ends_no_watch(reloads, watched, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(os, "listdir", refuse)
        await reloads.until(1)
    await reloads.until(2)
    (watched / "a.yaml").write_text("two")
    await reloads.until(3)


async def test_a_disk_that_answers_again_is_noticed(reloads, watched, monkeypatch):
    """No time stamp tells of it: what a source that failed reads is read again now and then."""
    reloads.outcome = failed(watched / "a.yaml", "cannot be read", Result.INVALID)

    def refuse(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "read", refuse)
        await reloads.reload()
        count = reloads.count
        await reloads.several_looks()
        assert reloads.count == count
    reloads.outcome = Outcome()
    await reloads.until(count + 1)
    await reloads.several_looks()
    assert reloads.count == count + 1


async def test_a_file_that_was_half_only_for_the_load_is_brought_in(reloads, watched):
    """The watch saw it whole before, and after: but the load that failed had read it in between."""
    path = watched / "a.yaml"
    whole = path.read_text()
    reloads.outcome = failed(path, "is half of it", Result.INVALID)
    reloads.meanwhile.append(lambda: path.write_text(""))
    await reloads.reload()
    count = reloads.count
    path.write_text(whole)
    reloads.outcome = Outcome()
    await reloads.until(count + 1)
    await reloads.several_looks()
    assert reloads.count == count + 1


async def test_a_load_without_descriptors_is_tried_again(reloads, watched, monkeypatch):
    reloads.outcome = failed(watched / "a.yaml", "cannot be read", Result.INVALID)

    def refuse(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        await reloads.reload()
        count = reloads.count
        await reloads.several_looks()
        assert reloads.count == count
    reloads.outcome = Outcome()
    await reloads.until(count + 1)


async def test_a_source_that_failed_is_tried_again_after_a_minute(reloads, watched, monkeypatch):
    reloads.outcome = failed(watched / "a.yaml", "out of memory", Result.IO_ERROR)
    await reloads.reload()
    count = reloads.count
    await reloads.several_looks()
    assert reloads.count == count
    monkeypatch.setattr(reloading, "RETRY_S", 0.0)
    reloads.outcome = Outcome()
    await reloads.until(count + 1)
    await reloads.several_looks()
    assert reloads.count == count + 1


class Swapped(Counted):
    """A source that takes over what its file holds, once the load that read it is told to."""

    def __init__(self, path, *, since):
        super().__init__([path], since=since)
        self.held = []

    async def load(self, *, dry_run):
        read = self.paths[0].read_text()
        await super().load(dry_run=dry_run)
        return Outcome(swap=lambda: self.held.append(read))


@pytest.fixture
async def swaps(watched):
    source = Swapped(watched / "a.yaml", since=time.time() + 1)
    await source.sources.follow()
    task = source.watch()
    yield source
    task.cancel()


async def test_what_is_written_while_it_is_loaded_is_not_taken_over(swaps, watched):
    """Half of a file may allow more than either version; the next look sees it whole."""
    swaps.meanwhile.append(lambda: (watched / "a.yaml").write_text("three"))
    (watched / "a.yaml").write_text("two")
    await swaps.until(2)
    await swaps.several_looks()
    assert swaps.held == ["three"]


async def test_what_changes_before_it_is_loaded_waits_for_another_look(watched):
    source = Swapped(watched / "a.yaml", since=time.time() + 1)
    await source.sources.follow()
    (watched / "a.yaml").write_text("two")
    report = await source.sources.reload(Cause.WATCH, only_if_quiet=True)
    assert (report.outcomes, source.held, source.sources.last_report) == ({}, [], None)
    task = source.watch()
    await until(lambda: source.held == ["two"])
    task.cancel()


async def test_what_was_changed_back_is_loaded_all_the_same(swaps, watched):
    """What was begun with the change in between is not in force: the look before it is what counts."""
    swaps.meanwhile.append(lambda: (watched / "a.yaml").write_text("half"))
    swaps.meanwhile.append(lambda: (watched / "a.yaml").write_text("two"))
    (watched / "a.yaml").write_text("two")
    await until(lambda: swaps.held == ["two"])


async def test_who_asks_on_purpose_gets_what_is_there(swaps, watched):
    swaps.meanwhile.append(lambda: (watched / "a.yaml").write_text("three"))
    (watched / "a.yaml").write_text("two")
    await swaps.reload()
    assert swaps.held[:1] == ["two"]
