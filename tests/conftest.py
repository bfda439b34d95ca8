"""Make property tests repeatable in ordinary runs and thorough in soaks.

What tests start are whole processes, hundreds of them. They keep compiled modules as any
installation does, whatever the shell says: without, each of them would compile the whole
of Sidegate, and each run all tests.
"""

import os
import sys

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

from hypothesis import settings  # noqa: E402 - pytest compiles this, too

settings.register_profile("ordinary", deadline=None, derandomize=True)
settings.register_profile("soak", deadline=None, max_examples=5_000, print_blob=True)
settings.load_profile("soak" if "SIDEGATE_SOAK" in os.environ else "ordinary")
