"""Fetch the key sets of others and keep them fresh.

Shell: sockets, files, the clock. What a set means is `gateway.tokens.foreign_keys`.

The rules:

1. Only addresses from the configuration are asked, or the one that the configured
   issuer's own metadata names; never one that a token names. A redirect may lead to
   the same origin only. https, or http on loopback, where only a configured address or
   an issuer on loopback can lead. No proxy of the environment; one of the configuration
   is asked for the way (CONNECT) to https outside, sees no content, and TLS is verified
   to its end behind it. A token of ours goes to the origins that the operator listed.
2. An answer is bounded in time, size, redirects and what comes before it
   (`gateway.tokens.key_server`), is read on a thread, and is never decompressed.
3. One fetch at a time per set: whoever needs it meanwhile waits for the same one.
4. An unknown `kid` fetches at once, from a bucket of 3 that refills one per 10 s; a
   `kid` that was just fetched for in vain costs nothing for a while. So a key that was
   rotated in works with its first token, and a flood of invented names costs its
   issuer six requests a minute. Only a fetch makes a miss: a name that was not looked
   for, because its peer may not cause a fetch or the bucket was empty, is not held
   against the next caller, who may be the honest owner of a new key.
5. Fresh keys replace old ones whole: what is no longer published no longer counts.
   While the source is down, or serves nonsense, the old ones stay in use for
   `MAX_STALE_S`; `sidegate_jwks_age_seconds` is the alarm for that. The bound is long
   enough for a weekend without anybody on call, and there is one because a key that was
   withdrawn, perhaps since it leaked, would otherwise count for as long as somebody
   keeps us from asking.
6. A set is fetched again before it is too old, as its caching headers say, within
   bounds; after a failure soon, then ever more slowly.

What is imperfect: names are resolved and the trust store is read anew for every fetch,
which is rare; a set that is never asked for is refreshed all the same.

Sources: RFC 7517 5; RFC 8414 3 and 3.3; RFC 8725 3.10.
"""

import asyncio
import contextlib
import logging
import ssl
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.parse import urljoin, urlsplit

import aiohttp

from gateway.files import ReadFile, UnusableFileError, read_file, read_pem_file
from gateway.reasons import Reason
from gateway.settings.model import RemoteKeySource
from gateway.tokens.foreign_keys import MAX_KID, MAX_SET_BYTES, read_key_set
from gateway.tokens.freshness import MAX_FRESH_S, fresh_seconds
from gateway.tokens.jwt import JwtProblem, parse_json_object
from gateway.tokens.key_ring import VerificationKey
from gateway.tokens.key_server import KeyServerConnector, TooMuchError
from gateway.tokens.key_sets import KeyMiss, KeySet, KeySetError
from gateway.tokens.origins import BadAddressError, may_be_proxied, origin_of

FETCH_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 2.0
MAX_REDIRECTS = 3
MAX_STALE_S = 72 * 3600.0
"""Since its last good fetch a set is used for so long, and then as if there were none."""
FIRST_RETRY_S = 5.0
LAST_RETRY_S = 300.0
BUCKET_SIZE = 3
REFILL_S = 10.0
MOST_FETCHES = 64
"""At a time, of those that nobody waits for: each holds a descriptor that callers may need."""
MISSES_KEPT = 1024
MISS_KEPT_S = 10.0
MAX_TOLD = 8
"""Keys of one set that do not count and are named in the log."""

_MAX_TOKEN_BYTES = 64 * 1024
_MAX_AUTHORITIES_BYTES = 1024 * 1024
_TO_PROXIES = {"User-Agent": "sidegate"}

_log = logging.getLogger(__name__)


