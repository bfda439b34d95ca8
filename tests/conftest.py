"""Make property tests repeatable in ordinary runs and thorough in soaks, and the start of a process cheap.

What tests start are whole processes, hundreds of them. They keep compiled modules as any
installation does, whatever the shell says: without, each of them would compile the whole
of Sidegate, and each run all tests. And no test goes to a server that the authorities of this
machine vouch for: reading all of them takes each process a tenth of its start.
"""

import os
import sys

import pytest

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
os.environ.setdefault("SSL_CERT_FILE", os.devnull)

from hypothesis import settings  # noqa: E402 - pytest compiles this, too

settings.register_profile("ordinary", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("soak", deadline=None, max_examples=5_000, print_blob=True)
settings.load_profile("soak" if "SIDEGATE_SOAK" in os.environ else "ordinary")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the journeys: they wait a lot, and what needs the processor fills the time meanwhile."""
    items.sort(key=lambda item: item.path.parent.name != "journeys")
