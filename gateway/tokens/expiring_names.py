"""Keep very many short texts with an expiry in few octets, exactly.

A dict of `jti` to expiry takes about 270 octets an entry, most of them for Python's
objects. Here entries lie side by side in *cells*, octet strings of about a dozen each:

    FF  text in UTF-8  FE  expiry, five digits in base 128, which compare as the numbers do

Neither FF nor FE occurs in UTF-8 or in the digits, so looking for `FF text FE` in a
cell finds that entry and nothing else, at the speed of C. A text's cell follows from
Python's hash of it, which is keyed by process: nobody can choose texts for one cell.
The number of cells grows by one whenever they hold more than `_PER_CELL` each on
average (linear hashing), so no call ever moves more than one cell.

Expired entries leave in portions: `prune` goes round the cells, a few per call.

Sources: Litwin, "Linear hashing: a new tool for file and table addressing" (1980).
"""

from collections.abc import Iterable, Iterator

_PER_CELL = 12
_BEGIN, _END = b"\xff", b"\xfe"
_DIGITS = 5
LATEST = 128**_DIGITS - 1
"""The last expiry that can be kept, in the year 3058; later ones are kept as this."""


class ExpiringNames:
    """Texts, each with the second at which it expires. About 35 octets for one of 22 characters."""

    __slots__ = ("_cells", "_count", "_cursor", "_half")

    def __init__(self, known: Iterable[tuple[str, int]] = ()) -> None:
        """Begin with pairs of text and expiry in epoch seconds."""
        self._cells: list[bytes] = [b""]
        self._half = 1
        """The largest power of two that is not above the number of cells."""
        self._count = 0
        self._cursor = 0
        for text, expiry in known:
            self.put(text, expiry)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, text: str) -> bool:
        return _mark(text) in self._cells[self._place(text)]

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Yield each text and its expiry."""
        for cell in self._cells:
            yield from _entries(cell)

    def expiry(self, text: str) -> int | None:
        """Return when `text` expires, or None when it is not kept."""
        cell = self._cells[self._place(text)]
        mark = _mark(text)
        at = cell.find(mark)
        return None if at < 0 else _number(cell[at + len(mark) :][:_DIGITS])

    def put(self, text: str, expiry: int) -> bool:
        """Keep `text` until `expiry` at least; return whether it is new."""
        place = self._place(text)
        cell = self._cells[place]
        mark = _mark(text)
        at = cell.find(mark)
        if at >= 0:
            digits = at + len(mark)
            if _number(cell[digits : digits + _DIGITS]) < expiry:
                self._cells[place] = cell[:digits] + _digits(expiry) + cell[digits + _DIGITS :]
            return False
        self._cells[place] = cell + mark + _digits(expiry)
        self._count += 1
        if self._count > _PER_CELL * len(self._cells):
            self._split()
        return True

    def prune(self, now: float, *, limit: int) -> int:
        """Drop at most `limit` entries that expire at or before `now`; return how many.

        No more than `limit` cells are looked at, the next ones with the next call.
        """
        dropped = 0
        for _ in range(min(limit, len(self._cells))):
            self._cursor %= len(self._cells)
            dropped += self._prune_cell(self._cursor, now, limit - dropped)
            if dropped == limit:
                break
            self._cursor += 1
        return dropped

    def _prune_cell(self, place: int, now: float, limit: int) -> int:
        last = _digits(int(now))
        whole = self._cells[place].split(_BEGIN)[1:]
        gone = [entry for entry in whole if entry[-_DIGITS:] <= last][:limit]
        if gone:
            dropped = frozenset(gone)
            self._cells[place] = b"".join(_BEGIN + entry for entry in whole if entry not in dropped)
            self._count -= len(gone)
        return len(gone)

    def _place(self, text: str) -> int:
        number = hash(text)
        place = number & (2 * self._half - 1)
        return place if place < len(self._cells) else number & (self._half - 1)

    def _split(self) -> None:
        """Add one cell, and move into it what belongs there from the one whose turn it is."""
        if len(self._cells) == 2 * self._half:
            self._half *= 2
        old = len(self._cells) - self._half
        entries = list(_entries(self._cells[old]))
        self._cells.append(b"")
        new = len(self._cells) - 1
        self._cells[old] = _packed(entry for entry in entries if self._place(entry[0]) == old)
        self._cells[new] = _packed(entry for entry in entries if self._place(entry[0]) == new)


def _mark(text: str) -> bytes:
    return _BEGIN + text.encode("utf-8", "surrogatepass") + _END


def _entries(cell: bytes) -> Iterator[tuple[str, int]]:
    for entry in cell.split(_BEGIN)[1:]:
        text, _, digits = entry.partition(_END)
        yield text.decode("utf-8", "surrogatepass"), _number(digits)


def _packed(entries: Iterable[tuple[str, int]]) -> bytes:
    return b"".join(_mark(text) + _digits(expiry) for text, expiry in entries)


def _digits(number: int) -> bytes:
    number = min(max(number, 0), LATEST)
    return bytes(number >> shift & 127 for shift in (28, 21, 14, 7, 0))


def _number(digits: bytes) -> int:
    number = 0
    for digit in digits:
        number = number << 7 | digit
    return number
