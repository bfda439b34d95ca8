"""Guess secrets at a running issuer, and let the right ones in."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway.oauth_names import ASSERTION_TYPE
from gateway.settings.model import (
    AuthorizationSettings,
    ClientSettings,
    LimitSettings,
    PlainSecret,
    Rate,
    RemoteKeySource,
    ScryptSecret,
    StaticKeySource,
)
from tests.issuer.conftest import EC_RING, NOW, SECRET, ServedIssuer, basic, make_settings, scrypt_client
from tests.support.jws import compact, hs256, make_key

FORM = {"grant_type": "client_credentials"}


@pytest.fixture
def limited(issuer: ServedIssuer) -> ServedIssuer:
    settings = replace(make_settings(), limits=LimitSettings(auth_failures=Rate(3, 60.0)))
    issuer.configure(settings, EC_RING)
    return issuer


async def ask(issuer: ServedIssuer, client_id: str, secret: str, path: str = "token") -> tuple[int, Any, Any]:
    form = FORM if path == "token" else {"token": "x"}
    headers = {"Authorization": basic(client_id, secret)}
    async with issuer.http.post(f"{issuer.url}/oauth2/{path}", data=form, headers=headers) as answer:
        return answer.status, answer.headers, await answer.json() if answer.content_length else None


@pytest.mark.parametrize("client_id", ["reader", "no such client"])
async def test_guesses_end_in_429(limited: ServedIssuer, client_id: str) -> None:
    for _ in range(3):
        status, headers, body = await ask(limited, client_id, "wrong")
        assert (status, body["error"]) == (401, "invalid_client")
        assert "Retry-After" not in headers
    status, headers, body = await ask(limited, client_id, "wrong")
    assert (status, body["error"], body["status"]) == (429, "temporarily_unavailable", 429)
    assert 1 <= int(headers["Retry-After"]) <= 60
    assert headers["Cache-Control"] == "no-store"
    assert limited.observer.failures[-1] == ("client_secret_basic", "slowed_down")


async def test_the_right_secret_is_not_compared_either(limited: ServedIssuer) -> None:
    for _ in range(3):
        await ask(limited, "reader", "wrong")
    assert (await ask(limited, "reader", SECRET))[0] == 429
    assert (await ask(limited, "writer", "writer-secret", "introspect"))[0] == 200


@pytest.mark.parametrize("path", ["token", "introspect", "revoke"])
async def test_every_endpoint_counts_and_heeds(limited: ServedIssuer, path: str) -> None:
    for _ in range(3):
        assert (await ask(limited, "reader", "wrong", path))[0] == 401
    for other in ("token", "introspect", "revoke"):
        assert (await ask(limited, "reader", SECRET, other))[0] == 429


async def test_only_guesses_count(limited: ServedIssuer) -> None:
    for _ in range(10):
        assert (await ask(limited, "reader", SECRET))[0] == 200
        assert (await ask(limited, "off", "s"))[0] == 401
        async with limited.http.post(limited.url + "/oauth2/token", data=FORM) as answer:
            assert answer.status == 401
    assert (await ask(limited, "reader", SECRET))[0] == 200


KEY = make_key("ES256", "k1")
STRANGER = make_key("ES256", "k1")
MAC_SECRET = b"a readable secret of thirty-two bytes or more"


async def assert_by(issuer: ServedIssuer, client: str, sign: Callable[[dict[str, Any]], str]) -> int:
    claims = {"iss": client, "sub": client, "aud": make_settings().issuer.url, "exp": int(NOW) + 60}
    form = {**FORM, "client_assertion_type": ASSERTION_TYPE, "client_assertion": sign(claims)}
    async with issuer.http.post(issuer.url + "/oauth2/token", data=form) as answer:
        return answer.status


@pytest.mark.parametrize("client", ["signer", "symmetric", "nobody"])
async def test_wrong_signatures_count_for_the_client_that_they_name(
    limited: ServedIssuer, client: str
) -> None:
    settings = replace(make_settings(), limits=LimitSettings(auth_failures=Rate(3, 60.0)))
    keys = StaticKeySource(json.dumps({"keys": [KEY.public]}).encode())
    signer = ClientSettings("signer", keys=keys)
    symmetric = ClientSettings("symmetric", secrets=(PlainSecret(MAC_SECRET),))
    more = {each.id: each for each in (signer, symmetric)}
    granted = tuple(AuthorizationSettings(name, "country-service") for name in more)
    limited.configure(
        replace(
            settings,
            clients={**settings.clients, **more},
            authorizations=(*settings.authorizations, *granted),
        ),
        EC_RING,
    )

    def forge(claims: dict[str, Any]) -> str:
        if client == "signer":
            return STRANGER.token(claims)
        return compact({"alg": "HS256"}, claims, hs256(b"a guess")).decode()

    assert [await assert_by(limited, client, forge) for _ in range(4)] == [401, 401, 401, 429]
    method = "private_key_jwt" if client == "signer" else "client_secret_jwt"
    assert limited.observer.failures[-1] == (method, "slowed_down")
    others = {"signer": lambda claims: KEY.token(claims)}
    others["symmetric"] = lambda claims: compact({"alg": "HS256"}, claims, hs256(MAC_SECRET)).decode()
    assert {name: await assert_by(limited, name, sign) for name, sign in others.items()} == {
        name: 429 if name == client else 200 for name in others
    }


RSA_KEY = make_key("RS256", "k2")
NAMED = [
    ClientSettings("audience only", scopes={"x": ""}),
    ClientSettings("secret only", secrets=(PlainSecret(b"secret"),)),
    ClientSettings("readable secret", secrets=(PlainSecret(MAC_SECRET),)),
    ClientSettings("keys", keys=StaticKeySource(json.dumps({"keys": [KEY.public, RSA_KEY.public]}).encode())),
    ClientSettings(
        "disabled", keys=StaticKeySource(json.dumps({"keys": [KEY.public]}).encode()), disabled=True
    ),
]
JUNK: dict[str, Callable[[dict[str, Any]], str]] = {
    **{alg: make_key(alg, "unknown").token for alg in ("ES256", "RS256", "PS256", "EdDSA")},
    "a known kid": STRANGER.token,
    "the kid of another algorithm": lambda claims: STRANGER.token(claims, kid="k2"),
    "no kid": lambda claims: STRANGER.token(claims, kid=None),
    "HS256": lambda claims: compact({"alg": "HS256"}, claims, hs256(b"a guess")).decode(),
    "HS256 with a kid": lambda claims: compact({"alg": "HS256", "kid": "k1"}, claims, hs256(b"x")).decode(),
}


@pytest.mark.parametrize("client", [*(each.id for each in NAMED), "nobody"])
@pytest.mark.parametrize("junk", JUNK)
async def test_the_throttle_does_not_tell_which_clients_exist(
    limited: ServedIssuer, client: str, junk: str
) -> None:
    settings = replace(make_settings(), limits=LimitSettings(auth_failures=Rate(3, 60.0)))
    clients = {**settings.clients, **{each.id: each for each in NAMED}}
    limited.configure(replace(settings, clients=clients), EC_RING)
    assert [await assert_by(limited, client, JUNK[junk]) for _ in range(4)] == [401, 401, 401, 429]


async def test_keys_that_cannot_be_fetched_are_no_guess(limited: ServedIssuer) -> None:
    settings = replace(make_settings(), limits=LimitSettings(auth_failures=Rate(3, 60.0)))
    away = ClientSettings("away", keys=RemoteKeySource("away", "http://127.0.0.1:9/jwks"))
    limited.configure(replace(settings, clients={**settings.clients, "away": away}), EC_RING)
    assert [await assert_by(limited, "away", KEY.token) for _ in range(5)] == [503] * 5


async def test_what_a_proven_client_is_told_is_no_guess(limited: ServedIssuer) -> None:
    settings = replace(make_settings(), limits=LimitSettings(auth_failures=Rate(3, 60.0)))
    clients = {**settings.clients, **{each.id: each for each in NAMED}}
    limited.configure(replace(settings, clients=clients), EC_RING)
    for client in ("keys", "disabled"):
        late = [
            await assert_by(limited, client, lambda claims: KEY.token({**claims, "exp": int(NOW) - 600}))
            for _ in range(5)
        ]
        assert late == [401] * 5
        assert await assert_by(limited, client, KEY.token) == 401 if client == "disabled" else 200


PATHS = ["token", "introspect", "revoke"]
OUTSIDERS = 30
"""Ten times what `limited` lets a peer fail for one client: the address is closed after that."""


async def close_address(issuer: ServedIssuer) -> None:
    for number in range(OUTSIDERS):
        assert (await ask(issuer, f"invented {number}", "guess"))[0] == 401
    assert (await ask(issuer, "invented", "guess"))[0] == 429


def with_person(issuer: ServedIssuer, *more: ScryptSecret) -> None:
    """Give `limited` a client whose secret was chosen by a person."""
    settings = replace(make_settings(), limits=LimitSettings(auth_failures=Rate(3, 60.0)))
    person = scrypt_client("person", b"chosen")
    person = replace(person, secrets=(*person.secrets, *more))
    granted = AuthorizationSettings("person", "country-service")
    issuer.configure(
        replace(
            settings,
            clients={**settings.clients, "person": person},
            authorizations=(*settings.authorizations, granted),
        ),
        EC_RING,
    )


@pytest.mark.parametrize(("client", "secret"), [("reader", SECRET), ("person", "chosen")])
async def test_strangers_do_not_lock_out_who_logged_in_from_beside_them(
    limited: ServedIssuer, client: str, secret: str
) -> None:
    with_person(limited)
    assert (await ask(limited, client, secret))[0] == 200
    await close_address(limited)
    for path in PATHS:
        assert (await ask(limited, client, secret, path))[0] == 200
        # Nobody else: neither who has not logged in from here, nor who does not exist.
        assert (await ask(limited, "writer", "writer-secret", path))[0] == 429
        assert (await ask(limited, "nobody", "guess", path))[0] == 429


async def test_at_a_closed_address_who_is_known_has_his_own_failures(limited: ServedIssuer) -> None:
    assert (await ask(limited, "reader", SECRET))[0] == 200
    await close_address(limited)
    for _ in range(2):
        status, headers, body = await ask(limited, "reader", "wrong")
        stranger = await ask(limited, "nobody", "wrong")
        # The answer does not tell that this client exists.
        assert (status, body) == (429, stranger[2])
        assert headers["Retry-After"] == stranger[1]["Retry-After"]
        assert (await ask(limited, "reader", SECRET))[0] == 200
    assert (await ask(limited, "reader", "wrong"))[0] == 429
    assert (await ask(limited, "reader", SECRET))[0] == 429  # used up
    assert limited.observer.failures[-1] == ("client_secret_basic", "slowed_down")


async def test_a_new_secret_is_compared_at_a_closed_address_too(limited: ServedIssuer) -> None:
    (new,) = scrypt_client("person", b"new").secrets
    assert isinstance(new, ScryptSecret)
    with_person(limited, new)
    assert (await ask(limited, "person", "chosen"))[0] == 200
    await close_address(limited)
    assert (await ask(limited, "person", "new"))[0] == 200


async def test_a_client_assertion_is_known_at_a_closed_address_too(limited: ServedIssuer) -> None:
    settings = replace(make_settings(), limits=LimitSettings(auth_failures=Rate(3, 60.0)))
    clients = {**settings.clients, **{each.id: each for each in NAMED}}
    granted = AuthorizationSettings("keys", "country-service")
    limited.configure(
        replace(settings, clients=clients, authorizations=(*settings.authorizations, granted)), EC_RING
    )
    assert await assert_by(limited, "keys", KEY.token) == 200
    await close_address(limited)
    assert await assert_by(limited, "keys", KEY.token) == 200
    assert await assert_by(limited, "keys", STRANGER.token) == 429
    assert await assert_by(limited, "disabled", KEY.token) == 429


async def test_a_secret_that_was_taken_away_is_not_recognised(limited: ServedIssuer) -> None:
    with_person(limited)
    assert (await ask(limited, "person", "chosen"))[0] == 200
    settings = replace(make_settings(), limits=LimitSettings(auth_failures=Rate(3, 60.0)))
    changed = scrypt_client("person", b"another")
    limited.configure(replace(settings, clients={**settings.clients, "person": changed}), EC_RING)
    assert (await ask(limited, "person", "chosen"))[0] == 401


BOTH = ClientSettings(
    "both",
    secrets=(PlainSecret(b"a secret of both"),),
    keys=StaticKeySource(json.dumps({"keys": [KEY.public]}).encode()),
)


def with_both(issuer: ServedIssuer) -> None:
    """Give `limited` a client that has a secret and keys."""
    settings = replace(make_settings(), limits=LimitSettings(auth_failures=Rate(3, 60.0)))
    granted = AuthorizationSettings("both", "country-service")
    issuer.configure(
        replace(
            settings,
            clients={**settings.clients, "both": BOTH},
            authorizations=(*settings.authorizations, granted),
        ),
        EC_RING,
    )


@pytest.mark.parametrize("junk", JUNK)
async def test_assertions_in_its_name_do_not_lock_a_known_caller_out(
    limited: ServedIssuer, junk: str
) -> None:
    assert (await ask(limited, "reader", SECRET))[0] == 200
    assert [await assert_by(limited, "reader", JUNK[junk]) for _ in range(5)] == [401] * 3 + [429] * 2
    for path in PATHS:
        assert (await ask(limited, "reader", SECRET, path))[0] == 200
    # Nor is it any help for guesses at the secret, or told to who makes them.
    stranger = [await assert_by(limited, "nobody", JUNK[junk]) for _ in range(4)]
    assert stranger == [401] * 3 + [429]
    for _ in range(3):
        status, _, body = await ask(limited, "reader", "wrong")
        assert (status, body) == (429, (await ask(limited, "nobody", "wrong"))[2])
    assert (await ask(limited, "reader", SECRET))[0] == 429


async def test_guesses_at_a_secret_do_not_close_the_keys_of_a_known_caller(limited: ServedIssuer) -> None:
    with_both(limited)
    assert await assert_by(limited, "both", KEY.token) == 200
    assert [(await ask(limited, "both", "wrong"))[0] for _ in range(4)] == [401] * 3 + [429]
    assert (await ask(limited, "both", "a secret of both"))[0] == 429
    assert await assert_by(limited, "both", KEY.token) == 200


async def test_who_is_not_known_has_one_count_for_all_it_is_proven_by(limited: ServedIssuer) -> None:
    with_both(limited)
    assert await assert_by(limited, "both", STRANGER.token) == 401
    assert [(await ask(limited, "both", "wrong"))[0] for _ in range(3)] == [401, 401, 429]
    assert await assert_by(limited, "both", KEY.token) == 429
    assert (await ask(limited, "both", "a secret of both"))[0] == 429
