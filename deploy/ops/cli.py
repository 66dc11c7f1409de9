"""The operator's command: one file for each of its commands."""

from __future__ import annotations

import click

from deploy.ops import (
    completion,
    describe,
    doctor,
    history,
    logs,
    monit,
    release,
    reload,
    rollback,
    scale,
    status,
    switch,
    validate,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Look at and steer the cluster that runs here (RUNTIME_DIRECTORY, default var/run)."""


for _module in (
    *(status, monit, describe, logs, reload, scale, switch, rollback, validate, history, doctor),
    *(release, completion),
):
    main.add_command(_module.command)
