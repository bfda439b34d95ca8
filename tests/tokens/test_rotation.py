"""Show when a key may sign and when it may go, over all states and times."""

from pathlib import Path

import pytest

from gateway.tokens.keyfiles import KeyInfo, KeyState
from gateway.tokens.rotation import (
    TAKEN_UP_S,
    RotationError,
    TooEarlyError,
    activate,
    choose_next,
    retire,
)

NOW = 1_000_000.0
AHEAD_S = 3600.0
LIFETIME_S = 7200.0


def key(kid: str, state: KeyState, *, ago: float | None, alg: str = "ES256", placed: float = 0) -> KeyInfo:
    since = None if ago is None else int(NOW - ago)
    return KeyInfo(kid, alg, state, Path(f"{kid}.pem"), since, NOW - placed)


ACTIVE = key("a", KeyState.ACTIVE, ago=99_999)


def states(keys: tuple[KeyInfo, ...]) -> dict[str, tuple[KeyState, int | None]]:
    return {each.kid: (each.state, each.since) for each in keys}


def test_an_activated_key_signs_and_the_former_one_is_retiring_from_now_on() -> None:
    waiting = key("n", KeyState.NEXT, ago=AHEAD_S + TAKEN_UP_S)
    other = key("r", KeyState.RETIRING, ago=5)
    after = activate((ACTIVE, waiting, other), "n", now=NOW, publish_ahead_s=AHEAD_S, at_once=False)
    assert states(after) == {
        "n": (KeyState.ACTIVE, None),
        "a": (KeyState.RETIRING, None),
        "r": (KeyState.RETIRING, other.since),
    }


def test_without_a_wait_a_key_signs_at_once() -> None:
    after = activate((ACTIVE, key("n", KeyState.NEXT, ago=0)), "n", now=NOW, publish_ahead_s=0, at_once=False)
    assert states(after)["n"][0] is KeyState.ACTIVE


def test_activating_the_active_key_changes_nothing() -> None:
    keys = (ACTIVE, key("n", KeyState.NEXT, ago=5))
    assert activate(keys, "a", now=NOW, publish_ahead_s=AHEAD_S, at_once=False) == keys


@pytest.mark.parametrize(
    ("waiting", "left_s"),
    [
        (key("n", KeyState.NEXT, ago=0), AHEAD_S + TAKEN_UP_S),
        (key("n", KeyState.NEXT, ago=AHEAD_S), TAKEN_UP_S),
        (key("n", KeyState.NEXT, ago=AHEAD_S + TAKEN_UP_S - 1), 1),
        (key("n", KeyState.NEXT, ago=AHEAD_S + TAKEN_UP_S), None),
        (key("n", KeyState.NEXT, ago=None, placed=10), AHEAD_S + TAKEN_UP_S - 10),
        (key("n", KeyState.NEXT, ago=None, placed=AHEAD_S + TAKEN_UP_S), None),
        (key("n", KeyState.RETIRING, ago=0), None),  # it is published, has been for long, and goes back
    ],
)
def test_a_key_signs_only_after_it_was_published_for_long_enough(
    waiting: KeyInfo, left_s: float | None
) -> None:
    keys = (ACTIVE, waiting)
    if left_s is not None:
        with pytest.raises(TooEarlyError) as raised:
            activate(keys, "n", now=NOW, publish_ahead_s=AHEAD_S, at_once=False)
        assert raised.value.at == NOW + left_s
        activate(keys, "n", now=raised.value.at, publish_ahead_s=AHEAD_S, at_once=False)
    else:
        activate(keys, "n", now=NOW, publish_ahead_s=AHEAD_S, at_once=False)
    hurried = activate(keys, "n", now=NOW, publish_ahead_s=AHEAD_S, at_once=True)
    assert states(hurried)["n"][0] is KeyState.ACTIVE


@pytest.mark.parametrize(
    ("leaving", "left_s"),
    [
        (key("k", KeyState.RETIRING, ago=0), LIFETIME_S + TAKEN_UP_S),
        (key("k", KeyState.RETIRING, ago=LIFETIME_S), TAKEN_UP_S),
        (key("k", KeyState.RETIRING, ago=LIFETIME_S + TAKEN_UP_S), None),
        (key("k", KeyState.NEXT, ago=0), None),  # it has signed nothing
        (key("k", KeyState.NEXT, ago=None, placed=10), LIFETIME_S + TAKEN_UP_S - 10),  # nobody knows
    ],
)
def test_a_key_goes_only_when_nothing_that_it_signed_is_valid(leaving: KeyInfo, left_s: float | None) -> None:
    keys = (ACTIVE, leaving)
    if left_s is not None:
        with pytest.raises(TooEarlyError) as raised:
            retire(keys, "k", now=NOW, longest_lifetime_s=LIFETIME_S, at_once=False)
        assert raised.value.at == NOW + left_s
        retire(keys, "k", now=raised.value.at, longest_lifetime_s=LIFETIME_S, at_once=False)
    else:
        assert retire(keys, "k", now=NOW, longest_lifetime_s=LIFETIME_S, at_once=False) == (ACTIVE,)
    assert retire(keys, "k", now=NOW, longest_lifetime_s=LIFETIME_S, at_once=True) == (ACTIVE,)


@pytest.mark.parametrize("at_once", [False, True])
def test_the_key_that_signs_never_goes(at_once: bool) -> None:
    with pytest.raises(RotationError, match="activate"):
        retire((ACTIVE,), "a", now=NOW, longest_lifetime_s=0, at_once=at_once)


def test_a_key_that_is_not_there_is_named() -> None:
    with pytest.raises(RotationError, match=r"no key x.*keys list"):
        activate((ACTIVE,), "x", now=NOW, publish_ahead_s=0, at_once=True)
    with pytest.raises(RotationError, match=r"no key x"):
        retire((ACTIVE,), "x", now=NOW, longest_lifetime_s=0, at_once=True)


def test_the_next_key_is_the_one_published_for_longest_with_the_algorithm() -> None:
    young, old = key("y", KeyState.NEXT, ago=5), key("o", KeyState.NEXT, ago=50)
    foreign = key("f", KeyState.NEXT, ago=500, alg="EdDSA")
    assert choose_next((ACTIVE, young, old, foreign), "ES256") == old
    assert choose_next((ACTIVE, foreign), "ES256") is None
    assert choose_next((), "ES256") is None
