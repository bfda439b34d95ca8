"""Read positioned YAML values as kinds of settings: text, numbers, lists, sections.

A kind turns one node into one value, or notes what is wrong and gives `UNREAD`;
it never raises on what a file holds, so that one run finds every mistake. It also
says what it reads as JSON Schema: the shape alone, not how a text is spelled or what a
name leads to. What keys there are is `gateway.settings.fields`; how names relate to each
other is `gateway.settings.checks`; a whole schema is put together by
`gateway.settings.schema`. No I/O: secrets in files come through `Reading`.

Sources: JSON Schema draft 2020-12 (core 8.2, validation 6).
"""

import itertools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol

from gateway.settings.document import ListNode, MapNode, Node, ScalarNode, read_document
from gateway.settings.environment import Environment, Unexpanded
from gateway.settings.model import Origin, PlainSecret, Secret, StaticKeySource
from gateway.settings.problems import LATER, Severity, SpellingError, suggest
from gateway.settings.quantities import Measure
from gateway.settings.quoting import quote, quote_address
from gateway.settings.scalars import Value, describe, resolve_plain
from gateway.settings.secret_texts import (
    SHORTEST_SECRET,
    UNUSABLE_SECRET,
    parse_hashed_secret,
    without_line_break,
)
from gateway.settings.texts import VARIABLE, parse_file_text
from gateway.tokens.jwt import JwtProblem, parse_json_object
from gateway.tokens.key_sets import KeySetError

UNREAD: Final = object()
"""What a kind gives when the node was not usable; the reason is noted already."""

Schema = dict[str, Any]
"""A JSON Schema as an object of JSON."""

FROM_ENVIRONMENT: Final[Mapping[str, Any]] = MappingProxyType({"$ref": "#/$defs/environment"})
"""The schema of a text that is expanded before it is read: what comes out may be of any type."""

_LONGEST_CLAIMS = 4096


@dataclass(frozen=True, slots=True)
class Note:
    """One finding at one node; its dotted path is looked up only when it is shown."""

    node: Node
    below: str
    message: str
    hint: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class MovedToken:
    """A token file that an identity names itself, as former versions allowed."""

    node: ScalarNode
    """The path, where it is written."""
    path: Path
    origin: str
    """Where its keys are fetched, or nothing when that cannot be told."""


