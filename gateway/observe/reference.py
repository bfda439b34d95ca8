"""Write docs/metrics.md from the table of metric families.

`python -m gateway.observe.reference docs/metrics.md`; a test fails when the page is older
than the table. Without a file it is printed.
"""

import sys
from pathlib import Path

from gateway.observe.families import FAMILIES, Family

_INTRODUCTION = """\
# Metrics

*This page is made from the table of families that the process counts by
(`.venv/bin/python -m gateway.observe.reference docs/metrics.md`). Do not edit it by hand.*

`GET /metrics` on the admin listener answers in Prometheus' text format, or as OpenMetrics with exemplars
(the trace id of a request in each bucket of `sidegate_http_request_duration_seconds`); with gzip for who
sends `Accept-Encoding: gzip`, as Prometheus does. Alerts are in [operations](operations.md#metrics).

A route costs about 100 series once it was used, 70 of them in its histograms. With many routes,
`metrics: {route_histograms: false}` lets them share one set of histograms, under `route="_all_"`.

- **Values of labels** come from the configuration or a closed list. `_none_` is what does not exist,
  `_other_` what is beyond `metrics.label_limit` (500 values for each of `route`, `upstream`, `client`,
  `audience` and `issuer`), `_OTHER` a method or grant that there is none of. Paths, queries, addresses of
  callers and token ids are never labels.
- **Times** are seconds, sizes bytes, timestamps seconds since 1970.
- **From the start**: such a counter is at 0 before anything happened, so that its first failure is an
  increase. That holds while there are no more names than `metrics.label_limit`; otherwise they come with
  their first event. Gauges are there as long as what they tell of is, at 0 too.
- **What is gone** from the configuration (a route, an upstream, a client, an issuer) is shown once more and
  then goes. What comes back begins at 0.

| Family | Type | Labels | From the start | Meaning |
|---|---|---|---|---|
"""
_END = """
Beside them are the `process_*` and `python_gc_*` families of the Prometheus client library.
"""


def render() -> str:
    """Return the page as Markdown."""
    return "".join((_INTRODUCTION, *map(_row, FAMILIES), _END))


def _row(family: Family) -> str:
    labels = "; ".join(
        f"`{label}`{': ' if meaning else ''}{meaning}"
        for label, meaning in zip(family.labels, family.meanings, strict=True)
    )
    cells = (f"`{family.sample_name}`", str(family.kind), labels, family.from_start, family.help)
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    page = render()
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(page, encoding="utf-8")
    else:
        sys.stdout.write(page)
