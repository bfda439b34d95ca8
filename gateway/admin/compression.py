"""Compress the metrics for scrapers that take them so.

Megabytes of text that repeats itself: the quickest level makes a twentieth of it. It is
compressed chunk by chunk as it is made, so that the event loop keeps its turns.

Sources: RFC 9110 12.4.2 and 12.5.3 (weights, Accept-Encoding); RFC 1952.
"""

import re
import zlib
from collections.abc import AsyncIterator

LEVEL = 1
LONGEST_ACCEPT_ENCODING = 256
"""Characters; Prometheus sends 4."""

_GZIP = 16 + zlib.MAX_WBITS
"""zlib's way to say: with the header and the checksum of gzip."""
_WEIGHT = re.compile(r"\s*q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*", re.IGNORECASE)


def accepts_gzip(text: str) -> bool:
    """Return whether an `Accept-Encoding` value takes gzip; what cannot be read takes nothing."""
    if len(text) > LONGEST_ACCEPT_ENCODING:
        return False
    weights = {}
    for part in text.split(","):
        coding, _, parameters = part.partition(";")
        weights[coding.strip().lower()] = _weight(parameters)
    return weights.get("gzip", weights.get("*", 0.0)) > 0.0


async def gzipped(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the chunks compressed, as one gzip member."""
    compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
    async for chunk in chunks:
        compressed = compressor.compress(chunk)
        if compressed:
            yield compressed
    yield compressor.flush()


def _weight(parameters: str) -> float:
    if not parameters.strip():
        return 1.0
    match = _WEIGHT.fullmatch(parameters)
    return float(match.group(1)) if match is not None else 0.0
