"""`doctor`: the production checklist, and what the ledger tells."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deploy.ops.checks.finding import Finding, Verdict
from deploy.ops.checks.past import judge_crashes
from deploy.ops.checks.rehearsed import (
    judge_load_test,
    judge_reload,
    judge_rollback,
    judge_sessions,
    judge_staging,
)
from deploy.ops.checks.steady import (
    Growth,
    judge_alerts,
    judge_balance,
    judge_boot,
    judge_desired,
    judge_growth,
)
from deploy.ops.status_facts import Status
from deploy.ops.systemd import BARE, SERVICE, SOCKET
from deploy.state import desired, ledger
from deploy.state.desired import Desired
from tests.deploy.examined import FAIL, ID, OK, SKIPPED, WARN, finding, machine, release, write

NOW = 1_800_000_000.0
DAY = 86400.0


def event(name: str, days: float, outcome: str = "", **facts: Any) -> dict[str, Any]:
    at = datetime.fromtimestamp(NOW - days * DAY, UTC).isoformat().replace("+00:00", "Z")
    return {"at": at, "event": name, "outcome": outcome, **facts}


def crash(minutes: float) -> dict[str, Any]:
    return event("crash", minutes / 1440, why="signal SIGKILL", worker="worker-2")


@pytest.mark.parametrize(
    ("events", "verdict", "said"),
    [
        ([], OK, "no worker has died"),
        ([event("reload", 0)], OK, "no worker has died"),
        ([crash(3 * 1440)], OK, "the last worker died 3d 0h ago"),
        ([crash(90)], WARN, "1 in 24 hours; the last 1h 30m ago, worker-2 (signal SIGKILL)"),
        ([crash(m) for m in (9, 7, 5, 3, 1)], FAIL, "a crash loop: 5 in 10m 0s"),
        ([crash(m) for m in (99, 77, 55, 33, 11)], WARN, "5 in 24 hours"),
    ],
)
def test_crashes(events: list[Mapping[str, Any]], verdict: Verdict, said: str) -> None:
    found = judge_crashes(events, NOW)
    assert (found.verdict, said in found.detail) == (verdict, True), found


def test_a_line_of_the_ledger_without_a_time_is_left_out(tmp_path: Path) -> None:
    lines = '{"event": "crash", "at": "torn"}\n{"event": "crash", "at": "2026-11-24"}\n'
    write(tmp_path / "state" / ledger.FILE, lines)
    assert finding("crashes", machine(tmp_path)).detail == "no worker has died"
    ledger.append(
        tmp_path / "state", "crash", who="worker", why="signal SIGSEGV", worker="worker-1"
    )
    assert "1 in 24 hours" in finding("crashes", machine(tmp_path)).detail


def session(days: float, held: bool | None) -> dict[str, Any]:
    checks = [{"name": "processes", "ok": True}, {"name": "session", "ok": held, "detail": "held"}]
    return event("validate", days, "complete", checks=checks)


@pytest.mark.parametrize(
    ("judge", "events", "verdict"),
    [
        (judge_sessions, [], WARN),
        (judge_sessions, [session(1, True)], OK),
        (judge_sessions, [session(8, True)], WARN),
        (judge_sessions, [session(3, True), session(1, False)], FAIL),
        (judge_sessions, [session(3, False), session(1, True)], OK),
        (judge_sessions, [session(3, True), session(1, None)], OK),  # not asked for: no news
        (judge_sessions, [event("validate", 1, checks="torn")], WARN),
        (judge_reload, [], WARN),
        (judge_reload, [event("reload", 29, "complete")], OK),
        (judge_reload, [event("reload", 31, "complete")], WARN),
        (judge_reload, [event("reload", 2, "complete"), event("reload", 1, "refused")], WARN),
        (judge_reload, [event("reload", 2, "refused"), event("reload", 1, "complete")], OK),
        (judge_rollback, [], WARN),
        (judge_rollback, [event("rollback", 89, "complete")], OK),
        (judge_rollback, [event("rollback", 91, "complete")], WARN),
        (judge_rollback, [event("rollback", 1, "rolled back")], WARN),
    ],
)
def test_what_the_ledger_tells(
    judge: Callable[[Any, float], Finding], events: list[Any], verdict: Verdict
) -> None:
    assert judge(events, NOW).verdict is verdict


def test_an_installation_that_never_rehearsed_is_warned_a_checkout_is_not(tmp_path: Path) -> None:
    for name in ("reload", "rollback", "sessions"):
        found = finding(name, machine(tmp_path))
        assert (found.verdict, found.detail.partition(":")[0]) == (SKIPPED, "for production")
        production = machine(tmp_path, {"APP_ENV": "production"})
        assert finding(name, production).verdict is WARN
    ledger.append(tmp_path / "state", "reload", who="ada", outcome="complete")
    assert finding("reload", machine(tmp_path)).verdict is OK


@pytest.mark.parametrize(
    ("live", "staged", "verdict"),
    [
        (ID, "", SKIPPED),
        (ID, "abcdef0", OK),
        (ID, "1234567, abcdef0123456789", OK),
        (ID, "1234567", WARN),
        ("", "abcdef0", WARN),
    ],
)
def test_staging(live: str, staged: str, verdict: Verdict) -> None:
    assert judge_staging(live, staged).verdict is verdict


@pytest.mark.parametrize(
    ("days", "met", "production", "verdict"),
    [
        (None, None, True, WARN),
        (None, None, False, SKIPPED),
        (89, True, True, OK),
        (89, None, True, OK),
        (91, True, True, WARN),
        (1, False, True, WARN),
    ],
)
def test_load_test(
    days: float | None, met: bool | None, production: bool, verdict: Verdict
) -> None:
    assert judge_load_test("report.html", days, met, production=production).verdict is verdict


@pytest.mark.parametrize(("outcome", "verdict"), [("met", OK), ("missed", WARN)])
def test_the_newest_report_of_a_load_test_counts(
    tmp_path: Path, outcome: str, verdict: Verdict
) -> None:
    context = machine(tmp_path, {"APP_ENV": "production"}, tree=tmp_path / "tree")
    assert finding("load-test", context).detail == "no report"
    old = write(tmp_path / "state/loadtest/old.json", "{}")
    os.utime(old, (time.time() - 100 * DAY,) * 2)
    assert finding("load-test", context).verdict is WARN
    page = f'<p id="verdict" class="verdict {outcome}">'
    write(tmp_path / "tree/var/loadtest/report.html", page)
    found = finding("load-test", context)
    assert (found.verdict, "report.html, 0 days old" in found.detail) == (verdict, True)


@pytest.mark.parametrize(
    ("workers", "verdict"),
    [
        ([("worker-1", 600, 100.0), ("worker-2", 500, 100.0)], OK),
        ([("worker-1", 900, 100.0), ("worker-2", 400, 100.0)], WARN),
        ([("worker-1", 9000, 900.0), ("worker-2", 1000, 100.0)], OK),  # the younger one
        ([("worker-1", 9000, 900.0), ("worker-2", 0, 5.0)], SKIPPED),
        ([("worker-1", 300, 100.0), ("worker-2", 3, 100.0)], SKIPPED),
        ([("worker-1", 9000, 100.0)], SKIPPED),
        ([("worker-1", 9000, 100.0), ("worker-2", 0, 100.0)], WARN),
    ],
)
def test_balance(workers: list[tuple[str, int, float]], verdict: Verdict) -> None:
    assert judge_balance(workers).verdict is verdict


def growth(mebibytes: int, hours: float) -> Growth:
    return Growth(worker="worker-1", gained=mebibytes << 20, uptime=hours * 3600, rss=100 << 20)


@pytest.mark.parametrize(
    ("grown", "limit", "worker_max", "verdict", "said"),
    [
        ([growth(100, 0.5)], 1 << 30, 0, SKIPPED, "1h 0m"),
        ([growth(10, 24)], 4 << 30, 0, OK, "gained 10.0M in 1d 0h; no WORKER_MAX_RSS"),
        ([growth(10, 1)], 1 << 30, 0, WARN, "the memory is full in 3d 20h"),
        ([growth(10, 1)], 1 << 30, 256 << 20, OK, "replaced at WORKER_MAX_RSS=256.0M"),
        ([growth(-5, 24)], 1 << 30, 0, OK, "gained 0.0M"),
        ([growth(10, 1)], 50 << 20, 0, WARN, "full in 0s"),
    ],
)
def test_memory_trend(
    grown: list[Growth], limit: int, worker_max: int, verdict: Verdict, said: str
) -> None:
    found = judge_growth(grown, limit=limit, worker_max=worker_max)
    assert (found.verdict, said in found.detail) == (verdict, True), found


def test_what_serves_now_is_enabled() -> None:
    facts = {
        SERVICE: {"UnitFileState": "enabled", "ActiveState": "active"},
        SOCKET: {"UnitFileState": "enabled"},
        BARE: {"UnitFileState": "disabled", "ActiveState": "inactive"},
    }
    assert judge_boot(facts) == []
    (off,) = judge_boot({**facts, SERVICE: {"UnitFileState": "disabled"}})
    assert (off.verdict, off.next_step) == (WARN, f"systemctl enable {SERVICE}")
    (bare,) = judge_boot({**facts, BARE: {"UnitFileState": "disabled", "ActiveState": "active"}})
    assert bare.next_step == f"systemctl enable {BARE}"


def test_what_is_kept_is_what_runs() -> None:
    running = Status(state="ready", detail="", master=None, uptime_s=1, ready=1, workers=[])
    assert judge_desired(Desired(), running) == []
    (damaged,) = judge_desired("desired.json: damaged", running)
    assert damaged.verdict is FAIL
    differs = Status(**{**vars(running), "desired": Desired(workers=4)})
    (other,) = judge_desired(Desired(workers=4), differs)
    assert other.verdict is WARN


def test_what_is_kept_is_told_and_a_damaged_file_fails(tmp_path: Path) -> None:
    desired.write(tmp_path / "state", Desired(mode="fork", workers=4, by="ada", at=1.0))
    assert finding("boot", machine(tmp_path)).detail == (
        "kept: fork, 4 workers; a checkout is not started at boot"
    )
    release(tmp_path, ID)
    assert finding("boot", machine(tmp_path)).verdict is WARN
    write(tmp_path / "state" / desired.FILE, "{")
    assert finding("boot", machine(tmp_path)).verdict is FAIL


@pytest.mark.parametrize(
    ("facts", "version", "verdict"),
    [
        ({"OnFailure": "mail@x.service", "StartLimitIntervalUSec": "0"}, 257, OK),
        ({"OnFailure": "mail@x.service", "StartLimitIntervalUSec": "0"}, 252, WARN),
        ({"OnFailure": "mail@x.service", "StartLimitIntervalUSec": "10s"}, 252, OK),
        ({"OnFailure": "", "ExecStopPost": "{ path=/bin/tell }"}, 252, OK),
        ({"OnFailure": ""}, 257, WARN),
    ],
)
def test_alerts(facts: Mapping[str, str], version: int, verdict: Verdict) -> None:
    assert judge_alerts({SERVICE: facts}, version).verdict is verdict
