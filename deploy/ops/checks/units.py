"""The units: installed, as they were shipped, started, and shut in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from deploy.ops.checks import unit_facts
from deploy.ops.checks.check import Check
from deploy.ops.checks.context import CannotLookError, Context, run
from deploy.ops.checks.finding import Finding, fail, ok, skip, together, warn
from deploy.ops.checks.unit_facts import Facts, there
from deploy.ops.systemd import BARE, SERVICE, SOCKET

_EXPOSURE_MOST = 1.5
_INSTALL = "sudo deploy/scripts/install.sh (run again, it puts the units in place)"
_EVENTS = f"journalctl -u {SERVICE} -n 50"
_AGAIN = f"systemctl reset-failed {SERVICE} {SOCKET}; systemctl start {SERVICE}"


def judge_files(shipped: Mapping[str, bytes], placed: Mapping[str, bytes | None]) -> list[Finding]:
    """Whether each unit in /etc is the live release's; None: it is not there."""
    missing = [name for name in shipped if placed.get(name) is None]
    changed = [n for n, text in shipped.items() if placed.get(n) not in (None, text)]
    findings = []
    if missing:
        needed = [name for name in missing if name in (SERVICE, SOCKET)]
        make = fail if needed else warn
        findings.append(make(f"not installed: {', '.join(missing)}", _INSTALL))
    if changed:
        step = f"{_INSTALL}; for a change of yours: systemctl edit {changed[0]}"
        findings.append(warn(f"differs from the release's: {', '.join(changed)}", step))
    return findings


def judge_states(found: Facts) -> list[Finding]:
    """Whether systemd may run them, as they stand on disk."""
    findings = []
    masked = [
        unit
        for unit, facts in found.items()
        # A machine that is to have no consumers has them masked.
        if facts.get("LoadState") == "masked" and unit not in unit_facts.CONSUMERS
    ]
    if masked:
        make = fail if {SERVICE, SOCKET} & set(masked) else warn
        findings.append(make(f"masked: {', '.join(masked)}", f"systemctl unmask {masked[0]}"))
    broken = [
        unit for unit, facts in found.items() if facts.get("LoadState") in ("error", "bad-setting")
    ]
    if broken:
        step = f"systemd-analyze verify {broken[0]}"
        findings.append(fail(f"cannot be loaded: {', '.join(broken)}", step))
    stale = [unit for unit, facts in found.items() if facts.get("NeedDaemonReload") == "yes"]
    if stale:
        detail = f"changed on disk since they were loaded: {', '.join(stale)}"
        findings.append(warn(detail, "systemctl daemon-reload"))
    return findings


def drop_ins(found: Facts) -> list[str]:
    """The names of the drop-ins that are in force."""
    paths = (path for facts in found.values() for path in facts.get("DropInPaths", "").split())
    return sorted({f"{Path(path).parent.name}/{Path(path).name}" for path in paths})


def _units(context: Context) -> Finding:
    if not context.systemd:
        return skip("this machine is not run by systemd")
    if context.installation is None:
        return skip("for an installation; this is a checkout")
    found = context.once(unit_facts.facts)
    shipped = {name: path.read_bytes() for name, path in unit_facts.sources(context).items()}
    if not shipped:
        raise CannotLookError(f"{context.root}/current/systemd has no units to compare with")
    placed = {name: _content(context.file(f"{unit_facts.DIRECTORY}/{name}")) for name in shipped}
    findings = judge_files(shipped, placed) + judge_states(found)
    extra = drop_ins(found)
    finding = together(findings or [ok(f"{len(shipped)} units as the release brings them")])
    if not extra:
        return finding
    return replace(finding, detail=f"{finding.detail}; drop-ins: {', '.join(extra)}")


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def judge_socket(found: Facts, addresses: list[str]) -> Finding:
    """Whether systemd listens where the environment file says."""
    facts = found.get(SOCKET, {})
    if not there(found, SOCKET):
        return fail("not installed", _INSTALL)
    listens = [line.rpartition(" (")[0] or line for line in facts.get("Listen", "").split("\n")]
    listens = [each for each in listens if each]
    if facts.get("ActiveState") != "active":
        why = f" ({facts['Result']})" if facts.get("Result", "success") != "success" else ""
        detail = f"{facts.get('ActiveState', 'unknown')}{why}: a restart refuses connections"
        failed = facts.get("ActiveState") == "failed"
        return fail(detail, _AGAIN if failed else f"systemctl start {SOCKET}")
    if sorted(listens) != sorted(addresses):
        detail = f"listens at {', '.join(listens)}, the environment says {', '.join(addresses)}"
        step = f"{_INSTALL}, then systemctl restart {SOCKET} {SERVICE}"
        return warn(detail, step)
    if there(found, BARE) and SOCKET not in found[BARE].get("TriggeredBy", "").split():
        return warn(f"{BARE} does not share it: Sockets={SOCKET} is missing there", _INSTALL)
    shared = "; shared with the plain service" if there(found, BARE) else ""
    return ok(f"listens at {', '.join(listens)}{shared}")


