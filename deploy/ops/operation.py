"""One change to the running service: planned, carried out, validated, taken back if it fails."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

import click

from deploy.ops import answers_check, check, validation
from deploy.ops.change import Change, Expected, Say
from deploy.ops.check import Check
from deploy.ops.cluster import NotRunningError, one_operation
from deploy.ops.directories import Directories
from deploy.ops.errors import OperationError
from deploy.ops.exit_code import ExitCode
from deploy.ops.interruption import Interrupted, Interruptible
from deploy.ops.service import Service
from deploy.ops.witness import Witness
from deploy.state import ledger, request

Watch = Callable[[Service], list[Check]]


class PreflightError(OperationError):
    """It cannot be done; nothing was changed."""

    exit_code: ClassVar[int] = ExitCode.PREFLIGHT_FAILED


class RolledBackError(OperationError):
    """It failed; the former state was put back, and has passed the validation."""

    exit_code: ClassVar[int] = ExitCode.ROLLED_BACK
    reason = ""  # why it failed, in one line


class InterruptedOperationError(RolledBackError):
    """The operator ended it; the former state was put back, and has passed the validation."""

    exit_code: ClassVar[int] = ExitCode.INTERRUPTED


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of it."""

    name: str
    outcome: str = "complete"  # complete, rolled back, failed, refused
    reason: str = ""  # why it is not complete, in one line
    checks: Sequence[Check] = ()
    seconds: float = 0.0
    error: OperationError | None = field(default=None, repr=False)

    def facts(self) -> dict[str, Any]:
        """As the ledger and --json have them."""
        checks = [asdict(each) for each in self.checks]
        return {"reason": self.reason, "checks": checks, "seconds": self.seconds}


def run(
    change: Change,
    directories: Directories,
    *,
    why: str,
    dry_run: bool,
    as_json: bool,
    watch: Watch | None = None,
) -> None:
    """Does it as one operation under the lock, and prints what became of it.

    Returns when it is complete; otherwise raises the OperationError that says how it ended.
    """
    if dry_run:
        _show_plan(change, as_json=as_json)
        return
    say = _silent if as_json else _say
    with one_operation(directories.state, change.name), Interruptible() as signals:
        operation = _Operation(change, directories, say, watch)
        try:
            change.plan()
            _prepare(change, directories, say, signals, why)
            operation.look()
        except OperationError as error:
            if as_json:
                _print(Report(name=change.name, outcome="failed", reason=error.message))
            raise
        report = operation.run(signals)
        _record(directories, change, report, why)
    if as_json:
        _print(report)
    elif report.error is None:
        say(f"{_capital(change.name)}: complete in {report.seconds:.1f} s")
    if report.error is not None:
        raise report.error


class _Operation:
    """The change under way, with what was noted before it."""

    def __init__(self, change: Change, directories: Directories, say: Say, watch: Watch | None):
        self._change = change
        self._directories = directories
        self._say = say
        self._watch = watch
        self._checks: list[Check] = []
        self._service: Service | None = None  # before the change; None when nothing ran
        self._before = Expected()
        self._witness: Witness | None = None

    def look(self) -> None:
        """Notes how it is, before anything is changed."""
        self._service = _found(self._directories)
        if self._service is not None:
            self._before = self._service.expected()
            self._witness = Witness.open(self._service)

    def run(self, signals: Interruptible) -> Report:
        """Carries it out; on any failure takes it back."""
        began = time.monotonic()
        try:
            try:
                signals.begin()
                reason = self._do()
            finally:
                signals.defer()  # the way back is not interrupted, nor a success undone
            report = Report(name=self._change.name, reason=reason)
        except Interrupted:
            report = self._take_back("interrupted", InterruptedOperationError)
        except OperationError as error:
            report = self._take_back(error.message, RolledBackError)
        except Exception as error:  # a mistake of ours must not leave it half done, either
            report = self._take_back(f"{type(error).__name__}: {error}", RolledBackError)
        finally:
            self._close()
        seconds = round(time.monotonic() - began, 3)
        return replace(report, checks=tuple(self._checks), seconds=seconds)

    def _do(self) -> str:
        self._change.carry_out(self._say)
        service = _found(self._directories)
        if service is None:
            if self._service is not None:
                raise OperationError("the service does not run any more")
            self._follow_up()
            return "not running: it holds from the next start on"
        witness = self._witness or Witness.open(service)
        expected = self._change.expected()
        alone = self._witness is None
        self._witness = witness
        checks = validation.validate(service, witness, expected, say=self._say, alone=alone)
        self._pass("the validation failed", checks)
        self._follow_up()
        if self._watch is not None:
            self._pass("it did not stay well", self._watch(service))
        return ""

    def _follow_up(self) -> None:
        follow_up: Callable[[Say], list[Check]] = getattr(self._change, "follow_up", lambda _: [])
        self._pass("not all of it came up", follow_up(self._say))

    def _pass(self, what: str, checks: Sequence[Check]) -> None:
        """Keeps them; raises OperationError when one has failed."""
        self._checks += checks
        _refuse_failed(what, checks)

    def _take_back(self, reason: str, kind: type[RolledBackError]) -> Report:
        name = self._change.name
        self._say(
            f"{_capital(name)} failed: {reason}" if reason != "interrupted" else "Interrupted"
        )
        self._say("Putting the former state back")
        try:
            self._revert()
        except Exception as error:
            said = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
            failed = OperationError(
                f"{name} failed ({reason}), AND THE FORMER STATE IS NOT BACK: {said}. "
                f"Now: {_state(self._directories)}",
                getattr(error, "next_step", "") or "see what runs with: smart-factory status",
            )
            both = f"{reason}; not put back: {said}"
            return Report(name=name, outcome="failed", reason=both, error=failed)
        back = "the former state serves again" if self._service else "the former state is back"
        ended = kind(f"{name} was rolled back ({reason}); {back}", _NEXT)
        ended.reason = reason
        return Report(name=name, outcome="rolled back", reason=reason, error=ended)

    def _revert(self) -> None:
        # What has been said until now is known: only what comes after it counts.
        witness = None
        if self._service is not None and self._witness is not None:
            witness = self._witness.anew(self._service)
        self._change.revert(self._say)
        if witness is None:
            return
        service = _found(self._directories)
        if service is None:
            raise OperationError("the service does not run", "start it, then look at its log")
        checks = validation.validate(service, witness, self._before, say=self._say)
        _refuse_failed("the validation failed", checks)

    def _close(self) -> None:
        with contextlib.suppress(OperationError):
            service = _found(self._directories)
            if service is not None and self._witness is not None and self._witness.session:
                self._witness.session.close(service.endpoint)


