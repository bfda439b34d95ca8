"""Write the demo's configuration, with a fresh secret, into a directory.

The YAML is package data (`gateway.yaml` beside this file) and a complete
configuration by itself: its ports have defaults, and `sidegate run` would take a
copy. Here the ports in use are filled in and the caller's secret is made.
"""

import secrets
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

CLIENT_ID = "demo-client"


@dataclass(frozen=True, slots=True)
class DemoConfiguration:
    """Where the demo's files lie and what its caller authenticates with."""

    path: Path
    """The configuration, to be loaded like any other."""
    client_id: str
    client_secret: str = field(repr=False)


def demo_configuration(directory: Path, port: int, admin_port: int, upstream_port: int) -> DemoConfiguration:
    """Write configuration and secret below `directory`, which must exist and be private to this user.

    Args:
        directory: Keys are made below it too when the demo starts.
        port: Where issuer and gate listen on 127.0.0.1.
        admin_port: Where the admin listener listens on 127.0.0.1.
        upstream_port: Where the country service listens on 127.0.0.1.
    """
    text = files("gateway.demo").joinpath("gateway.yaml").read_text(encoding="utf-8")
    for placeholder, number in (
        ("${SIDEGATE_DEMO_PORT:-8080}", port),
        ("${SIDEGATE_DEMO_ADMIN_PORT:-9090}", admin_port),
        ("${SIDEGATE_DEMO_UPSTREAM_PORT:-9001}", upstream_port),
    ):
        text = text.replace(placeholder, str(number))
    path = directory / "gateway.yaml"
    path.write_text(text, encoding="utf-8")

    client_secret = secrets.token_urlsafe(32)
    secret_file = directory / "secrets" / CLIENT_ID
    secret_file.parent.mkdir(mode=0o700)
    secret_file.touch(mode=0o600)
    secret_file.write_text(client_secret, encoding="ascii")
    return DemoConfiguration(path, CLIENT_ID, client_secret)
