"""Say what is wrong with a text that is no YAML, in our words: where, and what to write.

libyaml tells what its parser waited for. Here that is turned into what somebody typed who did not
mean it: an indentation, a tab, a bracket that nothing closes, text that needs quotes. Pure; of the text
only the line is looked at, and nothing of it is repeated, for it may be a secret.

Sources: YAML 1.2.2 (5.3 indicator characters, 6.1 indentation, 7.3.3 plain style).
"""

import re
from dataclasses import dataclass, replace

from yaml.error import MarkedYAMLError

_CLOSED_BY = {"sequence": "]", "mapping": "}"}
_VALUE = re.compile(r"""\s*(?:- +)*(?:[\w./-]+|"[^"]*"|'[^']*'):\s+[^\s#]""")
_INDICATORS = frozenset("@`%*&!|>")
_NO_BREAK = ("this is a no-break space", "type it anew: web pages and chats have such spaces")
_CONFLICT = re.compile(r"(?:<{7}|={7}|>{7})(?:\s|$)")


@dataclass(frozen=True, slots=True)
class SyntaxFault:
    """What is wrong, and where: `line` and `column` count from 1."""

    line: int
    column: int
    message: str
    hint: str
    is_end: bool = False
    """It is where something should have ended, perhaps long before."""


def explain(error: MarkedYAMLError, text: str) -> SyntaxFault:
    """Return what is wrong with a text that libyaml refused."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark is not None else (0, 0)
    lines = text.split("\n")
    where = _Where(lines, line, column)
    context = error.context_mark
    begun = None if context is None else _Where(lines, context.line, context.column)
    return (
        _conflict(where)
        or _white_space(error.problem or "", where)
        or _quotes(error, where, begun)
        or _bracket(error, where, begun)
        or _first_character(error, where, begun)
        or _key(error.problem or "", where, begun)
        or _indentation(error.problem or "", where, begun)
        or where.fault(
            ": ".join(part for part in (error.context, error.problem) if part),
            "check the indentation, the quotes and the brackets of this line and the one above",
        )
    )


@dataclass(frozen=True, slots=True)
class _Where:
    """A place in a text; line and column count from 0."""

    lines: list[str]
    line: int
    column: int

    @property
    def written(self) -> str:
        """The whole line, which may lie behind the last one."""
        return self.lines[self.line] if self.line < len(self.lines) else ""

    @property
    def char(self) -> str:
        """The character at the place, or nothing."""
        return self.written[self.column : self.column + 1]

    def before(self) -> "_Where | None":
        """Return the beginning of the last line above that says something."""
        for number in range(min(self.line, len(self.lines)) - 1, -1, -1):
            stripped = self.lines[number].strip()
            if stripped and not stripped.startswith("#"):
                return _Where(self.lines, number, _indent(self.lines[number]))
        return None

    def fault(self, message: str, hint: str) -> SyntaxFault:
        """Return a fault at this place."""
        return SyntaxFault(self.line + 1, self.column + 1, message, hint)


def _conflict(where: _Where) -> SyntaxFault | None:
    for number in range(max(0, where.line - 1), min(where.line + 2, len(where.lines))):
        if _CONFLICT.match(where.lines[number]):
            place = _Where(where.lines, number, 0)
            return place.fault("a merge left this mark", "keep one of the versions, and take the marks out")
    return None


def _white_space(problem: str, where: _Where) -> SyntaxFault | None:
    """Return that something else than spaces indents a line."""
    for number in (where.line - 1, where.line, where.line + 1):
        place = _Where(where.lines, number, 0)
        indent = place.written[: len(place.written) - len(place.written.lstrip())] if number >= 0 else ""
        if "\t" in indent and (number == where.line or "tab" in problem):
            at = _Where(where.lines, number, indent.index("\t"))
            return at.fault("a tab cannot indent", "indent by spaces, as editors do for .yaml files")
        if "\N{NO-BREAK SPACE}" in indent and number <= where.line:
            return _Where(where.lines, number, indent.index("\N{NO-BREAK SPACE}")).fault(*_NO_BREAK)
    return None


def _quotes(error: MarkedYAMLError, where: _Where, begun: _Where | None) -> SyntaxFault | None:
    """Return what is wrong within quotes or right behind them."""
    problem = error.problem or ""
    if "quoted scalar" in (error.context or "") and begun is not None:
        if "unexpected end of stream" in problem or "document indicator" in problem:
            return begun.fault("the text in quotes has no end", f"close it with {begun.char}")
        hint = r"""in "…" a backslash begins an escape: write \\ for one, or use '…' """.rstrip()
        return where.fault("the escape is none that YAML knows", hint)
    above = where.written[: where.column].rstrip()
    if problem == "did not find expected key" and above and above[-1] in "\"'" and where.char:
        hint = 'put the whole text in quotes; a quote within "…" is written \\", within \'…\' twice'
        return where.fault("text follows behind the quotes", hint)
    return None


def _bracket(error: MarkedYAMLError, where: _Where, begun: _Where | None) -> SyntaxFault | None:
    """Return that brackets or braces do not close, or lack a comma."""
    if error.problem == "did not find expected node content":
        if where.char:
            return where.fault(
                "a value is missing before this", "take the comma or the bracket out, or write it"
            )
        fault = where.fault("a list or mapping in brackets has no end", "write ] or } at its end")
        return replace(fault, is_end=True)
    kind = (error.context or "").removeprefix("while parsing a flow ")
    if kind not in _CLOSED_BY or begun is None:
        return None
    what = {"sequence": "list", "mapping": "mapping"}[kind]
    hint = f"commas between its parts, and {_CLOSED_BY[kind]} at its end"
    if where.line == begun.line and where.char:
        message = f"the {what} that begins in column {begun.column + 1} does not go on like this"
        return where.fault(message, hint)
    message = f"the {what} that begins in line {begun.line + 1}, column {begun.column + 1} has no end"
    return replace(where.fault(message, f"write {hint}"), is_end=True)


def _first_character(error: MarkedYAMLError, where: _Where, begun: _Where | None) -> SyntaxFault | None:
    """Return that a text begins with a character that means something to YAML."""
    words = f"{error.context or ''}: {error.problem or ''}"
    if "cannot start any token" in words and where.char:
        return where.fault(f"text cannot begin with {where.char}", "put it in quotes")
    scanned = ("an alias", "an anchor", "a tag", "a directive", "a block scalar")
    if (
        begun is not None
        and begun.char in _INDICATORS
        and any(f"scanning {each}" in words for each in scanned)
    ):
        return begun.fault(f"text cannot begin with {begun.char}", "put it in quotes")
    return None


def _key(problem: str, where: _Where, begun: _Where | None) -> SyntaxFault | None:
    """Return that a line is no key with its value."""
    if problem == "could not find expected ':'" and begun is not None:
        return _no_key(begun)
    if problem == "block sequence entries are not allowed in this context":
        return where.fault(
            "a list cannot begin behind its key", "begin it in the next line, or write it in brackets: [a, b]"
        )
    if problem == "mapping keys are not allowed in this context":
        return where.fault("a key cannot begin here", "write it without ?, in a line of its own")
    return None


def _no_key(begun: _Where) -> SyntaxFault:
    """Return why a line that should begin with a key does not."""
    written = begun.written[begun.column :]
    if "\N{NO-BREAK SPACE}" in written:
        column = begun.column + written.index("\N{NO-BREAK SPACE}")
        return _Where(begun.lines, begun.line, column).fault(*_NO_BREAK)
    is_assignment = "=" in written.split(":")[0]
    hint = "with a colon in place of =" if is_assignment else "with a space behind the colon"
    message = "the line is neither a key with a value nor an item of a list"
    return begun.fault(message, f"write key: value, {hint}")


def _indentation(problem: str, where: _Where, begun: _Where | None) -> SyntaxFault | None:
    """Return that a line does not stand in the column of those it belongs to, or holds a colon too many."""
    indent = _indent(where.written)
    above = where.before()
    if problem == "mapping values are not allowed in this context":
        if above is not None and indent > above.column and _VALUE.match(above.written):
            dashes = above.written[above.column :]
            column = above.column + len(dashes) - len(dashes.lstrip("- "))
            return _Where(where.lines, where.line, indent).fault(
                f"the key is indented deeper than the one in line {above.line + 1}, which has a value",
                f"keys of one mapping begin in the same column: here in column {column + 1}",
            )
        return where.fault(
            "the text holds a colon with a space behind it, or ends with a colon",
            'put the whole text in quotes: "a: b", "memory:"',
        )
    if begun is None or not problem.startswith("did not find expected"):
        return None
    return _wrong_column(problem, where, begun, indent)


def _wrong_column(problem: str, where: _Where, begun: _Where, indent: int) -> SyntaxFault:
    """Return which list or mapping a line belongs to, by where it stands."""
    at = _Where(where.lines, where.line, min(where.column, indent) if indent else where.column)
    column = begun.column + 1
    if "'-' indicator" in problem:
        if where.written[where.column :].startswith("-"):
            return at.fault("there is no space behind -", "an item of a list begins with - and a space")
        return at.fault(
            f"the line is no item of the list that begins in line {begun.line + 1}",
            f"its items begin with - in column {column}; what belongs to an item is indented deeper",
        )
    return at.fault(
        f"the line does not stand in the column of the mapping that begins in line {begun.line + 1}",
        f"its keys begin in column {column}; what belongs to a key is indented deeper",
    )


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
