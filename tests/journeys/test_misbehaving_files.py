"""Show a running process whose files and directories misbehave: what was in force stays in force.

Each kind of file that is read, in each way a file can be wrong. Several files misbehave at a time, of
each source, because each source stands for itself. `make test` takes a fixed choice in which
each file and each way comes at least once, `make soak` takes all.
"""

import http.client
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import zip_longest
from pathlib import Path

import pytest

from tests.journeys.conftest import Upstream, wait_for
from tests.journeys.every_file import ADMIN_TOKEN, EveryFile, every_file
from tests.support.misbehaviour import OF_DIRECTORIES, OF_FILES, Misbehaving, written_all_the_time

FULL = bool(os.environ.get("SIDEGATE_SOAK"))
NOTICED_WITHIN_S = 12.0
"""A change that is no replacement counts when nothing changed for 5 s; and the machine may be busy."""
ENDS_WITHIN_S = 3.0
STILL_S = 2.5
"""More than two looks of a watch."""

Round = dict[str, str]
"""For each file what is wrong with it; files of each source."""

SOURCES = {
    "configuration": {
        "policies/country.yaml": OF_FILES,
        "policies": (*OF_DIRECTORIES, "an empty directory"),
        "gateway.yaml": OF_FILES,
        "secrets/caller.secret": tuple(way for way in OF_FILES if way != "half"),  # which is a secret, too
        "secrets": tuple(way for way in OF_DIRECTORIES if way != "mode 0311"),  # nobody lists it
        "sets/signer.json": OF_FILES,
    },
    "keys": {
        "keys/*.pem": tuple(way for way in OF_FILES if way != "gone"),  # which is meant: test_keys_as_input
        "keys": OF_DIRECTORIES,
        "keys/states.json": tuple(way for way in OF_FILES if way != "gone"),
    },
    "certificates": {
        "tls/server.pem": OF_FILES,
        "tls/server.key": OF_FILES,
        "tls/clients.pem": OF_FILES,
        "tls/vault.pem": OF_FILES,
        "tls/own.pem": OF_FILES,
        "tls/own.key": OF_FILES,
        "tls": tuple(way for way in OF_DIRECTORIES if way != "mode 0311"),
        "sets/servers.pem": OF_FILES,
        "cluster.token": tuple(way for way in OF_FILES if way != "half"),  # which is a token, too
        "admin.token": tuple(way for way in OF_FILES if way != "half"),
    },
}

TOLD = {
    "policies/country.yaml": "policies/",
    "policies": "policies",
    "secrets/caller.secret": "clients.caller.secrets",
    "secrets": "clients.caller.secrets",
    "sets/signer.json": "clients.signer.jwks_file",
    "gateway.yaml": "/gateway.yaml",
    "keys/*.pem": "/keys/",
    "keys": "/keys",
    "keys/states.json": "/keys/states.json",
    "tls/server.pem": "certificate_file: the certificate of 127.0.0.1",
    "tls/server.key": "key_file: the certificate of 127.0.0.1",
    "tls/clients.pem": "client_ca_file: the certificate of 127.0.0.1",
    "tls": "_file: the certificate",
    "tls/vault.pem": "ca_file: the certificates of upstream vault",
    "tls/own.pem": "_file: the certificates of upstream vault",
    "tls/own.key": "_file: the certificates of upstream vault",
    "sets/servers.pem": "ca_file: the authorities for the keys of https://platform.example",
    "cluster.token": "the token cluster",
    "admin.token": "token_file",
}
"""What the log says of each: its path, or the key that names it."""

CHOSEN: list[list[Round]] = [
    [
        {
            "policies/country.yaml": "half",
            "keys/*.pem": "mode 000",
            "tls/server.pem": "empty",
            "cluster.token": "a FIFO",
        },
        {"policies": "an empty directory", "keys": "mode 0311", "tls/vault.pem": "a directory"},
        {
            "secrets/caller.secret": "a device",
            "keys/*.pem": "half",
            "sets/servers.pem": "1 GiB",
            "tls/own.key": "half",
        },
    ],
    [
        {
            "gateway.yaml": "mode 000",
            "keys/states.json": "half",
            "tls/server.key": "half",
            "tls/own.pem": "a device",
        },
        {"secrets": "a file", "keys": "a link loop", "tls": "gone"},
        {
            "sets/signer.json": "1 GiB",
            "keys/states.json": "a device",
            "tls/clients.pem": "empty",
            "admin.token": "mode 000",
        },
    ],
]


