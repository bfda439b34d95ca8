"""Show TLS listeners: who gets in, that HTTP works as it does in the clear, and certificates that change."""

import asyncio
import contextlib
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption

from gateway.http1.request import FieldBlock, read_fields
from gateway.proxy.certificates import TlsEndpoint
from gateway.proxy.downstream import LEAVE_LIMIT_S
from gateway.proxy.listener import Listener
from tests.support.appliance import Appliance, configuration
from tests.support.caller import Answer, Caller, ClosedError
from tests.support.certificates import Authority, Issued
from tests.support.upstream import OK, Accepted, Upstream, answering
from tests.support.waiting import PATIENCE_S, turns_of_the_loop, until
from tests.wire.conftest import Start

GET = b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n"
HIGH_WATER_BYTES = 320 * 1024
ONE_READ_BYTES = 256 * 1024


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.make("Test Servers")


@pytest.fixture(scope="module")
def callers() -> Authority:
    """Sign client certificates."""
    return Authority.make("Test Callers")


@pytest.fixture
def files(tmp_path: Path, authority: Authority, callers: Authority) -> Path:
    authority.server().write(tmp_path, "server")
    (tmp_path / "callers.pem").write_bytes(callers.pem)
    return tmp_path


def tls(client_certificate: str = "off", **listener: Any) -> list[dict[str, Any]]:
    """Return the settings of one TLS listener."""
    settings = {"certificate_file": "server.pem", "key_file": "server.key"}
    if client_certificate != "off":
        settings |= {"client_certificate": client_certificate, "client_ca_file": "callers.pem"}
    return [{"address": "127.0.0.1:0", "tls": settings, **listener}]


def trusting(
    authority: Authority, shown: Issued | None = None, directory: Path | None = None
) -> ssl.SSLContext:
    """Return a client's context that trusts `authority` and shows the certificate `shown`, if any."""
    context = ssl.create_default_context(cadata=authority.pem.decode())
    if shown is not None:
        assert directory is not None
        context.load_cert_chain(*shown.write(directory, "shown"))
    return context


