"""`status`: every worker, and what is wrong."""

from __future__ import annotations

import os
import sys

import click

from deploy.ops import consumers, consumers_table, status_facts, status_table
from deploy.ops.directories import Directories
from deploy.ops.exit_code import ExitCode

_MORE_SECONDS = 5.0  # consumers may take so much longer to answer than the measuring takes


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

    Below them, the consumers of our own application's events: how far they are.

    Exits with 3 when the cluster does not run, not every worker is ready, or a check fails.
    """
    directories = Directories.read(os.environ)
    with consumers.asked(directories, interval + _MORE_SECONDS) as answer:
        facts = status_facts.read(directories, interval)
        events = answer()
    if as_json:
        click.echo(status_facts.to_json(facts, consumers=events))
    else:
        status_table.render(facts)
        consumers_table.render(events)
    sys.exit(ExitCode.OK if facts.state == "ready" else ExitCode.DEGRADED)