class FetchResult(StrEnum):
    """How a fetch ended: a closed list, the label of its metric."""

    OK = "ok"
    UNREACHABLE = "unreachable"
    """No connection, no answer in time, or TLS that does not verify."""
    BAD_STATUS = "bad_status"
    TOO_LARGE = "too_large"
    BAD_REDIRECT = "bad_redirect"
    BAD_ADDRESS = "bad_address"
    INVALID = "invalid"
    """The answer is no usable key set, or the metadata is not the issuer's."""
    NO_CREDENTIALS = "no_credentials"
    """The file with our own bearer token, or with the authorities, cannot be read."""
    INTERNAL = Reason.INTERNAL.value
    """A mistake of ours, which says nothing of the source; the log has it."""


class KeysUnavailableError(Exception):
    """There are no keys of this source that could answer: it was not reached, or served nonsense.

    Or the keys there are come from too long ago.
    """


class KeySourceFileError(Exception):
    """A file that the keys of a source are fetched with cannot be used; holds nothing of its content."""

    def __init__(self, key: str, message: str, hint: str) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key
        """The key of the configuration that names it."""
        self.message = message
        self.hint = hint


class FetchObserver(Protocol):
    """What is told about every fetch."""

    def jwks_fetch(self, issuer: str, result: str) -> None:
        """Note a finished fetch; `result` is a `FetchResult`."""


class _FetchError(Exception):
    """Carries the result of a failed fetch; never leaves this module."""

    def __init__(self, result: FetchResult, detail: str) -> None:
        super().__init__(detail)
        self.result = result


@dataclass(frozen=True, slots=True)
class _Fetched:
    """One key set and how long it may be used before it is fetched again."""

    keys: KeySet
    fresh_s: float


class RemoteKeySets:
    """The key sets of every configured remote source.

    Keyed by the source, so a reload that leaves a source as it is leaves its keys as they are.

    Args:
        observer: Told about every fetch.
        clock: Monotonic seconds.
    """

    __slots__ = ("_clock", "_observer", "_seen", "_sets", "_tries", "_wakeup")

    def __init__(self, observer: FetchObserver, clock: Callable[[], float] = time.monotonic) -> None:
        self._observer = observer
        self._clock = clock
        self._sets: dict[RemoteKeySource, _RemoteKeySet] = {}
        self._seen: dict[RemoteKeySource, _RemoteKeySet] = {}
        """Those that may be fetching; one that is none of `_sets` any more is dropped."""
        self._tries: dict[str, tuple[VerificationKey, ...]] | None = None
        """None: to be worked out anew."""
        self._wakeup = asyncio.Event()

    def take(self, sources: Iterable[RemoteKeySource]) -> Callable[[], None]:
        """Keep exactly these sources, and return the way back. Nothing is given up before `settle`."""
        way_back = partial(self._keep, self._sets)
        self._keep({source: self._sets.get(source) or self._new_set(source) for source in sources})
        return way_back

    def _keep(self, sets: "dict[RemoteKeySource, _RemoteKeySet]") -> None:
        self._sets = sets
        self._tries = None

    def settle(self) -> None:
        """After `take`: let go of others. `refresh` fetches new ones at once; readiness does not wait."""
        for source in [source for source, known in self._seen.items() if self._sets.get(source) is not known]:
            self._seen.pop(source).drop()
        self._seen |= self._sets
        self._note_change()

    async def find(self, source: RemoteKeySource, kid: str | None, alg: str, *, may_fetch: bool) -> KeySet:
        """Return the keys of `source` that a token with this header is to be checked with.

        Fetches when there are none yet, or when none is named `kid` and `may_fetch`.

        Raises:
            KeysUnavailableError: There are none, or none that are young enough, or none of this
                name and the source was not reached.
        """
        return await self._set_of(source).find(kid, alg, may_fetch=may_fetch)

    def tries(self) -> Mapping[str, tuple[VerificationKey, ...]]:
        """Return, for each algorithm, the dearest keys that one token is tried with, of all sources."""
        if self._tries is None:
            self._tries = {}
            for each in self._sets.values():
                for alg, keys in each.keys.tries.items() if each.keys is not None else ():
                    known = self._tries.get(alg, ())
                    self._tries[alg] = max(known, keys, key=lambda some: sum(key.work for key in some))
        return self._tries

    def ages(self) -> Iterator[tuple[str, float]]:
        """Yield issuer and age of every set that was fetched at least once, the oldest of an issuer last."""
        now = self._clock()
        known = [(s.source.issuer, now - s.fetched_at) for s in self._sets.values() if s.keys is not None]
        yield from sorted(known)

    async def refresh(self) -> None:
        """Fetch whatever is due, for ever; the one task of this class. Cancel it to stop."""
        while True:
            self._wakeup.clear()
            now = self._clock()
            free = MOST_FETCHES - sum(each.is_fetching for each in self._sets.values())
            due = sorted((each for each in self._sets.values() if each.due_at <= now), key=_due_at)
            for each in due[: max(free, 0)]:  # the others when one of these is over, which wakes us
                each.begin_fetch()
            soonest = min((each.due_at for each in self._sets.values()), default=now + MAX_FRESH_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(soonest - now, 1.0)):
                    await self._wakeup.wait()

    async def close(self) -> None:
        """Give up what is being fetched."""
        every = {*self._sets.values(), *self._seen.values()}
        fetches = [fetch for each in every if (fetch := each.drop()) is not None]
        self._sets = {}
        await asyncio.gather(*fetches, return_exceptions=True)

    def _note_change(self) -> None:
        self._tries = None
        self._wakeup.set()

    def _set_of(self, source: RemoteKeySource) -> "_RemoteKeySet":
        known = self._sets.get(source)
        if known is None:
            known = self._sets[source] = self._seen[source] = self._new_set(source)
        return known

    def _new_set(self, source: RemoteKeySource) -> "_RemoteKeySet":
        return _RemoteKeySet(source, self._observer, self._clock, self._note_change)


