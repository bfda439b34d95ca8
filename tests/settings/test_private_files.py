"""Show that no policy reaches what the process keeps secret, by whatever name, key or link."""
# ruff: noqa: E501 (a row of a table is one line)

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.settings.load import Loaded
from gateway.settings.model import PlainSecret
from tests.settings.test_nothing_secret_is_shown import PLACES
from tests.support.jws import make_key

Load = Callable[..., Loaded]
Problems = Callable[..., list[str]]

MARKER = "what-only-the-process-knows"
MAIN = """\
secrets_directory: {secrets_directory}
admin: {{token_file: private/admin.token}}
keys: {{directory: private/keys}}
state: "sqlite:private/state.db"
listeners: [{{address: "127.0.0.1:8080", tls: {{certificate_file: private/server.pem, key_file: private/server.key}}}}]
upstreams:
  u: {{targets: ["https://u.example"], tls: {{certificate_file: private/u.pem, key_file: private/u.key}}}}
  v: {{targets: ["https://u.example"], tls: {{certificate_file: private/both.pem}}}}
bearer_token_files: {{t: {{file: private/bearer.token, origins: ["https://k.example"]}}}}
"""
PRIVATE = [
    "gateway.yaml", "private/admin.token", "private/keys/signing.jwk", "private/keys/old.pem",
    "private/state.db", "private/state.db-wal", "private/state.db-shm", "private/state.db.lock",
    "private/server.key", "private/u.key", "private/both.pem", "private/bearer.token",
]  # fmt: skip
WAYS: dict[str, Callable[[Path, Path], str]] = {
    "by its name": lambda at, file: f"../{file.relative_to(at)}",
    "by its whole path": lambda at, file: str(file),
    "by detours": lambda at, file: f"../secrets/../policies/../{file.relative_to(at)}",
    "by a symlink": lambda at, file: _linked(at, file, os.symlink),
    "by a hard link": lambda at, file: _linked(at, file, os.link),
    "by a linked directory": lambda at, file: _by_directory(at, file),
    "by a link to a link": lambda at, file: _twice(at, file),
}


def _linked(at: Path, file: Path, link: Callable[[Path, Path], None]) -> str:
    link(file, at / "secrets/link")
    return "../secrets/link"


def _by_directory(at: Path, file: Path) -> str:
    (at / "secrets/dir").symlink_to(file.parent)
    return f"../secrets/dir/{file.name}"


def _twice(at: Path, file: Path) -> str:
    (at / "secrets/first").symlink_to(file)
    (at / "secrets/second").symlink_to("first")
    return "../secrets/second"


def prepare(at: Path) -> None:
    for name in PRIVATE[1:]:
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_text(f"{MARKER}-0123456789")
    (at / "secrets").mkdir()
    (at / "secrets/ours").write_text("the secret of a client")


def main(secrets_directory: str) -> str:
    return MAIN.format(secrets_directory=json.dumps(secrets_directory))


@pytest.mark.parametrize("secrets_directory", [".", "secrets", "/", "private", "private/keys"])
@pytest.mark.parametrize("private", PRIVATE)
def test_no_secret_of_a_policy_is_one_of_the_process(
    private: str, secrets_directory: str, problems_of: Problems, tmp_path: Path
) -> None:
    prepare(tmp_path)
    (tmp_path / "gateway.yaml").touch()
    for name, way in WAYS.items():
        for made in ("link", "dir", "first", "second"):
            (tmp_path / "secrets" / made).unlink(missing_ok=True)
        named = way(tmp_path, tmp_path / private)
        policy = {"policies/p.yaml": f"clients: {{a: {{secrets: ['file:{named}']}}}}"}
        found = [line for line in problems_of(main(secrets_directory), policy) if line.startswith("E")]
        assert len(found) == 1, (name, found)
        assert "names what the process itself keeps secret" in found[0] or "lies outside" in found[0], name
        assert MARKER not in found[0]


@pytest.mark.parametrize("secrets_directory", [".", "secrets"])
def test_other_secrets_of_policies_are_read(secrets_directory: str, load_text: Load, tmp_path: Path) -> None:
    prepare(tmp_path)
    policy = {"policies/p.yaml": "clients: {a: {secrets: ['file:../secrets/ours']}}"}
    loaded = load_text(main(secrets_directory), policy).settings
    assert loaded.clients["a"].secrets == (PlainSecret(b"the secret of a client", "file"),)


