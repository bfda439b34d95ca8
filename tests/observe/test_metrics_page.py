"""Show that the page of metrics is as new as the table of families, and that alerts use what there is."""

import re
from pathlib import Path

import yaml

from gateway.observe.families import FAMILIES
from gateway.observe.reference import render

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"


def squeezed(expression: str) -> str:
    return " ".join(expression.split())


def rules() -> dict[str, str]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: squeezed(rule["expr"]) for rule in group["rules"]}


def test_the_page_is_up_to_date() -> None:
    hint = "run: .venv/bin/python -m gateway.observe.reference docs/metrics.md"
    assert (ROOT / "docs/metrics.md").read_text() == render(), hint


def test_every_family_says_what_its_values_are() -> None:
    for family in FAMILIES:
        assert len(family.labels) == len(family.meanings), family.name
        assert family.help.endswith("."), family.name
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_the_alerts_of_the_page_are_those_of_the_rules() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    (block,) = re.findall(r"^```promql\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    told = [squeezed(line.partition("   #")[0]) for line in block.splitlines()]
    assert told == list(rules().values())


def test_alerts_ask_for_families_and_labels_that_there_are() -> None:
    known = {family.sample_name: {*family.labels, "le"} for family in FAMILIES}
    for alert, expression in rules().items():
        found = re.findall(r"(sidegate_\w+)(?:\{([^}]*)\})?", expression)
        assert found, alert
        for name, selector in found:
            labels = re.findall(r"(\w+)\s*[=!]", selector)
            assert set(labels) <= known[name.removesuffix("_bucket")], (alert, name)
