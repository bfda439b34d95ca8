"""Serve an issuer with known clients on a loopback socket, with a clock that stands still."""

import base64
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from urllib.parse import quote_plus

import aiohttp
import pytest
from jwcrypto.jwk import JWK

from gateway.clients.registry import compile_registry
from gateway.clients.scrypt_worker import ScryptWorker
from gateway.issuer.context import IssuerContext
from gateway.issuer.snapshot import IssuerSnapshot, build_issuer_snapshot
from gateway.settings.model import (
    AuthorizationSettings,
    ClientSettings,
    IssuerSettings,
    PlainSecret,
    ScryptSecret,
    Settings,
    Sha256Secret,
)
from gateway.state.interface import ReplayGuard, StateStore
from gateway.state.memory import MAX_USED, MemoryReplayGuard, MemoryStore
from gateway.tokens.claims import AccessToken
from gateway.tokens.jwks_client import RemoteKeySets
from gateway.tokens.key_ring import KeyRing, make_key_ring
from gateway.tokens.keys import make_signing_key, make_verification_key
from gateway.tokens.revocations import CLOCKS_APART_S, Revocations
from gateway.tokens.shares import Shares
from tests.support.issuer_server import IssuerServer, serving_issuer

NOW = 1_700_000_000.25
SECRET = "reader-secret"
NOTHING_THERE = ("/v1/tokens", "/v1/token/", "/")
"""They lead to the issuer, which serves nothing there: as after a reload, for who was on the way."""


def basic(client_id: str, secret: str) -> str:
    """Return an Authorization value as RFC 6749 2.3.1 wants it: form-encoded, then base64."""
    return "Basic " + base64.b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()).decode()


BASIC = basic("reader", SECRET)

CLIENTS = [
    ClientSettings(
        "country-service", scopes={"country.read": "", "country.write": ""}, secrets=(PlainSecret(b"cs"),)
    ),
    ClientSettings("https://orders.example/api", scopes={"orders.read": ""}),
    ClientSettings(
        "reader",
        secrets=(Sha256Secret(b"salt", hashlib.sha256(b"salt" + SECRET.encode()).digest()),),
        claims={"tenant": "acme"},
        token_lifetime_s=14400.0,
        default_audience="country-service",
    ),
    ClientSettings("writer", secrets=(PlainSecret(b"writer-secret"),)),
    ClientSettings("stranger", secrets=(PlainSecret(b"stranger-secret"),)),
    ClientSettings(
        "odd client:%+/",
        secrets=(PlainSecret(b"p:%+ /w"),),
    ),
    ClientSettings("no grants", secrets=(PlainSecret(b"s"),), grants=frozenset()),
    ClientSettings("off", secrets=(PlainSecret(b"s"),), disabled=True),
]
AUTHORIZATIONS = (
    AuthorizationSettings("reader", "country-service", ("country.read",)),
    AuthorizationSettings("reader", "https://orders.example/api", ("orders.read",)),
    AuthorizationSettings("writer", "country-service", ("country.read", "country.write"), ("country.write",)),
    AuthorizationSettings("odd client:%+/", "country-service", ("country.read",)),
)


def scrypt_client(client_id: str, secret: bytes, *, n: int = 16) -> ClientSettings:
    digest = hashlib.scrypt(secret, salt=b"salt", n=n, r=8, p=1, dklen=32, maxmem=2**26)
    return ClientSettings(client_id, secrets=(ScryptSecret(n, 8, 1, b"salt", digest),))


def make_settings(**issuer: object) -> Settings:
    return Settings(
        issuer=replace(IssuerSettings(url="https://issuer.example"), **issuer),  # type: ignore[arg-type]
        clients={client.id: client for client in CLIENTS},
        authorizations=AUTHORIZATIONS,
    )


def make_ring(jwk: JWK, alg: str) -> KeyRing:
    return make_key_ring(make_signing_key(jwk, alg), [make_verification_key(jwk, alg)])


EC_RING = make_ring(JWK.generate(kty="EC", crv="P-256"), "ES256")


