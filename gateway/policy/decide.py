"""Decide whether one caller may use one matched route.

Pure: no clock, no I/O, no logging. The token's signature, issuer, times and revocation
are already verified (`gateway.enforce`); here we compare what it grants with what the
route requires and with what its client is granted now. How a refusal looks on the wire
is `gateway.enforce.challenge`.

What a remembered decision depends on: the token's claims, the route, the grants, all of
one snapshot, and, through an authorization's `until`, the time. So a decision may be
kept for a token and a route until the snapshot is swapped or `Decision.valid_until` is
reached, whichever comes first. Expiry and revocation of the token are not in it.

Sources: RFC 7519 4.1.3 (aud), RFC 6750 3 and 3.1 (insufficient_scope, scope attribute),
RFC 9068 4 (audience and scopes of access tokens).
"""

from bisect import bisect
from collections.abc import Iterable
from itertools import islice

from gateway.policy.demands import NAMES_IN_TEXT, TEXT_CHARACTERS, claim_matches
from gateway.policy.model import AudienceGrant, Decision, Grants, Route
from gateway.reasons import Reason
from gateway.settings.model import Access, RequireSettings
from gateway.tokens.claims import AccessToken

LOOKED_AT = 1000
"""Scopes of a route that a refusal looks at one by one; no token of usual size holds more."""


def decide(route: Route, token: AccessToken | None, *, grants: Grants, now: float) -> Decision:
    """Return the decision for one request on its matched route. Never raises on client input.

    The first failing check gives the reason: access, audience, client, authorization,
    scopes, claims, allow list. A route that requires a token but names no audience lets
    nobody in. Shadow mode is not looked at: the caller chooses what a refusal means.

    Args:
        route: The matched route.
        token: The verified token, or None when the request carried none.
        grants: What every client is granted by the live snapshot.
        now: Wall-clock seconds since the epoch.
    """
    if route.access is Access.PUBLIC:
        return route.public
    if token is None:
        return route.anonymous if route.access is Access.OPTIONAL else route.no_token
    require = route.require
    if token.audience not in require.audiences:
        return _other_audience(Reason.WRONG_AUDIENCE, route, token)
    client = grants.get(token.client_id)
    if client is None or client.disabled:
        return Decision(
            Reason.CLIENT_DISABLED,
            route.label,
            expected="a client that exists and is not disabled",
            found=f"{token.client_id} {'is unknown' if client is None else 'is disabled'}",
        )
    grant = client.audiences.get(token.audience)
    if grant is None:
        return _not_authorized(route, token, found="no such authorization")
    if grant.until is not None and now >= grant.until:
        return _not_authorized(route, token, found="it has ended", hint=_ENDED)
    if not (
        require.scopes <= token.scopes
        and require.scopes <= grant.scopes
        and (not require.any_scopes or require.any_scopes & token.scopes & grant.scopes)
    ):
        return _missing_scope(route, token, grant)
    for demand in route.demands.claims:
        if not claim_matches(token.claims, demand.name, demand.accepted):
            return Decision(
                Reason.CLAIM_MISMATCH,
                route.label,
                expected=demand.expected,
                found="another value" if demand.name in token.claims else "the claim is absent",
                valid_until=grant.until,
                claim=demand.name,
            )
    if require.clients and token.client_id not in require.clients:
        return Decision(
            Reason.CLIENT_NOT_ALLOWED,
            route.label,
            expected=route.demands.expected_clients,
            found=token.client_id,
            valid_until=grant.until,
        )
    return route.ok if grant.until is None else Decision(Reason.OK, route.label, valid_until=grant.until)


def _other_audience(reason: Reason, route: Route, token: AccessToken) -> Decision:
    return Decision(
        reason,
        route.label,
        expected=route.demands.expected_audiences,
        found=token.audience,
        needed_audiences=route.demands.audiences,
        held_audience=token.audience,
    )


_ENDED = "The authorization of the client for this audience has ended."


def _not_authorized(route: Route, token: AccessToken, *, found: str, hint: str = "") -> Decision:
    return Decision(
        Reason.CLIENT_NOT_ALLOWED,
        route.label,
        expected=f"an authorization of {token.client_id} for {token.audience}",
        found=found,
        hint=hint,
    )


def _missing_scope(route: Route, token: AccessToken, grant: AudienceGrant) -> Decision:
    """Return the refusal. RFC 6750 3: `scope` names what is needed, so of alternatives it names one."""
    require, demands = route.require, route.demands
    usable = token.scopes & grant.scopes
    needed = demands.scopes
    if require.any_scopes and not require.any_scopes & usable:
        # One that the client could get, if there is one: asking for all might be refused.
        offered = islice(demands.any_scopes, LOOKED_AT)
        one = next((scope for scope in offered if scope in grant.scopes), demands.any_scopes[0])
        if one not in require.scopes:
            at = bisect(needed, one)
            needed = (*needed[:at], one, *needed[at:])
    # What the token holds is the small side, so each comparison is made with that.
    withdrawn = _named(token.scopes - grant.scopes, require)
    found = " ".join(sorted(_named(usable, require))) or "none of them"
    if withdrawn:
        found += f" (no longer granted: {' '.join(sorted(withdrawn))})"
    return Decision(
        Reason.MISSING_SCOPE,
        route.label,
        needed_scopes=needed,
        expected=demands.expected_scopes,
        found=found,
        valid_until=grant.until,
        held_scopes=tuple(sorted(token.scopes)),
        hint=_mend_scopes(needed, token, grant),
    )


def _named(scopes: frozenset[str], require: RequireSettings) -> frozenset[str]:
    """Return those of `scopes` that the route names."""
    return (scopes & require.scopes) | (scopes & require.any_scopes)


def _mend_scopes(needed: Iterable[str], token: AccessToken, grant: AudienceGrant) -> str:
    """Return what its holder can do about each scope that does not count, of the first `LOOKED_AT`.

    Whoever holds the token can learn all of it at the token endpoint, by asking for the scope.
    """
    causes: dict[str, list[str]] = {
        "Not asked for": [],
        "Not granted to the client": [],
        "No longer granted": [],
    }
    for scope in islice(needed, LOOKED_AT):
        if scope in grant.scopes:
            if scope not in token.scopes:
                causes["Not asked for"].append(scope)
        else:
            cause = "No longer granted" if scope in token.scopes else "Not granted to the client"
            causes[cause].append(scope)
    return " ".join(f"{cause}: {_few(scopes)}." for cause, scopes in causes.items() if scopes)


def _few(names: list[str]) -> str:
    """Return the first of `names`, which are sorted, within bounds, and how many more there are."""
    shown = " ".join(names[:NAMES_IN_TEXT])
    if len(shown) > TEXT_CHARACTERS:
        return f"{len(names)} scopes"
    return shown if len(names) <= NAMES_IN_TEXT else f"{shown} and {len(names) - NAMES_IN_TEXT} more"
