"""Choose one target of an upstream.

Pure: from what each target is doing now to the order in which to try them.
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
    if balance is Balance.ROUND_ROBIN:
        return turn % count
    return min(range(count), key=lambda index: (targets[index].active, (index - turn) % count))
