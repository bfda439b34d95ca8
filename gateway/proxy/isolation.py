"""Act on each of several things, so that a mistake with one of them is no other's matter.

For what is done many times over by one call: the sweep. Elsewhere a mistake ends the one
request whose callback it struck (`gateway.proxy.upstream`, `gateway.proxy.downstream`).
"""

import logging
from collections.abc import Callable, Iterable
from typing import TypeVar

_log = logging.getLogger(__name__)

Item = TypeVar("Item")


def act_on_each(items: Iterable[Item], act: Callable[[Item], object]) -> list[Item]:
    """Call `act` with every item; log what raises, and return the items with which it did."""
    struck = []
    for item in items:
        try:
            act(item)
        except Exception:
            _log.exception("one of many failed inside the gateway")
            struck.append(item)
    return struck
