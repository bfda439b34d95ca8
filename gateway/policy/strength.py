"""Say whether one route demands at least what another demands.

Compared is what the two say, not who could meet it: a yes is certain, a no may be for
want of a proof. Limits, time-outs and upstreams are no demands.
"""

from gateway.policy.demands import Demands
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
    return _requires_as_much(route.require, other.require) and _claims_as_much(route.demands, other.demands)


def _requires_as_much(require: RequireSettings, other: RequireSettings) -> bool:
    return (
        require.audiences <= other.audiences
        and require.scopes >= other.scopes
        and _meets_any(require, other.any_scopes)
        and (not other.clients or (bool(require.clients) and require.clients <= other.clients))
    )


def _meets_any(require: RequireSettings, any_scopes: frozenset[str]) -> bool:
    """Return whether whoever meets `require` holds one of `any_scopes`."""
    if not any_scopes or require.scopes & any_scopes:
        return True
    return bool(require.any_scopes) and require.any_scopes <= any_scopes


def _claims_as_much(demands: Demands, other: Demands) -> bool:
    demanded = {claim.name: claim.accepted for claim in demands.claims}
    return all(claim.name in demanded and demanded[claim.name] <= claim.accepted for claim in other.claims)
