"""Keep revocations and used assertions in an SQLite file, durable before the answer.

One thread owns the connection. Callers put work on its queue and wait; the thread
takes everything that is waiting, commits it in one transaction (group commit: the
sync to disk is paid once per batch, not once per revocation) and only then tells the
callers. WAL with `synchronous=FULL` syncs the log at every commit, so what was
answered survives a killed process and a lost power supply.

One process uses one file: what another process writes would be seen at the next start
only. So the store holds a lock for as long as it is open, on a file of its own beside
the database: SQLite's locks are on the database, and on some network file systems both
kinds are the same. The system lets go of it when the process ends, however it ends; the
file stays, for whoever removed it could remove the one that a third has just locked.

What has expired leaves in small portions, with the commits.

Sources: sqlite.org/wal.html, sqlite.org/pragma.html#pragma_synchronous, flock(2).
"""

import asyncio
import fcntl
import hashlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from gateway.state.interface import StateUnavailableError
from gateway.tokens.revocations import Revocations

_log = logging.getLogger(__name__)

MAX_WAITING = 10_000
"""Records that may wait for the disk; beyond it callers are told at once."""

_BUSY_TIMEOUT_MS = 2_000
_PRUNE_EVERY_S = 60.0
_PRUNED_PER_PASS = 5_000
_SCHEMA_VERSION = 2
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS revocations (jti TEXT PRIMARY KEY, expires_at INTEGER) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS revocations_by_expiry ON revocations (expires_at)",
    # Since version 2; a file of version 1 lacks nothing else.
    "CREATE TABLE IF NOT EXISTS revoked_clients (id TEXT PRIMARY KEY, issued_until INTEGER) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS used (key BLOB PRIMARY KEY, expires_at INTEGER) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS used_by_expiry ON used (expires_at)",
    f"PRAGMA user_version = {_SCHEMA_VERSION}",
)

_REVOKE = (
    "INSERT INTO revocations VALUES (?, ?) ON CONFLICT (jti)"
    " DO UPDATE SET expires_at = max(expires_at, excluded.expires_at)"
)
_CLIENT_REVOKED = "SELECT issued_until FROM revoked_clients WHERE id = ?"
_REVOKE_CLIENT = (
    "INSERT INTO revoked_clients VALUES (?, ?) ON CONFLICT (id)"
    " DO UPDATE SET issued_until = max(issued_until, excluded.issued_until)"
)
_USE = "INSERT INTO used VALUES (?, ?) ON CONFLICT (key) DO NOTHING"
# What the release before looks for. The half second says that it was not the one that wrote it.
_FORMER_USE = "SELECT 1 FROM used WHERE key = ? AND typeof(expires_at) = 'integer'"
_USE_FORMER = (
    "INSERT INTO used VALUES (?, ? + 0.5) ON CONFLICT (key)"
    " DO UPDATE SET expires_at = max(expires_at, excluded.expires_at)"
)
_PRUNE_REVOCATIONS = (
    "DELETE FROM revocations WHERE jti IN (SELECT jti FROM revocations WHERE expires_at <= ? LIMIT ?)"
)
_PRUNE_USED = "DELETE FROM used WHERE key IN (SELECT key FROM used WHERE expires_at <= ? LIMIT ?)"

_DAMAGED = "it is damaged or not ours; restore it, or move it away (its revocations are lost)"

_T = TypeVar("_T")
_Outcome = tuple["asyncio.Future[object]", object]


@dataclass(frozen=True, slots=True)
class _Record:
    """Something to write with others in one transaction; whether it was new is the answer."""

    write: Callable[[sqlite3.Connection], bool]
    done: "asyncio.Future[object]" = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Question:
    """Something to run on the connection; its value is the answer."""

    ask: Callable[[sqlite3.Connection], object]
    done: "asyncio.Future[object]" = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Stop:
    """The last thing on the queue."""


