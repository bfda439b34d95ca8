"""Fetch key sets through a real proxy, and see where our token goes and where it does not."""
# ruff: noqa: E501 (a row of a table is one line)

import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from gateway.settings.model import BearerTokenSettings, KeySetProxySettings, RemoteKeySource
from gateway.tokens.jwks_client import KeysUnavailableError, RemoteKeySets
from gateway.tokens.key_sets import KeySet
from gateway.tokens.origins import BadAddressError, may_be_proxied, origin_of
from tests.support.certificates import Authority
from tests.support.connect_proxy import ConnectProxy, proxying
from tests.support.jws import make_key
from tests.support.key_server import KeyServer, serving

KEY = make_key("ES256", "k")
NAME = "keys.outside.example"
"""No name of this machine, and of no machine: only the proxy leads there."""


class Results(list[str]):
    """What is told about each fetch."""

    def jwks_fetch(self, issuer: str, result: str) -> None:
        self.append(result)


@contextlib.asynccontextmanager
async def fetching() -> AsyncIterator[tuple[RemoteKeySets, Results]]:
    results = Results()
    sets = RemoteKeySets(results)
    try:
        yield sets, results
    finally:
        await sets.close()


async def result_of(source: RemoteKeySource) -> str:
    """Return how one fetch of the keys ended."""
    async with fetching() as (sets, results):
        try:
            keys = await sets.find(source, "k", "ES256", may_fetch=True)
        except KeysUnavailableError:
            pass
        else:
            assert isinstance(keys, KeySet)
            assert isinstance(keys.find("k", "ES256"), tuple)
        return results[0]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority.make("ours")
    (tmp_path / "ca.pem").write_bytes(made.pem)
    return made


@contextlib.asynccontextmanager
async def serving_as(authority: Authority, name: str, directory: Path) -> AsyncIterator[KeyServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.server(name).write(directory, f"server-{name}"))
    async with serving(KEY, tls=context) as server:
        yield server


def port_of(server: KeyServer) -> int:
    port = urlsplit(server.url).port
    assert port is not None
    return port


def behind(proxy: ConnectProxy, **more: object) -> RemoteKeySource:
    fields = {"uri": f"https://{NAME}/jwks", "proxy": KeySetProxySettings("out", "127.0.0.1", proxy.port)}
    return RemoteKeySource(**{"issuer": f"https://{NAME}", **fields, **more})  # type: ignore[arg-type]


async def test_a_proxy_leads_to_keys_outside_and_sees_only_the_name(
    authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("platform-token")
    token = BearerTokenSettings("t", tmp_path / "token", (f"https://{NAME}:443",))
    async with serving_as(authority, NAME, tmp_path) as server, proxying() as proxy:
        proxy.ways[f"{NAME}:443"] = port_of(server)
        source = behind(proxy, ca_file=tmp_path / "ca.pem", bearer_token=token)
        assert await result_of(source) == "ok"
        assert server.asked[0].headers["Authorization"] == "Bearer platform-token"
        assert server.asked[0].headers["Host"] == NAME
        (head,) = proxy.heads
        assert head.startswith(f"CONNECT {NAME}:443 HTTP/1.1\r\n".encode())
        assert b"platform-token" not in head
        assert b"aiohttp" not in head


async def test_discovery_takes_the_same_way(authority: Authority, tmp_path: Path) -> None:
    async with serving_as(authority, NAME, tmp_path) as server, proxying() as proxy:
        proxy.ways[f"{NAME}:443"] = port_of(server)
        server.answer = lambda request: (
            web.json_response({"issuer": f"https://{NAME}", "jwks_uri": f"https://{NAME}/jwks"})
            if "well-known" in request.path
            else None
        )
        assert await result_of(behind(proxy, uri=None, ca_file=tmp_path / "ca.pem")) == "ok"
        assert len(proxy.heads) >= 1
        assert all(head.startswith(b"CONNECT ") for head in proxy.heads)


@pytest.mark.parametrize("uri", ["https://127.0.0.1:{port}/jwks", "https://localhost:{port}/jwks"])
async def test_metadata_do_not_lead_a_proxy_back_to_this_machine(
    authority: Authority, tmp_path: Path, uri: str
) -> None:
    async with (
        serving_as(authority, NAME, tmp_path) as server,
        serving_as(authority, "localhost", tmp_path) as inside,
        proxying() as proxy,
    ):
        proxy.ways[f"{NAME}:443"] = port_of(server)
        named = uri.format(port=port_of(inside))
        server.answer = lambda _: web.json_response({"issuer": f"https://{NAME}", "jwks_uri": named})
        assert await result_of(behind(proxy, uri=None, ca_file=tmp_path / "ca.pem")) == "bad_address"
        assert inside.asked == []


@pytest.mark.parametrize("spoiled", ["authority", "name"])
async def test_tls_is_verified_to_its_end_behind_the_proxy(
    authority: Authority, tmp_path: Path, spoiled: str
) -> None:
    signer = Authority.make("theirs") if spoiled == "authority" else authority
    name = "another.example" if spoiled == "name" else NAME
    async with serving_as(signer, name, tmp_path) as server, proxying() as proxy:
        proxy.ways[f"{NAME}:443"] = port_of(server)
        assert await result_of(behind(proxy, ca_file=tmp_path / "ca.pem")) == "unreachable"
        assert (len(proxy.heads), server.asked) == (1, [])


REFUSALS = {
    "refused": (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "answers 403 to CONNECT"),
    "wants credentials": (
        b'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="x"\r\n\r\n',
        "answers 407 to CONNECT",
    ),
    "closed": (b"", "behind the proxy"),
    "speaks nonsense": (b"SSH-2.0-OpenSSH\r\n\r\n", "behind the proxy"),
}


@pytest.mark.parametrize(("answer", "said"), REFUSALS.values(), ids=REFUSALS)
async def test_a_proxy_that_refuses_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, answer: bytes, said: str
) -> None:
    async with proxying() as proxy:
        proxy.ways[f"{NAME}:443"] = 1
        proxy.answer = answer
        with caplog.at_level(logging.WARNING):
            assert await result_of(behind(proxy)) == "unreachable"
        assert f"the proxy http://127.0.0.1:{proxy.port}" in caplog.text
        assert said in caplog.text


