"""What PM2 has left behind: it would start the former service again, at our address."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

from deploy.ops.checks.check import Check
from deploy.ops.checks.context import Context
from deploy.ops.checks.finding import Finding, ok, together, warn

_GOD = re.compile(r"PM2 v\S+: God Daemon")
_CRON_LINE = re.compile(r"^[^#\n]*\bpm2\b", re.MULTILINE)
_NO_LOGIN = ("nologin", "false", "sync")


def judge_pm2(
    daemons: Sequence[str], units: Sequence[str], crontabs: Sequence[str], homes: Sequence[str]
) -> Finding:
    """Whether anything of PM2 is there, the living before the dead."""
    findings = []
    if daemons:
        step = "when it serves nothing any more, as its user: pm2 delete all; pm2 kill"
        findings.append(warn(f"runs: {', '.join(daemons)}", step))
    if units:
        step = f"systemctl disable --now {units[0]} (pm2 unstartup), then remove the file"
        findings.append(warn(f"starts at boot: {', '.join(units)}", step))
    if crontabs:
        findings.append(warn(f"in a crontab: {', '.join(crontabs)}", "crontab -e, as its user"))
    if homes:
        step = "keep dump.pm2 until the new service is trusted, then remove the folder"
        findings.append(warn(f"left behind: {', '.join(homes)}", step))
    return together(findings or [ok("nothing of it")])


def _pm2(context: Context) -> Finding:
    units = [p.name for p in context.file("/etc/systemd/system").glob("pm2*.service")]
    return judge_pm2(_daemons(), sorted(units), _crontabs(context), _homes(context))


def _daemons() -> list[str]:
    import psutil

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            title = " ".join(process.cmdline())
            if _GOD.match(title):
                found.append(f"pid {process.pid} ({title.strip()[:60]})")
    return found


def _crontabs(context: Context) -> list[str]:
    """Those that may be read: other users' need root."""
    places = [context.file("/etc/crontab")]
    for directory in ("/etc/cron.d", "/var/spool/cron/crontabs", "/var/spool/cron"):
        with contextlib.suppress(OSError):
            places += sorted(context.file(directory).iterdir())
    found = []
    for path in places:
        with contextlib.suppress(OSError):
            if path.is_file() and _CRON_LINE.search(path.read_text(errors="replace")):
                found.append(str(path))
    return found


def _homes(context: Context) -> list[str]:
    """The `.pm2` folders of those who log in, as far as their homes may be entered."""
    try:
        lines = context.file("/etc/passwd").read_text(errors="replace").splitlines()
    except OSError:
        return []
    found: dict[Path, str] = {}
    for fields in (line.split(":") for line in lines):
        if len(fields) < 7 or fields[6].rpartition("/")[2] in _NO_LOGIN:
            continue
        folder = context.file(f"{fields[5]}/.pm2")
        with contextlib.suppress(OSError):
            if folder.is_dir():
                found[folder] = f"{fields[5]}/.pm2"
    return list(found.values())


CHECKS = (Check("pm2", "history", "nothing of PM2 is left", _pm2),)
