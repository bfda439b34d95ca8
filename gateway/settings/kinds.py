"""Read, show and describe text, numbers, truth values and other values without members of their own.

What kinds are is told in `gateway.settings.reading`.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.observe.secret_parameters import mask_address
from gateway.settings.document import ListNode, MapNode, Node, ScalarNode
from gateway.settings.problems import SpellingError, suggest
from gateway.settings.quantities import Measure
from gateway.settings.reading import (
    FROM_ENVIRONMENT,
    UNREAD,
    Reading,
    Schema,
    any_of,
    found,
    is_null,
    read_scalar,
)
from gateway.settings.scalars import Value, resolve_plain
from gateway.settings.texts import parse_file_text


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Text:
    """Text with a shape. `place` turns what was parsed into a value that depends on the file's directory."""

    label: str
    parse: Callable[[str], Any]
    place: Callable[[Path, Any], Any] | None = None
    is_address: bool = False
    """It may be a URL, with a password in it; of a mistaken one hardly anything is repeated."""
    words: tuple[str, ...] = ()
    """The only texts there are; none when there is no end of them."""
    spell: Callable[[Any], str] | None = None
    """The inverse of `parse`, without what may be secret; None: as `str` has it, an address masked."""
    such_as: str = ""
    """An example; the first of the words where it is empty."""

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the parsed text; a number or a truth value is no text."""
        if not isinstance(node, ScalarNode):
            reading.mismatch(node, self.label)
            return UNREAD
        if node.plain and not isinstance(value := resolve_plain(node.text), str):
            hint = "" if value is None else self._in_quotes(node.text)
            reading.mismatch(node, self.label, hint, wants_example=not hint)
            return UNREAD
        try:
            parsed = self.parse(node.text)
        except SpellingError as reason:
            reading.refuse(node, reason, is_address=self.is_address)
            return UNREAD
        return parsed if self.place is None else self.place(reading.directory, parsed)

    def show(self, value: Any) -> str:
        """Return the value as text, relative paths made absolute."""
        if self.spell is not None:
            return self.spell(value)
        return mask_address(str(value)) if self.is_address else str(value)

    def schema(self) -> Schema:
        """Return any text, or one of the words."""
        return any_of({"enum": list(self.words)}, FROM_ENVIRONMENT) if self.words else {"type": "string"}

    def _in_quotes(self, text: str) -> str:
        """Return that quotes are missing, where they would mend it."""
        try:
            self.parse(text)
        except SpellingError:
            return ""
        return "put it in quotes to make it text"

    def example(self) -> str:
        """Return the example, or the first of the words."""
        return self.such_as or next(iter(self.words), "")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Flag:
    """`true` or `false`."""

    label: str = "true or false"

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the truth value; `yes`, `on` and quoted words are none."""
        if (
            isinstance(node, ScalarNode)
            and node.plain
            and isinstance(value := resolve_plain(node.text), bool)
        ):
            return value
        reading.mismatch(node, self.label, "write true or false, without quotes")
        return UNREAD

    def show(self, value: bool) -> bool:
        """Return the truth value."""
        return value

    def schema(self) -> Schema:
        """Return a truth value."""
        return any_of({"type": "boolean"}, FROM_ENVIRONMENT)

    def example(self) -> str:
        """Return what turns something on."""
        return "true"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Whole:
    """A whole number within bounds, both included."""

    least: int
    most: int
    label: str = "whole number"

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the number."""
        value = resolve_plain(node.text) if isinstance(node, ScalarNode) and node.plain else None
        if isinstance(value, bool) or not isinstance(value, int):
            hint = self._bounds() if value is None else ""
            if isinstance(node, ScalarNode) and not node.plain and isinstance(resolve_plain(node.text), int):
                hint = "write it without quotes"
            reading.mismatch(node, self.label, hint)
            return UNREAD
        if not self.least <= value <= self.most:
            reading.error(node, "the number is out of bounds", self._bounds(), wants_example=True)
            return UNREAD
        return value

    def show(self, value: int) -> int:
        """Return the number."""
        return value

    def schema(self) -> Schema:
        """Return a whole number with its bounds."""
        return any_of(_whole_numbers(self.least, self.most), FROM_ENVIRONMENT)

    def example(self) -> str:
        """Return a number within the bounds."""
        return str(min(max(self.least, 100), self.most))

    def _bounds(self) -> str:
        return f"from {self.least} to {self.most}" if self.least < self.most else f"it is {self.least}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Ratio:
    """A share of a whole: above 0, up to 1."""

    label: str = "ratio"

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the share."""
        value = resolve_plain(node.text) if isinstance(node, ScalarNode) and node.plain else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
            reading.mismatch(node, self.label, "a number above 0, up to 1")
            return UNREAD
        return float(value)

    def show(self, value: float) -> float:
        """Return the share."""
        return value

    def schema(self) -> Schema:
        """Return a number with its bounds."""
        return any_of({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, FROM_ENVIRONMENT)

    def example(self) -> str:
        """Return a half."""
        return "0.5"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Quantity:
    """A duration or size: text with a unit, or a bare number where the measure has one."""

    measure: Measure
    least: float
    most: float
    bounds: str
    """The bounds as a hint, for people."""
    whole: bool = False
    """Only whole seconds: times in tokens have no fraction."""

    @property
    def label(self) -> str:
        """The name of the measure."""
        return self.measure.name

    def read(self, node: Node, reading: Reading) -> Any:
        """Return seconds or bytes."""
        if not isinstance(node, ScalarNode) or is_null(node):
            reading.mismatch(node, self.label, self.bounds)
            return UNREAD
        try:
            value = self.measure.parse(node.text)
            if not self.least <= value <= self.most or (self.whole and value != int(value)):
                raise SpellingError("is out of bounds", self.bounds)
        except SpellingError as reason:
            reading.refuse(node, reason)
            return UNREAD
        return value

    def show(self, value: float) -> str | int:
        """Return the shortest spelling with one unit."""
        return self.measure.format(value) if value or self.measure.needs_unit else 0

    def schema(self) -> Schema:
        """Return a number with a unit, and a bare one where it needs none; bounds of texts are in words."""
        some = "(?=0*[1-9])" if self.least > 0 else ""
        text = {
            "type": "string",
            "pattern": f"^{some}{self.measure.pattern}$",
            "description": f"A {self.label}, {self.bounds}.",
        }
        if not self.measure.needs_unit:
            return any_of(text, _whole_numbers(int(self.least), int(self.most)), FROM_ENVIRONMENT)
        if self.least > 0:
            return any_of(text, FROM_ENVIRONMENT)
        return any_of(text, {"const": 0}, FROM_ENVIRONMENT)

    def example(self) -> str:
        """Return the first of the measure's examples that lies within the bounds."""
        return next(
            text for text in self.measure.examples if self.least <= self.measure.parse(text) <= self.most
        )


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Buckets:
    """Ascending bounds of a histogram, in seconds."""

    label: str = "list of seconds"

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the bounds."""
        if not isinstance(node, ListNode):
            reading.mismatch(node, self.label)
            return UNREAD
        bounds: list[float] = []
        for item in node.items:
            value = resolve_plain(item.text) if isinstance(item, ScalarNode) and item.plain else None
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
                reading.error(
                    item,
                    f"expected seconds above 0, found {found(item)}",
                    "plain numbers, without a unit",
                    wants_example=True,
                )
                return UNREAD
            bounds.append(float(value))
        if not 1 <= len(bounds) <= 50 or any(a >= b for a, b in itertools.pairwise(bounds)):
            reading.error(node, "the bounds are not 1 to 50 ascending numbers", wants_example=True)
            return UNREAD
        return tuple(bounds)

    def show(self, value: tuple[float, ...]) -> list[float]:
        """Return the bounds."""
        return list(value)

    def schema(self) -> Schema:
        """Return a list of different numbers."""
        seconds = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1_000_000}
        return {
            "type": "array",
            "items": any_of(seconds, FROM_ENVIRONMENT),
            "minItems": 1,
            "maxItems": 50,
            "uniqueItems": True,
        }

    def example(self) -> str:
        """Return three bounds."""
        return "[0.005, 0.1, 2.5]"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Json:
    """Any value that JSON can hold, as plain Python values."""

    label: str = "any value"

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the value; numbers that JSON does not know are refused."""
        if isinstance(node, ListNode):
            items = [self.read(item, reading) for item in node.items]
            return UNREAD if UNREAD in items else items
        if isinstance(node, MapNode):
            members = {key: self.read(member, reading) for key, (_, member) in node.members.items()}
            return UNREAD if UNREAD in members.values() else members
        return read_scalar(node, reading)

    def show(self, value: Any) -> Any:
        """Return the value."""
        return value

    def schema(self) -> Schema:
        """Return anything."""
        return {}

    def example(self) -> str:
        """Return nothing: what it means is the key's alone."""
        return ""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class OneOrMore:
    """One scalar, or a list of scalars of which one must be equal."""

    label: str = "value or list of values"

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the values as a tuple."""
        items = node.items if isinstance(node, ListNode) else [node]
        if not items:
            reading.error(
                node,
                "the list is empty, so nothing would ever match",
                "name at least one value",
                wants_example=True,
            )
            return UNREAD
        values: list[Value] = []
        for item in items:
            if not isinstance(item, ScalarNode):
                reading.mismatch(item, "text, a number, true or false")
                return UNREAD
            value = read_scalar(item, reading)
            if value is UNREAD:
                return UNREAD
            values.append(value)
        return tuple(values)

    def show(self, value: tuple[Value, ...]) -> list[Value]:
        """Return the list of values, also of one."""
        return list(value)

    def schema(self) -> Schema:
        """Return a scalar, or a list that is not empty."""
        scalar = {"type": ["string", "number", "boolean", "null"]}
        return any_of(scalar, {"type": "array", "items": scalar, "minItems": 1})

    def example(self) -> str:
        """Return one word."""
        return "acme"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PublicFile:
    """The path of a file that is read later, again and again, and whose content is no secret."""

    label: str = "path"

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the path; a policy file may not name what the process keeps secret."""
        text = Text(self.label, parse_file_text).read(node, reading)
        if text is UNREAD:
            return UNREAD
        path = reading.directory / text
        try:
            reading.check_public_place(path)
        except SpellingError as reason:
            assert isinstance(node, ScalarNode)
            reading.refuse(node, reason, wants_example=False)
            return UNREAD
        return path

    def show(self, value: Path) -> str:
        """Return the whole path."""
        return str(value)

    def schema(self) -> Schema:
        """Return any text."""
        return {"type": "string"}

    def example(self) -> str:
        """Return nothing: which file it is is the key's alone."""
        return ""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EntryName:
    """The name of something that the main file defines under `section`."""

    section: str
    label: str = "name"

    def read(self, node: Node, reading: Reading) -> Any:
        """Return what has that name. What was written is not repeated: it may be what the name stands for."""
        if not isinstance(node, ScalarNode) or (node.plain and not isinstance(resolve_plain(node.text), str)):
            reading.mismatch(node, self.label, f"a name of {self.section}")
            return UNREAD
        known = reading.entries.get(self.section, {})
        if node.text not in known:
            hint = (
                suggest(node.text, known) or f"the operator writes it there: {', '.join(known) or 'none yet'}"
            )
            reading.error(node, f"{self.section} of the main file has no entry of this name", hint)
            return UNREAD
        return known[node.text]

    def show(self, value: Any) -> str:
        """Return the name."""
        name: str = value.name
        return name

    def schema(self) -> Schema:
        """Return any text."""
        return {"type": "string"}

    def example(self) -> str:
        """Return nothing: which names there are is the main file's to say."""
        return ""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MovedFile:
    """The path of a file that is named elsewhere now."""

    label: str = "path"

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the node, for whoever says what to write instead."""
        text = Text(self.label, parse_file_text).read(node, reading)
        return UNREAD if text is UNREAD else node

    def show(self, value: Any) -> None:
        """Return null: there is no such value."""

    def schema(self) -> Schema:
        """Return nothing but null: every path is an error."""
        return {"type": "null", "deprecated": True}

    def example(self) -> str:
        """Return the only value that is no error."""
        return "null"


def _whole_numbers(least: int, most: int) -> Schema:
    return {"const": least} if least == most else {"type": "integer", "minimum": least, "maximum": most}
