"""Read positioned YAML values as lists, mappings and sections: what holds values of other kinds.

What kinds are is told in `gateway.settings.reading`.
"""

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from gateway.settings.document import ListNode, MapNode, Node, ScalarNode, read_document
from gateway.settings.kinds import Json
from gateway.settings.problems import LATER, SpellingError, suggest
from gateway.settings.quoting import quote
from gateway.settings.reading import (
    UNREAD,
    Kind,
    Reading,
    Schema,
    any_of,
    found,
    is_null,
    plain_value,
    with_article,
    written_as,
)
from gateway.tokens.jwt import JwtProblem, parse_json_object

_LONGEST_CLAIMS = 4096


@dataclass(frozen=True, slots=True, eq=False)
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
            hint = "begin each item with -, or write [a, b]"
            if is_null(node):
                hint = self.hint if self.least else "write [] for none"
            reading.error(node, f"expected {with_article(self.label)}, found {found(node)}", hint)
            return UNREAD
        if len(node.items) < self.least:
            reading.error(node, "the list is empty", self.hint)
        values: list[Any] = []
        seen: set[Any] = set()
        for item in node.items:
            value = self.item.read(item, reading)
            if value is UNREAD:
                continue
            if self.distinct:
                if value in seen:
                    reading.error(item, f"{quote(written_as(item))} is in the list twice")
                    continue
                seen.add(value)
            values.append(value)
        return self.into(values)

    def schema(self) -> Schema:
        """Return a list of the items."""
        shape: Schema = {"type": "array", "items": self.item.schema()}
        if self.least:
            shape["minItems"] = self.least
        if self.distinct:
            shape["uniqueItems"] = True
        return shape


