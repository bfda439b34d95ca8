"""Run `sidegate` as an ordinary user, whom the modes of files stop as they do not stop root.

    python ordinary_user.py DESCRIPTORS run -c FILE

All modules are imported before: the checkout may lie where ordinary users cannot look. Where root
cannot become an ordinary user it fails. DESCRIPTORS is the hard limit of open files, 0 for what is there.
"""

import os
import pkgutil
import resource
import sys
from importlib import import_module

ORDINARY_ID = 65534


def become_ordinary() -> None:
    """Give up root for good; nothing to do for whoever is not root."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(ORDINARY_ID, ORDINARY_ID, ORDINARY_ID)
        os.setresuid(ORDINARY_ID, ORDINARY_ID, ORDINARY_ID)
    if 0 in os.getresuid():
        raise SystemExit("this process is still root")


def _import_everything() -> None:
    import gateway

    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if not module.name.endswith("__main__"):
            import_module(module.name)


def main() -> None:
    _import_everything()
    descriptors = int(sys.argv.pop(1))
    if descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    become_ordinary()
    sys.argv[0] = "sidegate"
    from gateway.cli import main as sidegate

    sidegate()


if __name__ == "__main__":
    main()
