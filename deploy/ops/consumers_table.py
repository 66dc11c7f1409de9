"""The table of the consumers that `status` prints below the workers."""

from __future__ import annotations

import click

from deploy.ops.consumers import Answer
from deploy.ops.terminal import COLOURS, console, printable

_COLUMNS = (
    ("consumer", "consumer", False),
    ("state", "state", False),
    ("instances", "instances", True),
    ("lag", "lag", True),
    ("events/s", "per_second", True),
    ("retries", "retried", True),
    ("dead letters", "dead_letters_waiting", True),
)


def render(consumers: Answer) -> None:
    """Prints the table for people, or why there is none; nothing where none are to be."""
    from rich.table import Table
    from rich.text import Text

    if consumers is None:
        return
    if "consumers" not in consumers:
        click.echo(f"consumers: unknown ({consumers['error']})")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, _, justify in _COLUMNS:
        table.add_column(heading, justify="right" if justify else "left", no_wrap=True)
    details = any(each.get("detail") for each in consumers["consumers"])
    if details:
        table.add_column("detail")
    for each in consumers["consumers"]:
        cells = [Text(_cell(each.get(key))) for _, key, _ in _COLUMNS]
        cells[1].stylize(COLOURS.get(cells[1].plain, ""))
        table.add_row(*cells, *([Text(_cell(each.get("detail", "")))] if details else []))
    click.echo()
    console().print(table)
    if consumers.get("error"):
        click.echo(f"not all of it is known: {_cell(consumers['error'])}")


def _cell(value: object) -> str:
    """A dash for what is not known; a rate with one digit."""
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else printable(str(value))
