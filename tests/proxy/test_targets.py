"""Show how names become addresses, over time and when the name service fails."""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvloop
from aiohappyeyeballs import AddrInfoType
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption

from gateway.proxy.targets import (
    ASK_AGAIN_AFTER_S,
    NAME_TTL_S,
    Names,
    NotConnectedError,
    TcpOpener,
    TlsFileError,
    UpstreamTls,
    describe_failure,
    read_upstream_tls,
)
from gateway.settings.model import TargetSettings, UpstreamTlsSettings
from tests.support.certificates import Authority


def pytest_asyncio_loop_factories() -> Mapping[str, object]:
    return {"uvloop": uvloop.new_event_loop}


def info(address: str) -> AddrInfoType:
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 80))


@dataclass
class NameService:
    """A name service, and a clock."""

    addresses: tuple[str, ...] = ("192.0.2.1",)
    is_up: bool = True
    now: float = 100.0
    asked: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    async def ask(self, host: str, port: int) -> Sequence[AddrInfoType]:
        assert (host, port) == ("service.internal", 80)
        self.asked += 1
        await self.open.wait()
        if not self.is_up:
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return [info(address) for address in self.addresses]

    def names(self) -> Names:
        return Names("service.internal", 80, ask=self.ask, stopwatch=lambda: self.now)


async def hosts(names: Names) -> list[str]:
    return [found[4][0] for found in await names.addresses()]


async def test_an_answer_is_used_again_until_it_is_old() -> None:
    service = NameService()
    names = service.names()
    for _ in range(3):
        assert await hosts(names) == ["192.0.2.1"]
    assert (service.asked, names.version) == (1, 1)
    service.now += NAME_TTL_S
    assert await hosts(names) == ["192.0.2.1"]
    assert (service.asked, names.version) == (2, 1)
    service.addresses = ("192.0.2.2",)
    service.now += NAME_TTL_S
    assert await hosts(names) == ["192.0.2.2"]
    assert names.version == 2
    assert names.hosts == {"192.0.2.2"}


async def test_many_connections_ask_once() -> None:
    service = NameService()
    service.open.clear()
    names = service.names()
    waiting = [asyncio.create_task(hosts(names)) for _ in range(50)]
    await asyncio.sleep(0)
    service.open.set()
    assert await asyncio.gather(*waiting) == [["192.0.2.1"]] * 50
    assert service.asked == 1


async def test_addresses_take_turns() -> None:
    service = NameService(addresses=("192.0.2.1", "192.0.2.2", "192.0.2.3"))
    names = service.names()
    first = [(await hosts(names))[0] for _ in range(6)]
    assert sorted(first[:3]) == list(service.addresses)
    assert first[3:] == first[:3]


async def test_the_last_answer_stands_in_for_a_name_service_that_is_down() -> None:
    service = NameService()
    names = service.names()
    await names.addresses()
    service.is_up = False
    service.now += NAME_TTL_S
    assert await hosts(names) == ["192.0.2.1"]
    assert await hosts(names) == ["192.0.2.1"]
    assert service.asked == 2  # not with every connection
    service.now += ASK_AGAIN_AFTER_S
    service.is_up = True
    service.addresses = ("192.0.2.9",)
    assert await hosts(names) == ["192.0.2.9"]


async def test_the_last_answer_stands_in_for_a_name_service_that_is_silent() -> None:
    service = NameService()
    names = service.names()
    await names.addresses()
    service.open.clear()
    service.now += NAME_TTL_S
    assert await hosts(names) == ["192.0.2.1"]
    service.open.set()


async def test_a_name_that_was_never_known_is_an_error_each_time() -> None:
    service = NameService(is_up=False)
    names = service.names()
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            await names.addresses()
    service.is_up = True
    assert await hosts(names) == ["192.0.2.1"]
    service.addresses = ()
    with pytest.raises(socket.gaierror):
        await service.names().addresses()


async def test_refresh_asks_without_waiting() -> None:
    service = NameService()
    names = service.names()
    names.refresh(service.now)
    names.refresh(service.now)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert names.hosts == {"192.0.2.1"}
    names.refresh(service.now + NAME_TTL_S / 2)
    await asyncio.sleep(0)
    assert service.asked == 1


@pytest.mark.parametrize(
    ("host", "named"), [("service.internal", True), ("127.0.0.1", False), ("::1", False), ("localhost", True)]
)
def test_only_names_are_looked_up(host: str, named: bool) -> None:
    opener = TcpOpener(TargetSettings(host, 80), None, stopwatch=lambda: 0.0)
    assert (opener.names is not None) is named


