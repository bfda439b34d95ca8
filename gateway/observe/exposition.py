"""Write the metrics for a scraper, in slices.

Rendering everything at once holds the event loop: 500 routes are tens of
thousands of lines. So lines are produced row by row and handed out whenever a
slice's time is used up, with a turn of the loop in between. Only observed series
are written. The process and garbage-collector families come from
prometheus_client's collectors; reading them lists every open descriptor, which
happens on a thread.

The format is chosen from `Accept` by prometheus_client's own rules.

Sources: Prometheus text format 0.0.4, OpenMetrics 1.0 (names, exemplars, EOF).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.utils import floatToGoString

from gateway.observe.families import Family
from gateway.observe.metrics import Metrics
from gateway.observe.series import Collected, Exemplar, Histogram

SLICE_S = 0.001
"""How long one slice may take before the loop gets its turn."""
EXEMPLAR_LIMIT = 120
"""OpenMetrics allows 128 characters for an exemplar's label names and values together."""

LONGEST_ACCEPT = 1024
"""Characters; Prometheus sends about 300."""

_OPENMETRICS_EOF = b"# EOF\n"


@dataclass(frozen=True, slots=True)
class Rendering:
    """A negotiated content type and the chunks of the body, produced as they are read."""

    content_type: str
    chunks: AsyncIterator[bytes]


class Exposition:
    """Renders one `Metrics` together with the process and garbage-collector families."""

    def __init__(self, metrics: Metrics, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._metrics = metrics
        self._clock = clock
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        GCCollector(registry=self._process)

    def render(self, accept: str) -> Rendering:
        """Return the metrics in the format that an `Accept` value asks for (text when it names neither)."""
        encode, content_type = _choose_encoder(accept)
        openmetrics = content_type.startswith("application/openmetrics-text")
        return Rendering(content_type, self._chunks(encode, openmetrics=openmetrics))

    async def _chunks(
        self, encode: Callable[[CollectorRegistry], bytes], *, openmetrics: bool
    ) -> AsyncIterator[bytes]:
        clock = self._clock
        pending: list[str] = []
        slice_end = clock() + SLICE_S
        for text in render_families(self._metrics.collect(), openmetrics=openmetrics):
            pending.append(text)
            if clock() >= slice_end:
                yield "".join(pending).encode()
                pending.clear()
                await asyncio.sleep(0)
                slice_end = clock() + SLICE_S
        yield "".join(pending).encode()
        process = await asyncio.to_thread(encode, self._process)
        yield process.removesuffix(_OPENMETRICS_EOF) + (_OPENMETRICS_EOF if openmetrics else b"")


def render_families(collected: Iterator[Collected], *, openmetrics: bool) -> Iterator[str]:
    """Yield the text of each family: its head, then one piece per row."""
    for item in collected:
        family = item.family
        sample_name = family.sample_name
        # OpenMetrics names the family without the suffix, the older format with it.
        head_name = family.name if openmetrics else sample_name
        yield f"# HELP {head_name} {_escape_help(family.help)}\n# TYPE {head_name} {family.kind}\n"
        bounds: dict[tuple[float, ...], list[str]] = {}
        for labels, value in item.rows:
            if isinstance(value, Histogram):
                endings = bounds.get(value.bounds)
                if endings is None:
                    endings = bounds[value.bounds] = _bucket_endings(family, value.bounds)
                yield _render_histogram(family, labels, value, endings, openmetrics=openmetrics)
            else:
                yield f"{sample_name}{_braced(family, labels)} {_number(value)}\n"


def _bucket_endings(family: Family, bounds: tuple[float, ...]) -> list[str]:
    """Return what follows the labels on each bucket line, up to the value."""
    comma = "," if family.labels else ""
    return [f'{comma}le="{_number(bound)}"}} ' for bound in (*bounds, float("inf"))]


def _render_histogram(
    family: Family,
    labels: tuple[str, ...],
    histogram: Histogram,
    endings: list[str],
    *,
    openmetrics: bool,
) -> str:
    start = f"{family.name}_bucket{{{_pairs(family, labels)}"
    exemplars = histogram.exemplars if openmetrics else None
    cumulative = 0.0
    lines: list[str] = []
    for index, ending in enumerate(endings):
        cumulative += histogram.cells[index]
        exemplar = exemplars[index] if exemplars is not None else None
        lines.append(f"{start}{ending}{cumulative:.0f}{_exemplar(exemplar)}\n")
    braced = _braced(family, labels)
    lines.append(f"{family.name}_count{braced} {cumulative:.0f}\n")
    lines.append(f"{family.name}_sum{braced} {_number(histogram.cells[-1])}\n")
    return "".join(lines)


def _exemplar(exemplar: Exemplar | None) -> str:
    if exemplar is None:
        return ""
    trace_id, value, at = exemplar
    if len(trace_id) > EXEMPLAR_LIMIT:
        return ""
    return f' # {{trace_id="{_escape(trace_id)}"}} {_number(value)} {at:.3f}'


def _pairs(family: Family, labels: tuple[str, ...]) -> str:
    return ",".join(f'{name}="{_escape(value)}"' for name, value in zip(family.labels, labels, strict=True))


def _braced(family: Family, labels: tuple[str, ...]) -> str:
    return f"{{{_pairs(family, labels)}}}" if labels else ""


def _escape(value: str) -> str:
    """Return a label value with the three characters escaped that would end it or its line."""
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return value


def _escape_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    text: str = str(value) if isinstance(value, int) else floatToGoString(value)  # type: ignore[no-untyped-call]
    return text


def _choose_encoder(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    """Return prometheus_client's choice; the text format for what it cannot read or no scraper sends."""
    try:
        return choose_encoder(accept if len(accept) <= LONGEST_ACCEPT else "")
    except (TypeError, ValueError):  # a version that is none
        return choose_encoder("")
