"""Run commands in this process, as the shell would: arguments in, exit code and text out."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main

Run = Callable[..., Result]

MAIN = """\
version: 1
listeners: [{address: "127.0.0.1:1"}]
admin: {address: "127.0.0.1:2"}
issuer: {url: "http://127.0.0.1:8080"}
state: "memory:"
upstreams:
  country: {targets: ["http://127.0.0.1:3"]}
"""
POLICY = """\
clients:
  country-service: {scopes: {country.read: Read}}
  caller: {secrets: ["env:CALLER_SECRET"]}
authorizations:
  - {client: caller, audience: country-service, scopes: [country.read]}
routes:
  - {name: read, path: "/country/{code}", upstream: country, require: {audience: country-service}}
tests:
  - {name: the caller may, request: GET /country/AUS, client: caller, expect: allow}
  - {name: nobody else may, request: GET /country/AUS, expect: {deny: no_token}}
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs one command line."""
    monkeypatch.setenv("CALLER_SECRET", "a-secret-of-the-environment")
    monkeypatch.delenv("SIDEGATE_CONFIG", raising=False)

    def run_command(*arguments: object, stdin: str | None = None) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)

    return run_command


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """Return the main file of a sound configuration without a key."""
    path = tmp_path / "gateway.yaml"
    main_file = MAIN + "policy_environment: [CALLER_SECRET]\n"
    path.write_text(main_file)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "country.yaml").write_text(POLICY)
    return path
