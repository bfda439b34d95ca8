"""Look at running processes as the kernel does: none of them may leave its memory in a file."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journeys.conftest import SIDEGATE, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def core_limit(pid: int) -> tuple[str, str]:
    """Return the soft and the hard limit of core files."""
    limits = Path(f"/proc/{pid}/limits").read_text()
    found = re.search(r"^Max core file size\s+(\S+)\s+(\S+)", limits, re.MULTILINE)
    assert found is not None
    return found[1], found[2]


def allowing_core_files(*command: object) -> list[str]:
    """Return a command that runs another one with what the hard limit allows."""
    return ["sh", "-c", 'ulimit -S -c $(ulimit -H -c) && exec "$@"', "sh", *map(str, command)]


def test_a_running_process_leaves_no_core_file(make) -> None:
    appliance = make().start()
    soft, hard = core_limit(appliance.process.pid)
    assert soft == "0"
    assert hard == core_limit(os.getpid())[1]


def test_it_leaves_none_where_the_shell_allows_them(make, tmp_path) -> None:
    directory = make().directory
    process = subprocess.Popen(
        allowing_core_files(SIDEGATE, "run", "-c", directory / "gateway.yaml"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    try:
        wait_for(lambda: core_limit(process.pid)[0] == "0", "the limit")
        process.send_signal(signal.SIGABRT)
        assert process.wait(20) == -signal.SIGABRT
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.glob("*core*")) == []


def test_commands_that_hold_a_secret_leave_none_either(tmp_path) -> None:
    # It waits for the secret on its standard input.
    process = subprocess.Popen(
        allowing_core_files(SIDEGATE, "secret", "hash"),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    try:
        wait_for(lambda: core_limit(process.pid)[0] == "0", "the limit")
    finally:
        process.kill()
        process.communicate()


def test_neighbours_cannot_read_its_memory_and_collectors_get_no_core() -> None:
    script = (
        "import ctypes; from gateway.cli.core_files import stay_out_of_core_files as out; "
        "dumpable = lambda: ctypes.CDLL(None).prctl(3, 0, 0, 0, 0); "
        "before = dumpable(); out(); print(before, dumpable())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.stdout == "1 0\n", done.stderr
