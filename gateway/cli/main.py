"""Name the commands of `sidegate` and translate their failures into exit codes, once.

A configuration that does not load is exit 2 everywhere; other failures are 1. What a
command needs is imported when it runs, so that `--help` is quick.
"""

import atexit
import gc
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import click

from gateway.oauth_names import auth_methods
from gateway.version import VERSION

DEFAULT_CONFIGURATION = "config/gateway.yaml"
EXIT_BAD_CONFIGURATION = 2

_Arguments = ParamSpec("_Arguments")


class SidegateGroup(click.Group):
    """The top-level group: lists commands in the order of the contract."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Carry out the command that the arguments name."""
        # Whatever a command loads it uses to the end. To look for cycles in it, each time that 700 objects
        # have come and twice more before the interpreter ends, took a fifth of the time of `check`.
        gc.set_threshold(200_000, 20, 20)
        atexit.register(gc.freeze)
        return super().main(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order they were added."""
        return list(self.commands)


def configuration_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `-c FILE` with the contract's default."""
    return click.option(
        "-c",
        "--config",
        "config",
        type=click.Path(path_type=Path, dir_okay=False),
        default=lambda: Path(os.environ.get("SIDEGATE_CONFIG") or DEFAULT_CONFIGURATION),
        show_default=f"$SIDEGATE_CONFIG, else {DEFAULT_CONFIGURATION}",
        metavar="FILE",
        help="The configuration.",
    )(command)


def issuer_options(command: Callable[..., Any] | None = None, *, required: bool = True) -> Callable[..., Any]:
    """Give a command the options that say which issuer is asked, and as whom."""
    if command is None:
        return lambda decorated: issuer_options(decorated, required=required)
    file = click.Path(path_type=Path, dir_okay=False)
    for option in (
        click.option("--ca-file", type=file, metavar="FILE", help="Who may have signed its certificate."),
        click.option(
            "--key-file", type=file, metavar="FILE", help="Sign an assertion with this private key."
        ),
        click.option(
            "--secret-file",
            type=file,
            metavar="FILE",
            help="The client's secret. Else $SIDEGATE_CLIENT_SECRET, else it is asked for.",
        ),
        click.option(
            "--auth-method",
            type=click.Choice(auth_methods()),
            help="How the client proves itself. Default: as the configuration says of it, else "
            "client_secret_basic; private_key_jwt with --key-file.",
        ),
        click.option("--as", "client_id", required=required, metavar="ID", help="The client that asks."),
        click.option(
            "--issuer", metavar="URL", help="Else $SIDEGATE_ISSUER, else the one of the configuration."
        ),
        configuration_option,
    ):
        command = option(command)
    return command


def _read_who(who: dict[str, Any]) -> Any:
    """Return the values of `issuer_options` as what the commands take."""
    from gateway.cli.credentials import Credentials
    from gateway.cli.issuer import IssuerOptions

    names = ("client_id", "secret_file", "key_file", "auth_method")
    proofs = {name: who[name] for name in names}
    if who["client_id"] is None and any(proofs.values()):
        raise click.UsageError("Missing option '--as': whose secret or key is it?")
    return IssuerOptions(
        issuer=who["issuer"],
        configuration=who["config"],
        credentials=None if who["client_id"] is None else Credentials(**proofs),
        ca_file=who["ca_file"],
    )


def translate_errors(command: Callable[_Arguments, int | None]) -> Callable[_Arguments, None]:
    """Turn the errors that a user can cause into a message and the contract's exit code.

    Nothing that the command holds in memory gets into a core file.
    """

    @wraps(command)
    def run(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> None:
        from gateway.cli.core_files import stay_out_of_core_files
        from gateway.cli.failure import why
        from gateway.settings.problems import SettingsError

        stay_out_of_core_files()
        try:
            code = command(*args, **kwargs)
        except SettingsError as error:
            from gateway.cli.configuration import print_problems

            print_problems(error.problems, sys.stderr)
            sys.exit(EXIT_BAD_CONFIGURATION)
        except (OSError, _expected_errors()) as error:
            click.echo(f"sidegate: {why(error)}", err=True)
            sys.exit(1)
        sys.exit(code or 0)

    return run


def _expected_errors() -> type[Exception]:
    from gateway.cli.failure import CommandError

    return CommandError


@click.group(cls=SidegateGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="sidegate")
def main() -> None:
    """Issue OAuth 2.0 tokens to machines and enforce them in front of a service.

    \b
    First minute:   sidegate demo
    Own service:    sidegate init DIR && cd DIR && sidegate run
    """


@main.command()
@click.option("--port", default=8080, show_default=True, help="Of issuer and gate.")
@click.option("--admin-port", default=9090, show_default=True, help="Of health, metrics and admin API.")
@click.option("--once", is_flag=True, help="Walk the journey itself, print each step, and stop.")
@translate_errors
def demo(port: int, admin_port: int, once: bool) -> int:
    """Run issuer, gate and a country service; print curl commands to paste.

    \b
    Example:  sidegate demo --once
    Exit code: 0; with --once 1 if a step fails.
    """
    from gateway.cli.demo import run_demo

    return run_demo(port=port, admin_port=admin_port, once=once)


@main.command()
@configuration_option
@translate_errors
def run(config: Path) -> int:
    """Run the appliance until SIGTERM or SIGINT.

    \b
    Example:  sidegate run -c config/gateway.yaml
    Exit code: 0 after a clean drain, 2 for a bad configuration, 1 otherwise.
    """
    from gateway.app import run as run_app
    from gateway.cli.failure import CommandError
    from gateway.data_plane import StartError

    try:
        return run_app(config)
    except StartError as error:
        raise CommandError(str(error)) from error


@main.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@translate_errors
def init(directory: Path) -> None:
    """Write a starter configuration with a key, a policy and its tests.

    \b
    Example:  sidegate init my-gateway
    """
    from gateway.cli.starter import write_starter

    write_starter(directory)


@main.command()
@configuration_option
@click.option(
    "--format",
    "output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Lines for people, or one array for programs.",
)
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@translate_errors
def check(config: Path, output: str, strict: bool) -> int:
    """Load the configuration without starting; print every problem at once.

    \b
    Example:  sidegate check --strict
    Exit code: 0, or 2 when there are errors (or warnings, with --strict).
    """
    from gateway.cli.configuration import check_configuration

    return check_configuration(config, output=output, strict=strict)


@main.command()
@configuration_option
@click.option(
    "--junit",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="OUT.xml",
    help="Also write a JUnit report.",
)
@translate_errors
def test(config: Path, junit: Path | None) -> int:
    """Run the policy tests of the configuration.

    \b
    Example:  sidegate test --junit policy-tests.xml
    Exit code: 0, or 1 when a test fails.
    """
    from gateway.cli.policy_tests import run_policy_test_command

    return run_policy_test_command(config, junit)


@main.group()
def secret() -> None:
    """Make client secrets and their stored forms.

    \b
    Example:  sidegate secret generate
    """


@secret.command("generate")
@translate_errors
def secret_generate() -> None:
    """Print a new random secret, once, and the form to store.

    \b
    Example:  sidegate secret generate
    """
    from gateway.cli.secret import generate

    generate()


@secret.command("hash")
@translate_errors
def secret_hash() -> None:
    """Read a secret from the terminal or standard input and print the form to store.

    \b
    Example:  sidegate secret hash < secret.txt
    """
    from gateway.cli.secret import hash_one

    hash_one()


@main.group()
def keys() -> None:
    """Look after the key directory; a running process notices by itself.

    \b
    Example:  sidegate keys list
    """


@keys.command("list")
@configuration_option
@translate_errors
def keys_list(config: Path) -> None:
    """List the keys: id, algorithm, state, file.

    \b
    Example:  sidegate keys list
    """
    from gateway.cli.keys import list_command

    list_command(config)


@keys.command("generate")
@configuration_option
@click.option("--activate", is_flag=True, help="Sign with it from now on.")
@translate_errors
def keys_generate(config: Path, activate: bool) -> None:
    """Make a key. It is published as `next` unless --activate, or it is the first.

    \b
    Example:  sidegate keys generate
    """
    from gateway.cli.keys import generate_command

    generate_command(config, activate=activate)


@keys.command("activate")
@click.argument("kid", metavar="KID")
@configuration_option
@click.option("--now", "at_once", is_flag=True, help="Even if it was not published for publish_ahead.")
@translate_errors
def keys_activate(kid: str, config: Path, at_once: bool) -> None:
    """Sign with a key from now on; the one that signed is retiring.

    \b
    Example:  sidegate keys activate sp3AmCp1Ki3k...
    """
    from gateway.cli.keys import activate_command

    activate_command(config, kid, at_once=at_once)


@keys.command("rotate")
@configuration_option
@click.option("--now", "at_once", is_flag=True, help="Sign with the new key at once, as after a leak.")
@translate_errors
def keys_rotate(config: Path, at_once: bool) -> None:
    """Take the next step to a new key: make one, or sign with it once it was published for long enough.

    \b
    Example:  sidegate keys rotate
    """
    from gateway.cli.keys import rotate_command

    rotate_command(config, at_once=at_once)


@keys.command("retire")
@click.argument("kid", metavar="KID")
@configuration_option
@click.option("--now", "at_once", is_flag=True, help="Even if tokens that it signed are valid.")
@translate_errors
def keys_retire(kid: str, config: Path, at_once: bool) -> None:
    """Remove a key that no longer signs: its file goes, and what it signed is refused.

    \b
    Example:  sidegate keys retire sp3AmCp1Ki3k...
    """
    from gateway.cli.keys import retire_command

    retire_command(config, kid, at_once=at_once)


@main.command()
@issuer_options(required=False)
@click.option(
    "--assertion-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="A platform's token, for the jwt-bearer grant. A proof of --as is sent only if an option names it.",
)
@click.option("--audience", metavar="ID", help="What the token is for. Default: as the issuer decides.")
@click.option("--scope", "scopes", multiple=True, metavar="NAME", help="Ask for this scope; repeatable.")
@click.option(
    "--format",
    "output",
    type=click.Choice(["token", "header", "json"]),
    default="token",
    show_default=True,
    help="The token alone, a header field for curl -H, or the issuer's whole reply.",
)
@translate_errors
def token(
    assertion_file: Path | None, audience: str | None, scopes: tuple[str, ...], output: str, **who: Any
) -> int:
    """Get a token from a running issuer and print it: by client_credentials, or for an assertion.

    \b
    Example:  sidegate token --as service-client --audience country-service --scope country.read
    Or:       sidegate token --as service-client --key-file client.pem
    Or:       sidegate token --assertion-file /var/run/secrets/tokens/sidegate
    Exit code: 0, or 1 when the issuer refuses or does not answer.
    """
    if who["client_id"] is None and assertion_file is None:
        raise click.UsageError("Missing option '--as' (the client that asks) or '--assertion-file'.")
    options = _read_who(who)
    from gateway.cli.issuer import token_command

    return token_command(
        options, assertion_file=assertion_file, audience=audience, scopes=scopes, output=output
    )


@main.command()
@configuration_option
@click.option(
    "--key",
    "key_file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The private key: PEM or JWK.",
)
@click.option(
    "--as", "client_id", required=True, metavar="ID", help="The client that it proves: iss and sub."
)
@click.option("--subject", metavar="TEXT", help="Another sub than the client.")
@click.option("--audience", metavar="URL", help="Its aud. Default: the issuer of the configuration.")
@click.option("--lifetime", default="1m", show_default=True, help="How long it holds, e.g. 5m.")
@click.option(
    "--alg",
    "algorithm",
    type=click.Choice(["ES256", "RS256", "PS256", "EdDSA"]),
    help="Default: what the key's type has; RS256 for RSA.",
)
@click.option("--grant", is_flag=True, help="For the jwt-bearer grant, in place of client authentication.")
@translate_errors
def assertion(config: Path, client_id: str, subject: str | None, lifetime: str, **more: Any) -> None:
    """Sign an assertion (private_key_jwt) and print it.

    \b
    Example:  sidegate assertion --key client.pem --as service-client --audience https://issuer.example
    """
    from gateway.cli.assertion import assertion_command
    from gateway.cli.failure import CommandError
    from gateway.cli.issuer import read_issuer_url
    from gateway.settings.problems import SpellingError
    from gateway.settings.quantities import parse_duration

    try:
        lifetime_s = int(parse_duration(lifetime))
    except SpellingError as error:
        raise CommandError(f"--lifetime: {lifetime!r} {error}") from error
    assertion_command(
        key_file=more["key_file"],
        algorithm=more["algorithm"],
        issuer=client_id,
        subject=subject or client_id,
        audience=read_issuer_url(more["audience"], config),
        lifetime_s=lifetime_s,
        for_grant=more["grant"],
    )


@main.command()
@issuer_options
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The token. Else it is read from standard input.",
)
@translate_errors
def introspect(token_file: Path | None, **who: Any) -> int:
    """Ask a running issuer whether a token is live, and what it says.

    \b
    Example:  sidegate introspect --as country-service --secret-file secret < token.txt
    Exit code: 0 when the token is active, else 1.
    """
    from gateway.cli.issuer import introspect_command

    return introspect_command(_read_who(who), token_file)


@main.command()
@issuer_options(required=False)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The token. Else it is read from standard input.",
)
@click.option(
    "--client",
    "everything_of",
    metavar="ID",
    help="Revoke all that this client holds, through the admin listener.",
)
@translate_errors
def revoke(token_file: Path | None, everything_of: str | None, **who: Any) -> int:
    """Revoke one token as the client it was issued to, or everything that a client holds.

    \b
    Example:  sidegate revoke --client service-client
    Or:       sidegate revoke --as service-client --secret-file secret < token.txt
    Exit code: 0, or 1 when the process refuses or does not answer.
    """
    if everything_of is not None:
        if token_file is not None or any(who[name] is not None for name in who if name != "config"):
            raise click.UsageError(
                "'--client' is the operator's word, through the admin listener: it takes"
                " '--config' alone. To revoke one token as a client, use '--as' without '--client'."
            )
        from gateway.cli.admin import revoke_client_command

        return revoke_client_command(who["config"], everything_of)
    if who["client_id"] is None:
        raise click.UsageError("Missing option '--client' (everything of a client) or '--as' (one token).")
    from gateway.cli.issuer import revoke_command

    return revoke_command(_read_who(who), token_file)


