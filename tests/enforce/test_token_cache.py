"""Show the bounds of the token cache, probation and the second chance."""

from types import MappingProxyType

from hypothesis import given
from hypothesis import strategies as st

from gateway.enforce.token_cache import LONGEST_KEPT_BYTES, CachedToken, TokenCache
from gateway.reasons import Reason
from gateway.tokens.claims import AccessToken


def entry() -> CachedToken:
    token = AccessToken("c", "c", "a", None, frozenset(), "jti", 0, 0, 9, "kid", MappingProxyType({}))
    return CachedToken(token, 1)


def small(**sizes: int) -> TokenCache:
    return TokenCache(**{"main_entries": 4, "probation_entries": 3, "bad_entries": 2, **sizes})


def test_what_is_put_is_found_and_what_is_dropped_is_gone() -> None:
    cache, known = small(), entry()
    cache.put(b"a", known)
    assert cache.get(b"a") is known
    cache.drop(b"a")
    cache.drop(b"a")
    assert cache.get(b"a") is None
    cache.put_issued(b"b", known)
    cache.drop(b"b")
    assert cache.get(b"b") is None


def test_issuing_pushes_nothing_out_that_is_in_use() -> None:
    cache, known = small(), entry()
    cache.put(b"in use", known)
    for number in range(100):
        cache.put_issued(b"%d" % number, entry())
        assert cache.sizes[1] <= 3
    assert cache.get(b"in use") is known
    assert [cache.get(b"%d" % number) is not None for number in (0, 96, 97, 99)] == [False, False, True, True]


def test_a_token_leaves_probation_when_it_is_presented() -> None:
    cache, known = small(), entry()
    cache.put_issued(b"a", known)
    assert cache.sizes == (0, 1, 0)
    assert cache.get(b"a") is known
    assert cache.sizes == (1, 0, 0)
    assert cache.get(b"a") is known


def test_a_used_entry_gets_a_second_chance() -> None:
    cache, known = small(), entry()
    cache.put(b"in use", known)
    for number in range(100):
        assert cache.get(b"in use") is known
        cache.put(b"once %d" % number, entry())
        assert cache.sizes[0] <= 4
    assert cache.get(b"once 0") is None


def test_when_all_are_in_use_the_oldest_goes() -> None:
    cache = small()
    for name in (b"a", b"b", b"c", b"d"):
        cache.put(name, entry())
    for name in (b"a", b"b", b"c", b"d"):
        cache.get(name)
    cache.put(b"e", entry())
    assert cache.sizes[0] == 4
    assert cache.get(b"a") is None
    assert cache.get(b"e") is not None


def test_long_tokens_are_not_kept() -> None:
    cache = small()
    for length, kept in ((LONGEST_KEPT_BYTES, True), (LONGEST_KEPT_BYTES + 1, False)):
        cache.put(b"x" * length, entry())
        cache.put_issued(b"y" * length, entry())
        assert (cache.get(b"x" * length) is not None) == kept
        assert (cache.get(b"y" * length) is not None) == kept


def test_bad_tokens_are_remembered_within_bounds() -> None:
    cache = small()
    assert cache.known_bad(b"a") is None
    for name in (b"a", b"b" * 100_000, b"c"):
        cache.put_bad(name, Reason.BAD_SIGNATURE)
    assert cache.sizes == (0, 0, 2)
    assert [cache.known_bad(name) for name in (b"a", b"b" * 100_000, b"c")] == [
        None,
        Reason.BAD_SIGNATURE,
        Reason.BAD_SIGNATURE,
    ]
    cache.forget_bad()
    assert cache.known_bad(b"c") is None


STEPS = st.lists(
    st.tuples(st.sampled_from(["get", "put", "put_issued", "drop", "put_bad"]), st.integers(0, 12))
)


@given(STEPS)
def test_bounds_hold_and_entries_are_never_mixed_up(steps: list[tuple[str, int]]) -> None:
    cache = small()
    entries = [entry() for _ in range(13)]
    for step, number in steps:
        raw = b"%d" % number
        match step:
            case "get":
                assert cache.get(raw) in (None, entries[number])
            case "drop":
                cache.drop(raw)
                assert cache.get(raw) is None
            case "put_bad":
                cache.put_bad(raw, Reason.BAD_SIGNATURE)
            case _:
                getattr(cache, step)(raw, entries[number])
                assert cache.get(raw) is entries[number]
        assert all(size <= bound for size, bound in zip(cache.sizes, (4, 3, 2), strict=True))
