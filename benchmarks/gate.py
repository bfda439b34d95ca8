"""Measure, side by side in one run, what a request through the gate costs.

Contenders take turns on core 0; wrk and the upstream share core 1. All keep their
connections to the upstream. Three figures per contender:

- warm: 64 tokens sent again and again over 24 routes, a small JSON answer;
- cold: every request carries a token that was never seen before;
- bodies: downloads of 64 KiB and 1 MiB.

Each is measured in interleaved rounds, so that a machine that gets slower or
faster does so for everyone. A round counts only if every answer was 2xx and the
upstream counted as many requests as the client (wrk abandons what is in flight
when the time is up, so up to one request per connection more).

Run it with `make bench`; `make bench BENCH=--quick` is a smoke run. With `--before TREE --control`
nothing but this checkout and an earlier one take part, the earlier one twice: how a
difference of speed is decided (`benchmarks.control`).
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.contenders import (
    AUDIENCE,
    CLIENTS,
    ISSUER,
    PATHS,
    PEERS,
    SCOPE,
    Contender,
    Setting,
    contenders,
    prepare_upstream,
)
from benchmarks.control import BEFORE, CONTROL, FEWEST_ROUNDS, NOW, SHORTEST_ROUND_S
from benchmarks.processes import cpu_s, free_ports, resident_bytes, running
from benchmarks.report import render
from benchmarks.tokens import make_key, mint, write_tokens
from benchmarks.trees import NoSuchTreeError, find_tree

CONNECTIONS = 32
WARM_TOKENS = 64
CONTENDER_CORE = 0
CLIENT_CORE = 1
LOADS = frozenset({"warm", "cold", "64k", "1m"})
COLD_SLICES = 6
REMEMBERED_TOKENS = 8192
"""The most that a gateway knows at once: the other slices must hold more before one comes again."""
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Load:
    """One kind of traffic."""

    name: str
    mode: str
    """`warm` or `cold`, as `peers/wrk.lua` knows them."""
    paths: tuple[str, ...]
    rounds: int
    round_s: float
    slice_tokens: int
    """Tokens for one round; a cold round must not need more."""
    slices: int
    """Of tokens; with fewer than rounds they come round again, when they are long forgotten."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one contender did in one round."""

    load: str
    contender: str
    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """Processor time of the contender's whole process tree per request."""
    upstream_surplus: int
    """Requests that the upstream counted beyond the client's; 0 to CONNECTIONS."""


@dataclass(frozen=True, slots=True)
class Arena:
    """Where everything listens and lies."""

    directory: Path
    status_port: int
    ports: dict[str, int]
    pids: dict[str, int]


def main() -> int:
    """Measure, print the tables, write them below `benchmarks/results`; returns the exit status."""
    arguments = parse_arguments()
    missing = [name for name in ("nginx", "haproxy", "wrk", "taskset") if shutil.which(name) is None]
    if missing:
        print(
            f"Missing: {', '.join(missing)}. On Debian: apt-get install nginx haproxy wrk util-linux",
            file=sys.stderr,
        )
        return 1
    if not {CONTENDER_CORE, CLIENT_CORE} <= os.sched_getaffinity(0):
        print(
            "Two cores are needed: one for the contender, one for the client and the upstream.",
            file=sys.stderr,
        )
        return 1
    loads = _loads(arguments)
    with tempfile.TemporaryDirectory(prefix="sidegate-bench-") as name, ExitStack() as stack:
        # Workers of a server that was started as root run as another user and read from here.
        directory = Path(name)
        directory.chmod(0o755)
        try:
            before, control = _find_trees(arguments, directory)
        except NoSuchTreeError as error:
            print(error, file=sys.stderr)
            return 2
        everyone = contenders(rs256=arguments.rs256, before=before, control=control)
        chosen = [each for each in everyone if _is_chosen(each, arguments.only)]
        rounds, resident = _measure(directory, stack, chosen, loads)
    facts = {
        "machine": f"{os.cpu_count()} cores, {_processor()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "connections": CONNECTIONS,
        "warm_tokens": WARM_TOKENS,
        "routes": len(PATHS) + 1,
        "seconds_per_round": arguments.seconds,
        "resident_mib_after": {contender: round(size / 2**20, 1) for contender, size in resident.items()},
    }
    table = render(facts, [asdict(each) for each in rounds])
    print(table)
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / time.strftime("gate-%Y%m%dT%H%M%SZ", time.gmtime())
    stem.with_suffix(".md").write_text(table, encoding="utf-8")
    document = {"facts": facts, "rounds": [asdict(each) for each in rounds]}
    stem.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"\nWritten to {stem}.md and .json")
    return 0


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the arguments, with every default filled in."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="one round of one second each: a smoke run, no figures"
    )
    parser.add_argument(
        "--rounds", type=int, help=f"interleaved rounds (default: 5, with --control {FEWEST_ROUNDS})"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        help=f"length of a round (default: 5, with --control {SHORTEST_ROUND_S:g})",
    )
    parser.add_argument("--rs256", action="store_true", help="measure RS256 beside ES256")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="contenders whose name starts so"
    )
    parser.add_argument(
        "--before", metavar="TREE", help="another checkout, or a Git revision, that takes part as `before`"
    )
    parser.add_argument(
        "--control",
        nargs="?",
        const="",
        metavar="TREE",
        help="a third tree, by default the one of --before once more: does the difference count?",
    )
    parser.add_argument(
        "--loads", help="which loads (default: warm,cold,64k,1m, with --control warm)", metavar="NAMES"
    )
    arguments = parser.parse_args(argv)
    controlled = arguments.control is not None
    if controlled and arguments.before is None:
        parser.error("--control needs --before")
    if controlled and not arguments.only:
        arguments.only = [BEFORE, NOW, CONTROL]
    arguments.loads = arguments.loads or ("warm" if controlled else "warm,cold,64k,1m")
    unknown = set(arguments.loads.split(",")) - LOADS
    if unknown:
        parser.error(f"--loads knows {', '.join(sorted(LOADS))}, not {', '.join(sorted(unknown))}")
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, 1.0
    arguments.rounds = arguments.rounds or (FEWEST_ROUNDS if controlled else 5)
    arguments.seconds = arguments.seconds or (SHORTEST_ROUND_S if controlled else 5.0)
    return arguments


