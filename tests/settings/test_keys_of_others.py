"""Read keys and identities of clients: every mistake beside a configuration that passes."""
# ruff: noqa: E501 (a row of a table is one line, however long its message)

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.settings.load import Loaded
from gateway.settings.model import (
    AssertionSettings,
    BearerTokenSettings,
    KeySetProxySettings,
    RemoteKeySource,
    StaticKeySource,
)
from gateway.settings.show import effective
from gateway.tokens.key_sets import KeySet
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


ENTRIES = (
    "bearer_token_files: {ours: {file: outside, origins: ['https://K.example', 'http://127.0.0.1:81']}}\n"
    "key_set_proxies: {out: 'http://proxy.example:3128'}\n"
)
SOUND = {
    "jwks": client(f"{{jwks: {JWKS}}}"),
    "no keys": client("{jwks: {keys: []}, jwks_file: null, jwks_uri: null}"),
    "jwks_file": client("{jwks_file: keys.jwks}"),
    "jwks_uri": client("{jwks_uri: 'https://a.example/jwks?x=1'}"),
    "jwks_uri on loopback": client("{jwks_uri: 'http://127.0.0.1:8000/jwks'}"),
    "methods": client(f"{{jwks: {JWKS}, auth_methods: [private_key_jwt], require_jti: true, replay: allow}}"),
    "discovered": identity("subject: s"),
    "condition for subject": identity("claims: {team: [red, blue]}"),
    "all of it": identity("subject: s, audience: us, claims: {n: 1}, jwks_uri: 'https://k.example/', ca_file: ca.pem, bearer_token: ours, proxy: out, replay: allow") + ENTRIES,
    "a token for discovered keys": identity("subject: s, bearer_token: ours") + ENTRIES,
    "a proxy for a client's own keys": client("{jwks_uri: 'https://a.example/jwks', proxy: out}") + ENTRIES,
    "a token on loopback": identity("subject: s, jwks_uri: 'http://127.0.0.1:81/', bearer_token: ours") + ENTRIES,
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
    "a token without an entry": (identity("subject: s, bearer_token: eyJhbGciOi") + ENTRIES, "E", "clients.a.assertions[0].bearer_token: bearer_token_files of the main file has no entry of this name (hint: the operator writes it there: ours)"),
    "a proxy without an entry": (identity("subject: s, proxy: outt") + ENTRIES, "E", "clients.a.assertions[0].proxy: key_set_proxies of the main file has no entry of this name (hint: did you mean out?)"),
    "no entries at all": (identity("subject: s, proxy: out"), "E", "has no entry of this name (hint: the operator writes it there: none yet)"),
    "a token for somebody else": (identity("subject: s, jwks_uri: 'https://evil.example/k?x=1', bearer_token: ours") + ENTRIES, "E", "clients.a.assertions[0].bearer_token: this token may not be sent to https://evil.example:443 (hint: the operator lists the origins of the token under bearer_token_files.ours)"),
    "a token for another port": (identity("subject: s, jwks_uri: 'https://k.example:8443/', bearer_token: ours") + ENTRIES, "E", "may not be sent to https://k.example:8443"),
    "a token for nothing": (identity(f"subject: s, jwks: {JWKS}, bearer_token: ours") + ENTRIES, "E", "clients.a.assertions[0].bearer_token: has no effect"),
    "a proxy for nothing": (identity(f"subject: s, jwks: {JWKS}, proxy: out") + ENTRIES, "E", "clients.a.assertions[0].proxy: has no effect: the keys are not fetched"),
    "a proxy for a client's nothing": (client(f"{{jwks: {JWKS}, proxy: out}}") + ENTRIES, "E", "clients.a.proxy: has no effect: the keys are not fetched"),
    "a proxy to loopback": (identity("subject: s, jwks_uri: 'http://127.0.0.1/', proxy: out") + ENTRIES, "E", "clients.a.assertions[0].proxy: has no effect: a proxy is never asked for http:// or loopback addresses"),
    "a proxy to https on loopback": (identity("subject: s, jwks_uri: 'https://localhost/', proxy: out") + ENTRIES, "E", "never asked for http:// or loopback"),
    "a proxy to loopback in disguise": (identity("subject: s, jwks_uri: 'https://[::ffff:127.0.0.1]/', proxy: out") + ENTRIES, "E", "never asked for http:// or loopback"),
    "a proxy to an issuer on loopback": (client("{assertions: [{issuer: 'http://127.0.0.1:1', subject: s, proxy: out}]}") + ENTRIES, "E", "never asked for http:// or loopback"),
    "a client's proxy to loopback": (client("{jwks_uri: 'https://x.localhost/', proxy: out}") + ENTRIES, "E", "clients.a.proxy: has no effect: a proxy is never asked"),
    "a token readable on its way": ("bearer_token_files: {t: {file: outside, origins: ['http://k.example']}}", "E", 'bearer_token_files.t.origins[0]: "http://k.example" is not https:// and not on loopback'),
    "a token for a path": ("bearer_token_files: {t: {file: outside, origins: ['https://k.example/jwks']}}", "E", "is not an origin"),
    "a token for nobody": ("bearer_token_files: {t: {file: outside, origins: []}}", "E", "bearer_token_files.t.origins: the list is empty"),
    "a token without a file": ("bearer_token_files: {t: {origins: ['https://k.example']}}", "E", "bearer_token_files.t.file: the key is required"),
    "an https proxy": ("key_set_proxies: {p: 'https://proxy:3128'}", "E", 'key_set_proxies.p: "https://proxy:3128" is https://'),
    "a proxy without a port": ("key_set_proxies: {p: 'http://proxy'}", "E", 'key_set_proxies.p: "http://proxy" has no port'),
    "a proxy with a path": ("key_set_proxies: {p: 'http://proxy:1/x'}", "E", "is not the address of a proxy"),
    "a proxy with credentials": ("key_set_proxies: {p: 'http://u:hunter2@proxy:1'}", "E", 'key_set_proxies.p: "http://***@proxy:1" holds user information'),
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


@pytest.mark.parametrize("key", ["bearer_token_files", "key_set_proxies"])
def test_a_policy_file_defines_no_entries_itself(problems_of: Problems, key: str) -> None:
    (found,) = problems_of("version: 1", {"policies/p.yaml": f"{key}: {{}}\n"})
    assert f"{key}: the key belongs into the main file" in found


def test_what_replaces_the_token_files_of_former_versions_can_be_pasted(
    problems_of: Problems, load_text: Load, tmp_path: Path
) -> None:
    def policy(*lines: str) -> str:
        at = ["https://k8s.example/jwks", "https://[fd00::1]:6443/jwks", "https://k8s.example/other", ""]
        identities = "".join(
            f"      - {{issuer: 'https://p{i}.example', subject: s, {f'jwks_uri: {uri!r}, ' if uri else ''}{line}}}\n"
            for i, (uri, line) in enumerate(zip(at, lines, strict=True))
        )
        return f"clients:\n  a:\n    assertions:\n{identities}"

    written = ("../secrets/token", "../secrets/token", "/run/other token", "/run/other token")
    old = policy(*(f"bearer_token_file: {path!r}" for path in written))
    found = problems_of("version: 1\n", {**FILES, "policies/p.yaml": old})
    assert len(found) == 4
    lines, names = set(), []
    for index, problem in enumerate(found):
        assert f"clients.a.assertions[{index}].bearer_token_file: bearer_token_file is replaced by" in problem
        main, here = (
            problem.partition("(hint: if it may go there, in gateway.yaml write: ")[2]
            .removesuffix(")")
            .split(" -- ")
        )
        lines.add(main)
        names.append(here.partition("and here, in place of this: ")[2])
    (entries,) = lines
    settings = load_text(entries + "\n", {**FILES, "policies/p.yaml": policy(*names)}).settings
    tokens = [identity.keys.bearer_token for identity in settings.clients["a"].assertions]  # type: ignore[union-attr]
    assert [token and token.file for token in tokens] == [tmp_path / "secrets/token"] * 2 + [
        Path("/run/other token")
    ] * 2
    assert [token and token.origins for token in tokens] == [
        *[("https://k8s.example:443", "https://[fd00::1]:6443")] * 2,
        *[("https://k8s.example:443", "https://p3.example:443")] * 2,
    ]


def test_what_came_from_the_environment_is_not_told_in_what_to_write(problems_of: Problems) -> None:
    (found,) = problems_of(identity("subject: s, bearer_token_file: '${T}'"), environ={"T": "hunter2"})
    assert "hunter2" not in found
    assert "file: '${T}'" in found


def test_messages_hold_no_private_key(problems_of: Problems) -> None:
    secret = json.loads(KEY.jwk.export_private())["d"]
    assert secret not in "".join(
        problems_of(client(f"{{jwks: {PRIVATE}}}") + client("{jwks_file: private.jwks}"), FILES)
    )


def test_what_was_written_is_what_is_held(load_text: Load, tmp_path: Path) -> None:
    loaded = load_text(
        client(
            f"{{jwks_uri: 'https://a.example/', replay: allow, assertions: ["
            f"{{issuer: 'https://p.example', claims: {{team: red}}, bearer_token: ours, proxy: out}},"
            f"{{issuer: x, subject: s, jwks: {JWKS}, audience: us, replay: allow}}]}}"
        )
        + ENTRIES,
        FILES,
    ).settings
    held = loaded.clients["a"]
    assert held.keys == RemoteKeySource("a", "https://a.example/")
    assert not held.single_use_assertions
    discovered, own = held.assertions
    assert discovered == AssertionSettings(
        "https://p.example",
        RemoteKeySource(
            "https://p.example",
            None,
            None,
            BearerTokenSettings(
                "ours", tmp_path / "outside", ("https://k.example:443", "http://127.0.0.1:81")
            ),
            KeySetProxySettings("out", "proxy.example", 3128),
        ),
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


def test_a_key_that_is_left_out_is_a_warning_and_the_others_count(load_text: Load) -> None:
    twin = {**make_key("ES256", "k2").public, "kid": "k3"}
    keys = [KEY.public, make_key("ES256", "k3").public, twin]
    loaded = load_text(client(f"{{jwks: {json.dumps({'keys': keys})}}}"))
    (warning,) = [problem for problem in loaded.warnings if "not used" in problem.message]
    assert warning.path == "clients.a.jwks"
    assert "keys[1], keys[2]: 2 different keys have one kid" in warning.message
    source = loaded.settings.clients["a"].keys
    assert isinstance(source, StaticKeySource)
    assert isinstance(source.read, KeySet)
    assert [entry.kid for entry in source.read.keys] == ["k1"]
