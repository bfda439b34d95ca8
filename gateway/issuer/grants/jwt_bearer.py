"""Serve the grant by which a workload asks with a token of its own platform.

Sources: RFC 7521 4.1; RFC 7523 2.1.
"""

from gateway.clients.authenticate import AuthFailure, ProvenClient
from gateway.issuer.asked import Asked
from gateway.issuer.assertions import prove_identity, read_grant_assertion
from gateway.issuer.errors import ErrorAnswer, answer_problem
from gateway.issuer.forms import missing
from gateway.issuer.proofs import (
    AUTHORIZATION,
    authenticate,
    caller_of,
    note_assertion,
    note_proven,
    refuse_client,
)
from gateway.observe.issuer_request import cut

_CREDENTIALS = frozenset({"client_secret", "client_assertion", "client_assertion_type"})


async def prove(asked: Asked) -> ProvenClient | ErrorAnswer:
    """Return the client that the form's `assertion` may act as.

    RFC 7521 4.1: authenticating as a client is optional here; one that is tried must
    succeed, and only that client's identities count then.
    """
    form, entry = asked.form, asked.entry
    raw = form.get("assertion")
    if raw is None:
        return answer_problem(missing("assertion", "send one signed JWT"))
    client_id = form.get("client_id")
    if AUTHORIZATION in asked.request.fields or not _CREDENTIALS.isdisjoint(form.values):
        authenticated = await authenticate(asked)
        if isinstance(authenticated, ErrorAnswer):
            return authenticated
        client_id = authenticated.client.id
    if not entry.client:
        entry.unverified_client = cut(client_id)
    assertion = read_grant_assertion(raw.encode())
    if isinstance(assertion, AuthFailure):
        return refuse_client(asked, assertion)
    note_assertion(entry, assertion)
    proven = await prove_identity(assertion, client_id, asked.snapshot, asked.parts.context, caller_of(asked))
    if isinstance(proven, AuthFailure):
        return refuse_client(asked, proven)
    note_proven(entry, proven)
    return proven
