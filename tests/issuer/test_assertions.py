"""Prove oneself by signed assertions over a socket: clients, identities, and how both are refused."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from gateway.clients.assertions import BACKDATED_S
from gateway.settings.model import (
    AssertionSettings,
    AuthorizationSettings,
    ClientSettings,
    PlainSecret,
    RemoteKeySource,
    Settings,
    StaticKeySource,
)
from gateway.state.interface import StateUnavailableError
from gateway.state.memory import MemoryReplayGuard
from gateway.tokens.base64url import decode_base64url, encode_base64url
from gateway.tokens.key_ring import VerificationKey
from gateway.tokens.key_sets import ForeignKey, KeySet
from tests.issuer.conftest import BASIC, EC_RING, NOW, ServedIssuer, basic, make_settings
from tests.support.jws import Key, compact, hs256, make_key

ISSUER = "https://issuer.example"
PLATFORM = "https://platform.example"
CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LONG_SECRET = b"a readable secret of thirty-two bytes or more"

KEYS = {alg: make_key(alg, f"{alg}-1") for alg in ("ES256", "RS256", "PS256", "EdDSA")}
STRANGER = make_key("ES256", "ES256-1")
NUMBERS = itertools.count()


def static(*keys: Key) -> StaticKeySource:
    return StaticKeySource(json.dumps({"keys": [key.public for key in keys]}).encode())


def identity(**changes: Any) -> AssertionSettings:
    known = AssertionSettings(PLATFORM, static(KEYS["RS256"], KEYS["ES256"]), subject="job-1")
    return replace(known, **changes)


CLIENTS = [
    ClientSettings("asymmetric", keys=static(*KEYS.values())),
    ClientSettings("legacy", keys=static(KEYS["ES256"]), legacy_audience=True),
    ClientSettings("demanding", keys=static(KEYS["ES256"]), require_jti=True),
    ClientSettings("repeating", keys=static(KEYS["ES256"]), single_use_assertions=False),
    ClientSettings("symmetric", secrets=(PlainSecret(LONG_SECRET), PlainSecret(b"short"))),
    ClientSettings("short", secrets=(PlainSecret(b"too short for a mac"),)),
    ClientSettings("only-basic", secrets=(PlainSecret(LONG_SECRET),), keys=static(KEYS["ES256"]),
                   auth_methods=frozenset({"client_secret_basic"})),
    ClientSettings("gone", keys=static(KEYS["ES256"]), disabled=True),
    ClientSettings("away", keys=RemoteKeySource("away", "http://127.0.0.1:9/jwks")),
    ClientSettings("workload", assertions=(identity(),)),
    ClientSettings("picky", assertions=(identity(subject=None, claims={"team": ("red", "blue")}),),
                   grants=frozenset({JWT_BEARER})),
    ClientSettings("forbidden", assertions=(identity(subject="job-2"),), grants=frozenset()),
    ClientSettings("stopped", assertions=(identity(subject="job-3"),), disabled=True),
    ClientSettings("renamed", assertions=(identity(subject="job-4", audience="api://us"),)),
    ClientSettings("timeless", assertions=(identity(subject="job-5", allow_missing_exp=True),)),
    ClientSettings("resent", assertions=(identity(subject="job-6", single_use=False),)),
    ClientSettings("twin-a", assertions=(identity(subject="job-7"),)),
    ClientSettings("twin-b", assertions=(identity(subject="job-7"),)),
    ClientSettings("unreachable", assertions=(
        identity(subject="job-8", keys=RemoteKeySource(PLATFORM, "http://127.0.0.1:9/jwks")),)),
    ClientSettings("both", keys=static(KEYS["ES256"]), assertions=(identity(subject="job-9"),)),
]  # fmt: skip


def settings(**issuer: Any) -> Settings:
    known = make_settings(**issuer)
    extra = {client.id: client for client in CLIENTS}
    grants = tuple(AuthorizationSettings(name, "country-service", ("country.read",)) for name in extra)
    return replace(known, clients={**known.clients, **extra}, authorizations=(*known.authorizations, *grants))


@pytest.fixture
def served(issuer: ServedIssuer) -> Iterator[ServedIssuer]:
    issuer.configure(settings(), EC_RING)
    yield issuer
    assert issuer.now == NOW


DROP = object()


def claims(client: str, **changes: Any) -> dict[str, Any]:
    members = {
        "iss": client,
        "sub": client,
        "aud": ISSUER,
        "iat": int(NOW),
        "exp": int(NOW) + 60,
        "jti": f"jti-{next(NUMBERS)}",
        **changes,
    }
    return {name: value for name, value in members.items() if value is not DROP}


def grant_claims(subject: str = "job-1", **changes: Any) -> dict[str, Any]:
    return claims(PLATFORM, sub=subject, **changes)


async def ask(
    issuer: ServedIssuer, path: str = "/oauth2/token", auth: str = "", **form: str
) -> tuple[int, Any]:
    headers = {"Authorization": auth} if auth else {}
    async with issuer.http.post(issuer.url + path, data=form, headers=headers) as answer:
        body = await answer.read()
        return answer.status, json.loads(body) if body else None


async def ask_as_client(
    issuer: ServedIssuer, assertion: str, path: str = "/oauth2/token", **form: str
) -> tuple[int, Any]:
    form = {"client_assertion_type": CLIENT_ASSERTION, "client_assertion": assertion, **form}
    if path == "/oauth2/token":
        form = {"grant_type": "client_credentials", **form}
    return await ask(issuer, path, **form)


async def ask_by_grant(issuer: ServedIssuer, assertion: str, **form: str) -> tuple[int, Any]:
    return await ask(issuer, **{"grant_type": JWT_BEARER, "assertion": assertion, **form})


def reasons(issuer: ServedIssuer) -> list[str]:
    assert isinstance(issuer.observer.failures, list)
    return [reason for _, reason in issuer.observer.failures]


# --- client authentication


@pytest.mark.parametrize("alg", KEYS)
async def test_a_client_proves_itself_with_every_algorithm(served: ServedIssuer, alg: str) -> None:
    status, body = await ask_as_client(served, KEYS[alg].token(claims("asymmetric")), scope="country.read")
    assert (status, body["scope"]) == (200, "country.read")
    assert served.observer.requests == [("client_credentials", "private_key_jwt", "asymmetric", "ok")]


@pytest.mark.parametrize("alg", KEYS)
async def test_a_client_may_leave_out_the_kid(served: ServedIssuer, alg: str) -> None:
    status, _ = await ask_as_client(served, KEYS[alg].token(claims("asymmetric"), kid=None))
    assert status == 200


@pytest.mark.parametrize(
    "typ", [None, "JWT", "jwt", "client-authentication+jwt", "application/client-authentication+JWT"]
)
async def test_a_client_may_say_what_its_assertion_is(served: ServedIssuer, typ: str | None) -> None:
    status, _ = await ask_as_client(served, KEYS["ES256"].token(claims("asymmetric"), typ=typ))
    assert status == 200


@pytest.mark.parametrize("typ", ["JOSE", "at+jwt", "dpop+jwt", ""])
async def test_a_client_says_nothing_else_of_its_assertion(served: ServedIssuer, typ: str) -> None:
    assert (await ask_as_client(served, KEYS["ES256"].token(claims("asymmetric"), typ=typ)))[0] == 401
    assert reasons(served) == ["wrong_type"]


async def test_a_readable_secret_signs(served: ServedIssuer) -> None:
    assertion = compact({"alg": "HS256"}, claims("symmetric"), hs256(LONG_SECRET)).decode()
    assert (await ask_as_client(served, assertion))[0] == 200
    assert served.observer.requests[0][1] == "client_secret_jwt"
    for secret in (b"short", b"", bytes(32)):
        forged = compact({"alg": "HS256"}, claims("symmetric"), hs256(secret)).decode()
        assert (await ask_as_client(served, forged))[0] == 401
    for client, secret in (
        ("short", b"too short for a mac"),
        ("asymmetric", bytes(32)),
        ("nobody", bytes(32)),
    ):
        forged = compact({"alg": "HS256"}, claims(client), hs256(secret)).decode()
        assert (await ask_as_client(served, forged))[0] == 401
    assert reasons(served) == ["bad_signature"] * 3 + ["unknown_key"] * 2 + ["unknown_client"]


@pytest.mark.parametrize("path", ["/oauth2/introspect", "/oauth2/revoke"])
async def test_assertions_authenticate_at_the_other_endpoints(served: ServedIssuer, path: str) -> None:
    status, body = await ask_as_client(served, KEYS["ES256"].token(claims("asymmetric")))
    assert status == 200
    token = body["access_token"]
    status, body = await ask_as_client(served, KEYS["ES256"].token(claims("asymmetric")), path, token=token)
    assert (status, body is None or body["active"]) == (200, True)
    status, body = await ask_as_client(served, STRANGER.token(claims("asymmetric")), path, token=token)
    assert (status, body["error"]) == (401, "invalid_client")


NOT_PROVEN = "client authentication failed: unknown client or wrong secret"


@pytest.mark.parametrize(
    ("assertion", "reason", "description"),
    [
        (STRANGER.token(claims("asymmetric")), "bad_signature", NOT_PROVEN),
        (STRANGER.token(claims("nobody")), "unknown_client", NOT_PROVEN),
        (STRANGER.token(claims("symmetric")), "unknown_key", NOT_PROVEN),
        (KEYS["ES256"].token(claims("asymmetric"), kid="other"), "unknown_key", NOT_PROVEN),
        (KEYS["ES256"].token(claims("asymmetric"), kid="RS256-1"), "alg_not_allowed", NOT_PROVEN),
        (STRANGER.token(claims("asymmetric", exp=1)), "bad_signature", NOT_PROVEN),
        (KEYS["ES256"].token(claims("gone")), "disabled", "the client is disabled"),
        (
            KEYS["ES256"].token(claims("only-basic")),
            "method_not_allowed",
            "the client must authenticate with client_secret_basic",
        ),
        (
            KEYS["ES256"].token(claims("asymmetric", sub="other")),
            "wrong_issuer",
            "client_assertion: iss and sub must both be the client id",
        ),
        (
            KEYS["ES256"].token(claims("asymmetric", aud=ISSUER + "/oauth2/token")),
            "wrong_audience",
            f"client_assertion: aud must be {ISSUER} and nothing else",
        ),
        (
            KEYS["ES256"].token(claims("demanding", jti=DROP)),
            "malformed",
            "client_assertion: jti must be a non-empty text",
        ),
        (
            KEYS["ES256"].token(claims("asymmetric", exp=int(NOW) + 3661)),
            "too_long_lived",
            "client_assertion: exp may lie at most 3600 s ahead",
        ),
    ],
)
async def test_a_client_that_is_not_proven(
    served: ServedIssuer, assertion: str, reason: str, description: str
) -> None:
    status, body = await ask_as_client(served, assertion)
    assert (status, body["error"], body["error_description"]) == (401, "invalid_client", description)
    assert reasons(served) == [reason]


async def test_legacy_audiences_are_the_addresses_of_the_token_endpoint(served: ServedIssuer) -> None:
    token_url, other_name = ISSUER + "/oauth2/token", ISSUER + "/v1/token"
    both = [
        [ISSUER, token_url],
        [token_url, ISSUER],
        [token_url, other_name],
        [ISSUER, token_url, other_name],
    ]
    for audience in (ISSUER, [ISSUER], token_url, other_name, *both):
        assert (await ask_as_client(served, KEYS["ES256"].token(claims("legacy", aud=audience))))[0] == 200
    # Counted is only what a client without the setting would be refused for.
    assert served.observer.legacy == ["legacy"] * (2 + len(both))
    foreign = "https://other.example"
    for audience in (
        ISSUER + "/oauth2/introspect", ISSUER + "/", [ISSUER, foreign], [token_url, ISSUER, foreign],
        [[ISSUER]], [ISSUER, None], [], [ISSUER] * 20,
    ):  # fmt: skip
        assert (await ask_as_client(served, KEYS["ES256"].token(claims("legacy", aud=audience))))[0] == 401
    for audience in (*both, [ISSUER, ISSUER]):
        assert (await ask_as_client(served, KEYS["ES256"].token(claims("asymmetric", aud=audience))))[
            0
        ] == 401


async def test_a_workload_may_name_issuer_and_token_endpoint_together(served: ServedIssuer) -> None:
    both = [ISSUER, ISSUER + "/oauth2/token"]
    assert (await ask_by_grant(served, KEYS["ES256"].token(grant_claims(aud=both))))[0] == 200
    for audience in ([*both, "https://other.example"], [ISSUER, "https://other.example"]):
        assert (await ask_by_grant(served, KEYS["ES256"].token(grant_claims(aud=audience))))[0] == 400


@pytest.mark.parametrize(
    "form",
    [
        {"client_assertion_type": CLIENT_ASSERTION},
        {"client_assertion": "a.b.c"},
        {"client_assertion_type": CLIENT_ASSERTION, "client_assertion": "a.b.c", "client_secret": "s"},
        {"client_assertion_type": CLIENT_ASSERTION, "client_assertion": "a.b.c", "auth": BASIC},
        {
            "client_assertion_type": CLIENT_ASSERTION,
            "client_assertion": KEYS["ES256"].token(claims("asymmetric")),
            "client_id": "reader",
        },
    ],
)
async def test_requests_that_contradict_themselves(served: ServedIssuer, form: dict[str, str]) -> None:
    status, body = await ask(served, **{"grant_type": "client_credentials", **form})
    assert (status, body["error"]) == (400, "invalid_request")


async def test_an_unknown_assertion_type_is_no_way_to_authenticate(served: ServedIssuer) -> None:
    assertion = KEYS["ES256"].token(claims("asymmetric"))
    kind = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"
    status, body = await ask_as_client(served, assertion, client_assertion_type=kind)
    assert (status, body["error"]) == (401, "invalid_client")


async def test_the_client_id_may_be_sent_as_well(served: ServedIssuer) -> None:
    assertion = KEYS["ES256"].token(claims("asymmetric"))
    assert (await ask_as_client(served, assertion, client_id="asymmetric"))[0] == 200


# --- replay


async def test_an_assertion_with_a_jti_counts_once(served: ServedIssuer) -> None:
    assertion = KEYS["ES256"].token(claims("asymmetric"))
    assert (await ask_as_client(served, assertion))[0] == 200
    status, body = await ask_as_client(served, assertion)
    assert (status, body["error_description"]) == (401, "client_assertion: jti was used before")
    assert (await ask_as_client(served, twin(assertion)))[0] == 401
    assert served.observer.replays == ["client_assertion"] * 2


async def test_what_is_not_single_use_counts_again(served: ServedIssuer) -> None:
    for again in (
        KEYS["ES256"].token(claims("repeating")),
        KEYS["ES256"].token(claims("asymmetric", jti=DROP)),
    ):
        assert [(await ask_as_client(served, again))[0] for _ in range(2)] == [200, 200]
    resent = KEYS["RS256"].token(grant_claims("job-6"))
    assert [(await ask_by_grant(served, resent))[0] for _ in range(2)] == [200, 200]


@pytest.mark.parametrize("jti", ["one", DROP])
async def test_a_grant_counts_once_with_or_without_jti(served: ServedIssuer, jti: object) -> None:
    assertion = KEYS["ES256"].token(grant_claims(jti=jti))
    assert (await ask_by_grant(served, assertion))[0] == 200
    for again in (assertion, twin(assertion)):
        status, body = await ask_by_grant(served, again)
        assert (status, body["error"]) == (400, "invalid_grant")
        assert body["error_description"] == "assertion: it was used before"
    assert served.observer.replays == ["grant_assertion"] * 2


@pytest.mark.parametrize(
    ("skew_s", "later_skew_s", "ahead_s"),
    [
        (0, 60, 0),  # a reload gives foreign clocks more leeway
        (0, 600, 0),
        (60, 60, 40),  # whoever remembers has a clock that is ahead
        (600, 600, 40),
    ],
)
@pytest.mark.parametrize("use", ["client", "grant"])
async def test_a_use_is_remembered_as_long_as_it_could_count_again(
    served: ServedIssuer, use: str, skew_s: float, later_skew_s: float, ahead_s: float
) -> None:
    served.replay = MemoryReplayGuard(lambda: served.now + ahead_s)
    exp = int(NOW) + 30

    async def send(**changes: Any) -> int:
        if use == "client":
            assertion = KEYS["ES256"].token(claims("asymmetric", iat=DROP, **changes))
            return (await ask_as_client(served, assertion))[0]
        assertion = KEYS["ES256"].token(grant_claims(iat=DROP, **changes))
        return (await ask_by_grant(served, assertion))[0]

    served.configure(settings(clock_skew_s=skew_s), EC_RING)
    assert await send(exp=exp, jti="one") == 200
    served.configure(settings(clock_skew_s=later_skew_s), EC_RING)
    served.now = exp + later_skew_s - 1
    for _ in range(3):  # what is over leaves with the uses of others
        assert await send(exp=exp + 600) == 200
    assert await send(exp=exp, jti="another") == 200
    assert await send(exp=exp, jti="one") == (401 if use == "client" else 400)
    served.now = NOW


async def test_clients_do_not_use_up_each_other_s_jti(served: ServedIssuer) -> None:
    for client in ("asymmetric", "legacy"):
        assert (await ask_as_client(served, KEYS["ES256"].token(claims(client, jti="same"))))[0] == 200


def twin(assertion: str) -> str:
    """Return the other spelling of an ES256 signature: (r, n-s)."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    signing_input, _, signature = assertion.encode().rpartition(b".")
    octets = decode_base64url(signature)
    assert octets is not None
    s = order - int.from_bytes(octets[32:], "big")
    return (signing_input + b"." + encode_base64url(octets[:32] + s.to_bytes(32, "big"))).decode()


