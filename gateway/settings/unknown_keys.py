"""Tell which key is meant by one that nobody knows at that place.

It may be spelled another way, be what another product calls it (`Field.aliases`), or be right one level
up, down, or in another section. Pure: it knows the table of keys, and of the file the one word.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from gateway.settings.examples import as_mapping
from gateway.settings.lists import ListOf, MapOf
from gateway.settings.problems import find_closest, join_hints, plain_word
from gateway.settings.reading import MOST_SEARCHES
from gateway.settings.sections import Field, Section

_MOST_PLACES = 3
"""Of a word that is a key of more sections than this none is suggested."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One key on the way from the top of a file."""

    section: Section
    field: Field
    shown: str
    """The key, and what stands for the entries below it: `routes[]`, `upstreams.<name>`."""


class Meant(NamedTuple):
    """What is meant: the hint, and the keys of which therefore none is missing."""

    hint: str
    keys: tuple[tuple[Section, str], ...] = ()


class KeyFinder:
    """Finds keys by other words for them.

    Args:
        root: What a file holds.
        elsewhere: What another file would hold, and its name for people.
    """

    def __init__(self, root: Section, elsewhere: tuple[Section, str] | None = None) -> None:
        self._root = root
        self._elsewhere = elsewhere
        self._left = MOST_SEARCHES

    def find(self, section: Section, word: str) -> Meant:
        """Return what is meant by an unknown key of a section of this file."""
        if self._left <= 0:
            return Meant("")
        self._left -= 1
        before, colon, _ = word.partition(":")
        if colon and before in section.keys:
            return Meant(f"there is no space behind the colon: write {before}: …", ((section, before),))
        here = _among(section, word)
        if here is not None:
            field, is_spelling = here
            hint = f"did you mean {field.key}?"
            return Meant(
                hint if is_spelling else join_hints(hint, f"e.g. {field.with_example()}"),
                ((section, field.key),),
            )
        ways = self._nearest(section, plain_word(word))
        if len(ways) == 1 and ways[0][-1].section is not section:
            return self._lead(section, ways[0])
        if 1 < len(ways) <= _MOST_PLACES:
            return Meant(f"it is a key of {', '.join(_shown(way[:-1]) for way in ways)}")
        if self._elsewhere is not None:
            _, name = self._elsewhere
            plain = plain_word(word)
            found = [way for way in self._elsewhere_by_word.get(plain, ()) if _is_sure(way, plain)]
            if len(found) == 1:
                return Meant(_question(found[0], f" of the {name}"))
        return Meant("known here: " + ", ".join(field.key for field in section.fields))

    @cached_property
    def _by_section(self) -> dict[int, tuple[_Step, ...]]:
        """The way to each section, by identity: each stands at one place."""
        found: dict[int, tuple[_Step, ...]] = {id(self._root): ()}
        for way in _ways(self._root):
            found.setdefault(id(way[-1].section), way[:-1])
        return found

    @cached_property
    def _by_word(self) -> dict[str, list[tuple[_Step, ...]]]:
        return _ways_by_word(self._root)

    @cached_property
    def _elsewhere_by_word(self) -> dict[str, list[tuple[_Step, ...]]]:
        return {} if self._elsewhere is None else _ways_by_word(self._elsewhere[0])

    def _nearest(self, section: Section, plain: str) -> list[tuple[_Step, ...]]:
        """Return the ways to the keys of that name that are the fewest steps away: down before up."""
        base = self._by_section.get(id(section), ())
        by_distance: dict[tuple[bool, int], list[tuple[_Step, ...]]] = {}
        for way in self._by_word.get(plain, ()):
            shared = 0
            while shared < min(len(base), len(way)) and base[shared] == way[shared]:
                shared += 1
            up, down = len(base) - shared, len(way) - shared
            # A way of no more steps leads to what the section itself is called.
            if down and (not up or _is_named(way, plain)) and _is_sure(way[shared:], plain):
                by_distance.setdefault((up > 0, up + down), []).append(way)
        return by_distance[min(by_distance)] if by_distance else []

    def _lead(self, section: Section, way: tuple[_Step, ...]) -> Meant:
        base = self._by_section.get(id(section), ())
        keys = tuple((step.section, step.field.key) for step in way)
        if way[: len(base)] == base:
            below = way[len(base) :]
            return Meant(_question(below), keys)
        example = way[-1].field.with_example()
        if base[: len(way) - 1] == way[:-1]:
            above = len(base) - len(way) + 1
            place = "one level up" if above == 1 else f"{above} levels up"
            return Meant(f"it belongs {place}, beside {base[len(way) - 1].field.key}: e.g. {example}", keys)
        return Meant(_question(way), keys)


def _among(section: Section, word: str) -> tuple[Field, bool] | None:
    """Return the key of a section that is meant, and whether only its spelling is another."""
    plain = plain_word(word)
    for field in section.fields:
        if plain_word(field.key) == plain:
            return field, True
    by_word = {alias: field for field in section.fields if field.available for alias in field.aliases.split()}
    for alias, field in by_word.items():
        if plain_word(alias) == plain:
            return field, False
    by_key = {field.key: field for field in section.fields}
    close = find_closest(word, by_key)
    return (by_key[close], True) if close else None


def _is_named(way: tuple[_Step, ...], plain: str) -> bool:
    return plain_word(way[-1].field.key) == plain


def _is_sure(way: tuple[_Step, ...], plain: str) -> bool:
    """Return whether a key may be meant: by its name, or by another where no entries lie between."""
    return _is_named(way, plain) or all(step.shown == step.field.key for step in way[:-1])


def _ways(section: Section, before: tuple[_Step, ...] = ()) -> Iterator[tuple[_Step, ...]]:
    """Yield the way to each key of a section and of those below it."""
    for field in section.fields:
        kind, entries = field.kind, ""
        if isinstance(kind, ListOf):
            kind, entries = kind.item, "[]"
        elif isinstance(kind, MapOf):
            kind, entries = kind.value, ".<name>"
        kind = getattr(kind, "mapping", None) or kind
        way = (*before, _Step(section, field, field.key + (entries if isinstance(kind, Section) else "")))
        yield way
        if isinstance(kind, Section):
            yield from _ways(kind, way)


def _ways_by_word(root: Section) -> dict[str, list[tuple[_Step, ...]]]:
    """Return the ways to the keys that work, by what each is called."""
    found: dict[str, list[tuple[_Step, ...]]] = {}
    for way in _ways(root):
        field = way[-1].field
        if field.available:
            for word in {plain_word(word) for word in (field.key, *field.aliases.split())}:
                found.setdefault(word, []).append(way)
    return found


def _question(way: tuple[_Step, ...], of: str = "") -> str:
    return f"did you mean {_shown(way, entries=False)}{of}? e.g. {_nested(way)}"


def _shown(way: tuple[_Step, ...], *, entries: bool = True) -> str:
    """Return the dotted path of a key; with `entries`, of what stands below it."""
    if not way:
        return "the top of the file"
    last = way[-1].shown if entries else way[-1].field.key
    return ".".join((*(step.shown for step in way[:-1]), last))


def _nested(way: tuple[_Step, ...]) -> str:
    """Return an example of a key, within those that lead to it where these are plain sections."""
    text, field = way[-1].field.example(), way[-1].field
    for step in reversed(way[:-1]):
        if step.shown != step.field.key:
            break
        text, field = as_mapping({field.key: text}), step.field
    return f"{field.key}: {text}"