@dataclass(slots=True)
class Reading:
    """What the kinds need to know of the file they read, and the notes they leave."""

    file: str
    directory: Path
    """Relative paths of this file begin here."""
    environment: Environment
    read_secret: Callable[[Path], bytes]
    """Return a secret file's content without its last line break; raises SpellingError."""
    read_keys: Callable[[Path], bytes]
    """Return the content of a file with public keys; raises SpellingError."""
    check_public_place: Callable[[Path], None]
    """Raise SpellingError unless this file may name a file that is read later and holds no secret."""
    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What the main file defines for all files to name, by its key and name."""
    notes: list[Note] = field(default_factory=list)
    moved: list["MovedToken"] = field(default_factory=list)

    def error(self, at: Node, message: str, hint: str = "", *, below: str = "") -> None:
        """Note a mistake at a node, or at its missing member `below`."""
        self.notes.append(Note(at, below, message, hint, Severity.ERROR))

    def warn(self, at: Node, message: str, hint: str = "") -> None:
        """Note a doubt at a node, which does not keep the configuration from loading."""
        self.notes.append(Note(at, "", message, hint, Severity.WARNING))

    def refuse(self, at: ScalarNode, reason: SpellingError, *, is_address: bool = False) -> None:
        """Note that a scalar, quoted as written but without what may be secret, is not what it should be."""
        quoted = quote_address(at.written) if is_address else quote(at.written)
        self.error(at, f"{quoted} {reason.message}", reason.hint)

    def origin(self, at: Node) -> Origin:
        """Return where a node was written."""
        return Origin(self.file, at.line, at.column)


class Kind(Protocol):
    """One kind of value."""

    @property
    def label(self) -> str:
        """The kind in a reader's words: `duration`, `list of scopes`."""

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the value of a node, or UNREAD."""

    def schema(self) -> Schema:
        """Return the JSON Schema of what is read. Whatever is read without an error is valid by it."""


def any_of(*shapes: Mapping[str, Any]) -> Schema:
    """Return the schema of what is valid by one of several; those of alternatives are alternatives too."""
    flat: list[Schema] = []
    for shape in shapes:
        flat += shape["anyOf"] if list(shape) == ["anyOf"] else [dict(shape)]
    return {"anyOf": flat}


def is_null(node: Node) -> bool:
    """Return whether a node is written as nothing."""
    return type(node) is ScalarNode and node.plain and resolve_plain(node.text) is None


def found(node: Node) -> str:
    """Return what a node is in a reader's words."""
    if isinstance(node, MapNode):
        return "a mapping"
    if isinstance(node, ListNode):
        return "a list"
    return describe(resolve_plain(node.text) if node.plain else node.text)


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """Text with a shape. `place` turns what was parsed into a value that depends on the file's directory."""

    label: str
    parse: Callable[[str], Any]
    place: Callable[[Path, Any], Any] | None = None
    is_address: bool = False
    """It may be a URL, with a password in it; of a mistaken one hardly anything is repeated."""
    words: tuple[str, ...] = ()
    """The only texts there are; none when there is no end of them."""

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the parsed text; a number or a truth value is no text."""
        if not isinstance(node, ScalarNode):
            reading.error(node, f"expected {_with_article(self.label)}, found {found(node)}")
            return UNREAD
        if node.plain and not isinstance(value := resolve_plain(node.text), str):
            hint = "" if value is None else "put it in quotes to make it text"
            reading.error(node, f"expected {_with_article(self.label)}, found {describe(value)}", hint)
            return UNREAD
        try:
            parsed = self.parse(node.text)
        except SpellingError as reason:
            reading.refuse(node, reason, is_address=self.is_address)
            return UNREAD
        return parsed if self.place is None else self.place(reading.directory, parsed)

    def schema(self) -> Schema:
        """Return any text, or one of the words."""
        return any_of({"enum": list(self.words)}, FROM_ENVIRONMENT) if self.words else {"type": "string"}


@dataclass(frozen=True, slots=True, eq=False)
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
        reading.error(
            node, f"expected true or false, found {found(node)}", "write true or false, without quotes"
        )
        return UNREAD

    def schema(self) -> Schema:
        """Return a truth value."""
        return any_of({"type": "boolean"}, FROM_ENVIRONMENT)


@dataclass(frozen=True, slots=True, eq=False)
class Whole:
    """A whole number within bounds, both included."""

    least: int
    most: int
    label: str = "whole number"

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the number."""
        value = resolve_plain(node.text) if isinstance(node, ScalarNode) and node.plain else None
        if isinstance(value, bool) or not isinstance(value, int):
            reading.error(node, f"expected a whole number, found {found(node)}")
            return UNREAD
        if not self.least <= value <= self.most:
            reading.error(node, "the number is out of bounds", f"from {self.least} to {self.most}")
            return UNREAD
        return value

    def schema(self) -> Schema:
        """Return a whole number with its bounds."""
        return any_of(_whole_numbers(self.least, self.most), FROM_ENVIRONMENT)


