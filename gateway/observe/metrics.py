"""Count what the process does.

Plain integers in dictionaries and lists; nothing here renders text
(`gateway.observe.exposition`) and nothing here reads a clock. Request, decision
and upstream families are fed in batches by `absorb`, everything else by one
method per event. All methods belong to the event loop's thread.

How a request is counted. A route's series are found by its name; inside, one
`_Outcome` is found by (method, status, reason, decision, upstream). An outcome
is a bare count plus references to the histograms and counters that the same
request also moves, so that one lookup pays for all families; the exposed families
are summed from outcomes at scrape time.

An attempt that was repeated has no status, or it would not have been: it is counted
with code_class `none`. What is imperfect: its phase times are not recorded.

Sources: OpenTelemetry semantic conventions for HTTP (known methods, `_OTHER`).
"""

import platform
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from gateway.oauth_names import short_grants
from gateway.observe import families
from gateway.observe.exchange import Exchange
from gateway.observe.families import Collected, Family, GaugeSample, Histogram, LabelLimit, Row
from gateway.settings.model import MetricsSettings

KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"})
OTHER_METHOD = "_OTHER"
NO_ANSWER = "none"
"""The code class of a request without a status."""
RESULT_OK = "ok"

_GRANT_LABELS = {**short_grants(), "": families.NONE, families.NONE: families.NONE}
_FAILED_RESULTS = frozenset({"server_error", "temporarily_unavailable"})
_UPSTREAM_REASON = "upstream_"
_NOT_CONNECTED = "upstream_connect"
"""Each attempt to connect is counted by itself, with what broke (`Metrics.upstream_failed`)."""

_Key = TypeVar("_Key")


class _Upstream:
    """The counters of one upstream."""

    __slots__ = ("connect", "errors", "label", "requests", "total", "ttfb", "unanswered")

    def __init__(self, label: str, bounds: tuple[float, ...]) -> None:
        self.label = label
        self.requests: dict[tuple[str, str], list[int]] = {}
        """(code class, attempt) -> a one-item list, so that outcomes can hold the counter itself."""
        self.errors: dict[str, list[int]] = {}
        self.connect = Histogram(bounds)
        self.ttfb = Histogram(bounds)
        self.total = Histogram(bounds)
        self.unanswered = self.counter(NO_ANSWER, "first")

    def counter(self, code_class: str, attempt: str) -> list[int]:
        """Return the counter of requests that ended so, made when absent."""
        return self.requests.setdefault((code_class, attempt), [0])

    def count_repeated(self, code_class: str, attempts: int) -> None:
        """Count a request that was sent `attempts` (two or more) times and ended with `code_class`."""
        self.unanswered[0] += 1
        if attempts > 2:
            self.counter(NO_ANSWER, "retry")[0] += attempts - 2
        self.counter(code_class, "retry")[0] += 1


class _Outcome:
    """All requests of one route with the same method, status, reason, decision and upstream."""

    __slots__ = (
        "answered",
        "code",
        "code_class",
        "count",
        "decision",
        "duration",
        "error",
        "exemplars",
        "method",
        "reason",
        "upstream",
    )

    def __init__(
        self,
        method: str,
        status: int,
        reason: str,
        decision: str,
        duration: Histogram,
        upstream: _Upstream | None,
    ) -> None:
        self.count = 0
        self.method = method
        self.code = str(status) if status else NO_ANSWER
        self.code_class = _code_class(status)
        self.reason = reason
        self.decision = decision
        self.duration = duration.cells
        self.exemplars = duration.exemplars
        self.upstream = upstream
        self.answered: list[int] = [0]
        self.error: list[int] | None = None
        if upstream is not None:
            self.answered = upstream.counter(self.code_class, "first")
            if reason.startswith(_UPSTREAM_REASON) and reason != _NOT_CONNECTED:
                self.error = upstream.errors.setdefault(reason.removeprefix(_UPSTREAM_REASON), [0])