@dataclass
class RecordingObserver:
    """Keeps what it is told."""

    requests: list[tuple[str, str, str, str]] = field(default_factory=list)
    issued: list[tuple[str, str, str, int]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    replays: list[str] = field(default_factory=list)
    fetches: list[tuple[str, str]] = field(default_factory=list)
    legacy: list[str] = field(default_factory=list)

    def token_request(
        self, grant: str, auth_method: str, client: str, result: str, duration_s: float
    ) -> None:
        assert duration_s >= 0
        self.requests.append((grant, auth_method, client, result))

    def token_issued(self, client: str, audience: str, grant: str, lifetime_s: int) -> None:
        self.issued.append((client, audience, grant, lifetime_s))

    def auth_failure(self, auth_method: str, reason: str) -> None:
        self.failures.append((auth_method, reason))

    def replay_rejected(self, kind: str) -> None:
        self.replays.append(kind)

    def legacy_audience(self, client: str) -> None:
        self.legacy.append(client)

    def jwks_fetch(self, issuer: str, result: str) -> None:
        self.fetches.append((issuer, result))


@dataclass
class ServedIssuer:
    """One issuer on a socket, and the handles a test turns."""

    url: str
    http: aiohttp.ClientSession
    snapshot: IssuerSnapshot
    revocations: Revocations
    store: StateStore
    observer: RecordingObserver
    now: float = NOW
    replay: ReplayGuard = field(default_factory=lambda: MemoryReplayGuard(lambda: NOW))
    uses: Shares = field(default_factory=lambda: Shares(MAX_USED))
    issued: list[tuple[bytes, AccessToken]] = field(default_factory=list)
    retry_after: str | None = None
    """Of the last answer, where a test notes it."""
    bad_assertions: list[str] = field(default_factory=list)
    """The peers whose assertions did not verify, once for each check."""
    server: IssuerServer | None = None

    def configure(self, settings: Settings, keys: KeyRing) -> None:
        self.snapshot = build_issuer_snapshot(settings, compile_registry(settings), keys)
        assert self.server is not None
        self.server.take(elsewhere=NOTHING_THERE)

    async def token(self, auth: str = BASIC, **form: str) -> str:
        form = {"grant_type": "client_credentials", **form}
        headers = {"Authorization": auth}
        async with self.http.post(self.url + "/oauth2/token", data=form, headers=headers) as answer:
            body = await answer.json()
            assert answer.status == 200, body
            return str(body["access_token"])


@pytest.fixture
async def issuer() -> AsyncIterator[ServedIssuer]:
    scrypt = ScryptWorker()
    settings = make_settings()
    async with aiohttp.ClientSession(auto_decompress=False) as http:
        served = ServedIssuer(
            url="",
            http=http,
            snapshot=build_issuer_snapshot(settings, compile_registry(settings), EC_RING),
            revocations=Revocations(clocks_apart_s=CLOCKS_APART_S),
            store=MemoryStore(),
            observer=RecordingObserver(),
        )
        key_sets = RemoteKeySets(served.observer)
        context = IssuerContext(
            snapshot=lambda: served.snapshot,
            revocations=served.revocations,
            store=_Indirect(served),
            scrypt=scrypt,
            clock=lambda: served.now,
            on_issued=lambda raw, token: served.issued.append((raw, token)),
            observer=served.observer,
            replay=_IndirectGuard(served),
            uses=served.uses,
            key_sets=key_sets,
            on_bad_assertion=lambda peer: served.bad_assertions.append(peer),
        )
        async with serving_issuer(context) as server:
            server.take(elsewhere=NOTHING_THERE)
            served.server, served.url = server, server.url
            yield served
        await key_sets.close()
    scrypt.close()


@dataclass
class _IndirectGuard:
    """The replay guard a test has put in place."""

    served: ServedIssuer

    async def first_use(self, key: str, expires_at: int) -> bool:
        return await self.served.replay.first_use(key, expires_at)


@dataclass
class _Indirect:
    """The store a test has put in place."""

    served: ServedIssuer

    async def revoke(self, jti: str, expires_at: int) -> None:
        await self.served.store.revoke(jti, expires_at)

    async def revoke_under(self, issuer: str, jti: str, expires_at: int) -> None:
        await self.served.store.revoke_under(issuer, jti, expires_at)

    async def load(self) -> list[tuple[str, int]]:
        return await self.served.store.load()

    async def check(self) -> None:
        await self.served.store.check()

    async def close(self) -> None:
        await self.served.store.close()
