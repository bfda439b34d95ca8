"""Name the issuer's endpoints and the exact paths they are served at. Pure.

Every endpoint lies below `issuer.path_prefix`, under two names; the metadata are also
where the issuer's URL says, unless a route is there. A path is compared byte for byte with
what the gate calls canonical.

Sources: RFC 8414 3, 3.1 and 5; OpenID Connect Discovery 1.0 4.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from urllib.parse import urlsplit

from gateway.policy.compile import is_routed
from gateway.settings.model import IssuerSettings, Settings


class Endpoint(StrEnum):
    """What the issuer serves."""

    TOKEN = "token"  # noqa: S105  # an endpoint
    JWKS = "jwks"
    SERVER_METADATA = "server_metadata"
    OPENID_METADATA = "openid_metadata"
    INTROSPECTION = "introspection"
    REVOCATION = "revocation"


_SERVER_METADATA_PATH = "/.well-known/oauth-authorization-server"
_OPENID_METADATA_PATH = "/.well-known/openid-configuration"

_NAMES: Mapping[Endpoint, tuple[str, ...]] = MappingProxyType(
    {
        # The first name is the one that the metadata announces.
        Endpoint.TOKEN: ("/oauth2/token", "/v1/token"),
        Endpoint.JWKS: ("/.well-known/jwks.json", "/oauth2/jwks"),
        Endpoint.SERVER_METADATA: (_SERVER_METADATA_PATH,),
        Endpoint.OPENID_METADATA: (_OPENID_METADATA_PATH,),
        Endpoint.INTROSPECTION: ("/oauth2/introspect", "/v1/introspect"),
        Endpoint.REVOCATION: ("/oauth2/revoke", "/v1/revoke"),
    }
)


def issuer_endpoints(settings: Settings) -> Mapping[str, Endpoint]:
    """Return every path the issuer serves and what is there."""
    prefix = settings.issuer.path_prefix
    paths = {prefix + name: endpoint for endpoint, names in _NAMES.items() for name in names}
    # RFC 8414 3.1: the well-known part goes between host and path of the issuer. The
    # openid document has its place behind the path, but clients look before it as well (5).
    issuer_path = urlsplit(settings.issuer.url).path.rstrip("/")
    found = {
        _SERVER_METADATA_PATH + issuer_path: Endpoint.SERVER_METADATA,
        _OPENID_METADATA_PATH + issuer_path: Endpoint.OPENID_METADATA,
    }
    if issuer_path:
        paths.update(found)
    # Whoever knows the issuer's URL alone finds the metadata, unless a route of the user's is there.
    found[issuer_path + _OPENID_METADATA_PATH] = Endpoint.OPENID_METADATA
    shares = any(listener.serves_issuer and listener.serves_gate for listener in settings.listeners)
    for path, endpoint in found.items():
        if path not in paths and not (shares and is_routed(settings.routes, path)):
            paths[path] = endpoint
    return MappingProxyType(paths)


def issuer_paths(settings: Settings) -> frozenset[str]:
    """Return the exact paths that belong to the issuer on listeners that serve it."""
    return frozenset(issuer_endpoints(settings))


def token_urls(issuer: IssuerSettings) -> frozenset[str]:
    """Return the addresses of the token endpoint, under all its names."""
    announced = endpoint_url(issuer, Endpoint.TOKEN)
    base = announced.removesuffix(_NAMES[Endpoint.TOKEN][0])
    return frozenset(base + name for name in _NAMES[Endpoint.TOKEN])


def endpoint_url(issuer: IssuerSettings, endpoint: Endpoint) -> str:
    """Return the URL at which callers reach `endpoint`.

    The issuer's URL already holds the prefix when its path ends with it; where it does
    not, the prefix is appended (a hop in front serves the URL's path and strips it).
    """
    base = issuer.url.rstrip("/")
    if not urlsplit(base).path.endswith(issuer.path_prefix):
        base += issuer.path_prefix
    return base + _NAMES[endpoint][0]
