"""Recognise a secret that was right before, without computing scrypt again.

Pure: key and time are passed in. For each stored `scrypt:` secret there is one text that
is right. Once it was shown, its HMAC-SHA256 under a key that only this process has is
kept beside the stored secret, for a day. A login with it then costs microseconds instead
of tens of milliseconds, however long the queue for scrypt is; any other text still costs
all that a failure costs, so guessing is no cheaper.

What that gives away: nothing on the wire, for whoever is recognised knows the secret.
Whoever reads the memory of the process finds key and HMACs and can try passwords against
them at the speed of SHA-256; he also finds the secrets that are being sent meanwhile.
Nothing of it is written anywhere, and core files are kept from it.

Bounded by what is configured: one entry per stored secret, made by nobody but its owner.
A stored secret that a reload takes away is never asked for again, and `keep_only` drops it.

Sources: docs/decisions, "Recognise a right secret"; RFC 2104.
"""

import hmac
from collections import OrderedDict
from collections.abc import Sequence, Set

from gateway.settings.model import ScryptSecret

REMEMBERED_S = 24 * 3600.0
ENTRIES = 16_384


class SecretMemo:
    """The HMACs of secrets that were right. Not thread-safe: the event loop's own."""

    __slots__ = ("_entries", "_key", "_marks")

    def __init__(self, key: bytes, entries: int = ENTRIES) -> None:
        """Keep at most `entries` HMACs under `key`, which nobody else may know."""
        self._key = key
        self._entries = entries
        self._marks: OrderedDict[ScryptSecret, tuple[bytes, float]] = OrderedDict()
        """Stored secret -> HMAC of its text, and until when it counts; the oldest first."""

    def __len__(self) -> int:
        return len(self._marks)

    def mark(self, given: bytes) -> bytes:
        """Return the HMAC under which `given` would be remembered."""
        return hmac.digest(self._key, given, "sha256")

    def recognises(self, mark: bytes, stored: Sequence[ScryptSecret], monotonic_now: float) -> bool:
        """Return whether the text behind `mark` was right for one of `stored`; all are compared."""
        matched = False
        for secret in stored if self._marks else ():
            known = self._get(secret, monotonic_now)
            if known is not None:
                matched |= hmac.compare_digest(known, mark)
        return matched

    def unremembered(self, stored: Sequence[ScryptSecret], monotonic_now: float) -> tuple[ScryptSecret, ...]:
        """Return those of `stored` whose text is not remembered: only these can still turn out to match."""
        return tuple(secret for secret in stored if self._get(secret, monotonic_now) is None)

    def learn(self, mark: bytes, matched: ScryptSecret, monotonic_now: float) -> None:
        """Remember that the text behind `mark` is that of `matched`."""
        self._marks.pop(matched, None)
        while self._marks:
            oldest = next(iter(self._marks))
            if self._marks[oldest][1] > monotonic_now and len(self._marks) < self._entries:
                break
            del self._marks[oldest]
        self._marks[matched] = (mark, monotonic_now + REMEMBERED_S)

    def keep_only(self, configured: Set[ScryptSecret]) -> None:
        """Forget what is no secret of anybody any more."""
        for secret in [known for known in self._marks if known not in configured]:
            del self._marks[secret]

    def _get(self, secret: ScryptSecret, monotonic_now: float) -> bytes | None:
        mark, until = self._marks.get(secret, (None, 0.0))
        return mark if until > monotonic_now else None
