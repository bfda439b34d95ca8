"""Show that the configuration reference is as new as the table of keys, and complete."""

from pathlib import Path

from gateway.settings.fields import MAIN_FILE
from gateway.settings.kinds import Field
from gateway.settings.reference import render

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    hint = "run: .venv/bin/python -m gateway.settings.reference docs/configuration.md"
    assert (ROOT / "docs/configuration.md").read_text() == render(), hint


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
