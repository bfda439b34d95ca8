"""Measure what honest callers of the gate feel while others ask for something else.

The gate runs in a fresh process with shipped limits and has one core; upstream, honest
callers and the others share the other, the others at a lower priority, so that they do
not delay what measures. In every round the honest callers are measured alone and then
beside the others. Their p99 is the median of the rounds; it may be max(3 x idle, 5 ms).
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import cpu_s, free_ports, running
from benchmarks.tokens import SigningKey, mint

ISSUER = "http://127.0.0.1:8080"
AUDIENCE = "country-service"
HONEST_RATE = 200
LEAST_BOUND_MS = 5.0
LEAD_S = 2.0
"""How long the others are at it before the honest callers are measured, and after."""


@dataclass(frozen=True, slots=True)
class Gate:
    """A running gate and a token it takes."""

    port: int
    admin_port: int
    pid: int
    token: str
    directory: Path
    """Where its `gateway.yaml` lies."""


@dataclass(frozen=True, slots=True)
class Felt:
    """What honest callers felt, in milliseconds: the median of the rounds."""

    idle_p99_ms: float
    beside_p99_ms: float
    rounds: tuple[dict[str, Any], ...]
    """Each with `idle` and `beside`, what honest callers say, and `others`."""

    @property
    def bound_ms(self) -> float:
        """Return what the p99 beside others may be."""
        return max(3 * self.idle_p99_ms, LEAST_BOUND_MS)

    def lines(self, what: str) -> Iterator[str]:
        """Yield the result and then each round, to print."""
        yield (
            f"{what}: honest p99 {self.idle_p99_ms:.2f} ms idle, {self.beside_p99_ms:.2f} ms beside "
            f"(bound {self.bound_ms:.2f} ms)"
        )
        for each in self.rounds:
            p99s = f"{each['idle']['p99_ms']:.2f} -> {each['beside']['p99_ms']:.2f} ms"
            yield f"  {p99s}, {each['gate_cpu']:.0%} of its core, others {json.dumps(each['others'])}"


@contextmanager
def gate(key: SigningKey, configure: Callable[[int, int, int], str]) -> Iterator[Gate]:
    """Run a gate on core 0 and its upstream on core 1.

    Args:
        key: The only key in its `keys` directory.
        configure: Returns the configuration for a port, the admin's and the upstream's. Its
            issuer is `ISSUER`; `caller` may `read` at `AUDIENCE`.
    """
    port, admin_port, upstream_port = free_ports(3)
    with tempfile.TemporaryDirectory(prefix="sidegate-felt-") as name:
        directory = Path(name)
        keys = directory / "keys"
        keys.mkdir(mode=0o700)
        private_key = keys / "felt.pem"
        private_key.touch(mode=0o600)
        private_key.write_bytes(key.private_pem())
        text = configure(port, admin_port, upstream_port)
        (directory / "gateway.yaml").write_text(text, encoding="utf-8")
        token = next(mint(key, issuer=ISSUER, audience=AUDIENCE, clients=["caller"], scope="read", count=1))
        serve = [sys.executable, "-m", "benchmarks.callers", "serve", str(upstream_port)]
        run = [sys.executable, "-c", "from gateway.cli import main; main()", "run", "-c", "gateway.yaml"]
        root = Path(__file__).parents[1]
        with (
            running(serve, core=1, directory=root, log=directory / "upstream.log", port=upstream_port),
            running(run, core=0, directory=directory, log=directory / "gate.log", port=port) as pid,
        ):
            yield Gate(port, admin_port, pid, token, directory)


def start(*role: object, nice: int = 0) -> subprocess.Popen[bytes]:
    """Start one role of `benchmarks.callers` on core 1."""
    return subprocess.Popen(
        ["taskset", "--cpu-list", "1", "nice", "-n", str(nice), sys.executable, "-m", "benchmarks.callers"]
        + [str(word) for word in role],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
    )


def result(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Return what a role printed when it was done."""
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, process.args
    found: dict[str, Any] = json.loads(output)
    return found


def measure(target: Gate, others: tuple[object, ...], *, rounds: int, seconds: float) -> Felt:
    """Return what honest callers felt beside `others`: a role that lasts `LEAD_S` longer at both ends."""
    found: list[dict[str, Any]] = []
    for _ in range(rounds):
        idle = _honest(target, seconds)
        busy = start(*others, nice=10)
        time.sleep(LEAD_S)
        spent_s, since = cpu_s(target.pid), time.monotonic()
        beside = _honest(target, seconds)
        gate_cpu = (cpu_s(target.pid) - spent_s) / (time.monotonic() - since)
        found.append({"idle": idle, "beside": beside, "gate_cpu": gate_cpu, "others": result(busy)})
    return Felt(
        statistics.median(each["idle"]["p99_ms"] for each in found),
        statistics.median(each["beside"]["p99_ms"] for each in found),
        tuple(found),
    )


def _honest(target: Gate, seconds: float) -> dict[str, Any]:
    return result(start("honest", target.port, seconds, HONEST_RATE, "/read", target.token))
