"""Read where state is kept, in both forms, and refuse what is neither."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.settings.model import Rate, RedisSettings, StateSettings
from gateway.settings.problems import SpellingError
from gateway.settings.state_keys import parse_state, place_state
from gateway.settings.texts import parse_origin
from tests.settings.conftest import Load

Problems = Callable[..., list[str]]
HERE = Path("/etc/sidegate")


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("memory:", StateSettings()),
        ("sqlite:state/a.db", StateSettings(HERE / "state/a.db")),
        ("sqlite:/var/a.db", StateSettings(Path("/var/a.db"))),
        ("redis://cache", StateSettings(redis=RedisSettings("cache"))),
        ("redis://cache:7000/12", StateSettings(redis=RedisSettings("cache", 7000, 12))),
        ("redis://[::1]:7000/", StateSettings(redis=RedisSettings("::1", 7000))),
        ("redis://:p%40ss@cache", StateSettings(redis=RedisSettings("cache", password="p@ss"))),
        (
            "rediss://me:a:b@cache/1",
            StateSettings(redis=RedisSettings("cache", 6379, 1, "me", "a:b", tls=True)),
        ),
    ],
)
def test_where_state_is_kept(text: str, state: StateSettings) -> None:
    assert place_state(HERE, parse_state(text)) == state


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sqlite:",
        "postgres://x",
        "redis:cache",
        "redis://",
        "redis://cache:0",
        "redis://cache:70000",
        "redis://cache/one",
        "redis://cache/0/1",
        "redis://cache?db=1",
        "redis://cache#1",
        "redis://me@cache",
        "redis://me:@cache",
        "redis://a b",
    ],
)
def test_what_is_no_store(text: str) -> None:
    with pytest.raises(SpellingError):
        parse_state(text)


def test_no_url_that_is_shown_holds_the_password() -> None:
    redis = RedisSettings("::1", 7000, 2, "me", "hunter2", tls=True)
    assert redis.shown_url == "rediss://me:***@[::1]:7000/2"
    assert "hunter2" not in repr(redis)


@pytest.mark.parametrize("text", ["https://app.example", "http://localhost:3000", "https://[::1]:8443"])
def test_origins(text: str) -> None:
    assert parse_origin(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("*", "null", "app.example", "https://", "https://app.example/", "https://app.example/a"),
        *("https://*.example", "HTTPS://app.example", "https://App.example", "https://app.example:443"),
        *("http://app.example:80", "https://app.example:08443", "https://a@b", "ftp://a", "https://a?b"),
    ],
)
def test_what_is_no_origin(text: str) -> None:
    with pytest.raises(SpellingError):
        parse_origin(text)


def test_the_mapping_says_more(load_text: Load) -> None:
    read = load_text("state: {url: 'rediss://cache', consistency: strict, ca_file: ca.pem}").settings.state
    assert read.strict
    assert read.redis is not None
    assert read.redis.ca_file is not None
    assert read.redis.ca_file.name == "ca.pem"
    assert not load_text("state: {url: 'redis://127.0.0.1'}").settings.state.strict
    assert (
        load_text("state: {url: 'sqlite:a.db', consistency: cached}").settings.state.sqlite_path is not None
    )


def test_a_rate_limit_of_clients_is_off_until_it_is_written(load_text: Load) -> None:
    assert load_text("version: 1").settings.issuer.rate_limit is None
    assert load_text("issuer: {rate_limit: null}").settings.issuer.rate_limit is None
    assert load_text("issuer: {rate_limit: {requests: 100}}").settings.issuer.rate_limit == Rate(100, 1.0)
    written = load_text("issuer: {rate_limit: {requests: 9, per: 1m}}").settings.issuer
    assert written.rate_limit == Rate(9, 60.0)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("state: {consistency: strict}", "state.url: the key is required"),
        ("state: {url: 'redis://127.0.0.1', consistency: eventual}", "state.consistency: "),
        ("state: {url: 'sqlite:a.db', ca_file: ca.pem}", "ca_file has no effect"),
        ("state: redis://cache.internal", "is redis:// and not on loopback"),
        ("issuer: {cors_origins: ['*']}", "is not an origin"),
        ("limits: {auth_failures: {requests: -1}}", "limits.auth_failures.requests"),
        ("issuer: {rate_limit: {requests: -1, per: 1s}}", "issuer.rate_limit.requests"),
        ("issuer: {rate_limit: {requests: 1, per: soon}}", "issuer.rate_limit.per"),
        ("issuer: {rate_limit: {per: 1s}}", "issuer.rate_limit.requests: the key is required"),
    ],
)
def test_what_is_wrong_is_said(problems_of: Problems, text: str, problem: str) -> None:
    assert any(problem in found for found in problems_of(text)), problems_of(text)
