"""`status`: every worker, and what is wrong."""

from __future__ import annotations

import os
import sys

import click

from deploy.ops import status_facts, status_table
from deploy.ops.directories import Directories
from deploy.ops.exit_code import ExitCode


@click.command("status", short_help="Show every worker, and what is wrong.")
@click.option("--json", "as_json", is_flag=True, help="Print the facts as one JSON object.")
@click.option(
    "--interval",
    type=click.FloatRange(0, 60),
    default=0.5,
    show_default=True,
    metavar="SECONDS",
    help="How long to measure req/s and CPU; 0: the average since each worker's start.",
)
def command(as_json: bool, interval: float) -> None:
    """Show every worker: state, uptime, restarts, requests, CPU, memory, release.

    Exits with 3 when the cluster does not run, not every worker is ready, or a check fails.
    """
    facts = status_facts.read(Directories.read(os.environ), interval)
    if as_json:
        click.echo(status_facts.to_json(facts))
    else:
        status_table.render(facts)
    sys.exit(ExitCode.OK if facts.state == "ready" else ExitCode.DEGRADED)
