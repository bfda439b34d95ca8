"""Carry out `token`, `introspect` and `revoke`: ask a running issuer as a client of it.

The endpoints come from the issuer's metadata, whose `issuer` must be the one that was
asked for. A token comes from standard input or a file, as secrets do: command lines are
seen by every user of the machine. How the client proves itself is `gateway.cli.credentials`.

Sources: RFC 8414 3.3, RFC 6749 4.4, RFC 7009 2, RFC 7662 2, RFC 7523 2.1.
"""

import json
import os
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import click

from gateway.cli.ask import Reply, ask_url
from gateway.cli.credentials import Credentials, Proof, prove
from gateway.cli.failure import CommandError
from gateway.oauth_names import CLIENT_CREDENTIALS, JWT_BEARER

if TYPE_CHECKING:
    from gateway.settings.model import Settings

TIMEOUT_S = 30.0
_MOST_BYTES = 1024 * 1024
_METADATA = "/.well-known/oauth-authorization-server"


@dataclass(frozen=True, slots=True)
class IssuerOptions:
    """Which issuer is asked, and as whom."""

    issuer: str | None
    """Its URL; None: that of the configuration."""
    configuration: Path
    credentials: Credentials | None
    """None: nobody in particular, which only the jwt-bearer grant allows."""
    ca_file: Path | None


def token_command(
    options: IssuerOptions,
    *,
    assertion_file: Path | None,
    audience: str | None,
    scopes: tuple[str, ...],
    output: str,
) -> int:
    """Get a token, with an assertion by the jwt-bearer grant, and print it; return the exit code."""
    form = {"grant_type": CLIENT_CREDENTIALS}
    if assertion_file is not None:
        form = {"grant_type": JWT_BEARER, "assertion": _read_assertion(assertion_file)}
    if audience is not None:
        form["audience"] = audience
    if scopes:
        form["scope"] = " ".join(scopes)
    reply = _ask(options, "token_endpoint", form)
    if reply.status != 200:
        return _say_refused(reply)
    match output:
        case "json":
            click.echo(json.dumps(reply.document, indent=2))
        case "header":
            click.echo(f"Authorization: Bearer {reply.document['access_token']}")
        case _:
            click.echo(reply.document["access_token"])
    return 0


def introspect_command(options: IssuerOptions, token_file: Path | None) -> int:
    """Ask what a token is and print the answer; return 0 when it is active, else 1."""
    reply = _ask(options, "introspection_endpoint", {"token": _read_token(token_file)})
    if reply.status != 200:
        return _say_refused(reply)
    click.echo(json.dumps(reply.document, indent=2))
    return 0 if reply.document.get("active") is True else 1


def revoke_command(options: IssuerOptions, token_file: Path | None) -> int:
    """Revoke a token; return the exit code."""
    reply = _ask(options, "revocation_endpoint", {"token": _read_token(token_file)})
    if reply.status != 200:
        return _say_refused(reply)
    click.echo("revoked, if it was a live token of this client")
    return 0


def read_issuer_url(issuer: str | None, configuration: Path) -> str:
    """Return the URL of the issuer that is meant. Raises SettingsError, or CommandError for no URL."""
    return _find_issuer(issuer, configuration)[0]


def _find_issuer(issuer: str | None, configuration: Path) -> tuple[str, "Settings | None"]:
    """Return the issuer's URL, and its settings where they are what it was taken from."""
    settings = None
    url = issuer or os.environ.get("SIDEGATE_ISSUER")
    if not url:
        # Whoever names the issuer may have no configuration here, and need not wait until one could be read.
        from gateway.cli.configuration import read_configuration

        settings = read_configuration(configuration).settings
        url = settings.issuer.url
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise CommandError(f"{url}: is not the URL of an issuer")
    return url, settings


def _ask(options: IssuerOptions, endpoint: str, form: Mapping[str, str]) -> Reply:
    """Send `form` to an endpoint that the metadata names, as the client of `options`."""
    issuer, settings = _find_issuer(options.issuer, options.configuration)
    context = ssl.create_default_context(cafile=options.ca_file) if issuer.startswith("https:") else None
    url = _find_endpoint(issuer, endpoint, context)
    proof = _prove(options.credentials, issuer, settings, required="assertion" not in form)
    body = urlencode({**form, **proof.form}).encode("ascii")
    return ask_url(url, timeout_s=TIMEOUT_S, context=context, headers=proof.headers, form=body)


def _prove(
    credentials: Credentials | None, issuer: str, settings: "Settings | None", *, required: bool
) -> Proof:
    """Return what the request carries for its client; beside an assertion, a proof is a choice."""
    if credentials is None:
        return Proof()
    if not required and not (credentials.secret_file or credentials.key_file or credentials.auth_method):
        return Proof(form={"client_id": credentials.client_id})
    client = None if settings is None else settings.clients.get(credentials.client_id)
    return prove(credentials, issuer, None if client is None else client.auth_methods)


def _find_endpoint(issuer: str, endpoint: str, context: ssl.SSLContext | None) -> str:
    """Return an endpoint's URL from the metadata (RFC 8414 3.1: the well-known part goes before the path)."""
    parts = urlsplit(issuer)
    url = f"{parts.scheme}://{parts.netloc}{_METADATA}{parts.path.rstrip('/')}"
    reply = ask_url(url, timeout_s=TIMEOUT_S, context=context)
    if reply.status != 200:
        raise CommandError(f"{url}: answers {reply.status}; is this the issuer?")
    if reply.document.get("issuer") != issuer:
        # RFC 8414 3.3: else one issuer could have secrets sent to itself that are for another.
        raise CommandError(f"{url}: is the metadata of {reply.document.get('issuer')!r}, not of {issuer!r}")
    found = reply.document.get(endpoint)
    if not isinstance(found, str) or not found.startswith(("http://", "https://")):
        raise CommandError(f"{url}: names no {endpoint}")
    return found


def _say_refused(reply: Reply) -> int:
    error = reply.document.get("error", "refused")
    click.echo(f"{error} ({reply.status}): {reply.document.get('error_description', '')}", err=True)
    return 1


def _read_assertion(file: Path) -> str:
    assertion = file.read_text(encoding="utf-8").strip()
    if not assertion:
        raise CommandError(f"{file}: holds no assertion")
    return assertion


def _read_token(token_file: Path | None) -> str:
    """Return the token of a file, or of standard input; a whole Authorization line is fine as well."""
    if token_file is not None:
        text = token_file.read_text(encoding="utf-8")
    elif sys.stdin.isatty():
        text = str(click.prompt("Token", hide_input=True, err=True))
    else:
        text = sys.stdin.read(_MOST_BYTES)
    words = text.split()
    if not words:
        raise CommandError("there is no token: send it to standard input, or use --token-file")
    return words[-1]
