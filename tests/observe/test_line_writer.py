"""Show that lines arrive whole, and that a stalled reader costs lines and nothing else."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from gateway.observe.line_writer import LineWriter


@contextmanager
def pipe(*, blocking: bool) -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    os.set_blocking(writing, blocking)
    try:
        yield reading, writing
    finally:
        os.close(writing)
        with suppress(OSError):
            os.close(reading)


def read_to_end(reading: int) -> bytes:
    parts = []
    while part := os.read(reading, 65536):
        parts.append(part)
    return b"".join(parts)


def test_a_file_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"earlier\n")
    writer = LineWriter(path)
    for number in range(100):
        writer.write(b"line %d\n" % number, 1)
    assert writer.close(5.0)
    assert path.read_bytes() == b"earlier\n" + b"".join(b"line %d\n" % number for number in range(100))


def test_a_file_that_cannot_be_opened_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LineWriter(tmp_path / "absent" / "access.log")


def test_reopen_follows_the_name(tmp_path: Path) -> None:
    path, rotated = tmp_path / "access.log", tmp_path / "access.log.1"
    writer = LineWriter(path)
    writer.write(b"before\n", 1)
    path.rename(rotated)
    writer.reopen()
    writer.write(b"after\n", 1)
    assert writer.close(5.0)
    assert rotated.read_bytes() + path.read_bytes() == b"before\nafter\n"
    assert path.read_bytes().endswith(b"after\n")


def test_reopen_keeps_the_old_file_when_the_new_one_cannot_be_opened(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    moved = tmp_path / "moved"
    writer = LineWriter(folder / "access.log")
    folder.rename(moved)
    writer.reopen()
    writer.write(b"line\n", 1)
    assert writer.close(5.0)
    assert (moved / "access.log").read_bytes() == b"line\n"


@pytest.mark.parametrize("blocking", [True, False])
def test_more_than_a_pipe_holds_arrives_whole(blocking: bool) -> None:
    batch = b"x" * 9_999 + b"\n"
    with pipe(blocking=blocking) as (reading, writing):
        received: list[bytes] = []
        reader = threading.Thread(target=lambda: received.append(os.read(reading, 100)))
        writer = LineWriter(writing)
        for _ in range(100):
            writer.write(batch, 1)
        reader.start()
        reader.join()
        total = len(received[0])
        while total < 100 * len(batch):
            total += len(os.read(reading, 65536))
        assert writer.close(5.0)
        assert writer.dropped_lines == 0


@pytest.mark.parametrize("blocking", [True, False])
def test_a_reader_that_stalls_costs_lines_but_never_the_caller(blocking: bool) -> None:
    batch = b"x" * 9_999 + b"\n"
    with pipe(blocking=blocking) as (reading, writing):
        writer = LineWriter(writing, queue_bytes=200_000)
        for _ in range(200):
            writer.write(batch, 1)
        assert writer.dropped_lines >= 100
        assert not writer.close(0.05)
        # A blocking write ends only when somebody reads or closes.
        os.close(reading)
        writer._thread.join(5.0)
        assert not writer._thread.is_alive()


def test_a_reader_that_went_away_costs_lines_only() -> None:
    with pipe(blocking=True) as (reading, writing):
        os.close(reading)
        writer = LineWriter(writing)
        writer.write(b"a\nb\n", 2)
        assert not writer.close(5.0)
        assert writer.dropped_lines == 2


def test_after_a_torn_line_the_next_starts_on_its_own() -> None:
    with pipe(blocking=False) as (reading, writing):
        writer = LineWriter(writing)
        writer._inside_line = True
        writer.write(b"whole\n", 1)
        assert writer.close(5.0)
        assert os.read(reading, 100) == b"\nwhole\n"


def test_lines_after_close_are_counted_as_dropped(tmp_path: Path) -> None:
    writer = LineWriter(tmp_path / "log")
    assert writer.close(5.0)
    writer.write(b"late\n", 1)
    assert writer.dropped_lines == 1
    assert (tmp_path / "log").read_bytes() == b""
    assert (tmp_path / "log").stat().st_mode & 0o007 == 0, "a log names clients and paths"


def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    writer = LineWriter(tmp_path / "log")
    writer.write(b"a\n", 1)
    assert writer.close(5.0)
    assert writer.close(5.0)
