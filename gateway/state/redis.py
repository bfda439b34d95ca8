"""Share revocations, used assertions and failure counts through Redis or Valkey.

What lies there, under a prefix that is different for each issuer:

    revoked    sorted set   jti -> expiry                     written before the answer
    clients    sorted set   client -> last revoked second     written before the answer
    changes    stream       each of the two, in order         what other processes read
    used:HASH  string       a used key, expires by itself     by a script, once
    count:HASH string       failures in a window, likewise

**Following.** One connection waits for the stream (`XREAD BLOCK`), so a revocation
arrives everywhere within milliseconds, and nothing is lost between two reads. The
stream is trimmed, and `XREAD` says nothing of changes that were gone before it came:
so each read also asks whether the one that was read last is still there. After every interruption, and
such a gap, the whole set is read again, and what this process still knows and
the server does not (a restart without persistence) is written back.

**Strict.** Asking the server for each request would put its latency in front of
every request and its failures behind none. Here the one who revokes waits instead:

1. A process holds a *lease* while it follows: it registers in `members` for `LEASE_S`
   of the server's time, again and again, and says up to which change it has read.
2. Whoever revokes gets his answer when each registered process has read the change,
   or its lease has run out.
3. A process without a lease refuses tokens, because it may miss a revocation. By its
   own clock (which goes on while a machine sleeps) a lease ends before the server's.

So no process accepts a token after its revocation was answered, and a request costs
nothing. A lease that was not held without a break counts only once the stream was
read after it was registered: who revoked in between did not wait for us. `epoch` is a
random text that vanishes when the server loses its data; who finds another than
before waits for a whole lease, for he cannot know who was registered.

What is imperfect: Redis answers before a replica or its disk has a write, unless it
is set up otherwise; a server that fails at that moment can forget what it answered,
until a process that knows it writes it back.

Sources: redis.io/docs/latest/commands (SET, XREAD, XADD, ZADD, EVAL); Gray and Cheriton,
"Leases" (1989).
"""

import asyncio
import hashlib
import logging
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import redis.asyncio as client
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from gateway.names import connect_to
from gateway.settings.model import RedisSettings
from gateway.state.interface import StateUnavailableError
from gateway.state.redis_eviction import Eviction, ask_eviction
from gateway.tokens.expiring_names import ExpiringNames
from gateway.tokens.revocations import Revocations

TIMEOUT_S = 2.0
"""For connecting, and for each answer."""
LEASE_S = 2.0
"""How long a process counts as following after it last said so."""
CONNECTIONS = 32

_HELD_S = LEASE_S * 0.9
"""By our own clock: the two need not run at exactly one speed."""
_WAIT_FOR_CHANGES_S = 0.5
_RECONNECT_S = 0.2
_ACKNOWLEDGED_EVERY_S = 0.005
_FOLLOWING_GRACE_S = _WAIT_FOR_CHANGES_S + 1.0
_PRUNE_EVERY_S = 60.0
_CHANGES_KEPT = 100_000
_PAGE = 1000

_REGISTER = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - 60000)) do
  redis.call('ZREM', KEYS[1], gone)
  redis.call('HDEL', KEYS[2], gone)
end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('SET', KEYS[3], ARGV[4], 'NX')
return redis.call('GET', KEYS[3])
"""
_WAITED_FOR = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local waiting = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf')) do
  waiting[#waiting + 1] = {member, redis.call('HGET', KEYS[2], member)}
end
return {redis.call('GET', KEYS[3]), waiting}
"""
# A key without text was written by the release before, which knows the second name alone.
_USE = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
if KEYS[2] then
  if redis.call('GET', KEYS[2]) == '' then return 0 end
  if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[1]) then redis.call('SET', KEYS[2], '2', 'PX', ARGV[1]) end
end
redis.call('SET', KEYS[1], '2', 'PX', ARGV[1])
return 1
"""

_log = logging.getLogger(__name__)

_BEGINNING = b"0-0"

_Position = tuple[int, int]


class _StateLostError(Exception):
    """The server has lost what it held: everything has to be read and written anew."""


def boot_time() -> float:
    """Return seconds on a clock that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(slots=True, eq=False)
class Lease:
    """Until when this process may trust what it knows of revocations."""

    clock: Callable[[], float] = boot_time
    until: float = 0.0

    def holds(self) -> bool:
        """Return whether no revocation that was answered can be unknown here."""
        return self.clock() < self.until