@main.command()
@configuration_option
@click.option("--dry-run", is_flag=True, help="Change nothing, and say what would change.")
@translate_errors
def reload(config: Path, dry_run: bool) -> int:
    """Ask the running process to load its configuration again.

    \b
    Example:  sidegate reload --dry-run
    Exit code: 0, or 1 when the process kept its old configuration or cannot be reached;
    with --dry-run, when it would.
    """
    from gateway.cli.admin import reload_command

    return reload_command(config, dry_run=dry_run)


@main.command()
@configuration_option
@translate_errors
def healthcheck(config: Path) -> int:
    """Ask the running process whether it is ready: the container's probe.

    \b
    Example:  sidegate healthcheck
    Exit code: 0 when ready, else 1.
    """
    from gateway.cli.admin import healthcheck_command

    return healthcheck_command(config)


@main.group("config")
def config_group() -> None:
    """Look at the configuration.

    \b
    Example:  sidegate config show
    """


@config_group.command("show")
@configuration_option
@translate_errors
def config_show(config: Path) -> None:
    """Print the effective configuration as YAML, secrets masked.

    \b
    Example:  sidegate config show
    """
    from gateway.cli.show import show_command

    show_command(config)


@main.command()
@click.option("--policy", is_flag=True, help="That of policy files, in place of the main file's.")
@translate_errors
def schema(policy: bool) -> None:
    """Print the JSON Schema of the configuration, for editors; `init` writes it beside the files.

    \b
    Example:  sidegate schema
    Or:       sidegate schema --policy
    """
    from gateway.settings.schema import main_schema, policy_schema, spell_schema

    click.echo(spell_schema(policy_schema() if policy else main_schema()), nl=False)
