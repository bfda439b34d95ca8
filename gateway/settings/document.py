"""Read one YAML text into values that know where they were written.

The events of libyaml's parser are turned straight into nodes: no intermediate
tree, and the interpreter can switch threads between two events, which matters
beside a live event loop. Held back here, because no meaning is needed for it:
syntax, one document, duplicate and merge keys, tags outside the core schema,
depth, and aliases that would multiply a small file into a huge one.

An alias gives the same node object again; what it would cost to walk is counted,
so a "billion laughs" file is refused before anybody walks it.

Sources: YAML 1.2.2 (3.2.1.3 unique keys, 7.1 aliases, 10.3 core schema).
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from yaml._yaml import CParser
from yaml.error import MarkedYAMLError, YAMLError
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from yaml.reader import ReaderError

from gateway.settings.environment import Unexpanded
from gateway.settings.quoting import quote
from gateway.settings.scalars import resolve_plain
from gateway.settings.syntax import explain

DEEPEST: Final = 32
"""How many mappings and lists may lie in each other."""
MOST_ALIASED: Final = 10_000
"""How many values all aliases of a file together may stand for."""

_WORD = re.compile(r"[\w-]+\Z")
_CORE = "tag:yaml.org,2002:"
_CORE_TYPES: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
}


@dataclass(slots=True, eq=False)
class ScalarNode:
    """One scalar. `text` is expanded, `written` is not; `plain` means typed by the core schema."""

    text: str
    written: str
    plain: bool
    line: int
    column: int


@dataclass(slots=True, eq=False)
class ListNode:
    """One sequence."""

    items: "list[Node]"
    line: int
    column: int


@dataclass(slots=True, eq=False)
class MapNode:
    """One mapping: the text of a key -> the key's own node and its value."""

    members: "dict[str, tuple[ScalarNode, Node]]"
    line: int
    column: int


Node = ScalarNode | ListNode | MapNode
# Not frozen: half a million are made for a large configuration, and a frozen
# dataclass costs three times as much to make. Nobody changes one after parsing.


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with the text itself. `path` is where it was met, dotted."""

    line: int
    column: int
    path: str
    message: str
    hint: str = ""


@dataclass(slots=True)
class Document:
    """What one text held: its root (None when nothing usable) and the faults met on the way.

    `whole` is False when parsing stopped early, so that what is missing may only be unread.
    """

    root: Node | None = None
    faults: list[Fault] = field(default_factory=list)
    whole: bool = True


def read_document(text: str, expand: Callable[[str], str | Unexpanded]) -> Document:
    """Return the one document of a YAML text. Never raises on what the text holds.

    Args:
        text: The whole file, decoded.
        expand: Called for every scalar value (never for keys) that holds `${`.
    """
    return _Builder(expand).build(text)


def step_path(path: str, key: str) -> str:
    """Return the dotted path of a member: `a.b`, or `a["b.c"]` when the key is not a plain word."""
    if _WORD.match(key):
        return f"{path}.{key}" if path else key
    return f"{path}[{quote(key)}]"


def walk(root: Node) -> Iterator[tuple[Node, str]]:
    """Yield every node (keys too, with the path of their value) and its dotted path."""
    waiting: list[tuple[Node, str]] = [(root, "")]
    while waiting:
        node, path = waiting.pop()
        yield node, path
        if isinstance(node, MapNode):
            for key, value in node.members.values():
                below = step_path(path, key.text)
                yield key, below
                waiting.append((value, below))
        elif isinstance(node, ListNode):
            waiting.extend((item, f"{path}[{index}]") for index, item in enumerate(node.items))


class _UnreadableError(Exception):
    """Ends the parsing of a text that is not worth reading on. Its fault is recorded."""


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end was not seen yet."""

    node: MapNode | ListNode
    anchor: str | None
    cost_before: int
    key: ScalarNode | None = None
    doubled: bool = False
    """The key now waiting for its value is there already: read the value, drop it."""


