"""Show what is refused in a YAML text before any key is looked at, and where it is said to be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.settings.document import Document, ListNode, MapNode, ScalarNode, read_document, walk


def read(text: str) -> Document:
    return read_document(text, lambda value: value)


def test_positions_of_keys_and_values() -> None:
    root = read("a: 1\nb:\n  - x\n  - {c: 'y'}\n").root
    assert isinstance(root, MapNode)
    key, value = root.members["b"]
    assert (key.line, key.column) == (2, 1)
    assert isinstance(value, ListNode)
    inner = value.items[1]
    assert isinstance(inner, MapNode)
    c = inner.members["c"][1]
    assert isinstance(c, ScalarNode)
    assert (c.line, c.column, c.plain, c.text) == (4, 9, False, "y")
    assert {path for _, path in walk(root)} == {"", "a", "b", "b[0]", "b[1]", "b[1].c"}


FAULTS = [
    ("a: 1\na: 2", (2, 1), "a", "twice"),
    ("a: 1\n'a': 2", (2, 1), "a", "twice"),
    ("x:\n  - a: 1\n    a: 2", (3, 5), "x[0].a", "twice"),
    ("x: &x {a: 1}\ny:\n  <<: *x", (3, 3), 'y["<<"]', "merge keys"),
    ("a: !!python/object:os.system x", (1, 4), "a", "tag"),
    ("a: !custom x", (1, 4), "a", "tag"),
    ("a: !!binary aGk=", (1, 4), "a", "tag"),
    ("a: !!set {b}", (1, 4), "a", "tag"),
    ("a: !!int x", (1, 4), "a", "no !!int"),
    ("~: 1", (1, 1), '["~"]', "a key must be text"),
    ("? [a]\n: 1", (1, 3), "", "a key must be text"),
    ("? {a: 1}\n: 1", (1, 3), "", "a key must be text"),
    ("a: &a x\n*a : 1", (2, 1), "", "a key must be text"),
    ("a: *b", (1, 4), "a", "no anchor before it"),
    ("a: &a [*a]", (1, 8), "a[0]", "part of"),
    ("a: 1\n---\nb: 1", (2, 1), "", "second document"),
    ("a: [1", (2, 1), "", "YAML syntax"),
    ("a: b: c", (1, 5), "", "YAML syntax"),
    ("a: 1\n\tb: 2", (2, 1), "", "YAML syntax"),
    ("a: 1\nb: \x01", (2, 4), "", "character"),
    ("[" * 40 + "]" * 40, (1, 33), "[0]" * 32, "lie in each other"),
]


@pytest.mark.parametrize(("text", "place", "path", "message"), FAULTS)
def test_faults(text: str, place: tuple[int, int], path: str, message: str) -> None:
    fault = read(text).faults[0]
    assert message in fault.message
    assert fault.path == path
    assert (fault.line, fault.column) == place


@pytest.mark.parametrize(
    "text",
    [
        "a: !!str 010",
        "a: ! x",
        "a: !!map {}",
        "a: !!seq []",
        "a: !!null ~",
        "'<<': 1",
        '"~": 1',
        "a: &a 1\nb: *a",
        "%YAML 1.2\n---\na: 1",
        "a: 1\n...",
        "# only a comment",
        "",
    ],
)
def test_no_faults(text: str) -> None:
    assert read(text).faults == []


def test_billion_laughs_is_refused_before_it_is_walked() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    document = read("\n".join(lines))
    assert not document.whole
    assert "aliases stand for more than" in document.faults[-1].message


def test_an_alias_gives_the_value_again() -> None:
    root = read("a: &a {b: 1}\nc: *a").root
    assert isinstance(root, MapNode)
    assert root.members["a"][1] is root.members["c"][1]


def test_reading_goes_on_after_a_fault() -> None:
    document = read("a: 1\na: 2\nb: !x 3\nc: 4\nc: 5")
    assert [fault.line for fault in document.faults] == [2, 3, 5]
    assert document.whole


@given(
    st.text(alphabet=st.sampled_from("ab:-?[]{}&*!|>'\"%@`# \n\t,~<0"), max_size=60) | st.text(max_size=60)
)
def test_never_raises(text: str) -> None:
    document = read(text)
    assert document.whole or document.faults


def test_tagged_text_is_text() -> None:
    root = read("a: !!str 010").root
    assert isinstance(root, MapNode)
    value = root.members["a"][1]
    assert isinstance(value, ScalarNode)
    assert not value.plain
