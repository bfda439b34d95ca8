"""Find the identities that an assertion may be, also among thousands of one issuer.

An assertion is looked up before its signature is verified, so whatever this costs,
anybody can make us pay. Where many clients trust one issuer and one subject (or any
subject), `claims` tell them apart: each identity is filed under the values of its one
condition that is rarest, and an assertion is compared with those alone that are filed
under a value it has. Every client has a file of its own, for assertions that are sent
with a `client_id`. Pure.

Sources: RFC 7523 3 (1) and (2).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from gateway.clients.conditions import ClaimValues, Conditions, read_conditions
from gateway.policy.demands import TypedValue
from gateway.settings.model import AssertionSettings, RemoteKeySource
from gateway.tokens.key_sets import KeySet

MAX_CANDIDATES = 64
"""An assertion is compared with so many identities at most. Whoever fits more needs `client_id`."""

Keys = KeySet | RemoteKeySource
"""Keys that are at hand, or where they are fetched from."""


@dataclass(frozen=True, slots=True, eq=False)
class TrustedIdentity:
    """One identity of another platform and the client that it may act as."""

    client_id: str
    settings: AssertionSettings
    keys: Keys
    conditions: Conditions = field(init=False)
    """What `settings.claims` demand, ready to be compared."""

    def __post_init__(self) -> None:
        """Derive the conditions."""
        object.__setattr__(self, "conditions", read_conditions(self.settings.claims))


@dataclass(frozen=True, slots=True, eq=False)
class _File:
    """Some identities of one issuer and subject, in the order in which they were written."""

    first: TrustedIdentity
    unconditional: tuple[TrustedIdentity, ...]
    by_claim: Mapping[str, Mapping[TypedValue, tuple[TrustedIdentity, ...]]]
    """Claim -> value -> who is filed there."""

    def find(self, values: ClaimValues) -> Iterator[TrustedIdentity]:
        """Yield who may fit, once or more often."""
        yield from self.unconditional
        # The shorter side is walked: an assertion is bounded, the names that policies write are not.
        names = min(self.by_claim.keys(), values.names, key=len)
        for name in names:
            by_value = self.by_claim.get(name)
            if by_value is not None:
                for value in values.of(name):
                    yield from by_value.get(value, ())


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """The identities of one issuer and subject, all of them and those of each client."""

    everybody: _File
    by_client: Mapping[str, _File]

    def file_of(self, client_id: str | None) -> _File | None:
        """Return the file to look into: the client's, if one is named and has one, or everybody's."""
        return self.everybody if client_id is None else self.by_client.get(client_id)


@dataclass(frozen=True, slots=True, eq=False)
class Identities:
    """Every identity that some client trusts. Made by `file_identities`."""

    _groups: Mapping[tuple[str, str | None], _Group]

    def find(
        self, issuer: str, subject: str, values: ClaimValues, *, client_id: str | None
    ) -> tuple[TrustedIdentity, ...]:
        """Return the identities that an assertion may be, at most `MAX_CANDIDATES`.

        Where identities have the issuer and subject and none has the claims, the first stands for
        all: its owner is told about the claims once the signature is verified.

        Args:
            issuer: The `iss` of the assertion.
            subject: Its `sub`.
            values: The values of its claims, verified or not.
            client_id: The only client that is meant; None for any.
        """
        groups = [self._groups.get((issuer, named)) for named in (subject, None)]
        files = [
            file for group in groups if group is not None and (file := group.file_of(client_id)) is not None
        ]
        found: dict[int, TrustedIdentity] = {}
        for file in files:
            for identity in file.find(values):
                found[id(identity)] = identity
                if len(found) == MAX_CANDIDATES:
                    return tuple(found.values())
        return tuple(found.values()) or tuple(file.first for file in files)[:1]


def file_identities(identities: Iterable[TrustedIdentity]) -> Identities:
    """Return the identities, ready to be looked up; those of one name keep their order."""
    named: dict[tuple[str, str | None], list[TrustedIdentity]] = {}
    for identity in identities:
        named.setdefault((identity.settings.issuer, identity.settings.subject), []).append(identity)
    return Identities(MappingProxyType({name: _group(entries) for name, entries in named.items()}))


def _group(entries: Sequence[TrustedIdentity]) -> _Group:
    of_client: dict[str, list[TrustedIdentity]] = {}
    for identity in entries:
        of_client.setdefault(identity.client_id, []).append(identity)
    return _Group(_file(entries), {client_id: _file(own) for client_id, own in of_client.items()})


def _file(entries: Sequence[TrustedIdentity]) -> _File:
    frequency = Counter(
        (name, value)
        for identity in entries
        for name, accepted in identity.conditions.items()
        for value in accepted
    )
    by_claim: dict[str, dict[TypedValue, list[TrustedIdentity]]] = {}
    for identity in entries:
        conditions = identity.conditions
        if not conditions:
            continue
        rarest = min(conditions, key=lambda name: sum(frequency[name, value] for value in conditions[name]))
        for value in conditions[rarest]:
            by_claim.setdefault(rarest, {}).setdefault(value, []).append(identity)
    return _File(
        entries[0],
        tuple(identity for identity in entries if not identity.conditions),
        {
            name: {value: tuple(filed) for value, filed in by_value.items()}
            for name, by_value in by_claim.items()
        },
    )
