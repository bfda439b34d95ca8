"""Show what a running process writes: JSON lines, and nothing secret in any of them."""

import signal


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


def test_a_reload_by_signal_is_logged(appliance):
    appliance.signal(signal.SIGHUP)
    appliance.hang_up()
    messages = [line["message"] for line in appliance.logged]
    assert "the configuration was reloaded" in messages
    assert {line["level"] for line in appliance.logged} <= {"info", "warning"}


def test_start_and_end_are_logged_with_their_addresses(appliance):
    assert appliance.stop() == 0
    messages = [line["message"] for line in appliance.logged]
    assert f"listening on 127.0.0.1:{appliance.port} for issuer and gate" in messages
    assert f"admin listening on 127.0.0.1:{appliance.admin_port}" in messages
    assert messages[-1] == "stopped"