class _Builder:
    """Turns the events of one text into nodes."""

    def __init__(self, expand: Callable[[str], str | Unexpanded]) -> None:
        self._expand = expand
        self._document = Document()
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._cost = 0
        self._aliased = 0
        self._documents = 0

    def build(self, text: str) -> Document:
        """Return the document; see `read_document`."""
        try:
            self._read_events(CParser(text))
        except _UnreadableError:
            self._document.whole = False
        except ReaderError as error:
            before = text[: error.position] if isinstance(error.position, int) else ""
            line = before.count("\n") + 1
            column = len(before) - (before.rfind("\n") + 1) + 1
            self._fault(line, column, "the file holds a character that YAML does not allow", path="")
            self._document.whole = False
        except MarkedYAMLError as error:
            self._syntax_fault(error, text)
            self._document.whole = False
        except YAMLError:
            self._fault(1, 1, "the file is not YAML", path="")
            self._document.whole = False
        return self._document

    def _read_events(self, parser: Any) -> None:
        # Not `while (event := …)`: CPython 3.11 would not make such a loop fast before the second call.
        for event in iter(parser.get_event, None):
            kind = type(event)
            if kind is ScalarEvent:
                self._scalar(event)
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                self._close()
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                self._open(event)
            elif kind is AliasEvent:
                self._alias(event)
            elif kind is DocumentStartEvent:
                self._documents += 1
                if self._documents > 1:
                    self._stop(
                        event, "a second document begins here", "a file holds one document; use another file"
                    )

    # --- one kind of event each

    def _scalar(self, event: Any) -> None:
        mark = event.start_mark
        text = event.value
        plain = event.implicit[0]
        stack = self._stack
        self._cost += 1
        if stack and stack[-1].key is None and type(stack[-1].node) is MapNode:
            key = ScalarNode(text, text, plain, mark.line + 1, mark.column + 1)
            if event.tag is not None:
                key.plain = self._is_plain(event, text)
            self._take_key(key)
        else:
            written = text
            if "${" in text:
                text = self._expanded(event, text)
            if event.tag is not None:
                plain = self._is_plain(event, text)
            node = ScalarNode(text, written, plain, mark.line + 1, mark.column + 1)
            self._place(node)
            if event.anchor is not None:
                self._anchors[event.anchor] = (node, 1)
            return
        if event.anchor is not None:
            self._anchors[event.anchor] = (key, 1)

    def _open(self, event: Any) -> None:
        if len(self._stack) >= DEEPEST:
            self._stop(event, f"more than {DEEPEST} mappings and lists lie in each other")
        mark = event.start_mark
        node: MapNode | ListNode
        if type(event) is MappingStartEvent:
            node, name = MapNode({}, mark.line + 1, mark.column + 1), "map"
        else:
            node, name = ListNode([], mark.line + 1, mark.column + 1), "seq"
        if event.tag not in (None, "!", _CORE + name):
            self._refuse_tag(event)
        top = self._stack[-1] if self._stack else None
        if top is not None and top.key is None and type(top.node) is MapNode:
            self._stop(
                event,
                "a key must be text",
                "text that begins with { or [ needs quotes; else check the indentation",
            )
        if event.anchor is not None:
            self._anchors.pop(event.anchor, None)
        self._stack.append(_Open(node, event.anchor, self._cost))
        self._cost += 1

    def _close(self) -> None:
        done = self._stack.pop()
        self._place(done.node)
        if done.anchor is not None:
            self._anchors[done.anchor] = (done.node, self._cost - done.cost_before)

    def _alias(self, event: Any) -> None:
        found = self._anchors.get(event.anchor)
        top = self._stack[-1] if self._stack else None
        if found is None:
            inside = any(opened.anchor == event.anchor for opened in self._stack)
            message = "stands for a value that it is a part of" if inside else "has no anchor before it"
            # Not by its name: an unquoted secret that begins with * is an alias to YAML.
            self._stop(event, f"the alias {message}", "text that begins with * needs quotes")
        else:
            node, cost = found
            self._aliased += cost
            self._cost += cost
            if self._aliased > MOST_ALIASED:
                self._stop(event, f"the aliases stand for more than {MOST_ALIASED} values")
            if top is not None and top.key is None and type(top.node) is MapNode:
                self._stop(event, "a key must be text", "an alias cannot be a key")
            self._place(node)

    # --- placing what was read

    def _take_key(self, key: ScalarNode) -> None:
        top = self._stack[-1]
        top.key = key
        members = top.node.members if isinstance(top.node, MapNode) else {}
        if key.plain and key.text == "<<":
            self._fault(
                key.line,
                key.column,
                "merge keys are not allowed",
                "write the members out, or use an alias for a value",
            )
            top.doubled = True
        elif key.text in members:
            first = members[key.text][0]
            message = f"the key is here twice, first in line {first.line}"
            self._fault(key.line, key.column, message, "keep one of the two")
            top.doubled = True
        elif key.plain and resolve_plain(key.text) is None:
            self._fault(key.line, key.column, "a key must be text", "put it in quotes if it is meant")
            top.doubled = True

    def _place(self, node: Node) -> None:
        if not self._stack:
            self._document.root = node
            return
        top = self._stack[-1]
        owner = top.node
        if type(owner) is ListNode:
            owner.items.append(node)
            return
        key = top.key
        if isinstance(owner, MapNode) and key is not None:
            if top.doubled:
                top.doubled = False
            else:
                owner.members[key.text] = (key, node)
            top.key = None

    def _expanded(self, event: Any, text: str) -> str:
        result = self._expand(text)
        if isinstance(result, Unexpanded):
            self._fault(event.start_mark.line + 1, event.start_mark.column + 1, result.message, result.hint)
            return text
        return result

    def _is_plain(self, event: Any, text: str) -> bool:
        """Return whether a tagged scalar is typed by the core schema; text and `!` are not."""
        if event.tag in ("!", _CORE + "str"):
            return False
        types = _CORE_TYPES.get(event.tag.removeprefix(_CORE)) if event.tag.startswith(_CORE) else None
        if types is None:
            self._refuse_tag(event)
        elif type(resolve_plain(text)) not in types:
            name = event.tag.removeprefix(_CORE)
            self._fault(event.start_mark.line + 1, event.start_mark.column + 1, f"the value is no !!{name}")
        return True

    # --- faults

    def _path(self) -> str:
        path = ""
        for opened in self._stack:
            if isinstance(opened.node, ListNode):
                path = f"{path}[{len(opened.node.items)}]"
            elif opened.key is not None:
                path = step_path(path, opened.key.text)
        return path

    def _fault(self, line: int, column: int, message: str, hint: str = "", path: str | None = None) -> None:
        where = self._path() if path is None else path
        self._document.faults.append(Fault(line, column, where, message, hint))

    def _stop(self, event: Any, message: str, hint: str = "") -> NoReturn:
        self._fault(event.start_mark.line + 1, event.start_mark.column + 1, message, hint)
        raise _UnreadableError

    def _refuse_tag(self, event: Any) -> None:
        mark = event.start_mark
        hint = (
            "only the core types !!str !!int !!float !!bool !!null !!map !!seq exist, and none is needed; "
            "text that begins with ! needs quotes"
        )
        self._fault(mark.line + 1, mark.column + 1, "the tag is not allowed", hint)

    def _syntax_fault(self, error: MarkedYAMLError, text: str) -> None:
        fault = explain(error, text)
        if self._stack:
            self._stack[-1].key = None  # it may be the key above: what the line belongs to is not known
        path = "" if fault.is_end else self._path()
        self._fault(fault.line, fault.column, f"YAML syntax: {fault.message}", fault.hint, path)