def configured(context: Context) -> list[str]:
    """Where the environment says that we listen: BIND, else HOST and PORT, as systemd spells it."""
    host, port = context.value("HOST", "127.0.0.1"), context.value("PORT", "3000")
    default = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    bind = context.value("BIND", default)
    return [address.strip().removeprefix("unix:") for address in bind.split(",")]


def _socket(context: Context) -> Finding:
    found = unit_facts.installed(context)
    context.need_environment()
    return judge_socket(found, configured(context))


def judge_starts(found: Facts) -> Finding:
    """Whether the service runs, and how often it had to be started again."""
    facts = found.get(SERVICE, {})
    active, sub = facts.get("ActiveState", ""), facts.get("SubState", "")
    result = facts.get("Result", "success")
    restarts = int(facts["NRestarts"]) if facts.get("NRestarts", "").isdigit() else 0
    if result == "start-limit-hit":
        step = f"{_EVENTS}; mend it, then {_AGAIN}"
        return fail("systemd has given up: start-limit-hit", step)
    if sub == "auto-restart" or active == "failed":
        step = _EVENTS if active != "failed" else f"{_EVENTS}; mend it, then {_AGAIN}"
        return fail(f"{active} ({sub}, {result}), started again {restarts} ×", step)
    if active == "inactive":
        if found.get(BARE, {}).get("ActiveState") == "active":
            return warn("the plain service serves", "back with: smart-factory rollback bare --undo")
        return warn("not started", f"systemctl start {SERVICE}")
    if restarts:
        return warn(f"{active}; systemd had to start it again {restarts} ×", _EVENTS)
    return ok(f"{active}, never had to be started again")


def _starts(context: Context) -> Finding:
    return judge_starts(unit_facts.installed(context))


def judge_exposure(text: str) -> Finding:
    """What `systemd-analyze security` says in its last line: 0.0 is shut in, 10.0 is open."""
    found = re.search(r"exposure level for \S+: ([0-9.]+)", text)
    if found is None:
        return skip("systemd-analyze says no exposure level")
    level = float(found[1])
    if level > _EXPOSURE_MOST:
        step = f"a drop-in opens it? systemctl cat {SERVICE}; systemd-analyze security {SERVICE}"
        return warn(f"exposure {level}: expected at most {_EXPOSURE_MOST}", step)
    return ok(f"exposure {level} of 10")


def _sandbox(context: Context) -> Finding:
    unit_facts.installed(context)
    ran = run(["systemd-analyze", "security", "--no-pager", SERVICE], seconds=15)
    if ran.code:
        raise CannotLookError(f"systemd-analyze: {ran.said}")
    return judge_exposure(ran.out)


CHECKS = (
    Check("unit-files", "units", "the units are installed, and as the release brings them", _units),
    Check("socket", "units", "systemd listens where the environment says", _socket),
    Check("starts", "units", "the service runs, and was not started again and again", _starts),
    Check("sandbox", "units", "the service is shut in", _sandbox),
)
