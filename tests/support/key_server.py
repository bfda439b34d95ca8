"""Be a server of key sets that a test can break, slow down and rotate."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.support.jws import Key


@dataclass
class KeyServer:
    """What is served and what was asked."""

    url: str = ""
    keys: list[Key] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    body: bytes | None = None
    """In place of the key set."""
    answer: Callable[[web.Request], web.StreamResponse | None] | None = None
    """In place of everything, unless it returns None."""
    asked: list[web.BaseRequest] = field(default_factory=list)
    hold: asyncio.Event | None = None
    """Answers wait for it."""

    @property
    def uri(self) -> str:
        return self.url + "/jwks"

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.asked]

    def document(self) -> bytes:
        return json.dumps({"keys": [key.public for key in self.keys]}).encode()

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request)
        if self.hold is not None:
            await self.hold.wait()
        if self.answer is not None and (answer := self.answer(request)) is not None:  # type: ignore[arg-type]
            return answer
        body = self.document() if self.body is None else self.body
        return web.Response(
            status=self.status, body=body, headers=self.headers, content_type="application/json"
        )

    def metadata(self, **members: Any) -> web.Response:
        return web.json_response({"issuer": self.url, "jwks_uri": self.uri, **members})


@contextlib.asynccontextmanager
async def serving(*keys: Key, tls: ssl.SSLContext | None = None) -> AsyncIterator[KeyServer]:
    """Serve these keys on loopback."""
    server = KeyServer(keys=list(keys))
    runner = web.ServerRunner(web.Server(server.serve), shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    server.url = f"http://127.0.0.1:{port}" if tls is None else f"https://localhost:{port}"
    try:
        yield server
    finally:
        if server.hold is not None:
            server.hold.set()
        await runner.cleanup()
