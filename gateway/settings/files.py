"""Read the files a configuration is made of, and remember which they were.

Shell. Everything is bounded: the size of a file, the number of files, and where
a policy's secrets may come from. What cannot be read is an `SpellingError`, with a
reason that names no content.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from gateway.files import UnusableFileError, read_file
from gateway.settings.patterns import PatternError, find_files, has_magic
from gateway.settings.problems import SpellingError
from gateway.settings.secret_texts import without_line_break

LARGEST_FILE = 32 * 1024 * 1024
LARGEST_SECRET = 64 * 1024
LARGEST_KEY_SET = 512 * 1024
MOST_FILES = 10_000

CheckPlace = Callable[[Path], None]
"""Raises SpellingError for a path that may not be read on behalf of whoever names it."""

_BOM = b"\xef\xbb\xbf"


class SourceFiles:
    """Reads files and keeps their names and one hash over their contents."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._watched: dict[Path, None] = {}

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) over everything read so far, in order."""
        return self._hash.hexdigest()

    @property
    def watched(self) -> tuple[Path, ...]:
        """The files and directories that were read, or tried, in order."""
        return tuple(self._watched)

    def watch(self, path: Path) -> None:
        """Remember a path whose change would change the configuration."""
        self._watched[path] = None

    def read_text(self, path: Path) -> str:
        """Return a YAML file's text; raises SpellingError when it cannot be used."""
        self.watch(path)
        content = _read(path, LARGEST_FILE)
        self._add(content)
        if content.startswith(_BOM):
            raise SpellingError("the file begins with a byte order mark", "save it as UTF-8 without one")
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise SpellingError(
                f"the file is not UTF-8: line {line} holds the byte {content[error.start]:#04x}"
            ) from None

    def read_secret(self, path: Path, check: CheckPlace) -> bytes:
        """Return a secret file's content without its last line break.

        `check` judges before anything is said of the file: it raises SpellingError for a place
        from which this secret may not come.
        """
        self.watch(path)  # also one that may not be read now: where it leads may be mended
        try:
            check(path)
            content = _read(path.resolve(), LARGEST_SECRET)
        except (OSError, RuntimeError):
            raise SpellingError("cannot be read: its path leads nowhere") from None
        except SpellingError as reason:
            raise SpellingError(
                reason.message.replace("the file", "lies in a file that", 1), reason.hint
            ) from None
        self._add(content)
        return without_line_break(content)

    def read_keys(self, path: Path, check: CheckPlace) -> bytes:
        """Return the content of a file with public keys; raises SpellingError when it cannot be used."""
        self.watch(path)
        check(path)
        content = _read(path, LARGEST_KEY_SET)
        self._add(content)
        return content

    def find(self, directory: Path, pattern: str) -> list[Path]:
        """Return the files that a pattern matches below `directory`, sorted; a plain path is itself.

        Raises:
            SpellingError: A directory cannot be listed: that is never an empty policy.
        """
        if not has_magic(pattern):
            self.watch(directory / pattern)
            if not os.path.lexists(directory / pattern):
                raise SpellingError("does not exist", "put it there, or correct the path")
            if os.path.isdir(directory / pattern):
                raise SpellingError("is a directory", "name the files in it by a pattern: policies/*.yaml")
            return [directory / pattern]
        try:
            return find_files(directory, pattern, watch=self.watch)
        except PatternError as problem:
            raise SpellingError(f"matches nothing that can be told: {problem}") from None

    def _add(self, content: bytes) -> None:
        # Each file's own digest, so that moving bytes from one file to the next changes the whole.
        self._hash.update(hashlib.sha256(content).digest())


def _read(path: Path, largest: int) -> bytes:
    """Return a regular file's bytes; never waits on a pipe or device."""
    try:
        return read_file(path, largest_bytes=largest).octets
    except UnusableFileError as problem:
        raise SpellingError(f"the file {problem}", problem.remedy, is_remedy=True) from None
