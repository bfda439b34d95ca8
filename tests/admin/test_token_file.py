"""Show that the token file is followed and that nobody gets in without it."""

import os
from pathlib import Path

import pytest

from gateway.admin.token_file import TokenFileError, is_admin_token


def test_the_token_is_compared_without_surrounding_space(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("  s3cret\n")
    assert is_admin_token(path, "s3cret")
    assert not is_admin_token(path, "s3cre")
    assert not is_admin_token(path, "s3cret ")
    assert not is_admin_token(path, "")


def test_a_rotated_token_counts_at_once(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first")
    assert is_admin_token(path, "first")
    fresh = tmp_path / "fresh"
    fresh.write_text("other")
    os.replace(fresh, path)
    assert is_admin_token(path, "other")
    assert not is_admin_token(path, "first")


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_without_a_token_nobody_gets_in(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TokenFileError):
        is_admin_token(path, "")


def test_a_token_that_disappears_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first")
    assert is_admin_token(path, "first")
    path.unlink()
    with pytest.raises(TokenFileError):
        is_admin_token(path, "first")
