"""Hold the running process to RFC 6749, 6750, 7009, 7662, 8414, 8707 and 9068, one row per rule."""

import json
from dataclasses import replace

import pytest

from tests.conformance.conftest import Start
from tests.conformance.world import (
    INTROSPECT,
    NO_STORE,
    READ,
    REVOKE,
    SECRETS,
    TOKEN,
    Answer,
    Ask,
    Row,
    World,
    basic,
    bearing,
    parts,
    refusals_without_twin,
)

BASIC = r'Basic realm="[^"]+".*'
ODD = "odd client:%+/"
POST_SECRET = TOKEN.without("Authorization").having(client_id="caller", client_secret=SECRETS["caller"])
ORDERS = "https://orders.example/api"
INACTIVE = b'{"active":false}'
METADATA = Ask("GET", "/.well-known/oauth-authorization-server")


def as_client(ask: Ask, client_id: str, **more: object) -> Ask:
    return ask.without("Authorization").sending(("Authorization", basic(client_id, **more)))  # type: ignore[arg-type]


def wrong(ask: Ask) -> Ask:
    return as_client(ask, "caller", secret="wrong")


RFC6749 = [
    Row(
        "RFC 6749 2.3.1",
        "id and secret are form-encoded in Basic",
        as_client(TOKEN.without("scope"), ODD, encoded=False),
        401,
        "invalid_client",
        {"WWW-Authenticate": BASIC},
        twin=as_client(TOKEN.without("scope"), ODD),
    ),
    Row("RFC 6749 2.3.1", "Basic is supported for clients with a secret", TOKEN, 200),
    Row("RFC 6749 2.3.1", "client_secret_post is supported", POST_SECRET, 200),
    Row(
        "RFC 6749 2.3.1",
        "credentials are never taken from the URI",
        TOKEN.without("Authorization").to("/oauth2/token?client_id=caller&client_secret=caller-secret"),
        400,
        "invalid_request",
        twin=POST_SECRET,
    ),
    Row(
        "RFC 6749 2.3",
        "two ways of authentication in one request are refused",
        TOKEN.having(client_id="caller", client_secret=SECRETS["caller"]),
        400,
        "invalid_request",
        twin=TOKEN.having(client_id="caller"),
    ),
    Row(
        "RFC 6749 3.2",
        "only POST",
        TOKEN.to("/oauth2/token", "GET"),
        405,
        "invalid_request",
        {"Allow": "POST"},
        twin=TOKEN,
    ),
    Row("RFC 6749 3.2", "an empty parameter counts as not sent", TOKEN.having(scope="", audience=""), 200),
    Row(
        "RFC 6749 3.2",
        "an empty required parameter is missing",
        TOKEN.having(grant_type=""),
        400,
        "invalid_request",
        twin=TOKEN,
    ),
    Row("RFC 6749 3.2", "unknown parameters are ignored", TOKEN.having(colour="blue"), 200),
    Row(
        "RFC 6749 3.2",
        "a repeated parameter is refused",
        TOKEN.twice("scope", "country.read"),
        400,
        "invalid_request",
        twin=TOKEN,
    ),
    Row(
        "RFC 6749 3.2",
        "a repeated parameter is refused, even an unknown one",
        TOKEN.twice("colour", "blue").twice("colour", "blue"),
        400,
        "invalid_request",
        twin=TOKEN.twice("colour", "blue"),
    ),
    Row(
        "RFC 6749 4.4.2",
        "parameters are a form",
        replace(TOKEN, form=None, body='{"grant_type":"client_credentials"}').sending(
            ("Content-Type", "application/json")
        ),
        415,
        "invalid_request",
        twin=TOKEN,
    ),
    *(
        Row(
            "RFC 6749 3.3",
            f"scope names are case-sensitive, of their set, single-spaced: {scope!r}",
            TOKEN.having(scope=scope),
            400,
            "invalid_scope",
            twin=TOKEN.having(scope="country.read country.write"),
        )
        for scope in (
            *("COUNTRY.READ", "country.read  country.write", " country.read", "country.read "),
            *("country.read\tcountry.write", 'country."read"', "country\\read", "ländern"),
        )
    ),
    Row(
        "RFC 6749 3.3",
        "an asked scope is granted whole or refused",
        TOKEN.having(scope="country.read orders.read"),
        400,
        "invalid_scope",
        twin=TOKEN,
    ),
    Row(
        "RFC 6749 3.3",
        "no scope asked: the default, and the reply says so",
        as_client(TOKEN.without("scope"), "other"),
        200,
        look=lambda answer: answer.json["scope"] == "country.write",
    ),
    Row(
        "RFC 6749 3.3",
        "no scope asked and no default: none",
        TOKEN.without("scope"),
        200,
        look=lambda answer: "scope" not in answer.json and "scope" not in parts(answer)[1],
    ),
    Row(
        "RFC 6749 4.4",
        "client_credentials only for an authenticated client",
        TOKEN.without("Authorization").having(client_id="caller"),
        401,
        "invalid_client",
        twin=POST_SECRET,
    ),
    Row(
        "RFC 6749 4.4.3",
        "there is no refresh token",
        TOKEN,
        200,
        look=lambda answer: set(answer.json) == {"access_token", "token_type", "expires_in", "scope"},
    ),
    Row(
        "RFC 6749 5.1",
        "a reply is JSON that nobody stores, with token_type and expires_in",
        TOKEN,
        200,
        fields=NO_STORE,
        look=lambda answer: (answer.json["token_type"], answer.json["expires_in"]) == ("Bearer", 3600),
    ),
    Row(
        "RFC 6749 5.2",
        "a wrong secret is 401 with the challenge of the scheme",
        wrong(TOKEN),
        401,
        "invalid_client",
        {**NO_STORE, "WWW-Authenticate": BASIC},
        twin=TOKEN,
    ),
    Row(
        "RFC 6749 5.2",
        "an unknown client is the same",
        as_client(TOKEN, "nobody", secret="x"),
        401,
        "invalid_client",
        {**NO_STORE, "WWW-Authenticate": BASIC},
        twin=TOKEN,
    ),
    Row(
        "RFC 6749 5.2",
        "a wrong secret in the form is invalid_client",
        POST_SECRET.having(client_secret="wrong"),
        401,
        "invalid_client",
        NO_STORE,
        twin=POST_SECRET,
    ),
    Row(
        "RFC 6749 5.2",
        "a missing parameter is invalid_request",
        TOKEN.without("grant_type"),
        400,
        "invalid_request",
        NO_STORE,
        twin=TOKEN,
    ),
    *(
        Row(
            "RFC 6749 5.2",
            f"a grant that is not offered is unsupported_grant_type: {grant}",
            TOKEN.having(grant_type=grant),
            400,
            "unsupported_grant_type",
            NO_STORE,
            twin=TOKEN,
        )
        for grant in ("authorization_code", "password", "refresh_token", "implicit", "CLIENT_CREDENTIALS")
    ),
    Row(
        "RFC 6749 5.2",
        "a grant that this client may not use is unauthorized_client",
        as_client(TOKEN, "limited"),
        400,
        "unauthorized_client",
        NO_STORE,
        twin=TOKEN,
    ),
]