def _hashed(text: str) -> str:
    # A key is a caller's text: what is kept of it has one size.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:48]


def _position(entry_id: bytes) -> _Position:
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number)


def _has_gap(read_to: bytes, stream: object) -> bool:
    """Return whether changes after `read_to` are gone that were not read.

    Args:
        read_to: The last change that was.
        stream: What the server says of the stream, or its error where there is none.
    """
    if not isinstance(stream, Mapping):
        return read_to != _BEGINNING
    last, first = stream["last-generated-id"], stream["first-entry"]
    if _position(last) < _position(read_to):
        return True  # another stream of the same name
    if first is None:
        return bool(last != read_to)
    if read_to == _BEGINNING:  # since Redis 7 it says how many there were
        return bool(stream.get("entries-added", 0) > stream["length"])
    # What was read last is gone, perhaps with what came behind it.
    return _position(first[0]) > _position(read_to)


def _prefix_of(issuer: str) -> str:
    # Braces: all of it belongs on one node of a cluster, for the scripts.
    return f"sidegate:{{{hashlib.sha256(issuer.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}}}:"


class RedisStore:
    """A `gateway.state.interface.StateStore`, `SharedCounters` included. Made by `open_redis`."""

    __slots__ = (
        "_clock",
        "_closing",
        "_commands",
        "_epoch",
        "_feed",
        "_followed_at",
        "_following",
        "_member",
        "_name",
        "_prefix",
        "_pruned_at",
        "_read_to",
        "_revocations",
        "eviction",
        "lease",
    )

    def __init__(
        self, settings: RedisSettings, *, issuer: str, strict: bool, clock: Callable[[], float]
    ) -> None:
        """Prepare a store that is not connected yet."""
        self._name = f"redis at {settings.host}:{settings.port}"
        self._clock = clock
        self._prefix = _prefix_of(issuer)
        self._commands = _connect(settings, timeout_s=TIMEOUT_S, connections=CONNECTIONS)
        self._feed = _connect(settings, timeout_s=TIMEOUT_S + _WAIT_FOR_CHANGES_S, connections=1)
        self.lease = Lease() if strict else None
        """None with `consistency: cached`."""
        self.eviction: Eviction | None = None
        """What the server said when it was reached last; None before it is followed."""
        self._member = secrets.token_hex(8)
        self._epoch: bytes | None = None
        self._read_to = _BEGINNING
        self._following: asyncio.Task[None] | None = None
        self._followed_at = 0.0
        self._closing = False
        self._pruned_at = -_PRUNE_EVERY_S
        self._revocations: Revocations | None = None

    # --- what was revoked

    async def revoke(self, jti: str, expires_at: int) -> None:
        """Record a revocation; see `StateStore.revoke`."""
        await self._record("revoked", jti, expires_at)

    async def revoke_under(self, issuer: str, jti: str, expires_at: int) -> None:
        """Record a revocation where processes of another URL read it; see `StateStore.revoke_under`."""
        if (prefix := _prefix_of(issuer)) != self._prefix:
            await self._record("revoked", jti, expires_at, prefix)

    async def revoke_client(self, client_id: str, issued_until: int) -> int:
        """Record what a client has lost; see `StateStore.revoke_client`."""
        return await self._record("clients", client_id, issued_until)

    async def load(self) -> list[tuple[str, int]]:
        """Return the name and expiry of the revocations that are still kept."""
        with _explained(self._name):
            now = self._clock() - self._margin_s
            return [entry async for entry in self._scan(self._commands, "revoked") if entry[1] > now]

    async def load_clients(self) -> list[tuple[str, int]]:
        """Return each client that lost its tokens, and the last second of issue that is revoked."""
        with _explained(self._name):
            return [entry async for entry in self._scan(self._commands, "clients")]

    # --- what may be used once, and what is counted

    async def first_use(self, key: str, expires_at: int) -> bool:
        """Return whether `key` was not used before; see `ReplayGuard.first_use`."""
        lifetime_ms = max(1, expires_at - int(self._clock()) + 1) * 1000
        names = [self._key(f"used:{_hashed(line)}") for line in key.split("\n", 1)]
        with _explained(self._name):
            return bool(
                await cast(Awaitable[Any], self._commands.eval(_USE, len(names), *names, str(lifetime_ms)))
            )

    async def count(self, key: str, window_s: float) -> tuple[int, float]:
        """Count one event; see `SharedCounters.count`."""
        name = self._key(f"count:{_hashed(key)}")
        with _explained(self._name):
            async with self._commands.pipeline(transaction=True) as pipe:
                pipe.set(name, 0, nx=True, px=max(1, int(window_s * 1000)))
                pipe.incr(name)
                pipe.pttl(name)
                _, total, left_ms = await pipe.execute()
        return int(total), max(0, int(left_ms)) / 1000

    # --- the store as a whole

    async def check(self) -> None:
        """Return when the server answers and its changes are followed; see `StateStore.check`."""
        with _explained(self._name):
            await cast(Awaitable[bool], self._commands.ping())
        if self._following is not None and boot_time() - self._followed_at > _FOLLOWING_GRACE_S:
            raise StateUnavailableError(f"{self._name}: what other processes revoke is not followed")
        if self._following is not None and self.lease is not None and not self.lease.holds():
            raise StateUnavailableError(f"{self._name}: there is no lease, so tokens are refused")

    async def follow(self, revocations: Revocations) -> None:
        """Keep `revocations` as the server has them; see `StateStore.follow`."""
        revocations.lease = self.lease
        self._revocations = revocations
        with _explained(self._name):
            await self._synchronise(revocations)
        self._followed_at = boot_time()  # all of it is known now, before the first change is waited for
        self._following = asyncio.get_running_loop().create_task(self._follow(revocations))

    @property
    def doubts(self) -> tuple[str, ...]:
        """Return why what is recorded may not stay; see `StateStore.doubts`."""
        return () if self.eviction is None else self.eviction.doubts

    async def close(self) -> None:
        """Give up the lease and close the connections."""
        self._closing = True
        if self._following is not None:
            while not self._following.done():
                # Again and again: the client takes a cancellation for a timeout when both come at once.
                self._following.cancel()
                await asyncio.wait({self._following}, timeout=0.1)
        if self.lease is not None:
            self.lease.until = 0.0
            try:
                with _explained(self._name):
                    await self._commands.zrem(self._key("members"), self._member)
            except StateUnavailableError as error:
                _log.debug("the lease runs out by itself: %s", error)
        await self._commands.aclose()
        await self._feed.aclose()

    # --- writing

    @property
    def _margin_s(self) -> float:
        return 0.0 if self._revocations is None else self._revocations.margin_s

    async def _record(self, kind: str, name: str, number: int, prefix: str | None = None) -> int:
        """Write one record, under our prefix or another issuer's; return the number it had before, or -1."""
        with _explained(self._name):
            async with self._commands.pipeline(transaction=True) as pipe:
                pipe.zscore(self._key(kind, prefix), name.encode("utf-8", "surrogatepass"))
                self._add(pipe, kind, name, number, prefix)
                now = self._clock()
                if not self._pruned_at <= now < self._pruned_at + _PRUNE_EVERY_S:
                    self._pruned_at = now
                    pipe.zremrangebyscore(self._key("revoked", prefix), "-inf", int(now - self._margin_s))
                before, _, change, *_ = await pipe.execute()
            if self.lease is not None:
                await self._wait_for_readers(_position(change), prefix)
        return -1 if before is None else int(before)

    def _add(self, pipe: Any, kind: str, name: str, number: int, prefix: str | None = None) -> None:
        """Write one record and its change. Only a later number replaces an earlier one."""
        text = name.encode("utf-8", "surrogatepass")
        pipe.zadd(self._key(kind, prefix), {text: number}, gt=True)
        changes = self._key("changes", prefix)
        pipe.xadd(changes, {kind: text, "n": number}, maxlen=_CHANGES_KEPT, approximate=True)

    async def _wait_for_readers(self, change: _Position, prefix: str | None) -> None:
        """Return when every process that holds a lease has read `change`."""
        begun = boot_time()
        while True:
            epoch, members = await self._eval(self._commands, _WAITED_FOR, prefix=prefix)
            behind = [
                member
                for member, read_to in members
                if member.decode() != self._member and (read_to is None or _position(read_to) < change)
            ]
            # Another epoch than ours: who was registered is not known, but no lease is older than this.
            unknown = prefix is not None or epoch is None or epoch != self._epoch
            if not behind and (not unknown or boot_time() - begun > LEASE_S):
                return
            if boot_time() - begun > 2 * LEASE_S + TIMEOUT_S:
                raise StateUnavailableError(f"{self._name}: a process neither follows nor loses its lease")
            await asyncio.sleep(_ACKNOWLEDGED_EVERY_S)

    # --- following

    async def _follow(self, revocations: Revocations) -> None:
        lost = False
        while not self._closing:
            try:
                if lost:
                    await self._synchronise(revocations)
                    _log.info("%s: followed again", self._name)
                    lost = False
                while not self._closing:
                    await self._read_changes(revocations, wait_s=_WAIT_FOR_CHANGES_S)
                    await self._keep_lease(revocations)
            except (RedisError, OSError, TimeoutError, _StateLostError) as error:
                if not lost:
                    _log.error("%s: is not followed: %s", self._name, _why(error))
                lost = True
            except Exception:
                # The one rescue point of this task: without it nothing would be followed any more.
                _log.exception("%s: following failed", self._name)
                lost = True
            await asyncio.sleep(_RECONNECT_S)

    async def _synchronise(self, revocations: Revocations) -> None:
        """Take over everything the server knows, and tell it what it should know."""
        await self._ask_eviction()
        try:
            stream = await self._feed.xinfo_stream(self._key("changes"))
        except ResponseError:  # it is not there
            stream = {"last-generated-id": _BEGINNING}
        self._read_to = stream["last-generated-id"]
        self._epoch = None
        now = self._clock() - self._margin_s
        known = ExpiringNames()
        async for jti, expiry in self._scan(self._feed, "revoked"):
            known.put(jti, expiry)
            if expiry > now:
                revocations.learn([(jti, expiry)])
        forgotten = []
        for number, (jti, expiry) in enumerate(revocations.entries()):
            if not number % _PAGE:
                await asyncio.sleep(0)  # there may be half a million, and others have something to do
            if expiry > now and jti not in known:
                forgotten.append((jti, expiry))
        lost = {client_id: until async for client_id, until in self._scan(self._feed, "clients")}
        for client_id, until in lost.items():
            revocations.add_client(client_id, until)
        taken = [entry for entry in revocations.clients() if entry[1] > lost.get(entry[0], -1)]
        await self._write_back("revoked", forgotten)
        await self._write_back("clients", taken)
        await self._keep_lease(revocations)

    async def _ask_eviction(self) -> None:
        before, self.eviction = self.eviction, await ask_eviction(self._feed)
        if self.eviction != before:
            for doubt in self.doubts:
                _log.warning("%s: %s", self._name, doubt)

    async def _write_back(self, kind: str, entries: Iterable[tuple[str, int]]) -> None:
        waiting = iter(entries)
        count = 0
        while page := list(islice(waiting, _PAGE)):
            async with self._feed.pipeline(transaction=False) as pipe:
                for name, number in page:
                    self._add(pipe, kind, name, number)
                await pipe.execute()
            count += len(page)
        if count:
            _log.warning("%s: had forgotten %d entries (%s); they are written back", self._name, count, kind)

    async def _scan(self, on: client.Redis, kind: str) -> AsyncIterator[tuple[str, int]]:
        async for name, score in on.zscan_iter(self._key(kind), count=_PAGE):
            yield name.decode("utf-8", "surrogatepass"), int(score)

    async def _read_changes(self, revocations: Revocations, *, wait_s: float) -> None:
        """Take over what changed since the last read, or wait for it."""
        changes, read_to = self._key("changes"), self._read_to
        async with self._feed.pipeline(transaction=False) as pipe:
            pipe.xread({changes: read_to}, count=_PAGE, block=int(wait_s * 1000) or None)
            pipe.xinfo_stream(changes)
            found, stream = await pipe.execute(raise_on_error=False)
        if isinstance(found, RedisError):
            raise found
        if _has_gap(read_to, stream):
            raise _StateLostError("changes were deleted before they were read")
        now = self._clock()
        for _, entries in found or ():
            for entry_id, change in entries:
                self._take(revocations, change, now)
                self._read_to = entry_id
        self._followed_at = boot_time()

    def _take(self, revocations: Revocations, change: Mapping[bytes, bytes], now: float) -> None:
        number = int(change[b"n"])
        jti, client_id = change.get(b"revoked"), change.get(b"clients")
        if jti is not None and number > now - self._margin_s:
            revocations.add(jti.decode("utf-8", "surrogatepass"), number, now=now)
        if client_id is not None:
            revocations.add_client(client_id.decode("utf-8", "surrogatepass"), number)

    async def _keep_lease(self, revocations: Revocations) -> None:
        """Say up to where the changes were read, and with that renew the lease, or take one."""
        lease = self.lease
        if lease is None:
            return
        begun = lease.clock()
        await self._register(lease)
        if not lease.holds():
            # Who revoked before we were registered did not wait for us: that is read now.
            await self._read_changes(revocations, wait_s=0)
            await self._register(lease)
        lease.until = begun + _HELD_S

    async def _register(self, lease: Lease) -> None:
        """Let those who revoke wait for this process for `LEASE_S`."""
        arguments = (self._member, int(LEASE_S * 1000), self._read_to, secrets.token_hex(8))
        epoch = await self._eval(self._feed, _REGISTER, *arguments)
        if self._epoch not in (None, epoch):
            lease.until = 0.0
            raise _StateLostError("the server has lost what it held")
        self._epoch = epoch

    async def _eval(
        self, on: client.Redis, script: str, *arguments: str | int | bytes, prefix: str | None = None
    ) -> Any:
        keys = [self._key(name, prefix) for name in ("members", "acks", "epoch")]
        return await cast(Awaitable[Any], on.eval(script, len(keys), *keys, *cast(list[str], arguments)))

    def _key(self, name: str, prefix: str | None = None) -> str:
        return (prefix or self._prefix) + name


