"""Run several processes on one Redis: what one takes back, all take back, and Redis may fail."""

import threading
import time

import pytest

from tests.support.redis_server import RedisServer


@pytest.fixture
def server(tmp_path):
    directory = tmp_path / "redis"
    directory.mkdir()
    server = RedisServer(directory).start()
    yield server
    server.stop()


@pytest.fixture
def replicas(make, server):
    """Return a function that starts two processes of one issuer with the same key."""

    def start(state, limits="loop_lag: 0"):  # a busy machine is no reason to refuse
        one = make(state=state, more=f"limits: {{{limits}}}\n")
        two = make(state=state, more=f"limits: {{{limits}}}\n")
        issuer = f'issuer: {{url: "http://127.0.0.1:{one.port}"}}'
        two.main.write_text(
            two.main.read_text().replace(f'issuer: {{url: "http://127.0.0.1:{two.port}"}}', issuer)
        )
        one.start()
        (two.directory / "keys").mkdir(mode=0o700)
        for file in (one.directory / "keys").iterdir():
            (two.directory / "keys" / file.name).write_bytes(file.read_bytes())
            (two.directory / "keys" / file.name).chmod(0o600)
        two.start()
        return one, two

    return start


def test_a_revocation_holds_in_the_other_process_within_a_second(replicas, server, wait_until):
    one, two = replicas(server.url)
    for _ in range(5):
        token = one.token()
        assert two.get(bearer=token).status == 200
        assert one.revoke(token).status == 200
        begun = time.monotonic()
        wait_until(lambda token=token: two.get(bearer=token).reason == "revoked", "the revocation")
        assert time.monotonic() - begun < 1
        assert two.introspect(token) == {"active": False}


def test_strict_it_holds_at_once(replicas, server):
    one, two = replicas(f"{{url: '{server.url}', consistency: strict}}")
    for _ in range(40):
        token = one.token()
        assert two.get(bearer=token).status == 200
        assert one.revoke(token).status == 200
        refused = two.get(bearer=token)
        assert (refused.status, refused.reason) == (401, "revoked")
    token = two.token()
    assert two.admin("POST", "/api/v1/clients/caller/revoke").status == 200
    assert one.get(bearer=token).reason == "revoked"


def test_failures_are_counted_by_both_together(replicas, server):
    one, two = replicas(server.url, limits="loop_lag: 0, auth_failures: {requests: 6, per: 1m}")
    statuses = []
    for replica in (one, two) * 5:
        asked = {"grant_type": "client_credentials", "client_id": "caller", "client_secret": "wrong"}
        statuses.append(replica.post_form("/oauth2/token", asked).status)
    assert statuses.count(401) <= 7
    assert statuses[-2:] == [429, 429]
    assert one.ask_token("other").status != 429


def test_without_redis_what_is_known_holds_and_it_heals(replicas, server, wait_until):
    one, two = replicas(server.url)
    revoked, kept = one.token(), one.token()
    assert one.revoke(revoked).status == 200
    wait_until(lambda: two.get(bearer=revoked).reason == "revoked", "the revocation")
    stop, statuses = threading.Event(), []

    def load():
        while not stop.is_set():
            statuses.append(two.get(bearer=kept).status)

    caller = threading.Thread(target=load)
    caller.start()
    try:
        server.stop()
        refused = one.revoke(kept)
        assert (refused.status, refused.json["error"]) == (503, "temporarily_unavailable")
        assert refused.headers["Retry-After"]
        assert one.admin("POST", "/api/v1/clients/caller/revoke").status == 503
        assert [replica.get(bearer=revoked).reason for replica in (one, two)] == ["revoked", "revoked"]
        assert [replica.get(bearer=kept).status for replica in (one, two)] == [200, 200]
        unready = wait_until(
            lambda: (answer := one.admin("GET", "/readyz")).status == 503 and answer, "readiness to fail"
        )
        assert unready.json["checks"]["state"]["ok"] is False
        server.start()
        wait_until(lambda: one.admin("GET", "/readyz").status == 200, "readiness")
        wait_until(lambda: two.admin("GET", "/readyz").status == 200, "readiness")
        assert one.get(bearer=revoked).reason == "revoked"
        assert one.revoke(one.token()).status == 200
    finally:
        stop.set()
        caller.join()
    assert set(statuses) == {200}


def test_strict_without_redis_tokens_are_refused_until_it_is_back(replicas, server, wait_until):
    one, two = replicas(f"{{url: '{server.url}', consistency: strict}}")
    token = one.token()
    assert two.get(bearer=token).status == 200
    server.stop()
    refused = wait_until(lambda: (a := two.get(bearer=token)).status == 503 and a, "the lease to end")
    assert refused.reason == "keys_unavailable"
    assert refused.headers["Retry-After"]
    wait_until(lambda: two._post("introspect", token, "caller").status == 503, "introspection to be refused")
    server.start()
    wait_until(lambda: two.get(bearer=token).status == 200, "recovery")
    assert one.revoke(token).status == 200
    assert two.get(bearer=token).reason == "revoked"


def test_a_process_does_not_start_without_its_store(make, server):
    server.stop()
    appliance = make(state=server.url)
    appliance.launch()
    assert appliance.wait() == 1
    assert "state: redis at 127.0.0.1" in appliance.err


def test_a_password_is_never_shown(make):
    appliance = make(state="redis://someone:hunter2@127.0.0.1:1/3")
    shown = appliance.cli("config", "show")
    assert "state: redis://someone:***@127.0.0.1:1/3" in shown.stdout
    appliance.launch()
    assert appliance.wait() == 1
    assert "hunter2" not in shown.stdout + appliance.err
