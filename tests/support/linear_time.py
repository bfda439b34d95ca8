"""Find readers of strangers' texts that take more than linear time, or too much of it.

A reader is fed a prefix and then one atom again and again, up to the limit of its field.
What counts is the CPU time of the thread that reads, so that a busy machine does not
matter, and of several readings the fastest. A short text is read first: what takes too
long then is reported without waiting for more.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from zlib import crc32

VISIBLE_ATOMS = (
    b'; ( ) " \\" \\\\ [ ] { } , = ; : . .. / // ? & + - _ % %41 %2F %00 %C3%A9 @ # \' * a 0 9 '
    b'\\u0041 \\ud800 a=b a&a= a, ;a= ;a=" "a", {"a": [[ [] {}, {"a":1}, true, 1e9, -1 ::1, '
    b"1.1.1.1, eyJ eyJ. basic bearer= client_secret="
)
ATOMS = (
    *dict.fromkeys(VISIBLE_ATOMS.split()),
    *(b" ", b"\t", b" \t", b", ", b"; ", b"\xc3\xa9", b"\xff", b"\r\n", b"\n", b"\r\na: b", b"1\r\nx\r\n"),
)

PREFIXES = (b"", b'"', b"[" * 17 + b'"', b'{"a":', b'{"a":"', b"[", b"a=", b"a;", b"/", b"(")
"""Before any text; a reader has its own ones, too."""

GROWTH = 2.6
"""Twice the text may take at most this much longer."""
JUDGED_FROM_S = 0.0005
"""Growth is judged from here on: below, other things than the text take the time."""
BEST_OF = 5
ATTEMPTS = 4
"""A fault is one only if it is found every time: a machine has slow moments."""
HOPELESS = 12
"""Times as long as is allowed, on any machine: no need to look twice, nor at a longer text."""


@dataclass(eq=False)
class Reader:
    """One function that reads a stranger's text."""

    name: str
    read: Callable[[bytes], object]
    limit: int
    """Octets of its longest text."""
    starts: tuple[bytes, ...] = (b"",)
    """What may stand in front so that more of it is read."""
    end: bytes = b""
    prefixes: tuple[bytes, ...] = PREFIXES
    """Each stands behind each start."""
    allowed_s: float = 0.008
    """For a text of the limit, on a quiet machine; see `slowness`."""
    harmless_s: float = 0.00002
    """For a sixteenth of a text: even a reader in cubic time then comes to an end with the whole."""

    def __str__(self) -> str:
        return self.name

    def seconds(self, text: bytes) -> float:
        """Return the CPU time that the reading thread spends on one reading."""
        started = time.thread_time()
        self.read(text)
        return time.thread_time() - started


@dataclass(frozen=True)
class Fault:
    """A text that takes too long."""

    reader: str
    start: bytes
    atom: bytes
    octets: int
    half_s: float
    whole_s: float
    raised: str = ""

    def __str__(self) -> str:
        if self.raised:
            return f"{self.reader}: {self.start!r} + {self.atom!r} * n: raises {self.raised}"
        return (
            f"{self.reader}: {self.start!r} + {self.atom!r} * n: {self.whole_s * 1000:.2f} ms for"
            f" {self.octets} octets, {self.half_s * 1000:.2f} ms for half of it"
        )


ALWAYS = frozenset((b";", b"(", b'"', b'\\"', b"["))
"""Atoms that have stopped the process before."""
ONE_IN = 1 if os.environ.get("SIDEGATE_SOAK") else 25
"""Of the other pairs of start and atom so many are fed; all of them in a soak. Which ones depends on the
reader, so that every pair is fed to some of them."""


def texts_of(reader: Reader) -> Iterator[tuple[bytes, bytes]]:
    """Yield each start and atom that a reader is fed."""
    starts = dict.fromkeys(start + prefix for start in reader.starts for prefix in reader.prefixes)
    first = crc32(reader.name.encode())
    for number, (start, atom) in enumerate(product(starts, ATOMS), first):
        if atom in ALWAYS or number % ONE_IN == 0:
            yield start, atom


def find_faults(reader: Reader) -> Iterator[Fault]:
    """Yield the texts for which `reader` takes too long, measured to be so every time."""
    for start, atom in texts_of(reader):
        try:
            fault = find_fault(reader, start, atom)
        except Exception as error:  # no text may do that
            fault = Fault(reader.name, start, atom, reader.limit, 0.0, 0.0, type(error).__name__)
        if fault is not None:
            yield fault


def find_fault(reader: Reader, start: bytes, atom: bytes) -> Fault | None:
    """Return the fault of one row, or None."""

    def text(octets: int) -> bytes:
        times = max(octets - len(start) - len(reader.end), 0) // len(atom)
        return start + atom * times + reader.end

    def judge(readings: int) -> Fault | None:
        half_s = min(reader.seconds(half) for _ in range(readings))
        whole_s = min(reader.seconds(whole) for _ in range(readings))
        grows = whole_s > JUDGED_FROM_S and whole_s > GROWTH * half_s
        if grows or (whole_s > reader.allowed_s and whole_s > reader.allowed_s * slowness()):
            return Fault(reader.name, start, atom, reader.limit, half_s, whole_s)
        return None

    for part in (256, 64, 16, 8, 4, 2):
        took_s = reader.seconds(text(reader.limit // part))
        if took_s > HOPELESS * reader.allowed_s:
            return Fault(reader.name, start, atom, reader.limit // part, 0.0, took_s)
        if part <= 16 and took_s * part / 16 < reader.harmless_s:
            break
    half, whole = text(reader.limit // 2), text(reader.limit)
    fault = judge(1)
    for _ in range(ATTEMPTS):
        if fault is None or fault.whole_s > HOPELESS * reader.allowed_s:
            break
        fault = judge(BEST_OF)
    return fault


USUAL = json.dumps({"iss": "http://127.0.0.1:8080", **dict.fromkeys("abcdefgh", "country-service")})
USUAL_S = 0.0000019
"""What reading it takes on the quiet machine that the figures in this repository are from."""


def slowness() -> float:
    """Return how many times slower than that this machine is now, at least 1."""
    decode = json.JSONDecoder(object_pairs_hook=dict).decode
    reader = Reader("", lambda _: [decode(USUAL) for _ in range(200)], 0)
    return max(1.0, min(reader.seconds(b"") for _ in range(BEST_OF)) / 200 / USUAL_S)
