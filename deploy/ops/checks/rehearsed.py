"""The checklist's part that the ledger and reports answer: was it tried before it was needed?"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deploy.ops.checks import past
from deploy.ops.checks.check import Check
from deploy.ops.checks.context import Context
from deploy.ops.checks.finding import Finding, Verdict, fail, ok, skip, warn
from deploy.ops.checks.past import Events, age, last
from deploy.ops.terminal import duration

_DAY = 86400.0
_VALIDATED_DAYS, _RELOADED_DAYS, _REHEARSED_DAYS, _LOAD_DAYS = 7, 30, 90, 90
_ID = re.compile(r"\d{8}-\d{6}-([0-9a-f]{7})")


def judge_staging(release: str, staged: str) -> Finding:
    """Whether the live release was tried on another machine: only STAGED can tell.

    A release's name is made anew on each machine; its last seven digits, the commit's, are not.
    """
    match = _ID.fullmatch(release)
    commit = match[1] if match else release
    if not staged:
        return skip(
            "cannot be seen from here: release it on another machine first, run smart-factory "
            f"validate there, then set STAGED={commit or 'COMMIT'} here"
        )
    if commit and commit in [each.strip()[:7] for each in staged.split(",")]:
        return ok(f"{commit} was tried (STAGED)")
    step = "try this release on a staging machine, then set STAGED to its commit"
    return warn(f"STAGED={staged}, but {release or 'no release'} is live", step)


def _staging(context: Context) -> Finding:
    if context.installation is None:
        return skip("for an installation; this is a checkout")
    live = context.installation.linked("current")
    return judge_staging(live.id if live else "", context.value("STAGED"))


def judge_load_test(
    report: str, days: float | None, met: bool | None, *, production: bool
) -> Finding:
    """Whether a load test was done, of late, and met its objectives; None: it does not say."""
    step = "make loadtest, on a machine like this one (docs/loadtests.md)"
    if days is None:
        return warn("no report", step) if production else skip("no report: make loadtest makes one")
    detail = f"{report}, {days:.0f} days old"
    if met is False:
        return warn(f"{detail}: an objective was missed", f"see the report; {step}")
    return warn(detail, step) if days > _LOAD_DAYS else ok(detail)


def _load_test(context: Context) -> Finding:
    state = context.directories.state
    places = (context.tree / "var" / "loadtest", state.parent / "loadtest", state / "loadtest")
    found = [p for place in places for p in place.glob("**/*") if p.suffix in (".html", ".json")]
    newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        return judge_load_test("", None, None, production=context.production)
    days = max(0.0, context.now - newest.stat().st_mtime) / _DAY
    return judge_load_test(str(newest), days, _met(newest), production=context.production)


def _met(report: Path) -> bool | None:
    """The verdict of the page that `make loadtest` writes."""
    if report.suffix != ".html":
        return None
    found = re.search(
        r'id="verdict" class="verdict (met|missed)"', report.read_text(errors="replace")
    )
    return found[1] == "met" if found else None


def judge_sessions(found: Events, now: float) -> Finding:
    """Whether the last validation saw a session hold on every worker."""
    step = "smart-factory validate"
    for event in reversed(found):
        check = _session_check(event)
        if check is None:
            continue
        ago = age(event, now)
        detail = f"{event['event']} {duration(ago)} ago: {check.get('detail', '')}".rstrip(": ")
        if check.get("ok") is False:
            return fail(detail, f"{step}; SECRET_KEY and DATABASE_URL must be the same everywhere")
        if ago > _VALIDATED_DAYS * _DAY:
            return warn(f"{detail}: older than {_VALIDATED_DAYS} days", step)
        return ok(detail)
    return warn("never validated", step)


def _session_check(event: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The session's part in an event that has validated; None when it was not asked for."""
    checks = event.get("checks")
    for check in checks if isinstance(checks, list) else ():
        if isinstance(check, dict) and str(check.get("name", "")).startswith("session"):
            return check if check.get("ok") in (True, False) else None
    return None


def judge_reload(found: Events, now: float) -> Finding:
    """Whether a reload has gone through of late: what is not used does not work when it must."""
    step = "smart-factory reload"
    done = last(found, "reload", "complete")
    if done is None:
        return warn("none that was complete", step)
    detail = f"complete {duration(age(done, now))} ago"
    newest = last(found, "reload")
    if newest is not None and newest.get("outcome") != "complete":
        reason = str(newest.get("reason") or newest.get("outcome") or "no reason told")[:120]
        return warn(f"the last was refused: {reason}", "mend it, then smart-factory reload")
    if age(done, now) > _RELOADED_DAYS * _DAY:
        return warn(f"{detail}: older than {_RELOADED_DAYS} days", step)
    return ok(detail)


def judge_rollback(found: Events, now: float) -> Finding:
    """Whether going back was rehearsed."""
    step = "smart-factory rollback scale, then --undo: nobody notices; --dry-run shows the steps"
    done = last(found, "rollback", "complete")
    if done is None:
        return warn("never rehearsed", step)
    detail = f"complete {duration(age(done, now))} ago"
    if age(done, now) > _REHEARSED_DAYS * _DAY:
        return warn(f"{detail}: older than {_REHEARSED_DAYS} days", step)
    return ok(detail)


def _sessions(context: Context) -> Finding:
    if not context.own_application:
        return skip("for the application that the kit carries")
    return _of_ledger(context, judge_sessions)


def _reload(context: Context) -> Finding:
    return _of_ledger(context, judge_reload)


def _rollback(context: Context) -> Finding:
    return _of_ledger(context, judge_rollback)


def _of_ledger(context: Context, judge: Callable[[Events, float], Finding]) -> Finding:
    """A checkout is not asked to rehearse; what its ledger knows is told all the same."""
    found = context.once(past.events)
    finding = judge(found, context.now)
    if context.production or finding.verdict is Verdict.OK:
        return finding
    return skip(f"for production: {finding.detail}")


CHECKS = (
    Check("staging", "checklist", "the live release was tried elsewhere first", _staging),
    Check("load-test", "checklist", "a load test was done, and met its objectives", _load_test),
    Check("sessions", "checklist", "a session holds on every worker", _sessions),
    Check("reload", "checklist", "a reload went through in 30 days", _reload),
    Check("rollback", "checklist", "going back was rehearsed in 90 days", _rollback),
)
