"""Hold the keys that a signature is compared with when nobody may have made it.

So an unknown client costs what a wrong signature costs (`gateway.clients.failure_costs`). One
key of each algorithm, and nobody signs with them: base points of the curves, and the RSA key of
RFC 7515 A.2. Pure.
"""

from gateway.tokens.foreign_keys import read_key_set
from gateway.tokens.key_sets import KeySet

_DECOYS: bytes = b"""{"keys": [
{"kty": "EC", "crv": "P-256", "x": "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
 "y": "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"},
{"kty": "OKP", "crv": "Ed25519", "x": "WGZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY"},
{"kty": "RSA", "alg": "RS256", "e": "AQAB", "n": "%(n)b"},
{"kty": "RSA", "alg": "PS256", "e": "AQAB", "n": "%(n)b"}
]}""" % {
    b"n": b"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL"
    b"-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-"
    b"KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h"
    b"9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
}


def read_decoys() -> KeySet:
    """Return the keys, one of each algorithm."""
    return read_key_set(_DECOYS)
