"""`rollback`: a known step back from what troubles: fewer workers, fork mode, no kit, a release."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import click

from deploy.ops import former, operation, options
from deploy.ops.bare import BareChange, BareReturn
from deploy.ops.change import Change
from deploy.ops.desired_change import SECONDS, DesiredChange, DesiredReturn
from deploy.ops.directories import Directories
from deploy.ops.errors import OperationError
from deploy.state import request
from deploy.state.desired import Desired

_NAMES = ("scale", "fork", "bare", "release")


@click.command("rollback", short_help="Step back: scale, fork, bare or release; --undo returns.")
@click.argument("name", type=click.Choice(_NAMES), metavar="scale|fork|bare|release")
@click.option("--undo", is_flag=True, help="Return to how it was before the rollback.")
@options.dry_run
@options.why
@options.timeout(SECONDS, "How long to wait for a reload (scale and fork).")
@options.outcome_as_json
def command(name: str, undo: bool, dry_run: bool, why: str, timeout: float, as_json: bool) -> None:
    """Take one step back without losing a request, and validate; or --undo it.

    \b
    scale    one worker
    fork     fork mode, as `switch fork`
    bare     plain Gunicorn without the kit, in its place at the same socket (needs systemd)
    release  the release that served before

    What was before scale and fork is kept in STATE_DIRECTORY/desired.before-NAME.json until it is
    undone. If anything fails, the state from before the command comes back.

    \b
    Exit code: 0 complete, 1 failed, 2 wrong usage (also bare without systemd), 4 rolled back,
    5 another operation runs, 6 cannot be done and nothing was changed, 130 Ctrl-C (rolled back).
    """
    directories = Directories.read(os.environ)
    change = _change(name, directories, undo=undo, why=why, timeout=timeout)
    operation.run(change, directories, why=why, dry_run=dry_run, as_json=as_json)


def _change(name: str, directories: Directories, *, undo: bool, why: str, timeout: float) -> Change:
    if name == "release":
        # Loaded when it is asked for: releases need much that the other steps must not depend on.
        module = importlib.import_module("deploy.ops.rollback_release")
        make = cast("Callable[[Directories, bool], Change]", module.change)
        return make(directories, undo)
    if name == "bare":
        return BareReturn(directories) if undo else BareChange(directories)
    copy = former.path_of(directories.state, name)
    if undo:
        if not copy.exists():
            raise OperationError(
                f"nothing to undo: there is no {copy}",
                f"it is kept by: smart-factory rollback {name}",
            )
        title = f"rollback {name} --undo"
        return DesiredReturn(title, directories, copy, why=why, timeout=timeout)
    asked = {"scale": _one_worker, "fork": _fork_mode}[name]
    return DesiredChange(
        f"rollback {name}", directories, asked, keep=copy, why=why, timeout=timeout
    )


def _one_worker(now: Desired) -> Desired:
    return replace(now, workers=1, by=request.who(), at=time.time())


def _fork_mode(now: Desired) -> Desired:
    return replace(now, mode="fork", by=request.who(), at=time.time())
