"""Slow down whoever is wrong about secrets, and nobody else.

Pure: the time is passed in. Failures are counted in windows, for one client from one
peer and for all clients from one peer; a window begins with its first failure. When
it is full, this peer is not listened to for this client (or for any) until the window
ends: its next guess is not even compared. Another peer with the right secret is not
touched by that, so nobody can lock a client out from afar; nor from beside: where
strangers have closed an address for all clients, `gateway.issuer.logins` still listens
to those that have proven themselves from there. What counts is `AuthFailure.is_guess`;
unknown client ids count like known ones, because the answers must not tell which exist.

Where a client is known, what it proves itself by has a count of its own: junk of one kind,
which anybody beside it can send in its name, does not close the other.

Where processes share a store, its count comes back with every failure (`learn`), so
the limit holds for all of them together and a success costs nothing anywhere.

The table is bounded. Who fills it to be forgotten fails more often than he may,
because a peer has a count of its own.

Sources: RFC 6749 2.3.1 (guard against brute force), RFC 6585 4 (429).
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.settings.model import Rate

ENTRIES = 16_384
CLIENTS_PER_PEER = 10
"""A peer may fail this many times as often for all clients together as for one."""
LONGEST_CLIENT_ID = 512
"""Longer ones are cut for the count: no client has one."""


@dataclass(slots=True)
class _Window:
    """How many failures one key had, and until when they count."""

    failures: int
    ends: float


@dataclass(frozen=True, slots=True)
class Counted:
    """One of the counts that a failure adds to."""

    key: str
    limit: int
    window_s: float


class FailureThrottle:
    """The recent failures of client authentication. Not thread-safe: the event loop's own."""

    __slots__ = ("_entries", "_windows")

    def __init__(self, entries: int = ENTRIES) -> None:
        """Remember at most `entries` windows."""
        self._entries = entries
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    def wait_s(self, peer: str, client_id: str, rate: Rate, monotonic_now: float) -> float:
        """Return in how many seconds this peer may try again for this client; 0 for now."""
        return max(self.waits_s(peer, client_id, rate, monotonic_now))

    def waits_s(self, peer: str, client_id: str, rate: Rate, monotonic_now: float) -> tuple[float, float]:
        """Return for how many seconds this peer is closed for this client, and for all; 0 for not at all."""
        if not self._windows or not rate.requests:
            return 0.0, 0.0
        of_pair, of_peer = counts(peer, client_id, rate)
        return self._closed_s(of_pair, monotonic_now), self._closed_s(of_peer, monotonic_now)

    def kind_wait_s(self, peer: str, client_id: str, kind: str, rate: Rate, monotonic_now: float) -> float:
        """Return for how many seconds this peer is closed for this client's proofs of one kind."""
        if not self._windows or not rate.requests:
            return 0.0
        return self._closed_s(count_of_kind(peer, client_id, kind, rate), monotonic_now)

    def count(
        self, peer: str, client_id: str, rate: Rate, monotonic_now: float, *, kind: str | None = None
    ) -> tuple[Counted, ...]:
        """Count one failure; return what it was counted under, for a shared store.

        Args:
            peer: The peer group.
            client_id: The client that it said to be.
            rate: How many failures are too many, and in which time.
            monotonic_now: Seconds.
            kind: What it was to be proven by, where that has a count of its own.
        """
        if not rate.requests:
            return ()
        counted = tuple(counts(peer, client_id, rate))
        if kind is not None:
            counted = (*counted, count_of_kind(peer, client_id, kind, rate))
        for item in counted:
            window = self._windows.get(item.key)
            if window is None or window.ends <= monotonic_now:
                self._open(item.key, _Window(1, monotonic_now + item.window_s), monotonic_now)
            else:
                window.failures += 1
        return counted

    def learn(self, counted: Counted, failures: int, ends_in_s: float, monotonic_now: float) -> None:
        """Take over how often all processes together counted this failure's like."""
        window = self._windows.get(counted.key)
        if window is None:
            window = _Window(failures, monotonic_now + ends_in_s)
            self._open(counted.key, window, monotonic_now)
        elif failures > window.failures:
            window.failures = failures
            window.ends = monotonic_now + ends_in_s

    def _closed_s(self, counted: Counted, monotonic_now: float) -> float:
        window = self._windows.get(counted.key)
        if window is None or window.failures < counted.limit:
            return 0.0
        return max(0.0, window.ends - monotonic_now)

    def _open(self, key: str, window: _Window, monotonic_now: float) -> None:
        self._windows.pop(key, None)
        while self._windows:
            oldest = next(iter(self._windows))
            if self._windows[oldest].ends > monotonic_now and len(self._windows) < self._entries:
                break
            del self._windows[oldest]
        self._windows[key] = window


def counts(peer: str, client_id: str, rate: Rate) -> Iterator[Counted]:
    """Yield what a failure of `peer` for `client_id` is counted under."""
    yield Counted(_pair(peer, client_id), rate.requests, rate.per_s)
    yield Counted(peer, rate.requests * CLIENTS_PER_PEER, rate.per_s)


def count_of_kind(peer: str, client_id: str, kind: str, rate: Rate) -> Counted:
    """Return what a failure of `peer` to prove `client_id` by one kind of proof is counted under."""
    # In front: behind the client's id, which the caller chooses, it could be a part of that.
    return Counted(f"{kind}\n{_pair(peer, client_id)}", rate.requests, rate.per_s)


def _pair(peer: str, client_id: str) -> str:
    return f"{peer}\n{client_id[:LONGEST_CLIENT_ID]}"
