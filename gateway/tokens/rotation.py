"""Decide which state each key of the directory has after an operator's command.

Pure. The theory of a rotation that nobody notices: a key goes through three states, and
callers that keep a copy of the JWKS must have seen it before it signs, and must still
find it for as long as a token that it signed is valid.

    next      published, does not sign      for `publish_ahead`, until `activate`
    active    signs                         exactly one key
    retiring  published, signs no more      for the longest token lifetime, until `retire`

So `activate` refuses a key that was not published for long enough, and `retire` one whose
tokens may live; both say from when on they would not. `at_once` is for a key that leaked.

How files are read and written is `gateway.tokens.keyfiles`.
"""

from collections.abc import Sequence
from dataclasses import replace

from gateway.settings.model import Settings
from gateway.tokens.keyfiles import KeyInfo, KeyState

TAKEN_UP_S = 10.0
"""A running process has taken over a change of the directory after this time at most."""


class RotationError(Exception):
    """Why a command is not carried out; the text says what to do instead."""


class TooEarlyError(Exception):
    """The command would be noticed by callers, and would not be from `at` on (epoch seconds)."""

    def __init__(self, kid: str, at: float, why: str) -> None:
        """Remember which key, from when on, and what callers would notice."""
        super().__init__(f"{kid}: {why}")
        self.kid = kid
        self.at = at
        self.why = why


def activate(
    keys: Sequence[KeyInfo], kid: str, *, now: float, publish_ahead_s: float, at_once: bool
) -> tuple[KeyInfo, ...]:
    """Return the keys with `kid` as the active one; the one that was is retiring.

    Args:
        keys: All keys of the directory.
        kid: The key that is to sign.
        now: Epoch seconds.
        publish_ahead_s: For so long a key must have been published before it signs.
        at_once: Whether that does not count.

    Raises:
        RotationError: There is no such key.
        TooEarlyError: It was published too short a time ago.
    """
    key = _find(keys, kid)
    if key.state is KeyState.NEXT and not at_once and now < (at := may_sign_from(key, publish_ahead_s)):
        raise TooEarlyError(kid, at, "callers that keep the JWKS may not have seen it yet")
    if key.state is KeyState.ACTIVE:
        return tuple(keys)
    return tuple(_activated(each, kid) for each in keys)


def retire(
    keys: Sequence[KeyInfo], kid: str, *, now: float, longest_lifetime_s: float, at_once: bool
) -> tuple[KeyInfo, ...]:
    """Return the keys without `kid`, whose tokens no longer verify.

    Args:
        keys: All keys of the directory.
        kid: The key that is to go.
        now: Epoch seconds.
        longest_lifetime_s: How long any client's token may be valid.
        at_once: Whether its live tokens may be refused.

    Raises:
        RotationError: There is no such key, or it is the one that signs.
        TooEarlyError: Tokens that it signed may be valid still.
    """
    key = _find(keys, kid)
    if key.state is KeyState.ACTIVE:
        raise RotationError(f"{kid} is the key that signs; `sidegate keys activate` another one first")
    if not at_once and now < (at := may_go_from(key, longest_lifetime_s)):
        raise TooEarlyError(kid, at, "tokens that it signed may be valid until then")
    return tuple(each for each in keys if each.kid != kid)


def may_sign_from(key: KeyInfo, publish_ahead_s: float) -> float:
    """Return from when on a key that is next was published for long enough, in epoch seconds.

    It is in the JWKS only when the running processes have taken it up. Without a wait, that is none either.
    """
    return _in_this_state_since(key) + (publish_ahead_s + TAKEN_UP_S if publish_ahead_s else 0.0)


def may_go_from(key: KeyInfo, longest_lifetime_s: float) -> float:
    """Return from when on no token of a key can be valid, in epoch seconds.

    A key that is next has signed nothing, unless nothing is written of its state: then it may
    have signed until its file was put in place here.
    """
    if key.state is KeyState.NEXT and key.since is not None:
        return 0.0
    return _in_this_state_since(key) + longest_lifetime_s + TAKEN_UP_S


def longest_token_lifetime(settings: Settings) -> float:
    """Return for how many seconds a token of any client may be valid, as the configuration is now."""
    own = (client.token_lifetime_s for client in settings.clients.values())
    granted = (authorization.token_lifetime_s for authorization in settings.authorizations)
    return max(settings.issuer.token_lifetime_s, *(lifetime or 0.0 for lifetime in (*own, *granted)), 0.0)


def choose_next(keys: Sequence[KeyInfo], algorithm: str) -> KeyInfo | None:
    """Return the key that has been published for longest, of those that wait and sign with `algorithm`."""
    waiting = [key for key in keys if key.state is KeyState.NEXT and key.alg == algorithm]
    return min(waiting, key=_in_this_state_since, default=None)


def _in_this_state_since(key: KeyInfo) -> float:
    return key.placed_at if key.since is None else key.since


def _find(keys: Sequence[KeyInfo], kid: str) -> KeyInfo:
    for key in keys:
        if key.kid == kid:
            return key
    raise RotationError(f"there is no key {kid}; `sidegate keys list` names them")


def _activated(key: KeyInfo, kid: str) -> KeyInfo:
    if key.kid == kid:
        return replace(key, state=KeyState.ACTIVE, since=None)
    if key.state is KeyState.ACTIVE:
        return replace(key, state=KeyState.RETIRING, since=None)
    return key
