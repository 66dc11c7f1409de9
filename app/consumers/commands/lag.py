"""`lag`: what waits, on the bus and before it."""

from __future__ import annotations

import json

import click

from app.command_line import CONTEXT
from app.consumers import pipeline
from app.consumers.commands import reach
from app.consumers.commands.table import table
from app.events import standing
from app.events.bus import Lag
from app.events.standing import Outbox


@click.command("lag", context_settings=CONTEXT)
@click.option("--json", "as_json", is_flag=True, help="Facts for machines.")
def command(as_json: bool) -> None:
    """Show how many messages wait for each consumer, and how many events in the outbox.

    An event is in the outbox until it is on the bus: from its transaction's commit to the relay's
    next turn, or for as long as the bus is away.
    """
    config = reach.config()
    with reach.database(config) as connection:
        outbox = standing.outbox(connection)
    with reach.bus(config) as bus:
        lags = {lag.group: lag for lag in bus.lags(pipeline.GROUPS)}
    found = [(name, lags[group]) for name, group in pipeline.GROUP_OF.items() if group in lags]
    click.echo(_json(found, outbox) if as_json else _text(found, outbox))


def outbox_line(outbox: Outbox) -> str:
    """The outbox for people."""
    if outbox.oldest_s is None:
        return "outbox: nothing waits"
    return f"outbox: {outbox.waiting} waiting, the oldest for {outbox.oldest_s:.1f} s"


def _text(found: list[tuple[str, Lag]], outbox: Outbox) -> str:
    rows = [(name, lag.group, lag.topic, lag.waiting) for name, lag in found]
    lags = table(["consumer", "group", "topic", "waiting"], rows, right={"waiting"})
    return f"{lags}\n{outbox_line(outbox)}"


def _json(found: list[tuple[str, Lag]], outbox: Outbox) -> str:
    lags = [
        {"consumer": name, "group": lag.group, "topic": lag.topic, "waiting": lag.waiting}
        for name, lag in found
    ]
    return json.dumps({"consumers": lags, "outbox": vars(outbox)}, indent=2)