def test_openers_are_alike_when_the_same_peer_answers_under_the_same_checks() -> None:
    def identity(target: TargetSettings, tls: UpstreamTls | None) -> object:
        return TcpOpener(target, tls, stopwatch=lambda: 0.0).identity

    plain = TargetSettings("a", 80)
    assert identity(plain, None) == identity(TargetSettings("a", 80), None)
    assert identity(plain, None) != identity(TargetSettings("a", 81), None)
    secure = TargetSettings("a", 443, tls=True)
    context = ssl.create_default_context()
    one, same, other = (UpstreamTls(context, None, text) for text in ("1", "1", "2"))
    assert identity(secure, one) == identity(secure, same)
    assert identity(secure, one) != identity(secure, other)
    assert identity(secure, one) != identity(secure, UpstreamTls(context, "b", "1"))


# --- files


def test_the_context_verifies_and_speaks_http_1_only(tmp_path: Path) -> None:
    authority = Authority.make("a")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    certificate, key = authority.client("gate").write(tmp_path, "client")
    read = read_upstream_tls(UpstreamTlsSettings(tmp_path / "ca.pem", None, certificate, key))
    assert read.context.verify_mode is ssl.CERT_REQUIRED
    assert read.context.check_hostname
    assert read.context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert len(read.context.get_ca_certs()) == 1
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    assert read_upstream_tls(UpstreamTlsSettings(tmp_path / "ca.pem", None, both)).fingerprint
    again = read_upstream_tls(UpstreamTlsSettings(tmp_path / "ca.pem", None, certificate, key))
    assert again.fingerprint == read.fingerprint
    authority.client("gate").write(tmp_path, "client")
    assert (
        read_upstream_tls(UpstreamTlsSettings(tmp_path / "ca.pem", None, certificate, key)).fingerprint
        != read.fingerprint
    )


def test_the_system_s_authorities_are_the_default() -> None:
    read = read_upstream_tls(UpstreamTlsSettings())
    assert read.context.verify_mode is ssl.CERT_REQUIRED
    assert read.fingerprint == read_upstream_tls(UpstreamTlsSettings()).fingerprint


@pytest.mark.parametrize(
    ("files", "key"),
    [
        ({}, "ca_file"),
        ({"ca.pem": b""}, "ca_file"),
        ({"ca.pem": b"\xff\xfe"}, "ca_file"),
        ({"ca.pem": b"-----BEGIN CERTIFICATE-----\n"}, "ca_file"),
        ({"ca.pem": None}, "certificate_file"),
        ({"ca.pem": None, "client.pem": None}, "key_file"),
        ({"ca.pem": None, "client.pem": None, "client.key": b"x"}, "certificate_file"),
        ({"ca.pem": None, "client.pem": None, "client.key": b"OTHER"}, "certificate_file"),
        ({"ca.pem": None, "client.pem": None, "client.key": b"ENCRYPTED"}, "certificate_file"),
    ],
)
def test_files_that_cannot_be_used_are_named(
    files: dict[str, bytes | None], key: str, tmp_path: Path
) -> None:
    authority = Authority.make("a")
    client = authority.client("gate")
    good = {"ca.pem": authority.pem, "client.pem": client.pem, "client.key": client.key_pem}
    special = {
        b"OTHER": authority.client("other").key_pem,
        b"ENCRYPTED": client.key_bytes(BestAvailableEncryption(b"secret")),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(good[name] if content is None else special.get(content, content))
    paths = [tmp_path / name for name in ("ca.pem", "client.pem", "client.key")]
    with pytest.raises(TlsFileError) as caught:
        read_upstream_tls(UpstreamTlsSettings(paths[0], None, paths[1], paths[2]))
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TimeoutError(), "connecting to a:1 timed out"),
        (OSError(errno.ECONNREFUSED, "secret"), "connection refused by a:1"),
        (OSError(errno.ETIMEDOUT, "secret"), "no answer from a:1"),
        (OSError(errno.EHOSTUNREACH, "secret"), "no route to a:1"),
        (OSError(errno.ENETUNREACH, "secret"), "no network leads to a:1"),
        (OSError(errno.ENOTSOCK, "secret"), f"connecting failed ({os.strerror(errno.ENOTSOCK)}) to a:1"),
        (ConnectionRefusedError(), "connecting failed to a:1"),
        (socket.gaierror(), "the name was not resolved: a:1"),
        (ssl.SSLError(), "the TLS handshake failed"),
        (ValueError("secret"), "connecting to a:1 failed"),
        (
            NotConnectedError(
                None,
                [
                    ("[::1]:1", OSError(errno.ECONNREFUSED, "secret")),
                    ("10.0.0.1:1", OSError(errno.EHOSTUNREACH, "secret")),
                    ("127.0.0.1:1", OSError(errno.ECONNREFUSED, "secret")),
                ],
            ),
            "connection refused by [::1]:1 and 127.0.0.1:1, no route to 10.0.0.1:1",
        ),
    ],
)
def test_failures_are_told_as_the_system_told_them(error: Exception, text: str) -> None:
    assert describe_failure(error, "a:1") == text
