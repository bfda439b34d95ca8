"""Show `reload` and `healthcheck` against a process that is not there, and one that answers oddly."""

import json
import socket
import threading

import pytest


@pytest.mark.parametrize("command", ["reload", "healthcheck"])
def test_nobody_there_is_exit_1_and_says_where_it_looked(run, configuration, command):
    done = run(command, "-c", configuration)
    assert done.exit_code == 1
    assert done.stderr == "sidegate: the admin listener at 127.0.0.1:2 does not answer: Connection refused\n"
    assert "Traceback" not in done.output


@pytest.mark.parametrize("command", ["reload", "healthcheck"])
def test_somebody_else_there_is_exit_1(run, configuration, command):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        configuration.write_text(configuration.read_text().replace("127.0.0.1:2", f"127.0.0.1:{port}"))

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"SSH-2.0-not-http\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        done = run(command, "-c", configuration)
        thread.join()
    assert done.exit_code == 1
    assert "does not answer" in done.stderr


def test_the_probe_does_not_need_the_policies(run, configuration):
    (configuration.parent / "policies" / "country.yaml").write_text("half a poli: [")
    done = run("healthcheck", "-c", configuration)
    assert done.exit_code == 1
    assert "does not answer" in done.stderr


def test_a_token_file_that_is_missing_is_exit_1(run, configuration):
    text = configuration.read_text().replace('"127.0.0.1:2"', '"127.0.0.1:2", token_file: gone')
    configuration.write_text(text)
    done = run("healthcheck", "-c", configuration)
    assert done.exit_code == 1
    assert "gone" in done.stderr


@pytest.mark.parametrize(("command", "status"), [("reload", b"422 No"), ("healthcheck", b"503 No")])
def test_it_names_itself_as_every_admin_listener_is_called(run, configuration, command, status):
    """An address that is not loopback is answered to only if `admin.hosts` lists it."""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        configuration.write_text(configuration.read_text().replace("127.0.0.1:2", f"127.0.0.1:{port}"))

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                asked.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n{}")

        thread = threading.Thread(target=answer)
        thread.start()
        assert run(command, "-c", configuration).exit_code == 1
        thread.join()
    assert [line for line in asked[0].split(b"\r\n") if line.startswith(b"Host:")] == [b"Host: localhost"]


def test_a_problem_of_no_setting_has_no_empty_place(run, configuration):
    problem = {"file": "a.yaml", "line": 2, "column": 1, "severity": "error"}
    problems = [
        {**problem, "path": "", "message": "no YAML"},
        {**problem, "path": "x", "message": "unknown", "hint": "did you mean y?"},
    ]
    body = json.dumps({"problems": problems}).encode()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        configuration.write_text(configuration.read_text().replace("127.0.0.1:2", f"127.0.0.1:{port}"))

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 422 No\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

        thread = threading.Thread(target=answer)
        thread.start()
        done = run("reload", "-c", configuration)
        thread.join()
    assert (
        done.stdout == "a.yaml:2:1: error: no YAML\na.yaml:2:1: error: x: unknown (hint: did you mean y?)\n"
    )
