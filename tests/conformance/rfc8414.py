"""List what RFC 8414 (metadata) demands of us."""

from tests.conformance.rows import Ask, Row

METADATA = Ask("GET", "/.well-known/oauth-authorization-server")
ARRAYS = (
    "grant_types_supported",
    "token_endpoint_auth_methods_supported",
    "introspection_endpoint_auth_methods_supported",
    "revocation_endpoint_auth_methods_supported",
    "scopes_supported",
)
ROWS = [
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
    Row(
        "RFC 7523 5",
        "RS256 is among the listed algorithms",
        METADATA,
        200,
        look=lambda a: "RS256" in a.json["token_endpoint_auth_signing_alg_values_supported"],
    ),
]