RFC6750 = [
    Row("RFC 6750 2.1", "the token comes in the Authorization field", READ, 200),
    Row("RFC 6750 2.1", "the scheme is compared without case", bearing("token", "bEaReR"), 200),
    Row(
        "RFC 6750 2.2",
        "a token in the body is not looked at",
        Ask("POST", "/read", form=(("access_token", "{token}"),)),
        401,
        fields={"WWW-Authenticate": r'Bearer realm="[^"]+"'},
        twin=Ask("POST", "/read", READ.fields, ()),
    ),
    Row(
        "RFC 6750 2.3",
        "a token in the query is not looked at",
        Ask("GET", "/read?access_token={token}"),
        401,
        fields={"WWW-Authenticate": r'Bearer realm="[^"]+"'},
        twin=READ,
    ),
    Row(
        "RFC 6750 3.1",
        "more than one Authorization field is invalid_request",
        READ.sending(("Authorization", "Bearer {token}")),
        400,
        fields={"WWW-Authenticate": r'Bearer .*error="invalid_request".*'},
        twin=READ,
    ),
    Row(
        "RFC 6750 3",
        "a 401 has a challenge; without a token it has no error",
        READ.without("Authorization"),
        401,
        fields={"WWW-Authenticate": r'Bearer realm="[^"]+"'},
        twin=READ,
    ),
    *(
        Row(
            "RFC 6750 3.1",
            f"a token that is {word} is invalid_token",
            bearing(word),
            401,
            fields={"WWW-Authenticate": r'Bearer realm="[^"]+", error="invalid_token".*'},
            twin=bearing("signed"),
        )
        for word in ("expired", "revoked", "forged", "early")
    ),
    Row(
        "RFC 6750 3.1",
        "a text that is no token is invalid_token",
        replace(READ, fields=(("Authorization", "Bearer abc"),)),
        401,
        fields={"WWW-Authenticate": r'Bearer .*error="invalid_token".*'},
        twin=READ,
    ),
    Row(
        "RFC 6750 3.1",
        "too little scope is 403 and names what is needed",
        bearing("write_token"),
        403,
        fields={"WWW-Authenticate": r'Bearer .*error="insufficient_scope".*scope="country\.read".*'},
        twin=READ,
    ),
    Row(
        "RFC 6750 5.2",
        "a token has one named audience and a limited life",
        TOKEN,
        200,
        look=lambda answer: (
            parts(answer)[1]["aud"] == "country-service"
            and parts(answer)[1]["exp"] - parts(answer)[1]["iat"] == 3600
        ),
    ),
    Row(
        "RFC 6750 5.2",
        "a token for another audience is refused",
        bearing("orders_token"),
        401,
        fields={"WWW-Authenticate": r'Bearer .*error="invalid_token".*'},
        twin=READ,
    ),
]

