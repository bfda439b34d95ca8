"""Serve the grant by which a client asks for itself.

Sources: RFC 6749 4.4.
"""

from gateway.clients.authenticate import ProvenClient
from gateway.issuer.asked import Asked
from gateway.issuer.errors import ErrorAnswer
from gateway.issuer.proofs import authenticate


async def prove(asked: Asked) -> ProvenClient | ErrorAnswer:
    """Return the client that authenticates."""
    return await authenticate(asked)
