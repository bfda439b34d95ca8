"""Prove to an issuer which client asks: put its authentication into a request.

A secret comes from the environment, a file or the terminal, a key from a file: command
lines are seen by every user of the machine. How a secret is sent is what `--auth-method`
says, else what the configuration says of the client, else as Basic credentials.

Sources: RFC 6749 2.3.1 (the secret as such), RFC 7523 2.2 (signed assertions), RFC 7518 3.2 (HS256).
"""

import base64
import os
import sys
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote_plus

import click

from gateway.cli.failure import CommandError
from gateway.oauth_names import (
    ASSERTION_TYPE,
    CLIENT_SECRET_JWT,
    CLIENT_SECRET_POST,
    PRIVATE_KEY_JWT,
    auth_methods,
)

SECRET_VARIABLE = "SIDEGATE_CLIENT_SECRET"  # noqa: S105  # the name of a variable
SECRET_METHODS = tuple(method for method in auth_methods() if method != PRIVATE_KEY_JWT)
"""In the order in which they are chosen where a client may use several."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where the proof of a client is, as the options say."""

    client_id: str
    secret_file: Path | None
    key_file: Path | None
    """A private key, for `private_key_jwt` in place of a secret."""
    auth_method: str | None
    """None: whatever the client may use."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a request carries for its client."""

    headers: dict[str, str] = field(default_factory=dict, repr=False)
    form: dict[str, str] = field(default_factory=dict, repr=False)


def prove(credentials: Credentials, issuer: str, allowed: Collection[str] | None) -> Proof:
    """Return the proof that `issuer` is sent.

    Args:
        credentials: Where to find it.
        issuer: Its URL: whom a signed assertion is for.
        allowed: The methods that the client may use; None where that is not known.

    Raises:
        CommandError: The options contradict each other, or what they name cannot be used.
    """
    client_id = credentials.client_id
    method = _choose_method(credentials, allowed)
    if method == PRIVATE_KEY_JWT:
        assert credentials.key_file is not None
        return _signed(client_id, issuer, credentials.key_file)
    secret = _read_secret(credentials)
    if method == CLIENT_SECRET_JWT:
        return _signed(client_id, issuer, secret)
    if method == CLIENT_SECRET_POST:
        return Proof(form={"client_id": client_id, "client_secret": secret})
    # RFC 6749 2.3.1: each half is form-encoded before they are joined.
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return Proof(headers={"Authorization": "Basic " + base64.b64encode(pair.encode()).decode("ascii")})


def _choose_method(credentials: Credentials, allowed: Collection[str] | None) -> str:
    method = credentials.auth_method
    if method is None:
        if credentials.key_file is not None:
            return PRIVATE_KEY_JWT
        possible = [name for name in SECRET_METHODS if allowed is None or name in allowed]
        # A client that may use none of them is refused by the issuer, which says so.
        return possible[0] if possible else SECRET_METHODS[0]
    if (method == PRIVATE_KEY_JWT) != (credentials.key_file is not None):
        raise CommandError(
            f"--auth-method {method}: "
            + ("needs --key-file" if method == PRIVATE_KEY_JWT else "has no use for --key-file")
        )
    return method


def _signed(client_id: str, issuer: str, proof: Path | str) -> Proof:
    # Whoever sends a secret as such signs nothing, and need not load what does.
    from gateway.cli.assertion import sign_as_client

    return Proof(
        form={
            "client_id": client_id,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": sign_as_client(client_id, issuer, proof),
        }
    )


def _read_secret(credentials: Credentials) -> str:
    """Return the client's secret: from the file, the environment or the terminal, in this order."""
    if credentials.secret_file is not None:
        secret = credentials.secret_file.read_text(encoding="utf-8").rstrip("\r\n")
    elif SECRET_VARIABLE in os.environ:
        secret = os.environ[SECRET_VARIABLE].rstrip("\r\n")  # as of a file: $(cat …) drops it, others do not
    elif sys.stderr.isatty() and sys.stdin.isatty():
        secret = str(click.prompt(f"Secret of {credentials.client_id}", hide_input=True, err=True))
    else:
        raise CommandError(f"there is no secret: use --secret-file, --key-file or ${SECRET_VARIABLE}")
    if not secret:
        raise CommandError("the secret is empty")
    return secret
