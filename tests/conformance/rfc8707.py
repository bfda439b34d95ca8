"""List what RFC 8707 (resource indicators) demands of us."""

from tests.conformance.rows import ORDERS, TOKEN, Row, as_client, parts

ROWS = [
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
