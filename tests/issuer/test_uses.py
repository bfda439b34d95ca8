"""Let each assertion count once, and nobody use up what is another's."""

from dataclasses import replace

import pytest

from gateway.settings.model import AssertionSettings, AuthorizationSettings, ClientSettings
from gateway.state.memory import MAX_USED
from gateway.tokens.revocations import KEPT_S
from tests.issuer.conftest import EC_RING, NOW, ServedIssuer, make_settings
from tests.issuer.test_assertions import (
    KEYS,
    PLATFORM,
    ask_as_client,
    ask_by_grant,
    claims,
    grant_claims,
    static,
    twin,
)
from tests.support.jws import Key, make_key

OTHER = make_key("ES256", "other-1")
CLUSTER = "https://kubernetes.default.svc.cluster.local"


def trusting(name: str, *keys: Key, issuer: str = PLATFORM, subject: str = "job") -> ClientSettings:
    return ClientSettings(name, assertions=(AssertionSettings(issuer, static(*keys), subject=subject),))


CLIENTS = [
    trusting("in-one", KEYS["ES256"], issuer=CLUSTER),
    trusting("in-two", OTHER, issuer=CLUSTER),
    trusting("listed", KEYS["ES256"]),
    trusting("listed-again", KEYS["RS256"], KEYS["ES256"]),  # the same key, found elsewhere
    ClientSettings("signer", keys=static(KEYS["ES256"], OTHER)),
    ClientSettings(
        "platform-like", assertions=(AssertionSettings("signer", static(OTHER), subject="signer"),)
    ),
]


@pytest.fixture
def served(issuer: ServedIssuer) -> ServedIssuer:
    known = make_settings()
    extra = {client.id: client for client in CLIENTS}
    grants = tuple(AuthorizationSettings(name, "country-service", ("country.read",)) for name in extra)
    issuer.configure(
        replace(known, clients={**known.clients, **extra}, authorizations=(*known.authorizations, *grants)),
        EC_RING,
    )
    return issuer


async def grant(issuer: ServedIssuer, assertion: str, client_id: str) -> int:
    status, _ = await ask_by_grant(issuer, assertion, client_id=client_id)
    return status


@pytest.mark.parametrize("jti", ["same", "\n", "é"])
async def test_two_platforms_of_one_name_use_up_nothing_of_each_other(served: ServedIssuer, jti: str) -> None:
    one, two = (key.token(grant_claims("job", iss=CLUSTER, jti=jti)) for key in (KEYS["ES256"], OTHER))
    assert await grant(served, one, "in-one") == 200
    assert await grant(served, two, "in-two") == 200
    for again, client in ((one, "in-one"), (twin(one), "in-one"), (two, "in-two"), (twin(two), "in-two")):
        assert await grant(served, again, client) == 400
    assert served.observer.replays == ["grant_assertion"] * 4


async def test_one_assertion_is_one_wherever_its_key_is_found(served: ServedIssuer) -> None:
    for first, second in (("listed", "listed-again"), ("listed-again", "listed")):
        assertion = KEYS["ES256"].token(grant_claims("job"))
        assert await grant(served, assertion, first) == 200
        assert await grant(served, assertion, second) == 400
        assert await grant(served, twin(assertion), second) == 400


async def test_a_platform_that_is_called_like_a_client_uses_up_nothing_of_it(served: ServedIssuer) -> None:
    theirs, ours = (key.token(claims("signer", jti="same")) for key in (OTHER, KEYS["ES256"]))
    assert await grant(served, theirs, "platform-like") == 200
    assert (await ask_as_client(served, ours))[0] == 200
    assert (await ask_as_client(served, ours))[0] == 401
    # This one is signed by a key that is the client's, too: it is one assertion, and it was used.
    assert (await ask_as_client(served, theirs))[0] == 401


@pytest.mark.parametrize("other", ["in-two", "signer"])
async def test_beyond_its_share_a_platform_waits_and_others_pass(served: ServedIssuer, other: str) -> None:
    uses = served.uses
    assert uses.limit == MAX_USED
    uses.limit = 1_000
    number = 0
    while not uses.wait_s(f"{CLUSTER}\n{served_key(KEYS['ES256'])}", uses.total, NOW):
        uses.add(f"{CLUSTER}\n{served_key(KEYS['ES256'])}", int(NOW) + 900, NOW)
        number += 1
    assert number == 100
    refused = KEYS["ES256"].token(grant_claims("job", iss=CLUSTER))
    status, body = await ask_by_grant(served, refused, client_id="in-one")
    assert (status, body["error"]) == (429, "temporarily_unavailable")
    assert served.observer.failures[-1] == ("jwt-bearer", "too_many_uses")
    if other == "in-two":
        assert await grant(served, OTHER.token(grant_claims("job", iss=CLUSTER)), other) == 200
    else:
        assert (await ask_as_client(served, OTHER.token(claims("signer"))))[0] == 200


def served_key(key: Key) -> str:
    return key.jwk.thumbprint()


async def test_a_use_is_remembered_a_day_longer_while_there_is_plenty(served: ServedIssuer) -> None:
    until: list[int] = []

    class Noting:
        async def first_use(self, key: str, expires_at: int) -> bool:
            until.append(expires_at)
            return True

    served.replay = Noting()
    assert await grant(served, OTHER.token(grant_claims("job", iss=CLUSTER)), "in-two") == 200
    served.uses.limit = 1_000
    while served.uses.has_plenty(f"{CLUSTER}\n{served_key(OTHER)}", served.uses.total, NOW):
        served.uses.add(f"{CLUSTER}\n{served_key(OTHER)}", int(NOW) + 900, NOW)
    assert await grant(served, OTHER.token(grant_claims("job", iss=CLUSTER)), "in-two") == 200
    assert until[0] - until[1] == KEPT_S
