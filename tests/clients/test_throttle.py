"""Slow down who guesses, let in who knows, and stay small."""

from gateway.clients.throttle import CLIENTS_PER_PEER, Counted, FailureThrottle, counts
from gateway.settings.model import Rate

RATE = Rate(3, 60.0)


def fail(throttle: FailureThrottle, peer: str, client_id: str, times: int, now: float = 0.0) -> None:
    for _ in range(times):
        throttle.count(peer, client_id, RATE, now)


def test_a_peer_waits_until_its_window_ends() -> None:
    throttle = FailureThrottle()
    fail(throttle, "10.0.0.1", "reader", 2, now=10)
    assert throttle.wait_s("10.0.0.1", "reader", RATE, 20) == 0
    fail(throttle, "10.0.0.1", "reader", 1, now=30)
    assert throttle.wait_s("10.0.0.1", "reader", RATE, 30) == 40
    assert throttle.wait_s("10.0.0.1", "reader", RATE, 70) == 0
    fail(throttle, "10.0.0.1", "reader", 1, now=71)
    assert throttle.wait_s("10.0.0.1", "reader", RATE, 71) == 0


def test_nobody_else_waits() -> None:
    throttle = FailureThrottle()
    fail(throttle, "10.0.0.1", "reader", 3)
    assert throttle.wait_s("10.0.0.1", "reader", RATE, 0) == 60
    assert throttle.wait_s("10.0.0.2", "reader", RATE, 0) == 0
    assert throttle.wait_s("10.0.0.1", "writer", RATE, 0) == 0


def test_a_peer_that_tries_many_clients_waits_for_all() -> None:
    throttle = FailureThrottle()
    for number in range(RATE.requests * CLIENTS_PER_PEER):
        assert throttle.wait_s("10.0.0.1", "reader", RATE, 0) == 0
        fail(throttle, "10.0.0.1", f"client {number}", 1)
    assert throttle.wait_s("10.0.0.1", "reader", RATE, 0) == 60
    assert throttle.wait_s("10.0.0.1", "another", RATE, 0) == 60
    assert throttle.wait_s("10.0.0.2", "reader", RATE, 0) == 0


def test_a_rate_of_nothing_is_no_limit() -> None:
    throttle = FailureThrottle()
    for _ in range(1000):
        throttle.count("10.0.0.1", "reader", Rate(0, 60.0), 0)
    assert (len(throttle), throttle.wait_s("10.0.0.1", "reader", Rate(0, 60.0), 0)) == (0, 0)


def test_another_rate_counts_at_once() -> None:
    throttle = FailureThrottle()
    fail(throttle, "10.0.0.1", "reader", 2)
    assert throttle.wait_s("10.0.0.1", "reader", Rate(2, 60.0), 0) == 60


def test_what_other_processes_counted_is_learned() -> None:
    throttle = FailureThrottle()
    pair, peer = throttle.count("10.0.0.1", "reader", RATE, 0)
    assert (pair.limit, peer.limit) == (3, 30)
    throttle.learn(pair, 3, 25, 0)
    assert throttle.wait_s("10.0.0.1", "reader", RATE, 0) == 25
    throttle.learn(pair, 1, 50, 0)
    assert throttle.wait_s("10.0.0.1", "reader", RATE, 0) == 25
    throttle.learn(Counted("10.0.0.9", 30, 60), 30, 10, 0)
    assert throttle.wait_s("10.0.0.9", "reader", RATE, 5) == 5


def test_the_table_is_bounded_and_forgets_what_is_over() -> None:
    throttle = FailureThrottle(entries=10)
    for number in range(100):
        fail(throttle, f"10.0.0.{number}", "reader", 1)
        assert len(throttle) <= 10
    fail(throttle, "10.0.1.1", "reader", 1, now=60)
    assert len(throttle) == 2


def test_a_long_client_id_takes_no_more_room() -> None:
    (pair, _) = counts("10.0.0.1", "x" * 60_000, RATE)
    assert len(pair.key) < 600


def test_a_peer_closed_for_all_is_told_from_one_closed_for_a_client() -> None:
    throttle = FailureThrottle()
    for number in range(RATE.requests * CLIENTS_PER_PEER):
        fail(throttle, "10.0.0.1", f"client {number}", 1)
    assert throttle.waits_s("10.0.0.1", "reader", RATE, 20) == (0, 40)
    fail(throttle, "10.0.0.1", "reader", RATE.requests, now=10)
    assert throttle.waits_s("10.0.0.1", "reader", RATE, 20) == (50, 40)
    assert throttle.waits_s("10.0.0.2", "reader", RATE, 20) == (0, 0)


def test_proofs_of_one_kind_close_no_others():
    throttle = FailureThrottle()
    for _ in range(3):
        throttle.count("10.0.0.1", "reader", RATE, 10, kind="assertion")
    assert throttle.waits_s("10.0.0.1", "reader", RATE, 20) == (50, 0)
    assert throttle.kind_wait_s("10.0.0.1", "reader", "assertion", RATE, 20) == 50
    assert throttle.kind_wait_s("10.0.0.1", "reader", "secret", RATE, 20) == 0
    assert throttle.kind_wait_s("10.0.0.2", "reader", "assertion", RATE, 20) == 0
    assert throttle.kind_wait_s("10.0.0.1", "writer", "assertion", RATE, 20) == 0
    for invented in ("reader\nsecret", "secret\nreader", "\nreader"):
        for _ in range(3):
            throttle.count("10.0.0.1", invented, RATE, 10)
    assert throttle.kind_wait_s("10.0.0.1", "reader", "secret", RATE, 20) == 0
