"""Find the files that a pattern names, and let no directory pass for an empty one.

The standard library's `glob` swallows every error: a directory that cannot be listed, or is
away for a moment, matches nothing, and its policies are gone. Here what cannot be listed is
an error. Shell: lists directories.

A pattern is a path whose segments may hold `*`, `?` and `[…]`; `**` is any number of
directories. Names that begin with a dot are not matched unless the segment begins with one:
editors leave such files, and mounted ConfigMaps keep their versions in such directories.
"""

import fnmatch
import os
import re
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from gateway.files import MissingFileError, UnusableFileError, list_directory

_MAGIC = re.compile(r"[*?\[]")
_POLICY_ENDINGS = (".yaml", ".yml")
DEEPEST = 32
"""Directories below each other; a loop of links ends there at the latest."""

_Place = tuple[int, int, int]


class PatternError(Exception):
    """A directory on the way cannot be listed; the text names it and says why."""


def has_magic(pattern: str) -> bool:
    """Return whether the pattern may match more than one path."""
    return _MAGIC.search(pattern) is not None


def find_files(directory: Path, pattern: str, *, watch: Callable[[Path], None]) -> list[Path]:
    """Return the paths that `pattern` matches below `directory`, sorted.

    Directories are left out, but for those that are named like a policy file: whoever opens
    them says what is wrong. The same holds for links that lead nowhere, pipes and devices.

    Args:
        directory: Where a relative pattern begins.
        pattern: The pattern.
        watch: Told each directory whose content decides what is found.

    Raises:
        PatternError: A directory that is there cannot be listed.
    """
    first, parts = _split(directory, pattern)
    found = set(_expand(first, parts, watch, 0, set()))
    return sorted(path for path in found if path.suffix in _POLICY_ENDINGS or not _is_directory(path))


def find_neighbours(directory: Path, pattern: str) -> list[Path]:
    """Return the files named like policy files in the directories that hold what `pattern` may match."""
    *way, _ = Path(pattern).parts
    found: list[Path] = []
    for ending in _POLICY_ENDINGS:
        found += find_files(directory, str(Path(*way, f"*{ending}")), watch=_ignore)
    return sorted(path for path in found if not _is_directory(path))


def _ignore(path: Path) -> None:
    """Watch nothing."""


def _split(directory: Path, pattern: str) -> tuple[Path, tuple[str, ...]]:
    """Return the part of a pattern that has no magic, and the segments behind it."""
    parts = Path(pattern).parts
    fixed = next((index for index, part in enumerate(parts) if has_magic(part)), len(parts) - 1)
    return directory.joinpath(*parts[:fixed]), parts[fixed:]


def _expand(
    directory: Path, parts: tuple[str, ...], watch: Callable[[Path], None], depth: int, done: set[_Place]
) -> Iterator[Path]:
    """Yield what lies below one directory; what is `done` under another name is not walked again.

    Links that lead to one directory from several places, level upon level, would otherwise make
    more ways than can be walked in a lifetime.
    """
    segment, rest = parts[0], parts[1:]
    place = _place(directory, len(parts))
    if place is not None and place in done:
        return
    if depth > DEEPEST:
        raise PatternError(
            f"{directory} lies more than {DEEPEST} directories deep: is there a loop of links?"
        )
    if segment == "**":
        yield from _expand(directory, rest or ("*",), watch, depth, done)
        for name in _names(directory, watch):
            below = directory / name
            if not name.startswith(".") and _is_directory(below):
                yield from _expand(below, parts, watch, depth + 1, done)
        done.update(() if place is None else (place,))
        return
    matches = partial(fnmatch.fnmatchcase, pat=segment)
    for name in _names(directory, watch):
        if not matches(name) or (name.startswith(".") and not segment.startswith(".")):
            continue
        if not rest:
            yield directory / name
        elif _is_directory(directory / name):
            yield from _expand(directory / name, rest, watch, depth + 1, done)
    done.update(() if place is None else (place,))


def _place(directory: Path, parts_left: int) -> _Place | None:
    """Return what a directory is, by whatever name, and how much of the pattern is compared below it."""
    try:
        status = directory.stat()
    except OSError:  # whoever lists it says why
        return None
    return (status.st_dev, status.st_ino, parts_left)


def _names(directory: Path, watch: Callable[[Path], None]) -> tuple[str, ...]:
    watch(directory)
    try:
        return list_directory(directory)
    except MissingFileError:
        return ()
    except UnusableFileError as problem:
        raise PatternError(f"the directory {os.fspath(directory)} {problem}") from problem


def _is_directory(path: Path) -> bool:
    """Return whether there is a directory; raises PatternError where that cannot be told."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise PatternError(f"{path} cannot be looked at: {error.strerror}") from error
