"""Asking before something is done that cannot be taken back."""

from __future__ import annotations

import sys

import click

from app.command_line import Misconfigured


def confirm(command: str, question: str, *, yes: bool) -> None:
    """Returns when the operator agrees; raises Misconfigured where nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Misconfigured(f"{command} asks before it begins: without a terminal, --yes")
    click.confirm(question, abort=True)
