"""Show the process log's lines, and that nothing that looks like a credential gets into them."""

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.observe.credentials import MASK, mask_credentials
from gateway.observe.line_writer import LineWriter
from gateway.observe.logs import LineFormatter, configure_logging

JWT = "eyJhbGciOiJFUzI1NiIsImtpZCI6IngifQ.eyJpc3MiOiJodHRwOi8vaSJ9.c2lnbmF0dXJlLXRoYXQtaXMtbG9uZw"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"got {JWT} here", f"got {MASK} here"),
        (f"got {JWT.rpartition('.')[0]}.", f"got {MASK}"),
        (f"Authorization: Bearer {JWT}", f"Authorization: {MASK}"),
        ("Authorization: Bearer opaque", f"Authorization: {MASK}"),
        ("authorization=Basic dXNlcjpwYXNz", f"authorization={MASK}"),
        ("{'Authorization': 'Basic dXNlcjpwYXNz'}", f"{{'Authorization': '{MASK}'}}"),
        ('{"authorization": "secret"}', f'{{"authorization": "{MASK}"}}'),
        ("(b'Authorization', b'Bearer abc')", f"(b'Authorization', b'{MASK}')"),
        ("Proxy-Authorization: x", f"Proxy-Authorization: {MASK}"),
        ("sent Bearer 0123456789abcdef0123", f"sent Bearer {MASK}"),
        ("clientSecret=s3cret&a=1", f"clientSecret={MASK}&a=1"),
        ("{'refresh_token': 's3cret'}", f"{{'refresh_token': '{MASK}'}}"),
        ('{"apiKey":"s3cret"}', f'{{"apiKey":"{MASK}"}}'),
        ("x-api-key: s3cret", f"x-api-key: {MASK}"),
        ("SAMLResponse=s3cret", f"SAMLResponse={MASK}"),
        ("grant_type=x&client_secret=s3cret&scope=a", f"grant_type=x&client_secret={MASK}&scope=a"),
        ('{"access_token": "opaque-reference", "x": 1}', f'{{"access_token": "{MASK}", "x": 1}}'),
        ("client_assertion=abc", f"client_assertion={MASK}"),
        ("at https://caller:s3cret@api.example/x", f"at https://caller:{MASK}@api.example/x"),
        ("redis://:s3cret@db:6379/0", f"redis://:{MASK}@db:6379/0"),
    ],
)
def test_credentials_are_masked(text: str, masked: str) -> None:
    assert mask_credentials(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "client authentication failed: basic authentication was used",
        "a bearer token is required",
        "no authorization for audience country",
        "authorizations: 12",
        "route read-country is new",
        "kid q3xT2m9cW7Yq0Zb1 became active",
        "secret of client a-b was rotated",
        "access_token_lifetime",
        "eyJ is how tokens begin",
        "https://api.example:8443/users/caller@example",
        "redis at db:6379, asked by caller@example",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert mask_credentials(text) == text


def make_record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    record = logging.LogRecord("gateway.live", logging.WARNING, "f.py", 1, message, args, None)
    record.created = 1_763_731_205.1239
    vars(record).update(extra)
    return record


def test_a_json_line() -> None:
    line = LineFormatter("json").format(make_record("loaded %d routes", 3, config_hash="abc", seconds=1.5))
    assert json.loads(line) == {
        "time": "2025-11-21T13:20:05.123Z",
        "level": "warning",
        "logger": "gateway.live",
        "message": "loaded 3 routes",
        "config_hash": "abc",
        "seconds": 1.5,
    }


def test_a_text_line() -> None:
    line = LineFormatter("text").format(make_record("loaded %d routes", 3, config_hash="abc"))
    assert line == '2025-11-21T13:20:05.123Z warning gateway.live: loaded 3 routes config_hash="abc"'


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("hostile", ["a\nb", "\x1b[2J", "\x7f", "\x9b", "\u202e", "\ud800"])
def test_a_message_stays_one_printable_line(log_format: str, hostile: str) -> None:
    line = LineFormatter(log_format).format(make_record("%s", hostile, extra_text=hostile))
    assert all(" " <= character <= "~" for character in line)


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_messages_extras_and_exceptions_are_masked(
    tmp_path: Path, root_logger: logging.Logger, log_format: str
) -> None:
    writer = LineWriter(tmp_path / "log")
    configure_logging("info", log_format, writer)
    logger = logging.getLogger("gateway.test")
    logger.debug("below the level")
    try:
        raise ValueError(f"Authorization: Bearer {JWT}")
    except ValueError:
        logger.exception("failed with %s", JWT, extra={"value": JWT})
    assert writer.close(5.0)
    text = (tmp_path / "log").read_text()
    assert "eyJ" not in text
    assert text.count(MASK) >= 3, "in the message, the extra value and the exception"
    assert "ValueError" in text
    assert "below the level" not in text


@pytest.mark.parametrize(
    "atom", ["eyJaaaa", "eyJ", "eyJ.", "a-", "Bearer eyJ", "password=", "authorization:", "://a:", "://:a"]
)
def test_the_cost_of_masking_does_not_grow_with_the_square_of_the_text(atom: str) -> None:
    """At 64 KiB `eyJaaaa` cost 14 s."""
    text = atom * (65536 // len(atom))
    begun = time.thread_time()
    mask_credentials(text)
    assert time.thread_time() - begun < 0.5


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"b'{JWT}'", "b'[masked]'"),
        (f"x{JWT} y", "x[masked] y"),
        (f"a.b.{JWT}", "a.b.[masked]"),
        (f"eyJ.eyJa.{JWT}", "eyJ.eyJa.[masked]"),
        ("gateway.eyJ.a", "gateway.eyJ.a"),
        (f"foo.password={JWT}", "foo.password=[masked]"),
        ("foo.password=hunter2", "foo.password=[masked]"),
    ],
)
def test_a_token_is_found_wherever_it_begins(text: str, masked: str) -> None:
    assert mask_credentials(text) == masked
