"""Run `sidegate` and write into a file, at each SIGUSR1, how many objects the collector no longer sees.

    python frozen_count.py COUNTS run -c FILE

One number a line: what is frozen and still lives. What is freed is no longer counted.
"""

import gc
import os
import signal
import sys


def main() -> None:
    counts = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
    signal.signal(signal.SIGUSR1, lambda *_: os.write(counts, b"%d\n" % gc.get_freeze_count()))
    sys.argv[0] = "sidegate"
    from gateway.cli import main as sidegate

    sidegate()


if __name__ == "__main__":
    main()
