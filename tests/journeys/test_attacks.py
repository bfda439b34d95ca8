"""Hold what honest callers feel under attack to its bounds; full counts only (`make soak`).

The bounds are for a machine with a core for the gate and one for everybody else.
"""

import os

import pytest

from benchmarks import attacks, logins

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif("SIDEGATE_SOAK" not in os.environ, reason="full counts: make soak"),
]


def test_forged_tokens_leave_honest_callers_alone() -> None:
    felt = attacks.forged_tokens(rounds=5)
    for each in felt.rounds:
        assert set(each["beside"]["statuses"]) == {"200"}
        assert each["beside"]["unanswered"] == 0
        assert set(each["others"]["statuses"]) <= {"401", "429"}
        assert each["others"]["sent"] >= 0.9 * attacks.FORGED_RATE * 12
    assert felt.beside_p99_ms <= felt.bound_ms


def test_slowloris_leaves_honest_callers_alone_and_is_closed_in_time() -> None:
    felt = attacks.slowloris(rounds=5)
    for each in felt.rounds:
        assert set(each["beside"]["statuses"]) == {"200"}
        assert each["others"]["closed"] == attacks.DRIPPERS
        assert each["others"]["longest_s"] <= attacks.HEADER_TIMEOUT_S + 1.0
    assert felt.beside_p99_ms <= felt.bound_ms


@pytest.mark.parametrize("addresses", [1, attacks.CROWD])
def test_texts_that_take_long_to_read_leave_honest_callers_alone(addresses: int) -> None:
    felt = attacks.texts(addresses=addresses, rounds=5)
    for each in felt.rounds:
        assert set(each["beside"]["statuses"]) == {"200"}
        assert each["beside"]["unanswered"] == 0
        assert set(each["others"]["statuses"]) <= {"400", "401", "404", "415", "431"}
        assert each["others"]["sent_per_s"] >= 0.95 * attacks.TEXT_RATE
    assert felt.beside_p99_ms <= felt.bound_ms


@pytest.mark.parametrize(("wrong", "status"), [(False, "200"), (True, "401")], ids=["right", "wrong"])
def test_scrypt_logins_leave_honest_callers_alone(wrong: bool, status: str) -> None:
    felt = logins.scrypt_logins(wrong=wrong, rounds=5)
    for each in felt.rounds:
        assert set(each["beside"]["statuses"]) == {"200"}
        assert set(each["others"]["statuses"]) <= {status, "503"}
        assert each["others"]["statuses"][status] >= 5 * logins.SECONDS
        assert each["others"]["offered_per_s"] >= 0.99 * logins.RATE
    assert felt.beside_p99_ms <= felt.bound_ms


@pytest.mark.parametrize("bits", [2048, 3072])
def test_signing_with_rsa_leaves_honest_callers_alone(bits: int) -> None:
    felt = logins.rsa_signing(bits=bits, rounds=5)
    for each in felt.rounds:
        assert set(each["beside"]["statuses"]) == {"200"}
        assert set(each["others"]["statuses"]) == {"200"}
        assert each["others"]["offered_per_s"] >= 0.99 * logins.RATE
    assert felt.beside_p99_ms <= felt.bound_ms


def test_ten_times_the_rate_limit_passes_the_burst_and_then_the_limit() -> None:
    found = attacks.rate_limit()
    steady = attacks.LIMIT_RATE * attacks.LIMIT_SECONDS
    assert found["passed"] - attacks.LIMIT_BURST == pytest.approx(steady, rel=0.05)
    assert found["others"] == 0
    assert found["refused"] > 8 * steady


def test_ten_thousand_idle_connections_hold_little_memory() -> None:
    assert attacks.idle_connections(10_000) < 8 * 1024
