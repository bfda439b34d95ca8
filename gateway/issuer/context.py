"""Say what the issuer is given by whoever composes the process.

Sources: METRICS.md families are fed through `IssuerObserver`; the issuer itself knows
no metrics library.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gateway.clients.scrypt_worker import ScryptWorker
from gateway.issuer.snapshot import IssuerSnapshot
from gateway.observe.issuer_request import IssuerRequest
from gateway.settings.model import RemoteKeySource
from gateway.state.interface import ReplayGuard, SharedCounters, StateStore
from gateway.state.memory import MAX_USED, MemoryReplayGuard
from gateway.tokens.claims import AccessToken
from gateway.tokens.jwks_client import RemoteKeySets
from gateway.tokens.key_ring import VerificationKey
from gateway.tokens.key_sets import KeySet
from gateway.tokens.revocations import Revocations
from gateway.tokens.shares import Shares


class IssuerObserver(Protocol):
    """What is told about every request. All labels are known names, never caller's text.

    An unknown or missing grant type is `_OTHER` or `_none_`, a client that is not known
    or not proven `_none_`.
    """

    def token_request(
        self, grant: str, auth_method: str, client: str, result: str, duration_s: float
    ) -> None:
        """Note a finished token request; `result` is `ok` or the OAuth error code."""

    def token_issued(self, client: str, audience: str, grant: str, lifetime_s: int) -> None:
        """Note a token that was issued."""

    def auth_failure(self, auth_method: str, reason: str) -> None:
        """Note a failed client authentication, at any endpoint, or a failed jwt-bearer grant."""

    def replay_rejected(self, kind: str) -> None:
        """Note an assertion that was used before: `client_assertion` or `grant_assertion`."""

    def legacy_audience(self, client: str) -> None:
        """Note a client assertion that was accepted though its `aud` is the token endpoint."""

    def jwks_fetch(self, issuer: str, result: str) -> None:
        """Note a finished fetch of a remote key set."""


class KeyFinder(Protocol):
    """Knows the remote key sets; `gateway.tokens.jwks_client.RemoteKeySets` in the process."""

    async def find(self, source: RemoteKeySource, kid: str | None, alg: str, *, may_fetch: bool) -> KeySet:
        """Return the keys of `source`, fetched anew for an unknown `kid` when `may_fetch`.

        Raises:
            KeysUnavailableError: The source was not reached, so there is no answer.
        """

    def tries(self) -> Mapping[str, tuple[VerificationKey, ...]]:
        """Return, for each algorithm, the dearest keys that one token is tried with, of all sources."""


class SilentObserver:
    """An `IssuerObserver` that does nothing."""

    __slots__ = ()

    def token_request(
        self, grant: str, auth_method: str, client: str, result: str, duration_s: float
    ) -> None:
        """Do nothing."""

    def token_issued(self, client: str, audience: str, grant: str, lifetime_s: int) -> None:
        """Do nothing."""

    def auth_failure(self, auth_method: str, reason: str) -> None:
        """Do nothing."""

    def replay_rejected(self, kind: str) -> None:
        """Do nothing."""

    def legacy_audience(self, client: str) -> None:
        """Do nothing."""

    def jwks_fetch(self, issuer: str, result: str) -> None:
        """Do nothing."""


def trust_peer(peer: str) -> bool:
    """Return that every peer may cause a fetch of keys: right only where nobody counts bad tokens."""
    return True


def ignore_bad_assertion(peer: str) -> None:
    """Do nothing about an assertion that did not verify."""


def log_request(request: IssuerRequest) -> None:
    """Log one request to the issuer by way of `logging`: right where no `IssuerLog` takes it."""
    members = {
        name: value
        for name in request.__struct_fields__
        if name not in ("at", "level", "logger", "message") and (value := getattr(request, name))
    }
    said = f"{request.message}: {request.result}{f' ({request.cause})' if request.cause else ''}"
    logging.getLogger("gateway.issuer").info("%s", said, extra=members)


def ignore_issued(raw: bytes, token: AccessToken) -> None:
    """Do nothing with an issued token."""


@dataclass(frozen=True, slots=True)
class IssuerContext:
    """What the issuer works with. The owner opens and closes all of it."""

    snapshot: Callable[[], IssuerSnapshot]
    """Returns the current configuration; called once per request."""
    revocations: Revocations
    store: StateStore
    scrypt: ScryptWorker
    clock: Callable[[], float] = time.time
    """Wall-clock seconds since the epoch."""
    on_issued: Callable[[bytes, AccessToken], None] = ignore_issued
    """Called with every new token before it is sent, to warm the verified-token cache."""
    observer: IssuerObserver = field(default_factory=SilentObserver)
    replay: ReplayGuard = field(default_factory=MemoryReplayGuard)
    """Remembers the assertions that were used."""
    uses: Shares = field(default_factory=lambda: Shares(MAX_USED))
    """Counts whose they were."""
    counters: SharedCounters | None = None
    """Adds up failures over all processes; None where there is only this one."""
    stopwatch: Callable[[], float] = time.monotonic
    """Monotonic seconds."""
    key_sets: KeyFinder = field(default_factory=lambda: RemoteKeySets(SilentObserver()))
    may_fetch_keys: Callable[[str], bool] = trust_peer
    """Returns whether this peer's unknown `kid` may cause a fetch."""
    on_request: Callable[[IssuerRequest], None] = log_request
    """Takes what the log says of each token, introspection and revocation request."""
    on_bad_assertion: Callable[[str], None] = ignore_bad_assertion
    """Called with the peer of an assertion whose signature did not verify."""