# --- the grant


@pytest.mark.parametrize("alg", ["RS256", "ES256"])
async def test_an_identity_acts_as_its_client(served: ServedIssuer, alg: str) -> None:
    status, body = await ask_by_grant(
        served, KEYS[alg].token(grant_claims(), typ="JWT"), scope="country.read"
    )
    assert (status, body["scope"]) == (200, "country.read")
    assert served.issued[0][1].client_id == "workload"
    assert served.observer.requests == [(JWT_BEARER, "none", "workload", "ok")]


@pytest.mark.parametrize(
    "audience", [ISSUER, [ISSUER], ISSUER + "/oauth2/token", ISSUER + "/v1/token", [ISSUER + "/v1/token"]]
)
async def test_a_grant_may_be_for_the_issuer_or_the_token_endpoint(
    served: ServedIssuer, audience: Any
) -> None:
    assert (await ask_by_grant(served, KEYS["ES256"].token(grant_claims(aud=audience))))[0] == 200


async def test_conditions_choose_the_identity(served: ServedIssuer) -> None:
    for team in ("red", "blue", ["green", "blue"]):
        assertion = KEYS["ES256"].token(grant_claims("anybody", team=team))
        assert (await ask_by_grant(served, assertion))[0] == 200
        assert served.issued[-1][1].client_id == "picky"
    # The same identity as another client: what is not asked for does not matter.
    assert (await ask_by_grant(served, KEYS["ES256"].token(grant_claims(team="green"))))[0] == 200
    assert served.issued[-1][1].client_id == "workload"


