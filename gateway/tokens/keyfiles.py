"""Keep the issuer's private keys in a directory: make, read and list them.

One file per key: `*.pem` (PKCS#8) or `*.jwk` (a private JWK), names are free. Which
key signs is written in `states.json` beside them, by `kid`; the file is made when
absent and may be absent for good on a read-only mount. A key that no state names is
`next`: published and able to verify, but not signing. If no key is active, the first
file by name whose algorithm is the configured one becomes it (by name, so that every
replica on one mounted secret takes the same).

Writers hold a lock on the directory, so two processes that start at once make one
key. Files appear whole or not at all: written beside, synced, renamed, directory synced.

Sources: RFC 5958 (PKCS#8), RFC 7517, RFC 7638.
"""

import fcntl
import json
import os
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from gateway.files import (
    FileContent,
    MissingFileError,
    UnusableFileError,
    list_directory,
    read_file,
    remove_file,
    write_beside,
)
from gateway.tokens.jwt import JwtProblem, parse_json_object
from gateway.tokens.key_ring import (
    KeyRing,
    SigningKey,
    UnusableKeyError,
    VerificationKey,
    make_empty_ring,
    make_key_ring,
)
from gateway.tokens.private_keys import generate_key_text, read_key_pair, read_signer

STATES_FILE = "states.json"
_STATES_VERSION = 1
_MAX_FILE_BYTES = 64 * 1024
_MAX_STATES_BYTES = 1024 * 1024


class KeyDirectoryError(Exception):
    """Say which file of the key directory cannot be used, and what to do about it."""


class NoKeysError(KeyDirectoryError):
    """The directory is absent or holds no key."""


class _NotWritableError(KeyDirectoryError):
    """The directory can be read but not written."""


class KeyState(StrEnum):
    """What a key is used for; all three are published and verify."""

    NEXT = "next"
    ACTIVE = "active"
    RETIRING = "retiring"


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """One key of the directory, for lists."""

    kid: str
    alg: str
    state: KeyState
    path: Path
    since: int | None
    """Epoch seconds at which it took this state, None when no state names it."""
    placed_at: float = 0.0
    """Epoch seconds at which its file came to be as it is."""


@dataclass(frozen=True, slots=True)
class LoadedKeys:
    """What a key directory holds, and what its owner should know about it."""

    ring: KeyRing
    keys: tuple[KeyInfo, ...]
    warnings: tuple[str, ...]
    place: tuple[int, int] = (0, 0)
    """Device and inode of the directory."""


@dataclass(frozen=True, slots=True)
class _KeyFile:
    """One file of the directory, as it was read."""

    path: Path
    placed_at: float
    signing: SigningKey = field(repr=False)
    verification: VerificationKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Stated:
    """What `states.json` says of one key."""

    state: KeyState
    since: int


def load_keys(directory: Path, algorithm: str, *, create: bool) -> LoadedKeys:
    """Return the keys of `directory`.

    Args:
        directory: The key directory.
        algorithm: The configured signing algorithm: what a new key uses, and whether
            an RSA key without an `alg` of its own is used with RS256 or PS256.
        create: Whether to make the directory and its first key when there is none, and
            to record states. With False nothing is written.

    Raises:
        NoKeysError: There is no key, and `create` is False.
        KeyDirectoryError: A file cannot be read or used.
    """
    if not create:
        return _load(directory, algorithm)
    with _lock(directory):
        if not _key_paths(directory):
            _write_new_key(directory, algorithm)
        loaded = _load(directory, algorithm)
        # A read-only mount is fine: without the file every start makes the same choice.
        with suppress(_NotWritableError):
            _record_states(directory, loaded.keys)
        return loaded


def follow_keys(directory: Path, algorithm: str, former: LoadedKeys) -> LoadedKeys:
    """Return what the directory that `former` came from holds now; nothing is written.

    No key at all is an answer where that is the same directory: who deletes a leaked key means it.
    A directory that is gone, or another one that is empty, as a mount point is without its volume,
    says nothing of the keys.

    Raises:
        KeyDirectoryError: A file cannot be read or used, or there is no such answer.
    """
    try:
        return _load(directory, algorithm)
    except NoKeysError:
        if not os.path.lexists(directory):
            raise KeyDirectoryError(f"{directory}: the key directory is gone; put it back") from None
        if _place_of(directory) != former.place:
            raise KeyDirectoryError(
                f"{directory}: holds no key, and is not the directory that held the keys in use; "
                "put that back, or put keys into this one"
            ) from None
        return LoadedKeys(make_empty_ring(), (), (), former.place)


def _place_of(directory: Path) -> tuple[int, int]:
    try:
        status = directory.stat()
    except OSError as error:
        raise KeyDirectoryError(f"{directory}: the key directory cannot be read: {error.strerror}") from error
    return status.st_dev, status.st_ino