class _RemoteKeySet:
    """One source: what was fetched, what is being fetched, what was looked for in vain."""

    __slots__ = (
        "_bucket",
        "_bucket_at",
        "_clock",
        "_failures",
        "_fetch",
        "_misses",
        "_observer",
        "_on_fetched",
        "due_at",
        "fetched_at",
        "keys",
        "source",
    )

    def __init__(
        self,
        source: RemoteKeySource,
        observer: FetchObserver,
        clock: Callable[[], float],
        on_fetched: Callable[[], None],
    ) -> None:
        self.source = source
        self.keys: KeySet | None = None
        self.fetched_at = 0.0
        self.due_at = clock()
        self._observer = observer
        self._on_fetched = on_fetched
        self._clock = clock
        self._fetch: asyncio.Task[None] | None = None
        self._failures = 0
        self._bucket = float(BUCKET_SIZE)
        self._bucket_at = clock()
        self._misses: OrderedDict[str, float] = OrderedDict()

    async def find(self, kid: str | None, alg: str, *, may_fetch: bool) -> KeySet:
        """See `RemoteKeySets.find`."""
        known = self._usable()
        if known is None:
            # Nothing to lose: but a source that just failed is not asked again by every caller.
            if self._fetch is not None or not self._failures or self._take_from_bucket():
                await self._wait_for_fetch()
            known = self._usable()
            if known is None:
                raise KeysUnavailableError
            return known
        if kid is None or len(kid) > MAX_KID or not _lacks(known, kid):
            return known
        if may_fetch and not self._was_missed(kid) and (self._fetch is not None or self._take_from_bucket()):
            await self._wait_for_fetch()
            known = self.keys or known
            if not self._failures and _lacks(known, kid):
                self._note_miss(kid)
        if self._failures and _lacks(known, kid):
            raise KeysUnavailableError  # it may well exist: that is no unknown key
        return known

    def _usable(self) -> KeySet | None:
        """Return the keys there are, unless they come from too long ago."""
        return self.keys if self._clock() - self.fetched_at < MAX_STALE_S else None

    async def _wait_for_fetch(self) -> None:
        """Return when the fetch is over, also when it was given up; a caller that leaves does not end it."""
        await asyncio.wait({self.begin_fetch()})

    def _note_miss(self, kid: str) -> None:
        """Remember that the good fetch that is just over did not bring this name."""
        self._misses[kid] = self._clock()
        self._misses.move_to_end(kid)
        if len(self._misses) > MISSES_KEPT:
            self._misses.popitem(last=False)

    def _was_missed(self, kid: str) -> bool:
        missed_at = self._misses.get(kid)
        return missed_at is not None and self._clock() - missed_at < MISS_KEPT_S

    def _take_from_bucket(self) -> bool:
        now = self._clock()
        self._bucket = min(float(BUCKET_SIZE), self._bucket + (now - self._bucket_at) / REFILL_S)
        self._bucket_at = now
        if self._bucket < 1.0:
            return False
        self._bucket -= 1.0
        return True

    @property
    def is_fetching(self) -> bool:
        """Whether a fetch is under way."""
        return self._fetch is not None

    def begin_fetch(self) -> "asyncio.Task[None]":
        """Return the fetch that is under way, started now if there is none. It never fails."""
        if self._fetch is None:
            self.due_at = self._clock() + LAST_RETRY_S  # until it says better
            self._fetch = asyncio.get_running_loop().create_task(self._fetch_once())
        return self._fetch

    def drop(self) -> "asyncio.Task[None] | None":
        """Give up what is being fetched and return it."""
        if self._fetch is not None:
            self._fetch.cancel()
        return self._fetch

    async def _fetch_once(self) -> None:
        result = FetchResult.OK
        try:
            fetched = await _fetch_key_set(self.source)
        except _FetchError as error:
            result = error.result
            self._note_failure(str(error))
        except Exception:
            # The rescue point of a fetch: whatever a peer provokes in the client library, the old keys stay.
            _log.exception("fetching the keys of %s failed inside the gateway", self.source.issuer)
            result = FetchResult.INTERNAL
            self._note_failure("see the error before")
        else:
            self._note_success(fetched)
        finally:
            self._fetch = None
            self._on_fetched()
        self._observer.jwks_fetch(self.source.issuer, result.value)

    def _note_success(self, fetched: _Fetched) -> None:
        now = self._clock()
        self._tell_unused(fetched.keys)
        self.keys = fetched.keys
        self.fetched_at = now
        self.due_at = now + fetched.fresh_s
        if self._failures:
            _log.info("the keys of %s are fresh again", self.source.issuer)
        self._failures = 0

    def _tell_unused(self, fetched: KeySet) -> None:
        """Log which keys do not count, once: not again before that changes."""
        unused = (*fetched.left_out, *fetched.passed_over)
        if self.keys is None or unused != (*self.keys.left_out, *self.keys.passed_over):
            for reason in unused[:MAX_TOLD]:
                _log.warning("a key of %s is not used: %s", self.source.issuer, reason)

    def _note_failure(self, detail: str) -> None:
        self.due_at = self._clock() + min(FIRST_RETRY_S * 2**self._failures, LAST_RETRY_S)
        self._failures = min(self._failures + 1, 16)
        consequence = "there are none yet"
        if self.keys is not None:
            age_h = (self._clock() - self.fetched_at) / 3600
            consequence = (
                f"the former ones ({age_h:.1f} h old) stay in use for up to {MAX_STALE_S / 3600:.0f} h"
                if self._usable() is not None
                else f"the former ones are {age_h:.0f} h old and no longer used"
            )
        _log.warning("the keys of %s were not fetched: %s; %s", self.source.issuer, detail, consequence)


