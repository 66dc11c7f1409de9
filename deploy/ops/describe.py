"""`describe`: all that is known of one slot and its workers."""

from __future__ import annotations

import os
import sys

import click

from deploy.ops import completion, slot_facts, slot_page
from deploy.ops.cluster import RunningCluster
from deploy.ops.directories import Directories
from deploy.ops.errors import WrongUseError
from deploy.ops.exit_code import ExitCode


@click.command("describe", short_help="Show one slot: its workers, exits, failed boot.")
@click.argument("slot", shell_complete=completion.slots)
@click.option("--json", "as_json", is_flag=True, help="Print the facts as one JSON object.")
@click.option(
    "--interval",
    type=click.FloatRange(0, 60),
    default=0.5,
    show_default=True,
    metavar="SECONDS",
    help="How long to measure CPU; 0: the average since each worker's start.",
)
def command(slot: str, as_json: bool, interval: float) -> None:
    """Show one SLOT (worker-2, or 2): its workers, exits, restarts and last failed boot.

    A worker that drains is shown beside its successor.

    \b
    Exit code: 0 somebody sits in the slot, 2 there is no such slot, 3 the slot is down or the
    cluster does not run.
    """
    board = RunningCluster(Directories.read(os.environ).runtime).board
    try:
        number = slot_facts.find(board, slot)
    except ValueError as error:
        raise WrongUseError(str(error), "see the slots with: smart-factory status") from None
    facts = slot_facts.read(board, number, interval)
    if as_json:
        click.echo(slot_facts.to_json(facts))
    else:
        slot_page.render(facts)
    sys.exit(ExitCode.DEGRADED if facts.state == "down" else ExitCode.OK)