class _Connection(client.Connection):
    """A connection to the first address of its server, of whatever family, that answers.

    The client by itself tries one after the other, and one that is silent takes all the time.
    """

    _socket: socket.socket | None = None

    async def _connect(self) -> None:
        async with asyncio.timeout(self.socket_connect_timeout):
            self._socket = await connect_to(self.host, self.port)
        await super()._connect()  # type: ignore[no-untyped-call]

    def _connection_arguments(self) -> Mapping[str, Any]:
        arguments = dict(super()._connection_arguments())
        if arguments.get("ssl"):
            arguments["server_hostname"] = self.host
        del arguments["host"], arguments["port"]
        return {**arguments, "sock": self._socket}


class _TlsConnection(_Connection, client.SSLConnection):
    """The same over TLS."""


def _connect(settings: RedisSettings, *, timeout_s: float, connections: int) -> client.Redis:
    more: dict[str, Any] = {}
    kind: type[client.Connection] = _Connection
    if settings.tls:
        kind = _TlsConnection
        more = {
            "ssl_ca_certs": None if settings.ca_file is None else str(settings.ca_file),
            "ssl_check_hostname": True,
        }
    pool = client.BlockingConnectionPool(
        connection_class=kind,
        max_connections=connections,
        timeout=timeout_s,
        host=settings.host,
        port=settings.port,
        db=settings.database,
        username=settings.username,
        password=settings.password,
        socket_timeout=timeout_s,
        socket_connect_timeout=TIMEOUT_S,
        # Never again by itself: a use that was answered into a broken connection would
        # find its own key.
        retry=Retry(NoBackoff(), 0),
        client_name="sidegate",
        **more,
    )
    return client.Redis.from_pool(pool)


async def open_redis(
    settings: RedisSettings, *, issuer: str, strict: bool, clock: Callable[[], float] = time.time
) -> RedisStore:
    """Return a store that has reached its server.

    Args:
        settings: Where the server is.
        issuer: Processes of one issuer share what they keep, others of the same server do not.
        strict: Whether a revocation waits until every process knows it.
        clock: Epoch seconds.

    Raises:
        StateUnavailableError: The server does not answer, or not to us; the message says why.
    """
    store = RedisStore(settings, issuer=issuer, strict=strict, clock=clock)
    try:
        await store.check()
    except StateUnavailableError:
        await store.close()
        raise
    return store


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what the client and the system say into one message that names the server."""
    try:
        yield
    except (RedisError, OSError, TimeoutError, _StateLostError) as error:
        raise StateUnavailableError(f"{name}: {_why(error)}") from error


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
