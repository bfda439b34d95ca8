"""List what RFC 6750 (bearer tokens) demands of us."""

import re
from dataclasses import replace

from tests.conformance.rows import READ, TOKEN, Ask, Row, arrived, bearing, parts

ROWS = [
    Row("RFC 6750 2.1", "the token comes in the Authorization field", READ, 200, look=arrived("caller")),
    Row(
        "RFC 6750 2.1",
        "the scheme is compared without case",
        bearing("token", "bEaReR"),
        200,
        look=arrived("caller"),
    ),
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
    Row(
        "RFC 6750 3",
        "a challenge has each parameter once",
        bearing("write_token"),
        403,
        look=lambda a: (
            len(names := re.findall(r'(\w+)="', a.one("WWW-Authenticate"))) == len(set(names)) == 4
        ),
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
