"""Answer token requests: who asks, what it may have, and a token that says so.

Order: a key to sign with, `grant_type`, the grant's own proof (`gateway.issuer.grants`), the rate
limit, what the client may ask for (`gateway.clients.authorization`).

Sources: RFC 6749 4.4, 5.1 and 5.2; RFC 9068 2.
"""

import secrets

from gateway.clients.authorization import NOT_AUTHORIZED, Grant, GrantRequest, resolve_grant
from gateway.clients.problems import ErrorCode, OAuthProblem
from gateway.clients.registry import RegisteredClient
from gateway.issuer.asked import Asked
from gateway.issuer.claims import build_claims
from gateway.issuer.errors import ErrorAnswer, answer_problem, json_answer
from gateway.issuer.forms import missing
from gateway.issuer.grants.table import GRANTS
from gateway.issuer.issue import refuse_size, token_reply
from gateway.issuer.proofs import BUSY, count_request
from gateway.issuer.signer import SignerOverloadedError
from gateway.observe.issuer_request import LONGEST_SCOPE, cut
from gateway.services import Answer
from gateway.tokens.base64url import encode_base64url
from gateway.tokens.claims import AccessToken, read_access_token
from gateway.tokens.key_ring import SigningKey

_NO_KEY = OAuthProblem(
    ErrorCode.TEMPORARILY_UNAVAILABLE, "the issuer has no signing key now; try again later", cause="no_key"
)
_JUST_REVOKED = OAuthProblem(
    ErrorCode.TEMPORARILY_UNAVAILABLE, "the tokens of this client were just revoked; ask again in a second"
)


async def issue(asked: Asked) -> Answer | ErrorAnswer:
    """Return the answer to a token request."""
    form, entry, snapshot = asked.form, asked.entry, asked.snapshot
    signing_key = snapshot.keys.active
    if signing_key is None:  # before anything is used up that works once
        return answer_problem(_NO_KEY)
    wish = GrantRequest(form.get("audience"), form.resources, form.get("scope"))
    entry.asked_audience = cut(wish.audience or " ".join(wish.resources))
    entry.asked_scope = cut(wish.scope, LONGEST_SCOPE)
    grant_type = _check_grant_type(asked)
    if isinstance(grant_type, OAuthProblem):
        return answer_problem(grant_type)
    proven = await GRANTS[grant_type](asked)
    if isinstance(proven, ErrorAnswer):
        return proven
    client = proven.client
    limited = count_request(asked, client.id)
    if limited is not None:
        return limited
    if grant_type not in client.grants:
        return answer_problem(
            OAuthProblem(ErrorCode.UNAUTHORIZED_CLIENT, f"grant_type: the client may not use {grant_type}")
        )
    now = asked.parts.context.clock()
    grant = resolve_grant(client, wish, default_lifetime_s=snapshot.issuer.token_lifetime_s, now=now)
    if isinstance(grant, OAuthProblem):
        if grant.cause == NOT_AUTHORIZED and entry.asked_audience not in snapshot.registry.clients:
            entry.cause = "unknown_audience"
        return answer_problem(grant)
    issued = await _hand_out(asked, client, grant, grant_type, signing_key, now)
    if isinstance(issued, Answer):
        entry.audience, entry.scope = grant.audience, cut(" ".join(grant.scopes), LONGEST_SCOPE)
        entry.lifetime_s = grant.lifetime_s
    return issued


def _check_grant_type(asked: Asked) -> str | OAuthProblem:
    grant_type = asked.form.get("grant_type")
    if grant_type is None:
        return missing("grant_type", f"this issuer supports {', '.join(GRANTS)}")
    if grant_type not in GRANTS:
        asked.entry.asked_grant = cut(grant_type)
        return OAuthProblem(
            ErrorCode.UNSUPPORTED_GRANT_TYPE,
            f"grant_type: is not supported; this issuer supports {', '.join(GRANTS)}",
        )
    asked.entry.grant = grant_type
    return grant_type


async def _hand_out(
    asked: Asked,
    client: RegisteredClient,
    grant: Grant,
    grant_type: str,
    signing_key: SigningKey,
    now: float,
) -> Answer | ErrorAnswer:
    """Sign a token for what was granted; return the answer that carries it, or why there is none."""
    context, snapshot = asked.parts.context, asked.snapshot
    jti = context.revocations.mark_for(client.id, int(now)) + encode_base64url(
        secrets.token_bytes(16)
    ).decode("ascii")
    claims = build_claims(client, grant, snapshot.issuer, jti=jti, now=now)
    try:
        raw = await asked.parts.signer.sign(signing_key, claims)
    except SignerOverloadedError:
        return answer_problem(BUSY)
    too_large = refuse_size(raw, snapshot.largest_token_bytes)
    if too_large is not None:
        return answer_problem(too_large)
    # Read back by the gate's own rules: what we would refuse is never handed out.
    token = read_access_token(claims, signing_key.kid)
    if not isinstance(token, AccessToken):
        raise TypeError(f"the claims of a new token are not readable: {token.claim}")
    if context.revocations.refuses(token):
        return answer_problem(_JUST_REVOKED)
    context.on_issued(raw, token)
    context.observer.token_issued(client.id, grant.audience, grant_type, grant.lifetime_s)
    return json_answer(token_reply(raw, grant))
