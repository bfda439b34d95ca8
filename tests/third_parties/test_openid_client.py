"""Let `openid-client`, the certified library of the Node world, use the running process.

It is installed by `npm ci` from a lock file with hashes into `.cache/`, once. Without
Node 18 (Debian's) or newer, npm or a registry to install from the test is skipped, and says so; in CI (the
variable `CI` is set, as `.ci/run` does) it fails instead.
"""

import fcntl
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.journeys.conftest import Appliance
from tests.support.jws import Key

HERE = Path(__file__).parent / "openid_client"
CACHE = Path(__file__).resolve().parents[2] / ".cache"


def give_up(reason: str) -> None:
    """Skip, or fail where skipping would hide that nothing was shown."""
    if os.environ.get("CI"):
        pytest.fail(f"openid-client cannot be tried: {reason}; install Node 18 or newer with npm")
    pytest.skip(f"openid-client cannot be tried: {reason}")


def node_major() -> int:
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"v(\d+)\.", version)
    assert found is not None, version
    return int(found[1])


def node_command() -> list[str]:
    """Return how Node is called: version 18 has what the library needs, but hides it."""
    return ["node", "--experimental-global-webcrypto"] if node_major() < 20 else ["node"]


@pytest.fixture(scope="module")
def installed() -> Path:
    """Return a folder in which the library and our script lie side by side."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        give_up("node or npm is not installed")
    if node_major() < 18:
        give_up("it wants Node 18")
    wanted = json.loads((HERE / "package.json").read_text("utf-8"))["dependencies"]["openid-client"]
    folder = CACHE / f"openid-client-{wanted}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in ("package.json", "package-lock.json", "client.mjs"):
            shutil.copyfile(HERE / name, folder / name)
        if not (folder / "complete").exists():
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)  # type: ignore[arg-type]
            if done.returncode != 0:
                give_up(f"npm ci failed: {done.stderr.strip()[-500:]}")
            (folder / "complete").touch()
    return folder


@pytest.mark.parametrize("algorithm", ["oidc", "oauth2"])
def test_openid_client_discovers_and_authenticates_with_a_key(
    process: Appliance, installed: Path, key: Key, tmp_path: Path, algorithm: str
) -> None:
    key_file = tmp_path / "key.json"
    key_file.write_text(json.dumps({**key.jwk.export_private(as_dict=True), "kid": key.kid}))
    issuer = f"http://127.0.0.1:{process.port}"
    done = subprocess.run(
        [*node_command(), installed / "client.mjs", issuer, algorithm, "signer", key_file],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["token"]["token_type"].lower(), seen["token"]["scope"]) == ("bearer", "country.read")
    assert (seen["before"]["active"], seen["before"]["client_id"]) == (True, "signer")
    assert seen["after"] == {"active": False}
