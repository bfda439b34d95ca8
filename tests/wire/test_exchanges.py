"""Show requests and answers of every framing, whole, in pieces and one behind the other."""

import pytest

from tests.support.appliance import Appliance
from tests.support.caller import assert_own
from tests.support.upstream import OK, Accepted, Upstream, answering
from tests.support.waiting import turns_of_the_loop, until
from tests.wire.conftest import Start

GET = b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"HEAD /open/x HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
    b"3;ext=1\r\nhel\r\n2\r\nlo\r\n0\r\nX-Trailer: 1\r\n\r\n"
)


async def echo(connection: Accepted) -> None:
    """Answer each request with its method, target and body."""
    while (request := await connection.request()) is not None:
        body = f"{request.method} {request.target} ".encode() + request.body
        sent = b"" if request.method == "HEAD" else body
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), sent))


# --- connections


async def test_a_connection_carries_many_requests(appliance: Appliance, upstream: Upstream) -> None:
    upstream.script = echo
    async with appliance.connect() as caller:
        for request in (GET, POST, CHUNKED, HEAD, GET):
            answer = await caller.ask(request)
            assert (answer.status, answer.one("Connection")) == (200, None)
    assert len(upstream.connections) == 1
    assert [request.body for request in upstream.requests] == [b"", b"hello", b"hello", b"", b""]


