"""Show what `sidegate check` says of one wrong edit each: the place, the path, the remedy, nothing else.

The tables in `wrong_edits/*.txt` are read like patches to the configuration beside them:

    == what was meant, and what was written
    --- policies/routes.yaml
         path: /health
    -    upstream: country
    +    uptream: country
    ! policies/routes.yaml:10:5: error: routes[1].uptream: …

Lines that begin with a space or `-` must stand in the file exactly once, together; `+` stands in
their place; `@@` begins another hunk, `+++` a new file. `→` is a tab and `␣` a no-break space. Lines
that begin with `!` are the whole output but for its last line, the counts.

`python -m tests.settings.test_wrong_edits` writes the `!` lines anew; read them before you commit them.
"""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.main import main

TABLES = Path(__file__).parent / "wrong_edits"
SPECIAL = str.maketrans({"→": "\t", "␣": "\N{NO-BREAK SPACE}"})
ENVIRON = {"REPORTING_SECRET": "a-secret-of-the-environment-0123456789", "SIDEGATE_DATA": ""}


@dataclass
class Edit:
    """One wrong edit: what is written where, and what is said of it."""

    title: str
    changes: list[tuple[str, str, str]] = field(default_factory=list)
    """File, what stands in it (empty: the file is new), and what is written in its place."""
    said: list[str] = field(default_factory=list)

    def write(self, directory: Path) -> None:
        """Carry the edit out in a copy of the configuration."""
        for name, old, new in self.changes:
            file = directory / name
            text = file.read_text("utf-8") if old else ""
            if old:
                assert text.count(old) == 1, f"{self.title}: stands {text.count(old)} times: {old!r}"
            file.parent.mkdir(exist_ok=True)
            file.write_text((text.replace(old, new) if old else new).translate(SPECIAL), "utf-8")


def read_table(text: str) -> Iterator[Edit]:
    """Yield the edits of a table."""
    edit, name = Edit(""), ""
    for line in text.splitlines():
        mark, rest = line[:1], line[1:] + "\n"
        if line.startswith("== "):
            if edit.title:
                yield edit
            edit = Edit(line[3:])
        elif line.startswith(("--- ", "+++ ")):
            name = line[4:]
            edit.changes.append((name, "", ""))
        elif line == "@@":
            edit.changes.append((name, "", ""))
        elif mark == "!":
            edit.said.append(line[2:])
        elif mark and mark in " -+":
            _, old, new = edit.changes[-1]
            edit.changes[-1] = (name, old + rest * (mark != "+"), new + rest * (mark != "-"))
        else:
            assert not line or mark == "#", line
    yield edit


EDITS = {
    f"{table.stem}: {edit.title}": edit
    for table in sorted(TABLES.glob("*.txt"))
    for edit in read_table(table.read_text("utf-8"))
}


def check(edit: Edit, directory: Path) -> list[str]:
    """Return what `sidegate check` prints of the configuration after the edit, without the counts."""
    shutil.copytree(TABLES, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.txt"))
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)  # whatever the umask of the checkout was
    edit.write(directory)
    before = Path.cwd()
    os.chdir(directory)
    try:
        result = CliRunner(env=ENVIRON).invoke(main, ["check", "-c", "gateway.yaml"])
    finally:
        os.chdir(before)
    assert not isinstance(result.exception, Exception), result.exception
    lines = result.output.splitlines()
    assert re.fullmatch(r"\d+ errors?, \d+ warnings?|.*: ok", lines[-1]), lines
    return lines[:-1]


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_one_edit(edit: Edit, tmp_path: Path) -> None:
    assert check(edit, tmp_path) == edit.said


def test_without_an_edit_nothing_is_wrong(tmp_path: Path) -> None:
    assert check(Edit("none"), tmp_path) == []


def rewrite() -> None:
    """Write what is said today into the tables."""
    for table in sorted(TABLES.glob("*.txt")):
        lines: list[str] = []
        for block in re.split(r"(?m)^(?=== )", table.read_text("utf-8")):
            lines += (kept := [line for line in block.rstrip().splitlines() if not line.startswith("!")])
            if block.startswith("== "):
                (edit,) = read_table("\n".join(kept))
                with tempfile.TemporaryDirectory() as directory:
                    lines += [f"! {line}" for line in check(edit, Path(directory))]
            lines.append("")
        table.write_text("\n".join(lines).strip() + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(rewrite())
