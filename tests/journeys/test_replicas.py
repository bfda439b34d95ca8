"""Run several processes on one Redis: what one takes back, all take back, and Redis may fail."""

import threading
import time


def degraded(replica):
    """Return the names of what a ready process lacks."""
    return [entry["name"] for entry in replica.admin("GET", "/readyz").json["degraded"]]


def test_a_revocation_holds_in_the_other_process_within_a_second(replicas, redis, wait_until):
    one, two = replicas(redis.url)
    for _ in range(5):
        token = one.token()
        assert two.get(bearer=token).status == 200
        assert one.revoke(token).status == 200
        begun = time.monotonic()
        wait_until(lambda token=token: two.get(bearer=token).reason == "revoked", "the revocation")
        assert time.monotonic() - begun < 1
        assert two.introspect(token) == {"active": False}


def test_strict_it_holds_at_once(replicas, redis):
    one, two = replicas(f"{{url: '{redis.url}', consistency: strict}}")
    for _ in range(40):
        token = one.token()
        assert two.get(bearer=token).status == 200
        assert one.revoke(token).status == 200
        refused = two.get(bearer=token)
        assert (refused.status, refused.reason) == (401, "revoked")
    token = two.token()
    assert two.admin("POST", "/api/v1/clients/caller/revoke").status == 200
    assert one.get(bearer=token).reason == "revoked"


def test_failures_are_counted_by_both_together(replicas, redis):
    one, two = replicas(redis.url, limits="loop_lag: 0, auth_failures: {requests: 6, per: 1m}")
    statuses = []
    for replica in (one, two) * 5:
        asked = {"grant_type": "client_credentials", "client_id": "caller", "client_secret": "wrong"}
        statuses.append(replica.post_form("/oauth2/token", asked).status)
    assert statuses.count(401) <= 7
    assert statuses[-2:] == [429, 429]
    assert one.ask_token("other").status != 429


def test_an_address_closed_by_both_stays_open_to_who_is_known(replicas, redis):
    one, two = replicas(redis.url, limits="loop_lag: 0, auth_failures: {requests: 2, per: 10m}")
    assert two.ask_token().status == 200
    guesses = {"grant_type": "client_credentials", "client_secret": "wrong"}
    for number in range(20):
        assert one.post_form("/oauth2/token", {**guesses, "client_id": f"invented {number}"}).status == 401
    assert one.ask_token().status == 429  # not from here, as far as this process knows
    assert two.post_form("/oauth2/token", {**guesses, "client_id": "invented"}).status == 401  # and learns
    assert two.post_form("/oauth2/token", {**guesses, "client_id": "invented"}).status == 429
    assert two.ask_token("other").status == 429
    assert two.ask_token().status == 200


def test_without_redis_what_is_known_holds_and_it_heals(replicas, redis, wait_until):
    one, two = replicas(redis.url)
    revoked, kept = one.token(), one.token()
    assert one.revoke(revoked).status == 200
    wait_until(lambda: two.get(bearer=revoked).reason == "revoked", "the revocation")
    stop, statuses = threading.Event(), []

    def load():
        while not stop.is_set():
            statuses.append(two.get(bearer=kept).status)
            statuses.append(two.ask_token().status)
            statuses.append(200 if two.introspect(kept)["active"] else "inactive")

    caller = threading.Thread(target=load)
    caller.start()
    try:
        redis.stop()
        refused = one.revoke(kept)
        assert (refused.status, refused.json["error"]) == (503, "temporarily_unavailable")
        assert refused.headers["Retry-After"]
        assert one.admin("POST", "/api/v1/clients/caller/revoke").status == 503
        assert [replica.get(bearer=revoked).reason for replica in (one, two)] == ["revoked", "revoked"]
        assert [replica.get(bearer=kept).status for replica in (one, two)] == [200, 200]
        # Who is wrong is counted by each alone, who is right gets in.
        wrong = {"grant_type": "client_credentials", "client_id": "caller", "client_secret": "wrong"}
        assert [replica.post_form("/oauth2/token", wrong).status for replica in (one, two)] == [401, 401]
        for replica in (one, two):
            wait_until(lambda replica=replica: degraded(replica) == ["state"], "the outage to be told")
            # All replicas lack it, and each can serve: none is taken out.
            assert replica.admin("GET", "/readyz").status == 200
            asked = replica.cli("healthcheck")
            assert (asked.returncode, asked.stdout) == (0, "ready\n")
            assert "state: redis at 127.0.0.1" in asked.stderr
        redis.start()
        wait_until(lambda: degraded(one) == degraded(two) == [], "both to see it")
        assert one.get(bearer=revoked).reason == "revoked"
        assert one.revoke(one.token()).status == 200
    finally:
        stop.set()
        caller.join()
    assert set(statuses) == {200}


