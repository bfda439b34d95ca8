"""Run issuer and gate in this process: the real parts, from a configuration file, on loopback."""

import contextlib
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlencode

import yaml

from gateway.app import load_first_snapshot, make_sources, open_listeners
from gateway.data_plane import DataPlane, open_data_plane
from gateway.label_values import labels_at_zero, names_in
from gateway.observe.exchange import Exchange
from gateway.observe.metrics import Metrics
from gateway.proxy.gate import Gate
from gateway.proxy.listener import Listener
from gateway.reload.source import Cause
from gateway.reload.sources import Report, Sources
from gateway.settings.model import MetricsSettings
from gateway.tokens.signing import sign_compact
from tests.support.caller import Answer, Caller, connected
from tests.support.waiting import turns_of_the_loop, until

ISSUER = "http://127.0.0.1:8080"
AUDIENCE = "country-service"


def configuration(**changes: Any) -> dict[str, Any]:
    """Return a whole configuration without targets; `changes` replace or (mappings) extend its sections.

    One route of each kind leads to the upstream `country`: `/read/{code}` needs a scope, `/open/**`
    is public, `/either` is optional, `/shadow` only records, `/switch` lists
    websocket.
    """
    require = {"audience": AUDIENCE, "scopes": ["country.read"]}
    whole: dict[str, Any] = {
        "version": 1,
        "listeners": [{"address": "127.0.0.1:0"}],
        "issuer": {"url": ISSUER},
        "keys": {"directory": "keys"},
        "state": "memory:",
        "upstreams": {"country": {}},
        "limits": {},
        "clients": {
            AUDIENCE: {
                "scopes": {"country.read": "Read", "country.write": "Write"},
                "secrets": ["plain:service"],
            },
            "reader": {"secrets": ["plain:reader"]},
        },
        "authorizations": [
            {"client": "reader", "audience": AUDIENCE, "scopes": ["country.read", "country.write"]}
        ],
        "routes": [
            {"name": "read", "path": "/read/{code}", "upstream": "country", "require": require},
            {"name": "open", "path": "/open/**", "upstream": "country", "access": "public"},
            {
                "name": "either",
                "path": "/either",
                "upstream": "country",
                "access": "optional",
                "require": require,
            },
            {
                "name": "shadow",
                "path": "/shadow",
                "upstream": "country",
                "mode": "shadow",
                "require": require,
            },
            {
                "name": "switch",
                "path": "/switch",
                "upstream": "country",
                "access": "public",
                "upgrade": ["websocket"],
            },
            {
                "name": "get-only",
                "path": "/get-only",
                "methods": ["GET"],
                "upstream": "country",
                "access": "public",
            },
        ],
    }
    for name, value in changes.items():
        if isinstance(value, dict) and isinstance(whole.get(name), dict):
            whole[name] = {**whole[name], **value}
        else:
            whole[name] = value
    return whole


