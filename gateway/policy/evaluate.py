"""Find the route of one request from its raw path, or the reason that there is none.

What the gate, the policy tests and every explanation go through before a token is looked at:
canonical path, route, method. What follows is `gateway.policy.decide`.
"""

from typing import NamedTuple

from gateway.policy.match import find_route
from gateway.policy.model import Decision, Route
from gateway.policy.paths import BadPath, CanonicalPath, canonical_path
from gateway.policy.readings import Reading, other_readings
from gateway.policy.strength import demands_as_much
from gateway.policy.table import Found, MethodNotAllowed, NoRoute, RouteTable
from gateway.reasons import Reason

WITHOUT_SLASH = "There is something at this path without the slash at its end."
WITH_SLASH = "There is something at this path with a slash at its end."


class Located(NamedTuple):
    """The route of a request and the path that will be forwarded (before its rewrite)."""

    route: Route
    path: CanonicalPath


def locate(table: RouteTable, host: str, target_path: bytes, method: str) -> Located | Decision:
    """Return the route of a request, or the refusal: bad_path, no_route or method_not_allowed.

    Args:
        table: The compiled routes.
        host: As `gateway.hosts.normalise_host` returns it.
        target_path: The path of the target as sent, without `?` and query.
        method: In the case of the wire.
    """
    path = canonical_path(target_path)
    if isinstance(path, BadPath):
        return Decision(Reason.BAD_PATH, expected="a path with one reading", found=path.detail)
    return locate_path(table, host, path, method)


def locate_path(table: RouteTable, host: str, path: CanonicalPath, method: str) -> Located | Decision:
    """Return the route of a request whose path is canonical already, or the refusal."""
    match = find_route(table, host, path, method)
    route = match.route if isinstance(match, Found) else None
    if path.has_encoded_slash and not (route and route.allow_encoded_slash):
        return Decision(
            Reason.BAD_PATH,
            route.label if route else None,
            expected="no encoded slash (allow_in_path: [encoded_slash])",
            found="the path holds an encoded slash",
        )
    if path.has_parameters and not (route and route.allow_parameters):
        return Decision(
            Reason.BAD_PATH,
            route.label if route else None,
            expected="no ; parameters (allow_in_path: [parameters])",
            found="the path holds ; parameters",
        )
    if route is not None:
        if (path.has_encoded_slash or path.has_parameters) and not _has_one_rule(
            table, host, path, method, route
        ):
            return Decision(
                Reason.BAD_PATH,
                route.label,
                expected="a path whose every reading has the same rule",
                found="decoded, or with its ; parameters, it would lead elsewhere",
            )
        return Located(route, path)
    if isinstance(match, MethodNotAllowed):
        return Decision(
            Reason.METHOD_NOT_ALLOWED,
            allowed_methods=match.allowed,
            expected="one of " + ", ".join(match.allowed),
            found=method,
        )
    hint = _mend_slash(table, host, path, method)
    return Decision(Reason.NO_ROUTE, expected="a route for this host and path", found="none", hint=hint)


def _mend_slash(table: RouteTable, host: str, path: CanonicalPath, method: str) -> str:
    """Return the hint that only the slash at the end is wrong, or nothing.

    It tells nothing that the same request with the other path does not.
    """
    if path.has_encoded_slash or path.has_parameters or path.text == "/":
        return ""
    if path.text.endswith("/"):
        twin = path._replace(text=path.text[:-1], match_text=path.match_text[:-1])
        hint = WITHOUT_SLASH
    else:
        twin = path._replace(text=f"{path.text}/", match_text=f"{path.match_text}/")
        hint = WITH_SLASH
    return "" if isinstance(find_route(table, host, twin, method), NoRoute) else hint


def _has_one_rule(table: RouteTable, host: str, path: CanonicalPath, method: str, route: Route) -> bool:
    """Return whether no other reading of `path` leads past the rule of `route`, which matched it."""
    readings = other_readings(path, opaque_slash=route.allow_opaque_slash)
    return all(_keeps_to(route, reading, table, host, method) for reading in readings)


def _keeps_to(route: Route, reading: Reading, table: RouteTable, host: str, method: str) -> bool:
    if isinstance(reading.path, BadPath):
        return False
    match find_route(table, host, reading.path, method):
        case Found(other):
            return other is route or (reading.keeps_parameters and demands_as_much(route, other))
        case NoRoute():
            return reading.keeps_parameters
        case _:
            return False
