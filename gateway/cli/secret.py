"""Carry out `secret generate` and `secret hash`."""

import sys

import click

from gateway.cli.failure import CommandError
from gateway.clients.secrets import generate_secret, hash_scrypt


def generate() -> None:
    """Print a new secret and its stored form."""
    plain, stored = generate_secret()
    click.echo(f"secret (shown once): {plain}")
    click.echo(f"stored form:         {stored}")


def hash_one() -> None:
    """Read one secret without showing it and print its stored form."""
    if sys.stdin.isatty():
        text = click.prompt("Secret", hide_input=True, confirmation_prompt=True, err=True)
    else:
        text = sys.stdin.readline().rstrip("\r\n")
    if not text:
        raise CommandError("there is no secret to hash: type one, or send it to standard input")
    click.echo(hash_scrypt(text))
