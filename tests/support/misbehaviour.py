"""Make files and directories misbehave in every way that a file system has, and mend them.

What misbehaves is put in the place of the sound one by a rename where that is possible, and so is
what mends it: whoever watches needs no luck to see either.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

GIB = 1 << 30

Make = Callable[[Path, bytes], None]
"""Puts something at a path where nothing is; told what the sound file holds."""


def _fifo(path: Path, _: bytes) -> None:
    os.mkfifo(path)


def _device(path: Path, _: bytes) -> None:
    path.symlink_to("/dev/zero")


def _link_loop(path: Path, _: bytes) -> None:
    path.symlink_to(path.name)


def _directory(path: Path, _: bytes) -> None:
    path.mkdir()


def _file(path: Path, _: bytes) -> None:
    path.write_bytes(b"this is no directory")


def _empty(path: Path, _: bytes) -> None:
    path.touch()


def _half(path: Path, octets: bytes) -> None:
    path.write_bytes(octets[: len(octets) // 2])


def _huge(path: Path, octets: bytes) -> None:
    path.write_bytes(octets)
    os.truncate(path, GIB)


def _nothing(_: Path, __: bytes) -> None:
    pass


REPLACEMENTS: dict[str, Make] = {
    "gone": _nothing,
    "empty": _empty,
    "half": _half,
    "a FIFO": _fifo,
    "a device": _device,
    "a directory": _directory,
    "a link loop": _link_loop,
    "1 GiB": _huge,
    "a file": _file,
    "an empty directory": _directory,
}
MODES = {"mode 000": 0o000, "mode 0311": 0o311}
WRITTEN = "written all the time"

OF_FILES = ("gone", "mode 000", "empty", "half", "a FIFO", "a device", "a directory", "a link loop", "1 GiB")
OF_DIRECTORIES = ("gone", "mode 000", "mode 0311", "a FIFO", "a device", "a file", "a link loop")


class Misbehaving:
    """One path that misbehaves until it is mended.

    Args:
        path: A file or a directory.
        how: A name of the tables above.
        aside: A directory that nobody watches, where the sound one waits.
    """

    def __init__(self, path: Path, how: str, aside: Path) -> None:
        self.path = path
        self.how = how
        self._sound = aside / path.name
        self._mode = path.stat().st_mode
        octets = b"" if path.is_dir() else path.read_bytes()
        if how in MODES:
            if not path.is_dir():
                self._copy_aside(octets)
            path.chmod(MODES[how])
            return
        path.rename(self._sound)
        REPLACEMENTS[how](path, octets)

    def mend(self) -> None:
        """Put the sound one back, whole at once."""
        if not self._sound.exists():
            self.path.chmod(self._mode)
            return
        if self.path.is_dir() and not self.path.is_symlink():
            self.path.rmdir()
        elif self._sound.is_dir():
            self.path.unlink(missing_ok=True)
        self._sound.rename(self.path)

    def _copy_aside(self, octets: bytes) -> None:
        status = self.path.stat()
        self._sound.write_bytes(octets)
        self._sound.chmod(self._mode)
        os.chown(self._sound, status.st_uid, status.st_gid)


@contextmanager
def written_all_the_time(path: Path, *, pieces: int) -> Iterator[None]:
    """Cut the file short and write it anew in so many pieces, as fast as can be; in the end it is whole."""
    octets = path.read_bytes()
    step = -(-len(octets) // pieces)
    is_over = threading.Event()

    def write() -> None:
        while not is_over.is_set():
            with path.open("wb", buffering=0) as file:
                for start in range(0, len(octets), step):
                    file.write(octets[start : start + step])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        is_over.set()
        writer.join()
