"""Read keys and identities of clients: every mistake beside a configuration that passes."""
# ruff: noqa: E501 (a row of a table is one line, however long its message)

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.settings.load import Loaded
from gateway.settings.model import AssertionSettings, RemoteKeySource, StaticKeySource
from gateway.settings.show import effective
from tests.support.jws import make_key

Load = Callable[..., Loaded]
Problems = Callable[..., list[str]]

KEY = make_key("ES256", "k1")
JWKS = json.dumps({"keys": [KEY.public]})
PRIVATE = json.dumps({"keys": [json.loads(KEY.jwk.export_private())]})
FILES = {"keys.jwks": JWKS, "private.jwks": PRIVATE, "empty.jwks": "{}", "secrets/token": "t", "outside": "t"}


def client(text: str) -> str:
    return f"clients: {{a: {text}}}\n"


def identity(text: str) -> str:
    return client(f"{{assertions: [{{issuer: 'https://p.example', {text}}}]}}")


SOUND = {
    "jwks": client(f"{{jwks: {JWKS}}}"),
    "no keys": client("{jwks: {keys: []}, jwks_file: null, jwks_uri: null}"),
    "jwks_file": client("{jwks_file: keys.jwks}"),
    "jwks_uri": client("{jwks_uri: 'https://a.example/jwks?x=1'}"),
    "jwks_uri on loopback": client("{jwks_uri: 'http://127.0.0.1:8000/jwks'}"),
    "methods": client(f"{{jwks: {JWKS}, auth_methods: [private_key_jwt], require_jti: true, replay: allow}}"),
    "discovered": identity("subject: s"),
    "condition for subject": identity("claims: {team: [red, blue]}"),
    "all of it": identity("subject: s, audience: us, claims: {n: 1}, jwks_uri: 'https://k.example/', ca_file: ca.pem, bearer_token_file: outside, replay: allow"),
    "own keys": identity(f"subject: s, jwks: {JWKS}"),
    "any issuer with keys": client(f"{{assertions: [{{issuer: not-a-url, subject: s, jwks: {JWKS}}}]}}"),
    "grants": client(f"{{assertions: [{{issuer: x, subject: s, jwks: {JWKS}}}], grants: [jwt-bearer]}}"),
    "bounds": "issuer: {assertion_max_lifetime: 24h, clock_skew: 0s}",
}  # fmt: skip


@pytest.mark.parametrize("text", SOUND.values(), ids=SOUND)
def test_sound_configurations_load(problems_of: Problems, text: str) -> None:
    assert problems_of(text, FILES) == []


MISTAKES = {
    "two sources": (client(f"{{jwks: {JWKS}, jwks_uri: 'https://a.example/'}}"), "E", "clients.a.jwks_uri: jwks is given too"),
    "private key": (client(f"{{jwks: {PRIVATE}}}"), "E", "clients.a.jwks: the key set holds no usable key: keys[0]: it gives away its private half"),
    "private key in a file": (client("{jwks_file: private.jwks}"), "E", "clients.a.jwks_file: the key set holds no usable key"),
    "no such file": (client("{jwks_file: none.jwks}"), "E", 'clients.a.jwks_file: "none.jwks" cannot be used: the file does not exist'),
    "no key set": (client("{jwks_file: empty.jwks}"), "E", "clients.a.jwks_file: the key set has no array `keys`"),
    "text for jwks": (client("{jwks: text}"), "E", "clients.a.jwks: the key set is not a JSON object"),
    "http": (client("{jwks_uri: 'http://a.example/jwks'}"), "E", 'clients.a.jwks_uri: "http://a.example/jwks" is http:// and not on loopback'),
    "user information": (client("{jwks_uri: 'https://u:p@a.example/jwks'}"), "E", "holds user information"),
    "no URL": (client("{jwks_uri: jwks.json}"), "E", "is not an absolute https:// URL"),
    "a file URL": (client("{jwks_uri: 'file:///etc/passwd'}"), "E", "is not an absolute https:// URL"),
    "everybody": (identity(f"jwks: {JWKS}"), "E", "clients.a.assertions[0]: everybody whom this issuer knows would be this client"),
    "nothing to discover": (client("{assertions: [{issuer: spire, subject: s}]}"), "E", "clients.a.assertions[0].issuer: the keys cannot be discovered: the issuer is not an absolute https:// URL"),
    "discovery over http": (client("{assertions: [{issuer: 'http://p.example', subject: s}]}"), "E", "clients.a.assertions[0].issuer: the keys cannot be discovered: the issuer is http://"),
    "no issuer": (client(f"{{assertions: [{{subject: s, jwks: {JWKS}}}]}}"), "E", "clients.a.assertions[0].issuer: the key is required"),
    "ca_file for nothing": (identity(f"subject: s, jwks: {JWKS}, ca_file: ca.pem"), "E", "clients.a.assertions[0].ca_file: has no effect"),
    "replay": (identity("subject: s, replay: twice"), "E", 'clients.a.assertions[0].replay: "twice" is not known here'),
    "no exp": (identity("subject: s, allow_missing_exp: true"), "W", "an assertion without exp and iat never expires"),
    "method without keys": (client("{secrets: ['plain:x'], auth_methods: [private_key_jwt]}"), "W", "clients.a.auth_methods: the client has nothing to use private_key_jwt with"),
    "method without a long secret": (client("{secrets: ['plain:x'], auth_methods: [client_secret_jwt]}"), "W", "clients.a.auth_methods: the client has nothing to use client_secret_jwt with"),
    "grant without identities": (client("{secrets: ['plain:x'], grants: [jwt-bearer]}"), "W", "has nothing to use urn:ietf:params:oauth:grant-type:jwt-bearer with"),
    "too much skew": ("issuer: {clock_skew: 1h}", "E", 'issuer.clock_skew: "1h" is out of bounds'),
}  # fmt: skip


