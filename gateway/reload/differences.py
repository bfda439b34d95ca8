"""Name what differs between two configurations, in phrases for people. Pure.

Names and counts only: no value, for values may be secret.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields

from gateway.settings.model import Settings

MOST_NAMES = 20
"""Of one kind; beyond it the rest is counted."""

_COUNTED = frozenset({"clients", "authorizations", "routes", "tests", "upstreams"})
_NO_SETTING = frozenset({"content_hash", "watched"})


def describe_differences(former: Settings, fresh: Settings) -> tuple[str, ...]:
    """Return what was added, removed and changed, kind by kind; empty when nothing is different."""
    phrases = [
        *_of_named("clients", former.clients, fresh.clients),
        *_of_authorizations(former, fresh),
        *_of_named("routes", _by_name(former), _by_name(fresh)),
        *_of_named("upstreams", former.upstreams, fresh.upstreams),
    ]
    if former.tests != fresh.tests:
        phrases.append(f"policy tests: {len(former.tests)}, now {len(fresh.tests)}")
    for item in fields(Settings):
        is_apart = item.name in _COUNTED or item.name in _NO_SETTING
        if not is_apart and getattr(former, item.name) != getattr(fresh, item.name):
            phrases.append(f"{item.name}: changed")
    return tuple(phrases)


def _by_name(settings: Settings) -> Mapping[str, object]:
    return {route.name: route for route in settings.routes}


def _of_authorizations(former: Settings, fresh: Settings) -> Iterable[str]:
    def rights(settings: Settings) -> dict[str, set[object]]:
        found: dict[str, set[object]] = {}
        for entry in settings.authorizations:
            found.setdefault(entry.client, set()).add((entry.audience, entry.scopes))
        return found

    yield from _of_named("authorizations of clients", rights(former), rights(fresh))


def _of_named(kind: str, former: Mapping[str, object], fresh: Mapping[str, object]) -> Iterable[str]:
    if former == fresh:
        return
    kinds = (
        ("added", [name for name in fresh if name not in former]),
        ("removed", [name for name in former if name not in fresh]),
        ("changed", [name for name in fresh if name in former and fresh[name] != former[name]]),
    )
    for word, names in kinds:
        if names:
            more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
            yield f"{kind}: {len(names)} {word}: {', '.join(names[:MOST_NAMES])}{more}"
