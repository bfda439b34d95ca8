"""Show how each kind of claim reads as a field, and what is not sent because it would not read as it is."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http1.claim_fields import (
    LONGEST_VALUE_BYTES,
    ClaimFields,
    ClaimLines,
    LeftOut,
    write_claim_lines,
    write_value,
)

SENT: list[tuple[Any, bytes]] = [
    ("acme", b"acme"),
    ("", b""),
    ("a,b;c=\"d\"'e'\\", b"a,b;c=\"d\"'e'\\"),
    ("!~", b"!~"),
    (0, b"0"),
    (-7, b"-7"),
    (2**64, b"18446744073709551616"),
    (True, b"true"),
    (False, b"false"),
    ([], b""),
    (["a"], b"a"),
    (["admin", 7, True, -1, False], b"admin,7,true,-1,false"),
    (["a", "a"], b"a,a"),
    ("x" * 1024, b"x" * 1024),
    (["x" * 511, "y" * 512], b"x" * 511 + b"," + b"y" * 512),
    (10**1023, b"1" + b"0" * 1023),
]


@pytest.mark.parametrize(("value", "expected"), SENT, ids=range(len(SENT)))
def test_what_is_sent(value: Any, expected: bytes) -> None:
    assert write_value(value) == expected


LEFT_OUT: list[tuple[Any, LeftOut]] = [
    (None, LeftOut.KIND),
    (1.5, LeftOut.KIND),
    (1.0, LeftOut.KIND),
    (float("nan"), LeftOut.KIND),
    (float("inf"), LeftOut.KIND),
    ({}, LeftOut.KIND),
    ({"a": 1}, LeftOut.KIND),
    ([["a"]], LeftOut.KIND),
    (["a", None], LeftOut.KIND),
    (["a", {"b": 1}], LeftOut.KIND),
    ([1.0], LeftOut.KIND),
    (b"octets", LeftOut.KIND),
    ("x" * 1025, LeftOut.SIZE),
    (["x" * 512, "y" * 512], LeftOut.SIZE),
    (["1"] * 513, LeftOut.SIZE),
    (10**1024, LeftOut.SIZE),
    (-(10**1023), LeftOut.SIZE),
    (10**100_000, LeftOut.SIZE),
    ("a b", LeftOut.CHARACTERS),
    (" a", LeftOut.CHARACTERS),
    ("a\t", LeftOut.CHARACTERS),
    ("a\r\nX-Auth-Client-Id: admin", LeftOut.CHARACTERS),
    ("a\n", LeftOut.CHARACTERS),
    ("a\rb", LeftOut.CHARACTERS),
    ("a\0", LeftOut.CHARACTERS),
    ("\x7f", LeftOut.CHARACTERS),
    ("münchen", LeftOut.CHARACTERS),
    ("\ud800", LeftOut.CHARACTERS),
    ("\u2028", LeftOut.CHARACTERS),
    ("٣", LeftOut.CHARACTERS),
    (["a", "b\r\nc"], LeftOut.CHARACTERS),
    (["user,admin"], LeftOut.AMBIGUOUS),
    (["a", ","], LeftOut.AMBIGUOUS),
    ([""], LeftOut.AMBIGUOUS),
    (["a", "", "b"], LeftOut.AMBIGUOUS),
]


@pytest.mark.parametrize(("value", "cause"), LEFT_OUT, ids=range(len(LEFT_OUT)))
def test_what_is_left_out(value: Any, cause: LeftOut) -> None:
    assert write_value(value) is cause


def test_every_cause_has_a_row() -> None:
    assert {cause for _, cause in LEFT_OUT} == set(LeftOut)


def test_each_field_is_one_line_and_an_absent_claim_is_none() -> None:
    fields = ClaimFields(
        (
            (b"X-Auth-Tenant", "tenant"),
            (b"X-Auth-Plan", "plan"),
            (b"X-Auth-Groups", "groups"),
            (b"X-Auth-Org", "tenant"),
            (b"X-Auth-Born", "born"),
        )
    )
    claims = {"tenant": "acme", "groups": [{}], "Plan": "gold", "born": None, "other": "x"}
    assert write_claim_lines(fields, claims) == ClaimLines(
        b"X-Auth-Tenant: acme\r\nX-Auth-Org: acme\r\n", (LeftOut.KIND, LeftOut.KIND)
    )
    assert write_claim_lines(fields, {}) == ClaimLines(b"")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.text("ab,\r\n \x00~", max_size=6),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def text_of(item: Any) -> str:
    return json.dumps(item) if isinstance(item, bool | int) else item


@given(JSON)
def test_a_field_says_what_the_claim_says_or_is_not_sent(value: Any) -> None:
    """No value makes more than one line, or a list of another length than the claim is."""
    written = write_value(value)
    if isinstance(written, LeftOut):
        return
    assert re.fullmatch(rb"[\x21-\x7e]*", written)
    assert len(written) <= LONGEST_VALUE_BYTES
    if isinstance(value, list):
        assert (written.decode().split(",") if written else []) == [text_of(item) for item in value]
    else:
        assert written.decode() == text_of(value)