@pytest.mark.parametrize(("text", "severity", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named(problems_of: Problems, text: str, severity: str, message: str) -> None:
    found = problems_of(text, FILES)
    assert any(problem.startswith(severity) and message in problem for problem in found), found


@pytest.mark.parametrize(
    ("path", "sound"), [("../secrets/token", True), ("../outside", False), ("/etc/passwd", False)]
)
def test_a_policy_s_token_file_lies_where_its_secrets_may(
    problems_of: Problems, path: str, sound: bool
) -> None:
    policy = identity(f"subject: s, bearer_token_file: '{path}'")
    found = problems_of("secrets_directory: secrets", {**FILES, "policies/p.yaml": policy})
    assert any("lies outside secrets_directory" in problem for problem in found) is not sound
    assert "root:" not in "".join(found)


def test_messages_hold_no_private_key(problems_of: Problems) -> None:
    secret = json.loads(KEY.jwk.export_private())["d"]
    assert secret not in "".join(
        problems_of(client(f"{{jwks: {PRIVATE}}}") + client("{jwks_file: private.jwks}"), FILES)
    )


def test_what_was_written_is_what_is_held(load_text: Load, tmp_path: Path) -> None:
    loaded = load_text(
        client(
            f"{{jwks_uri: 'https://a.example/', replay: allow, assertions: ["
            f"{{issuer: 'https://p.example', claims: {{team: red}}, bearer_token_file: outside}},"
            f"{{issuer: x, subject: s, jwks: {JWKS}, audience: us, replay: allow}}]}}"
        ),
        FILES,
    ).settings
    held = loaded.clients["a"]
    assert held.keys == RemoteKeySource("a", "https://a.example/")
    assert not held.single_use_assertions
    discovered, own = held.assertions
    assert discovered == AssertionSettings(
        "https://p.example",
        RemoteKeySource("https://p.example", None, None, tmp_path / "outside"),
        claims={"team": ("red",)},
    )
    assert isinstance(own.keys, StaticKeySource)
    assert (own.audience, own.single_use) == ("us", False)


def test_a_key_file_is_watched_and_counts_for_the_hash(load_text: Load, tmp_path: Path) -> None:
    before = load_text(SOUND["jwks_file"], FILES).settings
    other = json.dumps({"keys": [make_key("ES256", "k2").public]})
    after = load_text(SOUND["jwks_file"], {**FILES, "keys.jwks": other}).settings
    assert tmp_path / "keys.jwks" in before.watched
    assert before.content_hash != after.content_hash


LEGACY = client(f"{{jwks: {JWKS}, legacy_audience: true}}")  # sound, and warned of (test_checks.py)


@pytest.mark.parametrize("text", [*SOUND.values(), LEGACY], ids=[*SOUND, "legacy audience"])
def test_what_is_shown_loads_again_as_itself(load_text: Load, text: str) -> None:
    def essence(loaded: Loaded) -> Any:
        settings = loaded.settings
        clients = [
            (c.keys and type(c.keys), c.single_use_assertions, c.require_jti, c.legacy_audience, c.auth_methods, c.grants,
             [(a.issuer, a.subject, a.audience, dict(a.claims), a.single_use, type(a.keys)) for a in c.assertions])
            for c in settings.clients.values()
        ]  # fmt: skip
        return clients, settings.issuer

    first = load_text(text, FILES)
    assert essence(load_text(effective(first.settings), FILES)) == essence(first)
