"""Recognise Ed25519 public keys that are points of small order: anybody can sign for one.

For such a point A the check of a signature, S·B = R + h·A, depends on the hash h modulo 8 at
most, so that whoever tries a few messages finds a signature without any private key. OpenSSL
takes these points. An honest key is one with a chance of about 2^-250. Pure.

Sources: RFC 8032 5.1.3 and 5.1.7; Chalkias et al., "Taming the Many EdDSAs" (2020), 2 and 3.
"""

_PRIME = 2**255 - 19
_SIGN_BIT = 1 << 255
_EIGHTH = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD83D3D706A17C7
"""The y of a point of order 8; that of the others is its negative."""
_SMALL_ORDER = frozenset({0, 1, _PRIME - 1, _EIGHTH, _PRIME - _EIGHTH})
"""The y of each of the eight points whose order divides 8."""


def is_of_small_order(encoded: bytes) -> bool:
    """Return whether 32 octets spell such a point, also by a y that is not reduced."""
    y = int.from_bytes(encoded, "little") & (_SIGN_BIT - 1)
    return y % _PRIME in _SMALL_ORDER
