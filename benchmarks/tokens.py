"""Mint access tokens offline, with the key file that a contender verifies them by.

They look as the issuer's do (RFC 9068 2), but no issuer has seen them: a gate must
verify each one's signature the first time it comes.

Sources: RFC 9068 2, RFC 7515 3.1, RFC 7518 3.3 and 3.4.
"""

import base64
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jwcrypto.jwk import JWK

LIFETIME_S = 6 * 3600


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key with the name that tokens carry for it."""

    private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    kid: str

    @property
    def algorithm(self) -> str:
        """Return the JWS name of the one algorithm that the key is used with."""
        return "ES256" if isinstance(self.private, ec.EllipticCurvePrivateKey) else "RS256"

    def private_pem(self) -> bytes:
        """Return the key as PKCS#8."""
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def public_pem(self) -> bytes:
        """Return the public half as SubjectPublicKeyInfo."""
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, message: bytes) -> bytes:
        """Return the JWS signature over `message`."""
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(message, padding.PKCS1v15(), hashes.SHA256())
        r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def make_key(algorithm: str, rsa_bits: int = 2048) -> SigningKey:
    """Return a new key for ES256 or RS256, named by its RFC 7638 thumbprint."""
    private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if algorithm == "ES256":
        private = ec.generate_private_key(ec.SECP256R1())
    else:
        private = rsa.generate_private_key(65537, rsa_bits)
    public_pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return SigningKey(private, str(JWK.from_pem(public_pem).thumbprint()))


def mint(
    key: SigningKey, *, issuer: str, audience: str, clients: list[str], scope: str, count: int
) -> Iterator[str]:
    """Yield `count` distinct tokens, the clients taking turns."""
    now = int(time.time())
    header = _encode({"alg": key.algorithm, "kid": key.kid, "typ": "at+jwt"})
    for number in range(count):
        client = clients[number % len(clients)]
        payload = {
            "iss": issuer,
            "sub": client,
            "client_id": client,
            "aud": audience,
            "iat": now,
            "nbf": now,
            "exp": now + LIFETIME_S,
            "jti": str(uuid.uuid4()),
            "scope": scope,
        }
        message = header + b"." + _encode(payload)
        yield (message + b"." + _base64url(key.sign(message))).decode("ascii")


def write_tokens(path: Path, tokens: Iterator[str]) -> None:
    """Write one token a line."""
    with path.open("w", encoding="ascii") as file:
        file.writelines(f"{token}\n" for token in tokens)


def _encode(document: dict[str, object]) -> bytes:
    return _base64url(json.dumps(document, separators=(",", ":")).encode())


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
