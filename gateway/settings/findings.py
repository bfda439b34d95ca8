"""Hold what is found wrong with settings, and which key of which entry it is about.

The loader puts file, line and column to it. A finding about a scalar leaves out its text: the loader
quotes it as it was written, before expansion.
"""

from dataclasses import dataclass

from gateway.settings.model import Origin
from gateway.settings.problems import Severity

Step = str | int | tuple[str, ...]
"""A key, an index, or several keys of which the first that is written is meant.
Where a list of texts was reached, a text means the item that reads so."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. `owner` is the origin of a client, authorization, route or test, None for the main file.

    With `quoted`, the message is a predicate of the scalar that the steps lead to.
    """

    owner: Origin | None
    steps: tuple[Step, ...]
    message: str
    hint: str = ""
    severity: Severity = Severity.ERROR
    quoted: bool = False
    instead: str = ""
    """What may be meant, as the entry at `seen` writes it; shown only if that was not expanded there."""
    seen: Origin | None = None


def at_origin(origin: Origin | None) -> str:
    """Return ` at FILE:LINE:COLUMN` for a message, or nothing."""
    return "" if origin is None else f" at {origin.file}:{origin.line}:{origin.column}"
