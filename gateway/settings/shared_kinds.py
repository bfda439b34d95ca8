"""Name the kinds of value that keys of several sections have."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from gateway.settings.kinds import Flag, Json, Quantity, Text, Whole
from gateway.settings.lists import ListOf
from gateway.settings.quantities import DURATION
from gateway.settings.sections import Field
from gateway.settings.texts import choose_from, parse_client_id, parse_file_text, parse_line, parse_scope

Values = dict[str, Any]
"""What was read under the keys of a section, by attribute."""

YEAR = 365 * 86400
TIMEOUT = Quantity(DURATION, 0.001, YEAR, "from 1ms to 365d; it cannot be unlimited")
TIMEOUT_OR_NONE = Quantity(DURATION, 0, YEAR, "up to 365d; 0 is unlimited")
LIFETIME = Quantity(DURATION, 1, YEAR, "whole seconds, from 1s to 365d", whole=True)
COUNT_OR_NONE = Whole(0, 10_000_000)
FLAG = Flag()
LINE = Text("text", parse_line)


def place_path(directory: Path, text: str) -> Path:
    """Return a path relative to `directory`."""
    return directory / text


FILE = Text("path", parse_file_text, place_path)
CLIENT_ID = Text("client id", parse_client_id)
SCOPE = Text("scope name", parse_scope)
SCOPES = ListOf("list of scopes", SCOPE)
SCOPE_SET = ListOf("list of scopes", SCOPE, into=frozenset)
CLIENT_SET = ListOf("list of client ids", CLIENT_ID, into=frozenset)


def one_of(*words: str, later: tuple[str, ...] = (), **others: str) -> Text:
    """Return the kind of a text that is one of the words; `later` are known, and are none yet.

    Under a word stands what people write for it, with spaces between.
    """
    return Text(" | ".join(words), choose_from("known here", words, later, others), words=words)


def value_by(words: Mapping[str, Any], **others: str) -> Text:
    """Return the kind of a text that is one of the words, and stands for the value behind it.

    `others` as for `one_of`.
    """
    parse = choose_from("known here", tuple(words), others=others)
    spelled = {value: word for word, value in words.items()}
    return Text(
        " | ".join(words), lambda text: words[parse(text)], words=tuple(words), spell=spelled.__getitem__
    )


def member_of(words: type[StrEnum], **others: str) -> Text:
    """Return the kind of a text that is one of the values of an enumeration; `others` as for `one_of`."""
    return value_by({str(word): word for word in words}, **others)


def later_key(key: str, doc: str) -> Field:
    """Return a key that the contract has and this version does not."""
    return Field(key, Json("value"), doc, available=False)