def all_rounds() -> Iterator[Round]:
    pairs = [[(file, way) for file, ways in files.items() for way in ways] for files in SOURCES.values()]
    for chosen in zip_longest(*pairs):
        yield dict(pair for pair in chosen if pair is not None)


def in_tens(rounds: list[Round]) -> list[list[Round]]:
    return [rounds[start : start + 10] for start in range(0, len(rounds), 10)]


def source_of(file: str) -> str:
    return next(source for source, files in SOURCES.items() if file in files)


@pytest.fixture
def house(upstream: Upstream) -> Iterator[EveryFile]:
    with every_file(upstream.port) as running:
        yield running


def find(house: EveryFile, file: str) -> Path:
    (path,) = house.directory.glob(file)
    return path


def misbehave(house: EveryFile, chosen: Round) -> list[Misbehaving]:
    """Let the files misbehave, and return when operators are told so."""
    told_before = house.told()
    broken = [Misbehaving(find(house, file), way, house.directory / "aside") for file, way in chosen.items()]
    house.hang_up()
    sources = {source_of(file) for file in chosen}
    wait_for(lambda: set(house.degraded()) == sources, f"{sources} to be degraded by {chosen}")
    assert house.successful() == {source: source not in sources for source in SOURCES}
    new = house.told()[len(told_before) :]
    for file in chosen:
        assert any(TOLD[file] in line.replace(str(house.directory), "") for line in new), (file, new)
    return broken


def mend(house: EveryFile, broken: list[Misbehaving]) -> None:
    """Mend the files, and return when that was noticed without a word."""
    for file in broken:
        file.mend()
    wait_for(lambda: not house.degraded(), "the mended files to be noticed", patience_s=NOTICED_WITHIN_S)
    assert all(house.successful().values())


@pytest.mark.parametrize("rounds", in_tens(list(all_rounds())) if FULL else CHOSEN)
def test_what_was_in_force_stays_in_force(house: EveryFile, rounds: list[Round]) -> None:
    for number, chosen in enumerate(rounds):
        begun = time.time()
        broken = misbehave(house, chosen)
        assert house.differences() == [], chosen
        for entry in house.degraded().values():
            assert begun - 1 <= entry["since"] <= time.time()
        if number == 0:
            told, since = house.told(), house.degraded()
            time.sleep(STILL_S)
            assert house.told() == told, "each problem is told once"
            assert house.degraded() == since
        mend(house, broken)
        assert house.differences() == [], chosen
    misbehave(house, rounds[0])
    assert house.stop() < ENDS_WITHIN_S


def test_every_file_and_every_way_is_chosen() -> None:
    chosen = {pair for rounds in CHOSEN for each in rounds for pair in each.items()}
    possible = {(file, way) for files in SOURCES.values() for file, ways in files.items() for way in ways}
    assert chosen <= possible
    assert {file for file, _ in chosen} == {file for file, _ in possible}
    assert {way for _, way in chosen} == {way for _, way in possible}


WRITTEN = [
    {"policies/country.yaml": 2, "keys/*.pem": 2, "tls/server.pem": 2},
    {"gateway.yaml": 2, "keys/states.json": 2, "tls/server.key": 2},
    {"secrets/caller.secret": 1, "tls/clients.pem": 2},
    {"sets/signer.json": 2, "tls/own.pem": 2},
    {"tls/own.key": 2, "cluster.token": 1},
    {"tls/vault.pem": 2, "sets/servers.pem": 2},
]
"""Files with the pieces in which they are written: a piece of a secret is a secret, too."""


