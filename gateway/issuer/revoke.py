"""Decide what a revocation request revokes. Pure; making it durable is `gateway.issuer.web`.

Sources: RFC 7009 2.1 and 2.2.
"""

from gateway.clients.problems import ErrorCode, OAuthProblem
from gateway.clients.registry import RegisteredClient
from gateway.enforce.verifier import verify_access_token
from gateway.issuer.snapshot import IssuerSnapshot
from gateway.tokens.claims import AccessToken


def find_revocable(
    raw: bytes, caller: RegisteredClient, snapshot: IssuerSnapshot, *, now: float
) -> AccessToken | OAuthProblem | None:
    """Return the token to revoke, a refusal, or None when there is nothing to do.

    A text that is no live token of ours needs no revocation and is no error (2.2): the
    caller's wish is already fulfilled. `token_type_hint` changes nothing, there is one type.
    """
    token = verify_access_token(raw, keys=snapshot.keys, issuer=snapshot.issuer.url, now=now)
    if not isinstance(token, AccessToken):
        return None
    if token.client_id != caller.id:
        return OAuthProblem(
            ErrorCode.UNAUTHORIZED_CLIENT, "token: was issued to another client, which alone may revoke it"
        )
    return token
