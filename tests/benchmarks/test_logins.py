"""Run the scenarios of `benchmarks.logins` for a moment; `tests/journeys/test_attacks.py` has full counts."""

import os

import pytest

from benchmarks import logins

needs_two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")


@needs_two_cores
def test_logins_beside_honest_callers_are_really_checked() -> None:
    felt = logins.scrypt_logins(rounds=1, seconds=0.5)
    (found,) = felt.rounds
    assert set(found["beside"]["statuses"]) == {"200"}
    assert set(found["others"]["statuses"]) <= {"200", "503"}
    assert found["others"]["statuses"]["200"] > 0


@needs_two_cores
def test_signing_beside_honest_callers_answers_everybody() -> None:
    felt = logins.rsa_signing(rounds=1, seconds=0.5)
    (found,) = felt.rounds
    assert set(found["beside"]["statuses"]) == {"200"}
    assert set(found["others"]["statuses"]) == {"200"}
    assert "honest p99" in next(felt.lines("signing"))
