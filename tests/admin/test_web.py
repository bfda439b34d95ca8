"""Show the admin listener over real sockets."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import ClientSession, UnixConnector
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from yarl import URL

from gateway.admin.context import AdminContext, CheckResult, Degradation, ReloadOutcome
from gateway.admin.web import BODY_LIMIT_BYTES, build_admin, start_admin
from gateway.observe.exposition import Exposition, Rendering
from gateway.observe.metrics import Metrics
from gateway.settings.model import AdminSettings, MetricsSettings
from gateway.state.interface import StateUnavailableError

JSON = {"Content-Type": "application/json"}
PROBLEM = {"file": "policies/a.yaml", "line": 3, "column": 5, "message": "unknown key"}


@dataclass
class Process:
    """A process as the admin listener sees it: what it would answer, and what was asked of it."""

    settings: AdminSettings = field(default_factory=AdminSettings)
    checks: dict[str, CheckResult] = field(
        default_factory=lambda: {"keys": CheckResult(True), "state": CheckResult(True, "memory")}
    )
    degraded: list[Degradation] = field(default_factory=list)
    outcome: ReloadOutcome = field(default_factory=lambda: ReloadOutcome(True, "abc"))
    reloads: int = 0
    revoked: list[str] = field(default_factory=list)
    render: Callable[[str], Rendering] = field(
        default_factory=lambda: (
            Exposition(Metrics(MetricsSettings(), issuer="i", version="1.2.3", uvloop_version="")).render
        )
    )

    def context(self) -> AdminContext:
        return AdminContext(
            settings=lambda: self.settings,
            ready_checks=self.ready_checks,
            status=lambda: {"version": "1.2.3", "draining": False},
            reload=self.reload,
            render_metrics=lambda accept: self.render(accept),
            revoke_client=self.revoke_client,
            degraded=lambda: self.degraded,
        )

    async def revoke_client(self, client_id: str) -> int | None:
        if client_id == "stateless":
            raise StateUnavailableError("/secret/path: the disk is full")
        self.revoked.append(client_id)
        return None if client_id == "nobody" else 1_700_000_000

    async def ready_checks(self) -> Mapping[str, CheckResult]:
        return self.checks

    async def reload(self, dry_run: bool) -> ReloadOutcome:
        self.reloads += 1
        return self.outcome


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
async def client(process: Process) -> AsyncIterator[TestClient]:
    async with TestClient(TestServer(build_admin(process.context()))) as client:
        yield client


async def send(client: TestClient, head: bytes) -> bytes:
    """Send raw bytes and return the whole answer, as far as the server closes."""
    reader, writer = await asyncio.open_connection(client.server.host, client.server.port)
    try:
        writer.write(head)
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_healthz(client: TestClient) -> None:
    answer = await client.get("/healthz")
    assert answer.status == 200
    assert await answer.json() == {"status": "ok"}


async def test_readyz_names_every_check(client: TestClient, process: Process) -> None:
    answer = await client.get("/readyz")
    assert answer.status == 200
    assert await answer.json() == {
        "status": "ready",
        "checks": {"keys": {"ok": True}, "state": {"ok": True, "detail": "memory"}},
        "degraded": [],
    }
    process.checks["draining"] = CheckResult(False, "the process is draining")
    answer = await client.get("/readyz")
    assert answer.status == 503
    document = await answer.json()
    assert document["status"] == "not_ready"
    assert document["checks"]["draining"] == {"ok": False, "detail": "the process is draining"}


async def test_what_is_amiss_does_not_keep_callers_away(client: TestClient, process: Process) -> None:
    process.degraded = [Degradation("state", "redis at 127.0.0.1:1: refused", 1_700_000_000.0)]
    answer = await client.get("/readyz")
    assert answer.status == 200
    document = await answer.json()
    assert document["status"] == "degraded"
    assert document["degraded"] == [
        {"name": "state", "detail": "redis at 127.0.0.1:1: refused", "since": 1_700_000_000.0}
    ]
    process.checks["keys"] = CheckResult(False, "no signing key")
    answer = await client.get("/readyz")
    assert answer.status == 503
    document = await answer.json()
    assert document["status"] == "not_ready"
    assert [entry["name"] for entry in document["degraded"]] == ["state"]


async def test_status(client: TestClient) -> None:
    answer = await client.get("/api/v1/status")
    assert answer.status == 200
    assert answer.content_type == "application/json"
    assert await answer.json() == {"version": "1.2.3", "draining": False}


async def test_metrics_as_text(client: TestClient) -> None:
    answer = await client.get("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    found = {family.name for family in parse_text(await answer.text())}
    assert {"sidegate_build_info", "process_cpu_seconds", "python_gc_collections"} <= found


async def test_metrics_as_openmetrics(client: TestClient) -> None:
    answer = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert "sidegate_build_info" in {family.name for family in parse_openmetrics(await answer.text())}


@pytest.mark.parametrize(("asked", "coding"), [("gzip", "gzip"), ("gzip;q=0", None), ("identity", None)])
async def test_metrics_are_compressed_for_who_takes_it(
    client: TestClient, asked: str, coding: str | None
) -> None:
    answer = await client.get("/metrics", headers={"Accept-Encoding": asked})
    assert answer.headers.get("Content-Encoding") == coding
    assert answer.headers["Vary"] == "Accept, Accept-Encoding"
    assert "sidegate_build_info" in {family.name for family in parse_text(await answer.text())}
    head = await client.head("/metrics", headers={"Accept-Encoding": asked})
    assert head.headers.get("Content-Encoding") == coding


async def test_metrics_that_break_midway_never_look_complete(
    client: TestClient, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"a 1\n"
        raise RuntimeError("broken family")

    process.render = lambda _accept: Rendering("text/plain", broken())
    raw = await send(client, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert b"\r\n0\r\n\r\n" not in raw
    assert "could not be rendered" in caplog.text


async def test_reload(client: TestClient, process: Process) -> None:
    answer = await client.post("/api/v1/reload", headers=JSON)
    assert answer.status == 200
    assert await answer.json() == {"result": "ok", "config_hash": "abc", "problems": []}
    process.outcome = ReloadOutcome(False, "abc", (PROBLEM,))
    answer = await client.post("/api/v1/reload", headers=JSON, data=b"{}")
    assert answer.status == 422
    assert answer.content_type == "application/problem+json"
    document = await answer.json()
    assert document["problems"] == [PROBLEM]
    assert document["status"] == 422
    assert process.reloads == 2


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/json" + ";" * 8000}, 415),
        (JSON | {"Origin": "http://evil.example"}, 403),
        (JSON | {"Origin": "null"}, 403),
        (JSON | {"Sec-Fetch-Site": "cross-site"}, 403),
        (JSON | {"Host": "evil.example"}, 421),
        (JSON | {"Host": "a b"}, 400),
    ],
)
async def test_a_refused_write_reloads_nothing(
    client: TestClient, process: Process, headers: dict[str, str], status: int
) -> None:
    answer = await client.post("/api/v1/reload", headers=headers)
    assert answer.status == status
    assert answer.content_type == "application/problem+json"
    assert (await answer.json())["status"] == status
    assert process.reloads == 0


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 200),
        (b"{}", 200),
        (b'{"force": true}', 400),
        (b"[]", 400),
        (b"x", 400),
        (b"\xff", 400),
        (b" {\n} ", 200),
        (b"[" * 32_000 + b"]" * 32_000, 400),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400),
        (b"{" + b" " * BODY_LIMIT_BYTES + b"}", 413),
    ],
)
async def test_bodies_of_a_reload(client: TestClient, process: Process, body: bytes, status: int) -> None:
    answer = await client.post("/api/v1/reload", headers=JSON, data=body)
    assert answer.status == status
    assert process.reloads == (1 if status == 200 else 0)
    if status != 200:
        assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/api/v1/status", "/absent"])
async def test_no_page_is_served_to_a_foreign_host(client: TestClient, path: str) -> None:
    answer = await client.get(path, headers={"Host": "rebound.example:9090"})
    assert answer.status == 421
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize("path", [b"/healthz", b"/readyz"])
async def test_a_probe_in_http_1_0_is_answered_without_a_host(client: TestClient, path: bytes) -> None:
    """HAProxy and others ask so unless they are told otherwise."""
    answer = await send(client, b"GET %b HTTP/1.0\r\n\r\n" % path)
    assert answer.split(b" ")[1] == b"200"
    refused = await send(client, b"GET %b HTTP/1.1\r\nConnection: close\r\n\r\n" % path)
    assert refused.split(b" ")[1] == b"400"


async def test_two_host_fields_are_refused(client: TestClient) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert (await send(client, head)).split(b" ")[1] == b"400"
    assert (await send(client, head.replace(b"Host: evil.example\r\n", b""))).split(b" ")[1] == b"200"


async def test_hosts_follow_a_reload(client: TestClient, process: Process) -> None:
    headers = {"Host": "admin.example"}
    assert (await client.get("/healthz", headers=headers)).status == 421
    process.settings = AdminSettings(hosts=("admin.example",))
    assert (await client.get("/healthz", headers=headers)).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/absent", 404, None),
        ("GET", "/", 404, None),
        ("GET", "/healthz/", 404, None),
        ("POST", "/healthz", 405, {"GET", "HEAD"}),
        ("DELETE", "/metrics", 405, {"GET", "HEAD"}),
        ("OPTIONS", "/api/v1/reload", 405, {"POST"}),
        ("GET", "/api/v1/reload", 405, {"POST"}),
    ],
)
async def test_unknown_pages_and_methods(
    client: TestClient, method: str, path: str, status: int, allow: set[str] | None
) -> None:
    answer = await client.request(method, path, headers=JSON)
    assert answer.status == status
    assert answer.content_type == "application/problem+json"
    document = await answer.json()
    assert document["type"] == "about:blank"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    found = answer.headers.get("Allow")
    assert (set(found.replace(" ", "").split(",")) if found else None) == allow


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/api/v1/status"])
async def test_head_has_the_head_of_get_and_no_body(client: TestClient, path: str) -> None:
    head = await client.head(path)
    get = await client.get(path)
    assert head.status == get.status == 200
    assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert await head.read() == b""
    raw = await send(
        client, b"HEAD %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path.encode()
    )
    assert raw.partition(b"\r\n\r\n")[2] == b""


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/api/v1/status", "/absent", "/api/v1/reload"])
async def test_every_answer_carries_the_security_headers(client: TestClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert "Server" not in answer.headers


@pytest.fixture
def token_file(tmp_path: Path, process: Process) -> Path:
    path = tmp_path / "token"
    path.write_text("right-token\n")
    process.settings = AdminSettings(token_file=path)
    return path


@pytest.mark.usefixtures("token_file")
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_probes_and_scrapers_need_no_token(client: TestClient, path: str) -> None:
    assert (await client.get(path)).status == 200


@pytest.mark.usefixtures("token_file")
@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer right-token", 200),
        ("bearer right-token", 200),
        ("Bearer wrong-token", 401),
        ("Bearer right-toke", 401),
        ("Bearer right-tokens", 401),
        ("Basic right-token", 401),
        ("right-token", 401),
        ("Bearer ", 401),
        (None, 401),
    ],
)
async def test_the_admin_token(
    client: TestClient, process: Process, authorization: str | None, status: int
) -> None:
    headers = {"Authorization": authorization} if authorization is not None else {}
    read = await client.get("/api/v1/status", headers=headers)
    write = await client.post("/api/v1/reload", headers=headers | JSON)
    assert [read.status, write.status] == [status, status]
    assert process.reloads == (1 if status == 200 else 0)
    assert ("WWW-Authenticate" in read.headers) is (status == 401)


async def test_a_lost_token_file_lets_nobody_in(client: TestClient, process: Process) -> None:
    process.settings = AdminSettings(token_file=Path("absent-token-file"))
    answer = await client.get("/api/v1/status", headers={"Authorization": "Bearer right-token"})
    assert answer.status == 503
    assert "absent-token-file" not in await answer.text()


@pytest.mark.usefixtures("token_file")
async def test_an_unknown_page_behind_the_token_is_not_told_apart(client: TestClient) -> None:
    assert (await client.get("/absent")).status == 401


async def test_an_error_in_a_page_shows_no_internals(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> Mapping[str, object]:
        raise RuntimeError("internal words")

    context = process.context()
    context = AdminContext(
        context.settings, context.ready_checks, broken, context.reload, context.render_metrics
    )
    async with TestClient(TestServer(build_admin(context))) as client:
        answer = await client.get("/api/v1/status")
        assert answer.status == 500
        assert "internal words" not in await answer.text()
    assert "internal words" in caplog.text


async def test_starting_on_a_socket(process: Process) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    runner = await start_admin(process.context(), [listening])
    try:
        host, port = runner.addresses[0][:2]
        async with ClientSession() as session, session.get(f"http://{host}:{port}/healthz") as answer:
            assert json.loads(await answer.read()) == {"status": "ok"}
    finally:
        await runner.cleanup()


async def test_starting_on_a_unix_socket(process: Process, tmp_path: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "admin.sock"))
    listening.listen()
    runner = await start_admin(process.context(), [listening])
    try:
        async with (
            ClientSession(connector=UnixConnector(str(tmp_path / "admin.sock"))) as session,
            session.get("http://localhost/healthz") as answer,
        ):
            assert json.loads(await answer.read()) == {"status": "ok"}
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("path", "client_id"),
    [
        ("reader", "reader"),
        ("a%20b", "a b"),
        ("https%3A%2F%2Forders.example%2Fapi%3Fx%23y", "https://orders.example/api?x#y"),
        ("%2525", "%25"),
    ],
)
async def test_everything_of_a_client_is_revoked(
    client: TestClient, process: Process, path: str, client_id: str
) -> None:
    url = URL(f"/api/v1/clients/{path}/revoke", encoded=True)
    answer = await client.post(url, headers=JSON)
    assert answer.status == 200
    assert await answer.json() == {"client": client_id, "issued_until": 1_700_000_000}
    assert process.revoked == [client_id]


@pytest.mark.parametrize(
    ("client_id", "body", "status"),
    [("nobody", b"", 404), ("stateless", b"", 503), ("reader", b'{"client": "other"}', 400)],
)
async def test_why_nothing_of_a_client_is_revoked(
    client: TestClient, client_id: str, body: bytes, status: int
) -> None:
    answer = await client.post(f"/api/v1/clients/{client_id}/revoke", headers=JSON, data=body)
    assert (answer.status, answer.content_type) == (status, "application/problem+json")
    assert "secret" not in await answer.text()


async def test_a_foreign_page_revokes_nothing(client: TestClient, process: Process) -> None:
    answer = await client.post(
        "/api/v1/clients/reader/revoke", headers={**JSON, "Origin": "https://evil.example"}
    )
    assert answer.status == 403
    assert process.revoked == []


UNREADABLE = {
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "a large field": b"GET /metrics HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "
    + b"S3cret" * 3000
    + b"\r\n\r\n",
    "two types": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: S3cret\r\nContent-Type: x\r\n\r\n",
    "a bare line feed in a field": b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer S3cret\nx\r\n\r\n",
    "no version": b"GET /S3cret\r\n\r\n",
    "another protocol": b"\x16\x03\x01S3cret\r\n\r\n",
    "an encoded body": b"POST /api/v1/reload HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 6\r\n\r\nS3cret",
    "a strange expectation": b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Connection: close\r\nExpect: S3cret\r\n\r\n",
    "a strange expectation of no page": b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Connection: close\r\nExpect: S3cret\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", UNREADABLE.values(), ids=UNREADABLE)
async def test_what_cannot_be_read_gets_a_problem_that_repeats_nothing(
    request_bytes: bytes, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        runner = await start_admin(process.context(), [listening])
        try:
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            writer.write(request_bytes)
            head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
            writer.close()
        finally:
            await runner.cleanup()
    status = int(head.split(b" ")[1])
    assert status == (417 if b"Expect" in request_bytes else 400)
    assert b"\r\nContent-Type: application/problem+json" in head
    assert b"\r\nServer:" not in head
    assert b"\r\nCache-Control: no-store" in head
    assert json.loads(body)["status"] == status
    assert "S3cret" not in body.decode() + caplog.text
    assert [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")] == []
    assert process.reloads == 0
