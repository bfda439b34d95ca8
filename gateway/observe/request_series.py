"""Count requests: what the gate did with each, and its upstream.

Fed in batches by `RequestSeries.absorb`; all else that is counted is
`gateway.observe.metrics`. Nothing here reads a clock.

How a request is counted. A route's series are found by its name; inside, one
`_Outcome` is found by (method, status, reason, decision, upstream). An outcome
is a bare count plus references to the histograms and counters that the same
request also moves, so that one lookup pays for all families; the exposed families
are summed from outcomes at scrape time.

An attempt that was repeated has no status, or it would not have been: it is counted
with code_class `none`. What is imperfect: its phase times are not recorded.

Sources: OpenTelemetry semantic conventions for HTTP (known methods, `_OTHER`).
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set

from gateway.observe import families
from gateway.observe.exchange import Exchange
from gateway.observe.series import Collected, Histogram, LabelLimit, Row
from gateway.reasons import Reason

KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"})
OTHER_METHOD = "_OTHER"
NO_ANSWER = "none"
"""The code class of a request without a status."""

_ALLOW = "allow"
_UPSTREAM_REASON = "upstream_"
_NOT_CONNECTED = Reason.UPSTREAM_CONNECT.value
"""Each attempt to connect is counted by itself, with what broke (`RequestSeries.upstream_failed`)."""


class _Upstream:
    """The counters of one upstream."""

    __slots__ = ("connect", "errors", "label", "requests", "shown", "total", "ttfb", "unanswered")

    def __init__(self, label: str, bounds: tuple[float, ...]) -> None:
        self.label = label
        self.requests: dict[tuple[str, str], list[int]] = {}
        """(code class, attempt) -> a one-item list, so that outcomes can hold the counter itself."""
        self.shown: set[tuple[str, str]] = set()
        """Those that are there before a request was counted."""
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
        assert duration.exemplars is not None
        self.exemplars = duration.exemplars
        self.upstream = upstream
        self.answered: list[int] = [0]
        self.error: list[int] | None = None
        if upstream is not None:
            self.answered = upstream.counter(self.code_class, "first")
            if reason.startswith(_UPSTREAM_REASON) and reason != _NOT_CONNECTED:
                self.error = upstream.errors.setdefault(reason.removeprefix(_UPSTREAM_REASON), [0])


class _Histograms:
    """The histograms of one route, or of all."""

    __slots__ = ("decision", "durations", "label", "overhead", "request_body", "response_body")

    def __init__(self, label: str) -> None:
        self.label = label
        self.durations: dict[str, Histogram] = {}
        """By code class."""
        self.overhead = Histogram(families.OVERHEAD_BOUNDS)
        self.decision = Histogram(families.OVERHEAD_BOUNDS)
        self.request_body = Histogram(families.SIZE_BOUNDS)
        self.response_body = Histogram(families.SIZE_BOUNDS)


class _Route:
    """The series of one route label."""

    __slots__ = ("decision", "histograms", "label", "outcomes", "overhead", "request_body", "response_body")

    def __init__(self, label: str, shared: _Histograms | None) -> None:
        self.label = label
        self.outcomes: dict[tuple[str, int, str, str, str], _Outcome] = {}
        self.histograms = _Histograms(label) if shared is None else shared
        # One step instead of two for each request.
        self.overhead = self.histograms.overhead
        self.decision = self.histograms.decision
        self.request_body = self.histograms.request_body
        self.response_body = self.histograms.response_body


def _code_class(status: int) -> str:
    return f"{status // 100}xx" if status else NO_ANSWER


class RequestSeries:
    """The series of routes and upstreams.

    Args:
        bounds: Of the buckets for request and upstream durations.
        limits: Of the labels `route` and `upstream`.
        by_route: Whether each route has histograms of its own.
    """

    def __init__(
        self, bounds: tuple[float, ...], limits: Mapping[str, LabelLimit], *, by_route: bool = True
    ) -> None:
        self._shared = None if by_route else _Histograms(families.ALL)
        self._bounds = bounds
        self._limits = limits
        self._routes: dict[str, _Route] = {}
        self._other_route = _Route(families.OTHER, self._shared)
        self._upstreams: dict[str, _Upstream] = {}
        self._other_upstream = _Upstream(families.OTHER, bounds)
        self._allowed: defaultdict[str, int] = defaultdict(int)
        """Client -> requests since `take_decided`: by itself, because one text is hashed faster than two."""
        self._decided: defaultdict[tuple[str, str], int] = defaultdict(int)
        """(client, any other decision) -> the same."""

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
        allowed, decided = self._allowed, self._decided
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
            trace_id = exchange.trace_id
            if trace_id:
                outcome.exemplars[index] = (trace_id, value, exchange.at)

            value = exchange.overhead_s
            if value < 0.0:
                value = 0.0
            cells = route.overhead.cells
            cells[bisect(overhead_bounds, value)] += 1
            cells[-1] += value

            value = exchange.request_bytes
            cells = route.request_body.cells
            if value:
                cells[bisect(size_bounds, value)] += 1
                cells[-1] += value
            else:
                cells[0] += 1
            value = exchange.response_bytes
            cells = route.response_body.cells
            cells[bisect(size_bounds, value)] += 1
            cells[-1] += value

            if outcome.decision:
                value = exchange.decision_s
                if value >= 0.0:
                    cells = route.decision.cells
                    cells[bisect(overhead_bounds, value)] += 1
                    cells[-1] += value
                if outcome.decision == _ALLOW:
                    allowed[exchange.client] += 1
                else:
                    decided[exchange.client, outcome.decision] += 1

            upstream = outcome.upstream
            if upstream is not None:
                _absorb_upstream(outcome, upstream, exchange, request_bounds)

    def take_decided(self) -> list[tuple[tuple[str, str], int]]:
        """Return ((client, decision), count) of the requests since the last call."""
        taken = [((client, _ALLOW), count) for client, count in self._allowed.items()]
        taken.extend(self._decided.items())
        self._allowed.clear()
        self._decided.clear()
        return taken

    def _open_route(self, name: str) -> _Route:
        label = self._limits["route"].admit(name)
        overflows = label == families.OTHER and name != families.OTHER
        # A route beyond the limit is remembered under its own name too, so that it costs no more than
        # one within it; the number of names is bounded by the configuration.
        route = self._routes[name] = self._other_route if overflows else _Route(label, self._shared)
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
            duration = route.histograms.durations.get(code_class)
            if duration is None:
                duration = route.histograms.durations[code_class] = Histogram(
                    self._bounds, with_exemplars=True
                )
            upstream = self._open_upstream(exchange.upstream) if exchange.upstream else None
            outcome = _Outcome(
                method, exchange.status, exchange.reason, exchange.decision, duration, upstream
            )
            route.outcomes[key] = outcome
        return outcome

    def upstream_failed(self, upstream: str, reason: str, count: int) -> None:
        """Count attempts that failed and that no exchange tells of; by 0 makes the counter be there."""
        self._open_upstream(upstream).errors.setdefault(reason, [0])[0] += count

    def upstream_asked(self, upstream: str, code_class: str, attempt: str) -> None:
        """Make a counter of requests to an upstream be there."""
        known = self._open_upstream(upstream)
        known.counter(code_class, attempt)
        known.shown.add((code_class, attempt))

    def _open_upstream(self, name: str) -> _Upstream:
        upstream = self._upstreams.get(name)
        if upstream is None:
            label = self._limits["upstream"].admit(name)
            if label == families.OTHER and name != families.OTHER:
                return self._other_upstream
            upstream = self._upstreams[name] = _Upstream(label, self._bounds)
        return upstream

    def _forget_upstream(self, name: str) -> None:
        """Drop an upstream's series; what routes counted with it stays theirs.

        The next request to an upstream of that name finds no outcome, and so makes the series anew.
        """
        self._upstreams.pop(name, None)
        for route in self._routes.values():
            for key in [key for key in route.outcomes if key[-1] == name]:
                outcome = route.outcomes.pop(key)
                method, status, reason, decision, _ = key
                rest = route.outcomes.get((method, status, reason, decision, ""))
                if rest is None:
                    duration = route.histograms.durations[outcome.code_class]
                    rest = _Outcome(method, status, reason, decision, duration, None)
                    route.outcomes[method, status, reason, decision, ""] = rest
                rest.count += outcome.count

    # --- reading ----------------------------------------------------------------

    def collect(self) -> Iterator[Collected]:
        """Yield the families of requests, then those of upstreams, where there are any."""
        yield from self._collect_requests()
        yield from self._collect_upstreams()

    def strangers(self, label: str, known: Set[str]) -> Set[str]:
        """Return the routes or upstreams that have series and are none of `known`; no other label is ours."""
        if label == families.ROUTE:
            return self._routes.keys() - known - {""}
        return self._upstreams.keys() - known if label == families.UPSTREAM else frozenset()

    def forget(self, label: str, name: str) -> None:
        """Drop the series of a route or an upstream."""
        if label == families.ROUTE:
            self._routes.pop(name, None)
        elif label == families.UPSTREAM:
            self._forget_upstream(name)

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
        histograms = list(dict.fromkeys(route.histograms for route in routes))
        yield Collected(families.HTTP_DURATION, _duration_rows(histograms))
        yield Collected(families.HTTP_OVERHEAD, (((h.label,), h.overhead) for h in histograms))
        yield Collected(families.HTTP_REQUEST_BODY, (((h.label,), h.request_body) for h in histograms))
        yield Collected(families.HTTP_RESPONSE_BODY, (((h.label,), h.response_body) for h in histograms))
        yield Collected(families.DECISIONS, _decision_rows(routes))
        yield Collected(
            families.DECISION_DURATION,
            (((h.label,), h.decision) for h in histograms if any(h.decision.cells)),
        )

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

    def overflows(self) -> dict[str, int]:
        """Return how much was folded into the `_other_` series of each label."""
        routes = sum(outcome.count for outcome in self._other_route.outcomes.values())
        upstreams = sum(counter[0] for counter in self._other_upstream.requests.values())
        return {families.ROUTE: routes, families.UPSTREAM: upstreams}


def _absorb_upstream(
    outcome: _Outcome, upstream: _Upstream, exchange: Exchange, bounds: tuple[float, ...]
) -> None:
    """Count what one request did at its upstream."""
    ttfb = exchange.ttfb_s
    attempts = exchange.attempts
    if attempts == 1 and ttfb >= 0.0:  # nearly all
        outcome.answered[0] += 1
    elif (attempts := attempts - exchange.unconnected) == 1:
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


def _duration_rows(histograms: list[_Histograms]) -> Iterator[Row]:
    for each in histograms:
        for code_class, histogram in list(each.durations.items()):
            yield (each.label, code_class), histogram


def _upstream_request_rows(upstreams: list[_Upstream]) -> Iterator[Row]:
    for upstream in upstreams:
        for (code_class, attempt), counter in list(upstream.requests.items()):
            if counter[0] or (code_class, attempt) in upstream.shown:
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
