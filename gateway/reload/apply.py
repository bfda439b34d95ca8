"""Apply a plan: put it in force between two requests, or leave everything as it was.

Two steps. *Taking* is assignments, each part of which returns its way back: if one raises, those
before it are led back, and nothing has happened. No request, connection or timer notices
before all parts have taken the plan. *Settling* comes after that, when there is no way back
and none is needed: connections of former targets are closed, requests that waited are started, and
a mistake with one of them is logged and strikes no other.

Both run in one turn of the event loop.
"""

import logging
from collections.abc import Callable
from contextlib import ExitStack

from gateway.proxy.isolation import act_on_each
from gateway.reload.plan import Parts, Plan, pools_of
from gateway.tokens.jwks_client import RemoteKeySets

_log = logging.getLogger(__name__)

Take = Callable[[Plan], Callable[[], None]]
"""Works by a plan from now on, and returns the way back. Opens, closes and tells nothing."""


class Live:
    """The plan in force, and the parts that work by it.

    Args:
        parts: Of the data plane.
        key_sets: The keys of other issuers.
        others: What else works by the plan, such as the labels of metrics.
    """

    def __init__(self, parts: Parts, key_sets: RemoteKeySets, *, others: tuple[Take, ...] = ()) -> None:
        self._parts = parts
        self._key_sets = key_sets
        self._others = others
        self._plan: Plan | None = None

    @property
    def plan(self) -> Plan:
        """Return the plan in force. There is one from the start on."""
        assert self._plan is not None
        return self._plan

    @property
    def parts(self) -> Parts:
        """Return the parts of the data plane."""
        return self._parts

    def apply(self, plan: Plan) -> None:
        """Put `plan` in force; when that fails, the former stays so and the exception is raised."""
        with ExitStack() as ways_back:
            for take in self._takes():
                ways_back.callback(take(plan))
            ways_back.pop_all()
        gate, cache = self._parts.gate, self._parts.state.cache
        settle: tuple[Callable[[], object], ...] = (gate.settle, self._key_sets.settle, cache.forget_bad)
        act_on_each(settle, lambda step: step())

    def _takes(self) -> tuple[Take, ...]:
        gate, limits = self._parts.gate, self._parts.state.rate_limits
        return (
            self._take_pools,
            lambda plan: limits.take(plan.limits),
            lambda plan: gate.take(plan.gate, pools_of(plan)),
            lambda plan: self._key_sets.take(plan.snapshot.issuer.registry.remote_sources),
            *self._others,
            self._take_plan,
        )

    def _take_pools(self, plan: Plan) -> Callable[[], None]:
        with ExitStack() as ways_back:
            for planned in plan.pools.values():
                ways_back.callback(planned.pool.take(planned.settings))
            return ways_back.pop_all().close

    def _take_plan(self, plan: Plan) -> Callable[[], None]:
        former, self._plan = self._plan, plan

        def way_back() -> None:
            self._plan = former

        return way_back