@contextlib.asynccontextmanager
async def secured(appliance: Appliance, context: ssl.SSLContext) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", appliance.port, ssl=context, server_hostname="localhost", limit=2**20
    )
    try:
        yield Caller(reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def ask(appliance: Appliance, context: ssl.SSLContext, request: bytes = GET) -> Answer:
    async with secured(appliance, context) as caller:
        return await caller.ask(request)


async def is_let_in(appliance: Appliance, context: ssl.SSLContext) -> bool:
    """Return whether a request is answered; TLS 1.3 tells a client only afterwards that it is not let in."""
    try:
        return (await ask(appliance, context)).status == 200
    except (ssl.SSLError, ConnectionError, ClosedError):
        return False


def listener_of(appliance: Appliance) -> Listener:
    return appliance.listeners[0]


def endpoint_of(appliance: Appliance) -> TlsEndpoint:
    endpoint = appliance.listeners[0].tls
    assert endpoint is not None
    return endpoint


def shown_by(caller: Caller) -> bytes:
    """Return the certificate that the server showed, in DER."""
    shown = caller.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    assert isinstance(shown, bytes)
    return shown


# --- HTTP over TLS


async def test_requests_in_a_row_and_the_scheme_they_came_by(
    files: Path, start: Start, authority: Authority, upstream: Upstream
) -> None:
    async with start(listeners=tls()) as appliance, secured(appliance, trusting(authority)) as caller:
        for _ in range(3):
            assert (await caller.ask(GET)).status == 200
        caller.send(GET * 5)
        for _ in range(5):
            assert (await caller.answer()).status == 200
        assert {request.one("X-Forwarded-Proto") for request in upstream.requests} == {"https"}
        assert {request.one("X-Forwarded-For") for request in upstream.requests} == {"127.0.0.1"}
        assert len(appliance.gate.connections) == 1
        assert appliance.gate.arriving == 0


async def test_the_issuer_answers_over_tls(files: Path, start: Start, authority: Authority) -> None:
    async with start(listeners=tls()) as appliance:
        answer = await ask(appliance, trusting(authority), b"GET /oauth2/jwks HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.status == 200
        assert answer.json()["keys"]


async def test_large_bodies_both_ways(
    files: Path, start: Start, authority: Authority, upstream: Upstream
) -> None:
    body = hashlib.shake_128(b"body").digest(8 * 1024 * 1024)

    async def echo(connection: Accepted) -> None:
        while (request := await connection.request()) is not None:
            connection.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.body) + request.body
            )

    upstream.script = echo
    async with start(listeners=tls()) as appliance, secured(appliance, trusting(authority)) as caller:
        for _ in range(2):
            answer = await caller.ask(
                b"POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
            assert answer.status == 200
            assert answer.body == body


async def test_a_slow_reader_bounds_what_is_held(
    files: Path, start: Start, authority: Authority, upstream: Upstream
) -> None:
    size = 16 * 1024 * 1024

    async def flooding(connection: Accepted) -> None:
        while await connection.request() is not None:
            connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            connection.write(bytes(size))

    upstream.script = flooding
    async with start(listeners=tls()) as appliance, secured(appliance, trusting(authority)) as caller:
        caller.reader._transport.pause_reading()  # type: ignore[attr-defined]
        caller.send(GET)
        await until(lambda: any(connection._hold for connection in appliance.gate.connections))
        await turns_of_the_loop()
        (connection,) = appliance.gate.connections
        assert 0 < connection._transport.get_write_buffer_size() <= 2 * (HIGH_WATER_BYTES + ONE_READ_BYTES)
        caller.reader._transport.resume_reading()  # type: ignore[attr-defined]
        assert len((await caller.answer()).body) == size


async def test_a_slow_upstream_bounds_what_is_held(
    files: Path, start: Start, authority: Authority, upstream: Upstream
) -> None:
    size = 16 * 1024 * 1024
    may_read = asyncio.Event()

    async def slow(connection: Accepted) -> None:
        connection.transport.pause_reading()
        await may_read.wait()
        connection.transport.resume_reading()
        while await connection.request() is not None:
            connection.write(OK)

    upstream.script = slow
    async with start(listeners=tls()) as appliance, secured(appliance, trusting(authority)) as caller:
        caller.send(b"POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        caller.send(bytes(size))
        await upstream.connection()
        await until(lambda: any(connection._hold for connection in appliance.gate.connections))
        await turns_of_the_loop()
        (connection,) = appliance.gate.connections
        assert connection._transport.get_read_buffer_size() <= 2 * ONE_READ_BYTES  # type: ignore[attr-defined]
        may_read.set()
        assert (await caller.answer()).status == 200
        assert len(upstream.requests[0].body) == size


async def test_the_last_answer_is_followed_by_a_clean_end(
    files: Path, start: Start, authority: Authority, upstream: Upstream
) -> None:
    """With a close_notify: an answer that is cut must look different from one that is whole."""
    upstream.script = answering(OK)
    async with start(listeners=tls()) as appliance, secured(appliance, trusting(authority)) as caller:
        answer = await caller.ask(b"GET /open/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert answer.one("Connection") == "close"
        assert await caller.rest() == b""
        await until(lambda: not appliance.gate.connections)


async def test_a_caller_that_ends_its_side_is_gone(
    files: Path, start: Start, authority: Authority, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    asked = asyncio.Event()

    async def silent(connection: Accepted) -> None:
        await connection.request()
        asked.set()
        await connection.closed.wait()

    upstream.script = silent
    async with start(listeners=tls()) as appliance, secured(appliance, trusting(authority)) as caller:
        caller.send(GET)
        await asked.wait()
        caller.writer.close()  # sends close_notify
        await until(lambda: not appliance.gate.connections)
        assert [exchange.reason for exchange in appliance.exchanges] == ["client_closed"]
    assert "eof_received" not in caplog.text


async def test_a_refusal_in_the_middle_of_a_body_arrives(
    files: Path, start: Start, authority: Authority, upstream: Upstream
) -> None:
    async with (
        start(listeners=tls(), limits={"body_bytes": 1000}) as appliance,
        secured(appliance, trusting(authority)) as caller,
    ):
        caller.send(b"POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n" + bytes(200_000))
        assert (await caller.answer()).reason == "body_too_large"
        # TLS cannot end one way: what still comes is read over first, or the answer might be lost.
        assert len(appliance.gate.connections) == 1
        appliance.let_pass(LEAVE_LIMIT_S + 0.1)
        await until(lambda: not appliance.gate.connections)
    assert upstream.requests == []


async def test_a_caller_that_does_not_answer_our_close_is_cut(
    files: Path, start: Start, authority: Authority
) -> None:
    async with start(listeners=tls()) as appliance, secured(appliance, trusting(authority)) as caller:
        assert (await caller.ask(GET)).status == 200
        caller.reader._transport.pause_reading()  # type: ignore[attr-defined]
        appliance.let_pass(76)
        await turns_of_the_loop()
        assert len(appliance.gate.connections) == 1, "the caller may still take our close"
        appliance.let_pass(3)
        await until(lambda: not appliance.gate.connections)


# --- what is spoken


def _at_most(version: ssl.TLSVersion) -> Callable[[ssl.SSLContext], None]:
    def limit(context: ssl.SSLContext) -> None:
        context.maximum_version = version

    return limit


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_versions_and_the_application_protocol(
    files: Path, start: Start, authority: Authority, version: ssl.TLSVersion
) -> None:
    context = trusting(authority)
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with start(listeners=tls()) as appliance, secured(appliance, context) as caller:
        spoken = caller.writer.get_extra_info("ssl_object")
        assert spoken.selected_alpn_protocol() == "http/1.1"
        assert spoken.compression() is None
        name, _, bits = spoken.cipher()
        assert bits >= 128
        assert "GCM" in name or "CHACHA20" in name
        assert (await caller.ask(GET)).status == 200


@pytest.mark.parametrize(
    "ciphers", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384"]
)
async def test_ciphers_without_forward_secrecy_or_authentication_are_refused(
    files: Path, start: Start, authority: Authority, ciphers: str
) -> None:
    context = trusting(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)
    async with start(listeners=tls()) as appliance:
        assert not await is_let_in(appliance, context)
        await until(lambda: listener_of(appliance).refused["handshake"] == 1)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
async def test_older_versions_are_refused(files: Path, start: Start, authority: Authority) -> None:
    context = trusting(authority)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    async with start(listeners=tls()) as appliance:
        assert not await is_let_in(appliance, context)


async def test_plain_http_is_refused(files: Path, start: Start, upstream: Upstream) -> None:
    async with start(listeners=tls()) as appliance:
        async with appliance.connect() as caller:
            caller.send(GET)
            await caller.rest()
        await until(lambda: listener_of(appliance).refused["handshake"] == 1)
        assert appliance.gate.arriving == 0
    assert upstream.connections == []


# --- client certificates


@pytest.mark.parametrize(
    ("asked", "shown", "let_in"),
    [
        ("off", None, True),
        ("off", "caller", True),
        ("optional", None, True),
        ("optional", "caller", True),
        ("optional", "stranger", False),
        ("required", None, False),
        ("required", "caller", True),
        ("required", "stranger", False),
        ("required", "expired", False),
        ("required", "not yet valid", False),
        ("required", "server", False),
    ],
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_who_is_let_in(
    files: Path,
    start: Start,
    authority: Authority,
    callers: Authority,
    upstream: Upstream,
    asked: str,
    shown: str | None,
    let_in: bool,
    version: ssl.TLSVersion,
) -> None:
    certificates = {
        None: lambda: None,
        "caller": lambda: callers.client("alice"),
        "stranger": lambda: Authority.make("Test Callers").client("alice"),
        "expired": lambda: callers.client("alice", days=(-2, -1)),
        "not yet valid": lambda: callers.client("alice", days=(1, 2)),
        "server": lambda: callers.server("alice"),
    }
    certificate = certificates[shown]()
    context = trusting(authority, certificate, files)
    context.maximum_version = version
    async with start(listeners=tls(asked)) as appliance:
        assert await is_let_in(appliance, context) is let_in
        if not let_in:
            await until(lambda: listener_of(appliance).refused["client_certificate"] == 1)
    assert len(upstream.requests) == let_in


async def test_the_certificate_is_known_to_gate_and_issuer(
    files: Path, start: Start, authority: Authority, callers: Authority
) -> None:
    alice = callers.client("alice")
    async with start(listeners=tls("optional")) as appliance:
        async with secured(appliance, trusting(authority, alice, files)) as caller:
            assert (await caller.ask(b"GET /oauth2/jwks HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
            (connection,) = appliance.gate.connections
            assert connection.client_certificate == alice.der
            fields = read_fields(b"\r\n", max_fields=0)
            assert isinstance(fields, FieldBlock)
            known = connection.caller(fields)
            assert (known.address, known.scheme, known.certificate) == ("127.0.0.1", "https", alice.der)
        await until(lambda: not appliance.gate.connections)
        async with secured(appliance, trusting(authority)) as caller:
            assert (await caller.ask(GET)).status == 200
            (connection,) = appliance.gate.connections
            assert connection.client_certificate is None


# --- certificates that change


async def test_a_replaced_certificate_is_for_new_connections(
    files: Path, start: Start, authority: Authority
) -> None:
    async with start(listeners=tls()) as appliance, secured(appliance, trusting(authority)) as old:
        before = shown_by(old)
        replacement = authority.server(kind="rsa")
        replacement.write(files, "server")
        await appliance.load()
        async with secured(appliance, trusting(authority)) as new:
            assert shown_by(new) == replacement.der != before
            assert (await new.ask(GET)).status == 200
        assert (await old.ask(GET)).status == 200
        # No trace of the former key: a client that cannot do with RSA is not served with it.
        picky = trusting(authority)
        picky.maximum_version = ssl.TLSVersion.TLSv1_2
        picky.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        assert not await is_let_in(appliance, picky)


async def test_a_listener_s_files_are_followed_until_the_restart_that_gives_it_others(
    files: Path, start: Start, authority: Authority, upstream: Upstream
) -> None:
    """Other files take effect at the next start; what is in use must not expire until then."""
    authority.server().write(files, "other")
    others = tls()
    others[0]["tls"] |= {"certificate_file": "other.pem", "key_file": "other.key"}
    async with start(listeners=tls()) as appliance:
        for listeners in (others, tls()):
            targets = {"country": [upstream.port]}
            await appliance.reload(configuration(listeners=listeners), targets=targets)
            renewed = authority.server()
            renewed.write(files, "server")
            await appliance.load()
            async with secured(appliance, trusting(authority)) as caller:
                assert shown_by(caller) == renewed.der
        report = await appliance.load()
        assert report.changes == ()


def _half_written(files: Path, authority: Authority) -> str:
    certificate = authority.server()
    (files / "server.pem").write_bytes(certificate.pem)
    return "is not the key of the certificate"


def _other_key_type(files: Path, authority: Authority) -> str:
    (files / "server.key").write_bytes(authority.server(kind="rsa").key_pem)
    return "is not the key of the certificate"


def _cut_short(files: Path, authority: Authority) -> str:
    (files / "server.pem").write_bytes(authority.server().pem[:200])
    return "is cut short"


def _chain_cut_short(files: Path, authority: Authority) -> str:
    certificate = authority.server()
    certificate.write(files, "server")
    (files / "server.pem").write_bytes(certificate.pem + authority.pem[:-60])
    return "is cut short"


def _no_certificate(files: Path, authority: Authority) -> str:
    (files / "server.pem").write_bytes(authority.server().key_pem)
    return "holds no PEM certificate"


def _no_key(files: Path, authority: Authority) -> str:
    (files / "server.key").unlink()
    return "does not exist"


def _empty_key(files: Path, authority: Authority) -> str:
    (files / "server.key").write_bytes(b"")
    return "cannot be used: it holds no private key in PEM form"


def _encrypted_key(files: Path, authority: Authority) -> str:
    replacement = authority.server()
    replacement.write(files, "server")
    (files / "server.key").write_bytes(replacement.key_bytes(BestAvailableEncryption(b"secret")))
    return "is encrypted"


@pytest.mark.parametrize(
    "spoil",
    [
        _half_written,
        _other_key_type,
        _cut_short,
        _chain_cut_short,
        _no_certificate,
        _no_key,
        _empty_key,
        _encrypted_key,
    ],
)
async def test_files_that_do_not_fit_change_nothing(
    files: Path,
    start: Start,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path, Authority], str],
) -> None:
    async with start(listeners=tls()) as appliance:
        async with secured(appliance, trusting(authority)) as caller:
            before = shown_by(caller)
        why = spoil(files, authority)
        await appliance.load()
        assert why in endpoint_of(appliance).refusal
        assert why in caplog.text
        async with secured(appliance, trusting(authority)) as caller:
            assert shown_by(caller) == before
            assert (await caller.ask(GET)).status == 200
        repaired = authority.server()
        repaired.write(files, "server")
        await appliance.load()
        assert endpoint_of(appliance).refusal == ""
        async with secured(appliance, trusting(authority)) as caller:
            assert shown_by(caller) == repaired.der


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_removed_authority_is_no_longer_trusted(
    files: Path, start: Start, authority: Authority, callers: Authority, version: ssl.TLSVersion
) -> None:
    others = Authority.make("Other Callers")
    alice = trusting(authority, callers.client("alice"), files)
    bob = trusting(authority, others.client("bob"), files)
    alice.maximum_version = bob.maximum_version = version
    (files / "callers.pem").write_bytes(callers.pem + others.pem)
    async with start(listeners=tls("required")) as appliance:
        async with secured(appliance, alice) as caller:
            assert (await caller.ask(GET)).status == 200
            session = caller.writer.get_extra_info("ssl_object").session
            assert await is_let_in(appliance, bob)
            (files / "callers.pem").write_bytes(others.pem)
            await appliance.load()
            assert not await is_let_in(appliance, alice)
            assert await is_let_in(appliance, bob)
            assert (await caller.ask(GET)).status == 200, "an open connection lives on"
        assert not await asyncio.to_thread(_resumes, appliance.port, alice, session)
        (files / "callers.pem").write_bytes(b"")
        await appliance.load()
        assert "client_ca_file" in endpoint_of(appliance).refusal
        assert await is_let_in(appliance, bob)


def _resumes(port: int, context: ssl.SSLContext, session: ssl.SSLSession) -> bool:
    """Return whether a session from before is good for a request."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        try:
            with context.wrap_socket(connection, server_hostname="localhost", session=session) as secure:
                secure.sendall(GET)
                return secure.recv(100).startswith(b"HTTP/1.1 200")
        except OSError:
            return False


# --- limits


async def test_silent_handshakes_are_counted_and_end_in_time(
    files: Path, start: Start, authority: Authority
) -> None:
    limits = {"connections": 2, "header_timeout": "300ms"}
    async with start(listeners=tls(), limits=limits) as appliance:
        async with appliance.connect(), appliance.connect():
            await until(lambda: appliance.gate.arriving == 2)
            assert not await is_let_in(appliance, trusting(authority))
            assert listener_of(appliance).refused["limit"] == 1
            await until(lambda: appliance.gate.arriving == 0)
            assert listener_of(appliance).refused["timeout"] == 2
        assert await is_let_in(appliance, trusting(authority))


async def test_handshakes_count_for_their_peer(files: Path, start: Start, authority: Authority) -> None:
    async with start(listeners=tls(), limits={"connections_per_peer": 2}) as appliance:
        async with appliance.connect(), appliance.connect():
            await until(lambda: appliance.gate.arriving == 2)
            assert not await is_let_in(appliance, trusting(authority))
            assert listener_of(appliance).refused["limit_per_peer"] == 1
        await until(lambda: appliance.gate.arriving == 0)
        assert await is_let_in(appliance, trusting(authority))


async def test_closing_stops_accepting_and_lets_handshakes_end(
    files: Path, start: Start, authority: Authority
) -> None:
    async with (
        start(listeners=tls()) as appliance,
        secured(appliance, trusting(authority)) as there,
        appliance.connect() as silent,
    ):
        await until(lambda: appliance.gate.arriving == 1)
        listener_of(appliance).close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", appliance.port)
        assert (await there.ask(GET)).status == 200
        assert await silent.rest() == b""
        await until(lambda: appliance.gate.arriving == 0)
