"""Remember which tokens were verified, within bounds.

An entry keeps what a signature check proved, never a verdict: expiry, revocation and
the snapshot are compared on every request by `gateway.enforce.enforcer`.

Tokens that the issuer just made are *on probation*: they wait in a separate table,
so that issuing many tokens cannot push out those in use, and move to the main table
when they are first presented. Both tables are first-in first-out with a second
chance for entries used since they were last looked at, which needs only one store
on a hit.

Tokens whose signature was wrong are remembered by digest, so that sending the same
forgery again costs no further signature check. Of tokens that have expired it is
remembered whose they were, so that the log can name who does not renew them.
"""

from collections.abc import Mapping
from hashlib import blake2b
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple

from gateway.enforce.standing import NEVER_CLEARED
from gateway.http1.claim_fields import ClaimFields
from gateway.http1.forwarding import identity_fields
from gateway.reasons import Reason
from gateway.tokens.claims import AccessToken

MAIN_ENTRIES = 8192
PROBATION_ENTRIES = 4096
BAD_ENTRIES = 4096
EXPIRED_ENTRIES = 1024
EVICTED_SHARE = 128
"""A full table loses this fraction of its entries at once."""
LONGEST_KEPT_BYTES = 4096
"""Longer tokens are verified each time."""
NOTHING_TOLD: Mapping[ClaimFields, bytes] = MappingProxyType({})


class Holder(NamedTuple):
    """Whose token it is: what the record says of one that was verified and is refused all the same."""

    client_id: str
    audience: str


class VerifiedToken:
    """One verified token, as verdicts hold it."""

    __slots__ = ("identity", "token", "told", "used")

    def __init__(self, token: AccessToken) -> None:
        self.token = token
        self.identity = identity_fields(
            client_id=token.client_id, subject=token.subject, audience=token.audience, scope=token.scope
        )
        self.told = NOTHING_TOLD
        """What upstreams are told of its claims; bounded by `gateway.proxy.told_claims`."""
        self.used = False
        """Since the table was last looked through for entries to give up."""


class CachedToken:
    """An entry of the cache: a verified token, and what was decided for it under one snapshot.

    The verdicts hold the token, not the entry: nothing here refers back to what refers to it,
    so an entry that is dropped is freed at once, also when it was taken out of the collector's sight.
    """

    __slots__ = ("cleared", "generation", "verdicts", "verified")

    def __init__(self, token: AccessToken, generation: int) -> None:
        self.verified = VerifiedToken(token)
        self.generation = generation
        """The snapshot under which the key was last seen in the ring and `verdicts` were made."""
        self.verdicts: dict[object, Any] = {}
        """The enforcer's verdicts under that snapshot, by route; bounded by the enforcer."""
        self.cleared = NEVER_CLEARED
        """The generation of the revocations under which it was found not to be revoked."""


class TokenCache:
    """The verified tokens of one process. Not thread-safe: the event loop's own."""

    __slots__ = (
        "_bad",
        "_bad_entries",
        "_expired",
        "_main_entries",
        "_probation",
        "_probation_entries",
        "main",
    )

    def __init__(
        self,
        *,
        main_entries: int = MAIN_ENTRIES,
        probation_entries: int = PROBATION_ENTRIES,
        bad_entries: int = BAD_ENTRIES,
    ) -> None:
        self._main_entries = main_entries
        self._probation_entries = probation_entries
        self._bad_entries = bad_entries
        self.main: dict[bytes, CachedToken] = {}
        self._probation: dict[bytes, CachedToken] = {}
        self._bad: dict[bytes, Reason] = {}
        self._expired: dict[bytes, Holder] = {}

    def get(self, raw: bytes) -> CachedToken | None:
        """Return the entry of the token `raw`, promoting it from probation."""
        entry = self.main.get(raw)
        if entry is not None:
            entry.verified.used = True
            return entry
        entry = self._probation.pop(raw, None)
        if entry is not None:
            self._keep(raw, entry)
        return entry

    def put(self, raw: bytes, entry: CachedToken) -> None:
        """Keep a token that was presented and verified."""
        if len(raw) <= LONGEST_KEPT_BYTES:
            self._keep(raw, entry)

    def put_issued(self, raw: bytes, entry: CachedToken) -> None:
        """Keep a token that was just issued, on probation."""
        if len(raw) > LONGEST_KEPT_BYTES:
            return
        if len(self._probation) >= self._probation_entries:
            for oldest in _oldest(self._probation):
                del self._probation[oldest]
        self._probation[raw] = entry

    def drop(self, raw: bytes) -> None:
        """Forget the token `raw`."""
        self.main.pop(raw, None)
        self._probation.pop(raw, None)

    def expire(self, raw: bytes, holder: "Holder") -> None:
        """Forget the token `raw`, but whose it was."""
        self.drop(raw)
        if len(self._expired) >= EXPIRED_ENTRIES:
            for oldest in _oldest(self._expired):
                del self._expired[oldest]
        self._expired[_digest(raw)] = holder

    def expired_of(self, raw: bytes) -> "Holder | None":
        """Return whose the token `raw` was before it expired, if that was verified and is remembered."""
        return self._expired.get(_digest(raw)) if self._expired else None

    def known_bad(self, raw: bytes) -> Reason | None:
        """Return the reason this very token was found bad before, or None."""
        return self._bad.get(_digest(raw)) if self._bad else None

    def put_bad(self, raw: bytes, reason: Reason) -> None:
        """Remember that the signature of `raw` does not verify."""
        if len(self._bad) >= self._bad_entries:
            for oldest in _oldest(self._bad):
                del self._bad[oldest]
        self._bad[_digest(raw)] = reason

    def forget_bad(self) -> None:
        """Forget all bad tokens: the keys have changed."""
        self._bad.clear()

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Return the entries in the main table, on probation, and known bad."""
        return len(self.main), len(self._probation), len(self._bad)

    def _keep(self, raw: bytes, entry: CachedToken) -> None:
        main = self.main
        while len(main) >= self._main_entries:
            for oldest in _oldest(main):
                candidate = main.pop(oldest)
                if candidate.verified.used:
                    candidate.verified.used = False
                    main[oldest] = candidate
        main[raw] = entry


def _digest(raw: bytes) -> bytes:
    return blake2b(raw, digest_size=16).digest()


def _oldest(table: Mapping[bytes, object]) -> list[bytes]:
    """Return the keys that were put first, a batch of them.

    One at a time would cost 5 µs each: a dict walks over the places of all it has lost to find its first.
    """
    return list(islice(table, 1 + len(table) // EVICTED_SHARE))
