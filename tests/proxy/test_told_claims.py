"""Show that what is remembered of a token's claims is what would be made anew, within bounds."""

from types import MappingProxyType
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.enforce.token_cache import NOTHING_TOLD, VerifiedToken
from gateway.http1.claim_fields import ClaimFields, LeftOut, write_claim_lines
from gateway.proxy.told_claims import TOLD_BYTES_PER_TOKEN, UPSTREAMS_PER_TOKEN, ToldClaims
from gateway.tokens.claims import AccessToken


def token(**claims: Any) -> VerifiedToken:
    return VerifiedToken(
        AccessToken(
            client_id="reader",
            subject="reader",
            audience="service",
            scope=None,
            scopes=frozenset(),
            jti="1",
            issued_at=0,
            not_before=0,
            expires_at=10,
            kid="k",
            claims=MappingProxyType(claims),
        )
    )


TENANT = ClaimFields(((b"X-Auth-Tenant", "tenant"),))


def test_lines_are_made_once_for_a_token_and_an_upstream() -> None:
    told, verified = ToldClaims(), token(tenant="acme")
    lines = told.lines("one", TENANT, verified)
    assert lines == b"X-Auth-Tenant: acme\r\n"
    assert told.lines("one", TENANT, verified) is lines
    other = ClaimFields(TENANT.claims)  # of another upstream, or of the same after a reload
    assert told.lines("two", other, verified) is not lines


def test_what_is_left_out_is_counted_once_by_upstream_and_cause() -> None:
    told = ToldClaims()
    fields = ClaimFields(((b"X-Auth-Tenant", "tenant"), (b"X-Auth-Plan", "plan"), (b"X-Auth-Name", "name")))
    for verified in (token(tenant=1.5, plan={}, name="é"), token(tenant="x" * 1025), token(plan="gold")):
        for _ in range(3):
            told.lines("one", fields, verified)
        told.lines("two", TENANT, verified)
    counted = {
        ("one", LeftOut.KIND): 2,
        ("one", LeftOut.CHARACTERS): 1,
        ("one", LeftOut.SIZE): 1,
        ("two", LeftOut.KIND): 1,
        ("two", LeftOut.SIZE): 1,
    }
    assert dict(told.take_left_out()) == counted
    assert told.take_left_out() == []


CLAIMS = st.dictionaries(
    st.sampled_from("abc"),
    st.text("xyz,é", max_size=3)
    | st.integers()
    | st.lists(st.text("xy", max_size=2), max_size=3)
    | st.none(),
)
UPSTREAMS = st.lists(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=3), min_size=1, max_size=UPSTREAMS_PER_TOKEN + 3
)
STEPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, UPSTREAMS_PER_TOKEN + 2), st.booleans()))


@given(st.lists(CLAIMS, min_size=4, max_size=4), UPSTREAMS, STEPS)
def test_what_is_remembered_is_what_is_made_anew(
    of_tokens: list[dict[str, Any]], of_upstreams: list[list[str]], steps: list[tuple[int, int, bool]]
) -> None:
    told = ToldClaims()
    tokens = [token(**claims) for claims in of_tokens]
    upstreams = [
        ClaimFields(tuple((b"X-Auth-%d" % number, claim) for number, claim in enumerate(claims)))
        for claims in of_upstreams
    ]
    for number, upstream, renews in steps:
        verified, fields = tokens[number], upstreams[upstream % len(upstreams)]
        if renews:
            verified.told = NOTHING_TOLD  # as a reload does
        made = write_claim_lines(fields, of_tokens[number])
        assert told.lines("u", fields, verified) == made.lines
        assert verified.told[fields] == made.lines
        assert len(verified.told) <= UPSTREAMS_PER_TOKEN


@given(st.lists(st.integers(0, 1024), min_size=1, max_size=40))
def test_no_token_keeps_more_than_its_share(lengths: list[int]) -> None:
    told = ToldClaims()
    verified = token(**{f"c{number}": "x" * length for number, length in enumerate(lengths)})
    for number in range(len(lengths)):
        lines = told.lines("u", ClaimFields(((b"X-Auth-C", f"c{number}"),)), verified)
        assert sum(map(len, verified.told.values())) <= max(TOLD_BYTES_PER_TOKEN, len(lines))