class _Route:
    """The series of one route label."""

    __slots__ = (
        "decision",
        "durations",
        "label",
        "outcomes",
        "overhead",
        "request_body",
        "response_body",
    )

    def __init__(self, label: str) -> None:
        self.label = label
        self.outcomes: dict[tuple[str, int, str, str, str], _Outcome] = {}
        self.durations: dict[str, Histogram] = {}
        self.overhead = Histogram(families.OVERHEAD_BOUNDS)
        self.decision = Histogram(families.OVERHEAD_BOUNDS)
        self.request_body = Histogram(families.SIZE_BOUNDS)
        self.response_body = Histogram(families.SIZE_BOUNDS)


def _code_class(status: int) -> str:
    return f"{status // 100}xx" if status else NO_ANSWER


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
        self._bounds = settings.buckets or families.REQUEST_BOUNDS
        self._build = (version, platform.python_version(), uvloop_version)
        self._issuer = issuer
        limit = settings.label_limit
        self._limits = {
            name: LabelLimit(limit) for name in ("route", "client", "audience", "upstream", "issuer")
        }
        self._words = LabelLimit(limit)
        self._folded = {"client": 0, "audience": 0, "issuer": 0}
        """Observations folded into `_other_`; those of routes and upstreams are in their `_other_` series."""
        self._routes: dict[str, _Route] = {}
        self._other_route = _Route(families.OTHER)
        self._upstreams: dict[str, _Upstream] = {}
        self._other_upstream = _Upstream(families.OTHER, self._bounds)
        self._known_routes: frozenset[str] | None = None
        self._doomed_routes: set[str] = set()
        self._token_verify: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._token_verify_seconds: dict[str, Histogram] = {}
        self._token_requests: defaultdict[tuple[str, str, str, str], int] = defaultdict(int)
        self._token_request_seconds: dict[tuple[str, str], Histogram] = {}
        self._tokens_issued: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._token_lifetimes: dict[str, Histogram] = {}
        self._auth_failures: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._replay_rejected: defaultdict[str, int] = defaultdict(int)
        self._legacy_audience: defaultdict[str, int] = defaultdict(int)
        self._jwks_fetches: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._reloads: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._reload_successful: bool | None = None
        self._config: tuple[str, float] | None = None
        self._loop_lag = Histogram(families.LAG_BOUNDS)
        self._loop_held = 0
        self._rate_limited: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._access_log_dropped = 0

    # --- requests ---------------------------------------------------------------

    def absorb(self, exchanges: Sequence[Exchange]) -> None:
        """Count a batch of finished requests.

        The histogram updates are written out: a method call would cost as much as
        the update itself. Negative times (a clock step between two readings) count as 0,
        so that a sum never shrinks.
        """
        routes = self._routes
        request_bounds, overhead_bounds, size_bounds = (
            self._bounds,
            families.OVERHEAD_BOUNDS,
            families.SIZE_BOUNDS,
        )
        bisect = bisect_left
        for exchange in exchanges:
            route = routes.get(exchange.route)
            if route is None:
                route = self._open_route(exchange.route)
            outcome = route.outcomes.get(
                (exchange.method, exchange.status, exchange.reason, exchange.decision, exchange.upstream)
            )
            if outcome is None:
                outcome = self._open_outcome(route, exchange)
            outcome.count += 1

            value = exchange.duration_s
            if value < 0.0:
                value = 0.0
            cells = outcome.duration
            index = bisect(request_bounds, value)
            cells[index] += 1
            cells[-1] += value
            if exchange.trace_id and outcome.exemplars is not None:
                outcome.exemplars[index] = (exchange.trace_id, value, exchange.at)

            value = exchange.overhead_s
            if value < 0.0:
                value = 0.0
            cells = route.overhead.cells
            cells[bisect(overhead_bounds, value)] += 1
            cells[-1] += value

            value = exchange.request_bytes
            cells = route.request_body.cells
            cells[bisect(size_bounds, value)] += 1
            cells[-1] += value
            value = exchange.response_bytes
            cells = route.response_body.cells
            cells[bisect(size_bounds, value)] += 1
            cells[-1] += value

            value = exchange.decision_s
            if value >= 0.0 and exchange.decision:
                cells = route.decision.cells
                cells[bisect(overhead_bounds, value)] += 1
                cells[-1] += value

            if outcome.upstream is not None:
                _absorb_upstream(outcome, outcome.upstream, exchange, request_bounds)

    def take_routes(self, names: Iterable[str]) -> Callable[[], None]:
        """Announce which routes exist, and return the way back; others' series go after one more scrape.

        A request that is still running on a deleted route brings its series back;
        these too go after the next scrape.
        """
        way_back = partial(self._know_routes, self._known_routes)
        self._know_routes(frozenset(names))
        return way_back

    def _know_routes(self, names: frozenset[str] | None) -> None:
        self._known_routes = names
        gone = [name for name in self._routes if name and names is not None and name not in names]
        self._doomed_routes = set(gone)

    def _open_route(self, name: str) -> _Route:
        label = self._limits["route"].admit(name)
        overflows = label == families.OTHER and name != families.OTHER
        # A route beyond the limit is remembered under its own name too, so that it costs no more than
        # one within it; the number of names is bounded by the configuration.
        route = self._routes[name] = self._other_route if overflows else _Route(label)
        if name and self._known_routes is not None and name not in self._known_routes:
            self._doomed_routes.add(name)
        return route

    def _open_outcome(self, route: _Route, exchange: Exchange) -> _Outcome:
        """Return the outcome for an exchange seen for the first time.

        An unknown method is found under `_OTHER` and not remembered under its own
        spelling, which the caller chooses.
        """
        method = exchange.method if exchange.method in KNOWN_METHODS else OTHER_METHOD
        key = (method, exchange.status, exchange.reason, exchange.decision, exchange.upstream)
        outcome = route.outcomes.get(key)
        if outcome is None:
            code_class = _code_class(exchange.status)
            duration = route.durations.get(code_class)
            if duration is None:
                duration = route.durations[code_class] = Histogram(self._bounds, with_exemplars=True)
            upstream = self._open_upstream(exchange.upstream) if exchange.upstream else None
            outcome = _Outcome(
                method, exchange.status, exchange.reason, exchange.decision, duration, upstream
            )
            route.outcomes[key] = outcome
        return outcome

    def _open_upstream(self, name: str) -> _Upstream:
        upstream = self._upstreams.get(name)
        if upstream is None:
            label = self._limits["upstream"].admit(name)
            if label == families.OTHER and name != families.OTHER:
                return self._other_upstream
            upstream = self._upstreams[name] = _Upstream(label, self._bounds)
        return upstream

    # --- events -----------------------------------------------------------------

    def token_verify(self, result: str, cache: str, count: int = 1) -> None:
        """Count checked access tokens; `result` is `ok` or a reason, `cache` `hit` or `miss`."""
        self._token_verify[result, cache] += count

    def token_verify_seconds(self, alg: str, seconds: float) -> None:
        """Count the time of one signature check; `alg` is one of ours, never the token's own word."""
        _histogram_of(self._token_verify_seconds, alg, families.VERIFY_BOUNDS).observe(seconds)

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
        known = self._admit("client", client)
        self._token_requests[grant, method, known, self._words.admit(result)] += 1
        if result == RESULT_OK:
            result_class = RESULT_OK
        else:
            result_class = "failed" if result in _FAILED_RESULTS else "refused"
        _histogram_of(
            self._token_request_seconds, (grant, result_class), families.TOKEN_REQUEST_BOUNDS
        ).observe(max(duration_s, 0.0))

    def token_issued(self, client: str, audience: str, grant: str, lifetime_s: float) -> None:
        """Count one issued token."""
        pair = (self._admit("client", client), self._admit("audience", audience))
        self._tokens_issued[pair] += 1
        label = _GRANT_LABELS.get(grant, families.OTHER)
        _histogram_of(self._token_lifetimes, label, families.LIFETIME_BOUNDS).observe(lifetime_s)

    def auth_failure(self, method: str, reason: str) -> None:
        """Count one failed client authentication; both are words of our own."""
        self._auth_failures[self._words.admit(method), self._words.admit(reason)] += 1

    def replay_rejected(self, kind: str) -> None:
        """Count an assertion that was used before; `kind` is a word of our own."""
        self._replay_rejected[kind] += 1

    def legacy_audience(self, client: str) -> None:
        """Count a client assertion that was accepted for an older audience than the issuer."""
        self._legacy_audience[self._admit("client", client)] += 1

    def jwks_fetch(self, issuer: str, result: str) -> None:
        """Count a finished fetch of a remote key set."""
        self._jwks_fetches[self._admit("issuer", issuer), self._words.admit(result)] += 1

    def jwks_ages(self, ages: Iterable[tuple[str, float]]) -> Iterator[GaugeSample]:
        """Yield the age of each issuer's keys; of several sets the last one, which is the oldest."""
        oldest = {self._limits["issuer"].admit(issuer): age for issuer, age in ages}
        for issuer, age in oldest.items():
            yield GaugeSample(families.JWKS_AGE, (issuer,), age)

    def config_loaded(self, config_hash: str, now: float) -> None:
        """Record the configuration that the process starts with."""
        self._reload_successful = True
        self._config = (config_hash, now)

    def config_reload(self, result: str, cause: str, config_hash: str, now: float) -> None:
        """Record one reload; the hash counts only when `result` is ok."""
        self._reloads[result, cause] += 1
        if result == RESULT_OK:
            self.config_loaded(config_hash, now)
        else:
            self._reload_successful = False

    def loop_lag(self, seconds: float) -> None:
        """Count by how much one timer ran late."""
        self._loop_lag.observe(max(seconds, 0.0))

    def loop_held(self, _seconds: float) -> None:
        """Count one time that the event loop stood still."""
        self._loop_held += 1

    def rate_limited(self, route: str, limit: str, count: int) -> None:
        """Count refusals by a limit; `route` is "" where none was known yet, `limit` a word of our own."""
        self._rate_limited[self._limits["route"].admit(route), limit] += count

    def upstream_failed(self, upstream: str, reason: str, count: int) -> None:
        """Count attempts that failed and that no exchange tells of; `reason` is a word of our own."""
        self._open_upstream(upstream).errors.setdefault(reason, [0])[0] += count

    def access_log_dropped(self, lines: int) -> None:
        """Count access log lines that were dropped."""
        self._access_log_dropped += lines

    def _admit(self, label: str, value: str) -> str:
        admitted = self._limits[label].admit(value)
        if admitted == families.OTHER:
            self._folded[label] += 1
        return admitted

    # --- reading ----------------------------------------------------------------

    def collect(self) -> Iterator[Collected]:
        """Yield every family that has been observed, its rows produced as they are read.

        A reader may pause between rows while counting goes on: each row is
        consistent in itself. Series of deleted routes are dropped at the end.
        """
        doomed = frozenset(self._doomed_routes)
        yield from self._collect_requests()
        yield from self._collect_tokens()
        yield from self._collect_upstreams()
        yield from self._collect_process()
        yield from _group_gauges(self.gauges())
        for name in doomed & self._doomed_routes:
            self._routes.pop(name, None)
            self._limits["route"].release(name)
            for key in [key for key in self._rate_limited if key[0] == name]:
                del self._rate_limited[key]
            self._doomed_routes.discard(name)

    def _route_series(self) -> list[_Route]:
        series = [route for route in self._routes.values() if route is not self._other_route]
        if self._other_route.outcomes:
            series.append(self._other_route)
        return series

    def _collect_requests(self) -> Iterator[Collected]:
        routes = self._route_series()
        if not routes:
            return
        yield Collected(families.HTTP_REQUESTS, _request_rows(routes))
        yield Collected(families.HTTP_DURATION, _duration_rows(routes))
        yield Collected(families.HTTP_OVERHEAD, (((r.label,), r.overhead) for r in routes))
        yield Collected(families.HTTP_REQUEST_BODY, (((r.label,), r.request_body) for r in routes))
        yield Collected(families.HTTP_RESPONSE_BODY, (((r.label,), r.response_body) for r in routes))
        yield Collected(families.DECISIONS, _decision_rows(routes))
        yield Collected(
            families.DECISION_DURATION, (((r.label,), r.decision) for r in routes if any(r.decision.cells))
        )

    def _collect_tokens(self) -> Iterator[Collected]:
        if self._token_verify:
            verify = [((self._issuer, *key), count) for key, count in self._token_verify.items()]
            yield Collected(families.TOKEN_VERIFY, verify)
        yield from _labelled(families.TOKEN_VERIFY_DURATION, self._token_verify_seconds)
        yield from _tupled(families.TOKEN_REQUESTS, self._token_requests)
        yield from _tupled(families.TOKEN_REQUEST_DURATION, self._token_request_seconds)
        yield from _tupled(families.TOKENS_ISSUED, self._tokens_issued)
        yield from _labelled(families.TOKEN_LIFETIME, self._token_lifetimes)
        yield from _tupled(families.CLIENT_AUTH_FAILURES, self._auth_failures)
        yield from _labelled(families.REPLAY_REJECTED, self._replay_rejected)
        yield from _labelled(families.LEGACY_AUDIENCE, self._legacy_audience)
        yield from _tupled(families.JWKS_FETCH, self._jwks_fetches)

    def _collect_upstreams(self) -> Iterator[Collected]:
        upstreams = list(self._upstreams.values())
        if any(counter[0] for counter in self._other_upstream.requests.values()):
            upstreams.append(self._other_upstream)
        if not upstreams:
            return
        yield Collected(families.UPSTREAM_REQUESTS, _upstream_request_rows(upstreams))
        yield Collected(families.UPSTREAM_DURATION, _upstream_duration_rows(upstreams))
        errors = [
            ((upstream.label, reason), counter[0])
            for upstream in upstreams
            for reason, counter in upstream.errors.items()
        ]
        if errors:
            yield Collected(families.UPSTREAM_ERRORS, errors)

    def _collect_process(self) -> Iterator[Collected]:
        yield from _tupled(families.CONFIG_RELOADS, self._reloads)
        if self._reload_successful is not None:
            yield Collected(families.CONFIG_RELOAD_SUCCESSFUL, [((), int(self._reload_successful))])
        if self._config is not None:
            yield Collected(families.CONFIG_RELOAD_TIMESTAMP, [((), self._config[1])])
            yield Collected(families.CONFIG_INFO, [((self._config[0],), 1)])
        if any(self._loop_lag.cells):
            yield Collected(families.EVENT_LOOP_LAG, [((), self._loop_lag)])
        yield Collected(families.LOOP_HELD, [((), self._loop_held)])
        yield from _tupled(families.RATE_LIMITED, self._rate_limited)
        yield Collected(families.BUILD_INFO, [(self._build, 1)])
        yield Collected(families.ACCESS_LOG_DROPPED, [((), self._access_log_dropped)])
        yield Collected(
            families.LABEL_OVERFLOW, [((label,), count) for label, count in self._overflows().items()]
        )

    def _overflows(self) -> dict[str, int]:
        routes = sum(outcome.count for outcome in self._other_route.outcomes.values())
        upstreams = sum(counter[0] for counter in self._other_upstream.requests.values())
        return {"route": routes, "upstream": upstreams, **self._folded}


