"""The configuration as a source: compile it on a thread, try its policy tests, plan, apply."""

import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.reload.apply import Live
from gateway.reload.aside import OneThread, quiet, start_aside
from gateway.reload.compile import (
    InUse,
    compile_configuration,
)
from gateway.reload.differences import describe_differences
from gateway.reload.key_directory import load_first_keys
from gateway.reload.plan import Snapshot, plan_snapshot, snapshot_of
from gateway.reload.policy_tests import policy_test_problems, run_configured_tests
from gateway.reload.source import Outcome, Result
from gateway.settings.model import Settings
from gateway.settings.problems import Problem, SettingsError, Severity


class ConfigurationSource:
    """The main file, what it names, and the policies.

    Args:
        path: The main file.
        live: Where the configuration is swapped in.
        since: Epoch seconds at which its files began to be read first.
    """

    name = "configuration"

    def __init__(self, path: Path, live: Live, *, since: float) -> None:
        self.since = since
        self._path = path
        self._live = live
        settings = live.plan.snapshot.settings
        self._started_with = _fixed_at_start(settings)
        self._store_url = settings.issuer.url if settings.state.redis is not None else None
        self._watched = settings.watched
        self._thread = OneThread()

    def watched(self) -> tuple[Path, ...]:
        """Return what the last attempt read, successful or not."""
        return self._watched

    async def load(self, *, dry_run: bool) -> Outcome:
        """Compile what the files say now; the outcome puts it in force, unless it is a dry run."""
        compiled = await self._compile_aside()
        if isinstance(compiled, SettingsError):
            if not dry_run:
                self._watched = compiled.watched or self._watched
            return Outcome(Result.INVALID, compiled.problems)
        fresh, outcome = [compiled[0]], compiled[1]
        del compiled
        if dry_run:
            start_aside(lambda: _release(fresh))
            return outcome
        return replace(outcome, swap=lambda: self._swap(fresh))

    def _swap(self, fresh: list[Snapshot]) -> None:
        """Put the one snapshot in force, and free the former beside the loop."""
        retired: list[Any] = [self._live.plan.snapshot, self._live.plan]
        self._live.apply(plan_snapshot(fresh[0], self._live.parts))
        self._watched = fresh.pop().settings.watched
        start_aside(lambda: _release(retired))

    async def _compile_aside(self) -> tuple[Snapshot, Outcome] | SettingsError:
        former, now = self._live.plan.snapshot, time.time()
        with quiet():
            return await self._thread.run(lambda: self._compile(former, now))

    def _compile(self, former: Snapshot, now: float) -> tuple[Snapshot, Outcome] | SettingsError:
        """Return what would be in force and what is different then, or why there is nothing.

        The error is a fresh one without a traceback: that would hold all that was read until
        the loop's thread let go of it, at once.
        """
        in_use = InUse(former.configuration.patterns, former.configuration.material, self._store_url)
        try:
            fresh = compile_configuration(self._path, environ=os.environ, now=now, in_use=in_use)
            failed = policy_test_problems(run_configured_tests(fresh, now=now), self._path)
            if failed:
                return SettingsError(failed, watched=fresh.settings.watched)
            keys = former.keys
            if _keys_of(fresh.settings) != _keys_of(former.settings):
                keys = load_first_keys(fresh, create=False)
            snapshot = snapshot_of(fresh, keys, generation=former.generation + 1, now=now)
            return snapshot, self._describe(former, snapshot)
        except SettingsError as error:
            return SettingsError(error.problems, watched=error.watched)

    def _describe(self, former: Snapshot, fresh: Snapshot) -> Outcome:
        warnings = (*fresh.configuration.warnings, *self._restart_warnings(fresh))
        return Outcome(
            problems=warnings,
            changes=describe_differences(former.settings, fresh.settings),
            swapped=True,
            former=former.settings.content_hash,
            current=fresh.settings.content_hash,
        )

    def _restart_warnings(self, fresh: Snapshot) -> tuple[Problem, ...]:
        """Return a warning for each setting that is not what the process started with."""
        text = "changed, but takes effect only after a restart"
        return tuple(
            Problem(str(self._path), 1, 1, path, text, severity=Severity.WARNING)
            for path, value in _fixed_at_start(fresh.settings).items()
            if value != self._started_with[path]
        )


def _keys_of(settings: Settings) -> tuple[object, ...]:
    return settings.keys.directory, settings.issuer.signing_algorithm


def _fixed_at_start(settings: Settings) -> Mapping[str, object]:
    """Return what a reload cannot change, by its path."""
    return {
        "listeners": settings.listeners,
        "admin.address": settings.admin.address,
        "state": settings.state,
        "logs": settings.logs,
        "metrics": settings.metrics,
    }


def _pieces(snapshot: Snapshot) -> Iterator[object]:
    """Yield what a snapshot has many of, containers before their contents."""
    settings, configuration = snapshot.settings, snapshot.configuration
    yield from settings.clients.values()
    yield from settings.authorizations
    yield from settings.routes
    yield from configuration.registry.clients.values()
    yield from configuration.table.routes
    table = configuration.table
    waiting = [*table.exact_hosts.values(), *table.wildcard_hosts.values(), table.any_host]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.literals.values()
        waiting += (child for child in (node.parameter, node.rest) if child is not None)


def _release(retired: list[Any]) -> None:
    """Free a snapshot piece by piece: the first of the list, which nobody holds but the rest of it.

    Freed as a whole, the snapshot of ten thousand clients and routes holds the interpreter,
    and with it the loop, for 50 ms.
    """
    pieces = deque(_pieces(retired[0]))
    retired.clear()
    while pieces:
        pieces.popleft()
