"""Show that the configuration reference and the schemas are as new as the table of keys, and complete."""

from pathlib import Path

import pytest

from gateway.settings.fields import MAIN_FILE
from gateway.settings.reference import render
from gateway.settings.schema import schema_files
from gateway.settings.sections import Field

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    hint = "run: .venv/bin/python -m gateway.settings.reference docs/configuration.md"
    assert (ROOT / "docs/configuration.md").read_text() == render(), hint


@pytest.mark.parametrize("name", schema_files())
def test_the_schemas_beside_the_starter_are_up_to_date(name: str) -> None:
    option = " --policy" if "policy" in name else ""
    hint = f"run: .venv/bin/sidegate schema{option} > config/{name}"
    assert (ROOT / "config" / name).read_text("utf-8") == schema_files()[name], hint


def test_every_key_has_a_row_with_a_meaning() -> None:
    page = render()
    waiting: list[Field] = list(MAIN_FILE.fields)
    seen = 0
    while waiting:
        item = waiting.pop()
        assert f"| `{item.key}` | " in page
        assert item.doc.endswith((".", "`"))
        seen += 1
        for inner in (item.kind, getattr(item.kind, "item", None), getattr(item.kind, "value", None)):
            waiting += getattr(inner, "fields", ())
    assert seen > 100
