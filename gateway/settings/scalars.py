"""Resolve the text of a plain YAML scalar by the YAML 1.2 core schema.

`off`, `NO`, `1:30` and `2027-06-30` are text, `010` is ten, `0o17` is fifteen.
PyYAML's own resolver follows YAML 1.1, where they are not, and is not used.

Sources: YAML 1.2.2 10.3.2 (tag resolution of the core schema).
"""

import re

Value = str | int | float | bool | None
"""What a scalar can be."""

_WORDS: dict[str, Value] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_INTEGER = re.compile(r"[-+]?[0-9]+\Z")
_OCTAL = re.compile(r"0o[0-7]+\Z")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NUMBER_START = frozenset("+-.0123456789")

LONGEST_NUMBER = 400
"""Digits beyond it make a number text: converting them costs quadratic time."""


def resolve_plain(text: str) -> Value:
    """Return the value that a plain scalar stands for; text that is nothing else is itself."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_START or len(text) > LONGEST_NUMBER:
        return text
    if _INTEGER.match(text):
        return int(text)
    if _OCTAL.match(text):
        return int(text, 0)
    if _HEXADECIMAL.match(text):
        return int(text, 0)
    if _FLOAT.match(text):
        return float(text)
    return text


def describe(value: Value) -> str:
    """Return the kind of a value in a reader's words."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