def _find_trees(arguments: argparse.Namespace, directory: Path) -> tuple[Path | None, Path | None]:
    """Return the trees of `before` and `control`, as far as they take part.

    Raises:
        NoSuchTreeError: One cannot be found.
    """
    if arguments.before is None:
        return None, None
    before = find_tree(arguments.before, directory / "tree-before")
    if arguments.control is None:
        return before, None
    return before, find_tree(arguments.control, directory / "tree-control") if arguments.control else before


def _is_chosen(contender: Contender, prefixes: Sequence[str]) -> bool:
    return not prefixes or any(contender.name.startswith(prefix) for prefix in prefixes)


def _loads(arguments: argparse.Namespace) -> list[Load]:
    rounds, seconds = arguments.rounds, arguments.seconds
    if arguments.control is None:
        fewer, cold_tokens = min(rounds, 3), int(25_000 * seconds)
    else:
        fewer, cold_tokens = rounds, int(12_000 * seconds)
    known = [
        Load("warm", "warm", tuple(PATHS), rounds, seconds, WARM_TOKENS, 1),
        Load("cold", "cold", tuple(PATHS), fewer, seconds, cold_tokens, min(fewer, COLD_SLICES)),
        Load("64k", "warm", ("/files/64k",), fewer, seconds, WARM_TOKENS, 1),
        Load("1m", "warm", ("/files/1m",), fewer, seconds, WARM_TOKENS, 1),
    ]
    wanted = arguments.loads.split(",")
    return [load for load in known if load.name in wanted]


def _measure(
    directory: Path, stack: ExitStack, chosen: Sequence[Contender], loads: Sequence[Load]
) -> tuple[list[Round], dict[str, int]]:
    """Start everything, run every load in interleaved rounds; returns them and each contender's memory."""
    upstream_port, status_port, *others = free_ports(2 + 2 * len(chosen))
    algorithms = sorted({contender.algorithm for contender in chosen})
    keys = {algorithm: make_key(algorithm) for algorithm in algorithms}
    setting = Setting(upstream_port, keys)
    _write_tokens(directory, setting, loads)

    home = directory / "upstream"
    home.mkdir()
    command = prepare_upstream(home, upstream_port, status_port)
    stack.enter_context(
        running(command, core=CLIENT_CORE, directory=home, log=home / "log", port=upstream_port)
    )
    arena = Arena(directory, status_port, {}, {})
    for number, contender in enumerate(chosen):
        home = directory / f"contender-{number}"
        home.mkdir()
        port, spare_port = others[2 * number], others[2 * number + 1]
        command = contender.prepare(home, setting, port, spare_port)
        pid = stack.enter_context(
            running(command, core=CONTENDER_CORE, directory=home, log=home / "log", port=port)
        )
        arena.ports[contender.name], arena.pids[contender.name] = port, pid

    rounds = []
    for load in loads:
        (directory / f"paths-{load.name}").write_text(
            "".join(f"{path}\n" for path in load.paths), encoding="ascii"
        )
        if load.mode == "warm":
            for contender in chosen:
                _run_round(arena, contender, load, 0, min(1.0, load.round_s))
        for number in range(load.rounds):
            for contender in chosen:
                if load.mode == "cold" and not contender.verifies:
                    continue
                rounds.append(_run_round(arena, contender, load, number, load.round_s))
                _report_progress(rounds[-1], number, load.rounds)
    return rounds, {contender.name: resident_bytes(arena.pids[contender.name]) for contender in chosen}


