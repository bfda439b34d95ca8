"""Hold the public keys of others, and find the one or two that may have signed a token.

Values alone: how they are read and what of them is taken is `gateway.tokens.foreign_keys`,
fetching them `gateway.tokens.jwks_client`. Pure.

A token names its key by `kid`, or by the key's RFC 7638 thumbprint. A token without `kid` is
tried with two keys of its algorithm, those without a name first. So a signature costs at most
two verifications, whatever a set holds.

Sources: RFC 7517 4.5 and 5; RFC 7638.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from gateway.tokens.key_ring import VerificationKey

MAX_TRIED = 2
"""How many keys a token without `kid` may be tried with; a set may have so many without `kid`."""


class KeySetError(ValueError):
    """Say why a text is no key set that can be used; the message never holds key material."""


class KeyMiss(Enum):
    """Why a set has no key for a token."""

    UNKNOWN_KEY = auto()
    ALG_NOT_ALLOWED = auto()


@dataclass(frozen=True, slots=True, eq=False)
class ForeignKey:
    """One public key under the name that its owner gave it."""

    kid: str | None
    key: VerificationKey
    """Its own `kid` is the thumbprint."""


@dataclass(frozen=True, slots=True, eq=False)
class KeySet:
    """The usable keys of one set. Compared by identity."""

    keys: tuple[ForeignKey, ...]
    passed_over: tuple[str, ...] = field(default=())
    """Why keys were not taken that are not for us, one text per key, for people."""
    left_out: tuple[str, ...] = field(default=())
    """Why keys were not taken that are too many, too large or ambiguous, for people."""
    tries: Mapping[str, tuple[VerificationKey, ...]] = field(init=False, repr=False)
    """Algorithm -> the dearest keys that one token of it is tried with."""
    _named: Mapping[str, tuple[VerificationKey, ...]] = field(init=False, repr=False)
    """By `kid` and by thumbprint, each key once."""
    _tried: Mapping[str, tuple[VerificationKey, ...]] = field(init=False, repr=False)
    """By algorithm: what a token without `kid` is tried with."""

    def __post_init__(self) -> None:
        """Derive the look-ups."""
        named: dict[str, dict[tuple[str, str], VerificationKey]] = {}
        tried: dict[str, dict[str, VerificationKey]] = {}
        for entry in sorted(self.keys, key=lambda each: each.kid is not None):
            key = entry.key
            for name in {entry.kid, key.kid} - {None}:
                named.setdefault(str(name), {}).setdefault((key.kid, key.alg), key)
            of_algorithm = tried.setdefault(key.alg, {})
            if len(of_algorithm) < MAX_TRIED:
                of_algorithm.setdefault(key.kid, key)
        tried_together = [tuple(keys.values()) for keys in tried.values()]
        tried_together += [tuple(keys.values()) for keys in named.values()]
        dearest: dict[str, tuple[VerificationKey, ...]] = {}
        for some in tried_together:
            for alg in {key.alg for key in some}:
                fitting = tuple(key for key in some if key.alg == alg)
                dearest[alg] = max(dearest.get(alg, ()), fitting, key=_work)
        object.__setattr__(self, "tries", dearest)
        object.__setattr__(self, "_named", {name: tuple(keys.values()) for name, keys in named.items()})
        object.__setattr__(self, "_tried", {alg: tuple(keys.values()) for alg, keys in tried.items()})

    def find(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...] | KeyMiss:
        """Return the one or two keys that may have signed a token with this header.

        Args:
            kid: The token's `kid`, untrusted: it is compared and nothing else.
            alg: The token's `alg`, one of ours.
        """
        if kid is None:
            return self._tried.get(alg) or KeyMiss.ALG_NOT_ALLOWED
        named = self._named.get(kid)
        if named is None:
            return KeyMiss.UNKNOWN_KEY
        return tuple(key for key in named if key.alg == alg) or KeyMiss.ALG_NOT_ALLOWED


def _work(keys: Iterable[VerificationKey]) -> int:
    return sum(key.work for key in keys)
