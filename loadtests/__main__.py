"""Start Sidegate as its users do, let locust call it, and leave the reports behind.

`python -m loadtests --duration 60s` runs every scenario for that long against one
process, writes an HTML report and CSV files for each into `loadtests/reports/`,
leaves locust's summary on stderr, and fails when a call was not answered as expected or the process
did not end cleanly.
"""

import argparse
import contextlib
import http.client
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from loadtests.scene import SECRET_VARIABLE, write_configuration

SCENARIOS = ("token_endpoint", "warm_gate", "mixed")
START_WITHIN_S = 20.0
END_WITHIN_S = 40.0

_HERE = Path(__file__).parent
_ROOT = _HERE.parent
_SIDEGATE = Path(sys.executable).parent / "sidegate"


class LoadTestError(Exception):
    """A process that did not start or end as it should."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen scenarios; return 0 when every call of every scenario was answered as expected."""
    options = _read_options(arguments)
    options.reports.mkdir(parents=True, exist_ok=True)
    failed: list[str] = []
    try:
        with (
            tempfile.TemporaryDirectory(prefix="sidegate-load-") as directory,
            _run_appliance(Path(directory), options.reports) as (url, environment),
        ):
            for scenario in options.scenario or SCENARIOS:
                print(f"{scenario}: {options.users} callers for {options.duration}", flush=True)
                if not _run_locust(scenario, url, environment, options):
                    failed.append(scenario)
    except LoadTestError as error:
        print(f"loadtests: {error}", file=sys.stderr)
        return 1
    if failed:
        print(f"loadtests: unexpected answers in {', '.join(failed)}", file=sys.stderr)
    print(f"Reports: {options.reports}")
    return 1 if failed else 0


def _read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests", description=__doc__)
    parser.add_argument("--duration", default="60s", help="of each scenario, e.g. 30s or 5m (default 60s)")
    parser.add_argument("--users", type=int, default=50, help="callers at once (default 50)")
    parser.add_argument("--spawn-rate", type=int, default=50, help="callers started per second (default 50)")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="may repeat (default: all)")
    parser.add_argument("--reports", type=Path, default=_HERE / "reports", help="directory for the reports")
    options = parser.parse_args(arguments)
    options.reports = options.reports.resolve()
    return options


@contextlib.contextmanager
def _run_appliance(directory: Path, reports: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Run the country service and Sidegate; yield the URL and the environment for callers.

    Sidegate's access log goes to a file, as under a supervisor; both logs are kept
    beside the reports.
    """
    port, admin_port, upstream_port = _free_ports(3)
    environment = {**os.environ, SECRET_VARIABLE: secrets.token_urlsafe(32)}
    configuration = write_configuration(
        directory, port=port, admin_port=admin_port, upstream_port=upstream_port
    )
    with contextlib.ExitStack() as stack:
        access_log = stack.enter_context((directory / "access.log").open("wb"))
        process_log = stack.enter_context((reports / "sidegate.log").open("wb"))
        upstream = subprocess.Popen(
            [sys.executable, "-m", "gateway.demo.country_service", "--port", str(upstream_port)],
            cwd=_ROOT,
            stdout=subprocess.DEVNULL,
        )
        stack.callback(_end, upstream)
        appliance = subprocess.Popen(
            [_SIDEGATE, "run", "-c", configuration],
            cwd=directory,
            env=environment,
            stdout=access_log,
            stderr=process_log,
        )
        stack.callback(_end, appliance)
        _await_status(appliance, admin_port, "/readyz")
        _await_status(upstream, upstream_port, "/ms-system/health")
        yield f"http://127.0.0.1:{port}", environment
        _save_metrics(admin_port, reports)
        code = _end(appliance)
        if code != 0:
            raise LoadTestError(f"sidegate ended with {code} after SIGTERM instead of 0")


def _free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for candidate in sockets:
            candidate.bind(("127.0.0.1", 0))
        return [candidate.getsockname()[1] for candidate in sockets]


def _await_status(process: subprocess.Popen[bytes], port: int, path: str) -> None:
    """Return when `path` answers 200."""
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise LoadTestError(f"{process.args!r} ended with {process.returncode} while starting")
        with contextlib.suppress(OSError, http.client.HTTPException):
            if _read(port, path)[0] == 200:
                return
        time.sleep(0.1)
    raise LoadTestError(f"{path} did not answer 200 within {START_WITHIN_S:.0f} s")


def _read(port: int, path: str) -> tuple[int, bytes]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def _save_metrics(admin_port: int, reports: Path) -> None:
    """Keep the appliance's own view of the load beside locust's; its exit code tells if it is gone."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        (reports / "metrics.txt").write_bytes(_read(admin_port, "/metrics")[1])


def _end(process: subprocess.Popen[bytes]) -> int:
    """Ask the process to end, wait for it and return its exit code; kill it when it takes too long."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(END_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _run_locust(scenario: str, url: str, environment: Mapping[str, str], options: argparse.Namespace) -> bool:
    """Run one scenario headless; return whether all its calls were answered as expected."""
    for old in options.reports.glob(f"{scenario}*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    command = [
        sys.executable,
        *("-m", "locust", "--headless", "--only-summary", "--loglevel", "WARNING"),
        *("--locustfile", str(_HERE / f"{scenario}.py")),
        *("--host", url),
        *("--users", str(options.users)),
        *("--spawn-rate", str(options.spawn_rate)),
        *("--run-time", options.duration),
        *("--html", str(options.reports / f"{scenario}.html")),
        *("--csv", str(options.reports / scenario)),
    ]
    finished = subprocess.run(command, cwd=_ROOT, env=environment, stdout=subprocess.DEVNULL, check=False)
    return finished.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
