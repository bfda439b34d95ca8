"""List what RFC 9068 (JWT access tokens) demands of us."""

from tests.conformance.rows import ORDERS, TOKEN, Row, arrived, bearing, parts

CLAIMS = {"iss", "exp", "aud", "sub", "client_id", "iat", "jti"}

ROWS = [
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
    Row(
        "RFC 9068 4",
        "application/at+jwt is the same type",
        bearing("typed_long"),
        200,
        look=arrived("caller"),
    ),
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
