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


def stopping(make, wait_until, delay):
    """Return a process that was told to stop and still accepts."""
    appliance = make(more=f"shutdown_delay: {delay}\n").start()
    appliance.signal(signal.SIGTERM)
    wait_until(lambda: draining(appliance), "/readyz to turn 503")
    return appliance


def test_it_accepts_for_the_shutdown_delay_and_lets_callers_go(make, wait_until):
    appliance = make(more="shutdown_delay: 3s\n").start()
    token = appliance.token()
    with socket.create_connection(("127.0.0.1", appliance.port)) as kept:
        kept.sendall(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"Connection: close" not in kept.recv(65536)
        appliance.signal(signal.SIGTERM)
        begun = time.monotonic()
        wait_until(lambda: draining(appliance), "/readyz to turn 503")
        fresh = appliance.get(bearer=token)
        assert (fresh.status, fresh.headers["Connection"]) == (200, "close")
        issued = appliance.ask_token()
        assert (issued.status, issued.headers["Connection"]) == (200, "close")
        assert time.monotonic() - begun < 3, "too slow a machine to tell"
        # The kept connection was not cut: its next request is answered, as the last one.
        kept.sendall(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"Connection: close" in kept.recv(65536)
    assert appliance.admin("GET", "/healthz").status == 200
    assert appliance.wait() == 0
    assert time.monotonic() - begun >= 3


def test_a_second_signal_ends_the_shutdown_delay_at_once(make, wait_until):
    appliance = stopping(make, wait_until, "1h")
    begun = time.monotonic()
    appliance.signal(signal.SIGTERM)
    assert appliance.wait() in (0, 1)
    assert time.monotonic() - begun < 5


def test_a_reload_during_the_shutdown_delay_changes_nothing_of_it(make, wait_until):
    appliance = stopping(make, wait_until, "2s")
    assert appliance.reload().status == 200
    assert draining(appliance)
    assert appliance.get("/nothing").headers["Connection"] == "close"
    assert appliance.wait() == 0


def test_a_caller_that_connects_last_is_answered(make, upstream, wait_until):
    appliance = make(more="shutdown_delay: 1s\n").start()
    with socket.create_connection(("127.0.0.1", appliance.port)) as late:
        appliance.signal(signal.SIGTERM)
        wait_until(lambda: "draining" in appliance.err, "the listeners to close")
        late.sendall(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n")
        assert late.recv(65536).startswith(b"HTTP/1.1 404")
    assert appliance.wait() == 0
