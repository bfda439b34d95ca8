"""Check secrets of every kind, and that what we print is what we accept."""

import hashlib

import pytest

from gateway.clients.registry import ScryptCost
from gateway.clients.secrets import (
    check_quick_secrets,
    check_scrypt_secrets,
    generate_secret,
    hash_scrypt,
)
from gateway.settings.model import PlainSecret, ScryptSecret, Sha256Secret


def sha256_secret(text: bytes, salt: bytes = b"salt") -> Sha256Secret:
    return Sha256Secret(salt, hashlib.sha256(salt + text).digest())


def scrypt_secret(text: bytes, n: int = 16) -> ScryptSecret:
    return ScryptSecret(n, 8, 1, b"salt", hashlib.scrypt(text, salt=b"salt", n=n, r=8, p=1, dklen=32))


def read_stored(text: str) -> Sha256Secret | ScryptSecret:
    kind, *fields = text.split(":")
    if kind == "sha256":
        return Sha256Secret(bytes.fromhex(fields[0]), bytes.fromhex(fields[1]))
    n, r, p = map(int, fields[:3])
    return ScryptSecret(n, r, p, bytes.fromhex(fields[3]), bytes.fromhex(fields[4]))


@pytest.mark.parametrize("stored", [sha256_secret(b"right"), PlainSecret(b"right")])
@pytest.mark.parametrize(
    ("given", "expected"),
    [(b"right", True), (b"wrong", False), (b"", False), (b"right\0", False), (b"Right", False)],
)
def test_quick_secrets(stored: Sha256Secret | PlainSecret, given: bytes, expected: bool) -> None:
    assert check_quick_secrets(given, [stored]) is expected


def test_any_of_several_secrets_is_valid() -> None:
    stored = [sha256_secret(b"old"), PlainSecret(b"new")]
    assert check_quick_secrets(b"old", stored)
    assert check_quick_secrets(b"new", stored)
    assert not check_quick_secrets(b"oldnew", stored)
    assert not check_quick_secrets(b"", [])


def test_scrypt_secrets() -> None:
    stored = [scrypt_secret(b"old"), scrypt_secret(b"new", n=32)]
    assert check_scrypt_secrets(b"old", stored, [])
    assert check_scrypt_secrets(b"new", stored, [ScryptCost(16, 8, 1)])
    assert not check_scrypt_secrets(b"other", stored, [ScryptCost(16, 8, 1)])
    assert not check_scrypt_secrets(b"other", [], [])


def test_the_largest_allowed_cost_fits_in_memory() -> None:
    assert not check_scrypt_secrets(b"x", [], [ScryptCost(2**15, 8, 2)])


def test_a_generated_secret_is_accepted_in_its_stored_form() -> None:
    secret, stored = generate_secret()
    assert len(secret) == 43
    parsed = read_stored(stored)
    assert isinstance(parsed, Sha256Secret)
    assert check_quick_secrets(secret.encode(), [parsed])
    assert generate_secret()[0] != secret


def test_a_hashed_secret_is_accepted_in_its_stored_form() -> None:
    parsed = read_stored(hash_scrypt("pässword"))
    assert isinstance(parsed, ScryptSecret)
    assert len(parsed.digest) == 32
    assert check_scrypt_secrets("pässword".encode(), [parsed], [])


def test_no_representation_shows_a_secret() -> None:
    assert "right" not in repr(PlainSecret(b"right"))