@dataclass(frozen=True, slots=True, eq=False)
class Ratio:
    """A share of a whole: above 0, up to 1."""

    label: str = "ratio"

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the share."""
        value = resolve_plain(node.text) if isinstance(node, ScalarNode) and node.plain else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
            reading.error(node, f"expected a ratio, found {found(node)}", "a number above 0, up to 1: 0.5")
            return UNREAD
        return float(value)

    def schema(self) -> Schema:
        """Return a number with its bounds."""
        return any_of({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, FROM_ENVIRONMENT)


@dataclass(frozen=True, slots=True, eq=False)
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
            reading.error(node, f"expected {_with_article(self.label)}, found {found(node)}")
            return UNREAD
        try:
            value = self.measure.parse(node.text)
            if not self.least <= value <= self.most or (self.whole and value != int(value)):
                raise SpellingError("is out of bounds", self.bounds)
        except SpellingError as reason:
            reading.refuse(node, reason)
            return UNREAD
        return value

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


@dataclass(frozen=True, slots=True, eq=False)
class Buckets:
    """Ascending bounds of a histogram, in seconds."""

    label: str = "list of seconds"

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the bounds."""
        if not isinstance(node, ListNode):
            reading.error(node, f"expected a list of seconds, found {found(node)}")
            return UNREAD
        bounds: list[float] = []
        for item in node.items:
            value = resolve_plain(item.text) if isinstance(item, ScalarNode) and item.plain else None
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
                reading.error(
                    item, f"expected seconds above 0, found {found(item)}", "plain numbers: 0.005, 0.1, 2.5"
                )
                return UNREAD
            bounds.append(float(value))
        if not 1 <= len(bounds) <= 50 or any(a >= b for a, b in itertools.pairwise(bounds)):
            reading.error(node, "the bounds are not 1 to 50 ascending numbers")
            return UNREAD
        return tuple(bounds)

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
            reading.error(node, f"expected {_with_article(self.label)}, found {found(node)}", hint)
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
                    reading.error(item, f"{quote(_written(item))} is in the list twice")
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
                node, f"expected {_with_article(self.label)}, found {found(node)}", "write {} for none"
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

    def schema(self) -> Schema:
        """Return anything."""
        return {}


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
class OneOrMore:
    """One scalar, or a list of scalars of which one must be equal."""

    label: str = "value or list of values"

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the values as a tuple."""
        items = node.items if isinstance(node, ListNode) else [node]
        if not items:
            reading.error(node, "the list is empty, so nothing would ever match", "name at least one value")
            return UNREAD
        values: list[Value] = []
        for item in items:
            if not isinstance(item, ScalarNode):
                reading.error(item, f"expected text, a number, true or false, found {found(item)}")
                return UNREAD
            value = read_scalar(item, reading)
            if value is UNREAD:
                return UNREAD
            values.append(value)
        return tuple(values)

    def schema(self) -> Schema:
        """Return a scalar, or a list that is not empty."""
        scalar = {"type": ["string", "number", "boolean", "null"]}
        return any_of(scalar, {"type": "array", "items": scalar, "minItems": 1})


@dataclass(frozen=True, slots=True, eq=False)
class SecretText:
    """One client secret in any of its stored forms. What was written is never repeated in a message."""

    label: str = "stored secret"

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the secret; `env:` and `file:` are resolved now."""
        if not isinstance(node, ScalarNode) or (node.plain and not isinstance(resolve_plain(node.text), str)):
            reading.error(node, f"expected a stored secret, found {found(node)}", _KNOWN_FORMS)
            return UNREAD
        try:
            secret = _read_secret(node, reading)
        except SpellingError as reason:
            reading.error(node, f"the secret {reason.message}", reason.hint)
            return PlainSecret(b"", "unreadable")  # so that nobody complains that there is no secret
        if isinstance(secret, PlainSecret):
            _note_weakness(secret, node, reading)
        elif node.text == UNUSABLE_SECRET:
            reading.warn(node, "nobody can use this secret", "`sidegate secret generate` prints a real one")
        return secret

    def schema(self) -> Schema:
        """Return a text with one of the schemes."""
        stored = {
            "type": "string",
            "pattern": "^(?:sha256|scrypt|env|file|plain):",
            "description": _KNOWN_FORMS,
        }
        return any_of(stored, FROM_ENVIRONMENT)


def _note_weakness(secret: PlainSecret, node: Node, reading: Reading) -> None:
    """Note that a secret can be read, guessed, or hardly be sent as it is stored."""
    too_short = len(secret.value.decode(errors="replace")) < SHORTEST_SECRET
    if secret.source == "plain":
        also = f", and has fewer than {SHORTEST_SECRET} characters" if too_short else ""
        reading.warn(
            node, f"the secret is readable in this file{also}", "use sha256:, scrypt:, env: or file:"
        )
        return
    if too_short:
        reading.warn(
            node,
            f"the secret has fewer than {SHORTEST_SECRET} characters: it can be guessed",
            "`sidegate secret generate` prints a strong one",
        )
    if secret.value != secret.value.strip():
        reading.warn(
            node,
            "the secret begins or ends with white space",
            "one line break at the end is dropped, all else is part of the secret; store it without",
        )


