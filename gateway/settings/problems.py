"""Say what is wrong with a configuration, and where, in words an editor can act on.

Problems are values: the loader gathers all of them and raises one
`SettingsError`. Their texts never hold a secret or the value of an environment
variable; a value is quoted as it was written, before expansion
(`gateway.settings.quoting`).

Sources: CONTRACT section 1 (`check`: file:line:column, dotted path, message, hint).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Severity(StrEnum):
    """Whether a problem keeps the configuration from loading."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake or doubt. `line` and `column` count from 1; `path` is empty for a whole file."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        """Return `file:line:column: path: message (hint: …)`, leaving out what is empty."""
        path = f"{self.path}: " if self.path else ""
        hint = f" (hint: {self.hint})" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column}: {path}{self.message}{hint}"

    def as_object(self) -> dict[str, str | int]:
        """Return the members that `check --format json` and the admin API show."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "path": self.path,
            "message": self.message,
            "hint": self.hint,
            "severity": str(self.severity),
        }


MOST_PROBLEMS = 5000
"""Beyond it nobody reads on, and answers, logs and the status would grow with what an editor writes."""


def leave_out_beyond(most: int, problems: Sequence[Problem], file: str) -> tuple[Problem, ...]:
    """Return the problems, or the first of them, errors before warnings, and how many are left out."""
    if len(problems) <= most:
        return tuple(problems)
    by_weight = sorted(range(len(problems)), key=lambda i: (problems[i].severity is not Severity.ERROR, i))
    kept = tuple(problems[i] for i in sorted(by_weight[:most]))
    left_out = problems[by_weight[most]].severity
    rest = Problem(file, 1, 1, "", f"{len(problems) - most} more are not listed", severity=left_out)
    return (*kept, rest)


class SettingsError(Exception):
    """A configuration that cannot be used: every problem that was found, in file order.

    `watched` names the files and directories that were read, so that a process
    which keeps its old configuration still notices the repair.
    """

    def __init__(self, problems: tuple[Problem, ...], watched: tuple[Path, ...] = ()) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
        self.watched = watched


class SpellingError(Exception):
    """Text that does not spell a value of the wanted kind.

    `message` is a predicate ("is not a duration") that the reader puts after the
    text as it was written, so that a parser never has to quote what it was given.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        is_remedy: bool = False,
        instead: str | Callable[[], str] = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.is_remedy = is_remedy
        """Whether the hint says just what to do, so that an example would only distract."""
        self._instead = instead

    @property
    def instead(self) -> str:
        """What may be meant, made of the text: shown only where the text itself may be."""
        return self._instead if isinstance(self._instead, str) else self._instead()


LATER = "is not available in this version"
"""What is said of a key or value of the contract that has no effect yet."""


def join_hints(*hints: str) -> str:
    """Return the hints that say something as one."""
    joined = ""
    for hint in filter(None, hints):
        joined += ("" if not joined else " " if joined.endswith("?") else "; ") + hint
    return joined


def suggest(word: str, known: Iterable[str]) -> str:
    """Return `did you mean …?` when a known word is close to `word`, else an empty string."""
    close = find_closest(word, known)
    return f"did you mean {close}?" if close else ""


def find_closest(word: str, known: Iterable[str]) -> str:
    """Return the known word that is closest to `word`, or an empty string when none is close."""
    import difflib  # here: whoever makes no mistake need not load it

    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.7)), "")


def plain_word(word: str) -> str:
    """Return a word without what people spell differently: case and what joins its parts."""
    return "".join(char for char in word.lower() if char.isalnum())
