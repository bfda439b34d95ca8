"""Tell whether callers should be sent to this process, and what is amiss while they may be.

The theory of it. A probe decides whether a process gets traffic, and it asks every
replica. *Not ready* is therefore only what makes this process useless: no key, a
listener that is not bound, the drain, and a store that is away where tokens are
refused without it (`consistency: strict`). What the replicas share and each can do
without for a while (a store that is away or may evict, files that do not load) must not take all
of them out at once: that is *degraded*, told with 200 and with since when.

No probe waits for what may hang. The store is asked again and again in the
background, and a probe reads what came of it.

What the conditions are made of is `gateway.views`; how they look is `gateway.admin.web`.

Sources: CONTRACT section 5.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from gateway.admin.context import CheckResult, Degradation
from gateway.state.interface import StateStore, StateUnavailableError

_log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 1.0
STORE_TIMEOUT_S = 2.0
"""A store that takes longer for one answer is away."""
STORE = "state"
KEEPING = "state_keeping"
"""What the store was given may not stay there, as far as it says itself."""

Conditions = Callable[[], Mapping[str, str]]
"""Returns what is amiss now: a short phrase, without secrets, by name; empty when nothing is."""


class Readiness:
    """What the probes are told.

    Args:
        store: Asked in the background, as long as `watch` runs.
        refuses_without_store: Whether this process is of no use while the store is away.
        unready: What keeps callers away beside the store; an empty phrase means the check holds.
        amiss: What is degraded beside the store.
        clock: Epoch seconds.
    """

    def __init__(
        self,
        store: StateStore,
        *,
        refuses_without_store: bool,
        unready: Conditions,
        amiss: Conditions,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._refuses_without_store = refuses_without_store
        self._unready = unready
        self._amiss = amiss
        self._clock = clock
        self._store_fault = ""
        self._since: dict[str, float] = {}
        """When each condition that is degraded now was first seen."""

    async def checks(self) -> Mapping[str, CheckResult]:
        """Return what must hold for traffic to be sent here, by name."""
        return self._checks()

    def _checks(self) -> Mapping[str, CheckResult]:
        checks = {name: CheckResult(not phrase, phrase) for name, phrase in self._unready().items()}
        fault = self._store_fault
        return {**checks, STORE: CheckResult(not (fault and self._refuses_without_store), fault)}

    @property
    def is_ready(self) -> bool:
        """Whether all checks hold."""
        return all(check.ok for check in self._checks().values())

    @property
    def is_state_up(self) -> bool:
        """Whether the store answered when it was asked last."""
        return not self._store_fault

    def degraded(self) -> tuple[Degradation, ...]:
        """Return what is amiss, the oldest first."""
        conditions = {STORE: self._store_fault, KEEPING: "; ".join(self._store.doubts)}
        conditions = {name: phrase for name, phrase in conditions.items() if phrase}
        conditions |= self._amiss()
        now = self._clock()
        self._since = {name: self._since.get(name, now) for name in conditions}
        return tuple(
            Degradation(name, conditions[name], since)
            for name, since in sorted(self._since.items(), key=lambda item: item[1])
        )

    async def look(self) -> None:
        """Ask the store, and note since when anything is amiss."""
        before = self._store_fault
        self._store_fault = await _find_fault(self._store)
        if self._store_fault and not before:
            _log.error("the state store is away: %s", self._store_fault)
        elif before and not self._store_fault:
            _log.info("the state store is back")
        self.degraded()

    async def watch(self, *, interval_s: float = LOOK_INTERVAL_S) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(interval_s)
            await self.look()


async def _find_fault(store: StateStore) -> str:
    """Return why the store cannot be used, or an empty text."""
    try:
        async with asyncio.timeout(STORE_TIMEOUT_S):
            await store.check()
    except TimeoutError:
        return f"the state store did not answer within {STORE_TIMEOUT_S:g} s"
    except StateUnavailableError as error:
        return str(error)
    except Exception:
        # The one rescue point of this task: without it nobody would ask the store any more.
        _log.exception("the state store could not be asked")
        return "the state store could not be asked; see the log"
    return ""
