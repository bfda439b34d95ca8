"""Show that the token file is followed and that nobody gets in without it."""

import os
from pathlib import Path

import pytest

from gateway.admin.token_file import TokenFile, TokenFileError


def test_the_token_is_compared_without_surrounding_space(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("  s3cret\n")
    tokens = TokenFile()
    assert tokens.matches(path, "s3cret")
    assert not tokens.matches(path, "s3cre")
    assert not tokens.matches(path, "s3cret ")
    assert not tokens.matches(path, "")


def test_a_rotated_token_counts_at_once(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first")
    tokens = TokenFile()
    assert tokens.matches(path, "first")
    fresh = tmp_path / "fresh"
    fresh.write_text("other")
    os.replace(fresh, path)
    assert tokens.matches(path, "other")
    assert not tokens.matches(path, "first")


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_without_a_token_nobody_gets_in(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TokenFileError):
        TokenFile().matches(path, "")


def test_a_token_that_disappears_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first")
    tokens = TokenFile()
    assert tokens.matches(path, "first")
    path.unlink()
    with pytest.raises(TokenFileError):
        tokens.matches(path, "first")
