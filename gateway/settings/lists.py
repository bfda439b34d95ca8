"""Read, show and describe lists and mappings of values of one kind.

What kinds are is told in `gateway.settings.reading`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from gateway.settings.document import ListNode, MapNode, Node, ScalarNode
from gateway.settings.examples import as_list, as_mapping
from gateway.settings.kinds import Json
from gateway.settings.problems import SpellingError
from gateway.settings.quoting import quote
from gateway.settings.reading import UNREAD, Kind, Reading, Schema, is_null, with_article, written_as
from gateway.settings.sections import Section
from gateway.tokens.jwt import JwtProblem, parse_json_object

_LONGEST_CLAIMS = 4096


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ListOf:
    """A list; each value may stand in it once."""

    label: str
    item: Kind
    least: int = 0
    into: Callable[[list[Any]], Any] = tuple
    hint: str = ""
    """What to do instead of an empty list."""
    distinct: bool = True

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the readable items, in order."""
        if not isinstance(node, ListNode):
            hint = "begin each item with -, or write them in brackets"
            if is_null(node):
                hint = self.hint if self.least else "write [] for none"
            reading.mismatch(node, self.label, hint)
            return UNREAD
        if len(node.items) < self.least:
            reading.error(node, "the list is empty", self.hint, wants_example=True)
        values: list[Any] = []
        seen: set[Any] = set()
        for item in node.items:
            value = self.item.read(item, reading)
            if value is UNREAD:
                continue
            if self.distinct:
                if value in seen:
                    reading.error(item, f"{quote(written_as(item))} is in the list twice", "keep one")
                    continue
                seen.add(value)
            values.append(value)
        return self.into(values)

    def show(self, value: Any) -> list[Any]:
        """Return the items; those of a set in alphabetical order."""
        shown = [self.item.show(item) for item in value]
        return sorted(shown) if isinstance(value, frozenset) else shown

    def schema(self) -> Schema:
        """Return a list of the items."""
        shape: Schema = {"type": "array", "items": self.item.schema()}
        if self.least:
            shape["minItems"] = self.least
        if self.distinct:
            shape["uniqueItems"] = True
        return shape

    def example(self) -> str:
        """Return a list of one item."""
        item = self.item.example()
        return as_list(item) if item else ""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MapOf:
    """A mapping from names to values. With `attribute`, settings learn by it which name they have."""

    label: str
    parse_key: Callable[[str], str]
    value: Kind
    attribute: str = ""
    alike: Callable[[str], object] | None = None
    """What is equal of two names that are one to whoever reads them; None where only equal names are."""
    most: int | None = None
    """How many members there may be."""
    such_as: str = ""
    """A name, for an example."""

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the readable members, in order, read-only."""
        if not isinstance(node, MapNode):
            reading.mismatch(node, self.label, "write {} for none" if is_null(node) else "")
            return UNREAD
        if self.most is not None and len(node.members) > self.most:
            reading.error(node, "there are too many of them", f"at most {self.most}")
        values: dict[str, Any] = {}
        seen: dict[object, str] = {}
        section = self.value if isinstance(self.value, Section) else None
        for key, member in node.members.values():
            try:
                name = self.parse_key(key.text)
            except SpellingError as reason:
                reading.refuse(key, reason)
                reading.nameless.append(self)
                name = ""  # what stands below it is read all the same: all mistakes at once
            if self.alike is not None and name:
                former = seen.setdefault(self.alike(name), name)
                if former != name:
                    reading.error(key, f"the name is the same as {quote(former)} for its reader", "write one")
            if section is None:
                value = self.value.read(member, reading)
                if self.attribute and value is not UNREAD:
                    value = replace(value, **{self.attribute: name})
            else:
                # A member that is no mapping is noted, but its name is known: no further complaints about it.
                values_of_it = self._read_section(section, key, member, reading)
                reading.pass_doubts(member, key)
                value = section.make({**values_of_it, self.attribute: name}, key, reading)
            if value is not UNREAD and name:
                values[name] = value
        return MappingProxyType(values)

    def show(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Return the members."""
        return {name: self.value.show(member) for name, member in value.items()}

    def schema(self) -> Schema:
        """Return a mapping from any names to the values."""
        shape: Schema = {"type": "object", "additionalProperties": self.value.schema()}
        return shape if self.most is None else {**shape, "maxProperties": self.most}

    def example(self) -> str:
        """Return a mapping of one name."""
        value = self.value.example()
        return as_mapping({self.such_as: value}) if self.such_as and value else ""

    def _read_section(
        self, section: Section, key: ScalarNode, member: Node, reading: Reading
    ) -> dict[str, Any]:
        """Return the values of an entry; a key of it that stands where its name belongs is noted as such."""
        if isinstance(member, MapNode) or key.text not in section.keys:
            may_be_empty = is_null(member) and not section.required_keys
            return section.read_members(member, reading, may_be_empty=may_be_empty)
        hint = f"{key.text} is a key of {with_article(section.label)}"
        reading.error(key, "the name above it is missing", hint, wants_example=True)
        reading.nameless.append(self)
        return {}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Claims:
    """Claims of a token, by name."""

    parse_key: Callable[[str], str]
    label: str = "mapping of claims"

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the claims; together they must fit into a token that fits into a header."""
        claims = MapOf(self.label, self.parse_key, Json()).read(node, reading)
        if claims is not UNREAD:
            written = json.dumps(dict(claims)).encode()
            if len(written) > _LONGEST_CLAIMS:
                reading.error(
                    node, "the claims are too long for a token", f"at most {_LONGEST_CLAIMS} bytes as JSON"
                )
            elif isinstance(parse_json_object(written), JwtProblem):
                reading.error(node, "the claims nest too deep for a token", "fewer lists and mappings")
        return claims

    def show(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Return the claims."""
        return dict(value)

    def schema(self) -> Schema:
        """Return a mapping."""
        return {"type": "object"}

    def example(self) -> str:
        """Return one claim."""
        return "{tenant: acme}"
