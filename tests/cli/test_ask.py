"""Show how commands ask: one question, straight to who is meant, whatever the environment says."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.cli.ask import ask_url
from gateway.cli.failure import CommandError
from tests.support.certificates import Authority
from tests.support.connect_proxy import proxying

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n" + json.dumps({"a": 1}).encode()


@dataclass
class Server:
    """Gives one answer to whatever is asked."""

    answer: bytes = OK
    port: int = 0
    asked: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            self.asked.append(await reader.read(65536))
            writer.write(self.answer)
            await writer.drain()


@contextlib.asynccontextmanager
async def serving(answer: bytes = OK, context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    server.port = listening.sockets[0].getsockname()[1]
    yield server
    listening.close()


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def test_a_form_is_posted_and_the_object_is_returned() -> None:
    async with serving() as server:
        url = f"http://127.0.0.1:{server.port}/oauth2/token?x=1"
        headers = {"Authorization": "Basic YTpi"}
        reply = await asyncio.to_thread(ask_url, url, timeout_s=9, headers=headers, form=b"grant_type=x")
    assert (reply.status, reply.document) == (200, {"a": 1})
    head, _, body = server.asked[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /oauth2/token?x=1 HTTP/1.1"
    assert b"Content-Type: application/x-www-form-urlencoded" in lines
    assert b"Authorization: Basic YTpi" in lines
    assert b"Host: 127.0.0.1:%d" % server.port in lines
    assert body in (b"", b"grant_type=x")


@pytest.mark.parametrize("body", [b"", b"[1]", b"<html>", b"\xff", b'{"a":'])
async def test_what_is_no_object_is_an_empty_one(body: bytes) -> None:
    answer = b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    async with serving(answer) as server:
        reply = await asyncio.to_thread(ask_url, f"http://localhost:{server.port}", timeout_s=9)
    assert (reply.status, reply.document) == (500, {})


async def test_no_redirect_takes_a_secret_along() -> None:
    async with serving() as elsewhere:
        location = f"Location: http://127.0.0.1:{elsewhere.port}/\r\n".encode()
        async with serving(b"HTTP/1.1 307 Go\r\nContent-Length: 0\r\n" + location + b"\r\n") as server:
            url = f"http://127.0.0.1:{server.port}/"
            reply = await asyncio.to_thread(ask_url, url, timeout_s=9, form=b"client_secret=s")
    assert reply.status == 307
    assert elsewhere.asked == []


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"])
async def test_no_proxy_sees_what_is_sent_in_the_clear(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as server, proxying() as proxy:
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        url = f"http://127.0.0.1:{server.port}/"
        assert (await asyncio.to_thread(ask_url, url, timeout_s=9, form=b"client_secret=s")).status == 200
    assert proxy.heads == []


@pytest.mark.parametrize("scheme", ["http://", "http://user:pass%40@", ""])
async def test_https_goes_through_the_proxy_of_the_environment(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority.make("Test Servers")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.server("auth.example").write(tmp_path, "server"))
    trust = ssl.create_default_context(cadata=authority.pem.decode())
    async with serving(context=context) as server, proxying(**{"auth.example:443": server.port}) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}127.0.0.1:{proxy.port}")
        url = "https://auth.example/x"
        reply = await asyncio.to_thread(ask_url, url, timeout_s=9, context=trust)
        assert (reply.status, reply.document) == (200, {"a": 1})
        assert proxy.heads[0].startswith(b"CONNECT auth.example:443 HTTP/1.")
        assert (b"Proxy-Authorization: Basic dXNlcjpwYXNzQA==" in proxy.heads[0]) == ("user" in scheme)
        assert b"Proxy-Authorization" not in server.asked[0]
        monkeypatch.setenv("NO_PROXY", "auth.example")
        with pytest.raises(CommandError, match=r"^https://auth\.example/x: does not answer: "):
            await asyncio.to_thread(ask_url, url, timeout_s=9, context=trust)
        assert len(proxy.heads) == 1


async def test_this_machine_is_asked_without_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority.make("Test Servers")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.server("localhost").write(tmp_path, "server"))
    trust = ssl.create_default_context(cadata=authority.pem.decode())
    async with serving(context=context) as server, proxying() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        url = f"https://localhost:{server.port}/"
        assert (await asyncio.to_thread(ask_url, url, timeout_s=9, context=trust)).status == 200
    assert proxy.heads == []


@pytest.mark.parametrize("url", ["ftp://a/", "//a/", "http://", "https://a:x/", "https://[::1/", "a"])
def test_what_is_no_url_is_said(url: str) -> None:
    with pytest.raises(CommandError, match="is not an http:// or https:// URL"):
        ask_url(url, timeout_s=9)


@pytest.mark.parametrize("url", ["http://a..b/", "http://127.0.0.1:1/\x00", "http://127.0.0.1:1/ x"])
def test_what_cannot_be_asked_does_not_answer(url: str) -> None:
    with pytest.raises(CommandError, match="does not answer"):
        ask_url(url, timeout_s=9)