def _absorb_upstream(
    outcome: _Outcome, upstream: _Upstream, exchange: Exchange, bounds: tuple[float, ...]
) -> None:
    """Count what one request did at its upstream."""
    ttfb = exchange.ttfb_s
    attempts = exchange.attempts - exchange.unconnected
    if attempts == 1:
        counter = outcome.answered if ttfb >= 0.0 else upstream.unanswered
        counter[0] += 1
    elif attempts:
        upstream.count_repeated(outcome.code_class if ttfb >= 0.0 else NO_ANSWER, attempts)
    if outcome.error is not None:
        outcome.error[0] += 1
    if ttfb >= 0.0:
        cells = upstream.ttfb.cells
        cells[bisect_left(bounds, ttfb)] += 1
        cells[-1] += ttfb
    value = exchange.upstream_s
    if value >= 0.0:
        cells = upstream.total.cells
        cells[bisect_left(bounds, value)] += 1
        cells[-1] += value
    value = exchange.connect_s
    if value >= 0.0:
        cells = upstream.connect.cells
        cells[bisect_left(bounds, value)] += 1
        cells[-1] += value


def _histogram_of(histograms: dict[_Key, Histogram], key: _Key, bounds: tuple[float, ...]) -> Histogram:
    histogram = histograms.get(key)
    if histogram is None:
        histogram = histograms[key] = Histogram(bounds)
    return histogram