UNTRUSTED = "assertion: no client trusts it: issuer, subject or claims are unknown, or the signature is wrong"


@pytest.mark.parametrize(
    ("assertion", "reason", "description"),
    [
        (KEYS["ES256"].token(grant_claims("nobody")), "claim_mismatch", None),
        (KEYS["ES256"].token(grant_claims(iss="https://other.example")), "unknown_identity", UNTRUSTED),
        (STRANGER.token(grant_claims()), "bad_signature", UNTRUSTED),
        (KEYS["ES256"].token(grant_claims(), kid="other"), "unknown_key", UNTRUSTED),
        (KEYS["EdDSA"].token(grant_claims()), "unknown_key", UNTRUSTED),
        (KEYS["ES256"].token(grant_claims("job-3")), "disabled", "the client is disabled"),
        (
            KEYS["ES256"].token(grant_claims("job-4")),
            "wrong_audience",
            "assertion: aud must be api://us and nothing else",
        ),
        (
            KEYS["ES256"].token(grant_claims(exp=DROP)),
            "malformed",
            "assertion: exp must be a number of seconds since 1970",
        ),
        (KEYS["ES256"].token(grant_claims(exp=int(NOW) - 60)), "expired", "assertion: exp has passed"),
        (
            KEYS["ES256"].token(grant_claims(), typ="client-authentication+jwt"),
            "wrong_type",
            "assertion: typ, where there is one, must be jose or jwt",
        ),
        (KEYS["ES256"].token(claims("asymmetric")), "unknown_identity", UNTRUSTED),
    ],
)
async def test_a_grant_that_is_refused(
    served: ServedIssuer, assertion: str, reason: str, description: str | None
) -> None:
    status, body = await ask_by_grant(served, assertion)
    assert (status, body["error"]) == (400, "invalid_grant")
    assert description in (None, body["error_description"])
    assert reasons(served) == [reason]


