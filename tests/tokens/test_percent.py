"""Decode escapes as the standard library does."""

import re
from urllib.parse import quote_from_bytes, unquote_plus, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tokens.percent import decode_form_text, decode_percent


@given(st.binary(max_size=80))
def test_whatever_was_encoded_comes_back(octets: bytes) -> None:
    text = quote_from_bytes(octets, safe="").encode()
    assert decode_percent(text) == octets
    assert decode_percent(re.sub(rb"%..", lambda escape: escape[0].lower(), text)) == octets


@given(
    st.lists(
        st.binary(max_size=4).map(lambda raw: raw.replace(b"%", b""))
        | st.sampled_from(
            [
                b"%0A",
                b"%0d",
                b"%3D",
                b"%25",
                b"%20",
                b"%41",
                b"=",
                b"==",
                b"=\n",
                b"=\r\n",
                b" \n",
                b"\t",
                b"_",
                b"=3D",
            ]
        )
    ).map(b"".join)
)
def test_what_stands_between_escapes_stays(text: bytes) -> None:
    if not re.search(rb"%(?![0-9A-Fa-f]{2})", text):
        assert decode_percent(text) == unquote_to_bytes(text)


@given(st.text("+%= é€4C3A9aF0", max_size=40))
def test_forms_are_decoded_as_by_the_standard_library(text: str) -> None:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        return
    try:
        expected = unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        with pytest.raises(UnicodeDecodeError):
            decode_form_text(text)
    else:
        assert decode_form_text(text) == expected
