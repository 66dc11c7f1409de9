"""`status`: how the consumers stand."""

from __future__ import annotations

import json

import click

from app.command_line import CONTEXT, postgres_errors
from app.config import Config
from app.consumers import pipeline
from app.consumers.commands import raw, reach
from app.consumers.commands.lag import outbox_line
from app.consumers.commands.table import table
from app.events.standing import Observer, Report, Standing, Subject

_PATIENCE = 1.2  # seconds: people wait for it
_COLUMNS = ("consumer", "state", "instances", "lag", "per second", "processed", "redelivered")
_LETTERS = ("retried", "dead-lettered", "dead letters waiting")


@click.command("status", context_settings=CONTEXT)
@click.option("--json", "as_json", is_flag=True, help="Facts for machines.")
def command(as_json: bool) -> None:
    """Show who consumes, how fast, what was done so far, and what waits.

    A consumer is stopped when no instance of it has given a sign of life for a minute, and paused
    when all of its instances wait for something that is away.
    """
    observer = observe(reach.config(), patience=_PATIENCE)
    with postgres_errors():
        report = observer.read()
    observer.close()
    click.echo(json.dumps(_facts(report), indent=2) if as_json else _text(report))


def observe(config: Config, *, patience: float) -> Observer:
    """The pipeline's observer; nothing is connected yet."""
    assert config.database_url is not None  # noqa: S101 - `configured` has refused that before
    subjects = [
        Subject(consumer=name, group=pipeline.GROUP_OF[name], topic=pipeline.TOPIC_OF[name])
        for name in pipeline.NAMES
    ]
    bus = reach.quiet_bus(config)
    return Observer(url=config.database_url, bus=bus, subjects=subjects, patience=patience)


def _facts(report: Report) -> dict[str, object]:
    consumers = [
        vars(each) | {"per_second": round(each.per_second, 2)} for each in report.consumers
    ]
    facts: dict[str, object] = {
        "bus": report.bus,
        "consumers": consumers,
        "outbox": vars(report.outbox),
    }
    if report.error is not None:
        facts["error"] = report.error
    return facts


def _text(report: Report) -> str:
    rows = [_row(each) for each in report.consumers]
    numbers = {*_COLUMNS[2:], *_LETTERS}
    lines = [table([*_COLUMNS, *_LETTERS], rows, right=numbers)]
    paused = [each for each in report.consumers if each.detail]
    lines += [f"{each.consumer} is paused: {raw.one_line(each.detail)}" for each in paused]
    lines += [outbox_line(report.outbox), f"bus: {report.bus}"]
    if report.error is not None:
        lines[-1] += f", which does not say what waits: {report.error}"
    return "\n".join(lines)


def _row(each: Standing) -> tuple[object, ...]:
    return (
        *(each.consumer, each.state, each.instances, each.lag, f"{each.per_second:.1f}"),
        *(each.processed, each.redelivered, each.retried, each.dead_lettered),
        each.dead_letters_waiting,
    )
