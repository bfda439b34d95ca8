"""Prepare what a route requires, so that judging a token costs what the token holds.

A decision on a long token is made on every request, and anybody's refusal is. So lists that
a policy writes are never walked then: values of claims meet as sets, and the texts of
refusals, which name the first few of a list, are made when the route is compiled. Pure.

Types count: JSON's `true`, `1`, `1.0` and `"1"` are four values, which Python would mix.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from gateway.settings.model import RequireSettings

NAMES_IN_TEXT = 8
TEXT_CHARACTERS = 256

TypedValue = tuple[type, object]
"""A value with its type, so that only what is equal in JSON is equal here."""

SCALARS = (str, int, float, bool, type(None))
"""What a demand can name; lists and objects equal nothing."""


@dataclass(frozen=True, slots=True)
class ClaimDemand:
    """What one claim must be."""

    name: str
    accepted: frozenset[TypedValue]
    """Of these one must be its value, or in its list."""
    expected: str
    """For explanations."""


@dataclass(frozen=True, slots=True)
class Demands:
    """What a route requires beside its sets, which are compared as they are."""

    claims: tuple[ClaimDemand, ...]
    audiences: tuple[str, ...]
    """Sorted."""
    scopes: tuple[str, ...]
    """Sorted."""
    any_scopes: tuple[str, ...]
    """Sorted."""
    expected_audiences: str
    expected_scopes: str
    expected_clients: str


def prepare_demands(require: RequireSettings) -> Demands:
    """Return what `require` says, ready to be compared and explained."""
    audiences, scopes, any_scopes = (
        tuple(sorted(names)) for names in (require.audiences, require.scopes, require.any_scopes)
    )
    expected = [name_some(scopes)] if scopes else []
    if any_scopes:
        expected.append("one of " + name_some(any_scopes))
    return Demands(
        claims=tuple(
            ClaimDemand(
                name, typed_values(accepted), f"{name}: " + name_some(map(repr, accepted), between=" or ")
            )
            for name, accepted in require.claims.items()
        ),
        audiences=audiences,
        scopes=scopes,
        any_scopes=any_scopes,
        expected_audiences=name_some(audiences, between=" or ") or "nobody: the route names no audience",
        expected_scopes=" and ".join(expected),
        expected_clients="one of the clients " + name_some(sorted(require.clients), between=", "),
    )


def typed_values(values: Iterable[object]) -> frozenset[TypedValue]:
    """Return the scalars among `values`, ready to be compared."""
    return frozenset((type(value), value) for value in values if isinstance(value, SCALARS))


def claim_matches(claims: Mapping[str, object], name: str, accepted: Collection[TypedValue]) -> bool:
    """Return whether the claim equals, or as an array contains, one of the accepted values.

    Args:
        claims: As decoded from JSON.
        name: The claim.
        accepted: From `typed_values`: a set, so that only the claim is walked.
    """
    if name not in claims:
        return False
    claim = claims[name]
    if isinstance(claim, list | tuple):
        return any(isinstance(value, SCALARS) and (type(value), value) in accepted for value in claim)
    return isinstance(claim, SCALARS) and (type(claim), claim) in accepted


def name_some(names: Iterable[str], *, between: str = " ") -> str:
    """Return the first of `names` within bounds, and how many more there are."""
    every = list(names)
    shown: list[str] = []
    size = 0
    for name in every[:NAMES_IN_TEXT]:
        size += len(name) + len(between)
        if shown and size > TEXT_CHARACTERS:
            break
        shown.append(name if len(name) <= TEXT_CHARACTERS else f"{name[:TEXT_CHARACTERS]}…")
    more = f" and {len(every) - len(shown)} more" if len(every) > len(shown) else ""
    return between.join(shown) + more
