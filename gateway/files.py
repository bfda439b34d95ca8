"""Open what a path names in one way: a regular file of a sensible size, read whole, or an error.

Paths come from configurations, and what they name may be anything and may change at any
moment: a pipe nobody writes to, a device without end, a file that somebody is just writing.
Nothing here waits, nothing reads more than it was allowed to, and a file that changed
between the first and the last octet is an error, not a mixture.

What is written is written beside, synced and renamed: a reader sees the old file or the
new one, never a part.

Shell: blocks on the file system; beside a live event loop it belongs on a thread.

Sources: open(2) (O_NONBLOCK for pipes and devices), rename(2), fsync(2).
"""

import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from errno import (
    EACCES,
    EIO,
    ELOOP,
    EMFILE,
    ENAMETOOLONG,
    ENFILE,
    ENOENT,
    ENOTDIR,
    EPERM,
    ESTALE,
)
from pathlib import Path
from typing import Protocol

_BEGINNING = b"-----BEGIN "
_REMEDIES = {
    ENOENT: "put it there, or correct the path",
    EACCES: "let the user of this process read it, and enter the directories above it (chmod, chown)",
    EPERM: "let the user of this process read it (chmod, chown)",
    ENOTDIR: "a part of its path is a file; correct the path",
    ELOOP: "the links on its path lead in a circle; correct them",
    ENAMETOOLONG: "choose a shorter path",
    EMFILE: "raise the limit of open files (ulimit -n, LimitNOFILE=)",
    ENFILE: "raise the limit of open files of the system (sysctl fs.file-max)",
    EIO: "look at the disk or the mount that it is on",
    ESTALE: "mount its file system again",
}


class UnusableFileError(Exception):
    """Why a file cannot be used: the text continues "the file …" and names no path and no content."""

    def __init__(self, reason: str, errno: int = 0, remedy: str = "") -> None:
        super().__init__(reason)
        self.errno = errno
        """What the system said, 0 when it was not the system."""
        self.remedy = remedy or _REMEDIES.get(errno, "")
        """What to do about it; nothing where the reason says it."""


class MissingFileError(UnusableFileError):
    """There is nothing at that path."""


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file as it was at one moment."""

    octets: bytes = field(repr=False)
    status: os.stat_result = field(repr=False)


class ReadFile(Protocol):
    """One of the ways to read a file below."""

    def __call__(self, path: Path, *, largest_bytes: int) -> FileContent:
        """Return its content; raises UnusableFileError."""


def read_file(path: Path, *, largest_bytes: int) -> FileContent:
    """Return the content of a regular file that did not change while it was read.

    Args:
        path: Any path; links are followed.
        largest_bytes: A larger file is an error.

    Raises:
        MissingFileError: It does not exist.
        UnusableFileError: It cannot be read, is no regular file, is larger, or was being written.
    """
    descriptor = _open(path)
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            remedy = "it is a directory: name a file in it" if stat.S_ISDIR(before.st_mode) else ""
            raise UnusableFileError("is not a regular file", remedy=remedy)
        if before.st_size > largest_bytes:
            raise UnusableFileError(f"is larger than {largest_bytes // 1024} KiB")
        octets = _read_whole(descriptor, before.st_size)
        if _identity(before) != _identity(os.fstat(descriptor)):
            raise UnusableFileError("changed while it was read; write it beside and rename it")
        if len(octets) != before.st_size:  # files of /proc say that they are empty
            raise UnusableFileError("is no plain file: it does not hold what its size says")
        return FileContent(octets, before)
    except OSError as error:
        raise _unreadable(error) from None
    finally:
        os.close(descriptor)


def read_pem_file(path: Path, *, largest_bytes: int) -> FileContent:
    """Return the content of a file in PEM form, in which whatever begins also ends.

    Those who parse it pass over a last part that was cut short, so that a bundle of two authorities
    would count as one.

    Raises:
        MissingFileError, UnusableFileError: As `read_file`, or a part of it has no end.
    """
    content = read_file(path, largest_bytes=largest_bytes)
    lines = [line.strip() for line in content.octets.splitlines()]
    markers = [line for line in lines if line.startswith(b"-----")]
    begun = sum(line.startswith(b"-----BEGIN ") for line in markers)
    ended = sum(line.startswith(b"-----END ") and line.endswith(b"-----") for line in markers)
    last = next((line for line in reversed(lines) if line), b"")
    if begun != ended or _BEGINNING.startswith(last[: len(_BEGINNING)] or b" "):
        raise UnusableFileError("is cut short: a certificate or key in it has no end")
    return content


def list_directory(path: Path) -> tuple[str, ...]:
    """Return the sorted names in a directory; one that cannot be read is an error, never an empty one.

    Raises:
        MissingFileError: It does not exist.
        UnusableFileError: It is no directory, or cannot be listed.
    """
    try:
        return tuple(sorted(os.listdir(path)))
    except FileNotFoundError:
        raise MissingFileError("does not exist", ENOENT) from None
    except (OSError, ValueError) as error:
        raise _unreadable(error) from None


def real_path(path: Path) -> Path:
    """Return where a path leads, by whatever links, or the path itself when that cannot be told."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links is the one or the other
        return path.absolute()


def write_beside(path: Path, octets: bytes, *, mode: int) -> None:
    """Replace the file at `path` whole and durably: written beside, synced, renamed, directory synced.

    Raises:
        OSError: Nothing was replaced; what lay beside is gone.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(beside, flags, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        os.rename(beside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
    _sync_directory(path.parent)


def remove_file(path: Path) -> None:
    """Remove a file durably.

    Raises:
        OSError: It is still there, or may be after a crash.
    """
    os.unlink(path)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError:
        raise MissingFileError("does not exist", ENOENT) from None
    except (OSError, ValueError) as error:
        raise _unreadable(error) from None


def _read_whole(descriptor: int, size: int) -> bytes:
    """Return what the file holds, at most one octet more than its size: then it has grown."""
    pieces: list[bytes] = []
    left = size + 1
    while left and (piece := os.read(descriptor, min(left, 1 << 20))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _unreadable(error: OSError | ValueError) -> UnusableFileError:
    if isinstance(error, OSError):
        return UnusableFileError(f"cannot be read: {error.strerror}", error.errno or 0)
    return UnusableFileError("cannot be read: its path is none")
