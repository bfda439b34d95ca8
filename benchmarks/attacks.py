"""Measure what honest callers feel while others misbehave, and hold that to the promised bounds.

`python -m benchmarks.attacks` measures, each in a fresh process with shipped limits:

    forged     5 000 distinct forged ES256 tokens per second from one address
    slowloris  2 000 connections that drip a byte of their head per 100 ms
    rate       ten times a route's rate limit, offered for ten seconds
    idle       10 000 idle keep-alive connections: resident memory for each

The gate has one core; upstream, honest callers and attackers share the other, the
attackers at a lower priority, so that they do not delay what measures. The honest callers'
p99 is the median of the rounds; it may be max(3 x idle, 5 ms). `tests/` runs the same
under `make soak`.
"""

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import cpu_s, free_ports, resident_bytes, running
from benchmarks.tokens import SigningKey, make_key, mint

ISSUER = "http://127.0.0.1:8080"
AUDIENCE = "country-service"
ATTACKER = "127.0.0.2"
HONEST_RATE = 200
FORGED_RATE = 5000
DRIPPERS = 2000
HEADER_TIMEOUT_S = 10.0
LIMIT_RATE = 200
LIMIT_BURST = 400
LIMIT_SECONDS = 10.0
LEAST_BOUND_MS = 5.0

CONFIGURATION = """\
version: 1
listeners: [{{address: "127.0.0.1:{port}"}}]
admin: {{address: "127.0.0.1:{admin_port}"}}
issuer: {{url: "{issuer}"}}
state: "memory:"
logs: {{access: access.log}}
limits: {{connections: 20000}}
upstreams: {{country: {{targets: ["http://127.0.0.1:{upstream_port}"]}}}}
clients:
  {audience}: {{scopes: {{read: Read}}}}
  caller: {{secrets: ["plain:caller"]}}
authorizations: [{{client: caller, audience: {audience}, scopes: [read]}}]
routes:
  - {{path: /read, upstream: country, require: {{audience: {audience}, scopes: [read]}}}}
  - path: /limited
    upstream: country
    access: public
    rate_limit: {{requests: {limit_rate}, per: 1s, burst: {limit_burst}, by: peer}}
"""


@dataclass(frozen=True, slots=True)
class Gate:
    """A running gate and a token it takes."""

    port: int
    pid: int
    token: str


@dataclass(frozen=True, slots=True)
class Felt:
    """What honest callers felt, in milliseconds: the median of the rounds."""

    idle_p99_ms: float
    attacked_p99_ms: float
    rounds: tuple[dict[str, Any], ...]

    @property
    def bound_ms(self) -> float:
        """Return what the p99 under attack may be."""
        return max(3 * self.idle_p99_ms, LEAST_BOUND_MS)


@contextmanager
def gate() -> Iterator[Gate]:
    """Run a gate on core 0 and its upstream on core 1."""
    port, admin_port, upstream_port = free_ports(3)
    with tempfile.TemporaryDirectory(prefix="sidegate-attacks-") as name:
        directory = Path(name)
        key = make_key("ES256")
        _write(directory, key, port, admin_port, upstream_port)
        token = next(mint(key, issuer=ISSUER, audience=AUDIENCE, clients=["caller"], scope="read", count=1))
        serve = [sys.executable, "-m", "benchmarks.callers", "serve", str(upstream_port)]
        run = [sys.executable, "-c", "from gateway.cli import main; main()", "run", "-c", "gateway.yaml"]
        root = Path(__file__).parents[1]
        with (
            running(serve, core=1, directory=root, log=directory / "upstream.log", port=upstream_port),
            running(run, core=0, directory=directory, log=directory / "gate.log", port=port) as pid,
        ):
            yield Gate(port, pid, token)


def _write(directory: Path, key: SigningKey, port: int, admin_port: int, upstream_port: int) -> None:
    keys = directory / "keys"
    keys.mkdir(mode=0o700)
    private_key = keys / "attacks.pem"
    private_key.touch(mode=0o600)
    private_key.write_bytes(key.private_pem())
    (directory / "gateway.yaml").write_text(
        CONFIGURATION.format(
            port=port,
            admin_port=admin_port,
            upstream_port=upstream_port,
            issuer=ISSUER,
            audience=AUDIENCE,
            limit_rate=LIMIT_RATE,
            limit_burst=LIMIT_BURST,
        ),
        encoding="utf-8",
    )


def _start(*role: object, nice: int = 0) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["taskset", "--cpu-list", "1", "nice", "-n", str(nice), sys.executable, "-m", "benchmarks.callers"]
        + [str(word) for word in role],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
    )


