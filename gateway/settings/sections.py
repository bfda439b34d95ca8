"""Read, show and describe sections: mappings with known keys, of which settings are made.

What kinds are is told in `gateway.settings.reading`.
"""

import itertools
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any

from gateway.settings.document import MapNode, Node, ScalarNode, read_document
from gateway.settings.examples import as_mapping
from gateway.settings.problems import LATER
from gateway.settings.reading import (
    UNREAD,
    UNSAID,
    Kind,
    Reading,
    Schema,
    any_of,
    is_null,
    plain_value,
)
from gateway.settings.yaml_text import spell_line

_NOTHING = ("null", '""', "''", "[]", "{}", "{keys: []}", "false", "0")
"""Defaults that are no examples."""


_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Field:
    """One key of the contract: what it holds, what it means, whether it works yet."""

    key: str
    kind: Kind
    doc: str
    default_text: str | None = None
    """What is the same as leaving the key out, as YAML, where the settings themselves do not hold it."""
    attribute: str = ""
    """The attribute of settings that holds the value; the key itself when empty."""
    required: bool = False
    available: bool = True
    """False: the key is known, and using it is the error "not available in this version"."""
    nullable: bool = False
    """Null means the same as leaving the key out (always so when the default is null)."""
    needs: str = ""
    """The key that must be given, too, where this one is."""
    such_as: str = ""
    """An example as YAML on one line, where default and kind have none that tells enough."""
    aliases: str = ""
    """What other products, or people, call it, with spaces between: whoever writes that is told this key."""
    blank: Any = field(default=UNSAID, init=False)
    """The value that settings have when the key is left out. Its section tells it."""

    @property
    def name(self) -> str:
        """The attribute that the value has in settings."""
        return self.attribute or self.key

    @property
    def takes_null(self) -> bool:
        """Whether null may be written."""
        if self.nullable or self.default_text is not None:
            return self.nullable or self.default_text == "null"
        return self.blank is None and not self.required

    def schema(self) -> Schema:
        """Return the schema of the value, with what it means and what it is when it is left out."""
        shape = self.kind.schema()
        if self.takes_null and shape.get("type") != "null":
            only_a_type = list(shape) == ["type"]
            shape = {"type": [shape["type"], "null"]} if only_a_type else any_of(shape, {"type": "null"})
        shape = {"description": self.doc, **shape}
        if self._has_default:
            shape["default"] = self.default_value
        return {**shape, "examples": [self.example_value]} if self.example() else shape

    def example(self) -> str:
        """Return a value that is read here, as YAML on one line: its own, its default, or its kind's."""
        default = self.default
        tells = default is not None and default not in _NOTHING
        return self.such_as or (str(default) if tells else self.kind.example())

    def with_example(self) -> str:
        """Return the key with a value, as it may be written."""
        return f"{self.key}: {self.example()}"

    @property
    def example_value(self) -> Any:
        """The example as plain Python values."""
        return _value_of(self.example())

    @property
    def default(self) -> str | None:
        """What is the same as leaving the key out, as YAML on one line; None where nothing is.

        Sections have none: each of their keys has its own.
        """
        if self.default_text is not None or not self._has_default:
            return self.default_text
        return spell_line(self.default_value)

    @property
    def default_value(self) -> Any:
        """The default as plain Python values; None where there is none, too."""
        if self.default_text is not None:
            return _value_of(self.default_text)
        if not self._has_default or self.blank is None:
            return None
        if isinstance(section := getattr(self.kind, "item", None), Section):
            return [section.show_changes(item) for item in self.blank]
        return self.kind.show(self.blank)

    @property
    def _has_default(self) -> bool:
        if self.default_text is not None:
            return True
        is_section = isinstance(self.kind, Section) and self.blank is not None
        return not self.required and self.blank is not UNSAID and not is_section


