"""Show that processor time is read for a whole process tree."""

import subprocess
import sys

from benchmarks.processes import cpu_s, free_ports, resident_bytes

SPENDING = "import time\nwhile time.process_time() < 0.15: pass\nprint(1, flush=True)\ninput()\n"


def test_a_child_counts_alive_and_after_its_end():
    parent = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {SPENDING!r}], stdin=subprocess.PIPE)
input()
child.communicate(b"\\n")
print(2, flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        alive = cpu_s(process.pid)
        assert alive >= 0.1
        assert resident_bytes(process.pid) > 1 << 20
        process.stdin.write("\n")
        assert process.stdout.readline() == "2\n"
        assert cpu_s(process.pid) >= alive
        process.stdin.write("\n")
    assert process.returncode == 0


def test_free_ports_are_different():
    assert len(set(free_ports(8))) == 8
