"""Compile settings into what requests look up."""

import hmac
from types import MappingProxyType

import msgspec
import pytest

from gateway.clients.registry import ScryptCost, compile_registry
from gateway.policy.model import AudienceGrant, ClientGrants
from gateway.settings.model import (
    AuthorizationSettings,
    ClientSettings,
    PlainSecret,
    ScryptSecret,
    Settings,
)


def scrypt(n: int) -> ScryptSecret:
    return ScryptSecret(n, 8, 1, b"s", b"d")


def settings(*clients: ClientSettings, authorizations: tuple[AuthorizationSettings, ...] = ()) -> Settings:
    return Settings(clients={client.id: client for client in clients}, authorizations=authorizations)


COUNTRY = ClientSettings("country", scopes={"read": "", "write": ""})


def test_grants_are_what_is_both_granted_and_offered() -> None:
    registry = compile_registry(
        settings(
            COUNTRY,
            ClientSettings("reader", secrets=(PlainSecret(b"s"),)),
            ClientSettings("off", disabled=True),
            authorizations=(
                AuthorizationSettings("reader", "country", ("read", "gone"), ("read", "gone"), 60.0, 99.0),
                AuthorizationSettings("reader", "reader"),
            ),
        )
    )
    assert registry.grants == {
        "country": ClientGrants(False, {}),
        "reader": ClientGrants(
            False,
            {"country": AudienceGrant(frozenset({"read"}), 99.0), "reader": AudienceGrant(frozenset(), None)},
        ),
        "off": ClientGrants(True, {}),
    }
    authorization = registry.clients["reader"].authorizations["country"]
    assert authorization.scopes == {"read"}
    assert authorization.default_scopes == ("read",)
    assert (authorization.token_lifetime_s, authorization.until) == (60.0, 99.0)
    assert "reader" not in registry.clients["country"].authorizations
    assert registry.scopes == {"read", "write"}


def test_methods_and_grants_default_to_what_the_credentials_make_possible() -> None:
    registry = compile_registry(
        settings(
            COUNTRY,
            ClientSettings("with", secrets=(PlainSecret(b"s"),)),
            ClientSettings(
                "limited", secrets=(PlainSecret(b"s"),), auth_methods=frozenset({"client_secret_post"})
            ),
        )
    )
    assert registry.clients["country"].grants == frozenset()
    assert registry.clients["country"].auth_methods == frozenset()
    assert registry.clients["with"].grants == {"client_credentials"}
    assert registry.clients["with"].auth_methods == {"client_secret_basic", "client_secret_post"}
    assert registry.clients["limited"].auth_methods == {"client_secret_post"}


def test_two_authorizations_for_one_pair_are_refused() -> None:
    twice = (AuthorizationSettings("a", "b"), AuthorizationSettings("a", "b"))
    with pytest.raises(ValueError, match="two authorizations"):
        compile_registry(settings(authorizations=twice))


def test_every_failure_costs_the_same_scrypt_computations() -> None:
    registry = compile_registry(
        settings(
            ClientSettings("none"),
            ClientSettings("plain", secrets=(PlainSecret(b"s"),)),
            ClientSettings("one", secrets=(scrypt(16),)),
            ClientSettings("rotating", secrets=(scrypt(16), scrypt(16))),
            ClientSettings("other", secrets=(scrypt(32), PlainSecret(b"s"))),
        )
    )
    for client in [registry.nobody, *registry.clients.values()]:
        own = [ScryptCost(s.n, s.r, s.p) for s in client.scrypt_secrets]
        total = sorted([*own, *client.scrypt_padding], key=lambda cost: cost.n)
        assert total == [ScryptCost(16, 8, 1), ScryptCost(16, 8, 1), ScryptCost(32, 8, 1)], client.id


def test_without_scrypt_no_failure_costs_any() -> None:
    registry = compile_registry(settings(ClientSettings("plain", secrets=(PlainSecret(b"s"),))))
    assert registry.nobody.scrypt_padding == ()


def test_extra_claims_become_plain_json_and_cannot_set_what_the_issuer_decides() -> None:
    claims = MappingProxyType({"tenant": MappingProxyType({"ids": (1, 2)}), "sub": "admin", "scope": "all"})
    registry = compile_registry(settings(ClientSettings("c", claims=claims)))
    assert msgspec.json.encode(registry.clients["c"].claims) == b'{"tenant":{"ids":[1,2]}}'


def test_no_representation_shows_a_secret() -> None:
    registry = compile_registry(settings(ClientSettings("c", secrets=(PlainSecret(b"very-secret"),))))
    assert "very-secret" not in repr(registry)


@pytest.mark.parametrize("size", [32, 64, 65, 64 * 1024])
def test_a_long_secret_is_no_dearer_to_sign_with_than_a_short_one(size: int) -> None:
    """Everybody's forged assertion is compared with it: RFC 2104 hashes a long key each time."""
    secret = bytes(range(256)) * 256
    registry = compile_registry(settings(ClientSettings("c", secrets=(PlainSecret(secret[:size]),))))
    (key,) = registry.clients["c"].hmac_secrets
    assert len(key) <= 64
    assert hmac.digest(key, b"signed", "sha256") == hmac.digest(secret[:size], b"signed", "sha256")