async def test_a_proxy_that_is_away_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: nobody answers, and nobody else takes the port
        proxy = ConnectProxy(port=held.getsockname()[1])
        with caplog.at_level(logging.WARNING):
            assert await result_of(behind(proxy)) == "unreachable"
    assert f"the proxy http://127.0.0.1:{proxy.port} cannot be reached" in caplog.text


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxying() as proxy, serving(KEY) as server:
        for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        assert await result_of(RemoteKeySource("https://p.example", server.uri)) == "ok"
        assert proxy.heads == []


# --- where our token goes


async def test_our_token_stays_within_its_origins_whatever_leads_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("platform-token")
    async with serving(KEY) as listed, serving(KEY) as other:
        token = BearerTokenSettings("t", tmp_path / "token", (origin_of(listed.url),))

        def sent(server: KeyServer) -> list[str | None]:
            return [request.headers.get("Authorization") for request in server.asked]

        # Metadata of the listed origin name keys elsewhere.
        listed.answer = lambda request: (
            listed.metadata(jwks_uri=other.uri) if "well-known" in request.path else None
        )
        assert await result_of(RemoteKeySource(listed.url, None, bearer_token=token)) == "ok"
        assert (sent(listed), sent(other)) == (["Bearer platform-token"], [None])
        # Metadata of elsewhere name keys at the listed origin: there, and only there.
        listed.answer = None
        other.answer = lambda request: (
            other.metadata(jwks_uri=listed.uri) if "well-known" in request.path else None
        )
        assert await result_of(RemoteKeySource(other.url, None, bearer_token=token)) == "ok"
        assert (sent(listed)[1:], sent(other)[1:]) == (["Bearer platform-token"], [None])
        # A redirect leads elsewhere: not followed.
        listed.answer = lambda _: web.Response(status=307, headers={"Location": other.uri})
        assert await result_of(RemoteKeySource("https://p", listed.uri, bearer_token=token)) == "bad_redirect"
        assert len(other.asked) == 2


ORIGINS = [
    ("https://a.example", "https://a.example:443"),
    ("https://A.Example:0443/x?y", "https://a.example:443"),
    ("https://a.example:8443/", "https://a.example:8443"),
    ("https://[FD00::1]/", "https://[fd00::1]:443"),
    ("http://127.0.0.1/", "http://127.0.0.1:80"),
    ("http://[::1]:81/", "http://[::1]:81"),
    ("http://keys.localhost/", "http://keys.localhost:80"),
]


@pytest.mark.parametrize(("url", "origin"), ORIGINS)
def test_an_origin_has_one_spelling(url: str, origin: str) -> None:
    assert origin_of(url) == origin
    assert origin_of(origin) == origin


@pytest.mark.parametrize(
    "url",
    ["http://a.example", "http://localhost.example", "http://[::ffff:10.0.0.1]", "https://u@a.example", "https://:p@a", "ftp://a", "https://", "//a", "https://a:x", "https://[::1"],
)  # fmt: skip
def test_no_other_address_is_asked(url: str) -> None:
    with pytest.raises(BadAddressError) as refused:
        origin_of(url)
    assert url not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "outside"),
    [
        ("https://a.example", True), ("https://10.0.0.1", True), ("https://localhost.example", True),
        ("https://localhost", False), ("https://LOCALHOST.", False), ("https://x.localhost:8443", False),
        ("https://127.1.2.3", False), ("https://[::1]", False), ("https://[::ffff:127.0.0.1]", False),
        ("https://0.0.0.0", False), ("https://[::]", False), ("http://127.0.0.1", False),
    ],
)  # fmt: skip
def test_a_proxy_is_for_what_is_outside(url: str, outside: bool) -> None:
    assert may_be_proxied(url) is outside
