"""Walk the journey against a scripted process, as `--once` does and as a person does who pastes it."""

import asyncio
import io
import re

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.demo.journey import STEPS, Answer, Expected, fulfils, print_journey, walk_journey

BASIC = "Basic ZGVtby1jbGllbnQ6cyUyQmNyZXQ="  # demo-client:s%2Bcret


def scripted_process(*, revokes: bool = True, token: str | None = "aaaa.bbbb.cccc") -> web.Application:
    """Return an application that answers the journey as Sidegate should, or with one flaw."""
    revoked: list[bool] = []

    async def country(request: web.Request) -> web.Response:
        sent = request.headers.get("Authorization")
        if sent is None:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Bearer realm="country-service"'})
        if sent != f"Bearer {token}" or revoked:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        return web.json_response({"code": "AUS", "name": "AUSTRALIA"})

    async def issue(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == BASIC
        assert dict(await request.post()) == {"grant_type": "client_credentials", "scope": "country.read"}
        reply = {"access_token": token, "token_type": "Bearer", "expires_in": 3600, "scope": "country.read"}
        return web.json_response({name: value for name, value in reply.items() if value is not None})

    async def introspect(request: web.Request) -> web.Response:
        assert dict(await request.post()) == {"token": token}
        active = {
            "active": True,
            "client_id": "demo-client",
            "scope": "country.read",
            "aud": "country-service",
        }
        return web.json_response({"active": False} if revoked else active)

    async def revoke(request: web.Request) -> web.Response:
        assert dict(await request.post()) == {"token": token}
        if revokes:
            revoked.append(True)
        return web.Response()

    application = web.Application()
    application.router.add_get("/ms-system/country/code/AUS", country)
    application.router.add_post("/oauth2/token", issue)
    application.router.add_post("/oauth2/introspect", introspect)
    application.router.add_post("/oauth2/revoke", revoke)
    return application


@pytest.mark.parametrize(
    ("flaw", "succeeds", "last_line"),
    [
        ({}, True, '{"active": false}  ok'),
        ({"revokes": False}, False, "FAILED"),
        ({"token": None}, False, "FAILED"),
    ],
)
async def test_walking_compares_every_step(flaw, succeeds, last_line):
    out = io.StringIO()
    async with TestServer(scripted_process(**flaw)) as server:
        assert await walk_journey(server.port, "demo-client", "s+cret", out) is succeeds
    assert out.getvalue().rstrip().endswith(last_line)
    assert "aaaa.bbbb.cccc" not in out.getvalue()


async def test_walking_without_a_listener_fails_and_says_so(unused_tcp_port):
    out = io.StringIO()
    assert await walk_journey(unused_tcp_port, "demo-client", "s+cret", out) is False
    assert "no answer" in out.getvalue()


async def test_the_printed_commands_work_when_pasted():
    out = io.StringIO()
    async with TestServer(scripted_process()) as server:
        print_journey(out, server.port, "demo-client", "s+cret")
        shell = await asyncio.create_subprocess_exec(
            "sh", "-eu", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        pasted = "".join(
            line for line in out.getvalue().splitlines(keepends=True) if not line.startswith("Paste")
        )
        seen, _ = await shell.communicate(pasted.encode())
    assert shell.returncode == 0
    assert re.findall(r"HTTP/1.1 (\d+)", seen.decode()) == ["401", "200", "200", "200", "401", "200"]
    assert "\naaaa.bbbb.cccc\n" in seen.decode()
    assert seen.decode().rstrip().endswith('{"active": false}')
    assert "jq" not in out.getvalue()


def test_each_printed_step_is_one_line():
    out = io.StringIO()
    print_journey(out, 8080, "demo-client", "s+cret")
    commands = [line for line in out.getvalue().splitlines() if "curl" in line and not line.startswith("#")]
    assert len(commands) == len(STEPS)


@pytest.mark.parametrize(
    ("answer", "expected", "fulfilled"),
    [
        (Answer(200, None, b""), Expected(200, only=True), True),
        (Answer(200, None, b"x"), Expected(200, only=True), False),
        (Answer(204, None, b""), Expected(200, only=True), False),
        (Answer(200, "Bearer", b""), Expected(200), False),
        (Answer(401, None, b""), Expected(401, challenge="Bearer"), False),
        (Answer(401, 'Bearer realm="a"', b""), Expected(401, challenge="Bearer"), True),
        (Answer(200, None, b'{"active": false}'), Expected(200, members={"active": False}, only=True), True),
        (
            Answer(200, None, b'{"active": false, "a": 1}'),
            Expected(200, members={"active": False}, only=True),
            False,
        ),
        (Answer(200, None, b'{"active": true, "a": 1}'), Expected(200, members={"active": True}), True),
        (Answer(200, None, b"[]"), Expected(200, members={"active": True}), False),
        (Answer(200, None, b"no json"), Expected(200, members={"active": True}), False),
    ],
)
def test_an_answer_is_held_to_all_that_was_expected(answer, expected, fulfilled):
    assert fulfils(answer, expected) is fulfilled
