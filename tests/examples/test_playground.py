"""Show that the examples' configurations load without a doubt, and hold what their READMEs promise."""

import hashlib
from pathlib import Path

import pytest

from gateway.demo.configuration import demo_configuration
from gateway.settings.load import load
from gateway.settings.model import ScryptSecret

ROOT = Path(__file__).parents[2]
PLAYGROUND = ROOT / "examples" / "playground"


def test_the_playground_loads_without_warnings():
    loaded = load(PLAYGROUND / "gateway.yaml", environ={})
    assert loaded.warnings == ()
    settings = loaded.settings
    assert settings.issuer.url == "http://localhost:8085/ms-auth-server"
    assert settings.issuer.path_prefix == "/ms-auth-server"
    assert [(each.address.port, each.serves_issuer, each.serves_gate) for each in settings.listeners] == [
        (8085, True, False),
        (8091, False, True),
    ]
    assert settings.clients["service-client-jwt"].token_lifetime_s == 14400
    audiences = [client for client in settings.clients if settings.clients[client].scopes]
    assert {
        "ms-system",
        "https://billing.example/api",
        "http://archive.example",
        "//ledger.example/books",
    } == set(audiences)


@pytest.mark.parametrize("client", ["service-client-jwt", "ms-system", "reporting-job"])
def test_the_secrets_in_the_readme_are_those_of_the_policy(client):
    (secret,) = load(PLAYGROUND / "gateway.yaml", environ={}).settings.clients[client].secrets
    assert isinstance(secret, ScryptSecret)
    text = f"{client}-secret"
    derived = hashlib.scrypt(text.encode(), salt=secret.salt, n=secret.n, r=secret.r, p=secret.p, dklen=32)
    assert derived == secret.digest
    assert text in (PLAYGROUND / "README.md").read_text(encoding="utf-8")


def test_moving_the_authorization_file_away_takes_only_that_right(tmp_path):
    for source in (PLAYGROUND / "policies").glob("*.yaml"):
        target = tmp_path / "policies" / source.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(source.read_bytes())
    (tmp_path / "gateway.yaml").write_bytes((PLAYGROUND / "gateway.yaml").read_bytes())
    before = load(tmp_path / "gateway.yaml", environ={}).settings
    moved = tmp_path / "policies" / "reporting-reads-countries.yaml"
    moved.rename(moved.with_suffix(".yaml.off"))
    after = load(tmp_path / "gateway.yaml", environ={}).settings
    gone = {(each.client, each.audience) for each in before.authorizations} - {
        (each.client, each.audience) for each in after.authorizations
    }
    assert gone == {("reporting-job", "ms-system")}
    assert before.clients.keys() == after.clients.keys()


def test_the_demo_loads_without_warnings(tmp_path):
    demo = demo_configuration(tmp_path, port=18080, admin_port=19090, upstream_port=19001)
    loaded = load(demo.path, environ={})
    assert loaded.warnings == ()
    assert loaded.settings.clients[demo.client_id].secrets
    assert len(loaded.settings.tests) == 4
