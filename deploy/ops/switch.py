"""`switch`: the mode, fork or cluster, now and after a restart."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import click

from deploy.ops import operation, options
from deploy.ops.desired_change import SECONDS, DesiredChange
from deploy.ops.directories import Directories
from deploy.state import request
from deploy.state.desired import MODES, Desired


@click.command("switch", short_help="Run in fork or cluster mode, now and after a restart.")
@click.argument("mode", type=click.Choice(MODES, case_sensitive=False), metavar="fork|cluster")
@options.dry_run
@options.why
@options.timeout(SECONDS, "How long to wait for the reload.")
@options.outcome_as_json
def command(mode: str, dry_run: bool, why: str, timeout: float, as_json: bool) -> None:
    """Run one worker (fork) or as many as were asked for (cluster).

    The mode is kept across restarts and wins over CLUSTER_MODE. The workers are replaced by a
    reload, so that no request is lost, and the service is validated; if anything fails, the former
    mode comes back. When the cluster does not run, the mode is kept for its next start.

    \b
    Exit code: 0 complete, 1 failed and not put back, 2 wrong usage, 4 rolled back,
    5 another operation runs, 130 Ctrl-C (rolled back).
    """

    def asked(now: Desired) -> Desired:
        return replace(now, mode=mode, by=request.who(), at=time.time())

    directories = Directories.read(os.environ)
    change = DesiredChange(f"switch {mode}", directories, asked, why=why, timeout=timeout)
    operation.run(change, directories, why=why, dry_run=dry_run, as_json=as_json)
