"""`replay`: a group gets messages again."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from app.command_line import CONTEXT, Misconfigured
from app.consumers import pipeline
from app.consumers.commands import reach
from app.consumers.commands.asking import confirm
from app.events import attempts

_BEGINNING = "beginning"
# Earlier there is nothing; the clients of Kafka give times before it another meaning.
_EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)


@click.command("replay", context_settings=CONTEXT)
@click.option(
    "--group",
    "name",
    required=True,
    metavar="GROUP",
    type=click.Choice([*pipeline.GROUPS, *pipeline.NAMES]),
    help="The group's name, or its consumer's.",
)
@click.option(
    "--from",
    "since",
    required=True,
    metavar="TIME",
    help="beginning, or a time with its offset: 2030-01-31T09:00:00+01:00.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Facts for machines.")
def command(name: str, since: str, yes: bool, as_json: bool) -> None:
    """Let a group have all messages since a time once more, as far as the bus keeps them.

    That is harmless: what the consumer has carried out, the guard knows, so that no row, no event
    and no call comes of it again. What it has not carried out, it carries out now, with all its
    attempts; dead letters wait on (dlq redrive).

    On Kafka the group's members must be stopped first; on Postgres they may run.
    """
    start = read_start(since, datetime.now(UTC))
    consumer = next(n for n, group in pipeline.GROUP_OF.items() if name in (n, group))
    group, topic = pipeline.GROUP_OF[consumer], pipeline.TOPIC_OF[consumer]
    config = reach.config()
    confirm("replay", f"{group} gets the messages of {topic} again: from {since}?", yes=yes)
    with reach.bus(config) as bus:
        with reach.database(config) as connection:
            attempts.forget_all(connection, consumer)
        messages = bus.replay(group, topic, start)
    if as_json:
        facts = {"consumer": consumer, "group": group, "topic": topic, "messages": messages}
        click.echo(json.dumps(facts))
    else:
        click.echo(f"{messages} message(s) of {topic} come again to {group}")


def read_start(text: str, now: datetime) -> datetime | None:
    """The time, or None for the beginning; raises Misconfigured."""
    if text == _BEGINNING:
        return None
    expected = f"--from {text!r}: expected {_BEGINNING}, or a time like 2030-01-31T09:00:00+01:00"
    try:
        start = datetime.fromisoformat(text)
    except ValueError:
        raise Misconfigured(expected) from None
    if start.utcoffset() is None:
        raise Misconfigured(f"{expected}; this one lacks its offset from UTC: Z or +01:00")
    if start > now:
        raise Misconfigured(f"{expected}; this one is in the future")
    return start if start > _EARLIEST else None
