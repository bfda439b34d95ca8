"""List what RFC 7521 and 7523 (assertions) demand of us, with draft-ietf-oauth-rfc7523bis-11.

Two uses, two error codes: an assertion that authenticates a client fails with 401
`invalid_client` (7521 4.2.1), one that is a grant with 400 `invalid_grant` (4.1.1). A
request that contradicts itself is 400 `invalid_request` in both.
"""

from tests.conformance.assertions import CLIENT_ASSERTION, JWT_BEARER
from tests.conformance.rows import (
    CHALLENGE,
    INTROSPECT,
    NO_STORE,
    REVOKE,
    TOKEN,
    Ask,
    Row,
    as_client,
    basic,
    is_active,
    is_empty,
    is_of,
    parts,
)


def signed_by_client(ask: Ask, word: str) -> Ask:
    """Return the request authenticated by a client assertion and nothing else."""
    return ask.without("Authorization").having(
        client_assertion_type=CLIENT_ASSERTION, client_assertion=f"{{client_{word}}}"
    )


CLIENT = signed_by_client(TOKEN, "honest")
GRANT = Ask(
    "POST",
    "/oauth2/token",
    form=(("grant_type", JWT_BEARER), ("assertion", "{grant_honest}"), ("scope", "country.read")),
)


def client(rfc: str, rule: str, ask: Ask, twin: Ask = CLIENT) -> Row:
    """Return a client that is not authenticated."""
    return Row(rfc, rule, ask, 401, "invalid_client", {**NO_STORE, **CHALLENGE}, twin=twin)


def grant(rfc: str, rule: str, ask: Ask, twin: Ask = GRANT) -> Row:
    """Return a grant that is refused."""
    return Row(rfc, rule, ask, 400, "invalid_grant", {**NO_STORE, "WWW-Authenticate": None}, twin=twin)


def confused(rfc: str, rule: str, ask: Ask, twin: Ask) -> Row:
    """Return a request that contradicts itself."""
    return Row(rfc, rule, ask, 400, "invalid_request", NO_STORE, twin=twin)


DEFECTS = (
    ("RFC 7523 3 (1)", "iss is required", "without_iss"),
    ("RFC 7523 3 (2)", "sub is required", "without_sub"),
    ("RFC 7523 3 (3)", "aud is required", "without_aud"),
    ("RFC 7523 3 (3)", "aud must name us", "for_another"),
    ("draft-ietf-oauth-rfc7523bis-11", "aud must name us alone", "for_us_and_another"),
    ("RFC 7523 3 (4)", "exp is required", "without_exp"),
    ("RFC 7523 3 (4)", "exp is a number", "timed_by_text"),
    ("RFC 7523 3 (4)", "an expired assertion is refused", "expired"),
    ("RFC 7523 3 (4)", "exp may not lie unreasonably far ahead", "long_lived"),
    ("RFC 7523 3 (5)", "nbf in the future is refused", "early"),
    ("RFC 7523 3 (6)", "iat in the future is refused", "issued_tomorrow"),
    ("RFC 7523 3 (9)", "a signature is required", "unsigned"),
    ("RFC 7523 3 (9)", "an invalid signature is refused", "forged"),
    ("RFC 7523 3 (10)", "what is no valid JWT is refused", "critical"),
    ("RFC 8725 3.12", "an access token is no assertion", "typed_at_jwt"),
)

