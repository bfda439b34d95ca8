"""Carry out `keys list` and `keys generate` on the key directory of a configuration."""

from pathlib import Path

import click

from gateway.cli.configuration import read_configuration
from gateway.cli.failure import CommandError
from gateway.tokens.keyfiles import KeyDirectoryError, generate_key, list_keys


def list_command(path: Path) -> None:
    """Print one line per key."""
    settings = read_configuration(path).settings
    try:
        keys = list_keys(settings.keys.directory, settings.issuer.signing_algorithm)
    except KeyDirectoryError as error:
        raise CommandError(f"keys: {error}") from error
    for key in keys:
        click.echo(f"{key.kid}  {key.alg:5}  {key.state:8}  {key.path}")


def generate_command(path: Path, *, activate: bool) -> None:
    """Make a key and print its line."""
    settings = read_configuration(path).settings
    try:
        key = generate_key(settings.keys.directory, settings.issuer.signing_algorithm, activate=activate)
    except KeyDirectoryError as error:
        raise CommandError(f"keys: {error}") from error
    click.echo(f"{key.kid}  {key.alg:5}  {key.state:8}  {key.path}")
    click.echo("A running process notices by itself; `sidegate reload` makes it look at once.", err=True)