async def test_a_client_that_may_not_use_the_grant(served: ServedIssuer) -> None:
    status, body = await ask_by_grant(served, KEYS["ES256"].token(grant_claims("job-2")))
    assert (status, body["error"]) == (400, "unauthorized_client")


async def test_the_assertion_is_required(served: ServedIssuer) -> None:
    status, body = await ask(served, grant_type=JWT_BEARER)
    assert (status, body["error"]) == (400, "invalid_request")


async def test_a_renamed_audience_and_no_expiry_are_what_the_entry_says(served: ServedIssuer) -> None:
    assert (await ask_by_grant(served, KEYS["ES256"].token(grant_claims("job-4", aud="api://us"))))[0] == 200
    assert (await ask_by_grant(served, KEYS["ES256"].token(grant_claims("job-5", exp=DROP))))[0] == 200
    assert (await ask_by_grant(served, KEYS["ES256"].token(grant_claims("job-5"))))[0] == 200


AGE = 3600 + 60 + BACKDATED_S
"""The most that an `iat` may lie back: what is configured, the leeway, and what platforms backdate."""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iat": int(NOW) - AGE + 2}, None),
        ({"iat": int(NOW) - AGE - 2}, "too_long_lived"),
        ({"iat": int(NOW) - 5 * 365 * 86_400}, "too_long_lived"),
        ({"iat": -1e300}, "too_long_lived"),
        ({"iat": -(10**400)}, "too_long_lived"),
        ({"iat": 10**400}, "not_yet_valid"),
        # Whatever starts after its end was never valid; the leeway is for those with two clocks.
        ({"nbf": int(NOW) + 50, "exp": int(NOW) - 50}, "malformed"),
        ({"iat": int(NOW) + 50, "exp": int(NOW) - 50}, "malformed"),
        ({"nbf": int(NOW) + 50, "exp": int(NOW) + 10}, None),
        ({"iat": DROP, "nbf": -(10**400)}, None),
    ],
)
async def test_times_that_no_honest_platform_writes_are_refused(
    served: ServedIssuer, changes: dict[str, Any], reason: str | None
) -> None:
    for client in ("asymmetric", "workload"):
        members = claims(client, **changes) if client == "asymmetric" else grant_claims(**changes)
        assertion = KEYS["ES256"].token(members)
        status, _ = await (ask_as_client if client == "asymmetric" else ask_by_grant)(served, assertion)
        refused = 401 if client == "asymmetric" else 400
        assert status == (200 if reason is None else refused)
    assert reasons(served) == ([] if reason is None else [reason] * 2)


