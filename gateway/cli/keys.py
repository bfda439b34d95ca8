"""Carry out the `keys` commands on the key directory of a configuration.

What a command may do, and when, is decided by `gateway.tokens.rotation`. Nothing here talks
to a running process: it notices the directory's change by itself.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from gateway.cli.configuration import read_configuration
from gateway.cli.failure import CommandError
from gateway.settings.model import Settings
from gateway.tokens.keyfiles import (
    KeyDirectoryError,
    KeyInfo,
    KeyState,
    NoKeysError,
    change_keys,
    generate_key,
    list_keys,
)
from gateway.tokens.rotation import (
    RotationError,
    TooEarlyError,
    activate,
    choose_next,
    longest_token_lifetime,
    may_go_from,
    may_sign_from,
    retire,
)


def list_command(path: Path) -> None:
    """Print one line per key: id, algorithm, state, file, and what may be done when."""
    settings = read_configuration(path).settings
    with _explained():
        keys = _list(settings)
    for key in keys:
        click.echo(f"{_line(key)}{_outlook(key, settings)}")


def generate_command(path: Path, *, activate: bool) -> None:
    """Make a key and print its line."""
    settings = read_configuration(path).settings
    with _explained():
        others = settings.keys.directory.is_dir() and bool(_list_if_any(settings))
        key = generate_key(settings.keys.directory, settings.issuer.signing_algorithm, activate=activate)
    click.echo(_line(key))
    if activate and others:
        _tell("Callers that keep a copy of the JWKS refuse its tokens until they fetch it again.")
    elif key.state is KeyState.NEXT:
        at = _time(may_sign_from(key, settings.keys.publish_ahead_s))
        _tell(f"It is published, and may sign from {at} on: sidegate keys activate {_typed(key.kid)}")
    _tell_of_processes()


def activate_command(path: Path, kid: str, *, at_once: bool) -> None:
    """Let a key sign and print all lines.

    Raises:
        CommandError: There is no such key, or it was not published for long enough.
    """
    settings = read_configuration(path).settings
    with _explained():
        keys = _activate(settings, kid, at_once=at_once)
    for key in keys:
        click.echo(f"{_line(key)}{_outlook(key, settings)}")
    _tell_of_processes()


def rotate_command(path: Path, *, at_once: bool) -> None:
    """Take the next step of a rotation: make the next key, or let the one that is published sign.

    It may be called as often as one likes (from a timer): while a key waits, nothing changes.
    """
    settings = read_configuration(path).settings
    algorithm = settings.issuer.signing_algorithm
    with _explained():
        waiting = choose_next(_list_if_any(settings), algorithm)
    if waiting is None:
        generate_command(path, activate=at_once)
        return
    at = may_sign_from(waiting, settings.keys.publish_ahead_s)
    if not at_once and time.time() < at:
        click.echo(_line(waiting))
        _tell(f"It is published, and may sign from {_time(at)} on; nothing was changed.")
        return
    activate_command(path, waiting.kid, at_once=at_once)


def retire_command(path: Path, kid: str, *, at_once: bool) -> None:
    """Remove a key and print the lines of the others.

    Raises:
        CommandError: There is no such key, it signs, or tokens that it signed may be valid.
    """
    settings = read_configuration(path).settings
    longest_s = longest_token_lifetime(settings)

    def decide(keys: tuple[KeyInfo, ...]) -> tuple[KeyInfo, ...]:
        return retire(keys, kid, now=time.time(), longest_lifetime_s=longest_s, at_once=at_once)

    with _explained():
        left = change_keys(settings.keys.directory, settings.issuer.signing_algorithm, decide)
    for key in left:
        click.echo(f"{_line(key)}{_outlook(key, settings)}")
    _tell(f"{kid} is gone, its file too. What it signed is refused.")
    _tell_of_processes()


def _activate(settings: Settings, kid: str, *, at_once: bool) -> tuple[KeyInfo, ...]:
    ahead_s = settings.keys.publish_ahead_s

    def decide(keys: tuple[KeyInfo, ...]) -> tuple[KeyInfo, ...]:
        return activate(keys, kid, now=time.time(), publish_ahead_s=ahead_s, at_once=at_once)

    return change_keys(settings.keys.directory, settings.issuer.signing_algorithm, decide)


def _list(settings: Settings) -> tuple[KeyInfo, ...]:
    return list_keys(settings.keys.directory, settings.issuer.signing_algorithm)


def _list_if_any(settings: Settings) -> tuple[KeyInfo, ...]:
    try:
        return _list(settings)
    except NoKeysError:
        return ()


def _line(key: KeyInfo) -> str:
    return f"{key.kid}  {key.alg:5}  {key.state:8}  {key.path}"


def _outlook(key: KeyInfo, settings: Settings) -> str:
    """Return from when on the next step can be taken with a key, to be read after its line."""
    if key.state is KeyState.NEXT:
        return f"  may sign from {_time(may_sign_from(key, settings.keys.publish_ahead_s))}"
    if key.state is KeyState.RETIRING:
        return f"  may be retired from {_time(may_go_from(key, longest_token_lifetime(settings)))}"
    return ""


def _time(seconds: float) -> str:
    # Rounded up: at the time that is shown the step can be taken.
    return datetime.fromtimestamp(-(-seconds // 1), UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _typed(kid: str) -> str:
    """Return how a `kid` is typed as an argument: one that begins like an option, behind --."""
    return f"-- {kid}" if kid.startswith("-") else kid


def _tell(text: str) -> None:
    click.echo(text, err=True)


def _tell_of_processes() -> None:
    _tell("A running process notices by itself; `sidegate reload` makes it look at once.")


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what keeps a command from being carried out into its message."""
    try:
        yield
    except TooEarlyError as error:
        raise CommandError(
            f"keys: {error.kid}: too early: {error.why}; from {_time(error.at)} on, or with --now"
        ) from error
    except (KeyDirectoryError, RotationError) as error:
        raise CommandError(f"keys: {error}") from error
