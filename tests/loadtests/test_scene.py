"""Show that the load tests' configuration is one that Sidegate loads."""

from pathlib import Path

from gateway.settings.load import load
from loadtests.scene import AUDIENCE, CLIENT, SECRET_VARIABLE, write_configuration


def test_the_configuration_loads(tmp_path: Path) -> None:
    path = write_configuration(tmp_path, port=8080, admin_port=9090, upstream_port=9001)
    loaded = load(path, environ={SECRET_VARIABLE: "a-secret-of-this-run"})
    assert [(a.client, a.audience) for a in loaded.settings.authorizations] == [(CLIENT, AUDIENCE)]
    assert [str(listener.address) for listener in loaded.settings.listeners] == ["127.0.0.1:8080"]
