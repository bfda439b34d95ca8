"""Read how long a key set may be used, row by row."""

import pytest

from gateway.tokens.freshness import MAX_FIELD, fresh_seconds, read_date


@pytest.mark.parametrize(
    ("headers", "fresh_s"),
    [
        ({}, 900),
        ({"Cache-Control": "public, max-age=600"}, 600),
        ({"Cache-Control": 'max-age="600"'}, 600),
        ({"Cache-Control": "MAX-AGE=86400"}, 3600),
        ({"Cache-Control": "max-age=1"}, 60),
        ({"Cache-Control": "no-store"}, 60),
        ({"Cache-Control": "max-age=600, no-cache"}, 60),
        ({"Cache-Control": "x-max-age=7"}, 900),
        ({"Cache-Control": "max-age=99999999999999999999"}, 3600),
        ({"Expires": "Thu, 01 Jan 1970 00:10:00 GMT"}, 600),
        ({"Expires": "Thu, 01 Jan 1970 00:00:00 GMT"}, 60),
        ({"Expires": "0"}, 60),
        ({"Expires": "Thu, 01 Jan 9999999 00:00:00 GMT"}, 60),
        ({"Cache-Control": "max-age=300", "Expires": "0"}, 300),
    ],
)
def test_caching_fields_are_honoured_within_bounds(headers: dict[str, str], fresh_s: float) -> None:
    assert fresh_seconds(headers, now=0.0) == fresh_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Thu, 01 Jan 1970 00:10:00 GMT", 600.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777.0),
        (" Sun, 06 Nov 1994 08:49:37 GMT", 784111777.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 0.0),
        ("Sun Nov  6 08:49:37 1994", 0.0),
        ("Sun, 06 Nov 1994 08:49:37 +0000", 0.0),
        ("Sun, 06 Nov 0000 08:49:37 GMT", 0.0),
        ("Sun, 06 nov 1994 08:49:37 GMT", 0.0),
        ("Sun, ٠٦ Nov 1994 08:49:37 GMT", 0.0),
        ("", 0.0),
    ],
)
def test_dates(text: str, seconds: float) -> None:
    assert read_date(text) == seconds


def test_a_long_field_is_read_as_far_as_an_honest_one_goes() -> None:
    assert fresh_seconds({"Cache-Control": " " * (MAX_FIELD - 11) + "max-age=300"}, 0.0) == 300.0
    assert fresh_seconds({"Cache-Control": " " * MAX_FIELD + "max-age=300"}, 0.0) == 900.0
