"""`reload`: asks the master for a rolling reload, and waits for its outcome."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click

from deploy.ops import options
from deploy.ops.cluster import RunningCluster, cannot_write, one_operation
from deploy.ops.directories import Directories
from deploy.ops.errors import OperationError
from deploy.ops.exit_code import ExitCode
from deploy.ops.waiting import looks, progress
from deploy.state import ledger, request
from deploy.state.layout import Outcome, State
from deploy.state.reload_record import NEVER, Reload
from deploy.state.request import Request

_DONE = (Outcome.COMPLETE, Outcome.REFUSED)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of the reload."""

    outcome: str  # complete, refused, or unknown when nobody said
    release: str  # that was asked for
    reason: str
    traceback: str
    phase: str  # the last that was seen
    seconds: float
    request: str


@click.command("reload", short_help="Roll the release on disk out, worker by worker.")
@click.option("--force", is_flag=True, help="Skip the probe (READY_PATH) of the new release.")
@options.why
@options.timeout(300, "How long to wait for the outcome; the reload goes on after that.")
@options.outcome_as_json
def command(force: bool, why: str, timeout: float, as_json: bool) -> None:
    """Replace every worker by one of the release that is on disk now, one after the other.

    The new release must load, and its first worker must answer READY_PATH, before any other is
    replaced. If it does not, the reload is refused: nothing has changed, or it has changed back.
    A reload that runs already is finished first.

    \b
    Exit code: 0 complete, 1 refused or no outcome within the timeout, 3 not running,
    5 another operation runs, 130 Ctrl-C (the reload goes on).
    """
    directories = Directories.read(os.environ)
    cluster = RunningCluster(directories.runtime)
    with one_operation(directories.state, "reload"):
        try:
            report = roll_out(cluster, directories, why=why, force=force, timeout=timeout)
        except UnknownOutcomeError as error:
            if as_json:
                click.echo(_json(error.report))
            raise
        except RefusedError as error:
            report = error.report
    if as_json:
        click.echo(_json(report))
    elif report.outcome == "complete":
        click.echo(_complete(cluster, report))
    else:
        _show_refused(cluster, report)
    sys.exit(ExitCode.OK if report.outcome == "complete" else ExitCode.FAILED)


def roll_out(
    cluster: RunningCluster,
    directories: Directories,
    *,
    why: str,
    force: bool = False,
    timeout: float = 300.0,
) -> Report:
    """Has the master reload, and waits until it is complete.

    Raises RefusedError when nothing has changed or it has changed back, UnknownOutcomeError when
    the master has not said how it ended, OperationError when it cannot be asked.
    """
    asked = request.new("reload", why=why, force=force)
    report = _reload(cluster, directories, asked, timeout)
    if report.outcome != "complete":
        raise RefusedError(report)
    return report


class RefusedError(OperationError):
    """The master has refused the reload: who served before serves on."""

    def __init__(self, report: Report):
        super().__init__(
            f"the reload was refused: {report.reason}", "mend what failed, then try again"
        )
        self.report = report


class UnknownOutcomeError(OperationError):
    """The master has not said what became of the reload."""

    def __init__(self, message: str, next_step: str, report: Report):
        super().__init__(message, next_step)
        self.report = replace(report, outcome="unknown", reason=message)


def _reload(
    cluster: RunningCluster, directories: Directories, asked: Request, timeout: float
) -> Report:
    before = cluster.board.reload()
    report = _report(replace(NEVER, request=asked.id), 0.0)  # until the master says a word
    with progress(
        interrupted="interrupted; the reload goes on",
        next_step="watch it with: smart-factory status",
    ) as line:
        _ask(cluster, directories.runtime, asked)
        for passed in looks(timeout):
            alive = cluster.alive  # asked first: what it says as it ends is its last word
            record = cluster.board.reload()
            if record.request != asked.id and record.number > before.number:
                record = _from_ledger(directories.state, asked) or record
            ours = record.request == asked.id
            report = _report(record, passed) if ours else replace(report, seconds=round(passed, 3))
            if ours and record.outcome in _DONE:
                return report
            if not alive:
                raise UnknownOutcomeError(
                    f"the master, pid {cluster.master.pid}, went away during the reload",
                    "look at its log, then at: smart-factory status",
                    report,
                )
            line.show(f"Reload: {_stage(record, ours=ours)}, {passed:.1f} s")
    begun = report.outcome == "running"
    last = f"to end (last seen: {report.phase or 'it has begun'})" if begun else "to begin"
    raise UnknownOutcomeError(
        f"waited {timeout:g} s for the reload {last}",
        "it may still go on; watch it with: smart-factory status",
        report,
    )


def _ask(cluster: RunningCluster, runtime_directory: Path, asked: Request) -> None:
    try:
        request.leave(runtime_directory, asked)
    except OSError as error:
        raise cannot_write(runtime_directory, error) from None
    try:
        cluster.reload()
    except OperationError:
        request.take(runtime_directory)  # or the next HUP would be taken for ours
        raise


def _from_ledger(state_directory: Path, asked: Request) -> Reload | None:
    """Our reload, when the next one has taken its place on the board between two looks."""
    try:
        events = ledger.read(state_directory, limit=None)
    except OSError:
        return None
    for event in reversed(events):
        if event.get("request") == asked.id and event.get("outcome") in ("complete", "refused"):
            return replace(
                NEVER,
                request=asked.id,
                outcome=Outcome[event["outcome"].upper()],
                release=str(event.get("release", "")),
                reason=str(event.get("reason", "")),
                traceback=str(event.get("traceback", "")),
            )
    return None


def _report(record: Reload, passed: float) -> Report:
    lasted = record.ended - record.started if record.started and record.ended else passed
    return Report(
        outcome=record.outcome.name.lower(),
        release=record.release,
        reason=record.reason,
        traceback=record.traceback,
        phase=record.phase,
        seconds=round(lasted, 3),
        request=record.request,
    )


def _stage(record: Reload, *, ours: bool) -> str:
    if ours:
        return record.phase or "begun"
    if record.outcome == Outcome.RUNNING:
        return f"another one is finished first ({record.phase or 'begun'})"
    return "asked for"


def _complete(cluster: RunningCluster, report: Report) -> str:
    wanted = cluster.board.master().wanted
    ready = {row.slot for row in cluster.board.rows() if row.state == State.READY}
    count = len(ready & set(range(1, wanted + 1)))
    seconds = f"{report.seconds:.1f} s"
    return f"Reload complete: {count}/{wanted} on release {report.release} in {seconds}"


def _show_refused(cluster: RunningCluster, report: Report) -> None:
    click.echo(f"Reload refused: {report.reason}", err=True)
    if report.traceback:
        click.echo(report.traceback.rstrip("\n"), err=True)
    click.echo(f"Still serving release {cluster.board.master().release}.", err=True)
    click.echo("Next step: mend what failed, then reload again", err=True)


def _json(report: Report) -> str:
    return json.dumps(asdict(report), indent=2)