@pytest.mark.parametrize("files", WRITTEN if FULL else WRITTEN[:1])
def test_files_that_are_written_all_the_time_are_never_taken_in_part(
    house: EveryFile, files: dict[str, int]
) -> None:
    with ExitStack() as stack:
        for file, pieces in files.items():
            stack.enter_context(written_all_the_time(find(house, file), pieces=pieces))
        for _ in range(20 if FULL else 5):
            house.hang_up()
            assert house.differences() == [], files
            house.degraded()
    wait_for(lambda: not house.degraded(), "the whole files to be noticed", patience_s=NOTICED_WITHIN_S)
    assert house.differences() == [], files
    assert house.stop() < ENDS_WITHIN_S


DESCRIPTORS = 150


def test_without_descriptors_everything_stays_as_it_is(upstream: Upstream) -> None:
    """Nothing can be opened then, by those who look at files neither; what was asked comes when it can."""
    with every_file(upstream.port, descriptors=DESCRIPTORS) as house, ExitStack() as stack:
        gate, admin = (stack.enter_context(connected(port)) for port in house.ports)
        headers = {"Authorization": f"Bearer {house.token}"}
        assert ask(gate, "/ms-system/x", headers)[0] == 200
        policy = house.directory / "policies" / "country.yaml"
        policy.write_text(policy.read_text().replace("routes:\n", ROUTE_MORE))
        with crowding(house, admin):
            house.hang_up()
            wait_for(lambda: degraded(admin) >= {"configuration"}, "the failed load")
            assert ask(gate, "/ms-system/x", headers)[0] == 200
            assert ask(gate, "/ms-system/x", {})[0] == 401
            assert ask(gate, "/write", headers)[0] == 403
            assert ask(gate, "/more", {})[0] == 404
        wait_for(lambda: not degraded(admin), "another load", patience_s=NOTICED_WITHIN_S)
        assert house.differences() == []
        assert ask(gate, "/more", {})[0] == 200
        with crowding(house, admin):
            assert house.stop() < ENDS_WITHIN_S


@contextmanager
def crowding(house: EveryFile, admin: http.client.HTTPConnection) -> Iterator[None]:
    """Take every descriptor that the process may have, by callers who say nothing."""
    before = accept_pauses(admin)
    with ExitStack() as crowd:
        for _ in range(2 * DESCRIPTORS):
            crowd.enter_context(socket.create_connection(("127.0.0.1", house.appliance.port)))
        wait_for(lambda: accept_pauses(admin) > before, "accepting to pause")
        yield


ROUTE_MORE = "routes:\n  - {name: more, path: /more, upstream: country, access: public}\n"


@contextmanager
def connected(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.connect()
    yield connection
    connection.close()


def ask(connection: http.client.HTTPConnection, target: str, headers: dict[str, str]) -> tuple[int, bytes]:
    connection.request("GET", target, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def accept_pauses(admin: http.client.HTTPConnection) -> float:
    _, body = ask(admin, "/metrics", {})
    found = re.findall(rb"^sidegate_accept_pauses_total\{.*\} (\S+)$", body, re.MULTILINE)
    return sum(map(float, found))


def degraded(admin: http.client.HTTPConnection) -> set[str]:
    status, body = ask(admin, "/readyz", {})
    assert status == 200, body
    return {entry["name"] for entry in json.loads(body)["degraded"]}


@pytest.mark.parametrize("way", SOURCES["certificates"]["admin.token"] if FULL else ("empty", "a FIFO"))
def test_an_admin_token_that_cannot_be_read_lets_nobody_in(house: EveryFile, way: str) -> None:
    for token, status in ((ADMIN_TOKEN, 200), ("", 401), ("wrong", 401)):
        assert house.ask_admin(token).status == status
    broken = Misbehaving(find(house, "admin.token"), way, house.directory / "aside")
    told = len(house.told())
    for token in (ADMIN_TOKEN, "", "wrong") * 3:
        assert house.ask_admin(token).status in (401, 503)
    assert house.differences() == []
    assert len(house.told()) <= told + 1, "it is told once, not for each caller"
    broken.mend()
    assert house.ask_admin(ADMIN_TOKEN).status == 200
    assert house.ask_admin("wrong").status == 401
