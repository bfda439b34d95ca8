"""Show how a process ends: finished requests, exit codes, and what a second signal does."""

import http.client
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest


def in_flight(appliance, upstream, pool, token, target="/ms-system/slow"):
    """Begin a request that the upstream holds; return its future when the upstream has it."""
    future = pool.submit(appliance.get, target, bearer=token)
    deadline = time.monotonic() + 10
    while target not in upstream.targets:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return future


def draining(appliance):
    return appliance.admin("GET", "/readyz").status == 503


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_slow_request_finishes_after_the_first_signal(appliance, upstream, wait_until, number):
    token = appliance.token()
    with ThreadPoolExecutor() as pool:
        slow = in_flight(appliance, upstream, pool, token)
        appliance.signal(number)
        wait_until(lambda: draining(appliance), "/readyz to turn 503")
        with pytest.raises(ConnectionError):
            appliance.get(bearer=token)
        assert appliance.admin("GET", "/healthz").status == 200
        assert appliance.process.poll() is None
        upstream.release.set()
        answer = slow.result()
    assert (answer.status, answer.json["name"]) == (200, "AUSTRALIA")
    assert answer.headers["Connection"] == "close"
    assert appliance.wait() == 0
    assert appliance.logged[-1]["message"] == "stopped"


def test_a_second_signal_ends_the_drain_at_once(appliance, upstream, wait_until):
    token = appliance.token()
    with ThreadPoolExecutor() as pool:
        slow = in_flight(appliance, upstream, pool, token)
        appliance.signal(signal.SIGTERM)
        wait_until(lambda: draining(appliance), "/readyz to turn 503")
        begun = time.monotonic()
        appliance.signal(signal.SIGTERM)
        assert appliance.wait() == 1
        assert time.monotonic() - begun < 2
        with pytest.raises((OSError, http.client.HTTPException)):
            slow.result()


def test_the_drain_has_a_deadline(make, upstream):
    appliance = make(more="drain_timeout: 200ms\n").start()
    token = appliance.token()
    with ThreadPoolExecutor() as pool:
        slow = in_flight(appliance, upstream, pool, token)
        assert appliance.stop() == 0
        with pytest.raises((OSError, http.client.HTTPException)):
            slow.result()
    assert "cut" in appliance.logged[-1]["message"]


def test_idle_kept_connections_do_not_hold_the_drain(appliance):
    with socket.create_connection(("127.0.0.1", appliance.port)) as kept:
        kept.sendall(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n")
        assert kept.recv(65536).startswith(b"HTTP/1.1 404")
        begun = time.monotonic()
        assert appliance.stop() == 0
        assert time.monotonic() - begun < 5
