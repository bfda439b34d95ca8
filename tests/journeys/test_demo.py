"""Show the first minute: the demo walks its journey, and its printed commands work as pasted."""

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def demo(sidegate, tmp_path, free_port, wait_until):
    """Return what a running demo printed."""
    port, admin_port = free_port(), free_port()
    with (tmp_path / "printed").open("wb") as out, (tmp_path / "errors").open("wb") as err:
        process = subprocess.Popen(
            [sidegate, "demo", "--port", str(port), "--admin-port", str(admin_port)],
            stdout=out,
            stderr=err,
            cwd=tmp_path,
            start_new_session=True,
        )
    try:
        yield wait_until(lambda: _whole(tmp_path / "printed"), "the printed journey")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


def _whole(path: Path) -> str:
    text = path.read_text()
    return text if "Ctrl-C" in text else ""


def _paste(commands: list[str]) -> list[str]:
    """Return what each command printed, pasted one after the other into one bash."""
    mark = "---next---"
    script = "".join(f"{command}\necho '{mark}'\n" for command in commands)
    done = subprocess.run(["bash"], input=script, capture_output=True, text=True, timeout=30, check=True)
    assert done.stderr == ""
    return done.stdout.split(f"{mark}\n")[:-1]


def test_the_printed_commands_tell_the_journey_when_pasted(demo):
    commands = [line for line in demo.splitlines() if line.startswith(("curl", "TOKEN="))]
    assert len(commands) == 7
    refused, token, called, introspected, revoked, refused_again, inactive = _paste(commands)
    assert refused.startswith("HTTP/1.1 401")
    assert re.search(r"(?m)^WWW-Authenticate: Bearer realm=", refused)
    assert "error=" not in refused.partition("\n\n")[0]
    assert token.count(".") == 2
    assert called.startswith("HTTP/1.1 200")
    assert _body(called) == {"code": "AUS", "name": "AUSTRALIA"}
    assert _body(introspected)["active"] is True
    assert revoked.startswith("HTTP/1.1 200")
    assert revoked.partition("\n\n")[2].strip() == ""
    assert refused_again.startswith("HTTP/1.1 401")
    assert 'error="invalid_token"' in refused_again
    assert _body(inactive) == {"active": False}


def _body(printed: str) -> dict[str, object]:
    return json.loads(printed.partition("\n\n")[2])


def test_once_walks_the_journey_and_ends(sidegate, free_port, tmp_path):
    ports = ["--port", str(free_port()), "--admin-port", str(free_port())]
    done = subprocess.run(
        [sidegate, "demo", "--once", *ports], capture_output=True, text=True, cwd=tmp_path, timeout=20
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(r"(?m)^(\d)\. ", done.stdout) == list("1234567")
    assert done.stdout.count("  ok\n") == 7
    assert "FAILED" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_taken_port_is_said_with_the_way_out(sidegate, upstream, free_port):
    done = subprocess.run(
        [sidegate, "demo", "--once", "--port", str(upstream.port), "--admin-port", str(free_port())],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{upstream.port}: Address already in use;" in done.stderr
    assert done.stderr.count("127.0.0.1") == 1
    assert "try --port" in done.stderr
    assert "Traceback" not in done.stderr
