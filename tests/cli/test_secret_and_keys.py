"""Show `secret` and `keys`: what is printed once, what is stored, and what a directory holds."""

import hashlib
import re
import stat

import pytest

from gateway.settings.model import ScryptSecret
from gateway.settings.secret_texts import parse_hashed_secret


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
