"""The operator's command: what it is told, and the exit code that it ends with."""

from __future__ import annotations

import os
import sys
from enum import IntEnum
from pathlib import Path

import click

from deploy.ops import status as cluster_status
from deploy.state.environment import (
    EnvironmentFileError,
    added_by_file,
    read_env_file,
    runtime_directory,
)


class ExitCode(IntEnum):
    """What every command says to the shell."""

    OK = 0
    FAILED = 1
    USAGE = 2
    DEGRADED = 3  # or not running


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Look at and steer the cluster that runs here (RUNTIME_DIRECTORY, default var/run)."""


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print the facts as one JSON object.")
@click.option(
    "--interval",
    type=click.FloatRange(0, 60),
    default=0.5,
    show_default=True,
    metavar="SECONDS",
    help="How long to measure req/s and CPU; 0: the average since each worker's start.",
)
def status(as_json: bool, interval: float) -> None:
    """Show every worker: state, uptime, restarts, requests, CPU, memory, release.

    Exits with 3 when the cluster does not run or not every worker is ready.
    """
    facts = cluster_status.read(_runtime_directory(), interval)
    if as_json:
        click.echo(cluster_status.to_json(facts))
    else:
        cluster_status.render(facts)
    sys.exit(ExitCode.OK if facts.state == "ready" else ExitCode.DEGRADED)


def _runtime_directory() -> Path:
    try:
        added = added_by_file(os.environ, read_env_file(os.environ))
    except EnvironmentFileError as error:
        raise click.UsageError(str(error)) from None
    return runtime_directory({**os.environ, **added})
