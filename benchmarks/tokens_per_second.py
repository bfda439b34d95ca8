"""Measure, side by side in one run, how many tokens a second the token endpoint issues.

Contenders: `sidegate run` with shipped settings (SQLite state, JSON access log, gate and
issuer on one port) and node `oidc-provider` as its documentation sets it up for
client_credentials with JWT access tokens. Both sign ES256, both check one client's
secret by HTTP Basic, both have core 0 in turns; wrk has core 1 and 32 kept connections.
Rounds are interleaved, every answer must be 200, and each contender's first and last
token is looked at.

The peer comes from npm (`peers/oidc-provider`, exact version): this script installs it
there with `npm install` when it is missing. Run it with `make bench-tokens`.
"""

import argparse
import base64
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from benchmarks.processes import cpu_s, free_ports, resident_bytes, running

PEERS = Path(__file__).parent / "peers"
PEER = PEERS / "oidc-provider"
CONNECTIONS = 32
CONTENDER_CORE = 0
CLIENT_CORE = 1
GOAL = 1.5
SECRET = "7b3f1d9e5a2c4860b1d7e93f5a0c2e48d6b9f1a3c5e7082946bd1f3a5c7e9024"  # of this benchmark alone
BASIC = base64.b64encode(f"caller:{SECRET}".encode()).decode("ascii")
FORM = urlencode({"grant_type": "client_credentials", "scope": "country.read"})

SIDEGATE = """\
version: 1
listeners: [{{address: "127.0.0.1:{port}"}}]
admin: {{address: "127.0.0.1:{admin_port}"}}
issuer: {{url: "http://127.0.0.1:{port}"}}
clients:
  country-service: {{scopes: {{country.read: Read}}}}
  caller: {{secrets: ["env:BENCHMARK_SECRET"]}}
authorizations:
  - {{client: caller, audience: country-service, scopes: [country.read]}}
"""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round showed."""

    tokens_per_s: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


@dataclass(slots=True)
class Contender:
    """One token endpoint."""

    name: str
    path: str
    prepare: Callable[[Path, int, int], list[str]]
    """Takes a directory, a port and another; returns the command."""
    port: int = 0
    pid: int = 0
    rounds: list[Round] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Return where tokens are."""
        return f"http://127.0.0.1:{self.port}{self.path}"

    def median(self, attribute: str) -> float:
        """Return the median of one figure over the rounds."""
        return float(statistics.median(getattr(each, attribute) for each in self.rounds))


def prepare_sidegate(directory: Path, port: int, admin_port: int) -> list[str]:
    """Write the configuration and return the command."""
    (directory / "gateway.yaml").write_text(SIDEGATE.format(port=port, admin_port=admin_port))
    return [sys.executable, "-m", "gateway.cli", "run", "-c", str(directory / "gateway.yaml")]


def prepare_peer(directory: Path, port: int, other_port: int) -> list[str]:
    """Install the peer when it is missing and return the command."""
    if not (PEER / "node_modules").is_dir():
        subprocess.run(
            ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"], cwd=PEER, check=True
        )
    return ["node", str(PEER / "server.mjs"), str(port), SECRET]


def look_at_token(contender: Contender) -> None:
    """Fail unless the endpoint issues what is compared: an ES256 JWT of one hour for one scope."""
    request = urllib.request.Request(
        contender.url, data=FORM.encode(), headers={"Authorization": f"Basic {BASIC}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        reply = json.load(answer)
    header, payload, _ = reply["access_token"].split(".")
    head, claims = (json.loads(base64.urlsafe_b64decode(text + "==")) for text in (header, payload))
    assert (head["alg"], head["typ"]) == ("ES256", "at+jwt"), head
    assert claims["scope"] == reply["scope"] == "country.read", claims
    assert claims["exp"] - claims["iat"] == reply["expires_in"] == 3600, claims


def measure(contender: Contender, seconds: int) -> Round:
    """Return one round."""
    before = cpu_s(contender.pid)
    done = subprocess.run(
        [
            *("taskset", "--cpu-list", str(CLIENT_CORE), "wrk", "--threads", "1"),
            *("--connections", str(CONNECTIONS), "--duration", f"{seconds}s", "--timeout", "10s"),
            *("--script", str(PEERS / "token.lua"), contender.url, "--", BASIC, FORM),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    used = cpu_s(contender.pid) - before
    result = json.loads(done.stdout.splitlines()[-1])
    if result["errors"]:
        raise RuntimeError(f"{contender.name}: {result['errors']} answers were not 200")
    return Round(
        result["requests"] / result["seconds"],
        used / result["requests"] * 1e6,
        result["p50_ms"],
        result["p99_ms"],
    )


def main() -> int:
    """Run the comparison; exit 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    options = parser.parse_args()
    missing = [name for name in ("wrk", "taskset", "node", "npm") if shutil.which(name) is None]
    if missing:
        print(f"missing: {', '.join(missing)}", file=sys.stderr)
        return 2
    os.environ.update(BENCHMARK_SECRET=SECRET, NODE_ENV="production", PYTHONOPTIMIZE="")
    contenders = [
        Contender("sidegate", "/oauth2/token", prepare_sidegate),
        Contender("oidc-provider", "/token", prepare_peer),
    ]
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        for contender in contenders:
            directory = Path(scratch, contender.name)
            directory.mkdir()
            contender.port, other_port = free_ports(2)
            argv = contender.prepare(directory, contender.port, other_port)
            contender.pid = stack.enter_context(
                running(
                    argv,
                    core=CONTENDER_CORE,
                    directory=directory,
                    log=directory / "log",
                    port=contender.port,
                )
            )
            look_at_token(contender)
            measure(contender, 2)  # warm up: V8 compiles, caches fill
        for _ in range(options.rounds):
            for contender in contenders:
                contender.rounds.append(measure(contender, options.seconds))
        for contender in contenders:
            look_at_token(contender)
        print(render(contenders))
        ours, peer = contenders
        ratio = statistics.median(
            mine.tokens_per_s / theirs.tokens_per_s
            for mine, theirs in zip(ours.rounds, peer.rounds, strict=True)
        )
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"\nmedian ratio {ratio:.2f} (goal {GOAL}); node {node}, python {sys.version.split()[0]}")
    return 0 if ratio >= GOAL else 1


def render(contenders: list[Contender]) -> str:
    """Return the table: medians over the rounds."""
    lines = [
        "| contender | tokens/s | CPU µs/token | p50 ms | p99 ms | RSS MiB |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.name} | {each.median('tokens_per_s'):,.0f} | {each.median('cpu_us'):.0f} "
        f"| {each.median('p50_ms'):.2f} | {each.median('p99_ms'):.2f} "
        f"| {resident_bytes(each.pid) / 2**20:.0f} |"
        for each in contenders
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
