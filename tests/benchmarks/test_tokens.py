"""Show that tokens minted for the benchmark are what a gate expects of the issuer's."""

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from benchmarks.tokens import make_key, mint


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_each_minted_token_is_another_and_verifies(algorithm):
    key = make_key(algorithm)
    asked = {"issuer": "https://issuer.example", "audience": "country-service", "scope": "country.read"}
    tokens = list(mint(key, clients=["a", "b"], count=3, **asked))
    assert len(set(tokens)) == 3
    for token, client in zip(tokens, ["a", "b", "a"], strict=True):
        assert jwt.get_unverified_header(token) == {"alg": algorithm, "kid": key.kid, "typ": "at+jwt"}
        claims = jwt.decode(
            token,
            load_pem_public_key(key.public_pem()),
            algorithms=[algorithm],
            audience="country-service",
            issuer="https://issuer.example",
        )
        assert claims["client_id"] == claims["sub"] == client
        assert claims["scope"] == "country.read"


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_the_gate_gets_the_same_key_as_the_peers(algorithm):
    key = make_key(algorithm)
    private = load_pem_private_key(key.private_pem(), None)
    assert private.public_key() == load_pem_public_key(key.public_pem())
