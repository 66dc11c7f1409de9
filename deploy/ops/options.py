"""Options that more than one command has, so that they mean the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

why = click.option("--why", default="", metavar="TEXT", help="A note for the ledger (see history).")
dry_run = click.option("--dry-run", is_flag=True, help="Print the steps and change nothing.")
outcome_as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print the outcome as one JSON object."
)


def timeout(default: float, what: str) -> Callable[[Any], Any]:
    """`--timeout SECONDS`: `what` says how long to wait for what."""
    return click.option(
        "--timeout",
        type=click.FloatRange(0, min_open=True),
        default=default,
        show_default=True,
        metavar="SECONDS",
        help=what,
    )