def _due_at(each: _RemoteKeySet) -> float:
    return each.due_at


def _lacks(keys: KeySet, kid: str) -> bool:
    return keys.find(kid, "") is KeyMiss.UNKNOWN_KEY


# --- one fetch


async def _fetch_key_set(source: RemoteKeySource) -> _Fetched:
    """Return the keys at `source`; raises _FetchError."""
    try:
        async with asyncio.timeout(FETCH_TIMEOUT_S), _open_session(source) as session:
            uri = source.uri
            way = _Way(session, source, await asyncio.to_thread(_read_token_of, source))
            if uri is None:
                uri = await _discover(way, source.issuer)
            body, fresh_s = await way.get(uri, accept="application/jwk-set+json, application/json")
            # On a thread: judging 256 keys takes as long as serving some hundred requests.
            return _Fetched(await asyncio.to_thread(read_key_set, body), fresh_s)
    except TimeoutError:
        raise _FetchError(FetchResult.UNREACHABLE, f"no answer within {FETCH_TIMEOUT_S:.0f} s") from None
    except KeySourceFileError as error:
        raise _FetchError(FetchResult.NO_CREDENTIALS, str(error)) from None
    except KeySetError as error:
        raise _FetchError(FetchResult.INVALID, f"the key set {error}") from None
    except TooMuchError as error:
        raise _FetchError(FetchResult.TOO_LARGE, str(error)) from None
    except (aiohttp.ClientError, OSError) as error:
        raise _FetchError(FetchResult.UNREACHABLE, _describe(error, source)) from None


