"""Start Sidegate as a user starts it, and call it over real sockets.

Every appliance has a directory, ports and an upstream of its own. Waiting is polling
for what is waited for, never a pause that is hoped to be long enough.
"""

import base64
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.ports import free_port
from tests.support.redis_server import RedisServer

SIDEGATE = Path(sys.executable).with_name("sidegate")
PATIENCE_S = 20.0
POLL_S = 0.02

COUNTRY = "/ms-system/country/code/AUS"

MAIN = """\
version: 1
listeners: [{{address: "127.0.0.1:{port}"}}]
admin: {{address: "127.0.0.1:{admin_port}"}}
issuer: {{url: "http://127.0.0.1:{port}"}}
state: {state}
upstreams:
  country: {{targets: ["http://127.0.0.1:{upstream_port}"]}}
{more}"""

POLICY = """\
clients:
  country-service:
    scopes: {country.read: Read, country.write: Write}
  caller:
    secrets: ["plain:caller-secret"]
  other:
    secrets: ["plain:other-secret"]
authorizations:
  - {client: caller, audience: country-service, scopes: [country.read, country.write]}
routes:
  - name: read-country
    path: /ms-system/**
    methods: [GET, HEAD]
    upstream: country
    require: {audience: country-service, scopes: [country.read]}
tests:
  - name: the caller may read
    request: GET /ms-system/country/code/AUS
    client: caller
    scopes: [country.read]
    expect: allow
"""


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str | None:
        return self.headers.get("Sidegate-Reason")


def call(
    port: int,
    method: str,
    target: str,
    *,
    headers: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    body: bytes | None = None,
    basic: tuple[str, str] | None = None,
    bearer: str | None = None,
    timeout_s: float = 10.0,
) -> Answer:
    """Send one request to 127.0.0.1 on a connection of its own."""
    fields = dict(headers or {})
    if form is not None:
        body = urlencode(form).encode()
        fields["Content-Type"] = "application/x-www-form-urlencoded"
    if basic is not None:
        fields["Authorization"] = "Basic " + base64.b64encode(":".join(basic).encode()).decode()
    if bearer is not None:
        fields["Authorization"] = f"Bearer {bearer}"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(method, target, body=body, headers=fields)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def wait_for(
    condition: Callable[[], Any], what: str, *, patience_s: float = PATIENCE_S, poll_s: float = POLL_S
) -> Any:
    """Return the first truthy value of `condition`; fail when there is none in time."""
    deadline = time.monotonic() + patience_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {patience_s:.0f} s for {what}")
        time.sleep(poll_s)
    return value


@dataclass
class Upstream:
    """A resource service that records what arrives; `/slow` paths wait for `release`."""

    port: int
    targets: list[str] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    seen = Upstream(0)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one segment: else each answer waits for an acknowledgement

        def do_GET(self) -> None:
            seen.targets.append(self.path)
            if "slow" in self.path:
                seen.release.wait(PATIENCE_S)
            body = b'{"code": "AUS", "name": "AUSTRALIA"}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            """Say nothing of callers that are gone: some tests kill them."""

    with Server(("127.0.0.1", 0), Handler) as server:
        seen.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield seen
        seen.release.set()
        server.shutdown()
        thread.join()


