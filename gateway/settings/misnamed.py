"""Find definitions whose own name is misspelled: nothing uses it, and several places use one like it.

Else each of those places would be told that its name leads nowhere, and one typo would be many mistakes.
Of a name that a single place uses it cannot be told which of the two is wrong; the place is told then.
Pure, on the settings alone.
"""

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from gateway.settings.findings import Finding, Step, at_origin
from gateway.settings.model import Origin, Settings

_ALIKE = 0.85
"""`country.write` and `country.delete` are two names, `country.read` and `country.raed` are one."""
_MOST_NAMES = 20
"""More that lead nowhere are no typo, and each costs a search of all names."""

_Use = tuple[str, str | None, Origin | None]
"""The audience whose scope is named (else nothing), a name, and the entry that uses it."""


@dataclass(frozen=True, slots=True)
class Misnamed:
    """The names that are right where they are used, and what is wrong with their definitions."""

    upstreams: Collection[str]
    clients: Collection[str]
    scopes: Mapping[str, Collection[str]]
    """By audience."""
    findings: tuple[Finding, ...]


def find_misnamed(settings: Settings) -> Misnamed:
    """Return what is defined under a misspelled name."""
    findings: list[Finding] = []

    def note(owner: Origin | None, steps: tuple[Step, ...], name: str, uses: list[Origin | None]) -> None:
        message = f"nothing uses this name, and {len(uses)} places use one like it that is defined nowhere"
        hint = f"the first of them is{at_origin(uses[0])}"
        findings.append(Finding(owner, steps, message, hint, instead=name, seen=uses[0]))

    upstreams = _misnamed({"": settings.upstreams}, lambda: _uses_of_upstreams(settings)).get("", {})
    for name, (defined, uses) in upstreams.items():
        note(None, ("upstreams", defined), name, uses)
    clients = _misnamed({"": settings.clients}, lambda: _uses_of_clients(settings)).get("", {})
    for name, (defined, uses) in clients.items():
        note(settings.clients[defined].origin, (), name, uses)
    offered = {client.id: client.scopes for client in settings.clients.values()}
    scopes = _misnamed(offered, lambda: _uses_of_scopes(settings))
    for audience, misnamed in scopes.items():
        for name, (defined, uses) in misnamed.items():
            note(settings.clients[audience].origin, ("scopes", defined), name, uses)
    return Misnamed(upstreams.keys(), clients.keys(), scopes, tuple(findings))


def _misnamed(
    defined: Mapping[str, Collection[str]], uses: Callable[[], Iterator[_Use]]
) -> dict[str, dict[str, tuple[str, list[Origin | None]]]]:
    """Return, by audience, the names that are used and not defined, with the unused one that is meant."""
    dangling: dict[tuple[str, str], list[Origin | None]] = {}
    for audience, name, origin in uses():
        if name and name not in defined.get(audience, (name,)):
            dangling.setdefault((audience, name), []).append(origin)
    several = {key: places for key, places in dangling.items() if len(places) > 1}
    if not several or len(several) > _MOST_NAMES:
        return {}
    used = {(audience, name) for audience, name, _ in uses()}
    found: dict[str, dict[str, tuple[str, list[Origin | None]]]] = {}
    for (audience, name), places in several.items():
        unused = [each for each in defined[audience] if (audience, each) not in used]
        for close in difflib.get_close_matches(name, unused, n=1, cutoff=_ALIKE):
            used.add((audience, close))
            found.setdefault(audience, {})[name] = (close, places)
    return found


def _uses_of_upstreams(settings: Settings) -> Iterator[_Use]:
    return (("", route.upstream, route.origin) for route in settings.routes)


def _uses_of_clients(settings: Settings) -> Iterator[_Use]:
    for granted in settings.authorizations:
        yield "", granted.client, granted.origin
        yield "", granted.audience, granted.origin
    for client in settings.clients.values():
        yield "", client.default_audience, client.origin
    for route in settings.routes:
        for name in (*route.require.audiences, *route.require.clients):
            yield "", name, route.origin
    for test in settings.tests:
        yield "", test.client, test.origin
        yield "", test.audience, test.origin


def _uses_of_scopes(settings: Settings) -> Iterator[_Use]:
    for granted in settings.authorizations:
        for scope in granted.scopes:
            yield granted.audience, scope, granted.origin
    for route in settings.routes:
        if len(route.require.audiences) == 1:
            (audience,) = route.require.audiences
            for scope in (*route.require.scopes, *route.require.any_scopes):
                yield audience, scope, route.origin