def test_strict_without_redis_tokens_are_refused_until_it_is_back(replicas, redis, wait_until):
    one, two = replicas(f"{{url: '{redis.url}', consistency: strict}}")
    token = one.token()
    assert two.get(bearer=token).status == 200
    redis.stop()
    refused = wait_until(lambda: (a := two.get(bearer=token)).status == 503 and a, "the lease to end")
    assert refused.reason == "keys_unavailable"
    assert refused.headers["Retry-After"]
    wait_until(lambda: two._post("introspect", token, "caller").status == 503, "introspection to be refused")
    unready = wait_until(
        lambda: (answer := two.admin("GET", "/readyz")).status == 503 and answer, "readiness to fail"
    )
    assert unready.json["checks"]["state"]["ok"] is False
    redis.start()
    wait_until(lambda: two.admin("GET", "/readyz").status == 200, "readiness")
    wait_until(lambda: two.get(bearer=token).status == 200, "recovery")
    assert one.revoke(token).status == 200
    assert two.get(bearer=token).reason == "revoked"


def test_a_process_does_not_start_without_its_store(make, redis):
    redis.stop()
    appliance = make(state=redis.url)
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


def test_a_server_that_may_evict_is_said(make, redis):
    redis.stop()
    redis.options = ["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"]
    redis.start()
    appliance = make(state=redis.url).start()
    state = appliance.status["state"]
    assert state["kind"] == "redis"
    (doubt,) = state["doubts"]
    assert "maxmemory-policy is allkeys-lru" in doubt
    assert [line["level"] for line in appliance.logged if doubt in line["message"]] == ["warning"]
    assert make().start().status["state"] == {"kind": "memory", "doubts": []}


def test_all_of_a_client_is_revoked_and_new_tokens_work_everywhere_at_once(replicas, redis, wait_until):
    one, two = replicas(redis.url)
    held = [one.token(), two.token()]
    for _ in range(2):
        assert one.admin("POST", "/api/v1/clients/caller/revoke").status == 200
        for token in held:
            wait_until(lambda token=token: two.get(bearer=token).reason == "revoked", "the revocation")
            assert one.get(bearer=token).reason == "revoked"
        begun = time.monotonic()
        held = [one.token(), two.token()]
        for token in held:
            assert [each.get(bearer=token).status for each in (one, two)] == [200, 200]
        assert time.monotonic() - begun < 5


URL = 'url: "http://127.0.0.1:{}"'


def test_a_reload_does_not_leave_the_names_that_the_replicas_share(replicas, redis, wait_until):
    """Revoked under another URL it would be known to no other process, nor to this one after a restart."""
    one, two = replicas(redis.url)
    written, other = URL.format(one.port), URL.format(1)
    text = one.main.read_text()
    line = 1 + text[: text.index(written)].count("\n")
    for state in (redis.url, '"memory:"'):  # another state waits for a restart, too
        one.main.write_text(text.replace(written, other).replace(redis.url, state))
        refused = one.reload()
        assert refused.status == 422
        (problem,) = (each for each in refused.json["problems"] if each["severity"] == "error")
        assert (problem["path"], problem["line"]) == ("issuer.url", line)
        assert "is not the URL that this process started with" in problem["message"]
        assert "restart" in problem["hint"]
    token = one.token()
    assert two.get(bearer=token).status == 200
    assert one.revoke(token).status == 200
    wait_until(lambda: two.get(bearer=token).reason == "revoked", "the revocation")
    one.main.write_text(text)
    assert one.reload().status == 200


def test_a_token_of_the_former_url_is_revoked_where_that_is_still_in_use(replicas, redis, wait_until):
    one, two = replicas(redis.url)
    token, kept = one.token(), one.token()
    text = one.main.read_text()
    assert one.stop() == 0
    one.main.write_text(text.replace(URL.format(one.port), URL.format(1)))
    one.start()
    assert two.get(bearer=token).status == 200
    assert one.revoke(token).status == 200
    wait_until(lambda: two.get(bearer=token).reason == "revoked", "the revocation")
    assert one.stop() == 0
    one.main.write_text(text)
    one.start()
    assert one.get(bearer=token).reason == "revoked"
    assert one.get(bearer=kept).status == 200


def test_where_no_state_is_shared_the_url_may_change(appliance):
    text = appliance.main.read_text()
    appliance.main.write_text(text.replace(URL.format(appliance.port), URL.format(1)))
    token = appliance.token()
    assert appliance.reload().status == 200
    assert appliance.get(bearer=token).reason == "wrong_issuer"
    assert appliance.revoke(token).status == 200
    appliance.main.write_text(text)
    assert appliance.reload().status == 200
    assert appliance.get(bearer=token).reason == "revoked"
