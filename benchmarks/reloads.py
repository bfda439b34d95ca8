"""Measure how long callers wait at most while the configuration is reloaded again and again.

`python -m benchmarks.reloads` offers 2 000 requests per second, a tenth of them on new
connections, in runs by turns without and with 20 reloads by SIGHUP, each of a configuration with one
changed text. No request may fail, and the longest wait with reloads may be max(25 ms, twice the
longest of the run without, which is the machine's doing).

The gate has one core; callers, upstream and this program share the other. It does not shed load: what
fails fails for the reload, not for a machine that does other things.
"""

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.felt import AUDIENCE, ISSUER, Gate, gate, result
from benchmarks.tokens import make_key

RATE = 2000
RELOADS = 20
EVERY_S = 0.5
LEAST_BOUND_MS = 25.0
PATIENCE_S = 30.0

CONFIGURATION = """\
version: 1
listeners: [{{address: "127.0.0.1:{port}"}}]
admin: {{address: "127.0.0.1:{admin_port}"}}
issuer: {{url: "{issuer}"}}
state: "memory:"
logs: {{access: access.log}}
limits: {{loop_lag: 0}}
upstreams: {{country: {{targets: ["http://127.0.0.1:{upstream_port}"]}}}}
clients:
  {audience}: {{scopes: {{read: Read}}}}
  caller: {{description: "text 0", secrets: ["plain:caller"]}}
authorizations: [{{client: caller, audience: {audience}, scopes: [read]}}]
routes:
  - {{path: /read, upstream: country, require: {{audience: {audience}, scopes: [read]}}}}
"""
ROUTE = "  - {{path: /more/{number}, upstream: country, require: {{audience: {audience}, scopes: [read]}}}}\n"


@dataclass(frozen=True, slots=True)
class Pair:
    """What callers saw in a run without reloads, and in an equal one with them."""

    without: dict[str, Any]
    beside: dict[str, Any]

    @property
    def bound_ms(self) -> float:
        """Return how long a caller may wait at most beside reloads."""
        return max(LEAST_BOUND_MS, 2 * float(self.without["longest_ms"]))

    @property
    def holds(self) -> bool:
        """Return whether no request failed and nobody waited too long."""
        nobody_failed = not self.without["failures"] and not self.beside["failures"]
        return nobody_failed and float(self.beside["longest_ms"]) <= self.bound_ms

    @property
    def line(self) -> str:
        """Return the pair, to print."""
        runs = [
            f"{run['requests']} requests at {run['per_second']}/s, {len(run['failures'])} failed, p99 "
            f"{run['p99_ms']:.2f}, longest {run['longest_ms']:.1f} ms"
            for run in (self.without, self.beside)
        ]
        verdict = "holds" if self.holds else "FAILS"
        line = f"without: {runs[0]}; with {RELOADS} reloads: {runs[1]} (bound {self.bound_ms:.1f}): {verdict}"
        failures = [*self.without["failures"], *self.beside["failures"]]
        return "\n  ".join([line, *(str(failure).partition("\r\n")[0] for failure in failures)])


def reloads(*, rounds: int, routes: int, rate: int = RATE) -> list[Pair]:
    """Return what callers saw in so many rounds, beside a configuration of so many routes."""

    def configure(port: int, admin_port: int, upstream_port: int) -> str:
        text = CONFIGURATION.format(
            port=port,
            admin_port=admin_port,
            upstream_port=upstream_port,
            issuer=ISSUER,
            audience=AUDIENCE,
        )
        return text + "".join(ROUTE.format(number=number, audience=AUDIENCE) for number in range(routes))

    with gate(make_key("ES256"), configure) as target:
        call(target, rate, 2.0)  # warm
        return [Pair(call(target, rate, lasts_s()), beside_reloads(target, rate)) for _ in range(rounds)]


def lasts_s() -> float:
    """Return for how long callers call: reloads, and a moment before and after."""
    return (RELOADS + 2) * EVERY_S


def call(target: Gate, rate: int, seconds: float) -> dict[str, Any]:
    """Return what callers saw."""
    return result(_start_calling(target, rate, seconds))


def beside_reloads(target: Gate, rate: int) -> dict[str, Any]:
    """Return what callers saw while the gate was reloaded."""
    callers = _start_calling(target, rate, lasts_s())
    begun = time.monotonic()
    for turn in range(RELOADS):
        time.sleep(max(0.0, begun + (turn + 1) * EVERY_S - time.monotonic()))
        _reload(target, f"text {time.time_ns()}")
    if callers.poll() is not None:
        raise RuntimeError("the reloads outlasted the callers: fewer routes, or a quicker machine")
    return result(callers)


def _start_calling(target: Gate, rate: int, seconds: float) -> subprocess.Popen[bytes]:
    words = [target.port, "/read", target.token, rate, seconds]
    return subprocess.Popen(
        ["taskset", "--cpu-list", "1", sys.executable, "-m", "benchmarks.steady", *map(str, words)],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
    )


def _reload(target: Gate, text: str) -> None:
    """Change one text, send SIGHUP, and return when the gate says that it was reloaded."""
    path = target.directory / "gateway.yaml"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    index = next(number for number, line in enumerate(lines) if "  caller: {description" in line)
    lines[index] = f'  caller: {{description: "{text}", secrets: ["plain:caller"]}}\n'
    beside = path.with_suffix(".new")
    beside.write_text("".join(lines), encoding="utf-8")
    beside.rename(path)
    former = _status(target)["configuration"]["hash"]
    os.kill(target.pid, signal.SIGHUP)
    deadline = time.monotonic() + PATIENCE_S
    while _status(target)["configuration"]["hash"] == former:
        if time.monotonic() > deadline:
            raise RuntimeError("the gate did not reload")
        time.sleep(0.02)


def _status(target: Gate) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", target.admin_port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/api/v1/status")
        found: dict[str, Any] = json.loads(connection.getresponse().read())
        return found
    finally:
        connection.close()


def main() -> None:
    """Measure and print; exit with 1 when a round does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--routes", type=int, default=100)
    chosen = parser.parse_args()
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {chosen.routes} routes")
    pairs = reloads(rounds=chosen.rounds, routes=chosen.routes)
    print(*(pair.line for pair in pairs), sep="\n")
    sys.exit(0 if all(pair.holds for pair in pairs) else 1)


if __name__ == "__main__":
    main()
