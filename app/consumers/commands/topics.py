"""`topics create`: the topics that Kafka has to have before anything is published."""

from __future__ import annotations

import json

import click

from app.command_line import CONTEXT
from app.consumers.commands import reach


@click.group("topics", context_settings=CONTEXT)
def command() -> None:
    """Create the topics of the bus."""


@command.command()
@click.option("--partitions", type=click.IntRange(1, 10_000), default=3, show_default=True)
@click.option(
    "--replicas",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Copies of each partition, on as many brokers.",
)
@click.option("--json", "as_json", is_flag=True, help="Facts for machines.")
def create(partitions: int, replicas: int, as_json: bool) -> None:
    """Create the topics that are missing; those that are there stay as they are.

    The partitions bound how many consumers of a group work at once.
    """
    with reach.bus(reach.config()) as bus:
        name = bus.name
        created = bus.create_topics(partitions=partitions, replicas=replicas)
    if as_json:
        click.echo(json.dumps({"bus": name, "created": created}))
    elif name == "postgres":
        click.echo("the Postgres bus needs no topics: they are there when an event names them")
    else:
        click.echo("\n".join(f"created {topic}" for topic in created) or "all topics are there")
