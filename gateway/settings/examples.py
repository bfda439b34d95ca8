"""Put examples of values together, as YAML on one line.

Pure. That the examples of all keys are read without an error, each at its place, is held by a test.
"""

import re
from collections.abc import Mapping

_WHOLE = re.compile(r"""\[.*\]\Z|\{.*\}\Z|".*"\Z|'.*'\Z""")
_NEEDS_QUOTES = re.compile(r"[,\[\]{}]|: |:\Z| #")


def as_mapping(members: Mapping[str, str]) -> str:
    """Return a mapping in braces of keys to examples."""
    return "{" + ", ".join(f"{key}: {_within(value)}" for key, value in members.items()) + "}"


def as_list(item: str) -> str:
    """Return a list in brackets of one example."""
    return f"[{_within(item)}]"


def _within(example: str) -> str:
    """Return an example as it stands within brackets or braces."""
    if _WHOLE.match(example) or not _NEEDS_QUOTES.search(example):
        return example
    return f'"{example}"'
