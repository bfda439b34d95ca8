"""Decide what a proven client gets: one audience, some scopes, one lifetime.

Knowing who the client is does not grant anything: without an authorization for the
audience there is no token. Pure; `now` is passed in.

Sources: RFC 6749 3.3, RFC 8707 2, RFC 9068 3.
"""

import re
from dataclasses import dataclass

from gateway.clients.problems import ErrorCode, OAuthProblem
from gateway.clients.registry import Authorization, RegisteredClient
from gateway.tokens.claims import parse_scope

_ABSOLUTE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^#]+")


NOT_AUTHORIZED = "not_authorized"
"""The cause when an audience was asked for that the client is not authorized for, if it exists at all."""


@dataclass(frozen=True, slots=True)
class GrantRequest:
    """What a client asks for; absent and empty parameters are the same."""

    audience: str | None = None
    resources: tuple[str, ...] = ()
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """What a client gets."""

    audience: str
    scopes: tuple[str, ...]
    """In the order they were asked, each once; empty for none."""
    lifetime_s: int
    """At least 1."""


def resolve_grant(
    client: RegisteredClient, asked: GrantRequest, *, default_lifetime_s: float, now: float
) -> Grant | OAuthProblem:
    """Return what `client` gets for what it asked, or why it gets nothing.

    Order: target, authorization, scopes. The lifetime is the authorization's, else the
    client's, else `default_lifetime_s`, and never reaches beyond the authorization's end.
    """
    audience = _choose_audience(client, asked, now)
    if isinstance(audience, OAuthProblem):
        return audience
    authorization = client.authorizations.get(audience)
    if authorization is None:
        # The caller may not have sent it at all: who knows that is the operator.
        cause = NOT_AUTHORIZED if asked.audience or asked.resources else "default_audience_not_authorized"
        return OAuthProblem(
            ErrorCode.INVALID_TARGET, "audience: is unknown, or the client is not authorized for it", cause
        )
    if not authorization.holds_at(now):
        return OAuthProblem(
            ErrorCode.INVALID_TARGET,
            "audience: the authorization of the client has ended",
            "authorization_ended",
        )
    scopes = _choose_scopes(authorization, asked.scope)
    if isinstance(scopes, OAuthProblem):
        return scopes
    return Grant(audience, scopes, _lifetime(client, authorization, default_lifetime_s, now))


def _choose_audience(client: RegisteredClient, asked: GrantRequest, now: float) -> str | OAuthProblem:
    for resource in asked.resources:
        if _ABSOLUTE_URI.fullmatch(resource) is None:
            return OAuthProblem(
                ErrorCode.INVALID_TARGET, "resource: must be an absolute URI without a fragment"
            )
    named = {*asked.resources, *([asked.audience] if asked.audience is not None else [])}
    if len(named) > 1:
        return OAuthProblem(
            ErrorCode.INVALID_TARGET, "audience, resource: a token is for one audience; name only one"
        )
    if named:
        return named.pop()
    if client.default_audience is not None:
        return client.default_audience
    holding = [audience for audience, entry in client.authorizations.items() if entry.holds_at(now)]
    if len(holding) == 1:
        return holding[0]
    if holding:
        wrong = "is missing; name the audience that the token is for"
    elif client.authorizations:
        wrong = "every authorization of the client has ended"
    else:
        wrong = "the client is not authorized for any"
    return OAuthProblem(ErrorCode.INVALID_REQUEST, f"audience: {wrong}")


def _choose_scopes(authorization: Authorization, asked: str | None) -> tuple[str, ...] | OAuthProblem:
    if asked is None:
        return authorization.default_scopes
    scopes = parse_scope(asked)
    if scopes is None:
        return OAuthProblem(ErrorCode.INVALID_SCOPE, "scope: must be scope names separated by single spaces")
    refused = [scope for scope in scopes if scope not in authorization.scopes]
    if refused:
        return OAuthProblem(
            ErrorCode.INVALID_SCOPE,
            f"scope: not offered by the audience or not granted to the client: {' '.join(refused)[:200]}",
        )
    return scopes


def _lifetime(
    client: RegisteredClient, authorization: Authorization, default_lifetime_s: float, now: float
) -> int:
    lifetime_s = default_lifetime_s
    if client.token_lifetime_s is not None:
        lifetime_s = client.token_lifetime_s
    if authorization.token_lifetime_s is not None:
        lifetime_s = authorization.token_lifetime_s
    if authorization.until is not None:
        lifetime_s = min(lifetime_s, authorization.until - int(now))
    return max(1, int(lifetime_s))
