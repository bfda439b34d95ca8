"""Run the release before and this one on one store: what either takes back, neither lets live.

The release before comes out of the repository's own history, so a clone without it (a
shallow one) cannot run these tests, and says so.
"""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.journeys.conftest import Appliance, Make
from tests.support.jws import Key, make_key
from tests.support.redis_server import RedisServer

BEFORE = "ce074f58db592770c1b7d891f31448c0c4688407"
ROOT = Path(__file__).resolve().parents[2]
CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
NUMBERS = itertools.count()
KEY: Key = make_key("ES256", "k1")

POLICY = f"""\
clients:
  country-service: {{scopes: {{country.read: Read}}}}
  caller: {{secrets: ["plain:caller-secret"]}}
  other: {{secrets: ["plain:other-secret"]}}
  signer: {{jwks: {json.dumps({"keys": [KEY.public]})}}}
authorizations:
  - {{client: caller, audience: country-service, scopes: [country.read]}}
  - {{client: other, audience: country-service, scopes: [country.read]}}
  - {{client: signer, audience: country-service, scopes: [country.read]}}
routes:
  - path: /ms-system/**
    upstream: country
    require: {{audience: country-service, scopes: [country.read]}}
"""


@pytest.fixture(scope="module")
def tree_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkout of the release before."""
    known = subprocess.run(
        ["git", "cat-file", "-e", f"{BEFORE}^{{commit}}"], cwd=ROOT, capture_output=True, check=False
    )
    if known.returncode:
        pytest.skip(f"the history of this clone lacks {BEFORE[:7]}: git fetch --unshallow")
    directory = tmp_path_factory.mktemp("before")
    archive = subprocess.run(
        ["git", "archive", "--format=tar", BEFORE, "gateway"], cwd=ROOT, capture_output=True, check=True
    )
    subprocess.run(["tar", "-x", "-C", directory], input=archive.stdout, check=True)
    return directory


def as_before(appliance: Appliance, tree: Path) -> Appliance:
    """Let the release before run with this configuration."""
    appliance.started_by = (sys.executable, "-m", "gateway.cli")
    appliance.environment = {**os.environ, "PYTHONPATH": str(tree)}
    return appliance


def as_now(appliance: Appliance) -> Appliance:
    appliance.started_by = (sys.executable, "-m", "gateway.cli")
    appliance.environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return appliance


def use(process: Appliance, assertion: str) -> int:
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": CLIENT_ASSERTION,
        "client_assertion": assertion,
        "scope": "country.read",
    }
    return process.post_form("/oauth2/token", form).status


def assertion_for(process: Appliance) -> str:
    claims = {
        "iss": "signer",
        "sub": "signer",
        "aud": f"http://127.0.0.1:{process.port}",
        "exp": int(time.time()) + 600,
        "jti": f"assertion {next(NUMBERS)}",
    }
    return KEY.token(claims)


@dataclass
class Past:
    """What was taken back and used so far, and what was not."""

    revoked: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)

    def add(self, process: Appliance, issuer: Appliance) -> None:
        """Revoke a token, and all of another client, and use an assertion."""
        revoked, kept, lost = process.token(), process.token(), process.token("other")
        for token in (revoked, kept, lost):
            assert process.get(bearer=token).status == 200
        assert process.revoke(revoked).status == 200
        assert process.admin("POST", "/api/v1/clients/other/revoke").status == 200
        self.used.append(assertion_for(issuer))
        assert use(process, self.used[-1]) == 200
        self.revoked += [revoked, lost]
        self.kept.append(kept)

    def check(self, process: Appliance, wait_until: Callable[..., object]) -> None:
        for token in self.revoked:
            wait_until(lambda token=token: process.get(bearer=token).reason == "revoked", "the revocation")
            assert process.introspect(token) == {"active": False}
        assert [process.get(bearer=token).status for token in self.kept] == [200] * len(self.kept)
        assert [use(process, assertion) for assertion in self.used] == [401] * len(self.used)


def assert_sound(*processes: Appliance) -> None:
    for process in processes:
        assert process.process is not None
        assert process.process.poll() in (None, 0)
        assert not [line for line in process.logged if "internal error" in line["message"]], process.err
        assert "Traceback" not in process.err


@pytest.mark.parametrize("consistency", ["cached", "strict"])
def test_at_the_same_time_on_one_redis(
    make: Make,
    redis: RedisServer,
    tree_before: Path,
    wait_until: Callable[..., object],
    consistency: str,
) -> None:
    state = f"{{url: '{redis.url}', consistency: {consistency}}}"
    before, now = (make(state=state, policy=POLICY, more="limits: {loop_lag: 0}\n") for _ in range(2))
    url = f'url: "http://127.0.0.1:{before.port}"'
    now.main.write_text(now.main.read_text().replace(f'url: "http://127.0.0.1:{now.port}"', url))
    as_before(before, tree_before).start()
    (now.directory / "keys").mkdir(mode=0o700)
    for file in (before.directory / "keys").iterdir():
        (now.directory / "keys" / file.name).write_bytes(file.read_bytes())
        (now.directory / "keys" / file.name).chmod(0o600)
    as_now(now).start()
    assert ["state" in each.status for each in (before, now)] == [False, True], "they are not two releases"
    past = Past()
    for process in (before, now, before):
        wait_until(lambda process=process: issues_for(process, "other"), "new tokens of a client")
        past.add(process, before)
        for each in (before, now):
            past.check(each, wait_until)
    for each in (now, before):
        each.stop()
        each.start()
        past.check(each, wait_until)
    assert_sound(before, now)


def issues_for(process: Appliance, client: str) -> bool:
    """Return whether a client gets a token that is accepted: a client that was revoked may have to wait."""
    answer = process.ask_token(client, scope="country.read")
    return answer.status == 200 and process.get(bearer=answer.json["access_token"]).status == 200


def test_in_turn_on_one_file(make: Make, tree_before: Path, wait_until: Callable[..., object]) -> None:
    appliance = make(state="sqlite:state/sidegate.db", policy=POLICY, more="limits: {loop_lag: 0}\n")
    past = Past()
    for turn in range(4):
        if turn % 2:
            as_now(appliance)
        else:
            as_before(appliance, tree_before)
        appliance.start()
        past.check(appliance, wait_until)
        wait_until(lambda: issues_for(appliance, "other"), "new tokens of a client")
        past.add(appliance, appliance)
        past.check(appliance, wait_until)
        assert appliance.stop() == 0
    assert_sound(appliance)
