"""`history`: what the ledger says happened to the cluster."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from deploy.ops.directories import Directories
from deploy.ops.errors import OperationError
from deploy.ops.terminal import console, local_time, printable
from deploy.state import ledger

# In columns of their own, or only of use to a program.
_ELSEWHERE = ("at", "event", "outcome", "who", "why", "request", "traceback", "checks")
_COLUMNS = ("when", "event", "outcome", "who", "detail")
_FACT_LETTERS = 80  # a longer fact, as a traceback, is for --json


@click.command("history", short_help="Show what happened: who, why, outcome.")
@click.option(
    "-n",
    "number",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    metavar="N",
    help="How many events to show.",
)
@click.option("--event", default="", metavar="EVENT", help="Only these: reload, scale, start, ...")
@click.option("--json", "as_json", is_flag=True, help="Print them as one JSON list, whole.")
def command(number: int, event: str, as_json: bool) -> None:
    """Show what happened, the newest last: starts, reloads, crashes, scales; who, why, outcome.

    It is kept in STATE_DIRECTORY/ledger.jsonl, and outlives the cluster.
    """
    directory = Directories.read(os.environ).state
    try:
        events = ledger.read(directory, limit=None if event else number)
    except OSError as error:
        raise OperationError(
            f"cannot read the ledger in {directory} ({error.strerror})",
            "run the command as the user that the service runs as",
        ) from None
    if event:
        events = [one for one in events if one["event"] == event][-number:]
    if as_json:
        click.echo(json.dumps(events, indent=2))
    elif events:
        _render(events)
    else:
        click.echo(f"nothing yet{f' of event {event}' if event else ''} in {directory}")


def _render(events: Sequence[Mapping[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in _COLUMNS:
        table.add_column(heading, no_wrap=heading != "detail", overflow="fold")
    for event in events:
        cells = [when(event), event["event"], event.get("outcome"), event.get("who")]
        texts = [printable(str(cell)) if cell else "-" for cell in cells]
        table.add_row(*map(Text, [*texts, detail(event)]))
    console(width=4096).print(table)


def when(event: Mapping[str, Any]) -> str:
    """The operator's own time; the ledger's word where it is none."""
    at = str(event.get("at", ""))
    try:
        return local_time(datetime.fromisoformat(at).timestamp())
    except ValueError:
        return at


def detail(event: Mapping[str, Any]) -> str:
    """Why, then the event's other facts."""
    facts = [printable(str(event["why"]))] if event.get("why") else []
    for name, value in event.items():
        shown = value if isinstance(value, str) else json.dumps(value)
        if name not in _ELSEWHERE and shown not in ("", "null"):
            cut = shown if len(shown) <= _FACT_LETTERS else f"{shown[:_FACT_LETTERS]}…"
            facts.append(f"{name}={printable(cut)}")
    return " ".join(facts)
