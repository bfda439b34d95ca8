"""Run `sidegate` with a watch that looks at files more often: all that a change waits for shrinks alike.

python quick_watch.py INTERVAL_S run -c FILE
"""

import sys

from gateway.reload.sources import Sources


def main() -> None:
    Sources.watch.__kwdefaults__["interval_s"] = float(sys.argv.pop(1))
    sys.argv[0] = "sidegate"
    from gateway.cli import main as sidegate

    sidegate()


if __name__ == "__main__":
    main()