def _write_tokens(directory: Path, setting: Setting, loads: Sequence[Load]) -> None:
    for mode in {load.mode for load in loads}:
        count = max(load.slice_tokens * load.slices for load in loads if load.mode == mode)
        for algorithm, key in setting.keys.items():
            print(f"Minting {count} {algorithm} tokens ({mode})", file=sys.stderr)
            tokens = mint(key, issuer=ISSUER, audience=AUDIENCE, clients=CLIENTS, scope=SCOPE, count=count)
            write_tokens(directory / f"tokens-{mode}-{algorithm}", tokens)


def _run_round(arena: Arena, contender: Contender, load: Load, number: int, seconds: float) -> Round:
    """Send one round of load; raise RuntimeError when it does not count."""
    first = number % load.slices * load.slice_tokens + 1
    pid = arena.pids[contender.name]
    forwarded_before, cpu_before = _requests_forwarded(arena.status_port), cpu_s(pid)
    result = _run_wrk(arena, contender, load, first, seconds)
    cpu_after, forwarded_after = cpu_s(pid), _requests_forwarded(arena.status_port)

    requests = int(result["requests"])
    # Asking for the status counts as a request of its own.
    surplus = forwarded_after - forwarded_before - 1 - requests
    what = f"{contender.name}, {load.name}, round {number + 1}"
    if result["not_2xx"] or result["socket_errors"] or not requests:
        raise RuntimeError(f"{what}: {result}")
    if not 0 <= surplus <= CONNECTIONS:
        raise RuntimeError(
            f"{what}: the upstream counted {surplus:+d} requests beyond the client's {requests}"
        )
    if load.mode == "cold" and requests > load.slice_tokens:
        raise RuntimeError(
            f"{what}: {requests} requests but only {load.slice_tokens} tokens: they were not all cold"
        )
    is_short = requests * (load.slices - 1) < REMEMBERED_TOKENS
    if load.mode == "cold" and load.slices < load.rounds and is_short:
        raise RuntimeError(
            f"{what}: {requests} requests are too few: tokens came again that were still known"
        )
    return Round(
        load=load.name,
        contender=contender.name,
        requests=requests,
        requests_per_s=requests / result["duration_s"],
        p50_ms=result["p50_ms"],
        p99_ms=result["p99_ms"],
        cpu_us=(cpu_after - cpu_before) / requests * 1e6,
        upstream_surplus=surplus,
    )


def _run_wrk(arena: Arena, contender: Contender, load: Load, first: int, seconds: float) -> dict[str, float]:
    script = [
        load.mode,
        str(arena.directory / f"tokens-{load.mode}-{contender.algorithm}"),
        str(arena.directory / f"paths-{load.name}"),
        str(first),
        str(load.slice_tokens),
    ]
    command = ["taskset", "--cpu-list", str(CLIENT_CORE), "wrk", "--threads", "1"]
    command += ["--connections", str(CONNECTIONS), "--duration", f"{max(1, round(seconds))}s"]
    command += [
        "--script",
        str(PEERS / "wrk.lua"),
        f"http://127.0.0.1:{arena.ports[contender.name]}/",
        "--",
        *script,
    ]
    output = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    for line in output.stdout.splitlines():
        if line.startswith("RESULT "):
            result: dict[str, float] = json.loads(line.removeprefix("RESULT "))
            return result
    raise RuntimeError(f"wrk gave no result:\n{output.stdout}\n{output.stderr}")


def _requests_forwarded(status_port: int) -> int:
    """Return the upstream's own count of requests, once nothing is in flight any more."""
    time.sleep(0.2)
    with urllib.request.urlopen(f"http://127.0.0.1:{status_port}/status", timeout=5) as answer:
        # Third line: accepted connections, handled connections, requests.
        return int(answer.read().decode("ascii").splitlines()[2].split()[2])


def _report_progress(latest: Round, number: int, rounds: int) -> None:
    print(
        f"{latest.load} {number + 1}/{rounds}  {latest.contender}: "
        f"{latest.requests_per_s:.0f} requests/s, {latest.cpu_us:.1f} µs",
        file=sys.stderr,
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
