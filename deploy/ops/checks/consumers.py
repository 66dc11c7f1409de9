"""The consumers of our own application: without them payments are taken, and nothing follows."""

from __future__ import annotations

from deploy.ops.checks import unit_facts
from deploy.ops.checks.check import Check
from deploy.ops.checks.context import Context
from deploy.ops.checks.finding import Finding, ok, skip, together, warn
from deploy.ops.checks.unit_facts import Facts, there
from deploy.ops.consumer_unit import NAMES, PROGRAM, unit_of
from deploy.ops.systemd import BARE, SERVICE

_ADMIN = "allocation"  # asks the admin service


def judge_consumers(found: Facts, *, admin_service: bool) -> Finding:
    """Whether each runs, and comes back after a boot; a masked one is not to run here."""
    here = [name for name in NAMES if _of(found, name, "LoadState") != "masked"]
    if not here:
        return skip("masked: they run elsewhere")
    findings, stopped, disabled = [], [], []
    for name in here:
        state = _of(found, name, "ActiveState")
        if state == "active":
            if not _of(found, name, "UnitFileState").startswith("enabled"):
                disabled.append(name)
        elif name == _ADMIN and not admin_service:
            step = f"set it in the environment file, then systemctl enable --now {unit_of(name)}"
            findings.append(warn(f"{name} does not run: ADMIN_SERVICE_URL is not set", step))
        elif state in ("failed", "activating"):
            code = _of(found, name, "ExecMainStatus")
            detail = f"{name}: {state} ({_of(found, name, 'Result')}, status {code})"
            findings.append(warn(detail, f"journalctl -u {unit_of(name)} -n 50"))
        else:
            stopped.append(name)
    if stopped:
        findings.append(warn(f"not running: {', '.join(stopped)}", _enable(stopped, "--now ")))
    if disabled:
        detail = f"not enabled, so not back after a boot: {', '.join(disabled)}"
        findings.append(warn(detail, _enable(disabled)))
    return together(findings or [ok(f"running: {', '.join(here)}")])


def _of(found: Facts, name: str, what: str) -> str:
    return found.get(unit_of(name), {}).get(what, "")


def _enable(names: list[str], now: str = "") -> str:
    return f"systemctl enable {now}{' '.join(unit_of(name) for name in names)}"


def _consumers(context: Context) -> Finding:
    found = unit_facts.installed(context)
    context.need_environment()
    if not context.own_application:
        return skip("for our own application")
    if not (context.root / "current" / PROGRAM).is_file():
        return skip("the live release has none")
    if not there(found, unit_of(_ADMIN)):
        return skip("their unit is not installed: see `unit-files`")
    if not {"active", "reloading"} & {found.get(u, {}).get("ActiveState") for u in (SERVICE, BARE)}:
        return skip("the service does not run")
    return judge_consumers(found, admin_service=bool(context.value("ADMIN_SERVICE_URL")))


CHECKS = (
    Check("consumers", "units", "what was paid for is worked on: each consumer runs", _consumers),
)