@pytest.mark.parametrize(
    ("request_", "kept"),
    [
        (b"GET /open/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", False),
        (b"GET /open/x HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n\r\n", False),
        (b"GET /open/x HTTP/1.0\r\n\r\n", False),
        (b"GET /open/x HTTP/1.0\r\nHost: a\r\n\r\n", False),
        (b"GET /open/x HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", True),
        (b"GET /open/x HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", False),
        (b"GET /nowhere HTTP/1.0\r\n\r\n", False),
        (b"GET /nowhere HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
        (b"GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", False),
        (b"GET /.well-known/jwks.json HTTP/1.0\r\n\r\n", False),
    ],
)
async def test_who_keeps_the_connection(
    request_: bytes, kept: bool, appliance: Appliance, upstream: Upstream
) -> None:
    async with appliance.connect() as caller:
        answer = await caller.ask(request_)
        if kept:
            assert answer.one("Connection") == "keep-alive"
            assert (await caller.ask(GET)).status == 200
        else:
            assert answer.one("Connection") == "close"
            assert await caller.rest() == b""


async def test_an_upstream_connection_is_used_by_all_callers(
    appliance: Appliance, upstream: Upstream
) -> None:
    for _ in range(3):
        assert (await appliance.ask(GET)).status == 200
    assert len(upstream.connections) == 1


# --- pipelining and pieces


async def test_pipelined_requests_are_answered_in_order(appliance: Appliance, upstream: Upstream) -> None:
    upstream.script = echo
    requests = [
        (GET.replace(b"/x", b"/1"), 200, b"GET /open/1 "),
        (POST.replace(b"/x", b"/2"), 200, b"POST /open/2 hello"),
        (b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 404, None),
        (CHUNKED.replace(b"/x", b"/3"), 200, b"POST /open/3 hello"),
        (b"POST /read/AUS HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 401, None),
        (b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: a\r\n\r\n", 200, None),
        (HEAD, 200, b""),
        (GET.replace(b"/x", b"/4"), 200, b"GET /open/4 "),
    ]
    async with appliance.connect() as caller:
        caller.send(b"".join(request for request, _, _ in requests))
        for request, status, body in requests:
            answer = await caller.answer(to="HEAD" if request is HEAD else "GET")
            assert answer.status == status
            assert body is None or answer.body == body


async def test_a_request_behind_a_refused_one_that_closes_is_not_looked_at(
    appliance: Appliance, upstream: Upstream
) -> None:
    async with appliance.connect() as caller:
        caller.send(b"GET /open/x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n" + GET)
        assert_own(await caller.answer(), 400, "bad_framing")
        assert await caller.rest() == b""
    assert upstream.seen == (0, 0)


async def test_every_cut_of_pipelined_requests_reads_the_same(
    appliance: Appliance, upstream: Upstream
) -> None:
    upstream.script = echo
    data = GET + b"\r\n" + POST + CHUNKED + GET
    async with appliance.connect() as caller:
        for cut in range(1, len(data)):
            caller.send(data[:cut])
            await turns_of_the_loop(6)
            caller.send(data[cut:])
            bodies = [(await caller.answer()).body for _ in range(4)]
            assert bodies == [
                b"GET /open/x ",
                b"POST /open/x hello",
                b"POST /open/x hello",
                b"GET /open/x ",
            ], cut
    assert len(upstream.connections) == 1


@pytest.mark.parametrize("lines", [b"\r\n\r\n", b"\r\r\n", b"\r", b"\n", b"\r\n\n", b"\r\n\r\n\r\n"])
@pytest.mark.parametrize("bytewise", [False, True])
async def test_more_than_one_empty_line_before_a_request_is_refused(
    lines: bytes, bytewise: bool, appliance: Appliance, upstream: Upstream
) -> None:
    async with appliance.connect() as caller:
        for position in range(len(lines) if bytewise else 0):
            caller.send(lines[position : position + 1])
            await turns_of_the_loop(4)
        caller.send(GET if bytewise else lines + GET)
        assert_own(await caller.answer(), 400, "bad_framing")
        assert await caller.rest() == b""
    assert upstream.seen == (0, 0)


async def test_requests_byte_by_byte(appliance: Appliance, upstream: Upstream) -> None:
    upstream.script = echo
    async with appliance.connect() as caller:
        for request, body in ((POST, b"POST /open/x hello"), (CHUNKED, b"POST /open/x hello")):
            for position in range(len(request)):
                caller.send(request[position : position + 1])
                await turns_of_the_loop(4)
            assert (await caller.answer()).body == body


ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;e\r\nhe\r\n003\r\nllo\r\n0\r\nT: 1\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 H\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
]


@pytest.mark.parametrize("answer", ANSWERS)
async def test_answers_in_two_pieces(answer: bytes, appliance: Appliance, upstream: Upstream) -> None:
    async def in_pieces(connection: Accepted) -> None:
        cut = 0
        while await connection.request() is not None:
            cut += 1
            connection.write(answer[:cut])
            await turns_of_the_loop(6)
            connection.write(answer[cut:])

    upstream.script = in_pieces
    async with appliance.connect() as caller:
        for _ in range(1, len(answer)):
            caller.send(GET)
            found = await caller.answer()
            while found.status < 200:
                found = await caller.answer()
            assert (found.status, found.body) == (200, b"hello")
    assert len(upstream.connections) == 1


# --- bodies


async def test_chunked_requests_are_framed_anew(appliance: Appliance, upstream: Upstream) -> None:
    assert (await appliance.ask(CHUNKED)).status == 200
    request = upstream.requests[0]
    assert (request.one("Transfer-Encoding"), request.one("Content-Length")) == ("chunked", None)
    body = bytes(upstream.connections[0].raw).partition(b"\r\n\r\n")[2]
    assert body.startswith(b"3\r\nhel\r\n2\r\nlo\r\n0\r\n")


async def test_an_empty_chunked_body(appliance: Appliance, upstream: Upstream) -> None:
    request = b"POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    async with appliance.connect() as caller:
        assert [(await caller.ask(request)).status for _ in range(2)] == [200, 200]
    assert [request.body for request in upstream.requests] == [b"", b""]


async def test_a_length_of_zero_stays(appliance: Appliance, upstream: Upstream) -> None:
    await appliance.ask(b"POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    assert upstream.requests[0].one("Content-Length") == "0"


@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"OPTIONS", b"HEAD"])
async def test_any_method_may_have_a_body(method: bytes, appliance: Appliance, upstream: Upstream) -> None:
    request = b"%b /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" % method
    upstream.script = echo
    async with appliance.connect() as caller:
        assert [(await caller.ask(request)).status for _ in range(2)] == [200, 200]
    assert [request.body for request in upstream.requests] == [b"abc", b"abc"]


@pytest.mark.parametrize(
    ("method", "raw", "status", "length"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n", 200, "12345"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, None),
        (b"HEAD", b"HTTP/1.1 200 OK\r\n\r\n", 200, None),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, None),
        (b"GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, None),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", 304, None),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, "9"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", 304, None),
        (b"GET", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, "0"),
        (b"GET", b"HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n", 599, "0"),
    ],
)
async def test_answers_without_a_body(
    method: bytes, raw: bytes, status: int, length: str | None, appliance: Appliance, upstream: Upstream
) -> None:
    upstream.script = answering(raw, OK)
    async with appliance.connect() as caller:
        answer = await caller.ask(GET.replace(b"GET", method))
        assert (answer.status, answer.one("Content-Length"), answer.body) == (status, length, b"")
        assert answer.one("Connection") is None
        assert (await caller.ask(GET)).body == b"ok"
    assert len(upstream.connections) == 1


UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nhello"
CHUNKED_ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.parametrize("raw", [UNTIL_CLOSE, b"HTTP/1.0 200 OK\r\n\r\nhello"])
async def test_answers_until_close_become_chunked(
    raw: bytes, appliance: Appliance, upstream: Upstream
) -> None:
    upstream.script = answering(raw, close=True)
    async with appliance.connect() as caller:
        for _ in range(2):
            answer = await caller.ask(GET)
            assert (answer.one("Transfer-Encoding"), answer.body) == ("chunked", b"hello")
    assert len(upstream.connections) == 2


@pytest.mark.parametrize("raw", [UNTIL_CLOSE, CHUNKED_ANSWER])
@pytest.mark.parametrize("fields", [b"", b"Connection: keep-alive\r\n"])
async def test_answers_of_unknown_length_to_http_1_0_end_with_the_connection(
    raw: bytes, fields: bytes, appliance: Appliance, upstream: Upstream
) -> None:
    upstream.script = answering(raw, close=raw is UNTIL_CLOSE)
    answer = await appliance.ask(b"GET /open/x HTTP/1.0\r\n%b\r\n" % fields)
    assert (answer.one("Transfer-Encoding"), answer.one("Connection"), answer.body) == (
        None,
        "close",
        b"hello",
    )


async def test_large_bodies_both_ways(appliance: Appliance, upstream: Upstream) -> None:
    body = bytes(range(256)) * 8192
    upstream.script = echo
    for request in (
        b"POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body),
        b"POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
        % (len(body), body),
    ):
        assert (await appliance.ask(request)).body == b"POST /open/x " + body


@pytest.mark.parametrize("late", [False, True])
async def test_content_until_the_end_of_an_answer_that_has_none(
    late: bool, appliance: Appliance, upstream: Upstream
) -> None:
    """RFC 9110 15.3.6: not every caller looks for the content of a 205; it would be its next answer."""
    content = b""

    async def script(connection: Accepted) -> None:
        await connection.request()
        connection.write(b"HTTP/1.1 205 Reset Content\r\n\r\n" + (b"" if late else content))
        await until(lambda: not late or any(c.relay and c.relay.status for c in appliance.gate.connections))
        connection.write(content if late else b"")
        connection.close()

    upstream.script = script
    answer = await appliance.ask(GET)
    assert (answer.status, answer.body) == (205, b"")
    content = b"HTTP/1.1 200 OK\r\n\r\n"
    async with appliance.connect() as caller:
        caller.send(GET)
        received = await caller.rest() if late else (await caller.answer()).head
    assert received.startswith(b"HTTP/1.1 205 " if late else b"HTTP/1.1 502 ")
    assert b" 200 OK" not in received
    assert appliance.exchanges[-1].reason == "upstream_protocol"


# --- 1xx


