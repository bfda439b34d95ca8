"""Count what the process does.

Plain numbers (`gateway.observe.series`); nothing here renders text
(`gateway.observe.exposition`) and nothing here reads a clock. Requests are counted in
batches (`gateway.observe.request_series`), everything else by one method per event. All
methods belong to the event loop's thread.

A series is there at 0 before anything happened where its labels are known beforehand
(`preset`): a counter that appears with its first failure has no increase. Series of what
is gone from the configuration go after one more scrape.
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from functools import partial

from gateway.oauth_names import short_grants
from gateway.observe import families
from gateway.observe.exchange import Exchange
from gateway.observe.families import Family, GaugeSample, SeriesOf
from gateway.observe.request_series import OTHER_METHOD, RequestSeries
from gateway.observe.series import Collected, LabelLimit, Row, Series
from gateway.settings.model import MetricsSettings

RESULT_OK = "ok"

_GRANT_LABELS = {**short_grants(), "": families.NONE, families.NONE: families.NONE}
_FAILED_RESULTS = frozenset({"server_error", "temporarily_unavailable"})

Names = Mapping[str, Set[str]]
"""For each label of `families.LIMITED`, what the configuration has by that kind of name."""


def _no_gauges() -> Iterable[GaugeSample]:
    return ()


class Metrics:
    """Every counter and histogram of the process.

    Args:
        settings: Buckets for request and upstream durations, and the label limit.
        issuer: The label of our own tokens, the issuer's URL.
        version: The product's version, for `sidegate_build_info`.
        uvloop_version: uvloop's, or "" when another loop runs.
    """

    def __init__(self, settings: MetricsSettings, *, issuer: str, version: str, uvloop_version: str) -> None:
        self.gauges: Callable[[], Iterable[GaugeSample]] = _no_gauges
        """Called once per scrape for the current values that others keep; set by the composition root."""
        self._issuer = issuer
        limit = settings.label_limit
        self._limits = {name: LabelLimit(limit) for name in families.LIMITED}
        self._words = LabelLimit(limit)
        self._names: Names | None = None
        self._requests = RequestSeries(
            settings.buckets or families.REQUEST_BOUNDS, self._limits, by_route=settings.route_histograms
        )
        self._series = Series()
        for label in families.LIMITED:
            self._series.count(families.LABEL_OVERFLOW, label, by=0)
        for family in (families.LOOP_HELD, families.ACCESS_LOG_DROPPED):
            self._series.count(family, by=0)
        build = (version, platform.python_version(), uvloop_version)
        self._series.set_alone(families.BUILD_INFO, *build, value=1)

    # --- what there is ------------------------------------------------------------

    def take_names(
        self, names: Names, at_zero: Iterable[SeriesOf], *, issuer: str = ""
    ) -> Callable[[], None]:
        """Announce what there is, and return the way back.

        Series of anything else go after one more scrape. A request that is still running on a
        deleted route brings its series back; these too go after the next scrape.

        Args:
            names: Of the configuration, by label.
            at_zero: Counters that are to be there before anything is counted. Those of a label
                with more names than its limit wait for their first event: whose come first is
                not the configuration's to say.
            issuer: The label of our own tokens from now on; "" as before.
        """
        self._count_decided()
        crowded = {label for label, known in names.items() if not self._limits[label].has_room_for(known)}
        # Whatever goes wrong in making the rows, nothing has changed yet.
        rows = [(family, tuple(each)) for family, each in at_zero if crowded.isdisjoint(family.labels)]
        way_back = partial(self._know, self._names, self._issuer)
        self._know(names, issuer or self._issuer)
        for family, each in rows:
            for labels in each:
                self._set_out(family, labels)
        return way_back

    def _know(self, names: Names | None, issuer: str) -> None:
        self._names, self._issuer = names, issuer

    def few_names(self, label: str) -> Set[str]:
        """Return the names that a label can have, or none when they are more than its limit."""
        known = (self._names or {}).get(label, frozenset())
        return known if self._limits[label].has_room_for(known) else frozenset()

    def _set_out(self, family: Family, labels: tuple[str, ...]) -> None:
        if family is families.UPSTREAM_ERRORS:
            upstream, reason = labels
            self._requests.upstream_failed(upstream, reason, 0)
        elif family is families.UPSTREAM_REQUESTS:
            upstream, code_class, attempt = labels
            self._requests.upstream_asked(upstream, code_class, attempt)
        else:
            admitted = (
                self._limits[label].admit(value)
                if label in self._limits and value != families.NONE
                else value
                for label, value in zip(family.labels, labels, strict=True)
            )
            self._series.count(family, *admitted, by=0)

    # --- events -----------------------------------------------------------------

    def absorb(self, exchanges: Sequence[Exchange]) -> None:
        """Count a batch of finished requests."""
        self._requests.absorb(exchanges)

    def token_verify(self, result: str, cache: str, count: int = 1) -> None:
        """Count checked access tokens; `result` is `ok` or a reason, `cache` `hit` or `miss`."""
        self._series.count(families.TOKEN_VERIFY, self._issuer, result, cache, by=count)

    def token_verify_seconds(self, alg: str, seconds: float) -> None:
        """Count the time of one signature check; `alg` is one of ours, never the token's own word."""
        self._series.observe(families.TOKEN_VERIFY_DURATION, alg, value=seconds)

    def token_request(
        self, grant: str, auth_method: str, client: str, result: str, duration_s: float
    ) -> None:
        """Count one answered token request.

        Args:
            grant: As sent, or ""; unknown text becomes `_OTHER`.
            auth_method: The method that was tried, or "".
            client: The client's id when it is known, else "": never unverified text.
            result: `ok` or the OAuth error code.
            duration_s: Seconds from the request until its answer.
        """
        grant = _GRANT_LABELS.get(grant, OTHER_METHOD)
        method = self._words.admit(auth_method)
        known = self._admit(families.CLIENT, client)
        self._series.count(families.TOKEN_REQUESTS, grant, method, known, self._words.admit(result))
        if result == RESULT_OK:
            result_class = RESULT_OK
        else:
            result_class = "failed" if result in _FAILED_RESULTS else "refused"
        self._series.observe(families.TOKEN_REQUEST_DURATION, grant, result_class, value=max(duration_s, 0.0))

    def token_issued(self, client: str, audience: str, grant: str, lifetime_s: float) -> None:
        """Count one issued token."""
        pair = (self._admit(families.CLIENT, client), self._admit(families.AUDIENCE, audience))
        self._series.count(families.TOKENS_ISSUED, *pair)
        self._series.observe(
            families.TOKEN_LIFETIME, _GRANT_LABELS.get(grant, families.OTHER), value=lifetime_s
        )

    def auth_failure(self, method: str, reason: str) -> None:
        """Count one failed client authentication; both are words of our own."""
        words = (self._words.admit(method), self._words.admit(reason))
        self._series.count(families.CLIENT_AUTH_FAILURES, *words)

    def replay_rejected(self, kind: str) -> None:
        """Count an assertion that was used before; `kind` is a word of our own."""
        self._series.count(families.REPLAY_REJECTED, kind)

    def legacy_audience(self, client: str) -> None:
        """Count a client assertion that was accepted for an older audience than the issuer."""
        self._series.count(families.LEGACY_AUDIENCE, self._admit(families.CLIENT, client))

    def jwks_fetch(self, issuer: str, result: str) -> None:
        """Count a finished fetch of a remote key set."""
        admitted = self._admit(families.ISSUER, issuer)
        self._series.count(families.JWKS_FETCH, admitted, self._words.admit(result))

    def jwks_ages(self, ages: Iterable[tuple[str, float]]) -> Iterator[GaugeSample]:
        """Yield the age of each issuer's keys; of several sets the last one, which is the oldest."""
        oldest = {self._limits[families.ISSUER].admit(issuer): age for issuer, age in ages}
        for issuer, age in oldest.items():
            yield GaugeSample(families.JWKS_AGE, (issuer,), age)

    def authorization_ends(self, ends: Iterable[tuple[str, str, float]]) -> Iterator[GaugeSample]:
        """Yield when authorizations end, given as (client, audience, epoch seconds)."""
        first: dict[tuple[str, str], float] = {}
        for client, audience, until in ends:
            pair = (
                self._limits[families.CLIENT].admit(client),
                self._limits[families.AUDIENCE].admit(audience),
            )
            first[pair] = min(until, first.get(pair, until))
        for pair, until in first.items():
            yield GaugeSample(families.AUTHORIZATION_UNTIL, pair, until)

    def config_loaded(self, config_hash: str, now: float) -> None:
        """Record the configuration that the process starts with."""
        self._series.set_alone(families.CONFIG_RELOAD_SUCCESSFUL, value=1)
        self._series.set_alone(families.CONFIG_RELOAD_TIMESTAMP, value=now)
        self._series.set_alone(families.CONFIG_INFO, config_hash, value=1)

    def config_reload(self, result: str, cause: str, config_hash: str, now: float) -> None:
        """Record one reload; the hash counts only when `result` is ok."""
        self._series.count(families.CONFIG_RELOADS, result, cause)
        if result == RESULT_OK:
            self.config_loaded(config_hash, now)
        else:
            self._series.set_alone(families.CONFIG_RELOAD_SUCCESSFUL, value=0)

    def loop_lag(self, seconds: float) -> None:
        """Count by how much one timer ran late."""
        self._series.observe(families.EVENT_LOOP_LAG, value=max(seconds, 0.0))

    def loop_held(self, _seconds: float) -> None:
        """Count one time that the event loop stood still."""
        self._series.count(families.LOOP_HELD)

    def rate_limited(self, route: str, limit: str, count: int) -> None:
        """Count refusals by a limit; `route` is "" where none was known yet, `limit` a word of our own."""
        admitted = self._limits[families.ROUTE].admit(route)
        self._series.count(families.RATE_LIMITED, admitted, limit, by=count)

    def upstream_failed(self, upstream: str, reason: str, count: int) -> None:
        """Count attempts that failed and that no exchange tells of; `reason` is a word of our own."""
        self._requests.upstream_failed(upstream, reason, count)

    def claims_left_out(self, upstream: str, cause: str, count: int) -> None:
        """Count claims that an upstream was not told; `cause` is a word of our own."""
        admitted = self._admit(families.UPSTREAM, upstream, count)
        self._series.count(families.CLAIMS_LEFT_OUT, admitted, cause, by=count)

    def access_log_dropped(self, lines: int) -> None:
        """Count access log lines that were dropped."""
        self._series.count(families.ACCESS_LOG_DROPPED, by=lines)

    def _count_decided(self) -> None:
        """Count what was decided for each client; one that there is no longer is none."""
        known = None if self._names is None else self._names.get(families.CLIENT)
        for (client, decision), count in self._requests.take_decided():
            there = client if known is None or client in known else ""
            self._series.count(
                families.CLIENT_DECISIONS, self._admit(families.CLIENT, there, count), decision, by=count
            )

    def _admit(self, label: str, value: str, count: int = 1) -> str:
        admitted = self._limits[label].admit(value)
        if admitted == families.OTHER:
            self._series.count(families.LABEL_OVERFLOW, label, by=count)
        return admitted

    # --- reading ----------------------------------------------------------------

    def collect(self) -> Iterator[Collected]:
        """Yield every family that has series, its rows produced as they are read.

        A reader may pause between rows while counting goes on: each row is
        consistent in itself. Series of what is gone are dropped at the end.
        """
        self._count_decided()
        shown_last = self._strangers()
        yield from self._requests.collect()
        for label, count in self._requests.overflows().items():
            self._series.put(families.LABEL_OVERFLOW, label, value=count)
        yield from self._series.collect()
        yield from _group_gauges(self.gauges())
        for label, name in shown_last & self._strangers():
            self._requests.forget(label, name)
            self._series.forget(label, name)
            self._limits[label].release(name)

    def _strangers(self) -> Set[tuple[str, str]]:
        """Return (label, name) of all that has series and is not in the configuration."""
        if self._names is None:
            return frozenset()
        return {
            (label, name)
            for label, known in self._names.items()
            for name in (*self._requests.strangers(label, known), *self._limits[label].strangers(known))
        }


def _group_gauges(samples: Iterable[GaugeSample]) -> Iterator[Collected]:
    """Yield gauges by family, because a scraper refuses a family that is interrupted by another."""
    grouped: dict[Family, list[Row]] = {}
    for sample in samples:
        grouped.setdefault(sample.family, []).append((sample.labels, sample.value))
    for family, rows in grouped.items():
        yield Collected(family, rows)
