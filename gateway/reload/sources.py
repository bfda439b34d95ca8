"""Load the sources when they are to be loaded: the one way to a reload, whatever asks for it.

A signal, the watch, the admin API and `sidegate reload` all call `Sources.reload` with their
cause. Reloads come one after the other; each source is loaded by itself, in their order, and
what became of it is logged, counted and remembered.
"""

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.reload.aside import StillRunningError, run_aside
from gateway.reload.source import Cause, Outcome, Result, Source, failed
from gateway.reload.watch import WATCH_INTERVAL_S, FileWatch, ShortageError, take_look
from gateway.settings.problems import Problem, Severity

_log = logging.getLogger(__name__)

DEADLINE_S = 30.0
RETRY_S = 60.0
"""A source that could not be loaded is loaded again so often, although no file seems to have changed."""
MAIN = "configuration"
"""The source whose outcome answers the question whether a reload was applied."""
WATCH = "watch"
"""What is degraded while the watched files cannot be looked at."""
MOST_LOGGED = 100
"""Problems of one load that get a line each."""


@dataclass(frozen=True, slots=True)
class LastLoad:
    """What became of the last load of a source."""

    outcome: Outcome
    at: float
    """Epoch seconds."""
    good_at: float
    """Epoch seconds at which what is in use was loaded."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a reload led to, source by source in their order."""

    outcomes: dict[str, Outcome]

    @property
    def applied(self) -> bool:
        """Return whether the configuration is what its files say; else, whether all that was loaded is."""
        main = self.outcomes.get(MAIN)
        outcomes = self.outcomes.values() if main is None else (main,)
        return all(outcome.result is Result.OK for outcome in outcomes)

    @property
    def result(self) -> Result:
        """Return what became of the configuration; of another source where that was not loaded."""
        results = {name: outcome.result for name, outcome in self.outcomes.items()}
        return results.get(MAIN, next(iter(results.values()), Result.OK))

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Return all problems: warnings when the configuration was taken, also of a source that was kept."""
        found: list[Problem] = []
        for outcome in self.outcomes.values():
            for problem in outcome.problems:
                softened = replace(problem, severity=Severity.WARNING) if self.applied else problem
                found.append(softened)
        return tuple(found)

    @property
    def changes(self) -> tuple[str, ...]:
        """Return what is different, or would be."""
        return tuple(change for outcome in self.outcomes.values() for change in outcome.changes)


_RELOADED_ONE = "the %s was reloaded"
_RELOADED_SEVERAL = "the %s were reloaded"
_KEPT_ONE = "the %s was not reloaded: the former one stays in effect"
_KEPT_SEVERAL = "the %s were not reloaded: the former ones stay in effect"

Note = Callable[[str, Cause], None]
"""Takes the name of a source that was loaded, well or not, and why it was."""


class Sources:
    """The sources of one process.

    Args:
        sources: In the order in which they are loaded.
        file: The main file, for problems that are nowhere else.
        note: Is told of every load, for metrics.
        deadline_s: A load that takes longer is given up.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        file: Path,
        *,
        note: Note,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._sources = {source.name: source for source in sources}
        self._file = file
        self._note = note
        self._deadline_s = deadline_s
        self._turn = asyncio.Lock()
        self._tried_at = {source.name: time.monotonic() for source in sources}
        """When each was loaded last, well or not, by a clock that nobody sets."""
        self._logged: dict[str, frozenset[str]] = {name: frozenset() for name in self._sources}
        """The problems of the last load of each source: told once, not at every load."""
        self.watches = {
            name: FileWatch(source.watched, since=source.since) for name, source in self._sources.items()
        }
        started = time.time()
        self.last = {name: LastLoad(Outcome(), started, started) for name in self._sources}
        """Of each source. At the start all were loaded, or there would be no process."""
        self.last_report: Report | None = None
        self.last_reload_at = 0.0
        self.last_cause: Cause | None = None
        """Of the last reload; None, 0 and None before the first."""
        self._looking_since: float | None = None

    async def reload(
        self,
        cause: Cause,
        *,
        only: Collection[str] = (),
        dry_run: bool = False,
        only_if_quiet: bool = False,
    ) -> Report:
        """Load all sources, or some; take over what is sound, keep the rest and say why. Never raises.

        Args:
            cause: Who asks.
            only: The names of the sources whose files changed; empty for all.
            dry_run: Change nothing, and say what would.
            only_if_quiet: Leave alone a source whose files change between the look that counted and the swap.
        """
        async with self._turn:
            outcomes: dict[str, Outcome] = {}
            for name, source in self._sources.items():
                if not only or name in only:
                    await self._load_into(outcomes, source, dry_run, only_if_quiet)
            for source in () if dry_run else tuple(self._find_displaced(outcomes)):
                await self._load_into(outcomes, source, dry_run=False, only_if_quiet=False)
            report = Report(outcomes)
            if outcomes and not dry_run:
                for name, outcome in outcomes.items():
                    self._keep(name, outcome, cause)
                self.last_report, self.last_reload_at, self.last_cause = report, time.time(), cause
            return report

    def _find_displaced(self, outcomes: Mapping[str, Outcome]) -> Iterator[Source]:
        """Yield sources that failed by files which the configuration that came after them names no more."""
        main = outcomes.get(MAIN)
        if main is not None and main.swapped:
            for name, source in self._sources.items():
                outcome = outcomes.get(name, self.last[name].outcome)
                moved = tuple(source.watched()) != self.watches[name].paths
                if moved and outcome.result is not Result.OK:
                    yield source

    async def watch(self, *, interval_s: float = WATCH_INTERVAL_S) -> None:
        """Look at the files again and again, and reload each source whose files changed, until cancelled."""
        while True:
            if changed := await self._find_changed(interval_s):
                await self.reload(Cause.WATCH, only=changed, only_if_quiet=True)
            await asyncio.sleep(interval_s)

    async def follow(self) -> None:
        """Look for the first time at what was loaded at the start."""
        for watch in self.watches.values():
            with contextlib.suppress(ShortageError):
                await watch.follow()

    async def _find_changed(self, interval_s: float) -> list[str]:
        """Return the sources whose change counts; none while there is nothing to look with.

        One thread looks at everything; one that hangs is not joined by another, and is told by `amiss`.
        """
        self._looking_since = time.monotonic()
        try:
            for watch in self.watches.values():
                await watch.follow_others()
            paths = {name: watch.paths for name, watch in self.watches.items()}
            looks = await run_aside(lambda: {name: take_look(paths[name]) for name in paths})
            intervals = time.monotonic() / interval_s * WATCH_INTERVAL_S
            return [
                name
                for name, watch in self.watches.items()
                if await watch.observe(looks[name], intervals, has_failed=self._has_failed(name))
                or self._is_to_be_tried(name)
            ]
        except ShortageError:
            return []
        finally:
            self._looking_since = None

    def _has_failed(self, name: str) -> bool:
        return self.last[name].outcome.result is not Result.OK

    def _is_to_be_tried(self, name: str) -> bool:
        """Return whether a load failed so long ago that whatever it was may be over."""
        return self._has_failed(name) and time.monotonic() - self._tried_at[name] >= RETRY_S

    def amiss(self) -> Mapping[str, str]:
        """Return what is degraded: the sources whose last load failed, and a watch that hangs."""
        found = {
            name: _summarise(name, last.outcome) for name, last in self.last.items() if self._has_failed(name)
        }
        since = self._looking_since
        if since is not None and time.monotonic() - since > self._deadline_s:
            found[WATCH] = "the watched files cannot be looked at: the file system does not answer"
        return found

    async def _load_into(
        self, outcomes: dict[str, Outcome], source: Source, dry_run: bool, only_if_quiet: bool
    ) -> None:
        """Note what became of loading a source: nothing, when its files changed again meanwhile."""
        outcome = await self._load(source, dry_run=dry_run, only_if_quiet=only_if_quiet)
        if outcome is not None:
            outcomes[source.name] = outcome

    async def _load(self, source: Source, *, dry_run: bool, only_if_quiet: bool) -> Outcome | None:
        watch = self.watches[source.name]
        try:
            async with asyncio.timeout(self._deadline_s):
                if not dry_run and not await watch.begin_load(only_if_quiet=only_if_quiet):
                    return None
                outcome = await source.load(dry_run=dry_run)
                if outcome.swap is None:
                    return outcome
                if only_if_quiet and not await watch.is_quiet():
                    watch.abandon_load()
                    return None
                outcome.swap()
                return replace(outcome, swap=None)
        except StillRunningError:
            result = Result.TIMEOUT
            text = f"loading the {source.name} was given up before, and still waits for the file system"
        except TimeoutError:
            result = Result.TIMEOUT
            text = f"loading the {source.name} took more than {self._deadline_s:g} s and was given up"
        except OSError as error:
            result = Result.IO_ERROR
            text = f"the {source.name} cannot be read: {error.strerror}"
        except Exception:
            # The rescue point of a reload: whatever happens, what was there stays in use.
            _log.exception("the reload failed inside the gateway")
            result = Result.INVALID
            text = f"loading the {source.name} failed inside the gateway; see the log"
        return failed(self._file, text, result)

    def _keep(self, name: str, outcome: Outcome, cause: Cause) -> None:
        now, self._tried_at[name] = time.time(), time.monotonic()
        good_at = now if outcome.result is Result.OK else self.last[name].good_at
        self.last[name] = LastLoad(outcome, now, good_at)
        self._note(name, cause)
        told = self._logged[name]
        texts = {str(problem): problem for problem in outcome.problems}
        for text, problem in list(texts.items())[:MOST_LOGGED]:
            if text not in told:
                (_log.error if problem.severity is Severity.ERROR else _log.warning)("%s", text)
        self._logged[name] = frozenset(texts)
        extra: dict[str, object] = {"source": name, "cause": str(cause)}
        is_news = cause is not Cause.WATCH or texts.keys() != told
        if outcome.result is not Result.OK and is_news:
            extra |= {"result": str(outcome.result), "problems": len(outcome.problems)}
            _log.error(_KEPT_SEVERAL if name.endswith("s") else _KEPT_ONE, name, extra=extra)
        elif outcome.result is Result.OK and outcome.swapped:
            extra |= {"former": outcome.former, "current": outcome.current}
            if outcome.changes:
                extra["changes"] = "; ".join(outcome.changes)
            _log.info(_RELOADED_SEVERAL if name.endswith("s") else _RELOADED_ONE, name, extra=extra)


_DIRECTORIES = re.compile(r"(?<!\S)/(?:[^/\s:]+/)*(?=[^/\s])")
"""Before the name of a file."""


def _summarise(name: str, outcome: Outcome) -> str:
    """Return what is wrong in one phrase. Probes ask without a token: no value of a policy, no directory."""
    errors = outcome.errors
    if not errors:
        return "the last reload failed; see the log"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    if name != MAIN or outcome.result is not Result.INVALID:
        return f"the last reload failed: {_DIRECTORIES.sub('', errors[0].message)}{more}"
    return f"the last reload failed at {Path(errors[0].file).name}:{errors[0].line}{more}; see the log"
