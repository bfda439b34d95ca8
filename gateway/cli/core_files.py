"""Keep what this process holds in memory out of core files, and out of sight of its neighbours.

Private keys, secrets and tokens lie in the memory of every command that works with them;
the kernel, or a crash collector, would write all of it to a file when the process dies.

* The soft limit of core files becomes 0. The hard one stays, so that the limit is visible
  in /proc/PID/limits and nothing is taken from child processes for good.
* On Linux the process is not dumpable: collectors that the kernel pipes cores to do not look
  at the limit. Other processes of the same user cannot read its memory any more either, by
  /proc/PID/mem or ptrace; root can, so py-spy, gdb and gcore go on working for root.

Where either is not possible (another system, a sandbox) the other still counts.

Sources: core(5), prctl(2) (PR_SET_DUMPABLE), proc(5), setrlimit(2).
"""

import contextlib
import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4


def stay_out_of_core_files() -> None:
    """Let no core file of this process be written from now on."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
