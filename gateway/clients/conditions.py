"""Compare what an assertion claims with what an identity demands, at a cost its sender cannot raise.

The claims are not verified yet when they are compared, and one assertion may be compared
with many identities. So the values of a claim are collected once per assertion, and
meet what is demanded as sets: neither a long list nor one value a thousand times over
makes anybody walk it. Pure.

A list of more than `MAX_VALUES` matches nothing. Platforms list less: the longest is the
groups of Entra ID, of which a token names at most 200.

Types count: JSON's `true`, `1`, `1.0` and `"1"` are four values, which Python would mix.
"""

from collections.abc import KeysView, Mapping

from gateway.policy.demands import SCALARS, TypedValue, typed_values

MAX_VALUES = 256

Conditions = Mapping[str, frozenset[TypedValue]]
"""Claim -> the values of which one must be among its own."""


class ClaimValues:
    """The values of the claims of one assertion, each claim's collected when it is first asked for."""

    __slots__ = ("_claims", "_known")

    def __init__(self, claims: Mapping[str, object]) -> None:
        """Take the claims as they were decoded from JSON; they must not change."""
        self._claims = claims
        self._known: dict[str, KeysView[TypedValue]] = {}

    @property
    def names(self) -> KeysView[str]:
        """The claims that there are."""
        return self._claims.keys()

    def of(self, name: str) -> KeysView[TypedValue]:
        """Return the value of a claim, or those of its list, each once and in order.

        Empty when it is absent, too long a list, or holds nothing but objects and lists.
        """
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = _collect(self._claims.get(name, []))
        return known

    def fulfil(self, conditions: Conditions) -> bool:
        """Return whether every claim that is named has one of the values that are demanded of it."""
        return not any(self.of(name).isdisjoint(accepted) for name, accepted in conditions.items())


def _collect(claim: object) -> KeysView[TypedValue]:
    values = claim if isinstance(claim, list) else [claim]
    if len(values) > MAX_VALUES:
        values = []
    return dict.fromkeys((type(value), value) for value in values if isinstance(value, SCALARS)).keys()


def read_conditions(claims: Mapping[str, tuple[object, ...]]) -> Conditions:
    """Return what the settings of an identity demand, ready to be compared."""
    return {name: typed_values(values) for name, values in claims.items()}