@dataclass(frozen=True, slots=True, eq=False)
class MapOf:
    """A mapping from names to values. With `attribute`, the value is a section that learns its name by it."""

    label: str
    parse_key: Callable[[str], str]
    value: Kind
    attribute: str = ""

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the readable members, in order, read-only."""
        if not isinstance(node, MapNode):
            reading.error(
                node, f"expected {with_article(self.label)}, found {found(node)}", "write {} for none"
            )
            return UNREAD
        values: dict[str, Any] = {}
        section = self.value if isinstance(self.value, Section) else None
        for key, member in node.members.values():
            try:
                name = self.parse_key(key.text)
            except SpellingError as reason:
                reading.refuse(key, reason)
                name = ""  # what stands below it is read all the same: all mistakes at once
            if section is None:
                value = self.value.read(member, reading)
            else:
                # A member that is no mapping is noted, but its name is known: no further complaints about it.
                value = section.make(
                    {**section.read_members(member, reading), self.attribute: name}, key, reading
                )
            if value is not UNREAD and name:
                values[name] = value
        return MappingProxyType(values)

    def schema(self) -> Schema:
        """Return a mapping from any names to the values."""
        return {"type": "object", "additionalProperties": self.value.schema()}


@dataclass(frozen=True, slots=True, eq=False)
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

    def schema(self) -> Schema:
        """Return a mapping."""
        return {"type": "object"}


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """One key of the contract: what it holds, what it means, whether it works yet."""

    key: str
    kind: Kind
    doc: str
    default: str | None = None
    """As YAML text; None when there is no default. `null` also means that null may be written."""
    attribute: str = ""
    """The name under which the value is handed on; the key itself when empty."""
    required: bool = False
    available: bool = True
    """False: the key is known, and using it is the error "not available in this version"."""
    nullable: bool = False
    """Null means the same as leaving the key out (always so when the default is null)."""
    needs: str = ""
    """The key that must be given, too, where this one is."""

    @property
    def takes_null(self) -> bool:
        """Whether null may be written."""
        return self.nullable or self.default == "null"

    def schema(self) -> Schema:
        """Return the schema of the value, with what it means and what it is when it is left out."""
        shape = self.kind.schema()
        if self.takes_null and shape.get("type") != "null":
            only_a_type = list(shape) == ["type"]
            shape = {"type": [shape["type"], "null"]} if only_a_type else any_of(shape, {"type": "null"})
        shape = {"description": self.doc, **shape}
        return shape if self.default is None else {**shape, "default": self.default_value}

    @property
    def default_value(self) -> Any:
        """The default as plain Python values; None where there is none, too."""
        if self.default is None:
            return None
        root = read_document(self.default, lambda written: written).root
        assert root is not None
        return plain_value(root)


@dataclass(frozen=True, slots=True)
class SomeOf:
    """Keys of which one at least must be given with another value than its default."""

    keys: tuple[str, ...]
    message: str
    """What is wrong with a section without any."""
    hint: str


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """A mapping with known keys, and what is made of their values."""

    label: str
    fields: tuple[Field, ...]
    make: Callable[[dict[str, Any], Node, Reading], Any]
    foreign: frozenset[str] = frozenset()
    """Keys that would be right in the main file."""
    one_of: tuple[tuple[str, ...], ...] = ()
    """Groups of keys of which one at most may be given with another value than its default."""
    some_of: tuple[SomeOf, ...] = ()
    _by_key: Mapping[str, tuple[Kind, str, bool, bool]] = field(init=False, repr=False)
    _required: tuple[str, ...] = field(init=False, repr=False)
    _needs: tuple[tuple[str, str], ...] = field(init=False, repr=False)
    _idle: Mapping[str, Any] = field(init=False, repr=False)
    """The defaults of the keys in groups."""

    def __post_init__(self) -> None:
        """Index the fields by key."""
        index = {
            item.key: (
                item.kind,
                item.attribute or item.key,
                item.available,
                item.takes_null,
            )
            for item in self.fields
        }
        object.__setattr__(self, "_by_key", index)
        object.__setattr__(self, "_required", tuple(item.key for item in self.fields if item.required))
        needs = tuple((item.key, item.needs) for item in self.fields if item.needs)
        object.__setattr__(self, "_needs", needs)
        grouped = {key for group in (*self.one_of, *(rule.keys for rule in self.some_of)) for key in group}
        idle = {item.key: item.default_value for item in self.fields if item.key in grouped}
        object.__setattr__(self, "_idle", idle)

    def read(self, node: Node, reading: Reading) -> Any:
        """Return what is made of the members; UNREAD when the node is no mapping."""
        values = self.read_members(node, reading)
        return self.make(values, node, reading) if isinstance(node, MapNode) else UNREAD

    def read_members(self, node: Node, reading: Reading) -> dict[str, Any]:
        """Return the values of the keys that are there and readable, by attribute."""
        if not isinstance(node, MapNode):
            reading.error(
                node,
                f"expected {with_article(self.label)} as a mapping, found {found(node)}",
                "write {} for none",
            )
            return {}
        values: dict[str, Any] = {}
        members = node.members
        for name, (key, member) in members.items():
            entry = self._by_key.get(name)
            if entry is None:
                self._refuse_key(key, reading)
                continue
            kind, attribute, available, nullable = entry
            if not available:
                reading.error(key, f"the key {LATER}")
            elif not (nullable and is_null(member)):
                value = kind.read(member, reading)
                if value is not UNREAD:
                    values[attribute] = value
        for name in self._required:
            if name not in members:
                reading.error(node, "the key is required", below=name)
        self._compare_keys(node, reading)
        return values

    def schema(self) -> Schema:
        """Return a mapping with the keys that work, and no others."""
        known = [item for item in self.fields if item.available]
        shape: Schema = {"type": "object", "properties": {item.key: item.schema() for item in known}}
        if self._required:
            shape["required"] = list(self._required)
        rules: list[Schema] = [{"if": _has(name), "then": _has(needed)} for name, needed in self._needs]
        for group in self.one_of:
            pairs = itertools.combinations([item for item in known if item.key in group], 2)
            rules += [{"not": {"allOf": [_changes(one), _changes(other)]}} for one, other in pairs]
        for rule in self.some_of:
            rules.append(any_of(*(_changes(item) for item in known if item.key in rule.keys)))
        if rules:
            shape["allOf"] = rules
        return {**shape, "additionalProperties": False}

    def _compare_keys(self, node: MapNode, reading: Reading) -> None:
        """Note keys that do not go together, and those that do not go without each other."""
        members = node.members
        for name, needed in self._needs:
            if _is_given(name, node) and not _is_given(needed, node):
                reading.error(node, "the key is required", f"{name} has no use without it", below=needed)
        for group in self.one_of:
            if sum(name in members for name in group) > 1:
                given = [name for name in group if self._is_changed(name, node)]
                for name in given[1:]:
                    words = f"write one of {', '.join(group[:-1])} and {group[-1]}"
                    reading.error(members[name][0], f"{given[0]} is given too", words)
        for rule in self.some_of:
            if not any(self._is_changed(name, node) for name in rule.keys):
                reading.error(node, rule.message, rule.hint)

    def _is_changed(self, key: str, node: MapNode) -> bool:
        """Return whether a key of a group is there with another value than its default, and than null."""
        return _is_given(key, node) and plain_value(node.members[key][1]) != self._idle[key]

    def _refuse_key(self, key: ScalarNode, reading: Reading) -> None:
        if key.text in self.foreign:
            reading.error(
                key,
                "the key belongs into the main file",
                "a policy file holds clients, authorizations, routes and tests",
            )
        else:
            hint = suggest(key.text, self._by_key) or "known here: " + ", ".join(self._by_key)
            reading.error(key, "the key is unknown", hint)


def _is_given(key: str, node: MapNode) -> bool:
    """Return whether a key is there with another value than null."""
    return key in node.members and not is_null(node.members[key][1])


def _has(key: str) -> Schema:
    """Return the schema of mappings in which a key is given."""
    return {"required": [key], "properties": {key: {"not": {"type": "null"}}}}


def _changes(item: Field) -> Schema:
    """Return the schema of mappings in which a key has another value than its default, and than null."""
    idle = [None] if item.default_value is None else [None, item.default_value]
    return {"required": [item.key], "properties": {item.key: {"not": {"enum": idle}}}}
