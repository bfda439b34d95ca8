"""Show a process with TLS and unix sockets: changing certificates, commands, what idle callers cost."""

import os
import re
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.replacing import replace

FULL = bool(os.environ.get("SIDEGATE_SOAK"))
SEEN_WITHIN_S = 4.0
GET = b"GET /nothing/here HTTP/1.1\r\nHost: a.example\r\n\r\n"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.make("Test Servers")


@contextmanager
def secured(port: int, authority: Authority) -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context(cadata=authority.pem.decode())
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
        context.wrap_socket(connection, server_hostname="localhost") as secure,
    ):
        yield secure


def answers(connection: socket.socket) -> bool:
    connection.sendall(GET)
    return connection.recv(65536).startswith(b"HTTP/1.1 404")


def shown(port: int, authority: Authority) -> bytes:
    """Return the certificate that a new connection is shown, in DER."""
    with secured(port, authority) as connection:
        assert answers(connection)
        certificate = connection.getpeercert(binary_form=True)
        assert certificate is not None
        return certificate


def with_tls(appliance, port):
    """Give the configuration a second listener, with TLS."""
    text = appliance.main.read_text()
    tls = "{certificate_file: server.pem, key_file: server.key}"
    second = f'{{address: "127.0.0.1:{port}", tls: {tls}}}'
    appliance.main.write_text(re.sub(r"listeners: \[(.*)\]", rf"listeners: [\1, {second}]", text))


def test_a_certificate_that_changes_on_disk(make, free_port, wait_until, authority):
    appliance, port = make(), free_port()
    with_tls(appliance, port)
    authority.server().write(appliance.directory, "server")
    appliance.start()
    listener = f'{{listener="127.0.0.1:{port}"}}'
    successful = f"sidegate_tls_certificate_last_reload_successful{listener}"
    with secured(port, authority) as open_connection:
        assert answers(open_connection)

        replacement = authority.server(kind="rsa", days=(-1, 50))
        replacement.write(appliance.directory, "server.new")
        for ending in (".key", ".pem"):
            (appliance.directory / f"server.new{ending}").rename(appliance.directory / f"server{ending}")
        began = time.monotonic()
        wait_until(lambda: shown(port, authority) == replacement.der, "the replaced certificate")
        assert time.monotonic() - began < SEEN_WITHIN_S
        assert appliance.metric(successful) == 1
        name = f'{{listener="127.0.0.1:{port}",name="localhost"}}'
        not_after = appliance.metric(f"sidegate_tls_certificate_not_after_timestamp_seconds{name}")
        assert not_after == replacement.certificate.not_valid_after_utc.timestamp()

        half = authority.server()
        (appliance.directory / "server.pem").write_bytes(half.pem)
        wait_until(lambda: appliance.metric(successful) == 0, "the half-written pair to be seen")
        assert shown(port, authority) == replacement.der
        assert appliance.metric("sidegate_config_last_reload_successful") == 1
        answer = appliance.reload()
        assert answer.status == 200, "a policy takes effect all the same"
        assert any(
            "is not the key of the certificate" in problem["message"] for problem in answer.json["problems"]
        )

        replace(appliance.directory / "server.key", half.key_pem)
        wait_until(lambda: shown(port, authority) == half.der, "the whole pair")
        assert answers(open_connection)
    assert appliance.stop() == 0


def test_check_looks_into_the_files(make, free_port, authority):
    appliance = make()
    with_tls(appliance, free_port())
    lacking = appliance.cli("check")
    assert lacking.returncode == 2
    assert 'listeners[1].tls.certificate_file: "server.pem" does not exist' in lacking.stdout

    authority.server().write(appliance.directory, "server")
    sound = appliance.cli("check", "--strict")
    (appliance.directory / "server.key").write_bytes(authority.server().key_pem)
    mismatch = appliance.cli("check")
    assert mismatch.returncode == 2
    assert 'listeners[1].tls.key_file: "server.key" is not the key of the certificate' in mismatch.stdout
    assert re.search(r"gateway\.yaml:2:\d+: error", mismatch.stdout)

    for days, words in (
        ((-1, 5.5), "expires in 5.5 days"),
        ((-2, -1), "has expired"),
        ((1, 2), "is not valid yet"),
    ):
        authority.server(days=days).write(appliance.directory, "server")
        doubtful = appliance.cli("check")
        assert doubtful.returncode == 0
        assert f'warning: listeners[1].tls.certificate_file: "server.pem" {words}' in doubtful.stdout
    assert sound.stdout.count("certificate_file") == 0


def test_commands_over_a_unix_socket(make, wait_until):
    appliance = make()
    path = appliance.directory / "admin.sock"
    text = appliance.main.read_text()
    appliance.main.write_text(re.sub(r"admin: .*", "admin: {address: unix:admin.sock}", text))
    assert appliance.cli("healthcheck").returncode == 1
    appliance.launch()
    wait_until(lambda: path.exists() and appliance.cli("healthcheck").returncode == 0, "a healthy process")
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert appliance.cli("reload").stdout.endswith("reloaded\n")
    assert appliance.stop() == 0
    assert not path.exists()


@pytest.mark.soak
@pytest.mark.skipif(not FULL, reason="measures with full counts")
@pytest.mark.parametrize(("kind", "count", "most_kib"), [("plain", 10_000, 8), ("tls", 1_000, 40)])
def test_what_an_idle_connection_costs(make, free_port, authority, kind, count, most_kib, record_property):
    appliance, port = make(more="limits: {connections: 0, keep_alive_timeout: 10m}\n"), free_port()
    with_tls(appliance, port)
    authority.server().write(appliance.directory, "server")
    appliance.start()
    context = ssl.create_default_context(cadata=authority.pem.decode())

    def connect(stack: ExitStack) -> None:
        target = ("127.0.0.1", port if kind == "tls" else appliance.port)
        connection = stack.enter_context(socket.create_connection(target, timeout=10))
        if kind == "tls":
            connection = stack.enter_context(context.wrap_socket(connection, server_hostname="localhost"))
        assert answers(connection)

    with ExitStack() as stack:
        connect(stack)
    before = rss_kib(appliance.process)
    for generation in range(3):
        with ExitStack() as stack:
            for _ in range(count):
                connect(stack)
            each = (rss_kib(appliance.process) - before) / count
            record_property(f"{kind}_kib_each_generation_{generation}", round(each, 2))
            assert each < most_kib
        time.sleep(6)  # what they leave behind is given back every 5 s


def rss_kib(process: "subprocess.Popen[bytes]") -> int:
    text = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1])