def generate_key(directory: Path, algorithm: str, *, activate: bool) -> KeyInfo:
    """Make a new key in `directory` and return it.

    With `activate` it signs from now on and the active key becomes retiring; without,
    it is `next`, unless there is no other key.

    Raises:
        KeyDirectoryError: The directory cannot be written or holds an unusable file.
    """
    with _lock(directory):
        is_first = not _key_paths(directory)
        if not is_first:
            # Pin the active key first: a new file's name must not change which one signs.
            _record_states(directory, _load(directory, algorithm).keys)
        kid = _write_new_key(directory, algorithm)
        keys = _load(directory, algorithm).keys
        if activate or is_first:
            keys = tuple(_activated(key, kid) for key in keys)
        _record_states(directory, keys)
        return next(key for key in keys if key.kid == kid)


def change_keys(
    directory: Path, algorithm: str, decide: Callable[[tuple[KeyInfo, ...]], tuple[KeyInfo, ...]]
) -> tuple[KeyInfo, ...]:
    """Give the keys the states that `decide` returns, and return them; a key left out is removed.

    A state without `since` begins now. What `decide` raises changes nothing.

    Raises:
        NoKeysError, KeyDirectoryError: As `load_keys`, or the directory cannot be written.
    """
    with _lock(directory):
        keys = _load(directory, algorithm).keys
        left = decide(keys)
        # Files before states: a key without a state would be published again.
        for kid in {key.kid for key in keys} - {key.kid for key in left}:
            _remove_key(directory, algorithm, kid)
        _record_states(directory, left)
        return _load(directory, algorithm).keys


def list_keys(directory: Path, algorithm: str) -> tuple[KeyInfo, ...]:
    """Return the keys of `directory`, the active one first, then by file name. Writes nothing.

    Raises:
        NoKeysError, KeyDirectoryError: As `load_keys`.
    """
    return _load(directory, algorithm).keys


def _activated(key: KeyInfo, kid: str) -> KeyInfo:
    if key.kid == kid:
        return KeyInfo(key.kid, key.alg, KeyState.ACTIVE, key.path, None)
    if key.state is KeyState.ACTIVE:
        return KeyInfo(key.kid, key.alg, KeyState.RETIRING, key.path, None)
    return key


# --- reading -------------------------------------------------------------------


def _key_paths(directory: Path) -> list[Path]:
    try:
        names = list_directory(directory)
    except MissingFileError:
        return []
    except UnusableFileError as problem:
        raise KeyDirectoryError(f"{directory}: the key directory {problem}") from problem
    return [
        directory / name for name in names if name.endswith((".pem", ".jwk")) and not name.startswith(".")
    ]


def _load(directory: Path, algorithm: str) -> LoadedKeys:
    paths = _key_paths(directory)
    if not paths:
        raise NoKeysError(f"{directory}: holds no *.pem or *.jwk; make one with `sidegate keys generate`")
    warnings: list[str] = []
    files: dict[str, _KeyFile] = {}
    for path in paths:
        key_file = _read_key_file(path, algorithm, warnings)
        twin = files.setdefault(key_file.signing.kid, key_file)
        if twin is not key_file:
            warnings.append(f"{path}: is the same key as {twin.path.name}; remove one of them")
    stated = _read_states(directory / STATES_FILE)
    active = _choose_active(directory, files, stated, algorithm, warnings)
    infos = [_describe(key_file, stated, active) for key_file in files.values()]
    infos.sort(key=lambda info: info.state is not KeyState.ACTIVE)
    ring = make_key_ring(files[active].signing, [key_file.verification for key_file in files.values()])
    return LoadedKeys(ring, tuple(infos), tuple(warnings), _place_of(directory))


def _describe(key_file: _KeyFile, stated: Mapping[str, _Stated], active: str) -> KeyInfo:
    key = key_file.signing
    known = stated.get(key.kid)
    if key.kid == active:
        since = known.since if known is not None and known.state is KeyState.ACTIVE else None
        return KeyInfo(key.kid, key.alg, KeyState.ACTIVE, key_file.path, since, key_file.placed_at)
    if known is None:
        return KeyInfo(key.kid, key.alg, KeyState.NEXT, key_file.path, None, key_file.placed_at)
    return KeyInfo(key.kid, key.alg, known.state, key_file.path, known.since, key_file.placed_at)


def _choose_active(
    directory: Path,
    files: Mapping[str, _KeyFile],
    stated: Mapping[str, _Stated],
    algorithm: str,
    warnings: list[str],
) -> str:
    named = [kid for kid, known in stated.items() if known.state is KeyState.ACTIVE]
    for kid in named:
        if kid in files:
            return kid
    usable = [kid for kid in files if kid not in stated or stated[kid].state is not KeyState.RETIRING]
    candidates = usable or list(files)
    fitting = [kid for kid in candidates if files[kid].signing.alg == algorithm]
    chosen = (fitting or candidates)[0]
    if named or len(files) > 1:
        warnings.append(
            f"{directory / STATES_FILE}: names no active key that is present; {files[chosen].path.name} signs"
        )
    return chosen


