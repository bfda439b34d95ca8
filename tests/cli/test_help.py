"""Show that every command explains itself with an example, and that wrong use says what is right."""

import re
from collections.abc import Iterator

import click
import pytest

from gateway.cli import main
from gateway.version import VERSION


def commands(
    group: click.Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


ALL = dict(commands(main))


def test_the_commands_are_those_of_the_contract():
    assert [" ".join(path) for path in ALL] == [
        "demo",
        "run",
        "init",
        "check",
        "test",
        "secret",
        "secret generate",
        "secret hash",
        "keys",
        "keys list",
        "keys generate",
        "keys activate",
        "keys rotate",
        "keys retire",
        "token",
        "assertion",
        "introspect",
        "revoke",
        "reload",
        "healthcheck",
        "config",
        "config show",
        "schema",
    ]


@pytest.mark.parametrize("path", [pytest.param(path, id=" ".join(path)) for path in ALL])
def test_every_help_has_examples_that_parse(run, path):
    shown = run(*path, "--help")
    assert shown.exit_code == 0
    assert run(*path, "-h").output == shown.output
    if isinstance(ALL[path], click.Group):
        return
    examples = re.findall(r"^ *(Example|Or): +(.*)$", shown.output, re.MULTILINE)
    assert [word for word, _ in examples] == ["Example", *["Or"] * (len(examples) - 1)]
    for _, example in examples:
        words = example.partition("<")[0].split()
        assert tuple(words[: len(path) + 1]) == ("sidegate", *path)
        with ALL[path].make_context(" ".join(path), words[len(path) + 1 :]):
            pass


@pytest.mark.parametrize("path", [pytest.param(path, id=" ".join(path)) for path in ALL])
def test_every_option_says_what_it_does(path):
    for parameter in ALL[path].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{path}: {parameter.name}"


def test_the_top_help_leads_to_the_first_minute(run):
    shown = run("--help")
    assert shown.exit_code == 0
    assert "sidegate demo" in shown.output
    for path, _ in ALL.items():
        if len(path) == 1:
            assert f"\n  {path[0]} " in shown.output


def test_the_version(run):
    assert run("--version").output == f"sidegate, version {VERSION}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chek"], "No such command 'chek'"),
        (["keys", "lst"], "No such command 'lst'"),
        (["check", "--formt", "json"], "No such option '--formt'"),
        (["check", "--format", "xml"], "'xml' is not one of 'text', 'json'"),
        (["init"], "Missing argument 'DIR'"),
        (["demo", "--port", "many"], "'many' is not a valid integer"),
        (["token"], "Missing option '--as' (the client that asks) or '--assertion-file'"),
        (["token", "--assertion-file", "a", "--key-file", "k"], "Missing option '--as'"),
        (["revoke"], "Missing option '--client' (everything of a client) or '--as' (one token)"),
        (["revoke", "--client", "a", "--as", "b"], "it takes '--config' alone"),
        (["revoke", "--client", "a", "--token-file", "b"], "it takes '--config' alone"),
        (["revoke", "--client", "a", "--issuer", "https://b"], "it takes '--config' alone"),
    ],
)
def test_wrong_use_is_exit_2_and_says_what_is_wrong(run, arguments, said):
    done = run(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert "Usage: " in done.stderr
