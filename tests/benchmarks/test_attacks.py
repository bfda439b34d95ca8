"""Send the texts of `benchmarks.attacks` for a moment; `tests/journeys/test_attacks.py` has full counts."""

import os

import pytest

from benchmarks import attacks
from benchmarks.callers import worst_texts


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_texts_beside_honest_callers_are_all_refused() -> None:
    felt = attacks.texts(addresses=attacks.CROWD, rounds=1, seconds=0.5)
    (found,) = felt.rounds
    assert found["others"]["texts"] == len(worst_texts())
    # 503 is for a machine that has no time left for the gate.
    assert set(found["others"]["statuses"]) <= {"400", "401", "404", "415", "431", "503"}
    assert set(found["beside"]["statuses"]) <= {"200", "503"}
