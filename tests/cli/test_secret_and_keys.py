"""Show `secret` and `keys`: what is printed once, what is stored, and what a directory holds."""

import hashlib
import re
import stat

import pytest

from gateway.settings.model import AuthorizationSettings, ClientSettings, ScryptSecret, Settings
from gateway.settings.secret_texts import parse_hashed_secret
from gateway.tokens.rotation import longest_token_lifetime


def test_generate_prints_a_secret_and_the_form_that_fits_it(run):
    done = run("secret", "generate")
    assert done.exit_code == 0
    secret, stored = re.findall(r": +(\S+)$", done.stdout, re.MULTILINE)
    kind, salt, digest = stored.split(":")
    assert kind == "sha256"
    assert len(secret) >= 43
    assert digest in {
        hashlib.sha256(bytes.fromhex(salt) + secret.encode()).hexdigest(),
        hashlib.sha256(salt.encode() + secret.encode()).hexdigest(),
    }
    assert run("secret", "generate").stdout != done.stdout


def test_hash_reads_standard_input_and_never_shows_it(run):
    done = run("secret", "hash", stdin="correct horse\n")
    assert done.exit_code == 0
    assert "correct horse" not in done.output
    stored = parse_hashed_secret(done.stdout.strip())
    assert isinstance(stored, ScryptSecret)
    derived = hashlib.scrypt(b"correct horse", salt=stored.salt, n=stored.n, r=stored.r, p=stored.p, dklen=32)
    assert derived == stored.digest


def test_hash_of_nothing_is_refused(run):
    done = run("secret", "hash", stdin="")
    assert done.exit_code == 1
    assert "there is no secret to hash" in done.stderr


def test_keys_of_a_directory_that_is_not_there(run, configuration):
    done = run("keys", "list", "-c", configuration)
    assert done.exit_code == 1
    assert "make one with `sidegate keys generate`" in done.stderr


def test_keys_are_generated_and_listed_the_active_one_first(run, configuration):
    first = run("keys", "generate", "-c", configuration)
    assert first.exit_code == 0
    second = run("keys", "generate", "-c", configuration)
    third = run("keys", "generate", "--activate", "-c", configuration)
    listed = run("keys", "list", "-c", configuration)
    assert listed.exit_code == 0
    rows = [line.split() for line in listed.stdout.splitlines()]
    assert [row[2] for row in rows].count("active") == 1
    states = {row[0]: row[2] for row in rows}
    kids = [done.stdout.split()[0] for done in (first, second, third)]
    assert rows[0][0] == kids[2]
    assert [states[kid] for kid in kids] == ["retiring", "next", "active"]
    for row in rows:
        assert row[1] == "ES256"
        path = configuration.parent / "keys" / row[3].rpartition("/")[2]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("command", ["list", "generate"])
def test_a_file_in_the_place_of_the_directory(run, configuration, command):
    (configuration.parent / "keys").write_text("")
    done = run("keys", command, "-c", configuration)
    assert done.exit_code == 1
    assert "sidegate: keys: " in done.stderr


def rows_of(done):
    assert done.exit_code == 0, done.stderr
    return {line.split()[0]: line.split()[2] for line in done.stdout.splitlines()}


@pytest.fixture
def keys(run, configuration):
    """Return a function that runs a `keys` command."""
    return lambda *words: run("keys", *words, "-c", configuration)


def test_a_key_is_activated_only_after_it_was_published_for_long_enough(keys):
    first = keys("generate").stdout.split()[0]
    made = keys("generate")
    second = made.stdout.split()[0]
    assert f"sidegate keys activate {second}" in made.stderr
    refused = keys("activate", second)
    assert refused.exit_code == 1
    assert f"keys: {second}: too early" in refused.stderr
    assert re.search(r"from 20\d\d-\d\d-\d\dT[0-9:]{8}Z on, or with --now", refused.stderr)
    assert rows_of(keys("list")) == {first: "active", second: "next"}
    assert rows_of(keys("activate", second, "--now")) == {second: "active", first: "retiring"}
    assert "a running process notices" in keys("activate", second).stderr.lower()


def test_a_published_key_signs_as_soon_as_the_configuration_allows(keys, configuration):
    configuration.write_text(configuration.read_text() + "keys: {publish_ahead: 0s}\n")
    first, second = (keys("generate").stdout.split()[0] for _ in range(2))
    assert rows_of(keys("activate", second)) == {second: "active", first: "retiring"}


def test_a_key_is_retired_only_after_its_last_token(keys, configuration):
    first = keys("generate").stdout.split()[0]
    second = keys("generate", "--activate").stdout.split()[0]
    assert keys("retire", second).exit_code == 1
    assert "is the key that signs" in keys("retire", second, "--now").stderr
    refused = keys("retire", first)
    assert refused.exit_code == 1
    assert "too early: tokens that it signed may be valid" in refused.stderr
    done = keys("retire", first, "--now")
    assert rows_of(done) == {second: "active"}
    assert len(list((configuration.parent / "keys").glob("*.pem"))) == 1


def test_rotate_makes_the_next_key_and_later_lets_it_sign(keys, configuration):
    first = keys("generate").stdout.split()[0]
    made = keys("rotate")
    second = made.stdout.split()[0]
    assert rows_of(made) == {second: "next"}
    waiting = keys("rotate")
    assert rows_of(waiting) == {second: "next"}
    assert "nothing was changed" in waiting.stderr
    assert rows_of(keys("list")) == {first: "active", second: "next"}
    configuration.write_text(configuration.read_text() + "keys: {publish_ahead: 0s}\n")
    assert rows_of(keys("rotate")) == {second: "active", first: "retiring"}


def test_rotate_now_takes_the_published_key_else_a_new_one(keys):
    first = keys("generate").stdout.split()[0]
    second = keys("generate").stdout.split()[0]
    assert rows_of(keys("rotate", "--now")) == {second: "active", first: "retiring"}
    hurried = keys("rotate", "--now")
    third = hurried.stdout.split()[0]
    assert "refuse its tokens until they fetch it again" in hurried.stderr
    assert rows_of(keys("list")) == {third: "active", first: "retiring", second: "retiring"}


def test_rotate_makes_the_first_key(keys):
    first = keys("rotate").stdout.split()[0]
    assert rows_of(keys("list")) == {first: "active"}


@pytest.mark.parametrize("command", ["activate", "retire"])
def test_a_key_that_is_not_there(keys, command):
    keys("generate")
    done = keys(command, "nobody")
    assert done.exit_code == 1
    assert "there is no key nobody; `sidegate keys list` names them" in done.stderr


def test_the_longest_lifetime_is_that_of_any_client_or_authorization():
    settings = Settings(
        clients={"a": ClientSettings(id="a", token_lifetime_s=7200.0), "b": ClientSettings(id="b")},
        authorizations=(AuthorizationSettings(client="a", audience="b", token_lifetime_s=9000.0),),
    )
    assert longest_token_lifetime(settings) == 9000.0
    assert longest_token_lifetime(Settings()) == 3600.0