@pytest.mark.parametrize("private", PRIVATE[:-1])
def test_no_line_is_written_that_sends_what_is_private(
    private: str, problems_of: Problems, tmp_path: Path
) -> None:
    """The operator pastes what `check` prints."""
    prepare(tmp_path)
    identity = f"{{issuer: 'https://evil.example', subject: s, bearer_token_file: ../{private}}}"
    policy = {"policies/p.yaml": f"clients: {{a: {{assertions: [{identity}]}}}}"}
    (found,) = (line for line in problems_of(main("."), policy) if line.startswith("E"))
    assert "names what the process itself keeps secret, and is sent nowhere" in found
    assert "write: bearer_token_files" not in found


@pytest.mark.parametrize("key", ["jwks_file", "ca_file"])
@pytest.mark.parametrize("named", ["../private/keys/signing.jwk", "../secrets/link", "/proc/self/environ", "/proc/self/root/proc/1/environ"])  # fmt: skip
def test_keys_and_authorities_of_policies_are_not_private_either(
    key: str, named: str, problems_of: Problems, tmp_path: Path
) -> None:
    prepare(tmp_path)
    (tmp_path / "secrets/link").symlink_to("../private/admin.token")
    policy = {
        "policies/p.yaml": f"clients: {{a: {{assertions: [{{issuer: 'https://p', subject: s, {key}: {named}}}]}}}}"
    }
    found = "".join(problems_of(main("secrets"), policy))
    assert "names what the process itself keeps secret" in found
    assert MARKER not in found


@pytest.mark.parametrize("link", [os.symlink, os.link])
@pytest.mark.parametrize("private", PRIVATE[1:])
def test_a_policy_file_that_is_a_link_to_a_private_file_is_not_read(
    private: str, link: Callable[[Path, Path], None], problems_of: Problems, tmp_path: Path
) -> None:
    prepare(tmp_path)
    (tmp_path / private).write_text(f"{MARKER}: {MARKER}\nclients: {{{MARKER}: [x]}}\n")
    (tmp_path / "policies").mkdir()
    link(tmp_path / private, tmp_path / "policies/p.yaml")
    (found,) = (line for line in problems_of(main("secrets")) if line.startswith("E"))
    assert found.startswith("E policies/p.yaml:1:1: names what the process itself keeps secret")
    assert MARKER not in found


def test_the_main_file_may_name_any_file(load_text: Load, tmp_path: Path) -> None:
    key = json.dumps({"keys": [make_key("ES256", "k").public]})
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/public.jwks").write_text(key)
    loaded = load_text("clients: {a: {jwks_file: keys/public.jwks}}").settings
    assert loaded.clients["a"].keys is not None


@pytest.mark.parametrize("by", ["key", "variable"])
def test_what_lies_in_the_data_directory_is_private_too(
    by: str, problems_of: Problems, tmp_path: Path
) -> None:
    for name in ("secrets/keys/signing.jwk", "secrets/state/sidegate.db-wal"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(MARKER)
        main, environ = (
            ("data_directory: secrets", {})
            if by == "key"
            else ("version: 1", {"SIDEGATE_DATA": str(tmp_path / "secrets")})
        )
        policy = {"policies/p.yaml": f"clients: {{a: {{secrets: ['file:../{name}']}}}}"}
        found = [line for line in problems_of(main, policy, environ) if line.startswith("E")]
        assert len(found) == 1
        assert "names what the process itself keeps secret" in found[0]


PUBLIC_PATHS = {
    "listeners[].tls.certificate_file", "listeners[].tls.client_ca_file", "upstreams.*.tls.ca_file", "state.ca_file",
    "data_directory", "secrets_directory", "clients.*.jwks_file",
    "clients.*.assertions[].jwks_file", "clients.*.assertions[].ca_file", "clients.*.assertions[].bearer_token_file",
}  # fmt: skip
PRIVATE_PATHS = {
    "listeners[].tls.key_file", "admin.token_file", "keys.directory", "bearer_token_files.*.file",
    "upstreams.*.tls.key_file", "upstreams.*.tls.certificate_file",
}  # fmt: skip


def test_each_key_that_names_a_file_is_known_to_be_private_or_not() -> None:
    """A new key with a path is added here, and what is private to `gateway.settings.private_files`."""
    of_urls = {"upstreams.*.health_check.path", "routes[].path"}
    paths = {path for path, (kind, _) in PLACES.items() if kind.label == "path"}
    assert paths - of_urls == PUBLIC_PATHS | PRIVATE_PATHS