async def test_100_continue_comes_from_the_upstream(appliance: Appliance, upstream: Upstream) -> None:
    async def asked_first(connection: Accepted) -> None:
        head = await connection.head()
        assert head is not None
        assert b"Expect: 100-continue\r\n" in head
        connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await connection.body_bytes(5) == b"hello"
        connection.write(OK)

    upstream.script = asked_first
    async with appliance.connect() as caller:
        caller.send(b"POST /open/x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert (await caller.answer()).status == 100
        caller.send(b"hello")
        assert (await caller.answer()).status == 200


async def test_interim_answers_are_not_sent_to_http_1_0(appliance: Appliance, upstream: Upstream) -> None:
    upstream.script = answering(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)
    assert (await appliance.ask(b"GET /open/x HTTP/1.0\r\n\r\n")).status == 200


async def test_a_refused_request_that_awaits_100_gets_its_answer_and_the_connection_ends(
    appliance: Appliance, upstream: Upstream
) -> None:
    async with appliance.connect() as caller:
        answer = await caller.ask(
            b"POST /read/x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        )
        assert_own(answer, 401, "no_token")
        assert answer.one("Connection") == "close"
        assert await caller.rest() == b""
    assert upstream.seen == (0, 0)


async def test_a_final_answer_may_come_before_the_body_is_complete(
    appliance: Appliance, upstream: Upstream
) -> None:
    async def early(connection: Accepted) -> None:
        await connection.head()
        connection.write(b"HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\n\r\nno")

    upstream.script = early
    async with appliance.connect() as caller:
        caller.send(b"POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nhello")
        answer = await caller.answer()
        assert (answer.status, answer.body, answer.one("Connection")) == (413, b"no", "close")
        caller.send(b"x" * 1000)
        assert await caller.rest() == b""
    await (await upstream.connection()).closed.wait()


# --- nothing of one exchange reaches another


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_connections_that_did_not_end_cleanly_are_not_used_again(
    raw: bytes, appliance: Appliance, upstream: Upstream
) -> None:
    upstream.script = answering(raw)
    async with appliance.connect() as caller:
        assert [(await caller.ask(GET)).body for _ in range(3)] == [b"ok"] * 3
    assert len(upstream.connections) == 3


async def test_http_1_0_upstreams_may_keep_the_connection(appliance: Appliance, upstream: Upstream) -> None:
    upstream.script = answering(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok")
    async with appliance.connect() as caller:
        assert [(await caller.ask(GET)).body for _ in range(3)] == [b"ok"] * 3
    assert len(upstream.connections) == 1


async def test_bytes_that_nobody_asked_for_end_an_idle_connection(
    appliance: Appliance, upstream: Upstream
) -> None:
    assert (await appliance.ask(GET)).status == 200
    first = upstream.connections[0]
    first.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    await first.closed.wait()
    assert (await appliance.ask(GET)).body == b"ok"
    assert len(upstream.connections) == 2


# --- refused requests and the connection


async def test_a_refused_request_with_a_small_body_keeps_the_connection(
    appliance: Appliance, upstream: Upstream
) -> None:
    async with appliance.connect() as caller:
        body = b"GET /open/evil HTTP/1.1\r\nHost: a\r\n\r\n" * 100
        head = b"POST /read/x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
        for cut in (0, 1, len(body)):
            caller.send(head + body[:cut])
            assert_own(await caller.answer(), 401, "no_token")
            caller.send(body[cut:])
            assert (await caller.ask(GET)).status == 200
    assert {request.target for request in upstream.requests} == {"/open/x"}


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 100000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n"]
)
async def test_a_refused_request_with_a_large_body_ends_the_connection_after_the_answer(
    framing: bytes, appliance: Appliance, upstream: Upstream
) -> None:
    async with appliance.connect() as caller:
        caller.send(b"POST /read/x HTTP/1.1\r\nHost: a\r\n" + framing)
        for _ in range(20):  # the caller goes on sending before it reads
            caller.send(b"x" * 50_000)
            await turns_of_the_loop(5)
        answer = await caller.answer()
        assert_own(answer, 401, "no_token")
        assert answer.one("Connection") == "close"
        assert await caller.rest() == b""
    assert upstream.seen == (0, 0)


async def test_a_caller_may_close_its_half_after_the_request(
    appliance: Appliance, upstream: Upstream
) -> None:
    upstream.script = echo
    async with appliance.connect() as caller:
        caller.send(POST)
        caller.writer.write_eof()
        assert (await caller.answer()).body == b"POST /open/x hello"
        assert await caller.rest() == b""


async def test_pipelined_requests_before_a_half_close_are_all_answered(
    appliance: Appliance, upstream: Upstream
) -> None:
    async with appliance.connect() as caller:
        caller.send(GET * 3)
        caller.writer.write_eof()
        assert [(await caller.answer()).status for _ in range(3)] == [200] * 3
        assert await caller.rest() == b""


async def test_a_half_close_inside_a_request_ends_it(appliance: Appliance, upstream: Upstream) -> None:
    async with appliance.connect() as caller:
        caller.send(POST[:-2])
        caller.writer.write_eof()
        assert b" 200 " not in await caller.rest()
    await until(lambda: appliance.exchanges)
    assert appliance.exchanges[0].reason == "client_closed"


async def test_the_issuer_answers_on_kept_connections_too(start: Start, upstream: Upstream) -> None:
    async with start() as appliance, appliance.connect() as caller:
        form = b"grant_type=client_credentials&client_id=reader&client_secret=reader&audience=country-service"
        request = (
            b"POST /oauth2/token HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(form), form)
        )
        token = (await caller.ask(request)).json()["access_token"].encode()
        answers = [
            await caller.ask(GET),
            await caller.ask(request),
            await caller.ask(request.replace(b"POST", b"PATCH")),
            await caller.ask(b"GET /shadow HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n\r\n" % token),
        ]
    assert [answer.status for answer in answers] == [200, 200, 405, 200]
