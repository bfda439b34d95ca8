"""Remember where a configuration was not read as meant, so that one mistake is told once.

What stands there is a default, so whatever follows from it (a name that leads nowhere, a right that is
not granted) may be untrue and is not told.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from gateway.settings.model import Origin


@dataclass(frozen=True, slots=True)
class Doubts:
    """What was not read as meant."""

    keys: Mapping[Origin, AbstractSet[str]] = field(default_factory=dict)
    """Keys of clients, authorizations, routes and tests with a mistake at or below them."""
    sections: frozenset[str] = frozenset()
    """Sections that were not read, in whatever file."""

    def about(self, origin: Origin | None, *keys: str) -> bool:
        """Return whether one of the keys of an entry was not read as meant."""
        if not self.keys or origin is None:
            return False
        return not self.keys.get(origin, frozenset()).isdisjoint(keys)

    def of(self, section: str) -> bool:
        """Return whether there may be more entries of a section than were read."""
        return section in self.sections
