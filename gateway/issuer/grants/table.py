"""List the grants that are served, and how each finds the client that gets the token."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from gateway.clients.authenticate import ProvenClient
from gateway.issuer.asked import Asked
from gateway.issuer.errors import ErrorAnswer
from gateway.issuer.grants import client_credentials, jwt_bearer
from gateway.oauth_names import CLIENT_CREDENTIALS, JWT_BEARER

Prove = Callable[[Asked], Awaitable[ProvenClient | ErrorAnswer]]

GRANTS: Mapping[str, Prove] = MappingProxyType(
    {CLIENT_CREDENTIALS: client_credentials.prove, JWT_BEARER: jwt_bearer.prove}
)
"""By `grant_type`, as requests spell it."""