def _labelled(family: Family, values: Mapping[str, float] | Mapping[str, Histogram]) -> Iterator[Collected]:
    if values:
        yield Collected(family, [((label,), value) for label, value in values.items()])


def _tupled(
    family: Family,
    values: Mapping[tuple[str, str], int]
    | Mapping[tuple[str, str, str, str], int]
    | Mapping[tuple[str, str], Histogram],
) -> Iterator[Collected]:
    if values:
        yield Collected(family, [(labels, value) for labels, value in values.items()])


def _request_rows(routes: list[_Route]) -> Iterator[Row]:
    """Yield requests summed over decisions and upstreams, route by route."""
    for route in routes:
        counts: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        for outcome in route.outcomes.values():
            counts[outcome.method, outcome.code, outcome.reason] += outcome.count
        for key, count in counts.items():
            yield (route.label, *key), count


def _decision_rows(routes: list[_Route]) -> Iterator[Row]:
    for route in routes:
        counts: defaultdict[tuple[str, str], int] = defaultdict(int)
        for outcome in route.outcomes.values():
            if outcome.decision:
                counts[outcome.decision, outcome.reason] += outcome.count
        for key, count in counts.items():
            yield (route.label, *key), count


def _duration_rows(routes: list[_Route]) -> Iterator[Row]:
    for route in routes:
        for code_class, histogram in list(route.durations.items()):
            yield (route.label, code_class), histogram


def _upstream_request_rows(upstreams: list[_Upstream]) -> Iterator[Row]:
    for upstream in upstreams:
        for (code_class, attempt), counter in list(upstream.requests.items()):
            if counter[0]:
                yield (upstream.label, code_class, attempt), counter[0]


def _upstream_duration_rows(upstreams: list[_Upstream]) -> Iterator[Row]:
    for upstream in upstreams:
        for phase, histogram in (
            ("connect", upstream.connect),
            ("ttfb", upstream.ttfb),
            ("total", upstream.total),
        ):
            if any(histogram.cells):
                yield (upstream.label, phase), histogram


def _group_gauges(samples: Iterable[GaugeSample]) -> Iterator[Collected]:
    """Yield gauges by family, because a scraper refuses a family that is interrupted by another."""
    grouped: dict[str, tuple[Family, list[Row]]] = {}
    for sample in samples:
        grouped.setdefault(sample.family.name, (sample.family, []))[1].append((sample.labels, sample.value))
    for family, rows in grouped.values():
        yield Collected(family, rows)
