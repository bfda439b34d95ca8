"""Show the first configuration of one's own, and how a start that cannot succeed says why."""

import os
import re
import signal
import socket
import subprocess

import pytest


def run(sidegate, *arguments, cwd, **environment):
    return subprocess.run(
        [sidegate, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
        timeout=20,
    )


def test_init_check_test_and_run_work_from_an_empty_directory(make, sidegate, tmp_path, upstream):
    made = run(sidegate, "init", "mine", cwd=tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    (secret,) = re.findall(r"(?m)^secret of service-client \(shown once\): (\S+)$", made.stdout)
    mine = tmp_path / "mine"
    checked = run(sidegate, "check", "--strict", cwd=mine)
    assert (checked.returncode, checked.stdout) == (0, "config/gateway.yaml: ok\n")
    tested = run(sidegate, "test", cwd=mine)
    assert tested.returncode == 0
    assert "5 passed, 0 failed" in tested.stdout
    (key,) = (mine / "config" / "keys").glob("*.pem")
    assert key.stat().st_mode & 0o777 == 0o600
    assert secret not in "".join(
        path.read_text() for path in mine.rglob("*") if path.is_file() and path.suffix != ".db"
    )
    again = run(sidegate, "init", "mine", cwd=tmp_path)
    assert again.returncode == 1
    assert "mine is not empty: choose a new directory" in again.stderr

    appliance = make()
    appliance.directory = mine
    appliance.main_name = "config/gateway.yaml"
    appliance.environment |= {
        "SIDEGATE_ADDRESS": f"127.0.0.1:{appliance.port}",
        "SIDEGATE_ADMIN_ADDRESS": f"127.0.0.1:{appliance.admin_port}",
        "SIDEGATE_ISSUER_URL": f"http://127.0.0.1:{appliance.port}",
        "SIDEGATE_UPSTREAM": f"http://127.0.0.1:{upstream.port}",
    }
    appliance.start()
    from_form = {"grant_type": "client_credentials", "client_id": "service-client", "client_secret": secret}
    reply = appliance.post_form("/oauth2/token", from_form)
    assert (reply.status, reply.json["scope"]) == (200, "country.read")
    answer = appliance.get(bearer=reply.json["access_token"])
    assert (answer.status, answer.json["name"]) == (200, "AUSTRALIA")
    assert appliance.stop() == 0
    (answered, *_) = (line for line in appliance.accesses if line.get("route") == "read-country")
    assert answered["client"] == "service-client"


def test_a_bad_configuration_is_exit_2_with_every_mistake(make):
    appliance = make(more="limitz: {}\n")
    appliance.policy.write_text(
        appliance.policy.read_text().replace("audience: country-service", "audience: x")
    )
    done = appliance.cli("run")
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"{appliance.main}:" in done.stderr
    assert f"{appliance.policy}:" in done.stderr
    assert done.stderr.rstrip().splitlines()[-1].startswith("3 errors, ")


def test_a_failing_policy_test_keeps_the_process_from_starting(make):
    appliance = make()
    appliance.policy.write_text(appliance.policy.read_text().replace("expect: allow", "expect: deny"))
    done = appliance.cli("run")
    assert done.returncode == 2
    assert "tests[the caller may read]: the policy test expected deny and found allow" in done.stderr


@pytest.mark.parametrize("which", ["port", "admin_port"])
def test_a_taken_port_is_exit_1_and_says_which(make, upstream, which):
    appliance = make()
    taken = getattr(appliance, which)
    text = appliance.main.read_text()
    address = f'address: "127.0.0.1:{taken}"'
    appliance.main.write_text(text.replace(address, f'address: "127.0.0.1:{upstream.port}"'))
    done = appliance.cli("run")
    assert done.returncode == 1
    part = "listeners" if which == "port" else "admin"
    assert (
        f"sidegate: {part}: cannot listen on 127.0.0.1:{upstream.port}: Address already in use\n"
        in done.stderr
    )
    assert "Traceback" not in done.stderr


def test_a_state_file_that_is_none_is_exit_1_and_says_so(make):
    appliance = make(state="sqlite:state/sidegate.db")
    state = appliance.directory / "state" / "sidegate.db"
    state.parent.mkdir()
    state.write_bytes(b"this is no database, but long enough to be looked at as one" * 20)
    done = appliance.cli("run")
    assert done.returncode == 1
    assert "sidegate: state: " in done.stderr
    assert str(state) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_process_on_one_state_file_is_refused_until_the_first_is_gone(make):
    first = make(state="sqlite:state/sidegate.db").start()
    shared = first.directory / "state" / "sidegate.db"
    second = make(state=f"sqlite:{shared}")
    done = second.cli("run")
    assert done.returncode == 1
    assert f"sidegate: state: {shared}: another process uses it" in done.stderr
    assert second.cli("check").returncode == 0
    assert first.admin("POST", "/api/v1/reload").status == 200
    first.signal(9)
    first.wait()
    second.start()


def test_a_state_directory_that_cannot_be_made_is_exit_1_and_says_so(make):
    appliance = make(state="sqlite:state/sidegate.db")
    (appliance.directory / "state").write_text("a file is in the way")
    done = appliance.cli("run")
    assert done.returncode == 1
    assert "sidegate: state: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_that_is_none_is_exit_2_and_says_which(make):
    appliance = make()
    (appliance.directory / "keys").mkdir()
    (appliance.directory / "keys" / "mine.pem").write_text("not a key")
    done = appliance.cli("run")
    assert done.returncode == 2
    assert "keys.directory: " in done.stderr
    assert "mine.pem" in done.stderr


def test_an_access_log_that_cannot_be_opened_is_exit_1(make):
    appliance = make(more="logs: {access: nowhere/access.log}\n")
    done = appliance.cli("run")
    assert done.returncode == 1
    assert "sidegate: logs.access: cannot open" in done.stderr


def test_a_hang_up_before_it_serves_ends_no_process(sidegate, tmp_path):
    """A reload of what is just being loaded is nothing; the watch sees what changed meanwhile."""
    assert run(sidegate, "init", "mine", cwd=tmp_path).returncode == 0
    main = tmp_path / "mine" / "config" / "gateway.yaml"
    with socket.create_server(("127.0.0.1", 0)) as store:
        store.settimeout(20)
        state = f"state: redis://127.0.0.1:{store.getsockname()[1]}"
        main.write_text(re.sub(r"(?m)^state:.*$", state, main.read_text()))
        process = subprocess.Popen(
            [sidegate, "run"], cwd=tmp_path / "mine", stderr=subprocess.PIPE, text=True
        )
        connection, _ = store.accept()  # it waits for the store's first words
        process.send_signal(signal.SIGHUP)
        connection.close()
    _, told = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "state" in told