RFC7009 = [
    Row("RFC 7009 2", "revoking is answered 200 without a body", REVOKE, 200, look=lambda a: a.body == b""),
    Row(
        "RFC 7009 2.1",
        "the client must authenticate",
        REVOKE.without("Authorization"),
        401,
        "invalid_client",
        twin=REVOKE,
    ),
    Row(
        "RFC 7009 2.1",
        "a wrong secret revokes nothing",
        wrong(REVOKE),
        401,
        "invalid_client",
        {"WWW-Authenticate": BASIC},
        twin=REVOKE,
    ),
    Row(
        "RFC 7009 2.1",
        "another client's token is refused",
        as_client(REVOKE, "other"),
        400,
        "unauthorized_client",
        twin=REVOKE,
    ),
    Row(
        "RFC 7009 2.1",
        "a wrong hint changes nothing",
        REVOKE.having(token_type_hint="refresh_token"),
        200,
    ),
    Row("RFC 7009 2.2", "an unknown token is answered 200", REVOKE.having(token="unknown"), 200),
    Row("RFC 7009 2.2", "an expired token is answered 200", REVOKE.having(token="{expired}"), 200),
    Row("RFC 7009 2.2", "a token is revoked twice", REVOKE.having(token="{revoked}"), 200),
    Row(
        "RFC 7009 2.1",
        "token is required",
        REVOKE.without("token"),
        400,
        "invalid_request",
        twin=REVOKE,
    ),
    Row(
        "RFC 7009 2.1",
        "only POST",
        REVOKE.to("/oauth2/revoke", "GET"),
        405,
        "invalid_request",
        {"Allow": "POST"},
        twin=REVOKE,
    ),
]


def is_inactive(answer: Answer) -> bool:
    return answer.body == INACTIVE


RFC7662 = [
    Row(
        "RFC 7662 2.1",
        "only POST",
        INTROSPECT.to("/oauth2/introspect", "GET"),
        405,
        "invalid_request",
        {"Allow": "POST"},
        twin=INTROSPECT,
    ),
    Row(
        "RFC 7662 2.1",
        "who asks must be authorized",
        INTROSPECT.without("Authorization"),
        401,
        "invalid_client",
        twin=INTROSPECT,
    ),
    Row(
        "RFC 7662 2.3",
        "wrong credentials are 401",
        wrong(INTROSPECT),
        401,
        "invalid_client",
        {"WWW-Authenticate": BASIC},
        twin=INTROSPECT,
    ),
    Row(
        "RFC 7662 2.1",
        "token is required",
        INTROSPECT.without("token"),
        400,
        "invalid_request",
        twin=INTROSPECT,
    ),
    Row(
        "RFC 7662 2.2",
        "the answer is JSON with a boolean active",
        INTROSPECT,
        200,
        fields=NO_STORE,
        look=lambda answer: (
            answer.json["active"] is True
            and answer.json["scope"] == "country.read"
            and answer.json["client_id"] == "caller"
            and answer.json["token_type"] == "Bearer"
            and {"exp", "iat", "nbf", "sub", "aud", "iss", "jti"} <= set(answer.json)
        ),
    ),
    Row(
        "RFC 7662 2.1",
        "the audience may ask",
        as_client(INTROSPECT, "country-service"),
        200,
        look=lambda a: a.json["active"] is True,
    ),
    Row(
        "RFC 7662 2.1",
        "a hint changes nothing",
        INTROSPECT.having(token_type_hint="x"),
        200,
        look=lambda a: a.json["active"] is True,
    ),
    Row(
        "RFC 7662 2.2",
        "a token that is not for this caller is only inactive",
        as_client(INTROSPECT, "other"),
        200,
        look=is_inactive,
    ),
    *(
        Row(
            "RFC 7662 4",
            f"a token that is {word} is only inactive",
            INTROSPECT.having(token=f"{{{word}}}"),
            200,
            look=is_inactive,
        )
        for word in ("expired", "early", "forged", "revoked", "foreign", "unsigned", "typed_jwt")
    ),
    Row(
        "RFC 7662 2.2",
        "an unknown token is only inactive",
        INTROSPECT.having(token="x"),
        200,
        look=is_inactive,
    ),
]

