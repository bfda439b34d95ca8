"""Carry out `config show`: what a configuration says, with every default, and nothing secret."""

from pathlib import Path

import click

from gateway.cli.configuration import read_configuration
from gateway.settings.show import effective


def show_command(path: Path) -> None:
    """Print the effective configuration at `path`."""
    click.echo(effective(read_configuration(path).settings), nl=False)
