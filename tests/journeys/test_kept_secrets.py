"""Show that a running process tells nobody what its configuration keeps secret, whatever is wrong with it.

One marker is planted wherever a secret may be. A mistake is made, and what `check`, the answer
of a reload, the status and both logs say is searched for the marker.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.conftest import SIDEGATE, Appliance, call
from tests.support.jws import make_key

MARKER = "Mrkr8c1fMrkr8c1f"
KEY = make_key("ES256", "k")
KEYS = {
    "keys": [
        KEY.public,
        {"kty": "EC", "crv": "P-256", "x": MARKER, "y": MARKER, "d": MARKER},
        {"kty": "oct", "k": MARKER},
    ]
}
POLICY = f"""\
clients:
  planted:
    secrets: ["plain:{MARKER}", "env:PLANTED", "file:../secrets/planted"]
    jwks: {json.dumps(KEYS)}
  fetched: {{jwks_uri: "https://127.0.0.1:1/jwks?token={MARKER}"}}
"""
MISTAKES = {
    "a redis password": ("main", "state:", f"state: redis://user:{MARKER}/a@b@127.0.0.1:6379/0\n#"),
    "a redis password alone": ("main", "state:", f"state: redis://:{MARKER}\n#"),
    "the password of a target": ("main", 'targets: ["http://', f'targets: ["http://u:{MARKER}@'),
    "the password of the issuer": ("main", 'url: "http://', f'url: "http://u:{MARKER}/x@'),
    "a proxy with a password": (
        "main",
        "upstreams:",
        f'key_set_proxies: {{p: "http://u:{MARKER}@h:1"}}\nupstreams:',
    ),
    "a token for a name": ("policy", "jwks_uri:", f"bearer_token: {MARKER}, jwks_uri:"),
    "a secret without its form": ("policy", "plain:", ""),
    "a secret as a key": ("policy", '    secrets: ["plain:', '    "plain:'),
    "an unknown key": ("policy", "secrets:", "secretz:"),
    "no closing quotation mark": ("policy", 'planted"]', "planted]"),
    "an alias": ("policy", '"plain:', "*"),
    "a tag": ("policy", '"plain:', '!"plain:'),
    "keys of another kind": ("policy", '"kty": "EC"', '"kty": [EC]'),
    "an address with a fragment": ("policy", "?token=", "#"),
}


def said_by_check(appliance: Appliance, *arguments: str) -> str:
    done = subprocess.run(
        [SIDEGATE, *arguments, "-c", appliance.main],
        capture_output=True,
        text=True,
        env=appliance.environment,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.fixture
def planted(make: Callable[..., Appliance]) -> Appliance:
    appliance = make()
    (appliance.directory / "secrets").mkdir()
    (appliance.directory / "secrets" / "planted").write_text(MARKER)
    (appliance.directory / "policies" / "planted.yaml").write_text(POLICY)
    appliance.main.write_text(
        appliance.main.read_text() + "logs: {query: true}\npolicy_environment: [PLANTED]\n"
    )
    appliance.environment["PLANTED"] = MARKER
    return appliance


def test_a_process_keeps_its_secrets_whatever_is_wrong(planted: Appliance) -> None:
    planted.start()
    call(planted.port, "GET", f"/ms-system/x?access_token={MARKER}&client_secret={MARKER}&code={MARKER}")
    files = {"main": planted.main, "policy": planted.directory / "policies" / "planted.yaml"}
    sound = {name: file.read_text() for name, file in files.items()}
    shown = [said_by_check(planted, "config", "show"), said_by_check(planted, "check")]
    assert KEY.public["x"] in shown[0]
    for mistake, (name, old, new) in MISTAKES.items():
        assert old in sound[name], mistake
        _replace(files[name], sound[name].replace(old, new, 1))
        answer = call(planted.admin_port, "POST", "/api/v1/reload", headers={"Content-Type": "application/json"}, body=b"{}")  # fmt: skip  # noqa: E501
        assert answer.status == 422, (mistake, answer.body)
        status = call(planted.admin_port, "GET", "/api/v1/status")
        assert _problems(status.json) == _problems_of(answer.json), mistake
        for said in (answer.body.decode(), status.body.decode()):
            assert MARKER not in said, mistake
        if mistake == "a redis password":
            shown += [said_by_check(planted, "check"), said_by_check(planted, "check", "--format", "json")]
        _replace(files[name], sound[name])
    assert planted.stop() == 0
    written = (planted.directory / "out").read_text() + (planted.directory / "err").read_text()
    assert "/ms-system/x" in written
    assert "not reloaded" in written
    assert MARKER not in written
    assert MARKER not in "".join(shown)


def _replace(file: Path, text: str) -> None:
    beside = file.with_suffix(".new")
    beside.write_text(text)
    beside.rename(file)


def _problems(status: Any) -> Any:
    return status["last_reload"]["problems"]


def _problems_of(answer: Any) -> Any:
    return answer["problems"]
