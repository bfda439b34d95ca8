"""Recognise what was right, and nothing else, for no longer than it is configured."""

from gateway.clients.secret_memo import REMEMBERED_S, SecretMemo
from gateway.settings.model import ScryptSecret

OLD = ScryptSecret(16, 8, 1, b"salt", b"old")
NEW = ScryptSecret(16, 8, 1, b"salt", b"new")
OTHER = ScryptSecret(16, 8, 1, b"salt", b"other")


def made(**more: int) -> SecretMemo:
    memo = SecretMemo(b"k" * 32, **more)
    memo.learn(memo.mark(b"right"), OLD, 0)
    return memo


def test_only_the_right_text_of_that_very_secret_is_recognised() -> None:
    memo = made()
    assert memo.recognises(memo.mark(b"right"), [NEW, OLD], 1)
    assert not memo.recognises(memo.mark(b"wrong"), [NEW, OLD], 1)
    assert not memo.recognises(memo.mark(b"right"), [NEW], 1)
    assert not memo.recognises(memo.mark(b"right"), [], 1)
    assert memo.unremembered([NEW, OLD], 1) == (NEW,)


def test_another_process_recognises_nothing() -> None:
    assert SecretMemo(b"j" * 32).mark(b"right") != made().mark(b"right")


def test_it_is_forgotten_after_a_day() -> None:
    memo = made()
    assert memo.recognises(memo.mark(b"right"), [OLD], REMEMBERED_S - 1)
    assert not memo.recognises(memo.mark(b"right"), [OLD], REMEMBERED_S)
    assert memo.unremembered([OLD], REMEMBERED_S) == (OLD,)
    memo.learn(memo.mark(b"x"), NEW, REMEMBERED_S)
    assert len(memo) == 1


def test_what_is_no_longer_configured_is_dropped() -> None:
    memo = made()
    memo.learn(memo.mark(b"x"), OTHER, 0)
    memo.keep_only({OTHER, NEW})
    assert len(memo) == 1
    assert not memo.recognises(memo.mark(b"right"), [OLD], 1)


def test_it_is_bounded() -> None:
    memo = made(entries=2)
    memo.learn(memo.mark(b"x"), NEW, 1)
    memo.learn(memo.mark(b"y"), OTHER, 2)
    assert len(memo) == 2
    assert memo.unremembered([OLD, NEW, OTHER], 3) == (OLD,)