@dataclass
class Appliance:
    """One process of `sidegate run` and the directory of its configuration."""

    directory: Path
    port: int
    admin_port: int
    process: "subprocess.Popen[bytes] | None" = None
    main_name: str = "gateway.yaml"
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    started_by: tuple[str | Path, ...] = (SIDEGATE,)
    """The words before `run`."""

    @property
    def main(self) -> Path:
        return self.directory / self.main_name

    @property
    def policy(self) -> Path:
        return self.directory / "policies" / "country.yaml"

    def launch(self) -> "subprocess.Popen[bytes]":
        """Start the process and do not wait."""
        with (self.directory / "out").open("ab") as out, (self.directory / "err").open("ab") as err:
            self.process = subprocess.Popen(
                [*self.started_by, "run", "-c", self.main],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=self.directory,
                env=self.environment,
                start_new_session=True,
            )
        return self.process

    def start(self) -> "Appliance":
        """Start the process and wait until it is ready."""
        process = self.launch()

        def ready() -> bool:
            if process.poll() is not None:
                pytest.fail(f"sidegate ended with {process.returncode}:\n{self.err}")
            try:
                return call(self.admin_port, "GET", "/readyz").status == 200
            except OSError:
                return False

        wait_for(ready, "/readyz")
        return self

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> int:
        """Return the exit code, when the process has ended by itself."""
        assert self.process is not None
        return self.process.wait(PATIENCE_S)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def end(self) -> None:
        """End the process, if it runs, without waiting for anything that it does."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def out(self) -> str:
        return (self.directory / "out").read_text()

    @property
    def err(self) -> str:
        return (self.directory / "err").read_text()

    @property
    def logged(self) -> list[dict[str, Any]]:
        """The process log's whole lines."""
        return [json.loads(line) for line in self.err.splitlines(keepends=True) if line.endswith("\n")]

    @property
    def accesses(self) -> list[dict[str, Any]]:
        """The access log's whole lines."""
        return [json.loads(line) for line in self.out.splitlines(keepends=True) if line.endswith("\n")]

    # --- what a client does

    def get(self, target: str = COUNTRY, **more: Any) -> Answer:
        return call(self.port, "GET", target, **more)

    def ask_token(self, client: str = "caller", **form: str) -> Answer:
        fields = {"grant_type": "client_credentials", **form}
        return call(self.port, "POST", "/oauth2/token", form=fields, basic=(client, f"{client}-secret"))

    def post_form(self, target: str, form: Mapping[str, str], **more: Any) -> Answer:
        return call(self.port, "POST", target, form=form, **more)

    def token(self, client: str = "caller", **form: str) -> str:
        form.setdefault("scope", "country.read")
        answer = self.ask_token(client, **form)
        assert answer.status == 200, answer
        return str(answer.json["access_token"])

    def introspect(self, token: str, client: str = "caller") -> Any:
        return self._post("introspect", token, client).json

    def revoke(self, token: str, client: str = "caller") -> Answer:
        return self._post("revoke", token, client)

    def _post(self, endpoint: str, token: str, client: str) -> Answer:
        basic = (client, f"{client}-secret")
        return call(self.port, "POST", f"/oauth2/{endpoint}", form={"token": token}, basic=basic)

    # --- what an operator does

    def admin(self, method: str, target: str) -> Answer:
        body, headers = (b"{}", {"Content-Type": "application/json"}) if method == "POST" else (None, {})
        return call(self.admin_port, method, target, body=body, headers=headers, timeout_s=30)

    @property
    def status(self) -> Any:
        return self.admin("GET", "/api/v1/status").json

    def metric(self, name: str) -> float:
        for line in self.admin("GET", "/metrics").body.decode().splitlines():
            key, _, value = line.rpartition(" ")
            if key == name:
                return float(value)
        pytest.fail(f"there is no metric {name}")

    def reload(self) -> Answer:
        """Reload by the admin API."""
        return self.admin("POST", "/api/v1/reload")

    def reloaded_after(self, act: Callable[[], object]) -> Any:
        """Return the status of the reload that `act` leads to."""
        before = self.status["last_reload"]
        act()

        def fresh() -> Any:
            last = self.status["last_reload"]
            return last if last != before else None

        return wait_for(fresh, "a reload")

    def hang_up(self) -> Any:
        """Reload by SIGHUP and return what came of it."""
        return self.reloaded_after(lambda: self.signal(signal.SIGHUP))

    def cli(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of `sidegate` on this configuration."""
        return subprocess.run(
            [SIDEGATE, *arguments, "-c", self.main],
            capture_output=True,
            text=True,
            cwd=self.directory,
            env=self.environment,
            timeout=PATIENCE_S,
        )


@pytest.fixture
def sidegate() -> Path:
    """Return the command that users type."""
    return SIDEGATE


@pytest.fixture(name="free_port")
def free_port_fixture() -> Callable[[], int]:
    return free_port


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    return wait_for


def configured(
    directory: Path, *, upstream_port: int, policy: str = POLICY, more: str = "", state: str = '"memory:"'
) -> Appliance:
    """Write a configuration into a new directory and return the process that is to run with it."""
    (directory / "policies").mkdir(parents=True)
    appliance = Appliance(directory, free_port(), free_port())
    appliance.main.write_text(
        MAIN.format(
            port=appliance.port,
            admin_port=appliance.admin_port,
            upstream_port=upstream_port,
            state=state,
            more=more,
        )
    )
    appliance.policy.write_text(policy)
    return appliance


Make = Callable[..., Appliance]


@pytest.fixture
def make(tmp_path: Path, upstream: Upstream) -> Iterator[Make]:
    """Return a function that writes a configuration; every process ends with the test."""
    made: list[Appliance] = []

    def make_appliance(**words: str) -> Appliance:
        made.append(configured(tmp_path / f"gateway-{len(made)}", upstream_port=upstream.port, **words))
        return made[-1]

    yield make_appliance
    for appliance in made:
        appliance.end()


@pytest.fixture
def appliance(make: Make) -> Appliance:
    """Return a running process with the policy above."""
    return make().start()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Return a Redis server of the test's own, running."""
    directory = tmp_path / "redis"
    directory.mkdir()
    server = RedisServer(directory).start()
    yield server
    server.stop()


Replicas = Callable[..., tuple[Appliance, Appliance]]


@pytest.fixture
def replicas(make: Make) -> Replicas:
    """Return a function that starts two processes of one issuer with the same signing key."""

    def start(
        state: str, *, limits: str = "loop_lag: 0", then: str = "", **more: Any
    ) -> tuple[Appliance, Appliance]:
        # loop_lag: a busy machine is no reason to refuse
        one, two = (make(state=state, more=f"limits: {{{limits}}}\n{then}", **more) for _ in range(2))
        url = f'url: "http://127.0.0.1:{one.port}"'
        two.main.write_text(two.main.read_text().replace(f'url: "http://127.0.0.1:{two.port}"', url))
        one.start()
        (two.directory / "keys").mkdir(mode=0o700)
        for file in (one.directory / "keys").iterdir():
            (two.directory / "keys" / file.name).write_bytes(file.read_bytes())
            (two.directory / "keys" / file.name).chmod(0o600)
        return one, two.start()

    return start
