"""`scale`: how many workers there shall be, now and after a restart."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import click

from deploy.ops import options
from deploy.ops.cluster import NotRunningError, RunningCluster, cannot_write, one_operation
from deploy.ops.count import Count, CountType
from deploy.ops.directories import Directories
from deploy.ops.errors import DegradedError, OperationError, WrongUseError
from deploy.ops.exit_code import ExitCode
from deploy.ops.terminal import counted
from deploy.ops.waiting import looks, progress
from deploy.state import desired, request
from deploy.state.desired import Desired, DesiredError
from deploy.state.layout import State
from deploy.state.scoreboard import Row

# How long the master may take to say which number `max` or the default is.
_TAKEN_OVER_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of it."""

    state: str  # ready, degraded or stopped
    before: int | None  # workers wanted before; None when the cluster does not run
    workers: int | None  # and now
    ready: int
    desired: int | str | None  # what is kept: a number, "max", or None for the environment's
    seconds: float


@click.command(
    "scale",
    short_help="Run N workers, now and after a restart.",
    # `scale -1` is an argument, not the option -1.
    context_settings={"ignore_unknown_options": True},
)
@click.argument("count", type=CountType(), required=False, metavar="N|+N|-N|max")
@click.option("--reset", is_flag=True, help="Forget the number: the environment's applies again.")
@options.timeout(60, "How long to wait until every worker is ready.")
@options.outcome_as_json
def command(count: Count | str | None, reset: bool, timeout: float, as_json: bool) -> None:
    """Run N workers, N more (+N), N less (-N), or one for each CPU (max).

    The number is kept across restarts and wins over CLUSTER_WORKERS, until --reset. Workers that
    are too many finish their requests first. When the cluster does not run, the number is kept for
    its next start.

    \b
    Exit code: 0 every worker is ready, 1 failed, 2 wrong usage (also in fork mode),
    3 not every worker is ready within the timeout, 5 another operation runs.
    """
    if (count is None) is not reset:
        raise click.UsageError("expected N, +N, -N or max, or --reset")
    directories = Directories.read(os.environ)
    with one_operation(directories.state, f"scale {count or '--reset'}"):
        kept = _kept(directories)
        try:
            cluster = RunningCluster(directories.runtime)
        except NotRunningError:
            _refuse_fork_mode(kept.mode or directories.environ.get("CLUSTER_MODE", ""))
            number = _number(count, kept.workers)
            _keep(directories, kept, number)
            report = _not_running(number)
        else:
            _refuse_fork_mode(cluster.master.mode)
            number = _number(count, cluster.master.wanted)
            cluster.check_allowed()  # before the master could come across the number by itself
            _keep(directories, kept, number)
            report = follow(cluster, number, timeout)
    degraded = report.state == "degraded"
    if as_json:
        click.echo(json.dumps(asdict(report), indent=2))
    elif not degraded:
        click.echo(_text(report))
    if degraded:
        raise DegradedError(
            f"waited {timeout:g} s for {counted(report.workers or 0)}: {report.ready} ready",
            "see why with: smart-factory status, smart-factory describe SLOT",
        )
    sys.exit(ExitCode.OK)


def settled(wanted: int, rows: Sequence[Row]) -> tuple[int, bool]:
    """How many of the wanted workers are ready, and whether that is all there is to do; pure."""
    ready = len({row.slot for row in rows if row.state == State.READY and 1 <= row.slot <= wanted})
    surplus = any(row.slot > wanted and row.state != State.DRAINING for row in rows)
    return ready, ready == wanted and not surplus


def _kept(directories: Directories) -> Desired:
    try:
        return desired.read(directories.state)
    except DesiredError as error:
        raise OperationError(str(error), "mend or remove the file, then try again") from None


def _refuse_fork_mode(mode: str) -> None:
    if mode.strip().lower() == "fork":
        raise WrongUseError(
            "fork mode runs one worker: switch to cluster mode first (CLUSTER_MODE=cluster)"
        )


def _number(count: Count | str | None, running: int | str | None) -> int | str | None:
    """What to keep; raises OperationError when it may not be, or counts from nothing."""
    if not isinstance(count, Count):
        return count
    if not isinstance(running, int):
        if count.relative:
            raise NotRunningError(
                f"not running: {count.number:+d} counts from the workers that run",
                next_step="name a number: it will be used at the next start",
            )
        running = 0
    try:
        return count.of(running)
    except ValueError as error:
        raise WrongUseError(str(error)) from None


def _keep(directories: Directories, kept: Desired, number: int | str | None) -> None:
    asked = replace(kept, workers=number, by=request.who(), at=time.time())
    try:
        desired.write(directories.state, asked)
    except OSError as error:
        raise cannot_write(directories.state, error) from None


def follow(cluster: RunningCluster, number: int | str | None, timeout: float) -> Report:
    """Wakes the master, and waits until what it wants is what runs."""
    before = cluster.master.wanted
    with progress(
        interrupted="interrupted; the number is kept, and the master goes on",
        next_step="watch it with: smart-factory status",
    ) as line:
        cluster.wake()
        for passed in looks(timeout):
            if not cluster.alive:
                raise OperationError(
                    f"the master, pid {cluster.master.pid}, went away; the number is kept",
                    "look at its log, then start it: the number will be used",
                )
            wanted = cluster.board.master().wanted
            if isinstance(number, int):
                target, taken_over = number, wanted == number
            else:  # only the master knows how many that makes: perhaps as many as before
                settling = passed < min(_TAKEN_OVER_SECONDS, timeout)
                target, taken_over = wanted, wanted != before or not settling
            ready, done = settled(target, cluster.board.rows())
            done = done and taken_over
            if done:
                break
            line.show(f"Scaling to {counted(target)}: {ready}/{target} ready, {passed:.1f} s")
    return Report(
        state="ready" if done else "degraded",
        before=before,
        workers=target,
        ready=ready,
        desired=number,
        seconds=round(passed, 3),
    )


def _not_running(number: int | str | None) -> Report:
    return Report(state="stopped", before=None, workers=None, ready=0, desired=number, seconds=0.0)


def _text(report: Report) -> str:
    if report.state == "stopped":
        words = {"max": "as many workers as there are CPUs", None: "the environment's number"}
        kept = report.desired
        what = counted(kept) if isinstance(kept, int) else words[kept]
        return f"smart-factory is not running: {what} will be used at the next start"
    return (
        f"Scaled from {report.before} to {counted(report.workers or 0)}: "
        f"{report.ready}/{report.workers} ready"
    )
