"""`dlq`: what was given up is looked at, published again, or deleted."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import click

from app.command_line import CONTEXT, Failed, Misconfigured
from app.consumers import pipeline
from app.consumers.commands import letters, reach
from app.consumers.commands.asking import confirm
from app.db import Connection
from app.events import dead_letter_queue
from app.events.bus import Bus, BusRefused
from app.events.dead_letter_queue import LetterNotFound, Selection

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

_one_consumer = click.option(
    "--consumer", metavar="NAME", type=click.Choice(pipeline.NAMES), help="Only this consumer's."
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Facts for machines.")
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group("dlq", context_settings=CONTEXT)
def command() -> None:
    """Look at dead letters, publish them again, delete them.

    A dead letter is a message that a consumer gave up: after its last attempt, or at once when it
    can never work. It waits until it is redriven.
    """


@command.command("list")
@_one_consumer
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True)
@click.option("--all", "also_redriven", is_flag=True, help="Also those that were redriven.")
@_as_json
def list_(consumer: str | None, limit: int, also_redriven: bool, as_json: bool) -> None:
    """List the dead letters that wait, the newest first."""
    selection = Selection(consumer=consumer, redriven=None if also_redriven else False)
    with reach.database(reach.config()) as connection:
        entries = dead_letter_queue.entries(connection, selection, most=limit)
        total, _ = dead_letter_queue.count(connection, selection)
    if as_json:
        facts = [vars(entry) for entry in entries]
        click.echo(letters.as_json({"total": total, "dead_letters": facts}))
    elif not entries:
        click.echo("no dead letters" if also_redriven else "no dead letters wait")
    else:
        click.echo(letters.as_table(entries))
        if total > len(entries):
            click.echo(f"the newest {len(entries)} of {total}: --limit shows more")


@command.command()
@click.argument("prefix", metavar="ID")
@_as_json
def show(prefix: str, as_json: bool) -> None:
    """Show all of the dead letter ID, also when only its id's beginning is given.

    The message is printed as it came when that can be printed, else as a hex dump.
    """
    with reach.database(reach.config()) as connection:
        [letter_id] = _identified(connection, [prefix])
        letter = _found(connection, letter_id)
    if as_json:
        click.echo(letters.as_json(letters.letter_facts(letter)))
    else:
        click.echo(letters.as_text(letter))


@command.command()
@click.argument("prefixes", metavar="[ID…]", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All that wait.")
@_one_consumer
@click.option("--again", is_flag=True, help="Also those named by ID that were redriven before.")
@_yes
def redrive(
    prefixes: tuple[str, ...], every: bool, consumer: str | None, again: bool, yes: bool
) -> None:
    """Publish messages again, to their original topics, with all their attempts.

    Only the consumer that gave a message up gets it. Safe to repeat: a message that is published
    twice is carried out once.
    """
    _check(prefixes, consumer, every=every)
    if again and every:
        raise click.UsageError("--again does not go with --all: those are the ones that wait")
    config = reach.config()
    with reach.database(config) as connection:
        if every:
            selection = Selection(consumer=consumer, redriven=False)
            ids = dead_letter_queue.ids(connection, selection)
            if ids:
                confirm("redrive --all", f"Publish {len(ids)} message(s) again?", yes=yes)
        else:
            ids = _identified(connection, prefixes)
            for letter_id in [] if again else ids:
                _refuse_redriven(connection, letter_id)
        with reach.bus(config) as bus:
            _redrive(connection, bus, ids)


@command.command()
@click.argument("prefixes", metavar="[ID…]", nargs=-1)
@click.option("--older-than", metavar="AGE", help="Those that died longer ago: 30d, 12h, 90m.")
@click.option("--all", "every", is_flag=True, help="All of them.")
@_one_consumer
@click.option("--redriven", is_flag=True, help="Only those that were redriven.")
@click.option("--dry-run", is_flag=True, help="Say how many would be deleted.")
@_yes
def purge(
    prefixes: tuple[str, ...],
    older_than: str | None,
    every: bool,
    consumer: str | None,
    redriven: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Delete dead letters, those that wait too unless --redriven is given.

    What is deleted cannot be redriven, and a replay tries its message again.
    """
    _check(prefixes, consumer, every=every, age=older_than)
    age = timedelta(0) if older_than is None else read_age(older_than)
    with reach.database(reach.config()) as connection:
        selection = Selection(
            ids=_identified(connection, prefixes) if prefixes else None,
            consumer=consumer,
            redriven=True if redriven else None,
            before=_now(connection) - age,
        )
        total, waiting = dead_letter_queue.count(connection, selection)
        what = f"{total} dead letter(s), {waiting} of them not redriven"
        if dry_run:
            click.echo(f"would delete {what}")
            return
        if total:
            confirm("purge", f"Delete {what}?", yes=yes)
        deleted = 0
        while count := dead_letter_queue.purge(connection, selection):
            deleted += count
            _progress(f"{deleted} of {total} deleted")
        _progress("")
    click.echo(f"{deleted} dead letter(s) deleted")


def read_age(text: str) -> timedelta:
    """As `30d`; raises Misconfigured."""
    match = re.fullmatch(r"([0-9]{1,4})([smhdw])", text, re.ASCII)
    if match is None:
        raise Misconfigured(f"--older-than {text!r}: expected a number and s, m, h, d or w: 30d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _check(
    prefixes: Sequence[str], consumer: str | None, *, every: bool, age: str | None = None
) -> None:
    if sum([bool(prefixes), every, age is not None]) != 1:
        raise click.UsageError("expected either ID… or one of the options that select several")
    if prefixes and consumer:
        raise click.UsageError("--consumer does not go with ID…")


def _identified(connection: Connection, prefixes: Sequence[str]) -> list[UUID]:
    try:
        found = [dead_letter_queue.identify(connection, prefix) for prefix in prefixes]
    except LetterNotFound as error:
        raise Failed(str(error)) from None
    return list(dict.fromkeys(found))


def _found(connection: Connection, letter_id: UUID) -> dead_letter_queue.Letter:
    try:
        return dead_letter_queue.find(connection, letter_id)
    except LetterNotFound as error:
        raise Failed(str(error)) from None


def _refuse_redriven(connection: Connection, letter_id: UUID) -> None:
    at = _found(connection, letter_id).entry.redriven_at
    if at is not None:
        raise Failed(f"{letter_id} was redriven at {at:%Y-%m-%d %H:%M:%S%z}; once more: --again")


def _redrive(connection: Connection, bus: Bus, ids: Sequence[UUID]) -> None:
    """One after the other: what the bus refuses keeps no other back. Raises Failed."""
    done, refused = 0, 0
    try:
        for letter_id in ids:
            try:
                letter = dead_letter_queue.find(connection, letter_id)
                dead_letter_queue.redrive(connection, bus, letter)
                done += 1
            except (BusRefused, LetterNotFound) as error:
                refused += 1
                _progress("")
                click.echo(f"{letter_id}: {error}", err=True)
            _progress(f"{done} of {len(ids)} redriven")
    finally:
        _progress("")
        click.echo(f"{done} of {len(ids)} redriven")
    if refused:
        raise Failed(f"{refused} could not be redriven: the reasons stand above")


def _now(connection: Connection) -> datetime:
    """By the clock that the letters have their times from."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None  # noqa: S101 - a time is a row
    now: datetime = row[0]
    return now


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{text}\033[K", err=True, nl=False)