ARRAYS = (
    "grant_types_supported",
    "token_endpoint_auth_methods_supported",
    "introspection_endpoint_auth_methods_supported",
    "revocation_endpoint_auth_methods_supported",
    "scopes_supported",
)
RFC8414 = [
    Row(
        "RFC 8414 3.2",
        "the document is JSON and 200",
        METADATA,
        200,
        fields={"Content-Type": "application/json.*"},
    ),
    Row(
        "RFC 8414 2",
        "the endpoints are named",
        METADATA,
        200,
        look=lambda answer: (
            {
                *("issuer", "token_endpoint", "jwks_uri", "response_types_supported"),
                *("introspection_endpoint", "revocation_endpoint"),
            }
            <= set(answer.json)
        ),
    ),
    Row(
        "RFC 8414 2",
        "grant types are listed, for the default would be others",
        METADATA,
        200,
        look=lambda answer: "client_credentials" in answer.json["grant_types_supported"],
    ),
    Row(
        "RFC 8414 3.2",
        "arrays without elements are left out, but for the required one",
        METADATA,
        200,
        look=lambda answer: (
            all(answer.json[name] for name in ARRAYS) and answer.json["response_types_supported"] == []
        ),
    ),
    Row(
        "RFC 8414 2",
        "signing algorithms are listed with assertions, and none is not among them",
        METADATA,
        200,
        look=lambda answer: (
            ("private_key_jwt" in answer.json["token_endpoint_auth_methods_supported"])
            <= ("token_endpoint_auth_signing_alg_values_supported" in answer.json)
            and "none" not in answer.json.get("token_endpoint_auth_signing_alg_values_supported", ())
        ),
    ),
    Row(
        "RFC 8414 3.1",
        "the document is read by GET",
        METADATA.to(METADATA.path, "POST"),
        405,
        "invalid_request",
        {"Allow": "GET, HEAD"},
        twin=METADATA,
    ),
]

RFC8707 = [
    Row(
        "RFC 8707 2",
        "a resource that is an absolute URI names the audience, and the token is limited to it",
        TOKEN.having(scope="orders.read", resource=ORDERS),
        200,
        look=lambda answer: parts(answer)[1]["aud"] == ORDERS,
    ),
    *(
        Row(
            "RFC 8707 2",
            f"a resource that is no absolute URI without a fragment is invalid_target: {resource}",
            TOKEN.having(scope="orders.read", resource=resource),
            400,
            "invalid_target",
            twin=TOKEN.having(scope="orders.read", resource=ORDERS),
        )
        for resource in (f"{ORDERS}#a", "/api", "orders.example", "//orders.example/api")
    ),
    Row(
        "RFC 8707 2",
        "an unknown resource is invalid_target",
        TOKEN.having(scope="orders.read", resource="https://unknown.example"),
        400,
        "invalid_target",
        twin=TOKEN.having(scope="orders.read", resource=ORDERS),
    ),
    Row(
        "RFC 8707 2",
        "a resource that is not allowed is invalid_target",
        as_client(TOKEN.having(scope="", resource=ORDERS), "other"),
        400,
        "invalid_target",
        twin=TOKEN.having(scope="", resource=ORDERS),
    ),
    Row(
        "RFC 8707 2",
        "several resources in one token are invalid_target here",
        TOKEN.having(scope="", resource=ORDERS).twice("resource", "https://unknown.example"),
        400,
        "invalid_target",
        twin=TOKEN.having(scope="", resource=ORDERS).twice("resource", ORDERS),
    ),
]