async def test_without_exp_the_age_is_the_bound(served: ServedIssuer) -> None:
    for iat, status in ((int(NOW) - AGE + 2, 200), (int(NOW) - AGE - 2, 400), (DROP, 200)):
        assertion = KEYS["ES256"].token(grant_claims("job-5", exp=DROP, iat=iat))
        assert (await ask_by_grant(served, assertion))[0] == status


async def test_an_assertion_may_be_as_old_as_it_may_live_long(served: ServedIssuer) -> None:
    served.configure(settings(assertion_max_lifetime_s=86_400.0), EC_RING)
    for iat, status in ((int(NOW) - 86_400, 200), (int(NOW) - 86_400 - AGE, 400)):
        assertion = KEYS["ES256"].token(grant_claims(iat=iat))
        assert (await ask_by_grant(served, assertion))[0] == status


async def test_two_clients_of_one_identity_are_told_apart_by_client_id(served: ServedIssuer) -> None:
    assertion = KEYS["ES256"].token(grant_claims("job-7"))
    status, body = await ask_by_grant(served, assertion)
    assert (status, body["error"]) == (400, "invalid_request")
    for client in ("twin-a", "twin-b"):
        assertion = KEYS["ES256"].token(grant_claims("job-7"))
        assert (await ask_by_grant(served, assertion, client_id=client))[0] == 200
        assert served.issued[-1][1].client_id == client