def _describe(error: Exception, source: RemoteKeySource) -> str:
    """Return why nothing was reached: a proxy that was in the way, or the kind of the error."""
    proxy = "" if source.proxy is None else f"the proxy {source.proxy.url}"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"{proxy} cannot be reached"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"{proxy} answers {error.status} to CONNECT"
    return type(error).__name__ + (f", behind {proxy}" if proxy else "")


@contextlib.asynccontextmanager
async def _open_session(source: RemoteKeySource) -> AsyncIterator[aiohttp.ClientSession]:
    # Reading the system's authorities takes tens of milliseconds.
    context = await asyncio.to_thread(_tls_context, source.ca_file)
    timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    async with aiohttp.ClientSession(
        connector=KeyServerConnector(context, limit=2),
        timeout=timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        skip_auto_headers=("User-Agent",),
        headers={"User-Agent": "sidegate", "Accept-Encoding": "identity"},
    ) as session:
        yield session


def find_unusable_authorities(ca_file: Path) -> KeySourceFileError | None:
    """Return what a fetch with this `ca_file` would fail for. Reads it: not for the event loop.

    At the time of a fetch the same is asked again: platforms renew it.
    """
    try:
        _tls_context(ca_file)
    except KeySourceFileError as error:
        return error
    return None


def find_unusable_token(path: Path) -> KeySourceFileError | None:
    """Return what a fetch with the token in this file would fail for; else as `find_unusable_authorities`."""
    try:
        _read_token(path)
    except KeySourceFileError as error:
        return error
    return None


def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    if ca_file is None:
        context = ssl.create_default_context()
    else:
        hint = (
            "name a PEM file with who signed the certificate of the source, or leave it out for the system's"
        )
        # As octets of ours: OpenSSL would open the path itself, and read whatever it is to its end.
        octets = _read_key_source_file("ca_file", ca_file, read_pem_file, _MAX_AUTHORITIES_BYTES, hint)
        text = octets.decode("ascii", "ignore")
        try:
            if not text.strip():
                raise ssl.SSLError("nothing there")  # which would mean the authorities of the system
            context = ssl.create_default_context(cadata=text)
        except ssl.SSLError as error:
            raise KeySourceFileError("ca_file", "holds no certificates in PEM form", hint) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _read_token_of(source: RemoteKeySource) -> str:
    return "" if source.bearer_token is None else _read_token(source.bearer_token.file)


def _read_token(path: Path) -> str:
    hint = "the platform must have put a token there before the start; leave it out if the keys are public"
    try:
        token = _read_key_source_file("file", path, read_file, _MAX_TOKEN_BYTES, hint).decode("ascii").strip()
    except UnicodeDecodeError:
        token = ""
    if not token or not token.isprintable() or " " in token:
        raise KeySourceFileError("file", "holds no token", hint)
    return token


def _read_key_source_file(key: str, path: Path, read: ReadFile, largest_bytes: int, hint: str) -> bytes:
    try:
        return read(path, largest_bytes=largest_bytes).octets
    except UnusableFileError as reason:
        raise KeySourceFileError(key, str(reason), "; ".join(filter(None, (reason.remedy, hint)))) from None


