"""Show that a path which a decoding service would route elsewhere never gets there."""

import pytest

from tests.support.appliance import AUDIENCE
from tests.support.upstream import Upstream
from tests.wire.conftest import Start

ADMIN = {"audience": AUDIENCE, "scopes": ["country.write"]}
ROUTES = [
    {"name": "files", "path": "/files/**", "upstream": "country", "access": "public"}
    | {"allow_in_path": ["encoded_slash", "parameters"]},
    {"name": "private", "path": "/files/private/**", "upstream": "country", "require": ADMIN},
    {"name": "stripped", "path": "/api/{id}", "upstream": "country", "access": "public"}
    | {"allow_in_path": ["encoded_slash"], "rewrite": {"strip_prefix": "/api", "add_prefix": "/v2"}},
    {"name": "secret", "path": "/api/{id}/secret", "upstream": "country", "require": ADMIN},
    {"name": "project", "path": "/projects/{id}", "upstream": "country", "access": "public"}
    | {"allow_in_path": ["opaque_slash"], "rewrite": {"strip_prefix": "/projects"}},
]


@pytest.mark.parametrize(
    "path",
    [
        b"/files/private%2Fx",
        b"/files/%70rivate%2fx",
        b"/files/private;v=1%2Fx",
        b"/files/private%3Bv%2Fx",
        b"/files/a%2F%2Fprivate",
        b"/api/7%2Fsecret",
        b"/api/7%2F",
    ],
)
async def test_a_path_that_leads_elsewhere_when_it_is_decoded_is_refused(
    path: bytes, start: Start, upstream: Upstream
) -> None:
    async with start(routes=ROUTES) as appliance:
        answer = await appliance.ask(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
        assert (answer.status, answer.one("Sidegate-Reason")) == (400, "bad_path")
        assert "private" not in answer.json()["detail"]
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (b"/files/a%2fb", "/files/a%2Fb"),
        (b"/files/a;v=1", "/files/a;v=1"),
        (b"/projects/group%2Fname", "/group%2Fname"),
    ],
)
async def test_a_path_with_one_rule_is_forwarded_as_it_is(
    path: bytes, target: str, start: Start, upstream: Upstream
) -> None:
    async with start(routes=ROUTES) as appliance:
        assert (await appliance.ask(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)).status == 200
    assert upstream.requests[0].target == target
