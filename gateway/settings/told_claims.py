"""Warn of claims that upstreams are to be told and that no token has, or that do not read as a field.

On the settings alone: what clients' tokens carry beside what the issuer writes into each is in the
settings, so a name that leads nowhere is seen before a service misses its field.

Sources: RFC 9068 2.2 (claims of access tokens), RFC 8693 4.2 (`scope`).
"""

from collections.abc import Iterator

from gateway.settings.findings import Finding
from gateway.settings.model import Settings
from gateway.settings.problems import Severity, suggest
from gateway.tokens.claims import ISSUED_CLAIMS

_MOST_SUGGESTIONS = 20
"""Each costs a search of all names."""


def check_told_claims(settings: Settings) -> Iterator[Finding]:
    """Yield a warning for each of `claim_headers` whose claim is never, or hardly ever, told."""
    asked = [
        (("upstreams", upstream.name, "claim_headers", field_name), claim)
        for upstream in settings.upstreams.values()
        for field_name, claim in upstream.claim_headers.items()
    ]
    if not asked or not settings.clients:  # nobody has a token yet
        return
    carried = set(ISSUED_CLAIMS)
    for client in settings.clients.values():
        carried.update(client.claims)
    suggestions = 0
    for steps, claim in asked:
        if claim == "scope":
            message = "several scopes have spaces between them, and are left out"
            yield Finding(None, steps, message, "identity_headers sends X-Auth-Scope", Severity.WARNING)
        elif claim not in carried:
            suggestions += 1
            hint = suggest(claim, carried) if suggestions <= _MOST_SUGGESTIONS else ""
            hint = hint or "`claims` of a client say what its tokens carry"
            yield Finding(None, steps, "no token has this claim", hint, Severity.WARNING)
