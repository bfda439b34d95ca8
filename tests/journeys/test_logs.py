"""Show what a running process writes: JSON lines, and nothing secret in any of them."""

import signal
import subprocess

from gateway.version import VERSION


def test_access_lines_name_the_decision_and_hold_no_query_and_no_token(appliance, wait_until):
    token = appliance.token()
    appliance.get("/ms-system/country/code/AUS?token=in-the-query", bearer=token)
    appliance.get("/ms-system/country/code/AUS?x=1")
    appliance.get("/nowhere")
    lines = wait_until(lambda: len(appliance.accesses) >= 4 and appliance.accesses, "the access log")
    by_reason = {line["reason"]: line for line in lines if "reason" in line}
    assert {"ok", "no_token", "no_route"} <= set(by_reason)
    line = by_reason["ok"]
    assert (line["status"], line["route"], line["client"]) == (200, "read-country", "caller")
    assert line["path"] == "/ms-system/country/code/AUS"
    assert by_reason["no_token"]["status"] == 401
    assert appliance.stop() == 0
    for written in (appliance.out, appliance.err):
        assert token not in written
        assert token.rpartition(".")[2] not in written
        assert "in-the-query" not in written
        assert "caller-secret" not in written


def test_the_request_id_of_an_answer_is_that_of_its_line(appliance, wait_until):
    answer = appliance.get("/nowhere")
    (line,) = wait_until(lambda: appliance.accesses, "the access log")
    assert line["request_id"] == answer.headers["X-Request-Id"] == answer.json["request_id"]


def test_one_line_says_what_a_process_serves_from_its_start_on(appliance, sidegate, wait_until):
    def starts():
        return [line for line in appliance.logged if line["message"] == "serving"]

    (line,) = wait_until(starts, "the line")
    keys = subprocess.run([sidegate, "keys", "list", "-c", appliance.main], capture_output=True, timeout=20)
    assert line["level"] == "info"
    assert line["version"] == VERSION
    assert line["configuration"] == str(appliance.main)
    assert line["hash"] == appliance.status["configuration"]["hash"]
    assert (line["clients"], line["authorizations"], line["routes"], line["upstreams"]) == (3, 1, 1, 1)
    assert line["state"] == "memory"
    assert line["kid"] == keys.stdout.decode().split()[0]
    appliance.hang_up()
    assert starts() == [line], "a reload has a line of its own"


def test_a_reload_by_signal_is_logged(appliance):
    appliance.signal(signal.SIGHUP)
    appliance.hang_up()
    messages = [line["message"] for line in appliance.logged]
    assert "the configuration was reloaded" in messages
    assert {line["level"] for line in appliance.logged} <= {"info", "warning"}


def test_a_rotated_access_log_goes_on_in_a_new_file(make, wait_until):
    appliance = make(more="logs: {access: access.log}\n").start()
    log, rotated = appliance.directory / "access.log", appliance.directory / "access.log.1"
    appliance.get("/before")
    wait_until(lambda: "/before" in log.read_text(), "the first line")
    log.rename(rotated)
    appliance.get("/between")
    wait_until(lambda: "/between" in rotated.read_text(), "a line in the file that was renamed")
    appliance.main.write_text(appliance.main.read_text() + "nonsense: 1\n")
    assert not appliance.hang_up()["applied"], "a configuration that is refused holds up no rotation"
    appliance.get("/after")
    wait_until(lambda: log.exists() and "/after" in log.read_text(), "a line in the new file")
    assert appliance.stop() == 0
    assert "/after" not in rotated.read_text()
    assert "/between" not in log.read_text()


def test_start_and_end_are_logged_with_their_addresses(appliance):
    assert appliance.stop() == 0
    messages = [line["message"] for line in appliance.logged]
    assert f"listening on 127.0.0.1:{appliance.port} for issuer and gate" in messages
    assert f"admin listening on 127.0.0.1:{appliance.admin_port}" in messages
    assert messages[-1] == "stopped"


def test_attempts_that_failed_are_counted_by_what_broke(make, free_port, wait_until):
    appliance = make()
    text = appliance.main.read_text()
    begin = text.index("http://127.0.0.1:", text.index("upstreams:"))
    end = text.index('"', begin)
    appliance.main.write_text(text[:begin] + f"http://127.0.0.1:{free_port()}" + text[end:])
    appliance.start()
    assert appliance.get(bearer=appliance.token()).reason == "upstream_connect"
    wait_until(lambda: len(appliance.accesses) == 2, "the access log")
    assert appliance.accesses[1]["upstream"] == "country"
    name = 'sidegate_upstream_errors_total{upstream="country",reason="connect"}'
    assert [appliance.metric(name) for _ in range(2)] == [1, 1]
