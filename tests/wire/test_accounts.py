"""Show that the record of a refusal says who was refused, why, and what was answered."""

import pytest

from tests.support.appliance import Appliance
from tests.support.caller import Answer, assert_own
from tests.support.upstream import Upstream, answering
from tests.wire.conftest import Start


async def get(appliance: Appliance, target: str, *fields: str, method: str = "GET") -> Answer:
    lines = "".join(f"{line}\r\n" for line in fields)
    return await appliance.ask(f"{method} {target} HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n".encode())


# --- at the gate


async def test_a_revoked_token_names_its_client(appliance: Appliance) -> None:
    token = (await appliance.token()).decode()
    await appliance.post_form("/oauth2/revoke", {"token": token})
    assert_own(await get(appliance, "/read/AUS", f"Authorization: Bearer {token}"), 401, "revoked")
    assert appliance.exchanges[-1].client == "reader"


@pytest.mark.parametrize("target", ["/read/AUS", "/nowhere", "/get-only", "/read/../AUS"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
async def test_the_bytes_of_our_own_answers_are_counted(
    target: str, method: str, appliance: Appliance
) -> None:
    answer = await get(appliance, target, method=method)
    if answer.reason is not None:
        assert appliance.exchanges[-1].response_bytes == len(answer.body)
        assert bool(answer.body) == (method != "HEAD")


async def test_the_bytes_of_an_answer_to_no_request_are_counted(appliance: Appliance) -> None:
    answer = await appliance.ask(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n")
    assert_own(answer, 400, "bad_framing")
    assert appliance.exchanges[-1].response_bytes == len(answer.body) > 0


async def test_a_trace_that_nobody_was_told_of_has_no_id(appliance: Appliance) -> None:
    assert_own(await get(appliance, "/nowhere"), 404, "no_route")
    assert appliance.exchanges[-1].trace_id == ""
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    await get(appliance, "/nowhere", f"traceparent: {parent}")
    assert appliance.exchanges[-1].trace_id == "a" * 32


async def test_the_recorded_trace_is_the_one_the_upstream_was_told(
    appliance: Appliance, upstream: Upstream
) -> None:
    for fields in ((), ("X-Request-Id: ours",), ("X-Request-Id: not acceptable",)):
        await get(appliance, "/open/x", *fields)
        told = upstream.requests[-1].one("traceparent")
        assert told is not None
        exchange = appliance.exchanges[-1]
        assert exchange.trace_id == told[3:35]
        assert exchange.request_id == upstream.requests[-1].one("X-Request-Id")


# --- at the issuer


@pytest.mark.parametrize(
    ("form", "client", "error"),
    [
        ({"grant_type": "client_credentials", "scope": "nothing"}, "reader", "invalid_scope"),
        ({"grant_type": "client_credentials", "audience": "nobody"}, "reader", "invalid_target"),
        ({"grant_type": "client_credentials"}, "stranger", "invalid_client"),
        ({"grant_type": "password"}, "reader", "unsupported_grant_type"),
        ({}, "reader", "invalid_request"),
    ],
)
async def test_an_oauth_error_is_the_reason(
    form: dict[str, str], client: str, error: str, appliance: Appliance
) -> None:
    answer = await appliance.post_form("/oauth2/token", form, client=client)
    exchange = appliance.exchanges[-1]
    assert (answer.json()["error"], exchange.reason) == (error, error)
    assert answer.reason is None, "the field is for the gate's own refusals"
    assert (exchange.status, exchange.request_id) == (answer.status, answer.one("X-Request-Id"))


@pytest.mark.parametrize("path", ["/oauth2/introspect", "/oauth2/revoke"])
async def test_so_it_is_at_the_other_endpoints(path: str, appliance: Appliance) -> None:
    for client, form, error in (
        ("stranger", {"token": "x"}, "invalid_client"),
        ("reader", {}, "invalid_request"),
    ):
        answer = await appliance.post_form(path, form, client=client)
        assert (answer.json()["error"], answer.reason) == (error, None)
        assert appliance.exchanges[-1].reason == error


async def test_what_the_issuer_grants_is_ok(appliance: Appliance) -> None:
    await appliance.token()
    assert (appliance.exchanges[-1].status, appliance.exchanges[-1].reason) == (200, "ok")
    answer = await get(appliance, "/.well-known/jwks.json")
    assert answer.reason is None
    assert appliance.exchanges[-1].reason == "ok"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /oauth2/token HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /oauth2/token HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n",
        b"PUT /.well-known/jwks.json HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_requests_in_another_form_have_a_reason_too(request_bytes: bytes, appliance: Appliance) -> None:
    answer = await appliance.ask(request_bytes)
    assert answer.status in (405, 415)
    assert answer.json()["error"] == appliance.exchanges[-1].reason == "invalid_request"


async def test_an_upstream_cannot_name_a_reason(start: Start, upstream: Upstream) -> None:
    upstream.script = answering(
        b"HTTP/1.1 401 No\r\nSidegate-Reason: invalid_client\r\nContent-Length: 0\r\n\r\n"
    )
    async with start() as appliance:
        answer = await get(appliance, "/open/x")
        assert (answer.status, answer.reason) == (401, None)
        assert appliance.exchanges[-1].reason == "public"
