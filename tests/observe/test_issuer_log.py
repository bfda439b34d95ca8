"""Show that the issuer's lines are whole, harmless and never waited for."""

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gateway.observe.issuer_log import IssuerLog, json_lines, text_lines
from gateway.observe.issuer_request import CALLERS_TEXT, IssuerRequest, cut
from gateway.observe.line_writer import LineWriter

AT = 1_700_000_000.123
ODD = ["a\nb", "a\r\nb", "\x1b[2J", "\x7f", "\x85", "\u2028", "\u202etxt", '"', "\\", "\ud800", "é"]
ENCODERS: list[Callable[[], Callable[[Sequence[IssuerRequest]], bytes]]] = [json_lines, text_lines]


def test_a_line_looks_like_those_of_the_process_log() -> None:
    request = IssuerRequest(AT, message="token request", result="ok", client="billing", lifetime_s=60)
    assert json.loads(json_lines()([request])) == {
        "time": "2023-11-14T22:13:20.123Z",
        "level": "info",
        "logger": "gateway.issuer",
        "message": "token request",
        "result": "ok",
        "client": "billing",
        "lifetime_s": 60,
    }


def test_so_does_a_line_of_text() -> None:
    request = IssuerRequest(AT, message="token request", result="invalid_scope", asked_scope="a b")
    assert text_lines()([request]) == (
        b'2023-11-14T22:13:20.123Z info gateway.issuer: token request result="invalid_scope" '
        b'asked_scope="a b"\n'
    )


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("name", CALLERS_TEXT)
@pytest.mark.parametrize("text", ODD)
def test_whatever_a_caller_writes_stays_in_its_line(
    encoder: Callable[[], Callable[[Sequence[IssuerRequest]], bytes]], name: str, text: str
) -> None:
    lines = encoder()(
        [IssuerRequest(AT, message="token request", result="invalid_client", **{name: text}) for _ in "12"]
    )
    assert lines.count(b"\n") == 2
    assert all(32 <= octet < 127 or octet == 10 for octet in lines)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("name", [*CALLERS_TEXT, "detail"])
def test_what_looks_like_a_credential_is_masked(
    encoder: Callable[[], Callable[[Sequence[IssuerRequest]], bytes]], name: str
) -> None:
    token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
    request = IssuerRequest(AT, message="token request", result="invalid_client", **{name: token})
    lines = encoder()([request])
    assert b"[masked]" in lines
    assert token.encode() not in lines


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize(
    "told", ["client_assertion: exp has passed", "client_secret: is sent more than once"]
)
def test_what_a_caller_was_told_in_our_own_words_is_left_alone(
    encoder: Callable[[], Callable[[Sequence[IssuerRequest]], bytes]], told: str
) -> None:
    request = IssuerRequest(AT, message="token request", result="invalid_request", detail=told)
    assert told.encode() in encoder()([request])


def test_long_texts_are_cut() -> None:
    assert cut("x" * 128) == "x" * 128
    assert cut("x" * 129) == "x" * 125 + "..."
    assert cut(None) == cut("") == ""


async def test_lines_that_nobody_takes_are_dropped_and_counted(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    writer = LineWriter(writing, queue_bytes=10)
    dropped: list[int] = []
    log = IssuerLog(asyncio.get_running_loop(), "json", writer, dropped.append)
    for _ in range(3):
        log.record(IssuerRequest(AT, message="token request"))
    log.flush()
    log.record(IssuerRequest(AT, message="token request"))
    log.close()
    writer.close(timeout_s=1.0)
    assert dropped == [3, 1]
    os.close(reading)
    os.close(writing)


async def test_a_line_that_cannot_be_written_breaks_no_request(tmp_path: Path) -> None:
    writer = LineWriter(tmp_path / "log")
    log = IssuerLog(asyncio.get_running_loop(), "json", writer, lambda count: None)
    log.record(IssuerRequest("never", message="token request"))  # type: ignore[arg-type]
    log.flush()
    log.record(IssuerRequest(AT, message="token request"))
    log.close()
    assert writer.close(timeout_s=1.0)
    assert (tmp_path / "log").read_text().count("token request") == 1
