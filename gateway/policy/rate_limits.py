"""Hold the rate limits of routes: their rules, their state, and what callers are told.

Pure: the time is passed in. A limit's state is found by the route's name and the rule,
so a reload that leaves both as they are leaves the counts as they are. Only requests
that the policy allows are counted: what is refused anyway must not use up what its
caller, or the other callers, may still do.

Sources: RFC 6585 4, draft-ietf-httpapi-ratelimit-headers-11 (RateLimit, RateLimit-Policy).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from math import ceil, floor
from types import MappingProxyType

from gateway.policy.model import Exceeded, Route
from gateway.policy.token_bucket import TokenBuckets
from gateway.settings.model import LimitBy, Rate, RateLimitSettings

BAD_TOKENS = "bad_tokens"
"""The name of `limits.bad_tokens` in fields and metrics."""
ROUTE_LIMIT = "rate_limit"
"""The name of a route's `rate_limit` in metrics."""

PRUNED_LIMITS = 32
"""Route limits that are looked into per call of `prune`."""
PRUNED_ENTRIES = 128


def policy_value(name: str, requests: int, per_s: float) -> bytes:
    """Return a RateLimit-Policy value. Its window is whole seconds: other periods are scaled to those."""
    window = max(1, ceil(per_s))
    quota = floor(requests * window / per_s)
    return b'"%b";q=%d;w=%d' % (name.encode("ascii"), quota, window)


class RouteLimit:
    """The limit of one route, and what was counted against it.

    Clients and peers have tables of their own: nobody without a token can push out
    what is known of a client.
    """

    __slots__ = ("_by", "_clients", "_full_s", "_name", "_peers", "_policy", "rule")

    def __init__(self, rule: RateLimitSettings) -> None:
        self.rule = rule
        self._by = rule.by
        self._clients = TokenBuckets(rule.requests, rule.per_s, rule.burst)
        self._peers = TokenBuckets(rule.requests, rule.per_s, rule.burst)
        self._policy = policy_value(rule.by.value, rule.requests, rule.per_s)
        self._name = b'"%b"' % rule.by.value.encode("ascii")

    def take(self, client: str | None, peer: str, monotonic_now: float) -> Exceeded | bytes:
        """Count one allowed request; return why it is refused, or the fields to add to its answer.

        Args:
            client: The id in the verified token, or None without one; then its peer counts.
            peer: The caller's `peer_group`.
            monotonic_now: Seconds.
        """
        if self._by is LimitBy.ROUTE:
            buckets, key = self._clients, ""
        elif client is None or self._by is LimitBy.PEER:
            buckets, key = self._peers, peer
        else:
            buckets, key = self._clients, client
        left = buckets.take(key, monotonic_now)
        if left < 0.0:
            return Exceeded(ROUTE_LIMIT, self._policy, buckets.wait_s(-left))
        return b"".join(
            (
                b"RateLimit-Policy: ",
                self._policy,
                b"\r\nRateLimit: ",
                self._name,
                b";r=%d;t=%d\r\n" % (left, ceil(buckets.wait_s(self.rule.burst - left))),
            )
        )

    def prune(self, monotonic_now: float, *, limit: int) -> None:
        """Forget what says nothing any more, looking at `limit` entries at most."""
        self._clients.prune(monotonic_now, limit=limit)
        self._peers.prune(monotonic_now, limit=limit)

    def __len__(self) -> int:
        return len(self._clients) + len(self._peers)


class BadTokenLimit:
    """How many tokens with a wrong signature each peer may send before its unknown ones are not checked."""

    __slots__ = ("_buckets", "_policy", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._buckets = TokenBuckets(rate.requests, rate.per_s, rate.requests)
        self._policy = policy_value(BAD_TOKENS, rate.requests, rate.per_s)

    def exceeded(self, peer: str, monotonic_now: float) -> Exceeded | None:
        """Return why tokens from `peer` may not be checked now, or None."""
        missing = self._buckets.missing(peer, monotonic_now)
        if not missing:
            return None
        return Exceeded(BAD_TOKENS, self._policy, self._buckets.wait_s(missing))

    def count(self, peer: str, monotonic_now: float) -> None:
        """Count one signature that did not verify."""
        self._buckets.take(peer, monotonic_now)

    def prune(self, monotonic_now: float, *, limit: int) -> None:
        """Forget what says nothing any more, looking at `limit` entries at most."""
        self._buckets.prune(monotonic_now, limit=limit)


@dataclass(frozen=True, slots=True, eq=False)
class LimitTable:
    """The limits of one configuration, and what was counted against them."""

    routes: Mapping[str, RouteLimit]
    """By the route's name."""
    bad_tokens: BadTokenLimit | None


class RateLimits:
    """The rate limits of one process, across its configurations: what is unchanged keeps what it counted."""

    __slots__ = ("_turn", "table")

    def __init__(self) -> None:
        self.table = LimitTable(MappingProxyType({}), None)
        """Those in force."""
        self._turn: Iterator[RouteLimit] = iter(())

    def choose(self, routes: Iterable[Route], bad_tokens: Rate) -> LimitTable:
        """Return the limits for these routes and this rate of bad tokens. Changes nothing."""
        chosen: dict[str, RouteLimit] = {}
        for route in routes:
            rule = route.rate_limit
            if rule is not None:
                known = self.table.routes.get(route.name)
                chosen[route.name] = known if known and known.rule == rule else RouteLimit(rule)
        return LimitTable(MappingProxyType(chosen), self._choose_bad_tokens(bad_tokens))

    def _choose_bad_tokens(self, rate: Rate) -> BadTokenLimit | None:
        if not rate.requests:
            return None
        known = self.table.bad_tokens
        return known if known is not None and known.rate == rate else BadTokenLimit(rate)

    def take(self, table: LimitTable) -> Callable[[], None]:
        """Put `table` in force, and return the way back to the former."""
        way_back = partial(self._work_by, self.table)
        self._work_by(table)
        return way_back

    def _work_by(self, table: LimitTable) -> None:
        self.table = table
        self._turn = iter(())

    @property
    def bad_tokens(self) -> BadTokenLimit | None:
        """The limit for bad tokens, or None when there is none."""
        return self.table.bad_tokens

    def prune(self, monotonic_now: float) -> None:
        """Forget what says nothing any more, a little per call; every limit gets its turn."""
        if self.table.bad_tokens is not None:
            self.table.bad_tokens.prune(monotonic_now, limit=PRUNED_ENTRIES)
        limits = list(islice(self._turn, PRUNED_LIMITS))
        if not limits:
            self._turn = iter(self.table.routes.values())
        for limit in limits:
            limit.prune(monotonic_now, limit=PRUNED_ENTRIES)
