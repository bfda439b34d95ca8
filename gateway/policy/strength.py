"""Say whether one route demands at least what another demands.

Compared is what the two say, not who could meet it: a yes is certain, a no may be for
want of a proof. Limits, time-outs and upstreams are no demands.
"""

from gateway.policy.model import Route
from gateway.settings.model import Access, Mode, RequireSettings


def demands_as_much(route: Route, other: Route) -> bool:
    """Return whether every request that `route` lets through meets what `other` demands."""
    if route is other or other.access is Access.PUBLIC:
        return True
    if route.access is Access.PUBLIC:
        return False
    if route.access is Access.OPTIONAL and other.access is not Access.OPTIONAL:
        return False
    if route.mode is Mode.SHADOW and other.mode is not Mode.SHADOW:
        return False
    return _requires_as_much(route.require, other.require)


def _requires_as_much(require: RequireSettings, other: RequireSettings) -> bool:
    return (
        require.audiences <= other.audiences
        and require.scopes >= other.scopes
        and _meets_any(require, other.any_scopes)
        and all(
            name in require.claims and _all_among(require.claims[name], accepted)
            for name, accepted in other.claims.items()
        )
        and (not other.clients or (bool(require.clients) and require.clients <= other.clients))
    )


def _meets_any(require: RequireSettings, any_scopes: frozenset[str]) -> bool:
    """Return whether whoever meets `require` holds one of `any_scopes`."""
    if not any_scopes or require.scopes & any_scopes:
        return True
    return bool(require.any_scopes) and require.any_scopes <= any_scopes


def _all_among(values: tuple[object, ...], accepted: tuple[object, ...]) -> bool:
    # Types must agree, as where claims are compared: in Python True == 1.
    return all(any(type(v) is type(a) and v == a for a in accepted) for v in values)