CLAIMS = {"iss", "exp", "aud", "sub", "client_id", "iat", "jti"}
RFC9068 = [
    Row(
        "RFC 9068 2.1",
        "a token is signed and typed at+jwt",
        TOKEN,
        200,
        look=lambda answer: parts(answer)[0]["typ"] == "at+jwt" and parts(answer)[0]["alg"] == "ES256",
    ),
    Row(
        "RFC 9068 2.2",
        "the required claims are there",
        TOKEN,
        200,
        look=lambda answer: set(parts(answer)[1]) >= CLAIMS,
    ),
    Row(
        "RFC 9068 2.2",
        "without a user, sub is the client",
        TOKEN,
        200,
        look=lambda answer: parts(answer)[1]["sub"] == parts(answer)[1]["client_id"] == "caller",
    ),
    Row(
        "RFC 9068 2.2.3",
        "the scope claim is what was granted",
        TOKEN,
        200,
        look=lambda answer: parts(answer)[1]["scope"] == answer.json["scope"] == "country.read",
    ),
    Row(
        "RFC 9068 3",
        "aud is the asked resource, else the default",
        TOKEN.having(scope=""),
        200,
        look=lambda answer: parts(answer)[1]["aud"] == "country-service",
    ),
    Row(
        "RFC 9068 3",
        "a scope that makes no sense for the audience is refused",
        TOKEN.having(audience=ORDERS),
        400,
        "invalid_scope",
        twin=TOKEN.having(audience=ORDERS, scope="orders.read"),
    ),
    Row("RFC 9068 4", "application/at+jwt is the same type", bearing("typed_long"), 200),
    *(
        Row(
            "RFC 9068 4",
            f"a token that is {word} is refused",
            bearing(word),
            401,
            fields={"WWW-Authenticate": r'Bearer .*error="invalid_token".*'},
            twin=bearing("signed"),
        )
        for word in (
            *("typed_jwt", "foreign", "elsewhere", "expired", "unsigned", "forged"),
            *(f"without_{claim}" for claim in sorted(CLAIMS)),
        )
    ),
]

ROWS = [*RFC6749, *RFC6750, *RFC7009, *RFC7662, *RFC8414, *RFC8707, *RFC9068]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_row(world: World, row: Row) -> None:
    world.hold(row)


def test_every_refusal_has_an_accepted_twin() -> None:
    assert refusals_without_twin(ROWS) == []


# --- rules that one request does not show


def test_rfc_7009_2_1_a_refused_revocation_leaves_the_token_alive(world: World) -> None:
    token = world.token()
    assert world.send(as_client(REVOKE, "other").having(token=token)).status == 400
    assert world.send(INTROSPECT.having(token=token)).json["active"] is True
    assert world.send(REVOKE.having(token=token, token_type_hint="refresh_token")).status == 200
    assert world.send(INTROSPECT.having(token=token)).body == INACTIVE


def test_rfc_6749_2_3_1_guessing_is_slowed_down(start: Start) -> None:
    world = start()
    statuses = [world.send(wrong(TOKEN)).status for _ in range(51)]
    assert statuses == [401] * 50 + [429]
    slowed = world.send(TOKEN)
    assert (slowed.status, slowed.json["error"]) == (429, "temporarily_unavailable")
    assert int(slowed.one("Retry-After") or 0) > 0
    assert world.send(as_client(TOKEN, "other")).status == 200


def test_rfc_8414_3_1_the_well_known_part_goes_before_the_path(start: Start) -> None:
    world = start(prefix="/tenant")
    url = METADATA.path + "/tenant"
    document = replace(world, prefix="").send(Ask("GET", url)).json
    # 3.3: byte for byte what tokens say.
    assert document["issuer"] == world.issuer
    assert parts(world.send(TOKEN))[1]["iss"] == world.issuer
    assert document["token_endpoint"] == world.issuer + "/oauth2/token"


@pytest.mark.parametrize("alg", ["RS256", "PS256", "EdDSA"])
def test_rfc_9068_2_1_other_algorithms_are_supported(start: Start, alg: str) -> None:
    world = start(alg=alg)
    header, _ = parts(world.send(TOKEN))
    assert header["alg"] == alg
    assert world.send(READ).status == 200
    keys = json.loads(world.send(Ask("GET", "/.well-known/jwks.json")).body)["keys"]
    assert [key["alg"] for key in keys if key["kid"] == header["kid"]] == [alg]
