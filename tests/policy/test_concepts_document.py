"""Hold the table of reasons in docs/concepts.md to the closed list and its statuses."""

import re
from pathlib import Path

from gateway.reasons import PERMITTING, Reason

CONCEPTS = Path(__file__).resolve().parent.parent.parent / "docs" / "concepts.md"
ROW = re.compile(r"^\| `([a-z_]+)` \| ([0-9]{3}) \| (.*?) \| ?(.*?) ?\|$", re.MULTILINE)


def test_the_table_has_every_reason_in_order_with_its_status() -> None:
    rows = ROW.findall(CONCEPTS.read_text("utf-8"))
    assert [(name, int(status)) for name, status, _, _ in rows] == [(r.value, r.status) for r in Reason]


def test_every_refusal_says_what_it_means_and_what_helps() -> None:
    for name, _, meaning, remedy in ROW.findall(CONCEPTS.read_text("utf-8")):
        assert meaning
        assert remedy or Reason(name) in PERMITTING | {Reason.CLIENT_CLOSED}
