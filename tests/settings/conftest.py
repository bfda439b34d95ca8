"""Write configurations into a directory and load them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from gateway.settings.load import Loaded, load
from gateway.settings.problems import Problem, SettingsError

NOW = 1_800_000_000.0
"""A day in January 2027."""

Load = Callable[..., Loaded]


@pytest.fixture
def load_text(tmp_path: Path) -> Load:
    """Return a function that loads one main file, and more files by name."""

    def load_files(
        text: str, files: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
    ) -> Loaded:
        (tmp_path / "gateway.yaml").write_text(text)
        for name, content in (files or {}).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        return load(tmp_path / "gateway.yaml", environ=environ or {}, now=NOW)

    return load_files


@pytest.fixture
def problems_of(load_text: Load, tmp_path: Path) -> Callable[..., list[str]]:
    """Return a function that loads and gives every problem as text, with short file names."""

    def load_problems(
        text: str, files: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
    ) -> list[str]:
        problems: tuple[Problem, ...]
        try:
            problems = load_text(text, files, environ).warnings
        except SettingsError as error:
            problems = error.problems
        return [
            f"{problem.severity[0].upper()} {problem}".replace(f"{tmp_path}/", "") for problem in problems
        ]

    return load_problems
