"""Carry out `test`: the policy tests of a configuration."""

import time
from pathlib import Path

import click

from gateway.cli.configuration import read_configuration
from gateway.reload.policy_tests import run_configured_tests


def run_policy_test_command(path: Path, junit: Path | None) -> int:
    """Run the policy tests of the configuration at `path`; return the exit code."""
    configuration = read_configuration(path)
    outcomes = run_configured_tests(configuration, now=time.time())
    for outcome in outcomes:
        if outcome.passed:
            click.echo(f"{click.style('ok', fg='green')}    {outcome.name}")
        else:
            place = f"{outcome.origin.file}:{outcome.origin.line}: " if outcome.origin else ""
            click.echo(
                f"{click.style('FAIL', fg='red')}  {place}{outcome.name}: "
                f"expected {outcome.expected}, found {outcome.found}"
            )
    failed = sum(not outcome.passed for outcome in outcomes)
    click.echo(f"{len(outcomes) - failed} passed, {failed} failed")
    if junit is not None:
        from gateway.cli.junit import write_junit  # few ask for a report, and XML takes its time to load

        write_junit(outcomes, junit)
    return 1 if failed else 0