def _read_key_file(path: Path, algorithm: str, warnings: list[str]) -> _KeyFile:
    file = _read_private_file(path, warnings)
    try:
        keys = read_key_pair(file.octets, algorithm, is_pem=path.suffix == ".pem")
        return _KeyFile(path, file.status.st_ctime, keys.signing, keys.verification)
    except UnusableKeyError as error:
        raise KeyDirectoryError(
            f"{path}: {error}; replace the file, or remove it and run `sidegate keys generate`"
        ) from error


def _read_private_file(path: Path, warnings: list[str]) -> FileContent:
    try:
        file = read_file(path, largest_bytes=_MAX_FILE_BYTES)
    except UnusableFileError as problem:
        raise KeyDirectoryError(
            f"{path}: {problem}; a key is a small file, readable for this user alone (chmod 600)"
        ) from problem
    exposed = find_exposure(file.status, own_groups={os.getegid(), *os.getgroups()})
    if exposed:
        warnings.append(f"{path}: {exposed}; chmod 600 it")
    return file


def find_exposure(status: os.stat_result, *, own_groups: Collection[int]) -> str:
    """Return who besides this process gets at a private key, or an empty text.

    A group of our own is not a stranger: an orchestrator that gives a volume to the group of the
    pod (`fsGroup`) makes each file in it 0660 at every mount.
    """
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o007:
        return "may be read by others"
    if mode & 0o070 and status.st_gid not in own_groups:
        return f"may be read by others, the group {status.st_gid}, which is none of this process"
    return ""


def read_signing_key(path: Path, algorithm: str | None) -> SigningKey:
    """Return the private key of one file outside a key directory: PEM, or a JWK whose `kid` is kept.

    Args:
        path: The file.
        algorithm: What to sign with; None for the one that the key's type has (RS256 for RSA).

    Raises:
        KeyDirectoryError: The file cannot be read, or holds no key that signs so.
    """
    octets = _read_private_file(path, []).octets
    try:
        return read_signer(octets, algorithm)
    except UnusableKeyError as error:
        raise KeyDirectoryError(f"{path}: {error}") from error


# --- states --------------------------------------------------------------------


def _read_states(path: Path) -> dict[str, _Stated]:
    try:
        octets = read_file(path, largest_bytes=_MAX_STATES_BYTES).octets
    except MissingFileError:
        return {}
    except UnusableFileError as problem:
        raise KeyDirectoryError(f"{path}: {problem}") from problem
    document = parse_json_object(octets)
    try:
        if isinstance(document, JwtProblem):
            raise ValueError(document.value)
        if document["version"] != _STATES_VERSION:
            raise ValueError("unknown version")
        return _parse_states(document["keys"])
    except (KeyError, TypeError, ValueError) as error:
        raise KeyDirectoryError(
            f"{path}: is not as this version writes it ({error}); correct it, or delete it: "
            "then the first key by file name signs"
        ) from error


def _parse_states(entries: object) -> dict[str, _Stated]:
    if not isinstance(entries, dict):
        raise TypeError("keys must be an object")
    stated: dict[str, _Stated] = {}
    for kid, entry in entries.items():
        since = entry["since"]
        if type(since) is not int:
            raise TypeError("since must be an integer")
        stated[kid] = _Stated(KeyState(entry["state"]), since)
    return stated


def _record_states(directory: Path, keys: tuple[KeyInfo, ...]) -> None:
    now = int(time.time())
    entries = {
        key.kid: {"state": key.state.value, "since": now if key.since is None else key.since} for key in keys
    }
    document = json.dumps({"version": _STATES_VERSION, "keys": entries}, indent=2).encode() + b"\n"
    path = directory / STATES_FILE
    try:
        if _is_written(path, document):
            return
        write_beside(path, document, mode=0o600)
    except OSError as error:
        raise _NotWritableError(f"{path}: cannot be written: {error.strerror}") from error


def _is_written(path: Path, document: bytes) -> bool:
    try:
        return read_file(path, largest_bytes=_MAX_STATES_BYTES).octets == document
    except UnusableFileError:
        return False


# --- writing -------------------------------------------------------------------


def _write_new_key(directory: Path, algorithm: str) -> str:
    while True:
        kid, octets = generate_key_text(algorithm)
        if not kid.startswith("-"):  # it is typed after commands, where that begins an option
            break
    path = directory / f"{algorithm.lower()}-{kid[:12]}.pem"
    try:
        write_beside(path, octets, mode=0o600)
    except OSError as error:
        raise _NotWritableError(f"{path}: cannot be written: {error.strerror}") from error
    return kid


def _remove_key(directory: Path, algorithm: str, kid: str) -> None:
    """Remove every file that holds the key, durably."""
    for path in _key_paths(directory):
        if _read_key_file(path, algorithm, []).signing.kid == kid:
            try:
                remove_file(path)
            except OSError as error:
                raise _NotWritableError(f"{path}: cannot be removed: {error.strerror}") from error


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """Make `directory` if need be and hold its lock."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise KeyDirectoryError(
            f"{directory}: cannot be used as the key directory: {error.strerror}; set keys.directory to a "
            "directory of this user"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
