"""Have every failed authentication cost what the dearest one costs.

Otherwise the time of the answer would tell which ids exist and how they are secured.
Pure. For each kind of proof there is a unit of work, the most that any client's failure
takes of it, and something harmless to spend the rest with:

* scrypt: everybody's failure computes one and the same list, which contains the list of
  every client, as long as that is at most twice what the dearest client's own secrets
  take; where many different costs are configured, work as long as the dearest client's.
* quick secrets and MACs: as many hashes as the client with most secrets takes.
* signatures: as long as the dearest key set can take for a token of this algorithm.
  Its largest key is what the rest is spent with; what that key says is not looked at.

Work is counted, not timed, so the rest may be half of the smallest spending too much or too
little: some 20 µs of RSA where keys of different sizes are configured, else nothing.

Sources: docs/decisions/0006-tell-nothing-before-a-proof.md.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.settings.model import ScryptSecret
from gateway.tokens.key_ring import VerificationKey
from gateway.tokens.key_sets import KeySet

if TYPE_CHECKING:  # who compiles a registry judges no assertion
    from gateway.clients.assertions import Assertion, Effort

MAX_KEY_SETS = 4
"""A grant assertion is checked with the keys of so many sets at most."""
_DEAREST_TIMES = 2
_FILLINGS = tuple((2**exponent, 8, 1) for exponent in range(15, 0, -1))
"""N, r, p of computations that fill up what is left, each half as long as the one before."""


@dataclass(frozen=True, slots=True)
class ScryptCost:
    """The parameters that decide how long one scrypt computation takes."""

    n: int
    r: int
    p: int

    @property
    def work(self) -> int:
        """Return how long it takes, in units of its own."""
        return self.n * self.r * self.p


@dataclass(frozen=True, slots=True)
class ScryptFailure:
    """What every failed comparison with `scrypt:` secrets computes. Made by `dearest_scrypt`."""

    everybody: Counter[ScryptCost]
    """The smallest collection that contains every client's, or nothing if that would be too long."""
    work: int
    """Of the dearest client, for when there is no such collection."""
    kinds: tuple[ScryptCost, ...]
    """To spend that with, the longest first."""
    _paddings: dict[tuple[ScryptCost, ...], tuple[ScryptCost, ...]] = field(default_factory=dict)
    """What was worked out: thousands of clients have few different costs."""

    def padding(self, secrets: Iterable[ScryptSecret]) -> tuple[ScryptCost, ...]:
        """Return what the failure of a client with these secrets computes beyond comparing them."""
        costs = tuple(map(_cost, secrets))
        known = self._paddings.get(costs)
        if known is None:
            known = self._paddings[costs] = self._pad(Counter(costs))
        return known

    def _pad(self, own: Counter[ScryptCost]) -> tuple[ScryptCost, ...]:
        if self.everybody:
            return tuple((self.everybody - own).elements())
        left = self.work - _work(own)
        padding: list[ScryptCost] = []
        for kind in self.kinds:
            times, left = divmod(left, kind.work)
            padding += [kind] * times
        return tuple(padding)


def dearest_scrypt(clients: Iterable[Iterable[ScryptSecret]]) -> ScryptFailure:
    """Return what failures compute, given the secrets of every client."""
    everybody: Counter[ScryptCost] = Counter()
    dearest = 0
    for secrets in clients:
        own = Counter(map(_cost, secrets))
        everybody |= own
        dearest = max(dearest, _work(own))
    kinds = sorted((*everybody, *(ScryptCost(*each) for each in _FILLINGS)), key=lambda kind: -kind.work)
    too_long = _work(everybody) > _DEAREST_TIMES * dearest
    return ScryptFailure(Counter() if too_long else everybody, dearest, tuple(kinds))


def _cost(secret: ScryptSecret) -> ScryptCost:
    return ScryptCost(secret.n, secret.r, secret.p)


def _work(costs: Counter[ScryptCost]) -> int:
    return sum(cost.work * times for cost, times in costs.items())


Tries = Mapping[str, tuple[VerificationKey, ...]]
"""Algorithm -> the dearest keys that one token of it is tried with."""


def dearest_tries(sets: Iterable[Tries]) -> Tries:
    """Return the dearest of several sets, for each algorithm."""
    dearest: dict[str, tuple[VerificationKey, ...]] = {}
    for each in sets:
        for alg, keys in each.items():
            if work_of(keys) > work_of(dearest.get(alg, ())):
                dearest[alg] = keys
    return dearest


def work_of(keys: Iterable[VerificationKey]) -> int:
    """Return how long it takes to try all of `keys`."""
    return sum(key.work for key in keys)


@dataclass(frozen=True, slots=True)
class SignatureFailure:
    """What a wrong signature costs, in one use: to authenticate a client, or as a grant."""

    local: Tries = field(default_factory=dict)
    """The dearest that it can cost with key sets that the configuration holds."""
    remote_sets: int = 0
    """With how many fetched ones it may be checked, too; if 0, with one of those instead."""

    def spend_rest(self, assertion: "Assertion", effort: "Effort", remote: Tries, decoys: KeySet) -> None:
        """Spend what an assertion that nobody vouches for has not cost yet.

        Args:
            assertion: What is looked at in vain.
            effort: What its checks have cost.
            remote: The dearest of the key sets that were fetched.
            decoys: Keys that nobody has, one of each algorithm.
        """
        (decoy,) = decoys.tries.get(assertion.alg, (None,))
        if decoy is None:
            return
        local, fetched = self.local.get(assertion.alg, ()), remote.get(assertion.alg, ())
        both = work_of(local) + work_of(fetched) * self.remote_sets
        left = max(both, work_of(fetched), decoy.work) - effort.work
        largest = max((decoy, *local, *fetched), key=lambda key: key.work)
        if largest.work > decoy.work:
            times, left = divmod(max(left, 0), largest.work)
            for _ in range(times):
                effort.verify(largest, assertion)
        for _ in range((left + decoy.work // 2) // decoy.work):  # of less than nothing there are none
            effort.verify(decoy, assertion)


def client_failure(sets: Iterable[KeySet]) -> SignatureFailure:
    """Return what a failed `private_key_jwt` costs: one set is tried, this or that."""
    return SignatureFailure(dearest_tries(keys.tries for keys in sets))


def grant_failure(sets_by_issuer: Mapping[str, Sequence[object]]) -> SignatureFailure:
    """Return what a failed `jwt-bearer` grant costs, given each issuer's different key sets."""
    tries: list[Tries] = []
    remote = 0
    for sets in sets_by_issuer.values():
        local = [each.tries for each in sets if isinstance(each, KeySet)]
        remote = max(remote, min(len(sets) - len(local), MAX_KEY_SETS))
        tries.append({alg: _dearest_together(alg, local) for alg in set().union(*local)})
    return SignatureFailure(dearest_tries(tries), remote)


def _dearest_together(alg: str, sets: Iterable[Tries]) -> tuple[VerificationKey, ...]:
    """Return what one assertion is tried with at most, if it is checked with `MAX_KEY_SETS` of these."""
    dearest = sorted((each.get(alg, ()) for each in sets), key=work_of, reverse=True)[:MAX_KEY_SETS]
    return tuple(key for keys in dearest for key in keys)