@pytest.mark.parametrize("jti", ["only", DROP])
async def test_a_grant_counts_once_and_not_once_for_every_client(served: ServedIssuer, jti: object) -> None:
    assertion = KEYS["ES256"].token(grant_claims("job-7", jti=jti))
    assert (await ask_by_grant(served, assertion, client_id="twin-a"))[0] == 200
    for client in ("twin-b", "twin-a"):
        status, body = await ask_by_grant(served, assertion, client_id=client)
        assert (status, body["error_description"]) == (400, "assertion: it was used before")
    assert len(served.issued) == 1


async def test_what_authenticated_a_client_is_no_grant_any_more(served: ServedIssuer) -> None:
    itself = ClientSettings(
        "itself",
        keys=static(KEYS["ES256"]),
        assertions=(AssertionSettings("itself", static(KEYS["ES256"]), subject="itself"),),
    )
    known = settings()
    granted = AuthorizationSettings("itself", "country-service", ("country.read",))
    served.configure(
        replace(
            known,
            clients={**known.clients, "itself": itself},
            authorizations=(*known.authorizations, granted),
        ),
        EC_RING,
    )
    assertion = KEYS["ES256"].token(claims("itself"))
    assert (await ask_as_client(served, assertion))[0] == 200
    assert (await ask_by_grant(served, assertion))[0] == 400
    assert (await ask_by_grant(served, KEYS["ES256"].token(claims("itself"))))[0] == 200


