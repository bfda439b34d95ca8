"""Write signed tokens member by member, honest ones and every other kind."""

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jwcrypto.jwk import JWK

from gateway.tokens.base64url import encode_base64url
from gateway.tokens.keys import make_signing_key

KINDS = {
    "ES256": {"kty": "EC", "crv": "P-256"},
    "RS256": {"kty": "RSA", "size": 2048},
    "PS256": {"kty": "RSA", "size": 2048},
    "EdDSA": {"kty": "OKP", "crv": "Ed25519"},
}

Sign = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Key:
    """A private key as its owner holds it."""

    kid: str
    alg: str
    jwk: JWK
    sign: Sign

    @property
    def public(self) -> dict[str, Any]:
        """Return the public JWK as its owner publishes it."""
        members = self.jwk.export_public(as_dict=True)
        return {**members, "kid": self.kid, "alg": self.alg, "use": "sig"}

    def compact(self, header: Mapping[str, Any] | bytes, payload: Mapping[str, Any] | bytes) -> bytes:
        """Return the token with exactly these parts."""
        return compact(header, payload, self.sign)

    def token(self, payload: Mapping[str, Any], **header: Any) -> str:
        """Return an honest token; a header member that is None is left out."""
        members = {"alg": self.alg, "kid": self.kid, **header}
        kept = {name: value for name, value in members.items() if value is not None}
        return self.compact(kept, payload).decode()


def make_key(alg: str = "ES256", kid: str = "k1") -> Key:
    """Return a new key; RSA takes a while."""
    jwk = JWK.generate(**KINDS[alg])
    return Key(kid, alg, jwk, make_signing_key(jwk, alg).sign)


def hs256(secret: bytes) -> Sign:
    """Return how HS256 signs with `secret`."""
    return lambda signing_input: hmac.new(secret, signing_input, hashlib.sha256).digest()


def compact(
    header: Mapping[str, Any] | bytes, payload: Mapping[str, Any] | bytes, sign: Sign = lambda _: b""
) -> bytes:
    """Return the token with exactly these parts; bytes are taken as they are."""
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signing_input = encode_base64url(head) + b"." + encode_base64url(body)
    return signing_input + b"." + encode_base64url(sign(signing_input))
