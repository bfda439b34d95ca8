"""Carry out `reload`, `healthcheck` and `revoke --client`: talk to the admin listener of a process."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import click
import yaml

from gateway.cli.ask import Reply, ask_listener
from gateway.cli.failure import CommandError
from gateway.files import UnusableFileError, read_file
from gateway.settings.environment import Environment
from gateway.settings.model import AdminSettings
from gateway.settings.problems import SpellingError
from gateway.settings.texts import parse_address, place_address

TIMEOUT_S = 95.0
"""Three sources, each with its deadline."""
HEALTH_TIMEOUT_S = 5.0
_LARGEST_TOKEN_BYTES = 4096


def reload_command(path: Path, *, dry_run: bool) -> int:
    """Ask for a reload and print what came of it, or would; return the exit code."""
    admin = read_admin(path)
    document = {"dry_run": True} if dry_run else None
    reply = _ask(admin, "POST", "/api/v1/reload", document=document, timeout_s=TIMEOUT_S)
    answer = reply.document
    problems = answer.get("problems")
    for problem in problems if isinstance(problems, list) else []:
        place = f"{problem['file']}:{problem['line']}:{problem['column']}: {problem['severity']}"
        hint = f" (hint: {problem['hint']})" if problem.get("hint") else ""
        click.echo(": ".join(part for part in (place, problem["path"], problem["message"]) if part) + hint)
    changes = answer.get("changes")
    for change in changes if isinstance(changes, list) else []:
        click.echo(change)
    if reply.status == 200:
        click.echo("reloaded" if not dry_run else "nothing was changed: this is what a reload would do")
        return 0
    kept = "would not be reloaded" if dry_run else "not reloaded: the former configuration stays in effect"
    click.echo(f"{kept} ({reply.status})", err=True)
    return 1


def revoke_client_command(path: Path, client_id: str) -> int:
    """Revoke everything a client holds; return the exit code."""
    admin = read_admin(path)
    reply = _ask(admin, "POST", f"/api/v1/clients/{quote(client_id, safe='')}/revoke", timeout_s=TIMEOUT_S)
    answer = reply.document
    if reply.status == 200:
        until = datetime.fromtimestamp(answer["issued_until"], UTC).isoformat(timespec="seconds")
        click.echo(f"revoked: all tokens of {client_id} that were issued up to {until}")
        return 0
    click.echo(f"not revoked: {answer.get('detail', 'refused')} ({reply.status})", err=True)
    return 1


def healthcheck_command(path: Path) -> int:
    """Ask whether the process is ready; print what is not, or is amiss; return the exit code."""
    admin = read_admin(path)
    reply = _ask(admin, "GET", "/readyz", timeout_s=HEALTH_TIMEOUT_S)
    answer = reply.document
    checks, degraded = answer.get("checks"), answer.get("degraded")
    for entry in degraded if isinstance(degraded, list) else []:
        since = datetime.fromtimestamp(entry["since"], UTC).isoformat(timespec="seconds")
        click.echo(f"degraded since {since}: {entry['name']}: {entry['detail']}", err=True)
    if reply.status == 200:
        click.echo("ready")
        return 0
    for name, check in checks.items() if isinstance(checks, dict) else []:
        if not check.get("ok"):
            click.echo(f"{name}: {check.get('detail', 'failed')}", err=True)
    click.echo(f"not ready ({reply.status})", err=True)
    return 1


def read_admin(path: Path) -> AdminSettings:
    """Return where the admin listener of the process at `path` is, from its main file alone.

    Policies are not looked at: a probe must stay quick with ten thousand clients, and must
    not fail while somebody saves half a policy that the process rightly ignores. Scalars are
    read as text here, which is what an address and a path are.

    Raises:
        CommandError: The file cannot be read.
        SettingsError: The rest of the configuration is needed to say what is wrong.
    """
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CBaseLoader)  # noqa: S506 - text only
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return _read_whole(path)
    section = document.get("admin") if isinstance(document, dict) else None
    if section is None or section == "":
        return AdminSettings()
    if not isinstance(section, dict):
        return _read_whole(path)
    environment = Environment(os.environ)
    texts = {}
    for key in ("address", "token_file"):
        text = environment.expand(section[key]) if isinstance(section.get(key), str) else ""
        texts[key] = text if isinstance(text, str) else ""
    admin = AdminSettings()
    if texts["address"]:
        try:
            address = place_address(path.absolute().parent, parse_address(texts["address"]))
            admin = replace(admin, address=address)
        except SpellingError:
            return _read_whole(path)
    if texts["token_file"] not in ("", "null", "~"):
        admin = replace(admin, token_file=path.parent / texts["token_file"])
    return admin


def _read_whole(path: Path) -> AdminSettings:
    # Imported when wanted: a probe that needs no policies takes a third of the time without it.
    from gateway.cli.configuration import read_configuration

    return read_configuration(path).settings.admin


def _ask(
    admin: AdminSettings, method: str, target: str, *, document: object = None, timeout_s: float
) -> Reply:
    # Whatever address it listens on, it answers to this name; to an address only if admin.hosts has it.
    headers = {"Host": "localhost"}
    if method == "POST":
        headers["Content-Type"] = "application/json"
    if admin.token_file is not None:
        headers["Authorization"] = f"Bearer {_read_token(admin.token_file)}"
    body = json.dumps(document or {}).encode() if method == "POST" else None
    return ask_listener(admin.address, method, target, timeout_s=timeout_s, headers=headers, body=body)


def _read_token(path: Path) -> str:
    try:
        return read_file(path, largest_bytes=_LARGEST_TOKEN_BYTES).octets.decode("ascii").strip()
    except UnusableFileError as problem:
        raise CommandError(f"admin.token_file: {path}: the file {problem}") from problem
    except UnicodeDecodeError:
        raise CommandError(f"admin.token_file: {path}: the file holds no token") from None
