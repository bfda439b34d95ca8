"""Show what probes see when something goes wrong that need not take the process out."""

import time

from tests.support.redis_server import RedisServer


def names(appliance):
    answer = appliance.admin("GET", "/readyz")
    assert answer.status == 200
    return [entry["name"] for entry in answer.json["degraded"]]


def test_a_configuration_that_does_not_load_is_told_and_takes_nobody_out(appliance):
    assert (appliance.admin("GET", "/readyz").json["status"], names(appliance)) == ("ready", [])
    sound = appliance.policy.read_text()
    appliance.policy.write_text(sound + "\nnonsense: true\n")
    assert appliance.reload().status == 422
    document = appliance.admin("GET", "/readyz").json
    assert document["status"] == "degraded"
    [entry] = document["degraded"]
    assert entry["name"] == "configuration"
    assert 0 <= time.time() - entry["since"] < 60
    asked = appliance.cli("healthcheck")
    assert asked.returncode == 0
    assert "configuration: the last reload failed" in asked.stderr
    assert appliance.reload().status == 422
    assert appliance.admin("GET", "/readyz").json["degraded"] == [entry], "since the first time"
    appliance.policy.write_text(sound)
    assert appliance.reload().status == 200
    assert names(appliance) == []


def test_a_store_that_may_evict_is_told_and_takes_nobody_out(make, tmp_path):
    server = RedisServer(
        tmp_path, options=("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    ).start()
    try:
        appliance = make(state=server.url).start()
        assert names(appliance) == ["state_keeping"]
        [entry] = appliance.admin("GET", "/readyz").json["degraded"]
        assert "allkeys-lru" in entry["detail"]
        assert appliance.get(bearer=appliance.token()).status == 200
        assert appliance.stop() == 0
    finally:
        server.stop()
