"""Show that only a whole, regular, small file is read, and that nobody sees half of what is written."""

import errno
import os
from pathlib import Path

import pytest

from gateway.files import (
    MissingFileError,
    UnusableFileError,
    list_directory,
    read_file,
    read_pem_file,
    write_beside,
)

KIB = 1024


def _is_missing(path: Path) -> None:
    pass


def _is_directory(path: Path) -> None:
    path.mkdir()


def _is_fifo(path: Path) -> None:
    os.mkfifo(path)


def _is_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _is_link_loop(path: Path) -> None:
    path.symlink_to(path.name)


def _is_large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 30)


def _is_of_proc(path: Path) -> None:
    path.symlink_to("/proc/self/environ")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_is_missing, "does not exist"),
        (_is_directory, "is not a regular file"),
        (_is_fifo, "is not a regular file"),
        (_is_device, "is not a regular file"),
        (_is_link_loop, "cannot be read: Too many levels of symbolic links"),
        (_is_large, "is larger than 64 KiB"),
        (_is_of_proc, "is no plain file"),
    ],
)
def test_what_is_no_file_of_ours_is_an_error_at_once(tmp_path: Path, make, says: str) -> None:
    path = tmp_path / "thing"
    make(path)
    with pytest.raises(UnusableFileError) as caught:
        read_file(path, largest_bytes=64 * KIB)
    assert str(caught.value).startswith(says)
    assert isinstance(caught.value, MissingFileError) is (make is _is_missing)


def test_a_file_of_exactly_the_largest_size_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for size in (0, 1, KIB - 1, KIB):
        path.write_bytes(b"x" * size)
        assert read_file(path, largest_bytes=KIB).octets == b"x" * size
    path.write_bytes(b"x" * (KIB + 1))
    with pytest.raises(UnusableFileError, match="is larger than 1 KiB"):
        read_file(path, largest_bytes=KIB)


def test_a_path_that_no_file_can_have_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnusableFileError, match="its path is none"):
        read_file(tmp_path / "a\0b", largest_bytes=KIB)


def test_a_file_that_is_being_written_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"first half")
    real_read = os.read

    def read_while_somebody_writes(descriptor: int, size: int) -> bytes:
        octets = real_read(descriptor, size)
        with path.open("ab") as file:
            file.write(b"more")
        return octets

    monkeypatch.setattr(os, "read", read_while_somebody_writes)
    with pytest.raises(UnusableFileError, match="changed while it was read"):
        read_file(path, largest_bytes=1 << 20)


def test_an_error_of_the_disk_is_told_without_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret-name"
    path.write_bytes(b"content")

    def broken(descriptor: int, size: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(os, "read", broken)
    with pytest.raises(UnusableFileError) as caught:
        read_file(path, largest_bytes=KIB)
    assert str(caught.value) == "cannot be read: Input/output error"


BLOCK = b"-----BEGIN CERTIFICATE-----\nMIIB\nAAAA\n-----END CERTIFICATE-----"


@pytest.mark.parametrize("line_break", [b"\n", b"\r\n"])
def test_a_bundle_that_is_cut_anywhere_in_its_second_part_is_no_bundle(
    tmp_path: Path, line_break: bytes
) -> None:
    """Whoever parses it would take the first part for all there is."""
    path = tmp_path / "bundle.pem"
    first = b"# a comment" + line_break + BLOCK.replace(b"\n", line_break) + line_break
    whole = first + BLOCK.replace(b"\n", line_break)
    for end in range(len(first) + 1, len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(UnusableFileError, match="is cut short"):
            read_pem_file(path, largest_bytes=KIB)
    for sound in (b"", first, whole, whole + line_break * 2, whole + line_break + b"a comment"):
        path.write_bytes(sound)
        assert read_pem_file(path, largest_bytes=KIB).octets == sound


def test_no_descriptor_is_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        with pytest.raises(UnusableFileError):
            read_file(path, largest_bytes=KIB)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_directory_is_listed_or_an_error(tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    (tmp_path / "a").mkdir()
    assert list_directory(tmp_path) == ("a", "b")
    with pytest.raises(MissingFileError):
        list_directory(tmp_path / "gone")
    with pytest.raises(UnusableFileError, match="cannot be read: Not a directory"):
        list_directory(tmp_path / "b")


def test_what_is_written_replaces_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    inode = path.stat().st_ino
    write_beside(path, b"new", mode=0o600)
    status = path.stat()
    assert (path.read_bytes(), status.st_mode & 0o777) == (b"new", 0o600)
    assert status.st_ino != inode
    assert list_directory(tmp_path) == ("file",)


def test_what_could_not_be_written_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_beside(path, b"new", mode=0o600)
    assert path.read_bytes() == b"old"
    assert list_directory(tmp_path) == ("file",)
