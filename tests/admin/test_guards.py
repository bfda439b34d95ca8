"""Show which requests the admin listener serves: each refusal beside an accepted twin."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.admin.guards import AdminRequest, find_refusal, needs_token, read_bearer
from gateway.settings.model import AdminSettings

READ = AdminRequest(
    method="GET",
    path="/api/v1/status",
    scheme="http",
    host=["127.0.0.1:9090"],
    origin=[],
    fetch_site=[],
    content_type=[],
    authorization=[],
)
WRITE = replace(READ, method="POST", path="/api/v1/reload", content_type=["application/json"])
SETTINGS = AdminSettings(
    hosts=("Admin.Example.com", "pinned.example:9443", "10.1.2.3", "[fd00::7]", "[fd00:0:0::8]:9443")
)


def status_of(request: AdminRequest) -> int | None:
    refused = find_refusal(request, SETTINGS)
    return refused.status if refused else None


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:9090",
        "gate.localhost:9090",
        "127.0.0.1",
        "127.0.0.1:9090",
        "127.8.9.10",
        "[::1]",
        "[::1]:9090",
        "[0:0:0:0:0:0:0:1]:1",
        "admin.example.com",
        "ADMIN.example.com:9090",
        "pinned.example:9443",
        "10.1.2.3:9090",
        "[fd00::7]",
        "[fd00::7]:9090",
        "[FD00:0:0::0:7]:9090",
        "[fd00:0:0:0:0:0:0:7]",
        "[fd00::8]:9443",
        "[::ffff:10.1.2.3]:9090",
        "[::ffff:127.0.0.1]",
    ],
)
def test_loopback_and_listed_hosts_are_served(host: str) -> None:
    assert status_of(replace(READ, host=[host])) is None


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (["evil.example"], 421),
        (["localhost.evil.example"], 421),
        (["xlocalhost"], 421),
        (["127.0.0.1.evil.example"], 421),
        (["127.0.0.1.nip.io:9090"], 421),
        (["sub.admin.example.com"], 421),
        (["pinned.example"], 421),
        (["pinned.example:9444"], 421),
        (["0.0.0.0:9090"], 421),
        (["10.1.2.4"], 421),
        (["2130706433"], 421),
        (["0x7f.1"], 421),
        (["[::]"], 421),
        (["[::2]:9090"], 421),
        (["[fd00::70]"], 421),
        (["[fd00::8]"], 421),
        (["[fd00::8]:9090"], 421),
        (["[fd00::7::1]"], 421),
        (["[10.1.2.3]"], 421),
        (["::1"], 400),
        (["fd00::7"], 400),
        (["localhost:"], 400),
        (["localhost:x"], 400),
        (["localhost:123456"], 400),
        (["user@localhost"], 400),
        (["localhost/"], 400),
        (["localhost\n"], 400),
        (["localhost, evil.example"], 400),
        ([""], 400),
        ([], 400),
        (["localhost", "localhost"], 400),
        (["localhost", "evil.example"], 400),
    ],
)
def test_other_hosts_are_refused(host: list[str], status: int) -> None:
    assert status_of(replace(READ, host=host)) == status


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_probe_in_http_1_0_needs_no_host(method: str, path: str) -> None:
    """RFC 9112 3.2: only HTTP/1.1 must have one. Browsers always send it, so no page gets here."""
    probe = replace(READ, method=method, path=path, host=[], minor_version=0)
    assert status_of(probe) is None
    assert status_of(replace(probe, minor_version=1)) == 400
    assert status_of(replace(probe, host=["evil.example"])) == 421
    assert status_of(replace(probe, host=["localhost", "localhost"])) == 400
    for other in ("/metrics", "/api/v1/status", "/api/v1/reload", "/"):
        assert status_of(replace(probe, path=other)) == 400
    assert status_of(replace(probe, method="POST", content_type=["application/json"])) == 400


@pytest.mark.parametrize(
    "accepted",
    [
        {},
        {"origin": ["http://127.0.0.1:9090"]},
        {"origin": ["HTTP://127.0.0.1:9090"]},
        {"fetch_site": ["same-origin"]},
        {"fetch_site": ["none"]},
        {"content_type": ["application/json; charset=utf-8"]},
        {"content_type": ["Application/JSON"]},
    ],
)
def test_own_writes_are_served(accepted: dict[str, list[str]]) -> None:
    assert status_of(replace(WRITE, **accepted)) is None


@pytest.mark.parametrize(
    ("refused", "status"),
    [
        ({"origin": ["http://evil.example"]}, 403),
        ({"origin": ["null"]}, 403),
        ({"origin": ["https://127.0.0.1:9090"]}, 403),
        ({"origin": ["http://127.0.0.1:9091"]}, 403),
        ({"origin": ["http://127.0.0.1"]}, 403),
        ({"origin": ["http://localhost:9090"]}, 403),
        ({"origin": [""]}, 403),
        ({"origin": ["http://127.0.0.1:9090", "http://127.0.0.1:9090"]}, 403),
        ({"fetch_site": ["cross-site"]}, 403),
        ({"fetch_site": ["same-site"]}, 403),
        ({"fetch_site": [""]}, 403),
        ({"fetch_site": ["none", "none"]}, 403),
        ({"content_type": []}, 415),
        ({"content_type": ["text/plain"]}, 415),
        ({"content_type": ["application/x-www-form-urlencoded"]}, 415),
        ({"content_type": ["text/plain; application/json"]}, 415),
        ({"content_type": ["application/json", "text/plain"]}, 415),
        ({"content_type": ["application/jsonp"]}, 415),
    ],
)
def test_foreign_writes_are_refused(refused: dict[str, list[str]], status: int) -> None:
    assert status_of(replace(WRITE, **refused)) == status


def test_reads_from_elsewhere_are_served_because_their_answer_cannot_be_read() -> None:
    assert status_of(replace(READ, origin=["http://evil.example"], fetch_site=["cross-site"])) is None


def test_a_foreign_host_is_refused_before_a_foreign_origin() -> None:
    assert status_of(replace(WRITE, host=["evil.example"], origin=["http://evil.example"])) == 421


@pytest.mark.parametrize(
    ("path", "needed"),
    [
        ("/healthz", False),
        ("/readyz", False),
        ("/metrics", False),
        ("/metrics/", True),
        ("/api/v1/status", True),
        ("/api/v1/reload", True),
        ("/", True),
        ("/absent", True),
    ],
)
def test_which_pages_need_the_token(path: str, needed: bool) -> None:
    assert needs_token(path, AdminSettings(token_file=Path("token"))) is needed
    assert needs_token(path, AdminSettings()) is False


@pytest.mark.parametrize(
    ("authorization", "token"),
    [
        (["Bearer abc"], "abc"),
        (["bearer abc"], "abc"),
        (["BEARER   abc-._~+/=="], "abc-._~+/=="),
        ([], None),
        ([""], None),
        (["Bearer"], None),
        (["Bearer "], None),
        (["Bearer a b"], None),
        (["Basic abc"], None),
        (["abc"], None),
        (["Bearer abc", "Bearer abc"], None),
    ],
)
def test_reading_a_bearer_token(authorization: list[str], token: str | None) -> None:
    assert read_bearer(authorization) == token
