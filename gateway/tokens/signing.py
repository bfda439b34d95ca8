"""Write compact tokens.

Reading tokens is `gateway.tokens.jwt`. Pure: no I/O, no clock.

Sources: RFC 7515 7.1; RFC 7519 4.
"""

from collections.abc import Mapping

import msgspec

from gateway.tokens.base64url import encode_base64url
from gateway.tokens.key_ring import AT_JWT, SigningKey, protected_header


def sign_compact(key: SigningKey, claims: Mapping[str, object], *, typ: str = AT_JWT) -> bytes:
    """Return `claims` as a compact token signed by `key`, with `alg`, `kid` and `typ` in its header."""
    header = protected_header(key.alg, key.kid, typ)
    signing_input = header + b"." + encode_base64url(msgspec.json.encode(claims))
    return signing_input + b"." + encode_base64url(key.sign(signing_input))
