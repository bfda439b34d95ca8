"""Know which files the process keeps secret, and keep those who write policies from naming them.

A policy editor may name files: secrets of clients, key sets, authorities. None of them may
be what only the process and its operator know, or a client could log in with the admin
token and an error could tell what is in a key. A file is known by its real path and by its
inode, so neither `..` nor a link of any kind leads to it under another name.

Shell: looks at the file system when it is asked, reads nothing. What a race between this
look and the reading could win is bounded by who may write there: a policy editor's files
are the operator's to copy.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.files import real_path
from gateway.settings.model import AdminSettings, KeySettings, StateSettings
from gateway.settings.problems import SpellingError

_MOST_ENTRIES = 10_000
_OF_PROCESSES = Path("/proc")
"""Environment, memory and open files of this and other processes, as files."""
_BESIDE_THE_STATE = ("", "-wal", "-shm", "-journal", ".lock")

Identity = tuple[int, int]
"""Device and inode."""


def allow_any_place(path: Path) -> None:
    """Raise nothing: what the operator writes may name any file."""


class PrivateFiles:
    """The files and directories that the process keeps secret.

    Args:
        main: The main configuration file.
        values: What was read under its keys, by attribute, `data_directory` among it.
    """

    def __init__(self, main: Path, values: Mapping[str, Any]) -> None:
        named = list(_named_files(main, values))
        self.by_key: tuple[tuple[str, Path], ...] = tuple((key, real_path(path)) for key, path in named)
        """Each with the key that names it, for people."""
        keys: KeySettings = values.get("keys", KeySettings())
        tokens = values.get("bearer_token_files", {}).values()
        self._key_directory = real_path(values["data_directory"] / keys.directory)
        self._own = {path for _, path in self.by_key}
        self._own_identities = {*_identities(self._own), *_identities(_entries(self._key_directory))}
        self._tokens = {real_path(token.file) for token in tokens}
        self._token_identities = set(_identities(self._tokens))

    def holds(self, path: Path) -> bool:
        """Return whether a path leads, by whatever links, to one of these files, or into the process."""
        real = real_path(path)
        is_token = real in self._tokens or not self._token_identities.isdisjoint(_identities([real]))
        return is_token or self.holds_own(path)

    def holds_own(self, path: Path) -> bool:
        """Return the same, but for the tokens that `bearer_token_files` lists."""
        real = real_path(path)
        if real in self._own or any(
            real.is_relative_to(directory) for directory in (self._key_directory, _OF_PROCESSES)
        ):
            return True
        return not self._own_identities.isdisjoint(_identities([real]))


@dataclass(frozen=True, slots=True)
class PolicyReach:
    """Which files a policy may name."""

    secrets_directory: Path
    private: PrivateFiles

    def check_secret(self, path: Path) -> None:
        """Raise SpellingError unless a secret may come from `path`, with every `..` and link resolved."""
        try:
            inside = path.resolve().is_relative_to(self.secrets_directory.resolve())
        except (OSError, RuntimeError, ValueError):
            raise SpellingError("cannot be read: its path leads nowhere") from None
        if not inside:
            raise SpellingError("lies outside secrets_directory", "move the file, or set secrets_directory")
        self.check_public(path)

    def check_public(self, path: Path) -> None:
        """Raise SpellingError when `path` leads to what the process keeps secret."""
        if self.private.holds(path):
            raise SpellingError(
                "names what the process itself keeps secret",
                "no policy may read gateway.yaml, keys, admin and bearer tokens, state, or anything in /proc",
            )


def _named_files(main: Path, values: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """Yield each file that is one of a kind, or a directory of such, with the key that names it."""
    data: Path = values["data_directory"]
    yield main.name, main
    keys: KeySettings = values.get("keys", KeySettings())
    yield "keys.directory", data / keys.directory
    admin: AdminSettings = values.get("admin", AdminSettings())
    if admin.token_file is not None:
        yield "admin.token_file", admin.token_file
    state: StateSettings = values.get("state", StateSettings(Path("state/sidegate.db")))
    if state.sqlite_path is not None:
        for ending in _BESIDE_THE_STATE:
            yield "state", data / state.sqlite_path.with_name(state.sqlite_path.name + ending)
    for index, listener in enumerate(values.get("listeners", ())):
        if listener.tls is not None:
            yield f"listeners[{index}].tls.key_file", listener.tls.key_file
    for name, upstream in values.get("upstreams", {}).items():
        own = upstream.tls.key_file or upstream.tls.certificate_file
        if own is not None:
            yield f"upstreams.{name}.tls", own


def _entries(directory: Path) -> Iterator[Path]:
    """Yield what lies in a directory, as far as it can be listed."""
    try:
        with os.scandir(directory) as entries:
            for number, entry in enumerate(entries):
                if number >= _MOST_ENTRIES:
                    return
                yield Path(entry.path)
    except OSError:
        return


def _identities(paths: Iterable[Path]) -> Iterator[Identity]:
    """Yield device and inode of those that exist, links followed."""
    for path in paths:
        try:
            found = path.stat()
        except (OSError, ValueError):
            continue
        yield found.st_dev, found.st_ino
