"""Say what every source is: an input of the process that is loaded, and swapped or kept, by itself.

There are three: the configuration, the keys, the certificates. What goes wrong with one
keeps that one as it was and is no other's matter.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from gateway.settings.problems import Problem, Severity


class Cause(StrEnum):
    """Why a reload happens: a label of metrics, and told in the log."""

    SIGNAL = "signal"
    WATCH = "watch"
    API = "api"


class Result(StrEnum):
    """What became of a load: a label of metrics."""

    OK = "ok"
    INVALID = "invalid"
    IO_ERROR = "io_error"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one load of one source led to."""

    result: Result = Result.OK
    problems: tuple[Problem, ...] = ()
    """Errors when what was there stays in use, warnings otherwise."""
    changes: tuple[str, ...] = ()
    """What is different now, or would be, a phrase each; without secrets."""
    swapped: bool = False
    """What was loaded is in use now, or is what was in use already."""
    former: str = ""
    current: str = ""
    """What names the state before and after, such as a hash."""
    swap: Callable[[], None] | None = field(default=None, compare=False)
    """Puts in force what was loaded, or raises and changes nothing; None where that is done, or not to be."""

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Return what keeps the source as it was."""
        return tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)


class Source(Protocol):
    """One input of the process."""

    @property
    def name(self) -> str:
        """A word: a label of metrics, and the name under which `/readyz` tells that it is degraded."""

    @property
    def since(self) -> float:
        """Epoch seconds at which its files began to be read first; infinite: what is there now was read."""

    def watched(self) -> Iterable[Path]:
        """Return the files and directories whose change may change it; after a failure, a repair as well."""

    async def load(self, *, dry_run: bool) -> Outcome:
        """Load what the files say now; swap it in, or leave that to the outcome, unless it is a dry run.

        When it raises, nothing has changed.
        """


def failed(file: Path, message: str, result: Result, *, path: str = "") -> Outcome:
    """Return the outcome of a load that went wrong as a whole."""
    return Outcome(result, (Problem(str(file), 1, 1, path, message),))
