"""Read Content-Type exactly, row by row."""

import pytest

from gateway.http1.media_type import MAX_FIELD, is_utf8_media_type

FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    "value",
    [
        FORM,
        "Application/X-WWW-Form-URLencoded",
        f"{FORM};charset=utf-8",
        f"{FORM}; charset=UTF-8",
        f"{FORM}; Charset=utf-8",
        f"{FORM} \t;\t charset=utf-8",
        f'{FORM}; charset="utf-8"',
        f'{FORM};charset="UTF-8" ',
        f"{FORM};{' ' * (MAX_FIELD - len(FORM) - 14)}charset=utf-8",
    ],
)
def test_forms_in_utf8(value: str) -> None:
    assert is_utf8_media_type([value], FORM)
    assert not is_utf8_media_type([value], "application/json")
    assert not is_utf8_media_type([value, value], FORM)


@pytest.mark.parametrize(
    "value",
    [
        "",
        ";",
        "application/json",
        f"{FORM}2",
        f"{FORM},{FORM}",
        f"{FORM};",
        f"{FORM};;charset=utf-8",
        f"{FORM}; charset=utf-8;",
        f"{FORM}; charset=utf-8; charset=utf-8",
        f"{FORM}; charset=latin-1",
        f"{FORM}; charset=utf8",
        f"{FORM}; charset='utf-8'",
        f'{FORM}; charset="utf-8',
        f'{FORM}; charset="utf\\-8"',
        f"{FORM}; charset = utf-8",
        f"{FORM}; boundary=x",
        f"{FORM} charset=utf-8",
        f"{FORM}\n;charset=utf-8",
        f"{FORM};{' ' * (MAX_FIELD - len(FORM) - 13)}charset=utf-8",
        FORM + ";" * 31_000,
    ],
)
def test_everything_else(value: str) -> None:
    assert not is_utf8_media_type([value], FORM)


def test_no_field_is_no_type() -> None:
    assert not is_utf8_media_type([], FORM)
