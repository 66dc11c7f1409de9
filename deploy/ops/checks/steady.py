"""The checklist's part that the running service answers: balance, memory, boot, alerts."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.ops.checks import unit_facts
from deploy.ops.checks.check import Check
from deploy.ops.checks.context import Context, cluster
from deploy.ops.checks.finding import Finding, fail, ok, skip, together, warn
from deploy.ops.checks.resources import limit_in_force, worker_max_rss
from deploy.ops.checks.unit_facts import Facts
from deploy.ops.status_facts import Status
from deploy.ops.systemd import BARE, SERVICE, SOCKET
from deploy.ops.terminal import duration, size
from deploy.state import desired
from deploy.state.desired import Desired, DesiredError

_REQUESTS_LEAST = 1000
_SHARE_LEAST = 0.5
_UPTIME_LEAST = 60.0  # of a worker whose requests a second mean something
_TREND_LEAST = 3600.0  # caches fill in the first hour
_SOON = 7 * 86400.0
_FAILS_EACH_TIME = 254  # systemd's version


def judge_balance(workers: Sequence[tuple[str, int, float]]) -> Finding:
    """Whether the requests spread over the workers: name, requests, seconds since its start.

    By requests a second of each one's life, as they are not of the same age.
    """
    grown = [each for each in workers if each[2] >= _UPTIME_LEAST]
    total = sum(requests for _, requests, _ in grown)
    if len(grown) < 2:
        return skip(f"needs two workers that have been up for {duration(_UPTIME_LEAST)}")
    if total < _REQUESTS_LEAST:
        return skip(f"{total} requests so far: {_REQUESTS_LEAST} tell")
    rates = sorted((requests / uptime, name) for name, requests, uptime in grown)
    (least, lazy), (most, eager) = rates[0], rates[-1]
    share = least / most
    detail = f"{lazy} answers {least:.1f} a second, {eager} {most:.1f} ({share:.2f} of it)"
    if share < _SHARE_LEAST:
        step = f"smart-factory describe {lazy}; long-lived connections stay where they began"
        return warn(f"{detail}: expected at least {_SHARE_LEAST}", step)
    return ok(f"{total} requests; {detail}")


def _balance(context: Context) -> Finding:
    status = context.once(cluster)
    if status.state == "stopped":
        return skip("the service does not run")
    ready = [worker for worker in status.workers if worker.state == "ready"]
    return judge_balance([(each.worker, each.requests, each.uptime_s or 0.0) for each in ready])


@dataclass(frozen=True, kw_only=True)
class Growth:
    """One worker: what it has gained since it was forked from its mold, in bytes."""

    worker: str
    gained: int
    uptime: float  # seconds
    rss: int


def judge_growth(grown: Sequence[Growth], *, limit: int, worker_max: int) -> Finding:
    """Whether the memory runs out, if each worker goes on to grow as it did since its fork.

    An estimate: a straight line through two points, the mold's size now and the worker's.
    """
    old = [each for each in grown if each.uptime >= _TREND_LEAST]
    if not old:
        return skip(f"tells when workers have been up for {duration(_TREND_LEAST)}")
    fastest = max(old, key=lambda each: each.gained / each.uptime)
    rate = max(0.0, fastest.gained / fastest.uptime)
    detail = f"{fastest.worker} gained {size(max(0, fastest.gained))} in {duration(fastest.uptime)}"
    if worker_max:
        return ok(f"{detail}; replaced at WORKER_MAX_RSS={size(worker_max)}")
    total = rate * len(grown)
    left = (limit - sum(each.rss for each in grown)) / total if total else float("inf")
    if left < _SOON:
        soon = f"{detail}: at this pace the memory is full in {duration(max(0.0, left))}"
        step = (
            "WORKER_MAX_RSS=512M replaces a worker that grows, successor first; then find the leak"
        )
        return warn(soon, step)
    return ok(f"{detail}; no WORKER_MAX_RSS")


def _growth(context: Context) -> Finding:
    import psutil

    status = context.once(cluster)
    if status.state == "stopped" or status.master is None:
        return skip("the service does not run")
    molds = _molds(status.master.pid)
    if not molds:
        return skip("no mold to compare the workers with (CLUSTER_PRELOAD=fresh), or needs root")
    base = max(molds)
    grown = [
        Growth(
            worker=each.worker, gained=each.rss - base, uptime=each.uptime_s or 0.0, rss=each.rss
        )
        for each in status.workers
        if each.state == "ready" and each.rss is not None
    ]
    limit = limit_in_force(context, psutil.virtual_memory().total)
    return judge_growth(grown, limit=limit, worker_max=worker_max_rss(context))


def _molds(master: int) -> list[int]:
    """The resident sizes of the processes that the workers were forked from."""
    import psutil

    found = []
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(master).children():
            with contextlib.suppress(psutil.Error):
                if " ".join(child.cmdline()).startswith("gunicorn: mold"):
                    found.append(child.memory_info().rss)
    return found


def judge_boot(found: Facts) -> list[Finding]:
    """Whether the machine comes back with what serves now."""
    bare = found.get(BARE, {}).get("ActiveState") == "active"
    needed = [BARE if bare else SERVICE, SOCKET]
    missing = [
        unit
        for unit in needed
        if not found.get(unit, {}).get("UnitFileState", "").startswith("enabled")
    ]
    if not missing:
        return []
    words = " ".join(missing)
    return [warn(f"not enabled, so not back after a boot: {words}", f"systemctl enable {words}")]


def judge_desired(kept: Desired | str, status: Status) -> list[Finding]:
    """Whether mode and number of workers are kept as they run; a text: why they are not known."""
    if isinstance(kept, str):
        return [fail(kept, "smart-factory scale --reset forgets it")]
    if status.desired is not None:
        return [warn("what runs differs from what is kept", "smart-factory status shows both")]
    return []


def _boot(context: Context) -> Finding:
    try:
        kept: Desired | str = desired.read(context.directories.state)
    except DesiredError as error:
        kept = str(error)
    findings = judge_desired(kept, context.once(cluster))
    if isinstance(kept, Desired) and (kept.mode or kept.workers):
        said = f"kept: {kept.mode or 'mode of the environment'}, {kept.workers or 'its'} workers"
    else:
        said = "mode and workers are the environment's"
    if context.installation is None:
        return together(findings or [skip(f"{said}; a checkout is not started at boot")])
    if not context.systemd:
        step = "have deploy/scripts/start.sh run at boot (docs/without-systemd.md)"
        return together([*findings, warn(f"{said}; nothing of systemd starts it at boot", step)])
    findings += judge_boot(unit_facts.installed(context))
    return together(findings or [ok(f"enabled; {said}")])


def judge_alerts(found: Facts, version: int) -> Finding:
    """Whether anybody hears of a failure.

    Before 254 a unit that is started again never counts as failed until systemd gives it up.
    """
    facts = found.get(SERVICE, {})
    told, post = facts.get("OnFailure", "").split(), facts.get("ExecStopPost", "")
    if post:
        return ok("ExecStopPost= is told of each end")
    if not told:
        step = f"systemctl edit {SERVICE}: [Unit] OnFailure=your-alert@%N.service (docs/doctor.md)"
        return warn("no OnFailure=: nobody is told when it fails", step)
    if version < _FAILS_EACH_TIME and facts.get("StartLimitIntervalUSec") == "0":
        detail = f"OnFailure={' '.join(told)}: systemd {version} never gives up, so it tells nobody"
        return warn(detail, "ExecStopPost= in the drop-in instead (docs/doctor.md)")
    return ok(f"OnFailure={' '.join(told)}")


def _alerts(context: Context) -> Finding:
    return judge_alerts(unit_facts.installed(context), context.once(unit_facts.version))


CHECKS = (
    Check("balance", "checklist", "the requests spread over the workers", _balance),
    Check("memory-trend", "checklist", "the workers do not grow for ever", _growth),
    Check("boot", "checklist", "a boot brings back what serves now", _boot),
    Check("alerts", "checklist", "somebody is told when it fails", _alerts),
)
