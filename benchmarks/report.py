"""Render rounds as Markdown tables: medians, and ratios with their spread.

A ratio is taken within one round (both contenders ran seconds apart), then the
median of the rounds is shown with the lowest and highest.
"""

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.control import render_comparison

TITLES = {
    "warm": "Warm tokens, small answer",
    "cold": "Cold tokens: each request another one",
    "64k": "Download of 64 KiB",
    "1m": "Download of 1 MiB",
}


def render(facts: Mapping[str, object], rounds: Sequence[Mapping[str, object]]) -> str:
    """Return the whole report."""
    lines = ["# Gate benchmark", ""]
    lines += [f"- {name.replace('_', ' ')}: {_show(value)}" for name, value in facts.items()]
    for load in dict.fromkeys(str(each["load"]) for each in rounds):
        lines += ["", f"## {TITLES[load]}", "", *_figures(_of(rounds, load=load))]
        lines += ["", *_ratios(_of(rounds, load=load))]
        lines += ["", *render_comparison(_of(rounds, load=load))]
    return "\n".join(lines).rstrip() + "\n"


def _figures(rounds: Sequence[Mapping[str, object]]) -> list[str]:
    lines = [
        "| contender | requests/s | p50 ms | p99 ms | CPU µs/request | upstream − client, most | rounds |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for contender in dict.fromkeys(str(each["contender"]) for each in rounds):
        mine = _of(rounds, contender=contender)
        cells = [
            f"{_median(mine, 'requests_per_s'):.0f}",
            f"{_median(mine, 'p50_ms'):.2f}",
            f"{_median(mine, 'p99_ms'):.2f}",
            f"{_median(mine, 'cpu_us'):.1f}",
            f"{max(_values(mine, 'upstream_surplus')):.0f}",
            str(len(mine)),
        ]
        lines.append(f"| {contender} | {' | '.join(cells)} |")
    return lines


def _ratios(rounds: Sequence[Mapping[str, object]]) -> list[str]:
    names = list(dict.fromkeys(str(each["contender"]) for each in rounds))
    lines = []
    for ours in (name for name in names if name.startswith(("sidegate", "before"))):
        for other in (name for name in names if not name.startswith(("sidegate", "control", ours))):
            pairs = zip(
                _values(_of(rounds, contender=ours), "cpu_us"),
                _values(_of(rounds, contender=other), "cpu_us"),
                strict=True,
            )
            ratios = [mine / theirs for mine, theirs in pairs]
            spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
            lines.append(f"| {ours} / {other} | {statistics.median(ratios):.2f} | {spread} |")
    return (
        ["| CPU per request, ratio | median | lowest–highest |", "|---|---:|---:|", *lines] if lines else []
    )


def _of(rounds: Sequence[Mapping[str, object]], **wanted: str) -> list[Mapping[str, object]]:
    return [each for each in rounds if all(each[name] == value for name, value in wanted.items())]


def _values(rounds: Sequence[Mapping[str, object]], name: str) -> list[float]:
    return [float(str(each[name])) for each in rounds]


def _median(rounds: Sequence[Mapping[str, object]], name: str) -> float:
    return statistics.median(_values(rounds, name))


def _show(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return str(value)
