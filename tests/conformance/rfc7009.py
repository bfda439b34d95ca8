"""List what RFC 7009 (revocation) demands of us."""

from dataclasses import replace

from tests.conformance.rows import BASIC, REVOKE, Row, as_client, is_empty, wrong

ROWS = [
    Row(
        "RFC 7009 2", "revoking is answered 200 without a body", REVOKE, 200, look=is_empty, live_after=False
    ),
    Row(
        "RFC 7009 2.1",
        "the client must authenticate",
        REVOKE.without("Authorization"),
        401,
        "invalid_client",
        live_after=True,
        twin=REVOKE,
    ),
    Row(
        "RFC 7009 2.1",
        "a wrong secret revokes nothing",
        wrong(REVOKE),
        401,
        "invalid_client",
        {"WWW-Authenticate": BASIC},
        live_after=True,
        twin=REVOKE,
    ),
    Row(
        "RFC 7009 2.1",
        "another client's token is refused",
        as_client(REVOKE, "other"),
        400,
        "unauthorized_client",
        live_after=True,
        twin=REVOKE,
    ),
    Row(
        "RFC 7009 2.1",
        "a wrong hint changes nothing",
        REVOKE.having(token_type_hint="refresh_token"),
        200,
        look=is_empty,
        live_after=False,
    ),
    Row(
        "RFC 7009 2.2",
        "an unknown token is answered 200",
        REVOKE.having(token="unknown"),
        200,
        look=is_empty,
        live_after=False,
    ),
    Row(
        "RFC 7009 2.2",
        "an expired token is answered 200",
        REVOKE.having(token="{expired}"),
        200,
        look=is_empty,
        live_after=False,
    ),
    Row(
        "RFC 7009 2.2",
        "a token is revoked twice",
        REVOKE.having(token="{revoked}"),
        200,
        look=is_empty,
        live_after=False,
    ),
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
    Row(
        "RFC 7009 2",
        "the token is never taken from the URI",
        REVOKE.without("token").to("/oauth2/revoke?token=abc"),
        400,
        "invalid_request",
        twin=REVOKE,
    ),
    Row(
        "RFC 7009 2",
        "parameters are a form",
        replace(REVOKE, form=None, body='{"token":"abc"}').sending(("Content-Type", "application/json")),
        415,
        "invalid_request",
        twin=REVOKE,
    ),
]
