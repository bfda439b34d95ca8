"""Show that plain scalars are what YAML 1.2 says, not what YAML 1.1 said."""

import math

import pytest

from gateway.settings.scalars import Value, resolve_plain


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("Null", None),
        ("NULL", None),
        ("nULL", "nULL"),
        ("true", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("yes", "yes"),
        ("NO", "NO"),
        ("off", "off"),
        ("on", "on"),
        ("y", "y"),
        ("0", 0),
        ("010", 10),
        ("-7", -7),
        ("+7", 7),
        ("0o17", 15),
        ("0o18", "0o18"),
        ("0x1F", 31),
        ("-0x1F", "-0x1F"),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("190:20:30", "190:20:30"),
        ("1e3", 1000.0),
        ("1.", 1.0),
        (".5", 0.5),
        (".", "."),
        ("-", "-"),
        ("1.5.2", "1.5.2"),
        ("1e", "1e"),
        ("1e400", math.inf),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("+.inf", math.inf),
        ("2027-06-30", "2027-06-30"),
        ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),
        ("=", "="),
        ("<<", "<<"),
        ("٣", "٣"),
        ("12\n", "12\n"),
        ("9" * 401, "9" * 401),
    ],
)
def test_core_schema(text: str, value: Value) -> None:
    resolved = resolve_plain(text)
    assert resolved == value
    assert type(resolved) is type(value)


def test_not_a_number() -> None:
    resolved = resolve_plain(".nan")
    assert isinstance(resolved, float)
    assert math.isnan(resolved)
