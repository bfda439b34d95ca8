"""Find the identities that an assertion may be, also among thousands of one issuer.

An assertion is looked up before its signature is verified, so whatever this costs,
anybody can make us pay. Where many clients trust one issuer and one subject (or any
subject), `claims` tell them apart: each identity is filed under the values of its one
condition that is rarest, and an assertion is compared with those alone that are filed
under a value it has. Pure.

Sources: RFC 7523 3 (1) and (2).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gateway.settings.model import AssertionSettings, RemoteKeySource
from gateway.tokens.foreign_keys import KeySet

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


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """The identities of one issuer and subject."""

    first_of: Mapping[str, TrustedIdentity]
    """Client -> its first identity here, in the order in which they were written."""
    unconditional: tuple[TrustedIdentity, ...]
    by_claim: Mapping[str, Mapping[object, tuple[TrustedIdentity, ...]]]
    """Claim -> value -> who is filed there. Some equal in Python are not in JSON: `check_claims` decides."""

    def first(self, client_id: str | None) -> TrustedIdentity:
        """Return the first identity, of this client if one is named (which has one)."""
        return next(iter(self.first_of.values())) if client_id is None else self.first_of[client_id]

    def find(self, claims: Mapping[str, object]) -> Iterator[TrustedIdentity]:
        """Yield who may fit, once or more often."""
        yield from self.unconditional
        for name, by_value in self.by_claim.items():
            value = claims.get(name, [])
            for each in value if isinstance(value, list) else (value,):
                if isinstance(each, str | int | float | None):
                    yield from by_value.get(each, ())


@dataclass(frozen=True, slots=True, eq=False)
class Identities:
    """Every identity that some client trusts. Made by `file_identities`."""

    _groups: Mapping[tuple[str, str | None], _Group]

    def find(
        self, issuer: str, subject: str, claims: Mapping[str, object], *, client_id: str | None
    ) -> tuple[TrustedIdentity, ...]:
        """Return the identities that an assertion may be, at most `MAX_CANDIDATES`.

        Where identities have the issuer and subject and none has the claims, the first stands for
        all: its owner is told about the claims once the signature is verified.

        Args:
            issuer: The `iss` of the assertion.
            subject: Its `sub`.
            claims: All of its claims, verified or not.
            client_id: The only client that is meant; None for any.
        """
        groups = [
            group
            for named in (subject, None)
            if (group := self._groups.get((issuer, named))) is not None
            and (client_id is None or client_id in group.first_of)
        ]
        found: dict[int, TrustedIdentity] = {}
        for group in groups:
            for identity in group.find(claims):
                if client_id in (None, identity.client_id):
                    found[id(identity)] = identity
                    if len(found) == MAX_CANDIDATES:
                        return tuple(found.values())
        return tuple(found.values()) or tuple(group.first(client_id) for group in groups)[:1]


def file_identities(identities: Iterable[TrustedIdentity]) -> Identities:
    """Return the identities, ready to be looked up; those of one name keep their order."""
    named: dict[tuple[str, str | None], list[TrustedIdentity]] = {}
    for identity in identities:
        named.setdefault((identity.settings.issuer, identity.settings.subject), []).append(identity)
    return Identities(MappingProxyType({name: _group(entries) for name, entries in named.items()}))


def _group(entries: list[TrustedIdentity]) -> _Group:
    frequency = Counter(
        (name, value)
        for identity in entries
        for name, accepted in identity.settings.claims.items()
        for value in accepted
    )
    first_of: dict[str, TrustedIdentity] = {}
    by_claim: dict[str, dict[object, list[TrustedIdentity]]] = {}
    for identity in entries:
        first_of.setdefault(identity.client_id, identity)
        conditions = identity.settings.claims
        if not conditions:
            continue
        rarest = min(conditions, key=lambda name: sum(frequency[name, value] for value in conditions[name]))
        for value in conditions[rarest]:
            by_claim.setdefault(rarest, {}).setdefault(value, []).append(identity)
    return _Group(
        first_of,
        tuple(identity for identity in entries if not identity.settings.claims),
        {
            name: {value: tuple(filed) for value, filed in by_value.items()}
            for name, by_value in by_claim.items()
        },
    )
