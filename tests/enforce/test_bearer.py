"""Find bearer tokens by table."""

import pytest

from gateway.enforce.bearer import bearer_token
from gateway.reasons import Reason


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"Bearer abc", b"abc"),
        (b"bearer abc", b"abc"),
        (b"BEARER abc", b"abc"),
        (b"Bearer    abc", b"abc"),
        (b"Bearer a-._~+/9==", b"a-._~+/9=="),
        (b"Bearer", Reason.MALFORMED_TOKEN),
        (b"Bearer ", Reason.MALFORMED_TOKEN),
        (b"Bearer =", Reason.MALFORMED_TOKEN),
        (b"Bearer a=b", Reason.MALFORMED_TOKEN),
        (b"Bearer a b", Reason.MALFORMED_TOKEN),
        (b"Bearer a, b", Reason.MALFORMED_TOKEN),
        (b"Bearer a,Bearer b", Reason.MALFORMED_TOKEN),
        (b"Bearer\ta", Reason.MALFORMED_TOKEN),
        (b"Bearer a ", Reason.MALFORMED_TOKEN),
        (b'Bearer "a"', Reason.MALFORMED_TOKEN),
        (b"Bearer \xc3\xa9", Reason.MALFORMED_TOKEN),
        (b"Bearer a\n", Reason.MALFORMED_TOKEN),
        (b"Bearer token=abc", Reason.MALFORMED_TOKEN),
        (None, Reason.NO_TOKEN),
        (b"", Reason.NO_TOKEN),
        (b"Basic YTpi", Reason.NO_TOKEN),
        (b"DPoP abc", Reason.NO_TOKEN),
        (b"Bearerabc", Reason.NO_TOKEN),
        (b"Bearer=abc", Reason.NO_TOKEN),
        (b" Bearer abc", Reason.NO_TOKEN),
        (b"abc", Reason.NO_TOKEN),
    ],
)
def test_one_field(value: bytes | None, found: bytes | Reason) -> None:
    assert bearer_token(value, 0 if value is None else 1) == found


@pytest.mark.parametrize("value", [b"Bearer abc", b"Basic YTpi", b""])
def test_several_fields_are_refused_whatever_they_hold(value: bytes) -> None:
    assert bearer_token(value, 2) is Reason.DUPLICATE_AUTHORIZATION
