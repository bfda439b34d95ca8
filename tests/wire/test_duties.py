"""Show what a listener serves, and which spellings of a path lead to the issuer."""

import pytest

from tests.support.appliance import Appliance
from tests.support.caller import assert_own
from tests.support.upstream import Upstream
from tests.wire.conftest import Start

OPEN = b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n"
KEYS = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: a\r\n\r\n"
LISTENERS = [
    {"address": "127.0.0.1:0"},
    {"address": "127.0.0.1:0", "serves": ["issuer"]},
    {"address": "127.0.0.1:0", "serves": ["gate"]},
]


async def test_a_listener_serves_what_it_says(start: Start, upstream: Upstream) -> None:
    async with start(listeners=LISTENERS) as appliance:
        for number, (keys, gate) in enumerate([(200, 200), (200, 404), (404, 200)]):
            for request, status in ((KEYS, keys), (OPEN, gate)):
                answer = await appliance.ask(request, number)
                if status == 404:
                    assert_own(answer, 404, "no_route")
                else:
                    assert (answer.status, answer.reason) == (200, None)
    assert len(upstream.requests) == 2


async def test_a_token_of_one_listener_is_good_at_the_other(start: Start, upstream: Upstream) -> None:
    async with start(listeners=LISTENERS[1:]) as appliance:
        token = await appliance.token()
        request = b"GET /read/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n\r\n" % token
        assert_own(await appliance.ask(request, 0), 404, "no_route")
        assert (await appliance.ask(request, 1)).status == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (b"/oauth2/token", 405),
        (b"/v1/token", 405),
        (b"/oauth2/%74oken", 405),
        (b"/%6f%61uth2/token", 405),
        (b"/oauth2/token?x=/../y", 405),
        (b"http://a/oauth2/token", 405),
        (b"/oauth2/token/", 404),
        (b"/OAuth2/token", 404),
        (b"/oauth2/toke%6E%00", 400),
        (b"/oauth2%2ftoken", 400),
        (b"/oauth2//token", 400),
        (b"//oauth2/token", 400),
        (b"/oauth2/./token", 400),
        (b"/open/../oauth2/token", 400),
        (b"/oauth2/token;x", 400),
        (b"/oauth2/%2574oken", 404),
    ],
)
async def test_spellings_of_the_token_endpoint(
    path: bytes, status: int, appliance: Appliance, upstream: Upstream
) -> None:
    answer = await appliance.ask(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
    assert answer.status == status
    if status == 405:
        # The issuer's own answer: its paths take POST.
        assert answer.reason is None
        assert answer.one("Allow") == "POST"
        assert answer.json()["error"]
    else:
        assert_own(answer, status, "no_route" if status == 404 else "bad_path")
    assert upstream.seen == (0, 0)


async def test_the_issuer_is_told_the_connection_by_nobody_else(
    appliance: Appliance, upstream: Upstream
) -> None:
    """A forged reference changes nothing: it never reaches the issuer."""
    for name in (b"X-Sidegate-Connection", b"X_Sidegate_Connection"):
        answer = await appliance.ask(KEYS.replace(b"Host", name + b": forged\r\nHost"))
        assert answer.status == 200
    assert {exchange.peer for exchange in appliance.exchanges} == {"127.0.0.1"}


async def test_head_of_the_issuers_documents(appliance: Appliance, upstream: Upstream) -> None:
    async with appliance.connect() as caller:
        got = await caller.ask(KEYS)
        head = await caller.ask(KEYS.replace(b"GET", b"HEAD"))
        assert (head.status, head.body, head.one("ETag")) == (200, b"", got.one("ETag"))
        assert head.one("Content-Length") == got.one("Content-Length")
        etag = got.one("ETag")
        assert etag
        same = await caller.ask(KEYS.replace(b"Host", b"If-None-Match: %b\r\nHost" % etag.encode()))
        assert (same.status, same.body) == (304, b"")
        assert (await caller.ask(KEYS)).body == got.body


@pytest.mark.parametrize("coding", [b"deflate", b"gzip", b"br", b"zstd", b"compress", b"gzip, deflate"])
async def test_an_encoded_form_is_refused_and_never_unpacked(
    coding: bytes, appliance: Appliance, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """A mebibyte of it would hold the event loop for a second; what is not unpacked cannot be malformed."""
    form = b"no such thing" * 1000
    answer = await appliance.ask(
        b"POST /oauth2/token HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n%b" % (coding, len(form), form)
    )
    assert (answer.status, answer.json()["error"]) == (415, "invalid_request")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_metadata_takes_nothing_from_host(appliance: Appliance, upstream: Upstream) -> None:
    answer = await appliance.ask(
        b"GET /.well-known/openid-configuration HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    )
    assert b"evil.example" not in answer.body
