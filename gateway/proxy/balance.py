"""Choose one target of an upstream.

Pure: from what each target is doing now to the one to use next. Which targets may be
used at all is decided before (`gateway.proxy.pool`).
"""

from collections.abc import Sequence
from typing import Protocol

from gateway.settings.model import Balance


class Load(Protocol):
    """What the choice looks at."""

    active: int
    """Requests in flight and connections being opened."""


def choose_target(targets: Sequence[Load], balance: Balance, turn: int) -> int:
    """Return the index of the target to try first.

    Least connections breaks ties by `turn`, so that equal targets share the load even
    when requests are rare.

    Args:
        targets: At least one.
        balance: The upstream's rule.
        turn: A number that grows by one with each choice.
    """
    count = len(targets)
    if count == 1:
        return 0
    start = turn % count
    if balance is Balance.ROUND_ROBIN:
        return start
    best = start
    least = targets[start].active
    for index in (*range(start + 1, count), *range(start)):
        active = targets[index].active
        if active < least:
            best, least = index, active
    return best
