"""Check, make and store client secrets.

Stored forms (the text of the settings; salt and digest in hexadecimal):

- `sha256:SALT:DIGEST`, DIGEST = SHA-256(salt octets + secret octets). For random
  secrets of 256 bits, which cannot be guessed: no slow hash is needed.
- `scrypt:N:R:P:SALT:DIGEST`, DIGEST = scrypt(secret, salt, N, R, P) of 32 octets. For
  secrets chosen by people.

Every comparison takes the same time wherever the texts differ. scrypt takes tens of
milliseconds: `gateway.clients.scrypt_worker` runs it off the event loop.

Sources: RFC 6749 2.3.1 and 10.10, RFC 7914.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence

from gateway.clients.failure_costs import ScryptCost
from gateway.settings.model import PlainSecret, ScryptSecret, Sha256Secret

SCRYPT_N = 2**14
SCRYPT_R = 8
SCRYPT_P = 1
SCRYPT_LENGTH = 32
_SALT_LENGTH = 16

NOBODYS_SECRET = Sha256Secret(salt=bytes(_SALT_LENGTH), digest=bytes(32))
"""A secret whose SHA-256 is all zero is not known to anyone."""


def check_quick_secrets(
    given: bytes, stored: Sequence[Sha256Secret | PlainSecret], *, tries: int = 0
) -> bool:
    """Return whether `given` is one of `stored`; all are compared, also after a match.

    Args:
        given: The secret as it was sent.
        stored: What it is compared with.
        tries: How many comparisons are made at least.
    """
    matched = False
    for _ in range(tries - len(stored)):
        _is_quick_match(given, NOBODYS_SECRET)
    for secret in stored:
        matched |= _is_quick_match(given, secret)
    return matched


def _is_quick_match(given: bytes, stored: Sha256Secret | PlainSecret) -> bool:
    match stored:
        case Sha256Secret(salt, digest):
            return hmac.compare_digest(hashlib.sha256(salt + given).digest(), digest)
        case PlainSecret(value):
            # Hashed first: compare_digest tells the length of texts that differ in it.
            return hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(value).digest())


def check_scrypt_secrets(
    given: bytes, stored: Sequence[ScryptSecret], padding: Sequence[ScryptCost]
) -> ScryptSecret | None:
    """Return the one of `stored` that `given` is, or None; a failure also computes `padding`.

    Takes tens of milliseconds per computation and holds 128·N·r octets meanwhile.
    """
    for secret in stored:
        digest = _scrypt(given, secret.salt, secret.n, secret.r, secret.p, len(secret.digest))
        if hmac.compare_digest(digest, secret.digest):
            return secret
    for cost in padding:
        _scrypt(given, bytes(_SALT_LENGTH), cost.n, cost.r, cost.p, SCRYPT_LENGTH)
    return None


def _scrypt(secret: bytes, salt: bytes, n: int, r: int, p: int, length: int) -> bytes:
    memory = 128 * r * (n + p + 4)
    return hashlib.scrypt(secret, salt=salt, n=n, r=r, p=p, maxmem=memory, dklen=length)


def generate_secret() -> tuple[str, str]:
    """Return a new random secret (256 bits, base64url) and its stored form."""
    secret = secrets.token_urlsafe(32)
    salt = os.urandom(_SALT_LENGTH)
    digest = hashlib.sha256(salt + secret.encode()).digest()
    return secret, f"sha256:{salt.hex()}:{digest.hex()}"


def hash_scrypt(secret: str) -> str:
    """Return the stored form of a secret chosen by a person."""
    salt = os.urandom(_SALT_LENGTH)
    digest = _scrypt(secret.encode(), salt, SCRYPT_N, SCRYPT_R, SCRYPT_P, SCRYPT_LENGTH)
    return f"scrypt:{SCRYPT_N}:{SCRYPT_R}:{SCRYPT_P}:{salt.hex()}:{digest.hex()}"
