"""Show that the demo's files are written with the ports in use and a secret of their own."""

import stat

import yaml

from gateway.demo.configuration import demo_configuration


def test_ports_are_filled_in_and_nothing_else_changes(tmp_path):
    demo = demo_configuration(tmp_path, port=18080, admin_port=19090, upstream_port=19001)
    document = yaml.safe_load(demo.path.read_text(encoding="utf-8"))
    assert document["listeners"] == [{"address": "127.0.0.1:18080"}]
    assert document["admin"] == {"address": "127.0.0.1:19090"}
    assert document["issuer"] == {"url": "http://127.0.0.1:18080"}
    assert document["upstreams"]["country"]["targets"] == ["http://127.0.0.1:19001"]
    assert "${" not in demo.path.read_text(encoding="utf-8")


def test_the_secret_is_fresh_private_and_not_shown(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, second = (demo_configuration(tmp_path / name, 8080, 9090, 9001) for name in ("a", "b"))
    assert first.client_secret != second.client_secret
    assert first.client_secret not in repr(first)
    secret_file = tmp_path / "a" / "secrets" / "demo-client"
    assert secret_file.read_text(encoding="ascii") == first.client_secret
    assert stat.S_IMODE(secret_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(secret_file.parent.stat().st_mode) == 0o700
