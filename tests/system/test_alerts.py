"""Show that every alert fires on the first failure after the start, as Prometheus itself computes it.

The series of the counters begin at 0, as those of a fresh process do
(`tests/journeys/test_first_failures.py` holds these very series against one).
"""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.observe.exposition import render_families
from gateway.observe.families import FAMILIES, Family, Kind
from gateway.observe.series import Collected, Histogram, Row
from tests.support.alerts import ALERTS, RULES, Alert, rules


def promtool(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60)


def unit_test(alert: Alert) -> dict[str, Any]:
    """Return promtool's test: silence while all is well, the alert after the first failure."""
    rule = rules()[alert.name]
    fired = {
        "exp_labels": {**alert.labels, "severity": rule["labels"]["severity"]},
        "exp_annotations": rule["annotations"],
    }
    return {
        "interval": "30s",
        "input_series": [{"series": series, "values": values} for series, values in alert.series],
        "alert_rule_test": [
            {"eval_time": "2m", "alertname": alert.name, "exp_alerts": []},
            {"eval_time": alert.fires_at, "alertname": alert.name, "exp_alerts": [fired]},
        ],
    }


def test_prometheus_takes_the_rules() -> None:
    checked = promtool("check", "rules", RULES)
    assert checked.returncode == 0, checked.stderr
    assert f"SUCCESS: {len(rules())} rules found" in checked.stdout


def test_prometheus_has_nothing_to_say_of_the_families() -> None:
    def row(family: Family) -> Row:
        hostile = 'a " quote, a \\ backslash, a line\nbreak, {} é'
        labels = tuple(hostile for _ in family.labels)
        return labels, Histogram(family.bounds) if family.kind is Kind.HISTOGRAM else 1

    collected = iter([Collected(family, [row(family)]) for family in FAMILIES])
    text = "".join(render_families(collected, openmetrics=False))
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_every_rule_has_a_case() -> None:
    assert [alert.name for alert in ALERTS] == list(rules())


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_fires_on_the_first_failure(alert: Alert, tmp_path: Path) -> None:
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": [unit_test(alert)]}))
    tested = promtool("test", "rules", file)
    assert tested.returncode == 0, tested.stdout + tested.stderr
