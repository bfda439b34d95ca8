"""Make, read and refuse key directories on a real file system."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from jwcrypto.jwk import JWK

from gateway.tokens.keyfiles import (
    STATES_FILE,
    KeyDirectoryError,
    KeyInfo,
    KeyState,
    NoKeysError,
    change_keys,
    find_exposure,
    generate_key,
    list_keys,
    load_keys,
)

EC = JWK.generate(kty="EC", crv="P-256")
RSA = JWK.generate(kty="RSA", size=2048)
ED = JWK.generate(kty="OKP", crv="Ed25519")


def put(path: Path, octets: bytes, mode: int = 0o600) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(octets)
    path.chmod(mode)
    return path


def pem(jwk: JWK) -> bytes:
    return jwk.export_to_pem(private_key=True, password=None)


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "PS256", "EdDSA"])
def test_the_first_start_makes_a_private_directory_and_key(tmp_path: Path, algorithm: str) -> None:
    directory = tmp_path / "a" / "keys"
    loaded = load_keys(directory, algorithm, create=True)
    assert loaded.ring.active.alg == algorithm
    assert loaded.warnings == ()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert load_keys(directory, algorithm, create=True).ring.active.kid == loaded.ring.active.kid
    assert sorted(path.suffix for path in directory.iterdir()) == [".json", ".pem"]


def test_without_create_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(NoKeysError, match="sidegate keys generate"):
        load_keys(tmp_path / "keys", "ES256", create=False)
    assert list(tmp_path.iterdir()) == []
    put(tmp_path / "k.pem", pem(EC))
    load_keys(tmp_path, "ES256", create=False)
    assert [path.name for path in tmp_path.iterdir()] == ["k.pem"]


@pytest.mark.parametrize(
    ("jwk", "configured", "alg"),
    [(EC, "RS256", "ES256"), (RSA, "ES256", "RS256"), (RSA, "PS256", "PS256"), (ED, "ES256", "EdDSA")],
)
def test_a_dropped_pem_is_active_at_once(tmp_path: Path, jwk: JWK, configured: str, alg: str) -> None:
    put(tmp_path / "mine.pem", pem(jwk))
    active = load_keys(tmp_path, configured, create=True).ring.active
    assert (active.kid, active.alg) == (jwk.thumbprint(), alg)


def test_a_jwk_file_is_read(tmp_path: Path) -> None:
    put(tmp_path / "mine.jwk", EC.export(private_key=True).encode())
    assert load_keys(tmp_path, "ES256", create=True).ring.active.kid == EC.thumbprint()


def test_pem_from_openssl_is_read(tmp_path: Path) -> None:
    path = tmp_path / "k.pem"
    command = [
        "openssl",
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        str(path),
    ]
    subprocess.run(command, check=True, capture_output=True)
    assert load_keys(tmp_path, "ES256", create=False).ring.active.alg == "ES256"


def test_a_generated_key_waits_until_it_is_activated(tmp_path: Path) -> None:
    first = load_keys(tmp_path, "ES256", create=True).ring.active.kid
    waiting = generate_key(tmp_path, "ES256", activate=False)
    assert waiting.state is KeyState.NEXT
    loaded = load_keys(tmp_path, "ES256", create=False)
    assert loaded.ring.active.kid == first
    assert set(loaded.ring.verification) == {first, waiting.kid}

    active = generate_key(tmp_path, "EdDSA", activate=True)
    states = {info.kid: info.state for info in list_keys(tmp_path, "ES256")}
    assert states == {first: KeyState.RETIRING, waiting.kid: KeyState.NEXT, active.kid: KeyState.ACTIVE}
    assert load_keys(tmp_path, "ES256", create=False).ring.active.alg == "EdDSA"


def test_the_first_generated_key_is_active(tmp_path: Path) -> None:
    assert generate_key(tmp_path / "keys", "ES256", activate=False).state is KeyState.ACTIVE


def test_a_new_file_beside_an_unrecorded_key_does_not_take_over(tmp_path: Path) -> None:
    put(tmp_path / "zzz.pem", pem(EC))
    generate_key(tmp_path, "ES256", activate=False)
    assert load_keys(tmp_path, "ES256", create=False).ring.active.kid == EC.thumbprint()


def test_a_key_that_appears_later_is_published_but_does_not_sign(tmp_path: Path) -> None:
    first = load_keys(tmp_path, "ES256", create=True).ring.active.kid
    put(tmp_path / "000.pem", pem(EC))
    loaded = load_keys(tmp_path, "ES256", create=True)
    assert loaded.ring.active.kid == first
    assert EC.thumbprint() in loaded.ring.verification
    assert loaded.warnings == ()


def test_several_keys_without_states_choose_by_algorithm_then_name(tmp_path: Path) -> None:
    put(tmp_path / "a.pem", pem(ED))
    put(tmp_path / "b.pem", pem(EC))
    loaded = load_keys(tmp_path, "ES256", create=False)
    assert loaded.ring.active.kid == EC.thumbprint()
    assert any("b.pem signs" in warning for warning in loaded.warnings)


def test_a_replaced_key_file_takes_over_with_a_warning(tmp_path: Path) -> None:
    load_keys(tmp_path, "ES256", create=True)
    for path in tmp_path.glob("*.pem"):
        path.unlink()
    put(tmp_path / "mine.pem", pem(EC))
    loaded = load_keys(tmp_path, "ES256", create=True)
    assert loaded.ring.active.kid == EC.thumbprint()
    assert any("mine.pem signs" in warning for warning in loaded.warnings)
    assert load_keys(tmp_path, "ES256", create=True).warnings == ()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660, 0o440, 0o400])
def test_a_key_that_our_own_group_may_read_is_ours(tmp_path: Path, mode: int) -> None:
    # As fsGroup makes them at each mount of a volume.
    os.chown(put(tmp_path / "k.pem", pem(EC), mode), -1, os.getegid())
    assert load_keys(tmp_path, "ES256", create=False).warnings == ()


@pytest.mark.parametrize(
    ("mode", "group", "exposed"),
    [
        (0o600, 7, False),
        (0o640, 7, True),
        (0o660, 7, True),
        (0o620, 7, True),
        (0o640, 10001, False),
        (0o660, 10001, False),
        (0o660, 20, False),
        (0o644, 10001, True),
        (0o602, 10001, True),
        (0o601, 10001, True),
    ],
)
def test_who_gets_at_a_key(mode: int, group: int, exposed: bool) -> None:
    status = os.stat_result((stat.S_IFREG | mode, 1, 1, 1, 10001, group, 0, 0, 0, 0))
    assert bool(find_exposure(status, own_groups={10001, 20})) == exposed


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o642, 0o666])
def test_readable_keys_are_warned_about(tmp_path: Path, mode: int) -> None:
    put(tmp_path / "k.pem", pem(EC), mode)
    (warning,) = load_keys(tmp_path, "ES256", create=False).warnings
    assert "k.pem" in warning
    assert "chmod 600" in warning


def test_the_same_key_twice_is_one_key(tmp_path: Path) -> None:
    put(tmp_path / "a.pem", pem(EC))
    put(tmp_path / "b.jwk", EC.export(private_key=True).encode())
    loaded = load_keys(tmp_path, "ES256", create=False)
    assert len(loaded.ring.verification) == 1
    assert any("same key as a.pem" in warning for warning in loaded.warnings)


@pytest.mark.parametrize(
    ("name", "octets", "message"),
    [
        ("k.pem", b"", "PEM"),
        ("k.pem", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "PEM"),
        ("k.pem", EC.export_to_pem(), "PEM"),
        ("k.pem", EC.export_to_pem(private_key=True, password=b"secret"), "encrypted"),
        ("k.pem", pem(JWK.generate(kty="RSA", size=1024)), "1024 bits"),
        ("k.pem", pem(JWK.generate(kty="EC", crv="P-384")), "P-256"),
        ("k.pem", pem(JWK.generate(kty="OKP", crv="Ed448")), "Ed25519"),
        ("k.pem", b"x" * 70000, "larger"),
        ("k.jwk", b"{", "not a JWK"),
        ("k.jwk", b'{"kty":"EC","kty":"EC"}', "repeated"),
        ("k.jwk", b'{"kty":"EC"}', "valid JWK"),
        ("k.jwk", EC.export_public().encode(), "no private key"),
        ("k.jwk", JWK.generate(kty="oct", size=256).export().encode(), "type"),
    ],
    # Fixed names: keys are random, and parallel runs compare the names of tests.
    ids=[
        "empty",
        "damaged",
        "public",
        "encrypted",
        "rsa_1024",
        "p_384",
        "ed448",
        "huge",
        "no_json",
        "repeated_member",
        "no_members",
        "public_jwk",
        "symmetric",
    ],
)
def test_an_unusable_file_is_named_with_a_remedy(
    tmp_path: Path, name: str, octets: bytes, message: str
) -> None:
    put(tmp_path / name, octets)
    with pytest.raises(KeyDirectoryError, match=message) as caught:
        load_keys(tmp_path, "ES256", create=True)
    assert str(tmp_path / name) in str(caught.value)
    assert ";" in str(caught.value)


@pytest.mark.parametrize(
    "states",
    [
        b"",
        b"[]",
        b"{}",
        b'{"version": 2, "keys": {}}',
        b'{"version": 1, "keys": []}',
        b'{"version": 1, "keys": {"k": {"state": "x", "since": 1}}}',
        b'{"version": 1, "keys": {"k": 1}}',
    ],
)
def test_a_broken_states_file_is_named_with_a_remedy(tmp_path: Path, states: bytes) -> None:
    put(tmp_path / "k.pem", pem(EC))
    put(tmp_path / STATES_FILE, states)
    with pytest.raises(KeyDirectoryError, match="delete it"):
        load_keys(tmp_path, "ES256", create=True)


def test_a_directory_that_is_a_file_is_named(tmp_path: Path) -> None:
    put(tmp_path / "keys", b"")
    with pytest.raises(KeyDirectoryError, match=r"keys\.directory"):
        load_keys(tmp_path / "keys", "ES256", create=True)


def test_two_processes_that_start_at_once_make_one_key(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from gateway.tokens.keyfiles import load_keys\n"
        "print(load_keys(Path(sys.argv[1]), 'ES256', create=True).ring.active.kid)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "keys")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    kids = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(kids) == 1
    assert len(list((tmp_path / "keys").glob("*.pem"))) == 1


def test_the_states_file_names_states_and_times(tmp_path: Path) -> None:
    kid = load_keys(tmp_path, "ES256", create=True).ring.active.kid
    document = json.loads((tmp_path / STATES_FILE).read_bytes())
    assert document["version"] == 1
    assert document["keys"][kid]["state"] == "active"
    assert type(document["keys"][kid]["since"]) is int
    assert os.listdir(tmp_path).count(STATES_FILE) == 1


def test_a_directory_that_cannot_be_written_still_serves_its_keys(tmp_path: Path) -> None:
    put(tmp_path / "k.pem", pem(EC))
    # What the file would be written to is taken: this fails for every user, root included.
    (tmp_path / f".{STATES_FILE}.{os.getpid()}").mkdir()
    assert load_keys(tmp_path, "ES256", create=True).ring.active.kid == EC.thumbprint()
    with pytest.raises(KeyDirectoryError, match="cannot be written"):
        generate_key(tmp_path, "ES256", activate=True)
    assert [path.name for path in tmp_path.glob("*.pem")] == ["k.pem"]


def test_a_key_that_is_left_out_is_removed_in_all_its_files(tmp_path: Path) -> None:
    put(tmp_path / "a.pem", pem(EC))
    put(tmp_path / "b.jwk", EC.export(private_key=True).encode())
    active = generate_key(tmp_path, "ES256", activate=True)

    def without(keys: tuple[KeyInfo, ...]) -> tuple[KeyInfo, ...]:
        return tuple(key for key in keys if key.kid != EC.thumbprint())

    assert [key.kid for key in change_keys(tmp_path, "ES256", without)] == [active.kid]
    assert [path.name for path in tmp_path.iterdir() if path.suffix in (".pem", ".jwk")] == [active.path.name]
    document = json.loads((tmp_path / STATES_FILE).read_bytes())
    assert list(document["keys"]) == [active.kid]
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_a_decision_that_raises_changes_nothing(tmp_path: Path) -> None:
    load_keys(tmp_path, "ES256", create=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def refuse(keys: tuple[KeyInfo, ...]) -> tuple[KeyInfo, ...]:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        change_keys(tmp_path, "ES256", refuse)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_no_generated_key_has_an_id_that_reads_as_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One thumbprint in 64 begins so; here the first key that is offered does.
    keys = [JWK.generate(kty="EC", crv="P-256") for _ in range(2)]
    while not keys[0].thumbprint().startswith("-"):
        keys[0] = JWK.generate(kty="EC", crv="P-256")
    while keys[1].thumbprint().startswith("-"):
        keys[1] = JWK.generate(kty="EC", crv="P-256")
    offered = iter(keys)
    monkeypatch.setattr(JWK, "generate", lambda **_: next(offered))
    assert generate_key(tmp_path, "ES256", activate=False).kid == keys[1].thumbprint()