@dataclass(frozen=True, slots=True)
class SomeOf:
    """Keys of which one at least must be given with another value than its default."""

    keys: tuple[str, ...]
    message: str
    """What is wrong with a section without any."""
    hint: str


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Section:
    """A mapping with known keys: settings as they are written."""

    label: str
    fields: tuple[Field, ...]
    blank: Any
    """The settings where nothing is written: every default. For required keys it holds what stands in
    for them when they could not be read, so that the other checks can go on."""
    join: Callable[[dict[str, Any], Node, Reading], None] | None = None
    """Turn the values of keys into attributes of settings, in place, where these are not the same."""
    part: Callable[[Any], dict[str, Any]] | None = None
    """The inverse of `join`: the values of those keys, `UNSAID` for one that is not written."""
    is_merged: bool = False
    """Its values are attributes of the settings around it."""
    is_sparse: bool = False
    """Only what differs from its default is shown."""
    foreign: frozenset[str] = frozenset()
    """Keys that would be right in the main file."""
    one_of: tuple[tuple[str, ...], ...] = ()
    """Groups of keys of which one at most may be given with another value than its default."""
    some_of: tuple[SomeOf, ...] = ()
    _by_key: Mapping[str, tuple[Kind, str, bool, bool]] = field(init=False)
    _required: tuple[str, ...] = field(init=False)
    _stand_ins: tuple[tuple[str, Any], ...] = field(init=False)
    """What settings cannot be made without, by attribute."""
    _make: Callable[..., Any] = field(init=False)
    _has_origin: bool = field(init=False)
    _needs: tuple[tuple[str, str], ...] = field(init=False)
    _idle: Mapping[str, Any] = field(init=False)
    """The defaults of the keys in groups."""

    def __post_init__(self) -> None:
        """Index the fields by key, and tell each what settings hold when it is left out.

        Raises AttributeError for a key that cannot be shown.
        """

        def put(**members: Any) -> None:
            for name, member in members.items():
                object.__setattr__(self, name, member)

        blank = self.values_of(self.blank)
        for item in self.fields:
            if item.available:
                # A row that stands in several sections means the same in each.
                assert item.blank is UNSAID or item.blank == blank[item.key]
                object.__setattr__(item, "blank", blank[item.key])
        fields = self.fields
        attributes = {} if self.is_merged else type(self.blank).__dataclass_fields__
        grouped = {key for group in (*self.one_of, *(rule.keys for rule in self.some_of)) for key in group}
        put(
            _by_key={item.key: (item.kind, item.name, item.available, item.takes_null) for item in fields},
            _required=tuple(item.key for item in fields if item.required),
            _stand_ins=tuple(
                (item.name, item.blank)
                for item in fields
                if item.blank is not UNSAID and (item.required or _is_needed(item.name, attributes))
            ),
            _make=dict if self.is_merged else type(self.blank),
            _has_origin="origin" in attributes,
            _needs=tuple((item.key, item.needs) for item in fields if item.needs),
            _idle={item.key: item.default_value for item in fields if item.key in grouped},
        )

    def read(self, node: Node, reading: Reading) -> Any:
        """Return what is made of the members; UNREAD when the node is no mapping."""
        values = self.read_members(node, reading)
        return self.make(values, node, reading) if isinstance(node, MapNode) else UNREAD

    def make(self, values: dict[str, Any], node: Node, reading: Reading) -> Any:
        """Return the settings that have these values; they come from where the node is written."""
        for attribute, value in self._stand_ins:
            values.setdefault(attribute, value)
        if self.join is not None:
            self.join(values, node, reading)
        if self._has_origin:
            values["origin"] = reading.origin(node)
        return self._make(**values)

    def show(self, value: Any) -> dict[str, Any]:
        """Return the members as they would be written."""
        return self._show(value, changes_only=self.is_sparse)

    def show_changes(self, value: Any) -> dict[str, Any]:
        """Return the members that differ from their defaults."""
        return self._show(value, changes_only=True)

    def values_of(self, settings: Any) -> dict[str, Any]:
        """Return what settings hold of each key that works: the inverse of `make`."""
        parts = {} if self.part is None else self.part(settings)
        return {
            item.key: parts[item.name] if item.name in parts else getattr(settings, item.name)
            for item in self.fields
            if item.available
        }

    def _show(self, settings: Any, *, changes_only: bool) -> dict[str, Any]:
        values = self.values_of(settings)
        shown: dict[str, Any] = {}
        for item in self.fields:
            value = values.get(item.key, UNSAID)
            is_idle = changes_only and not item.required and value in (None, item.blank)
            if value is UNSAID or is_idle:
                continue
            if value is not None:
                shown[item.key] = item.kind.show(value)
            elif item.takes_null:
                shown[item.key] = None
        return shown

    @property
    def keys(self) -> Collection[str]:
        """The keys that are known."""
        return self._by_key.keys()

    @property
    def required_keys(self) -> tuple[str, ...]:
        """The keys without which it is not whole."""
        return self._required

    def read_members(self, node: Node, reading: Reading, *, may_be_empty: bool = False) -> dict[str, Any]:
        """Return the values of the keys that are there and readable, by attribute.

        With `may_be_empty`, who wrote nothing is told how to say so.
        """
        if not isinstance(node, MapNode):
            reading.mismatch(node, f"{self.label} as a mapping", "write {} for none" if may_be_empty else "")
            return {}
        values: dict[str, Any] = {}
        members = node.members
        notes = reading.notes
        began, noted = len(reading.meant), len(notes)
        for name, (key, member) in members.items():
            entry = self._by_key.get(name)
            if entry is None:
                self._refuse_key(key, reading)
                noted = len(notes)
                continue
            kind, attribute, available, nullable = entry
            if not available:
                reading.error(key, f"the key {LATER}", "leave it out")
                noted = len(notes)
            elif not (nullable and is_null(member)):
                value = kind.read(member, reading)
                if value is not UNREAD:
                    values[attribute] = value
                if len(notes) > noted:
                    self._give_example(name, node, reading, noted)
                    noted = len(notes)
        meant = self._meant_since(began, node, reading) if len(reading.meant) > began else _NONE
        for name in self._required:
            if name not in members and name not in meant:
                missing = next(item for item in self.fields if item.key == name)
                reading.error(node, "the key is required", f"e.g. {missing.with_example()}", below=name)
        self._compare_keys(node, reading, meant)
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

    def example(self) -> str:
        """Return a mapping of the keys that are required, or else of the first."""
        shown = [item for item in self.fields if item.required] or self.fields[:1]
        return as_mapping({item.key: item.example() for item in shown})

    def _give_example(self, key: str, node: MapNode, reading: Reading, before: int) -> None:
        """Put the example of a key to what was noted at it, and remember that something is wrong there."""
        reading.doubt(node, key, since=before)
        known = next(item for item in self.fields if item.key == key)
        if known.example():
            reading.add_example(known.with_example(), since=before)

    def _meant_since(self, began: int, node: MapNode, reading: Reading) -> frozenset[str]:
        """Return the keys that unknown ones at or below a node are meant to be: none of them is missing."""
        meant = frozenset(key for section, key in reading.meant[began:] if section is self)
        for name in meant:
            reading.doubt(node, name)
        return meant

    def _compare_keys(self, node: MapNode, reading: Reading, meant: frozenset[str]) -> None:
        """Note keys that do not go together, and those that do not go without each other."""
        members = node.members
        for name, needed in self._needs:
            if _is_given(name, node) and not _is_given(needed, node) and needed not in meant:
                reading.error(node, "the key is required", f"{name} has no use without it", below=needed)
        for group in self.one_of:
            if sum(name in members for name in group) > 1:
                given = [name for name in group if self._is_changed(name, node)]
                for name in given[1:]:
                    words = f"write one of {', '.join(group[:-1])} and {group[-1]}"
                    reading.error(members[name][0], f"{given[0]} is given too", words)
        for rule in self.some_of:
            if not any(self._is_changed(name, node) or name in meant for name in rule.keys):
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
            hint, keys = reading.find_key(self, key.text)
            reading.meant += keys
            reading.error(key, "the key is unknown", hint)


def _value_of(text: str) -> Any:
    """Return what a YAML text of the table holds, as plain Python values."""
    root = read_document(text, lambda written: written).root
    assert root is not None
    return plain_value(root)


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


def _is_needed(attribute: str, attributes: Mapping[str, Any]) -> bool:
    """Return whether settings with these attributes cannot be made without a value of one."""
    if attribute not in attributes:
        return False
    return attributes[attribute].default is MISSING and attributes[attribute].default_factory is MISSING
