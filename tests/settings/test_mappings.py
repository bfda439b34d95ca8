"""Show what a mapping refuses beside what its names and values are: too many, and names that are one."""

import pytest

from gateway.settings.document import read_document
from gateway.settings.kinds import Text
from gateway.settings.lists import MapOf
from gateway.settings.texts import parse_line
from tests.settings.test_schema import empty_reading

FIELDS = MapOf("mapping of fields", parse_line, Text("text", parse_line), alike=str.lower, most=3)
NAMES = MapOf("mapping of names", parse_line, Text("text", parse_line))


@pytest.mark.parametrize(
    ("kind", "text", "problems"),
    [
        (FIELDS, "{A: x, b: y}", []),
        (FIELDS, "{A: x, b: y, a: z}", [(13, 'the name is the same as "A" for its reader')]),
        (FIELDS, "{b: x, B: '', \"B \": z}", [(7, 'the name is the same as "b" for its reader')]),
        (FIELDS, "{a: x, b: y, c: z}", []),
        (FIELDS, "{a: x, b: y, c: z, d: z}", [(0, "there are too many of them")]),
        (NAMES, "{A: x, a: y, b: y, B: z}", []),
    ],
)
def test_names_that_are_one_and_names_that_are_too_many(
    kind: MapOf, text: str, problems: list[tuple[int, str]]
) -> None:
    root = read_document(text, lambda written: written).root
    assert root is not None
    reading = empty_reading()
    kind.read(root, reading)
    found = [(note.node.column - 1, note.message) for note in reading.notes]
    assert found == problems


def test_the_schema_says_how_many() -> None:
    assert FIELDS.schema()["maxProperties"] == 3
    assert "maxProperties" not in NAMES.schema()
