"""Choose the rows of a large table that an ordinary run tries; a soak tries all of them.

The choice is fixed, so that a failure is found again by the same command.
"""

import os
from collections.abc import Iterable
from itertools import islice
from typing import TypeVar
from zlib import crc32

FULL = "SIDEGATE_SOAK" in os.environ


Row = TypeVar("Row")


def some(rows: Iterable[Row], *, of: str, one_in: int) -> list[Row]:
    """Return one row in so many, and in a soak each.

    Args:
        rows: The table, in an order that stays.
        of: What it is tried with. Another name begins with another row, so that of many
            things that are tried with one table, some are tried with each row of it.
        one_in: Must be less than the rows are, or nothing may be left to try.
    """
    return list(islice(rows, 0 if FULL else crc32(of.encode()) % one_in, None, 1 if FULL else one_in))