async def _discover(way: "_Way", issuer: str) -> str:
    """Return the `jwks_uri` of the issuer's metadata, which must be that issuer's own (RFC 8414 3.3)."""
    parts = urlsplit(issuer)
    # OpenID Connect puts the well-known part behind the path, RFC 8414 before it.
    addresses = (
        issuer.rstrip("/") + "/.well-known/openid-configuration",
        f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path.rstrip('/')}",
    )
    try:
        body, _ = await way.get(addresses[0], accept="application/json")
    except _FetchError as error:
        if error.result is not FetchResult.BAD_STATUS:
            raise
        body, _ = await way.get(addresses[1], accept="application/json")
    document = await asyncio.to_thread(parse_json_object, body)
    if isinstance(document, JwtProblem) or document.get("issuer") != issuer:
        raise _FetchError(FetchResult.INVALID, "the metadata document is not one of this issuer")
    uri = document.get("jwks_uri")
    if not isinstance(uri, str):
        raise _FetchError(FetchResult.INVALID, "the metadata document has no jwks_uri")
    if parts.scheme == "https" and not _origin(uri).startswith("https:"):
        # Plain http is for issuers on loopback; nobody elsewhere sends us to a service of this machine.
        raise _FetchError(FetchResult.BAD_ADDRESS, "the jwks_uri of an https:// issuer is not https://")
    return uri


@dataclass(frozen=True, slots=True)
class _Way:
    """How the addresses of one fetch are reached, and with what."""

    session: aiohttp.ClientSession
    source: RemoteKeySource
    token: str

    async def get(self, url: str, *, accept: str) -> tuple[bytes, float]:
        """Return a body and for how many seconds it is fresh."""
        origin = _origin(url)
        headers = {"Accept": accept, **self._authorization(origin)}
        proxy = self._proxy_for(url)
        to_proxy = _TO_PROXIES if proxy else None
        for _ in range(MAX_REDIRECTS + 1):
            async with self.session.get(
                url, headers=headers, allow_redirects=False, proxy=proxy, proxy_headers=to_proxy
            ) as answer:
                if answer.status in (301, 302, 303, 307, 308):
                    url = urljoin(url, answer.headers.get("Location", ""))
                    if _origin(url) != origin:
                        raise _FetchError(FetchResult.BAD_REDIRECT, "a redirect leads to another origin")
                    continue
                if answer.status != 200:
                    raise _FetchError(FetchResult.BAD_STATUS, f"the answer is {answer.status}")
                if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
                    raise _FetchError(FetchResult.INVALID, "the answer is encoded although that was refused")
                return await _read_bounded(answer), fresh_seconds(answer.headers, time.time())
        raise _FetchError(FetchResult.BAD_REDIRECT, f"there are more than {MAX_REDIRECTS} redirects")

    def _authorization(self, origin: str) -> dict[str, str]:
        """Return our token for an origin that the operator listed for it, for no other."""
        listed = self.source.bearer_token
        if listed is None or origin not in listed.origins:
            return {}
        return {"Authorization": f"Bearer {self.token}"}

    def _proxy_for(self, url: str) -> str | None:
        """Return the proxy to ask; metadata that lead it back to this machine are refused."""
        if self.source.proxy is None:
            return None
        if not may_be_proxied(url):
            raise _FetchError(
                FetchResult.BAD_ADDRESS, "a proxy is never asked for http:// or loopback addresses"
            )
        return self.source.proxy.url


async def _read_bounded(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > MAX_SET_BYTES:
            raise _FetchError(FetchResult.TOO_LARGE, f"the answer is larger than {MAX_SET_BYTES // 1024} KiB")
    return bytes(body)


def _origin(url: str) -> str:
    """Return scheme, host and port of an address that may be asked; raises _FetchError for any other."""
    try:
        return origin_of(url)
    except BadAddressError as reason:
        raise _FetchError(FetchResult.BAD_ADDRESS, str(reason)) from None