_KNOWN_FORMS = "sha256:SALT:HEX, scrypt:N:R:P:SALT:HASH, env:NAME, file:PATH or plain:TEXT"


def _read_secret(node: ScalarNode, reading: Reading) -> Secret:
    text = node.text
    scheme, _, rest = text.partition(":")
    match scheme:
        case "sha256" | "scrypt":
            return parse_hashed_secret(text)
        case "plain":
            value = rest.encode()
        case "env":
            if text != node.written or not VARIABLE.match(rest):
                # It may be a secret, written where its name belongs; it is not repeated.
                raise SpellingError("names no environment variable", "env:NAME")
            variable = reading.environment.find(rest)
            if isinstance(variable, Unexpanded):
                raise SpellingError(f"cannot be read: {variable.message}", variable.hint)
            if variable is None:
                raise SpellingError(f"cannot be read: the environment variable {rest} is not set")
            value = without_line_break(variable.encode())
        case "file":
            if not rest or not rest.isprintable():
                raise SpellingError("names no file", "file:PATH")
            value = reading.read_secret(reading.directory / rest)
        case _:
            raise SpellingError("has none of the known forms", _KNOWN_FORMS)
    if not value:
        raise SpellingError("is empty")
    return PlainSecret(value, scheme)


@dataclass(frozen=True, slots=True, eq=False)
class InlineKeys:
    """A JWK Set written as YAML; one without keys is None."""

    label: str = "key set"

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the keys, which are tried now."""
        document = Json().read(node, reading)
        if document is UNREAD or document == {"keys": []}:
            return UNREAD if document is UNREAD else None
        return _read_keys(json.dumps(document).encode(), node, reading)

    def schema(self) -> Schema:
        """Return a JWK Set, or a single JWK."""
        return {
            "type": "object",
            "anyOf": [{"required": ["keys"]}, {"required": ["kty"]}],
            "properties": {"keys": {"type": "array"}},
        }


@dataclass(frozen=True, slots=True, eq=False)
class KeyFile:
    """The path of a file with a JWK Set."""

    label: str = "path"

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the keys in the file, which are tried now."""
        path = Text(self.label, parse_file_text).read(node, reading)
        if path is UNREAD:
            return UNREAD
        try:
            content = reading.read_keys(reading.directory / path)
        except SpellingError as reason:
            assert isinstance(node, ScalarNode)
            reading.refuse(node, SpellingError(f"cannot be used: {reason.message}", reason.hint))
            return UNREAD
        return _read_keys(content, node, reading)

    def schema(self) -> Schema:
        """Return any text."""
        return {"type": "string"}


def _read_keys(document: bytes, node: Node, reading: Reading) -> Any:
    # Few configurations hold keys; the others do without the library of cryptography that reads them.
    from gateway.tokens.foreign_keys import read_key_set

    try:
        keys = read_key_set(document)
    except KeySetError as reason:
        reading.error(node, f"the key set {reason}", "a JWK Set of public keys: {keys: [{kty: EC, …}]}")
        return UNREAD
    for unused in (*keys.left_out, *keys.passed_over):
        reading.warn(node, f"a key is not used: {unused}")
    return StaticKeySource(document, keys)


@dataclass(frozen=True, slots=True, eq=False)
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
            reading.refuse(node, reason)
            return UNREAD
        return path

    def schema(self) -> Schema:
        """Return any text."""
        return {"type": "string"}


@dataclass(frozen=True, slots=True, eq=False)
class EntryName:
    """The name of something that the main file defines under `section`."""

    section: str
    label: str = "name"

    def read(self, node: Node, reading: Reading) -> Any:
        """Return what has that name. What was written is not repeated: it may be what the name stands for."""
        if not isinstance(node, ScalarNode) or (node.plain and not isinstance(resolve_plain(node.text), str)):
            reading.error(node, f"expected a name, found {found(node)}", f"a name of {self.section}")
            return UNREAD
        known = reading.entries.get(self.section, {})
        if node.text not in known:
            hint = (
                suggest(node.text, known) or f"the operator writes it there: {', '.join(known) or 'none yet'}"
            )
            reading.error(node, f"{self.section} of the main file has no entry of this name", hint)
            return UNREAD
        return known[node.text]

    def schema(self) -> Schema:
        """Return any text."""
        return {"type": "string"}


