"""Sign tokens without holding up the event loop.

ES256 and EdDSA take about 30 µs and are signed in place. RSA takes about 0.8 ms,
during which `cryptography` lets other threads run: that goes to one worker thread.
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from gateway.tokens.key_ring import SLOW_TO_SIGN, SigningKey
from gateway.tokens.signing import sign_compact

MAX_WAITING = 256
"""About 0.2 s of work; beyond it callers are told to come back."""


class SignerOverloadedError(Exception):
    """Too many signatures are waiting."""


class TokenSigner:
    """Signs in place or on one worker thread, by the key's algorithm."""

    __slots__ = ("_executor", "_pending")

    def __init__(self) -> None:
        """Start no thread yet; the first RSA signature does."""
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sidegate-signer")
        self._pending = 0

    async def sign(self, key: SigningKey, claims: Mapping[str, object]) -> bytes:
        """Return `claims` as a compact access token.

        Raises:
            SignerOverloadedError: The worker's queue is full.
        """
        if key.alg not in SLOW_TO_SIGN:
            return sign_compact(key, claims)
        if self._pending >= MAX_WAITING:
            raise SignerOverloadedError
        self._pending += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, sign_compact, key, claims)
        finally:
            self._pending -= 1

    def close(self) -> None:
        """Stop the worker; what waits is dropped."""
        self._executor.shutdown(wait=False, cancel_futures=True)
