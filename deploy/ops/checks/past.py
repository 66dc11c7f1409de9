"""What has happened: crashes in the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from deploy.ops.checks.check import Check
from deploy.ops.checks.context import CannotLookError, Context
from deploy.ops.checks.finding import Finding, fail, ok, warn
from deploy.ops.terminal import duration
from deploy.state import ledger

_DAY = 86400.0
_LOOP_SECONDS, _LOOP_CRASHES = 600.0, 5
_SEE = "smart-factory history --event crash; smart-factory describe worker-1 for the traceback"

Events = Sequence[Mapping[str, Any]]


def events(context: Context) -> Events:
    """Every event in the ledger that says when it was, the newest last; for `Context.once`."""
    try:
        found = ledger.read(context.directories.state, limit=None)
    except PermissionError:
        raise CannotLookError(f"needs root: the ledger in {context.directories.state}") from None
    except OSError as error:
        raise CannotLookError(f"the ledger cannot be read: {error.strerror}") from None
    return [event for event in found if _dated(event)]


def _dated(event: Mapping[str, Any]) -> bool:
    try:
        return datetime.fromisoformat(str(event.get("at"))).tzinfo is not None
    except ValueError:
        return False


def age(event: Mapping[str, Any], now: float) -> float:
    """How many seconds ago it was."""
    return max(0.0, now - datetime.fromisoformat(event["at"]).timestamp())


def last(found: Events, event: str, outcome: str = "") -> Mapping[str, Any] | None:
    """The newest event of this kind, and with this outcome."""
    matching = (e for e in reversed(found) if e["event"] == event)
    return next((e for e in matching if not outcome or e.get("outcome") == outcome), None)


def judge_crashes(found: Events, now: float) -> Finding:
    """Whether workers die, and whether they do it again and again."""
    crashes = [event for event in found if event["event"] == "crash"]
    today = [event for event in crashes if age(event, now) < _DAY]
    if not today:
        if not crashes:
            return ok("no worker has died")
        return ok(f"the last worker died {duration(age(crashes[-1], now))} ago")
    newest = today[-1]
    said = (
        f"the last {duration(age(newest, now))} ago, {newest.get('worker', 'a worker')} "
        f"({newest.get('why') or 'no reason told'})"
    )
    many = sum(age(event, now) < _LOOP_SECONDS for event in today)
    if many >= _LOOP_CRASHES:
        return fail(f"a crash loop: {many} in {duration(_LOOP_SECONDS)}; {said}", _SEE)
    return warn(f"{len(today)} in 24 hours; {said}", _SEE)


def _crashes(context: Context) -> Finding:
    return judge_crashes(context.once(events), context.now)


CHECKS = (Check("crashes", "history", "no worker has died today", _crashes),)
