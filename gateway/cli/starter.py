"""Write the starter configuration into a directory: files, a secret, a key, schemas for editors.

The files are those of `config/` in the repository, shipped as package data. The one
caller in them gets a secret of its own here; it is shown once and stored as a hash.
Their first lines name the schemas, which are made of the table of keys.
"""

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from gateway.cli.configuration import read_configuration
from gateway.cli.failure import CommandError
from gateway.clients.secrets import generate_secret
from gateway.settings.schema import schema_files
from gateway.settings.secret_texts import UNUSABLE_SECRET
from gateway.tokens.keyfiles import KeyDirectoryError, load_keys

CALLER = "service-client"


def write_starter(directory: Path) -> None:
    """Write the starter below `directory`, which must be absent or empty, and say what to do next.

    Raises:
        CommandError: There is something in the directory already, or it cannot be written.
    """
    if directory.is_dir() and any(directory.iterdir()):
        raise CommandError(f"{directory} is not empty: choose a new directory")
    plain, stored = generate_secret()
    directory.mkdir(parents=True, exist_ok=True)
    _copy(files("gateway").joinpath("starter"), directory / "config", stored)
    for name, schema in schema_files().items():
        (directory / "config" / name).write_text(schema, encoding="utf-8")
    configuration = directory / "config" / "gateway.yaml"
    settings = read_configuration(configuration).settings
    try:
        load_keys(settings.keys.directory, settings.issuer.signing_algorithm, create=True)
    except KeyDirectoryError as error:
        raise CommandError(f"keys: {error}") from error
    click.echo(f"wrote {configuration}")
    click.echo(f"secret of {CALLER} (shown once): {plain}")
    click.echo("next:")
    click.echo(f"  cd {directory}")
    click.echo("  sidegate check && sidegate test")
    click.echo("  sidegate run")


def _copy(source: Traversable, target: Path, stored_secret: str) -> None:
    if source.is_dir():
        target.mkdir(exist_ok=True)
        for child in source.iterdir():
            if child.name != "__pycache__":
                _copy(child, target / child.name, stored_secret)
        return
    text = source.read_text(encoding="utf-8").replace(UNUSABLE_SECRET, stored_secret)
    target.write_text(text, encoding="utf-8")
