"""List what RFC 7662 (introspection) demands of us."""

from dataclasses import replace

from tests.conformance.rows import (
    BASIC,
    INACTIVE,
    INTROSPECT,
    NO_STORE,
    Answer,
    Row,
    as_client,
    is_active,
    wrong,
)


def is_inactive(answer: Answer) -> bool:
    return answer.body == INACTIVE


ROWS = [
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
        look=is_active("caller"),
    ),
    Row(
        "RFC 7662 2.1",
        "a hint changes nothing",
        INTROSPECT.having(token_type_hint="x"),
        200,
        look=is_active("caller"),
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
    Row(
        "RFC 7662 2.1",
        "the token is never taken from the URI",
        INTROSPECT.without("token").to("/oauth2/introspect?token=abc"),
        400,
        "invalid_request",
        twin=INTROSPECT,
    ),
    Row(
        "RFC 7662 2.1",
        "parameters are a form",
        replace(INTROSPECT, form=None, body='{"token":"abc"}').sending(("Content-Type", "application/json")),
        415,
        "invalid_request",
        twin=INTROSPECT,
    ),
]
