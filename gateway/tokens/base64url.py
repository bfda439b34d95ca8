"""Spell octets in unpadded base64url, and read that one spelling.

Pure. Every text here has exactly one spelling: stray bits behind the last byte are
refused, because two spellings of one token would slip past anything keyed by its bytes.

Sources: RFC 7515 2 and appendix C; RFC 4648 3.5 and 5.
"""

import binascii

_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_TO_URL = bytes.maketrans(b"+/", b"-_")
_LAST_OF_ONE_BYTE = frozenset(b"AQgw")
_LAST_OF_TWO_BYTES = frozenset(b"AEIMQUYcgkosw048")


def decode_base64url(segment: bytes) -> bytes | None:
    """Return the bytes that `segment` spells, or None unless it is their one exact spelling.

    Expects characters of the base64url alphabet only.
    """
    match len(segment) % 4:
        case 0:
            return binascii.a2b_base64(segment.translate(_TO_STANDARD))
        case 2 if segment[-1] in _LAST_OF_ONE_BYTE:
            return binascii.a2b_base64(segment.translate(_TO_STANDARD) + b"==")
        case 3 if segment[-1] in _LAST_OF_TWO_BYTES:
            return binascii.a2b_base64(segment.translate(_TO_STANDARD) + b"=")
        case _:
            return None


def encode_base64url(octets: bytes) -> bytes:
    """Return the unpadded base64url spelling of `octets`."""
    return binascii.b2a_base64(octets, newline=False).rstrip(b"=").translate(_TO_URL)
