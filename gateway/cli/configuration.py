"""Carry out `check`: what is wrong with a configuration, without starting it."""

import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

import click

from gateway.reload.compile import Configuration, compile_configuration
from gateway.reload.key_directory import key_problems
from gateway.settings.problems import Problem, SettingsError, Severity

EXIT_BAD_CONFIGURATION = 2


def read_configuration(path: Path) -> Configuration:
    """Return the configuration as `sidegate run` would load it. Raises SettingsError."""
    return compile_configuration(path, environ=os.environ, now=time.time())


def print_problems(problems: Iterable[Problem], out: TextIO) -> None:
    """Write one line per problem and a last line that counts them."""
    errors = warnings = 0
    for problem in problems:
        is_error = problem.severity is Severity.ERROR
        errors += is_error
        warnings += not is_error
        word = click.style("error", fg="red") if is_error else click.style("warning", fg="yellow")
        place, _, text = str(problem).partition(": ")
        click.echo(f"{place}: {word}: {text}", file=out)
    click.echo(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}", file=out)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def check_configuration(path: Path, *, output: str, strict: bool) -> int:
    """Print every problem of the configuration at `path`; return the exit code."""
    problems: tuple[Problem, ...]
    try:
        configuration = read_configuration(path)
        problems = (*configuration.warnings, *key_problems(configuration))
        failed = any(strict or problem.severity is Severity.ERROR for problem in problems)
    except SettingsError as error:
        problems = error.problems
        failed = True
    if output == "json":
        click.echo(json.dumps([problem.as_object() for problem in problems], indent=2))
    elif problems:
        print_problems(problems, sys.stdout)
    else:
        click.echo(f"{path}: ok")
    return EXIT_BAD_CONFIGURATION if failed else 0
