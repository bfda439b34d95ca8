"""Spell durations and sizes: `250ms`, `5m`, `30d`; `512`, `64KiB`, `10MiB`.

Pure, and both ways, so that what is shown can be written back.

Sources: CONTRACT section 2.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.settings.problems import SpellingError

_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)\Z", re.ASCII)
_MILLISECONDS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_AMOUNT = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)\s*([a-z]+)", re.ASCII)
_OTHER_DURATION = re.compile(
    r"(?:[0-9]{1,6}(?:\.[0-9]{1,3})?\s?(?:ms|msecs?|millis(?:econds?)?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)\s?){1,4}\Z",
    re.ASCII | re.IGNORECASE,
)
_OTHER_SIZE = re.compile(r"([0-9]{1,6})\s?([kmg])(?:i?b)?\Z", re.ASCII | re.IGNORECASE)
_SIZE = re.compile(r"([0-9]{1,15})(KiB|MiB|GiB)?\Z", re.ASCII)
_BYTES = {"GiB": 1024**3, "MiB": 1024**2, "KiB": 1024}


def parse_duration(text: str) -> float:
    """Return seconds. `0` needs no unit; raises SpellingError on everything else without one."""
    if text == "0":
        return 0.0
    match = _DURATION.match(text)
    if match is None:
        raise SpellingError(
            "is not a duration",
            "a whole number and a unit: 250ms, 30s, 5m, 1h, 30d",
            instead=_duration_in(text),
        )
    return int(match[1]) * _MILLISECONDS[match[2]] / 1000


def _duration_in(text: str) -> str:
    """Return the duration that is spelled as elsewhere: `1m30s`, `5 seconds`, `1.5s`; or nothing."""
    if not _OTHER_DURATION.match(text):
        return ""
    parts = _AMOUNT.findall(text.lower())
    milliseconds = sum(float(number) * _MILLISECONDS[_unit(word)] for number, word in parts)
    return format_duration(milliseconds / 1000) if 1 <= milliseconds < 1e12 else ""


def _unit(word: str) -> str:
    return "ms" if word in ("ms", "msec", "msecs") or word.startswith("milli") else word[0]


def _size_in(text: str) -> str:
    """Return the size that is spelled as elsewhere: `1MB`, `10m`, `64 KiB`; or nothing."""
    match = _OTHER_SIZE.match(text)
    return f"{match[1]}{match[2].upper()}iB" if match else ""


def format_duration(seconds: float) -> str:
    """Return the shortest spelling with one unit; what is finer than a millisecond is rounded off."""
    milliseconds = round(seconds * 1000)
    if milliseconds == 0:
        return "0"
    for unit, length in _MILLISECONDS.items():
        if milliseconds % length == 0:
            return f"{milliseconds // length}{unit}"
    raise AssertionError(milliseconds)


def parse_size(text: str) -> int:
    """Return bytes; raises SpellingError when the text is not a size."""
    match = _SIZE.match(text)
    if match is None:
        raise SpellingError(
            "is not a size",
            "a number of bytes, or a number and a unit: 512, 64KiB, 10MiB, 1GiB",
            instead=_size_in(text),
        )
    return int(match[1]) * _BYTES.get(match[2] or "", 1)


def format_size(size: int) -> str:
    """Return the shortest spelling with one unit."""
    for unit, length in _BYTES.items():
        if size and size % length == 0:
            return f"{size // length}{unit}"
    return str(size)


@dataclass(frozen=True, slots=True)
class Measure:
    """How one sort of quantity is spelled."""

    name: str
    """In a reader's words."""
    parse: Callable[[str], float]
    format: Callable[[Any], str]
    """The inverse of `parse`."""
    pattern: str
    """What texts are spelled like, for readers that know regular expressions of ECMAScript only."""
    needs_unit: bool
    """Whether 0 is the only number without a unit."""
    examples: tuple[str, ...]
    """From the usual to the unusual, for bounds that are not known here."""


DURATION = Measure(
    "duration",
    parse_duration,
    format_duration,
    "(?:0|[0-9]{1,9}(?:ms|s|m|h|d))",
    True,
    ("5s", "1h", "250ms", "30d"),
)
SIZE = Measure("size", parse_size, format_size, "[0-9]{1,15}(?:KiB|MiB|GiB)?", False, ("10MiB", "64KiB"))
