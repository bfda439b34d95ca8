"""Make property tests repeatable in ordinary runs and thorough in soaks."""

import os

from hypothesis import settings

settings.register_profile("ordinary", deadline=None, derandomize=True)
settings.register_profile("soak", deadline=None, max_examples=5_000, print_blob=True)
settings.load_profile("soak" if "SIDEGATE_SOAK" in os.environ else "ordinary")