@dataclass(frozen=True, slots=True, eq=False)
class MovedFile:
    """The path of a file that is named elsewhere now."""

    label: str = "path"

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the node, for whoever says what to write instead."""
        text = Text(self.label, parse_file_text).read(node, reading)
        return UNREAD if text is UNREAD else node

    def schema(self) -> Schema:
        """Return nothing but null: every path is an error."""
        return {"type": "null", "deprecated": True}


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
    _by_key: Mapping[str, tuple[Kind, str, bool, bool]] = field(init=False, repr=False)
    _required: tuple[str, ...] = field(init=False, repr=False)
    _needs: tuple[tuple[str, str], ...] = field(init=False, repr=False)

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

    def read(self, node: Node, reading: Reading) -> Any:
        """Return what is made of the members; UNREAD when the node is no mapping."""
        values = self.read_members(node, reading)
        return self.make(values, node, reading) if isinstance(node, MapNode) else UNREAD

    def read_members(self, node: Node, reading: Reading) -> dict[str, Any]:
        """Return the values of the keys that are there and readable, by attribute."""
        if not isinstance(node, MapNode):
            reading.error(
                node,
                f"expected {_with_article(self.label)} as a mapping, found {found(node)}",
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
        for name, needed in self._needs:
            if _is_given(name, node) and not _is_given(needed, node):
                reading.error(node, "the key is required", f"{name} has no use without it", below=needed)
        for group in self.one_of:
            if sum(name in members for name in group) > 1:
                self._refuse_all_but_one(group, node, reading)
        return values

    def schema(self) -> Schema:
        """Return a mapping with the keys that work, and no others."""
        known = [item for item in self.fields if item.available]
        shape: Schema = {"type": "object", "properties": {item.key: item.schema() for item in known}}
        if self._required:
            shape["required"] = list(self._required)
        rules = [{"if": _has(name), "then": _has(needed)} for name, needed in self._needs]
        for group in self.one_of:
            pairs = itertools.combinations([item for item in known if item.key in group], 2)
            rules += [{"not": {"allOf": [_changes(one), _changes(other)]}} for one, other in pairs]
        if rules:
            shape["allOf"] = rules
        return {**shape, "additionalProperties": False}

    def _refuse_all_but_one(self, group: tuple[str, ...], node: MapNode, reading: Reading) -> None:
        """Note each but the first key of a group that is given with another value than its default."""
        defaults = {item.key: item.default_value for item in self.fields if item.key in group}
        given = [
            name
            for name in group
            if _is_given(name, node) and plain_value(node.members[name][1]) != defaults[name]
        ]
        for name in given[1:]:
            words = f"write one of {', '.join(group[:-1])} and {group[-1]}"
            reading.error(node.members[name][0], f"{given[0]} is given too", words)

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


def read_scalar(node: ScalarNode, reading: Reading) -> Any:
    """Return the value of a scalar by the core schema; UNREAD for a number that JSON does not know."""
    value = resolve_plain(node.text) if node.plain else node.text
    if isinstance(value, float) and not math.isfinite(value):
        reading.error(node, "the number is not finite")
        return UNREAD
    return value


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


def _whole_numbers(least: int, most: int) -> Schema:
    return {"const": least} if least == most else {"type": "integer", "minimum": least, "maximum": most}


def plain_value(node: Node) -> Any:
    """Return a node as plain Python values, by the core schema."""
    if isinstance(node, ListNode):
        return [plain_value(item) for item in node.items]
    if isinstance(node, MapNode):
        return {key: plain_value(member) for key, (_, member) in node.members.items()}
    return resolve_plain(node.text) if node.plain else node.text


def _with_article(label: str) -> str:
    if " | " in label or label in ("text", "any value", "true or false"):
        return label
    return f"{'an' if label[0] in 'aeiou' else 'a'} {label}"


def _written(node: Node) -> str:
    return node.written if isinstance(node, ScalarNode) else found(node)
