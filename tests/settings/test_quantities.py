"""Show which durations and sizes are understood, and that what is shown reads back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.settings.problems import SpellingError
from gateway.settings.quantities import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("30s", 30), ("5m", 300), ("1h", 3600), ("30d", 2592000), ("0", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "1.5s", "-1s", "+1s", "1 s", "1S", "1w", "٣s", "1_0s", "1s\n", "s"]
)
def test_no_durations(text: str) -> None:
    with pytest.raises(SpellingError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "size"), [("512", 512), ("64KiB", 65536), ("10MiB", 10485760), ("0", 0)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "64KB", "64 KiB", "-1", "1.5MiB", "64kib", "KiB", "1KiB\n"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(SpellingError, match="is not a size"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=10**9))
def test_what_is_shown_reads_back(amount: int) -> None:
    assert parse_duration(format_duration(amount / 1000)) == amount / 1000
    assert parse_size(format_size(amount)) == amount
