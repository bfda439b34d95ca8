"""Replace instances behind HAProxy, and take Redis away, under callers that never pause."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.journeys.conftest import (
    Appliance,
    Replicas,
    Upstream,
    call,
    make,
    redis,
    replicas,
    wait_for,
)
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.system.callers import SteadyCallers, quick_service

__all__ = ["make", "redis", "replicas"]  # fixtures

PER_SECOND = 500
OUTAGE_S = 60
SHUTDOWN_DELAY_S = 4
ROOT = Path(__file__).parents[2]

FRAME = """\
global
    maxconn 8000
    stats socket {directory}/haproxy.sock
defaults
    mode http
    timeout connect 2s
    timeout client 15s
    timeout server 15s
    # What is lost is to be seen: nothing is tried a second time.
    retries 0
    log stdout format raw local0
    option httplog
    option dontlog-normal
frontend callers
    bind 127.0.0.1:{port}
    default_backend sidegate
"""


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with quick_service() as port:
        yield Upstream(port)


def start_both(replicas: Replicas, redis: RedisServer, more: str = "") -> tuple[Appliance, Appliance]:
    """Return two processes that trust the balancer, as one tells them in front of which they stand."""
    return replicas(redis.url, then=f"trusted_proxies: [127.0.0.1/32]\n{more}")


def documented_backend(one: Appliance, two: Appliance) -> str:
    """Return the backend that docs/operations.md tells to write, with our ports."""
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    found = re.search(r"^```\n(backend sidegate\n.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert found
    lines = found[1].replace(" port 9090", "")
    for name, replica in (("one 10.0.0.11:8080", one), ("two 10.0.0.12:8080", two)):
        assert name in lines
        server = f"{name.split()[0]} 127.0.0.1:{replica.port} check port {replica.admin_port}"
        lines = lines.replace(name, server)
    return lines


@pytest.fixture
def balancer(tmp_path: Path) -> Iterator[Callable[[Appliance, Appliance], int]]:
    """Return a function that starts HAProxy before two processes and returns its port."""
    started: list[subprocess.Popen[bytes]] = []

    def start(one: Appliance, two: Appliance) -> int:
        port = free_port()
        path = tmp_path / "haproxy.cfg"
        path.write_text(FRAME.format(directory=tmp_path, port=port) + documented_backend(one, two))
        command = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/sbin:/bin")
        assert command, "haproxy is not installed (make test-system installs it)"
        with (tmp_path / "haproxy.log").open("ab") as log:
            started.append(
                subprocess.Popen(
                    [command, "-db", "-f", str(path)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            )

        def serves() -> bool:
            assert started[0].poll() is None, (tmp_path / "haproxy.log").read_text()
            try:
                return call(port, "GET", "/nothing").status == 404
            except OSError:
                return False

        wait_for(serves, "HAProxy")
        return port

    yield start
    for process in started:
        process.terminate()
        process.wait(10)


def request(token: str) -> bytes:
    lines = ["GET /ms-system/country/code/AUS HTTP/1.1", "Host: a", f"Authorization: Bearer {token}"]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode()


def test_two_instances_are_replaced_behind_haproxy_and_no_request_fails(
    replicas: Replicas,
    redis: RedisServer,
    balancer: Callable[[Appliance, Appliance], int],
) -> None:
    one, two = start_both(replicas, redis, f"shutdown_delay: {SHUTDOWN_DELAY_S}s\n")
    port = balancer(one, two)
    token = one.token()
    with SteadyCallers(port, request(token), PER_SECOND) as callers:
        wait_for(lambda: callers.total > PER_SECOND, "the first second's calls")
        for replica in (one, two):
            begun = time.monotonic()
            assert replica.stop() == 0
            assert time.monotonic() - begun >= SHUTDOWN_DELAY_S
            counted = callers.total
            wait_for(lambda counted=counted: callers.total > counted + PER_SECOND, "the other one alone")
            replica.start()
            # By its size: reading the log again and again would take the callers' time.
            log = replica.directory / "out"
            size = log.stat().st_size
            wait_for(lambda log=log, size=size: log.stat().st_size > size + 50_000, "calls of it again")
    assert dict(callers.outcomes) == {"HTTP/1.1 200 OK": callers.total}, callers.longest_s
    assert callers.total > 10 * PER_SECOND


def test_a_redis_that_is_away_for_a_minute_costs_the_gate_no_request(
    replicas: Replicas,
    redis: RedisServer,
    balancer: Callable[[Appliance, Appliance], int],
) -> None:
    one, two = start_both(replicas, redis)
    port = balancer(one, two)
    token = one.token()
    with SteadyCallers(port, request(token), PER_SECOND // 5) as callers:
        wait_for(lambda: callers.total > PER_SECOND // 5, "the first calls")
        redis.stop()
        until = time.monotonic() + OUTAGE_S
        degraded = 0
        while time.monotonic() < until:
            for replica in (one, two):
                answer = replica.admin("GET", "/readyz")
                assert answer.status == 200
                degraded += [entry["name"] for entry in answer.json["degraded"]] == ["state"]
            time.sleep(0.5)
        assert degraded > OUTAGE_S
        redis.start()
        for replica in (one, two):
            wait_for(
                lambda replica=replica: replica.admin("GET", "/readyz").json["status"] == "ready", "recovery"
            )
    assert dict(callers.outcomes) == {"HTTP/1.1 200 OK": callers.total}
    assert callers.total > OUTAGE_S * PER_SECOND // 10
