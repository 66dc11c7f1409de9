"""What the benchmark is doing: one short line a step, on stderr."""

from __future__ import annotations

import click


def say(step: str) -> None:
    """The same whether or not it is a terminal: a run takes long enough to be watched in a log."""
    click.echo(f"peers: {step}", err=True)
