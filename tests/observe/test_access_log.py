"""Show the lines that finished requests become."""

import json

import pytest

from gateway.observe.access_log import Timestamps, json_lines, lines_encoder, text_lines
from gateway.observe.exchange import Exchange

AT = 1_763_731_205.1239


def make_exchange(**fields: object) -> Exchange:
    values: dict[str, object] = {
        "at": AT,
        "method": "GET",
        "host": "api.example.com",
        "path": "/country/AUS",
        "query": "country=AUS",
        "route": "read",
        "client": "caller",
        "audience": "country",
        "reason": "ok",
        "decision": "allow",
        "status": 200,
        "request_id": "r-1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "peer": "127.0.0.1",
        "listener": "127.0.0.1:8080",
        "upstream": "country",
        "target": "http://127.0.0.1:9001",
        "attempts": 1,
        "response_bytes": 41,
        "duration_s": 0.0023000000000000004,
        "overhead_s": 0.00031299999,
        "decision_s": 0.00002,
        "connect_s": float("-1"),
        "ttfb_s": 0.0015,
        "upstream_s": 0.0017,
        "protocol": "HTTP/1.1",
    }
    return Exchange(**(values | fields))  # type: ignore[arg-type]


HOSTILE = [
    "\n",
    "\r\n",
    "\x00",
    "\x1b[2J",
    "\x7f",
    "\x9b31m",
    "\u2028",
    "\u202e",
    "\ud800",
    '"',
    "\\",
    '","reason":"ok',
    "ÿ",
    "\U0001f600",
]


def test_a_json_line_has_the_documented_members() -> None:
    lines = json_lines(query=False)([make_exchange()])
    assert lines.endswith(b"\n")
    assert json.loads(lines) == {
        "time": "2025-11-21T13:20:05.123Z",
        "method": "GET",
        "host": "api.example.com",
        "path": "/country/AUS",
        "route": "read",
        "client": "caller",
        "audience": "country",
        "reason": "ok",
        "decision": "allow",
        "status": 200,
        "request_id": "r-1",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "peer": "127.0.0.1",
        "listener": "127.0.0.1:8080",
        "upstream": "country",
        "target": "http://127.0.0.1:9001",
        "attempts": 1,
        "response_bytes": 41,
        "duration_s": 0.0023,
        "overhead_s": 0.000312,
        "decision_s": 0.00002,
        "ttfb_s": 0.0015,
        "upstream_s": 0.0017,
        "protocol": "HTTP/1.1",
    }


def test_members_that_do_not_apply_are_left_out() -> None:
    assert json.loads(json_lines(query=False)([Exchange(AT)])) == {
        "time": "2025-11-21T13:20:05.123Z",
        "duration_s": 0.0,
        "overhead_s": 0.0,
    }


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_secret_of_a_query_is_logged_even_on_request(log_format: str) -> None:
    exchange = make_exchange()
    exchange.query = "country=AUS&access_token=hunter2&client_secret=hunter2&code=hunter2"
    line = lines_encoder(log_format, query=True)([exchange])
    assert b"country=AUS&access_token=[masked]&client_secret=[masked]&code=[masked]" in line
    assert b"hunter2" not in line


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/reset/eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln", "/reset/[masked]"),
        (
            "/reset/eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln/eyJhbGciOiJFUzI1NiJ9..x.y.z",
            "/reset/[masked]/[masked]",
        ),
        ("/a;token=hunter2/b", "/a;token=[masked]"),
        ("/a;v=1;password=hunter2", "/a;v=1;password=[masked]"),
        ("/a;v=1/b", "/a;v=1/b"),
        ("/keyJ/a.b", "/keyJ/a.b"),
    ],
)
def test_no_secret_of_a_path_is_logged(log_format: str, path: str, shown: str) -> None:
    """A link that carries a token in its path is a login for whoever reads the log."""
    line = lines_encoder(log_format, query=False)([make_exchange(path=path)]).decode()
    assert f'"{shown}"' in line or f" {shown} " in line
    assert "hunter2" not in line
    assert "c2ln" not in line


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("query", [True, False])
def test_the_query_is_logged_only_on_request(log_format: str, query: bool) -> None:
    assert (b"country=AUS" in lines_encoder(log_format, query=query)([make_exchange()])) is query


@pytest.mark.parametrize("field", ["method", "host", "path", "query", "client", "request_id", "error_detail"])
@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_json_line_stays_one_printable_line_and_keeps_the_text(field: str, hostile: str) -> None:
    text = f"a{hostile}b"
    exchanges = [make_exchange(), make_exchange(**{field: text}), make_exchange()]
    lines = json_lines(query=True)(exchanges)
    assert lines.count(b"\n") == 3
    assert all(0x20 <= byte < 0x7F for byte in lines.replace(b"\n", b""))
    assert json.loads(lines.splitlines()[1])[field] == text


@pytest.mark.parametrize(
    "field", ["method", "path", "query", "client", "route", "request_id", "error_detail"]
)
@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_text_line_stays_one_printable_line(field: str, hostile: str) -> None:
    lines = text_lines(query=True)([make_exchange(**{field: f"a{hostile}b"})])
    assert lines.count(b"\n") == 1
    assert all(0x20 <= byte < 0x7F for byte in lines[:-1])


def test_a_text_line_reads_like_the_combined_format() -> None:
    assert text_lines(query=False)([make_exchange(client="my client")]) == (
        b'2025-11-21T13:20:05.123Z 127.0.0.1 "my client" "GET /country/AUS HTTP/1.1" 200 41 '
        b"ok read http://127.0.0.1:9001 0.002300 r-1\n"
    )


def test_an_absent_word_is_a_dash_in_a_text_line() -> None:
    line = text_lines(query=False)([Exchange(AT, "GET", protocol="HTTP/1.1", error_detail="bad head")])
    assert line == b'2025-11-21T13:20:05.123Z - - "GET  HTTP/1.1" 0 0 - - - 0.000000 - "bad head"\n'


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1.0009, "1970-01-01T00:00:01.000Z"),
        (1.5, "1970-01-01T00:00:01.500Z"),
        (1.999, "1970-01-01T00:00:01.999Z"),
        (2.0, "1970-01-01T00:00:02.000Z"),
        (951_782_400.25, "2000-02-29T00:00:00.250Z"),
    ],
)
def test_times_are_rfc_3339_in_milliseconds(at: float, text: str) -> None:
    timestamps = Timestamps()
    assert timestamps.format(at) == text
    assert timestamps.format(at) == text


def test_times_may_go_back() -> None:
    timestamps = Timestamps()
    assert [timestamps.format(at) for at in (5.25, 4.25, 5.25)] == [
        "1970-01-01T00:00:05.250Z",
        "1970-01-01T00:00:04.250Z",
        "1970-01-01T00:00:05.250Z",
    ]