ROWS = [
    # --- client authentication
    *(
        Row(rfc, rule, signed_by_client(TOKEN, word), 200, look=lambda a: parts(a)[1]["sub"] == "signer")
        for rfc, rule, word in (
            ("RFC 7523 2.2", "a client authenticates with a signed assertion (ES256)", "honest"),
            ("RFC 7523 5", "RS256 is supported", "rs256"),
            ("RFC 7523 3 (3)", "aud may be a list of one", "for_us_in_a_list"),
            ("draft-ietf-oauth-rfc7523bis-11", "typ may be client-authentication+jwt", "typed"),
            ("draft-ietf-oauth-rfc7523bis-11", "typ may be JWT", "typed_jwt"),
        )
    ),
    Row(
        "RFC 7523 2.2",
        "and at the introspection endpoint",
        signed_by_client(INTROSPECT, "honest").having(token="{signer_token}"),
        200,
        look=is_active("signer"),
    ),
    Row(
        "RFC 7523 2.2",
        "and at the revocation endpoint",
        signed_by_client(REVOKE, "honest").having(token="{signer_token}"),
        200,
        look=is_empty,
        live_after=False,
    ),
    client(
        "RFC 7523 2.2",
        "a forged one is refused at the introspection endpoint",
        signed_by_client(INTROSPECT, "forged"),
        signed_by_client(INTROSPECT, "honest"),
    ),
    client(
        "RFC 7523 2.2",
        "a forged one is refused at the revocation endpoint",
        signed_by_client(REVOKE, "forged").having(token="{signer_token}"),
        signed_by_client(REVOKE, "honest").having(token="{signer_token}"),
    ),
    Row(
        "RFC 7523 3 (9)",
        "a MAC with the client's own secret is a signature",
        signed_by_client(TOKEN, "mac"),
        200,
        look=lambda a: parts(a)[1]["sub"] == "hmac",
    ),
    client(
        "RFC 7523 3 (9)",
        "a MAC with another secret is refused",
        signed_by_client(TOKEN, "mac_forged"),
        signed_by_client(TOKEN, "mac"),
    ),
    client(
        "RFC 8725 3.1",
        "a MAC with a public key is refused",
        signed_by_client(TOKEN, "mac_by_public_key"),
    ),
    confused(
        "RFC 7521 4.2",
        "client_assertion without its type",
        CLIENT.without("client_assertion_type"),
        CLIENT,
    ),
    confused(
        "RFC 7521 4.2", "client_assertion_type without assertion", CLIENT.without("client_assertion"), CLIENT
    ),
    client(
        "RFC 7523 2.2",
        "client_assertion_type must be the one of JWTs",
        CLIENT.having(client_assertion_type="urn:ietf:params:oauth:client-assertion-type:saml2-bearer"),
    ),
    client(
        "RFC 7523 2.2",
        "client_assertion_type is compared exactly",
        CLIENT.having(client_assertion_type=CLIENT_ASSERTION.upper()),
    ),
    client(
        "RFC 7523 2.2",
        "client_assertion is one JWT and no more",
        CLIENT.having(client_assertion="{client_honest} {client_honest}"),
    ),
    confused(
        "RFC 7523 2.2",
        "client_assertion comes once",
        CLIENT.twice("client_assertion", "{client_honest}"),
        CLIENT,
    ),
    confused(
        "RFC 7521 4.2.1",
        "an assertion and Basic are two ways",
        CLIENT.sending(("Authorization", basic("caller"))),
        CLIENT,
    ),
    confused(
        "RFC 7521 4.2.1",
        "an assertion and a secret in the form are two ways",
        CLIENT.having(client_id="signer", client_secret="x"),
        CLIENT.having(client_id="signer"),
    ),
    confused(
        "RFC 7521 4.2",
        "client_id, if sent, is the client of the assertion",
        CLIENT.having(client_id="caller"),
        CLIENT.having(client_id="signer"),
    ),
    client(
        "RFC 7523 3 (2B)",
        "sub is the client: iss and sub differ",
        signed_by_client(TOKEN, "of_another_subject"),
    ),
    client("RFC 7523 3 (1)", "iss is the client", signed_by_client(TOKEN, "of_another_issuer")),
    client("RFC 7521 4.2.1", "an unknown client", signed_by_client(TOKEN, "of_nobody")),
    client(
        "draft-ietf-oauth-rfc7523bis-11",
        "aud is our issuer identifier, not the token endpoint",
        signed_by_client(TOKEN, "for_the_endpoint"),
    ),
    client("RFC 7523 3 (7)", "a jti counts once", CLIENT.having(client_assertion="{used_client_assertion}")),
    *(client(rfc, rule, signed_by_client(TOKEN, word)) for rfc, rule, word in DEFECTS),
    client(
        "RFC 7521 4.1",
        "the assertion of a grant authenticates no client",
        CLIENT.having(client_assertion="{grant_honest}"),
    ),
    # --- the jwt-bearer grant
    *(
        Row(
            rfc,
            rule,
            GRANT.having(assertion=f"{{grant_{word}}}"),
            200,
            fields=NO_STORE,
            look=lambda a: parts(a)[1]["client_id"] == "workload" and "refresh_token" not in a.json,
        )
        for rfc, rule, word in (
            ("RFC 7523 2.1", "an identity gets a token by its assertion", "honest"),
            ("RFC 7523 5", "RS256 is supported in the grant", "rs256"),
            ("RFC 7523 3 (3)", "aud of a grant may be the token endpoint", "for_the_endpoint"),
            ("RFC 7523 3 (3)", "aud of a grant may be a list of one", "for_us_in_a_list"),
        )
    ),
    Row(
        "RFC 7521 4.1",
        "client authentication is optional beside a grant; one that succeeds is fine",
        as_client(GRANT, "workload").having(assertion="{grant_honest}"),
        200,
        look=is_of("workload"),
    ),
    client(
        "RFC 7521 4.1.1",
        "client authentication beside a grant that fails is invalid_client",
        as_client(GRANT, "workload", secret="wrong"),
        as_client(GRANT, "workload"),
    ),
    Row(
        "RFC 7523 2.1",
        "grant_type is the exact URN",
        GRANT.having(grant_type="jwt-bearer"),
        400,
        "unsupported_grant_type",
        NO_STORE,
        twin=GRANT,
    ),
    confused("RFC 7523 2.1", "assertion is required", GRANT.without("assertion"), GRANT),
    confused("RFC 7523 2.1", "assertion comes once", GRANT.twice("assertion", "{grant_honest}"), GRANT),
    grant(
        "RFC 7523 2.1",
        "assertion is one JWT and no more",
        GRANT.having(assertion="{grant_honest},{grant_honest}"),
    ),
    grant("RFC 7523 3 (10)", "what is no JWT is refused", GRANT.having(assertion="PHNhbWw-")),
    grant(
        "RFC 7523 3 (1)", "an unknown issuer is refused", GRANT.having(assertion="{grant_of_another_issuer}")
    ),
    grant(
        "RFC 7523 3 (2A)",
        "an unknown subject is refused",
        GRANT.having(assertion="{grant_of_another_subject}"),
    ),
    grant(
        "RFC 7521 4.1",
        "client_id, if sent, is whom the identity may act as",
        GRANT.having(client_id="caller"),
        GRANT.having(client_id="workload"),
    ),
    grant(
        "RFC 7523 3 (9)",
        "a MAC is no signature in the grant: nobody shares a secret with us here",
        GRANT.having(assertion="{client_mac}"),
    ),
    grant("RFC 7523 3 (7)", "an assertion counts once", GRANT.having(assertion="{used_grant_assertion}")),
    *(grant(rfc, rule, GRANT.having(assertion=f"{{grant_{word}}}")) for rfc, rule, word in DEFECTS),
    grant(
        "RFC 7521 4.2",
        "the assertion of a client is no grant",
        GRANT.having(assertion="{client_honest}"),
    ),
    Row(
        "RFC 7521 4.1",
        "scope may not go beyond what the identity is granted",
        GRANT.having(scope="country.read country.write"),
        400,
        "invalid_scope",
        NO_STORE,
        twin=GRANT,
    ),
    Row(
        "RFC 6749 5.2",
        "a client that may not use the grant is unauthorized_client",
        GRANT.having(assertion="{grant_of_idle}"),
        400,
        "unauthorized_client",
        NO_STORE,
        twin=GRANT,
    ),
]
