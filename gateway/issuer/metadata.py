"""Describe the issuer to clients: the metadata documents. Pure.

Sources: RFC 8414 2 and 3.2, OpenID Connect Discovery 1.0 3.
"""

from gateway.clients.assertions import HS256
from gateway.clients.registry import Registry
from gateway.issuer.endpoints import Endpoint, endpoint_url
from gateway.oauth_names import auth_methods, grant_types
from gateway.settings.model import Settings
from gateway.tokens.key_ring import ALGORITHMS, KeyRing

ASSERTION_ALGORITHMS = (*ALGORITHMS, HS256)
_FORM_ENDPOINTS = ("token", "introspection", "revocation")
_MAX_SCOPES = 256


def server_metadata(settings: Settings, registry: Registry) -> dict[str, object]:
    """Return the authorization server metadata.

    Arrays without elements are left out, save `response_types_supported`: it is
    required, and an issuer without an authorization endpoint has none. Scopes are
    recommended, not required, and left out where there are very many.
    """
    issuer = settings.issuer
    document: dict[str, object] = {
        "issuer": issuer.url,
        "token_endpoint": endpoint_url(issuer, Endpoint.TOKEN),
        "jwks_uri": endpoint_url(issuer, Endpoint.JWKS),
        "introspection_endpoint": endpoint_url(issuer, Endpoint.INTROSPECTION),
        "revocation_endpoint": endpoint_url(issuer, Endpoint.REVOCATION),
        "response_types_supported": [],
        # Never left out: its default would be authorization_code and implicit.
        "grant_types_supported": list(grant_types()),
    }
    for name in _FORM_ENDPOINTS:
        document[f"{name}_endpoint_auth_methods_supported"] = list(auth_methods())
        # RFC 8414 2: present as soon as a method with assertions is listed.
        document[f"{name}_endpoint_auth_signing_alg_values_supported"] = list(ASSERTION_ALGORITHMS)
    if 0 < len(registry.scopes) <= _MAX_SCOPES:
        document["scopes_supported"] = sorted(registry.scopes)
    return document


def openid_metadata(settings: Settings, registry: Registry, keys: KeyRing) -> dict[str, object]:
    """Return the same document with the two further members that OpenID clients require.

    There are no ID tokens here; strict readers refuse a document without these members
    before they look for the token endpoint.
    """
    return {
        **server_metadata(settings, registry),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [
            settings.issuer.signing_algorithm if keys.active is None else keys.active.alg
        ],
    }
