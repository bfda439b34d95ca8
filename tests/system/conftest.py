"""Build the image once for all tests that run it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.dockerfile import ROOT, Image, build

if os.environ.get("SSL_CERT_FILE") == os.devnull:
    del os.environ["SSL_CERT_FILE"]  # of tests/conftest.py; what fetches packages needs the authorities


@pytest.fixture(scope="session")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a directory in memory that may hold device files; on a disk, dpkg would sync each file."""
    assert os.geteuid() == 0, "building and running the image takes root: make test-system as root"
    path = tmp_path_factory.mktemp("memory")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3g,mode=755", "tmpfs", str(path)], check=True)
    yield path
    subprocess.run(["umount", "--recursive", str(path)], check=True)


@pytest.fixture(scope="session")
def image(memory: Path) -> Image:
    """Return the image of the Dockerfile."""
    scratch = memory / "image"
    scratch.mkdir()
    return build(ROOT / "Dockerfile", scratch)
