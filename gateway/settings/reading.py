"""Hold what kinds of settings share: what they read from, the notes they leave, how a node looks.

A kind turns one node into one value, or notes what is wrong and gives `UNREAD`; it never raises
on what a file holds, so that one run finds every mistake. It also shows the value as it would be
written, without what is secret, and says what it reads as JSON Schema: the shape alone, not how a
text is spelled or what a name leads to. The kinds are in `kinds` (scalars), `credential_kinds`
(secrets and keys), `lists` (lists and mappings) and `sections` (mappings with known keys); what keys
there are is `gateway.settings.fields`; how names relate to each other is `gateway.settings.checks`; a
whole schema is put together by `gateway.settings.schema`. No I/O: secrets in files come through
`Reading`.

Sources: JSON Schema draft 2020-12 (core 8.2, validation 6).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol

from gateway.settings.document import ListNode, MapNode, Node, ScalarNode
from gateway.settings.environment import Environment
from gateway.settings.model import Origin
from gateway.settings.problems import Severity, SpellingError, join_hints
from gateway.settings.quoting import quote, quote_address
from gateway.settings.scalars import describe, resolve_plain

UNREAD: Final = object()
"""What a kind gives when the node was not usable; the reason is noted already."""


UNSAID: Final = object()
"""In place of a value that is written nowhere, and that nothing else stands for."""


Schema = dict[str, Any]
"""A JSON Schema as an object of JSON."""


FROM_ENVIRONMENT: Final[Mapping[str, Any]] = MappingProxyType({"$ref": "#/$defs/environment"})
"""The schema of a text that is expanded before it is read: what comes out may be of any type."""


@dataclass(frozen=True, slots=True)
class Note:
    """One finding at one node; its dotted path is looked up only when it is shown."""

    node: Node
    below: str
    message: str
    hint: str
    severity: Severity
    wants_example: bool = False
    """Whether the key at which it is could be mended by a value like its example."""


@dataclass(frozen=True, slots=True)
class MovedToken:
    """A token file that an identity names itself, as former versions allowed."""

    node: ScalarNode
    """The path, where it is written."""
    path: Path
    origin: str
    """Where its keys are fetched, or nothing when that cannot be told."""


def name_no_key(section: Any, word: str) -> tuple[str, Sequence[tuple[Any, str]]]:
    """Return that nothing is known of other words for keys."""
    return "", ()


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
    find_key: Callable[[Any, str], tuple[str, Sequence[tuple[Any, str]]]] = name_no_key
    """Return a hint at what an unknown key of a section means, and the keys, each with its section, of
    which therefore none is missing."""
    meant: list[tuple[Any, str]] = field(default_factory=list)
    """The keys that unknown ones are meant to be, each with its section."""
    nameless: list[Any] = field(default_factory=list)
    """The kinds of mappings with an entry whose name could not be read."""
    doubts: dict[tuple[int, int], set[str]] = field(default_factory=dict)
    """The keys with mistakes at or below them, by the position of the mapping that holds them."""
    notes: list[Note] = field(default_factory=list)
    moved: list["MovedToken"] = field(default_factory=list)

    def error(
        self, at: Node, message: str, hint: str = "", *, below: str = "", wants_example: bool = False
    ) -> None:
        """Note a mistake at a node, or at its missing member `below`."""
        self.notes.append(Note(at, below, message, hint, Severity.ERROR, wants_example))

    def mismatch(self, at: Node, label: str, hint: str = "", *, wants_example: bool = True) -> None:
        """Note that a node is not of a kind, by the label of that kind."""
        message = f"expected {with_article(label)}, found {found(at)}"
        self.error(at, message, hint, wants_example=wants_example)

    def add_example(self, example: str, *, since: int) -> None:
        """Put an example to the notes from one on that want one and have none yet: the nearest key's wins."""
        for index in range(since, len(self.notes)):
            note = self.notes[index]
            if note.wants_example:
                hint = join_hints(note.hint, f"e.g. {example}")
                self.notes[index] = replace(note, hint=hint, wants_example=False)

    def warn(self, at: Node, message: str, hint: str = "") -> None:
        """Note a doubt at a node, which does not keep the configuration from loading."""
        self.notes.append(Note(at, "", message, hint, Severity.WARNING))

    def doubt(self, at: Node, key: str, *, since: int | None = None) -> None:
        """Remember that a key's value was not read as meant, unless nothing since a note is an error."""
        if since is None or any(note.severity is Severity.ERROR for note in self.notes[since:]):
            self.doubts.setdefault((at.line, at.column), set()).add(key)

    def pass_doubts(self, at: Node, to: Node) -> None:
        """Remember the same of another node, at which what is made of the first is said to be written."""
        doubted = self.doubts.get((at.line, at.column))
        if doubted:
            self.doubts[to.line, to.column] = doubted

    def refuse(
        self,
        at: ScalarNode,
        reason: SpellingError,
        *,
        is_address: bool = False,
        wants_example: bool = True,
    ) -> None:
        """Note that a scalar, quoted as written but without what may be secret, is not what it should be."""
        quoted = quote_address(at.written) if is_address else quote(at.written)
        hint, wants_example = reason.hint, wants_example and not reason.is_remedy
        instead = reason.instead if at.written == at.text and len(self.notes) < MOST_SEARCHES else ""
        if instead and quote(instead) == f'"{instead}"':
            hint, wants_example = f"did you mean {instead}?", False
        self.error(at, f"{quoted} {reason.message}", hint, wants_example=wants_example)

    def origin(self, at: Node) -> Origin:
        """Return where a node was written."""
        return Origin(self.file, at.line, at.column)


MOST_SEARCHES = 200
"""Of a file with more mistakes than anybody reads, the rest is not looked at for what may be meant."""


class Kind(Protocol):
    """One kind of value."""

    @property
    def label(self) -> str:
        """The kind in a reader's words: `duration`, `list of scopes`."""

    def read(self, node: Node, reading: Reading) -> Any:
        """Return the value of a node, or UNREAD."""

    def show(self, value: Any) -> Any:
        """Return what would be read as the value, as plain data, secrets masked: the inverse of `read`."""

    def schema(self) -> Schema:
        """Return the JSON Schema of what is read. Whatever is read without an error is valid by it."""

    def example(self) -> str:
        """Return a value that is read, as YAML on one line; empty where only the key can tell one."""


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


def read_scalar(node: ScalarNode, reading: Reading) -> Any:
    """Return the value of a scalar by the core schema; UNREAD for a number that JSON does not know."""
    value = resolve_plain(node.text) if node.plain else node.text
    if isinstance(value, float) and not math.isfinite(value):
        reading.error(node, "the number is not finite")
        return UNREAD
    return value


def plain_value(node: Node) -> Any:
    """Return a node as plain Python values, by the core schema."""
    if isinstance(node, ListNode):
        return [plain_value(item) for item in node.items]
    if isinstance(node, MapNode):
        return {key: plain_value(member) for key, (_, member) in node.members.items()}
    return resolve_plain(node.text) if node.plain else node.text


def with_article(label: str) -> str:
    """Return the label of a kind as a sentence has it: `a duration`, `an address`."""
    if " | " in label or label.startswith(
        ("text", "any value", "true or false", "limits", "logs", "metrics")
    ):
        return label
    return f"{'an' if label[0] in 'aeiou' else 'a'} {label}"


def written_as(node: Node) -> str:
    """Return what was written, before expansion; of a mapping or list what it is."""
    return node.written if isinstance(node, ScalarNode) else found(node)