async def test_a_client_may_authenticate_beside_its_grant(served: ServedIssuer) -> None:
    def proof() -> dict[str, str]:
        assertion = KEYS["ES256"].token(claims("both"))
        return {"client_assertion_type": CLIENT_ASSERTION, "client_assertion": assertion}

    assert (await ask_by_grant(served, KEYS["ES256"].token(grant_claims("job-9")), **proof()))[0] == 200
    # Another client's identity is none of its own, and a failed proof is not made good by a grant.
    assert (await ask_by_grant(served, KEYS["ES256"].token(grant_claims("job-1")), **proof()))[0] == 400
    forged = {**proof(), "client_assertion": STRANGER.token(claims("both"))}
    assert (await ask_by_grant(served, KEYS["ES256"].token(grant_claims("job-9")), **forged))[0] == 401
    status, _ = await ask_by_grant(
        served, KEYS["ES256"].token(grant_claims("job-9")), auth=basic("symmetric", "wrong")
    )
    assert status == 401


# --- what else can be away


async def test_keys_that_cannot_be_fetched_are_no_wrong_signature(served: ServedIssuer) -> None:
    for status, body in (
        await ask_as_client(served, KEYS["ES256"].token(claims("away"))),
        await ask_by_grant(served, KEYS["ES256"].token(grant_claims("job-8"))),
    ):
        assert (status, body["error"]) == (503, "temporarily_unavailable")
    assert reasons(served) == ["keys_unavailable"] * 2


