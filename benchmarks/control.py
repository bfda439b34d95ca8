"""Decide whether a difference of speed between two trees counts.

The earlier tree takes part twice, before and after the present one in each round. Both
of it are the same program, so what differs between the two is the machine's doing. A
change is the median over the rounds of the present tree's cost divided by the earlier
one's in the same round; it counts when the same median of the earlier tree divided by
itself lies within half of the change. The rule is CONTRIBUTING's; measuring is
`benchmarks.gate`'s.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FEWEST_ROUNDS = 20
SHORTEST_ROUND_S = 2.0
BEFORE, CONTROL, NOW = "before", "control", "sidegate"
"""How the names of the contenders begin."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What one kind of load said of two trees."""

    change: float
    """The present tree's CPU per request, divided by the earlier one's: 0.97 is 3 % less."""
    control: float
    """The earlier tree's, divided by its own: 1 on a machine that does nothing else."""
    rounds: int

    @property
    def finest_margin(self) -> float:
        """Return the smallest difference that this run can tell, as a share: twice the control's."""
        return 2 * abs(self.control - 1)

    @property
    def has_enough_rounds(self) -> bool:
        """Return whether there were as many rounds as the rule asks for."""
        return self.rounds >= FEWEST_ROUNDS

    def decides(self, margin: float) -> bool:
        """Return whether a difference of `margin` (0.03: 3 %) could be told from none in this run."""
        return self.has_enough_rounds and self.finest_margin <= margin

    @property
    def counts(self) -> bool:
        """Return whether the change that was measured is one."""
        margin = abs(self.change - 1)
        return margin > 0 and self.decides(margin)


def compare(before: Sequence[float], now: Sequence[float], control: Sequence[float]) -> Comparison:
    """Return the comparison of costs per request, each list in the order of the rounds."""
    changes = [mine / theirs for mine, theirs in zip(now, before, strict=True)]
    controls = [again / once for again, once in zip(control, before, strict=True)]
    return Comparison(statistics.median(changes), statistics.median(controls), len(changes))


def render_comparison(rounds: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the verdict on the rounds of one load as Markdown; nothing when one of the trees is missing."""
    costs = {
        name: [float(str(each["cpu_us"])) for each in rounds if str(each["contender"]).startswith(name)]
        for name in (BEFORE, NOW, CONTROL)
    }
    if not all(costs.values()):
        return []
    found = compare(costs[BEFORE], costs[NOW], costs[CONTROL])
    if not found.has_enough_rounds:
        verdict = f"no: {found.rounds} rounds, {FEWEST_ROUNDS} are needed"
    elif found.counts:
        verdict = "yes"
    else:
        verdict = "no: before / before differs by more than half of it"
    finest = f"differences from {found.finest_margin:.2%} can be told"
    return [
        "| CPU per request | median | |",
        "|---|---:|---|",
        f"| now / before | {found.change:.4f} | {found.change - 1:+.2%} |",
        f"| before / before | {found.control:.4f} | {finest} |",
        f"| the difference counts | | {verdict} |",
    ]
