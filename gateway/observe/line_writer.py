"""Write log lines to a descriptor from a thread, never holding up the caller.

`write` only appends to a bounded queue. When the queue is full, because the
reader of our pipe or the disk is slow, the batch is dropped and its lines are
counted: an access log that stalls must not stall the gateway. The descriptor's
flags are left alone (stdout is shared with our parent), so it may be blocking or
not; both are handled, as are partial writes and a reader that went away. After a
write that ended inside a line, the next one starts on a line of its own.

Sources: write(2), poll(2), pipe(7).
"""

import contextlib
import os
import select
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, SimpleQueue

QUEUE_BYTES = 8 * 1024 * 1024
"""Waiting beyond this is dropped."""
_POLL_MS = 100
_NEWLINE = b"\n"


class LineWriter:
    """Owns one thread that writes lines to one descriptor or file.

    Args:
        destination: An open descriptor, which stays open, or the path of a file to append to.
        queue_bytes: How much may wait.

    Raises:
        OSError: when the file cannot be opened.
    """

    def __init__(self, destination: int | Path, *, queue_bytes: int = QUEUE_BYTES) -> None:
        self._path = destination if isinstance(destination, Path) else None
        self._fd = _open_file(destination) if isinstance(destination, Path) else destination
        self._queue_bytes = queue_bytes
        self._queue: SimpleQueue[tuple[bytes, int] | None] = SimpleQueue()
        # Each counter is written by one thread only, so none needs a lock.
        self._queued_bytes = 0
        self._taken_bytes = 0
        self._dropped_at_queue = 0
        self._dropped_at_write = 0
        self._reopen = threading.Event()
        self._give_up_at: float | None = None
        self._closed = False
        self._inside_line = False
        self._thread = threading.Thread(target=self._run, name="line-writer", daemon=True)
        self._thread.start()

    @property
    def dropped_lines(self) -> int:
        """How many lines were lost since the start."""
        return self._dropped_at_queue + self._dropped_at_write

    def write(self, lines: bytes, count: int) -> None:
        """Queue a batch of `count` whole lines, or drop it when too much is waiting or after `close`."""
        size = len(lines)
        if self._closed or self._queued_bytes - self._taken_bytes + size > self._queue_bytes:
            self._dropped_at_queue += count
            return
        self._queued_bytes += size
        self._queue.put((lines, count))

    def reopen(self) -> None:
        """Open the file by its name again before the next line, for logrotate; nothing for a descriptor."""
        if self._path is not None and not self._closed:
            self._reopen.set()
            self._queue.put((b"", 0))

    def close(self, timeout_s: float) -> bool:
        """Write what is waiting, for at most about `timeout_s`; return whether no line was ever lost.

        What could not be written by then is counted as dropped, unless a blocking write
        still holds the thread; that thread does not keep the process alive.
        """
        if not self._closed:
            self._closed = True
            self._give_up_at = time.monotonic() + timeout_s
            self._queue.put(None)
        self._thread.join(timeout_s + 2 * _POLL_MS / 1000)
        return not self._thread.is_alive() and self.dropped_lines == 0

    def _run(self) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self._close_file)
            for lines, count in self._batches():
                self._taken_bytes += len(lines)
                if self._reopen.is_set():
                    self._reopen.clear()
                    self._reopen_file()
                if lines and not self._write_all(lines):
                    self._dropped_at_write += count

    def _batches(self) -> Iterator[tuple[bytes, int]]:
        """Yield what is queued until `close`; waiting batches are joined, so that a burst is one write."""
        while (item := self._queue.get()) is not None:
            lines, count = item
            with contextlib.suppress(Empty):
                while len(lines) < 256 * 1024:
                    following = self._queue.get_nowait()
                    if following is None:
                        yield lines, count
                        return
                    lines += following[0]
                    count += following[1]
            yield lines, count

    def _write_all(self, lines: bytes) -> bool:
        """Write one batch; return False when part of it was lost."""
        if self._inside_line:
            lines = _NEWLINE + lines
        view = memoryview(lines)
        written = 0
        while written < len(view):
            if self._is_too_late():
                break
            try:
                written += os.write(self._fd, view[written:])
            except BlockingIOError:
                self._wait_until_writable()
            except OSError:
                # The reader is gone (EPIPE) or the disk is full: the next batch is tried again.
                break
        if written:
            self._inside_line = lines[written - 1 : written] != _NEWLINE
        return written == len(view)

    def _wait_until_writable(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        poll.poll(_POLL_MS)

    def _is_too_late(self) -> bool:
        return self._give_up_at is not None and time.monotonic() >= self._give_up_at

    def _reopen_file(self) -> None:
        """Swap the file for the one that now has its name; the old one is kept when that fails."""
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            fresh = _open_file(self._path)
            os.close(self._fd)
            self._fd = fresh
            self._inside_line = False

    def _close_file(self) -> None:
        if self._path is not None:
            os.close(self._fd)


def _open_file(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
