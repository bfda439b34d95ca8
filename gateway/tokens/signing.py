"""Write compact tokens, and know the headers of our own by heart.

Reading tokens is `gateway.tokens.jwt`. Pure: no I/O, no clock.

Sources: RFC 7515 4 and 7.1; RFC 7519 4; RFC 9068 2.1.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec

from gateway.tokens.base64url import encode_base64url
from gateway.tokens.key_ring import AT_JWT, KeyRing, SigningKey, VerificationKey


def make_key_ring(active: SigningKey, verification: Iterable[VerificationKey]) -> KeyRing:
    """Return the ring that signs with `active` and verifies with `verification`.

    Raises:
        ValueError: `active` has no counterpart in `verification`.
    """
    keys = {key.kid: key for key in verification}
    if active.kid not in keys:
        raise ValueError("the active key is not among the verification keys")
    ordered = {active.kid: keys[active.kid], **keys}
    headers: dict[bytes, Mapping[str, object]] = {
        protected_header(key.alg, key.kid, AT_JWT): MappingProxyType(
            {"alg": key.alg, "kid": key.kid, "typ": AT_JWT}
        )
        for key in ordered.values()
    }
    return KeyRing(active, MappingProxyType(ordered), MappingProxyType(headers))


def protected_header(alg: str, kid: str, typ: str) -> bytes:
    """Return the first segment of a compact token as we write it (RFC 7515 4)."""
    return encode_base64url(msgspec.json.encode({"alg": alg, "kid": kid, "typ": typ}))


def sign_compact(key: SigningKey, claims: Mapping[str, object], *, typ: str = AT_JWT) -> bytes:
    """Return `claims` as a compact token signed by `key`, with `alg`, `kid` and `typ` in its header."""
    header = protected_header(key.alg, key.kid, typ)
    signing_input = header + b"." + encode_base64url(msgspec.json.encode(claims))
    return signing_input + b"." + encode_base64url(key.sign(signing_input))