class _BrokenGuard:
    async def first_use(self, key: str, expires_at: int) -> bool:
        raise StateUnavailableError("the disk is full")


async def test_without_the_state_store_nobody_passes(served: ServedIssuer) -> None:
    served.replay = _BrokenGuard()
    for status, body in (
        await ask_as_client(served, KEYS["ES256"].token(claims("asymmetric"))),
        await ask_by_grant(served, KEYS["ES256"].token(grant_claims())),
    ):
        assert (status, body["error"]) == (503, "temporarily_unavailable")
    assert served.issued == []
    assert (await ask_as_client(served, KEYS["ES256"].token(claims("repeating"))))[0] == 200


async def test_many_identities_of_one_key_set_cost_one_signature_check(served: ServedIssuer) -> None:
    many = [
        ClientSettings(f"many-{number}", assertions=(identity(subject=None, claims={"r": ("x", number)}),))
        for number in range(40)
    ]
    known = settings()
    granted = AuthorizationSettings("many-7", "country-service", ("country.read",))
    served.configure(
        replace(
            known,
            clients={**known.clients, **{each.id: each for each in many}},
            authorizations=(*known.authorizations, granted),
        ),
        EC_RING,
    )
    status, body = await ask_by_grant(served, STRANGER.token(grant_claims("anybody", r="x")))
    assert (status, body["error_description"]) == (400, UNTRUSTED)
    assert len(served.bad_assertions) == 1
    honest = KEYS["ES256"].token(grant_claims("anybody", r="x"))
    status, body = await ask_by_grant(served, honest)
    assert (status, body["error"]) == (400, "invalid_request")  # which of them is meant?
    assert (await ask_by_grant(served, honest, client_id="many-7"))[0] == 200
    assert (await ask_by_grant(served, KEYS["ES256"].token(grant_claims("anybody", r=7))))[0] == 200


@pytest.mark.parametrize(
    ("form", "spent"),
    [
        ({"client_assertion": STRANGER.token(claims("asymmetric"))}, 0),  # its own key was tried
        ({"client_assertion": STRANGER.token(claims("nobody"))}, 1),
        ({"client_assertion": STRANGER.token(claims("symmetric"))}, 1),
        ({"client_assertion": STRANGER.token(claims("asymmetric"), kid="other")}, 1),
        ({"assertion": STRANGER.token(grant_claims())}, 0),
        ({"assertion": STRANGER.token(grant_claims("unknown"), kid="other")}, 1),
        ({"assertion": STRANGER.token(grant_claims(), kid="other")}, 1),
        ({"assertion": STRANGER.token(grant_claims(iss="https://other.example"))}, 1),
    ],
)
async def test_whoever_is_unknown_costs_a_signature_check_too(
    served: ServedIssuer, form: dict[str, str], spent: int
) -> None:
    checked: list[bytes] = []

    def verify(signing_input: bytes, signature: bytes) -> bool:
        checked.append(signature)
        return False

    decoy = ForeignKey(None, VerificationKey("decoy", "ES256", verify, {}))
    served.snapshot = replace(served.snapshot, decoys=KeySet((decoy,)))
    if "assertion" in form:
        status, body = await ask(served, grant_type=JWT_BEARER, **form)
        assert (status, body["error_description"]) == (400, UNTRUSTED)
    else:
        status, body = await ask_as_client(served, form["client_assertion"])
        assert (status, body["error_description"]) == (401, NOT_PROVEN)
    assert len(checked) == spent
