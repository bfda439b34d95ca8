"""Carry out `demo`: the appliance and a country service in one process, with nothing to configure."""

import asyncio
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

from gateway.app import Running
from gateway.app import run as run_app
from gateway.cli.failure import CommandError
from gateway.data_plane import StartError
from gateway.demo.configuration import DemoConfiguration, demo_configuration
from gateway.demo.country_service import serve_countries
from gateway.demo.journey import print_journey, walk_journey
from gateway.reload.watch import CLOCK_TICK_S


def run_demo(*, port: int, admin_port: int, once: bool) -> int:
    """Serve until interrupted, or with `once` walk the journey; return the exit code.

    Raises:
        CommandError: A port is taken.
    """
    directory = Path(tempfile.mkdtemp(prefix="sidegate-demo-"))
    try:
        upstream_port = _free_port()
        configuration = demo_configuration(directory, port, admin_port, upstream_port)
        # The process takes files that changed as it began to read for changed since: be older than that.
        time.sleep(2 * CLOCK_TICK_S)
        walked: list[bool] = []

        async def beside(running: Running) -> None:
            async with serve_countries(upstream_port):
                if once:
                    walked.append(await walk_journey(port, *_credentials(configuration), sys.stdout))
                    return
                print_journey(sys.stdout, port, *_credentials(configuration))
                sys.stdout.write(f"\nMetrics: http://127.0.0.1:{admin_port}/metrics   Stop: Ctrl-C\n")
                sys.stdout.flush()
                await asyncio.Event().wait()

        code = run_app(configuration.path, beside=beside)
        return code or (0 if not once or walked == [True] else 1)
    except StartError as error:
        raise CommandError(f"{error}; try --port and --admin-port") from error
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _credentials(configuration: DemoConfiguration) -> tuple[str, str]:
    return configuration.client_id, configuration.client_secret


def _free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