@dataclass(eq=False)
class Appliance:
    """A running data plane."""

    plane: DataPlane
    sources: Sources
    path: Path
    ports: tuple[int, ...]
    exchanges: list[Exchange]
    """The record of every finished request, in order."""
    listeners: list[Listener]
    metrics: Metrics
    _tokens: dict[tuple[str, str | None], bytes] = field(default_factory=dict)

    @property
    def gate(self) -> Gate:
        return self.plane.gate

    @property
    def port(self) -> int:
        return self.ports[0]

    def connect(self, listener: int = 0) -> contextlib.AbstractAsyncContextManager[Caller]:
        """Connect to the listener of that number."""
        return connected(self.ports[listener])

    async def ask(self, request: bytes, listener: int = 0) -> Answer:
        """Return the answer to one request on a connection of its own."""
        async with self.connect(listener) as caller:
            return await caller.ask(request)

    async def token(self, *, scope: str | None = "country.read", client: str = "reader") -> bytes:
        """Return a token from the token endpoint; the same one for the same wish."""
        if (client, scope) not in self._tokens:
            form = {"grant_type": "client_credentials", "audience": AUDIENCE}
            answer = await self.post_form(
                "/oauth2/token", form if scope is None else {**form, "scope": scope}, client=client
            )
            assert answer.status == 200, answer.body
            self._tokens[client, scope] = answer.json()["access_token"].encode()
        return self._tokens[client, scope]

    async def post_form(self, path: str, form: Mapping[str, str], *, client: str = "reader") -> Answer:
        """Return the issuer's answer to `form`, sent with the client's secret, which is its id."""
        secret = {AUDIENCE: "service"}.get(client, client)
        body = urlencode(form).encode()
        basic = b64encode(f"{client}:{secret}".encode()).decode()
        listener = next(
            index
            for index, settings in enumerate(self.plane.live.plan.snapshot.settings.listeners)
            if settings.serves_issuer
        )
        return await self.ask(
            f"POST {path} HTTP/1.1\r\nHost: a.example\r\nAuthorization: Basic {basic}\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body,
            listener,
        )

    def sign(self, *, typ: str = "at+jwt", **changes: object) -> bytes:
        """Return a token with the live key and these claims; None leaves a claim out."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": "reader",
            "client_id": "reader",
            "aud": AUDIENCE,
            "iat": now,
            "nbf": now,
            "exp": now + 600,
            "jti": f"signed-{len(self._tokens)}-{perf_counter()}",
            "scope": "country.read",
        } | changes
        ring = self.plane.live.plan.snapshot.keys.ring
        return sign_compact(
            ring.active, {name: value for name, value in claims.items() if value is not None}, typ=typ
        )

    async def reload(self, settings: Mapping[str, Any], *, targets: Mapping[str, list[int]]) -> None:
        """Make other settings live."""
        self.write(settings, targets=targets)
        report = await self.load()
        assert report.applied, report.problems

    def write(self, settings: Mapping[str, Any], *, targets: Mapping[str, list[int]]) -> None:
        """Write other settings, and leave those that are live as they are."""
        write(self.path.parent, settings, targets=targets)

    async def load(self) -> Report:
        """Reload what the files say now."""
        return await self.sources.reload(Cause.API)

    def let_pass(self, seconds: float) -> None:
        """Act as if `seconds` had passed: every deadline up to then is due."""
        self.gate.sweep(perf_counter() + seconds)


@contextlib.asynccontextmanager
async def running(
    directory: Path, settings: Mapping[str, Any], *, targets: Mapping[str, list[int]]
) -> AsyncIterator[Appliance]:
    """Serve `settings` with upstreams at these loopback ports.

    Deadlines pass only when a test says so (`let_pass`): nothing else calls the gate's sweep.
    """
    path = write(directory, settings, targets=targets)
    now = time.time()
    snapshot = load_first_snapshot(path, now)
    exchanges: list[Exchange] = []
    metrics = Metrics(MetricsSettings(), issuer=ISSUER, version="0", uvloop_version="0")
    async with contextlib.AsyncExitStack() as stack:
        plane = await open_data_plane(
            stack,
            snapshot,
            metrics=metrics,
            record=exchanges.append,
            others=(lambda plan: metrics.take_names(names_in(plan.snapshot), labels_at_zero(plan.snapshot)),),
        )
        settings, material = snapshot.settings, snapshot.configuration.material
        listeners = open_listeners(stack, plane.gate, settings.listeners, material)
        sources = make_sources(path, plane.live, listeners, since=now, note=lambda name, cause: None)
        for listener in listeners:
            listener.start()
        names = [listener.sockets[0].getsockname() for listener in listeners]
        ports = tuple(0 if isinstance(name, str) else name[1] for name in names)
        yield Appliance(plane, sources, path, ports, exchanges, listeners, metrics)
    await until(lambda: not plane.gate.connections)
    await turns_of_the_loop()  # for the aborted connections to upstreams and to the issuer


def write(directory: Path, settings: Mapping[str, Any], *, targets: Mapping[str, list[int]]) -> Path:
    """Write the configuration file and return its path."""
    upstreams = {
        name: {"targets": [f"http://127.0.0.1:{port}" for port in targets.get(name, ())], **upstream}
        for name, upstream in settings["upstreams"].items()
    }
    path = directory / "gateway.yaml"
    path.write_text(yaml.safe_dump({**settings, "upstreams": upstreams}, sort_keys=False), "utf-8")
    return path