def _result(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, process.args
    found: dict[str, Any] = json.loads(output)
    return found


def _honest(target: Gate, seconds: float) -> dict[str, Any]:
    return _result(_start("honest", target.port, seconds, HONEST_RATE, "/read", target.token))


def _felt(rounds: list[dict[str, Any]]) -> Felt:
    idle = statistics.median(each["idle"]["p99_ms"] for each in rounds)
    attacked = statistics.median(each["attacked"]["p99_ms"] for each in rounds)
    return Felt(idle, attacked, tuple(rounds))


def forged_tokens(*, rounds: int = 5, seconds: float = 8.0) -> Felt:
    """Return what honest callers felt while one address sends forged tokens."""
    found = []
    with gate() as target:
        for _ in range(rounds):
            idle = _honest(target, seconds)
            role = (
                "offer",
                target.port,
                seconds + 4,
                FORGED_RATE,
                "/read",
                f"forge:{target.token}",
                ATTACKER,
            )
            attack = _start(*role, nice=10)
            time.sleep(2)
            spent_s, since = cpu_s(target.pid), time.monotonic()
            attacked = _honest(target, seconds)
            attacked["gate_cpu"] = (cpu_s(target.pid) - spent_s) / (time.monotonic() - since)
            found.append({"idle": idle, "attacked": attacked, "attack": _result(attack)})
    return _felt(found)


def slowloris(*, rounds: int = 5, connections: int = DRIPPERS) -> Felt:
    """Return what honest callers felt beside dripping connections, which must be closed in time."""
    found = []
    _raise_file_limit()
    with gate() as target:
        for _ in range(rounds):
            idle = _honest(target, 6)
            role = ("drip", target.port, HEADER_TIMEOUT_S + 3, connections, ATTACKER)
            attack = _start(*role, nice=10)
            time.sleep(2)
            spent_s, since = cpu_s(target.pid), time.monotonic()
            attacked = _honest(target, 6)
            attacked["gate_cpu"] = (cpu_s(target.pid) - spent_s) / (time.monotonic() - since)
            found.append({"idle": idle, "attacked": attacked, "attack": _result(attack)})
    return _felt(found)


def rate_limit() -> dict[str, int]:
    """Return how many of ten times the limit passed and how many were refused."""
    with gate() as target:
        role = ("offer", target.port, LIMIT_SECONDS, LIMIT_RATE * 10, "/limited", "", "127.0.0.1")
        statuses = _result(_start(*role))["statuses"]
    return {"passed": statuses["200"], "refused": statuses["429"], "others": len(statuses) - 2}


def idle_connections(count: int = 10_000) -> float:
    """Return the resident bytes that one idle keep-alive connection costs, after one request on each."""
    _raise_file_limit()
    request = b"GET /limited HTTP/1.1\r\nHost: a\r\n\r\n"
    with gate() as target:
        warm = [_ask(target.port, request) for _ in range(200)]
        time.sleep(1)
        before = resident_bytes(target.pid)
        connections = [_ask(target.port, request) for _ in range(count)]
        time.sleep(1)
        after = resident_bytes(target.pid)
        for connection in (*warm, *connections):
            connection.close()
    return (after - before) / count


def _ask(port: int, request: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(request)
    assert connection.recv(4096)
    return connection


def _raise_file_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    """Measure what the command line asks for and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", default=["forged", "slowloris", "rate", "idle"])
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    for what, measure in (("forged", forged_tokens), ("slowloris", slowloris)):
        if what in chosen.what:
            felt = measure(rounds=chosen.rounds)
            print(
                f"{what}: honest p99 {felt.idle_p99_ms:.2f} ms idle, {felt.attacked_p99_ms:.2f} ms attacked "
                f"(bound {felt.bound_ms:.2f} ms)"
            )
            for each in felt.rounds:
                p99s = f"{each['idle']['p99_ms']:.2f} -> {each['attacked']['p99_ms']:.2f} ms"
                core = f"{each['attacked']['gate_cpu']:.0%} of its core"
                print(f"  {p99s}, {core}, attack {json.dumps(each['attack'])}")
    if "rate" in chosen.what:
        found = rate_limit()
        expected = LIMIT_BURST + LIMIT_RATE * LIMIT_SECONDS
        print(f"rate: {found['passed']} passed (burst + rate: {expected:.0f}), {found['refused']} refused")
    if "idle" in chosen.what:
        print(f"idle: {idle_connections() / 1024:.2f} KiB resident per connection")


if __name__ == "__main__":
    main()
