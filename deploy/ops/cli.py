"""The operator's command: one file for each of its commands."""

from __future__ import annotations

import click

from deploy.ops import describe, history, reload, scale, status


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Look at and steer the cluster that runs here (RUNTIME_DIRECTORY, default var/run)."""


for _module in (status, describe, reload, scale, history):
    main.add_command(_module.command)
