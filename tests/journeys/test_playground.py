"""Show that the playground's README works literally, pasted into bash, on its own ports."""

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PORTS = (8085, 8091, 9090, 9001)
WAIT_FOR_PORTS_S = 20.0


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Return what each block of the README printed; run once, whatever the number of test workers."""
    directory = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        directory = directory.parent
    seen = directory / "playground.json"
    with (directory / "playground.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not seen.exists():
            seen.write_text(json.dumps(_run_blocks(tmp_path_factory.mktemp("repository"))))
    return json.loads(seen.read_text())


def _run_blocks(repository):
    """Return what each block of the README prints while a copy of the playground runs in `repository`."""
    deadline = time.monotonic() + WAIT_FOR_PORTS_S
    while taken := [port for port in PORTS if _is_taken(port)]:
        if time.monotonic() > deadline:
            pytest.fail(f"the playground needs the ports that others listen on: {taken}")
        time.sleep(0.05)
    playground = repository / "examples" / "playground"
    ignore = shutil.ignore_patterns("keys", "state", "__pycache__")
    shutil.copytree(ROOT / "examples" / "playground", playground, ignore=ignore)
    binaries = repository / ".venv" / "bin"
    binaries.mkdir(parents=True)
    for name in ("python", "sidegate"):
        program = binaries / name
        program.write_text(f'#!/bin/sh\nexec "{Path(sys.executable).with_name(name)}" "$@"\n')
        program.chmod(0o755)
    blocks = re.findall(r"(?ms)^```bash\n(.*?)^```$", (playground / "README.md").read_text())
    commands = [block for block in blocks if "run.sh" not in block]
    with (repository / "log").open("wb") as log:
        process = subprocess.Popen(
            [playground / "run.sh"],
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    try:
        deadline = time.monotonic() + 20
        while not (_is_taken(9090) and _is_taken(9001)):
            assert process.poll() is None, (repository / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        mark = "---next---"
        script = "".join(f"{command}\necho '{mark}'\n" for command in commands)
        done = subprocess.run(
            ["bash"], input=script, capture_output=True, text=True, timeout=60, cwd=repository
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        return dict(zip(commands, done.stdout.split(f"{mark}\n"), strict=False))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def answers(printed, *words):
    """Return the output of the one block that holds all the words."""
    (output,) = [output for command, output in printed.items() if all(word in command for word in words)]
    return output


def test_a_call_without_a_token_is_challenged(printed):
    output = next(iter(printed.values()))
    assert output.startswith("HTTP/1.1 401")
    assert 'WWW-Authenticate: Bearer realm="ms-system"' in output


def test_the_token_reply_is_that_of_the_session(printed):
    reply = json.loads(list(printed.values())[1])
    assert set(reply) == {"access_token", "token_type", "expires_in", "scope"}
    assert reply["scope"] == "country.read customer.read customer.write"
    assert (reply["token_type"], reply["expires_in"]) == ("Bearer", 14400)


def test_the_call_with_the_token_reaches_the_service(printed):
    assert '{"code": "AUS", "name": "AUSTRALIA"}\n' in printed.values()


def test_the_keys_are_public(printed):
    keys = json.loads(answers(printed, "oauth2/jwks"))["keys"]
    assert {"kty", "kid", "use", "alg"} <= set(keys[0])


def test_another_client_sees_the_token_active(printed):
    seen = json.loads(
        next(out for cmd, out in printed.items() if cmd.startswith("curl") and "introspect" in cmd)
    )
    assert seen["active"] is True
    assert seen["client_id"] == "service-client-jwt"
    assert seen["iss"] == "http://localhost:8085/ms-auth-server"


def test_a_revoked_token_is_refused_and_inactive(printed):
    output = answers(printed, "oauth2/revoke")
    assert re.findall(r"(?m)^HTTP/1.1 (\d+)", output) == ["200", "401"]
    assert 'error="invalid_token"' in output
    assert output.endswith(('{"active":false}\n', '{"active": false}\n'))


def test_central_authorization_refuses_and_grants(printed):
    assert json.loads(answers(printed, "billing.example"))["error"] == "invalid_target"
    assert json.loads(answers(printed, "reporting-job", "customer.write"))["error"] == "invalid_scope"
    granted = answers(printed, "archive.example", "ledger.example").splitlines()
    assert [json.loads(line)["scope"] for line in granted] == ["document.read", "entry.read"]


def test_a_right_taken_away_is_gone_for_the_live_token_until_it_is_given_back(printed):
    usable = answers(printed, "TOKEN=", "reporting-job")
    assert "HTTP/1.1 200" in usable
    taken = answers(printed, "yaml.off\n")
    assert "reloaded" in taken
    assert "HTTP/1.1 403" in taken
    assert "Sidegate-Reason: client_not_allowed" in taken
    given_back = answers(printed, "mv examples/playground/policies/reporting-reads-countries.yaml.off")
    assert "reloaded" in given_back
    assert "HTTP/1.1 200" in given_back


def test_the_policy_tests_pass(printed):
    output = answers(printed, "sidegate test")
    assert "4 passed, 0 failed" in output