class SqliteStore:
    """A `gateway.state.interface.StateStore` in one file. Made by `open_sqlite`."""

    __slots__ = (
        "_clock",
        "_closing",
        "_inodes",
        "_loop",
        "_path",
        "_pruned_at",
        "_queue",
        "_revocations",
        "_thread",
    )

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        """Prepare a store that is not open yet."""
        self._path = path
        self._loop = loop
        self._clock = clock
        self._queue: SimpleQueue[_Record | _Question | _Stop] = SimpleQueue()
        self._closing = False
        self._inodes: dict[Path, int] = {}
        self._pruned_at = -_PRUNE_EVERY_S
        self._revocations: Revocations | None = None
        self._thread = threading.Thread(target=self._run, name="sidegate-state", daemon=True)

    async def start(self) -> None:
        """Open the file; raise `StateUnavailableError` when it cannot be used."""
        opened = self._put_question(lambda connection: None)
        self._thread.start()
        try:
            await opened
        except StateUnavailableError:
            self._closing = True
            raise

    async def revoke(self, jti: str, expires_at: int) -> None:
        """Record a revocation durably; see `StateStore.revoke`."""
        await self._write(lambda connection: connection.execute(_REVOKE, (jti, expires_at)).rowcount == 1)

    async def revoke_under(self, issuer: str, jti: str, expires_at: int) -> None:
        """Return at once: what is in the file holds for every URL."""

    async def revoke_client(self, client_id: str, issued_until: int) -> int:
        """Record durably what a client has lost; see `StateStore.revoke_client`."""
        return await self._ask(lambda connection: self._revoke_client(connection, client_id, issued_until))

    async def first_use(self, key: str, expires_at: int) -> bool:
        """Return whether `key` was not used before; see `ReplayGuard.first_use`."""
        name, *former = (_hashed(line) for line in key.split("\n", 1))
        return await self._write(lambda connection: _use(connection, name, former, expires_at))

    async def follow(self, revocations: Revocations) -> None:
        """Add what is in the file; see `StateStore.follow`."""
        self._revocations = revocations
        revocations.learn(await self.load())
        for client_id, issued_until in await self.load_clients():
            revocations.add_client(client_id, issued_until)

    async def load(self) -> list[tuple[str, int]]:
        """Return the name and expiry of the revocations that are still kept."""
        now = self._clock() - self._margin_s
        return await self._ask(
            lambda connection: connection.execute(
                "SELECT jti, expires_at FROM revocations WHERE expires_at > ?", (now,)
            ).fetchall()
        )

    async def load_clients(self) -> list[tuple[str, int]]:
        """Return each client that lost its tokens, and the last second of issue that is revoked."""
        return await self._ask(
            lambda connection: connection.execute("SELECT id, issued_until FROM revoked_clients").fetchall()
        )

    @property
    def doubts(self) -> tuple[str, ...]:
        """Return nothing: what is committed stays."""
        return ()

    async def check(self) -> None:
        """Return when the file is in place and can be written; see `StateStore.check`."""
        await self._ask(self._check_writable)

    async def close(self) -> None:
        """Commit what waits and close the file."""
        if self._closing:
            return
        self._closing = True
        self._queue.put(_Stop())
        await self._loop.run_in_executor(None, self._thread.join)

    @property
    def _margin_s(self) -> float:
        return 0.0 if self._revocations is None else self._revocations.margin_s

    # --- on the loop -----------------------------------------------------------

    def _refuse_when_closed(self) -> None:
        if self._closing:
            raise StateUnavailableError(f"{self._path}: the store is closed")

    async def _write(self, write: Callable[[sqlite3.Connection], bool]) -> bool:
        """Return what `write` returns, once what it wrote is durable."""
        self._refuse_when_closed()
        if self._queue.qsize() >= MAX_WAITING:
            raise StateUnavailableError(f"{self._path}: too much waits for the disk")
        done: asyncio.Future[object] = self._loop.create_future()
        self._queue.put(_Record(write, done))
        return bool(await done)

    def _put_question(self, ask: Callable[[sqlite3.Connection], object]) -> "asyncio.Future[object]":
        done: asyncio.Future[object] = self._loop.create_future()
        self._queue.put(_Question(ask, done))
        return done

    async def _ask(self, ask: Callable[[sqlite3.Connection], _T]) -> _T:
        self._refuse_when_closed()
        return await self._put_question(ask)  # type: ignore[return-value]  # the future carries ask's value

    # --- on the thread ---------------------------------------------------------

    def _run(self) -> None:
        try:
            with _locked(self._path), closing(self._open()) as connection:
                serving = True
                while serving:
                    serving = self._serve(connection, self._drain())
        except StateUnavailableError as error:
            self._fail_all(error)
        except Exception as error:  # whatever it is, nobody may wait for ever
            self._fail_all(self._mistake(error))

    def _fail_all(self, failure: StateUnavailableError) -> None:
        """Tell everybody who waits that nothing was done, and why."""
        self._settle([(item.done, failure) for item in self._drain() if not isinstance(item, _Stop)])

    def _mistake(self, error: Exception) -> StateUnavailableError:
        """Return what callers are told of a mistake of ours, which is being handled; the log has it whole."""
        _log.exception("%s: the state store failed inside the gateway", self._path)
        return StateUnavailableError(f"{self._path}: internal error ({type(error).__name__})")

    def _drain(self) -> list[_Record | _Question | _Stop]:
        """Wait for one item and return it with everything else that is waiting."""
        batch = [self._queue.get()]
        with suppress(Empty):
            while True:
                batch.append(self._queue.get_nowait())
        return batch

    def _serve(self, connection: sqlite3.Connection, batch: list[_Record | _Question | _Stop]) -> bool:
        """Do one batch; return False when it was the last."""
        try:
            outcomes = self._outcomes(connection, batch)
        except Exception as error:  # whatever it is, nobody may wait for ever
            failure = self._mistake(error)
            outcomes = [(item.done, failure) for item in batch if not isinstance(item, _Stop)]
        self._settle(outcomes)
        return not any(isinstance(item, _Stop) for item in batch)

    def _outcomes(
        self, connection: sqlite3.Connection, batch: list[_Record | _Question | _Stop]
    ) -> list[_Outcome]:
        """Commit the records of `batch` together, then answer its questions."""
        outcomes: list[_Outcome] = []
        records = [item for item in batch if isinstance(item, _Record)]
        if records:
            outcomes += zip((item.done for item in records), self._commit(connection, records), strict=True)
        for item in batch:
            if isinstance(item, _Question):
                outcomes.append((item.done, self._answer(connection, item)))
        return outcomes

    def _commit(self, connection: sqlite3.Connection, records: list[_Record]) -> list[object]:
        """Return for each record whether it changed anything, or why nothing was recorded."""
        now = self._clock()
        try:
            with _explained(self._path), _transaction(connection):
                written: list[object] = [item.write(connection) for item in records]
                self._prune(connection, now)
                self._check_in_place()
        except StateUnavailableError as error:
            return [error] * len(records)
        return written

    def _prune(self, connection: sqlite3.Connection, now: float) -> None:
        """Delete some of what has expired; soon again while there is more of it."""
        if self._pruned_at <= now < self._pruned_at + _PRUNE_EVERY_S:
            return
        deleted = [
            connection.execute(statement, (until, _PRUNED_PER_PASS)).rowcount
            for statement, until in ((_PRUNE_REVOCATIONS, now - self._margin_s), (_PRUNE_USED, now))
        ]
        self._pruned_at = now if max(deleted) < _PRUNED_PER_PASS else 0.0

    def _revoke_client(self, connection: sqlite3.Connection, client_id: str, issued_until: int) -> int:
        with _transaction(connection):
            row = connection.execute(_CLIENT_REVOKED, (client_id,)).fetchone()
            connection.execute(_REVOKE_CLIENT, (client_id, issued_until))
            self._check_in_place()
        return -1 if row is None else int(row[0])

    def _answer(self, connection: sqlite3.Connection, question: _Question) -> object:
        try:
            with _explained(self._path):
                return question.ask(connection)
        except StateUnavailableError as error:
            return error

    def _settle(self, outcomes: list[_Outcome]) -> None:
        with suppress(RuntimeError):  # the loop is gone, and with it everyone who waited
            self._loop.call_soon_threadsafe(_tell, outcomes)

    def _open(self) -> sqlite3.Connection:
        with _explained(self._path):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                inode = os.fstat(descriptor).st_ino
            finally:
                os.close(descriptor)
            connection = sqlite3.connect(self._path, isolation_level=None)
            try:
                self._prepare(connection)
                # The log exists since the first transaction; checkpoints begin it anew, in the
                # same file, and only the last connection that closes removes it.
                log = _beside(self._path, "-wal")
                self._inodes = {self._path: inode, log: log.stat().st_ino}
            except BaseException:
                connection.close()
                raise
            return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StateUnavailableError(f"{self._path}: its file system cannot hold a write-ahead log")
        connection.execute("PRAGMA synchronous = FULL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in range(_SCHEMA_VERSION + 1):
            raise StateUnavailableError(
                f"{self._path}: was written by another version of Sidegate (schema {version})"
            )
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise StateUnavailableError(f"{self._path}: {verdict}: {_DAMAGED}")
        with _transaction(connection):
            for statement in _SCHEMA:
                connection.execute(statement)

    def _check_in_place(self) -> None:
        # A file deleted under an open connection still takes writes, and loses them: the
        # database as well as its log, which holds what was written last.
        for path, inode in self._inodes.items():
            with suppress(FileNotFoundError):
                if path.stat().st_ino == inode:
                    continue
            raise StateUnavailableError(
                f"{path}: was removed or replaced while open; restart to use what is there"
            )

    def _check_writable(self, connection: sqlite3.Connection) -> None:
        self._check_in_place()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


async def open_sqlite(path: Path, *, clock: Callable[[], float] = time.time) -> SqliteStore:
    """Open the store in `path`; the file (0600) and its directory (0700) are made when absent.

    Raises:
        StateUnavailableError: The file cannot be used; the message says why and what to do.
    """
    store = SqliteStore(path, asyncio.get_running_loop(), clock)
    await store.start()
    return store


def _hashed(line: str) -> bytes:
    # A key is a caller's text: what is kept of it has one size.
    return hashlib.sha256(line.encode("utf-8", "surrogatepass")).digest()


def _use(connection: sqlite3.Connection, name: bytes, former: Sequence[bytes], expires_at: int) -> bool:
    """Return whether a key was not used before, and write that it is."""
    if any(connection.execute(_FORMER_USE, (each,)).fetchone() for each in former):
        return False
    if connection.execute(_USE, (name, expires_at)).rowcount != 1:
        return False
    for each in former:
        connection.execute(_USE_FORMER, (each, expires_at))
    return True


def _tell(outcomes: list[_Outcome]) -> None:
    for future, outcome in outcomes:
        if future.done():  # the caller went away; the commit stands
            continue
        if isinstance(outcome, StateUnavailableError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _beside(path: Path, ending: str) -> Path:
    """Return the file beside the database whose name ends so; SQLite looks behind symbolic links, too."""
    resolved = Path(os.path.realpath(path))  # unlike Path.resolve, it has no error of its own for a loop
    return resolved.with_name(resolved.name + ending)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep every other store away from the file, in this process and others.

    Raises:
        StateUnavailableError: Another store has it, or nothing can be locked there.
    """
    with _explained(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _beside(path, ".lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateUnavailableError(
                f"{path}: another process uses it (it holds {lock.name}): stop that one first, give each"
                " process a file of its own, or let them share redis://"
            ) from error
        except OSError as error:
            raise StateUnavailableError(
                f"{lock}: {error.strerror}: its file system cannot lock files"
            ) from error
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system say into one message that names file and remedy."""
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        match getattr(error, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                remedy = "another process holds it; give each process its own file, or stop the other"
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
                remedy = "file and directory must be writable for this user"
            case sqlite3.SQLITE_FULL:
                remedy = "the disk is full"
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                remedy = _DAMAGED
            case _:
                remedy = "look at the disk and the file's permissions"
        raise StateUnavailableError(f"{path}: {text}: {remedy}") from error
    except OSError as error:
        raise StateUnavailableError(
            f"{path}: {error.strerror}: file and directory must be writable for this user"
        ) from error