def _prepare(
    change: Change, directories: Directories, say: Say, signals: Interruptible, why: str
) -> None:
    """What a change does beforehand; when it fails, or is interrupted, nothing was changed."""
    prepare = getattr(change, "prepare", None)
    if prepare is None:
        return
    try:
        try:
            signals.begin()
            prepare(say)
        finally:
            signals.pause()
    except Interrupted:
        interrupted = InterruptedOperationError(
            f"{change.name} was interrupted; nothing was changed", "start it again"
        )
        _record(directories, change, _refused(change, "interrupted"), why)
        raise interrupted from None
    except OperationError as error:
        _record(directories, change, _refused(change, error.message), why)
        raise


def _refused(change: Change, reason: str) -> Report:
    return Report(name=change.name, outcome="refused", reason=reason)


_NEXT = "mend what failed, then try again; see smart-factory history --json"


def _refuse_failed(what: str, checks: Sequence[Check]) -> None:
    failed = check.reason(checks)
    if failed:
        raise OperationError(f"{what}: {failed}")


def _found(directories: Directories) -> Service | None:
    try:
        return Service.find(directories)
    except NotRunningError:
        return None


def _state(directories: Directories) -> str:
    """What runs, in a line."""
    try:
        service = _found(directories)
    except OperationError as error:
        return error.message
    if service is None:
        return "nothing runs"
    if service.board is None:
        return "the plain service runs"
    master = service.board.master()
    ready = len(answers_check.ready(service))
    return f"{ready}/{master.wanted} ready · {master.mode} · release {master.release}"


def _record(directories: Directories, change: Change, report: Report, why: str) -> None:
    event = change.name.partition(" ")[0]
    facts = {"name": change.name, **getattr(change, "facts", {}), **report.facts()}
    try:
        ledger.append(
            directories.state, event, who=request.who(), why=why, outcome=report.outcome, **facts
        )
    except OSError as error:
        click.echo(f"Warning: the ledger cannot be written ({error.strerror})", err=True)


def _show_plan(change: Change, *, as_json: bool) -> None:
    steps = change.plan()
    if as_json:
        click.echo(json.dumps({"name": change.name, "dry_run": True, "steps": steps}, indent=2))
        return
    click.echo(f"{_capital(change.name)} would:")
    for number, step in enumerate(steps, 1):
        click.echo(f"{number}. {step}")


def _print(report: Report) -> None:
    facts = {"name": report.name, "outcome": report.outcome, **report.facts()}
    click.echo(json.dumps(facts, indent=2))


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]


def _say(text: str) -> None:
    # The terminal may be gone: what is under way goes on all the same.
    with contextlib.suppress(OSError):
        click.echo(text)


def _silent(text: str) -> None:
    pass
