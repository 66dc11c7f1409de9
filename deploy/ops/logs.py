"""`logs`: what the service has written, and what it writes now."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import takewhile
from pathlib import Path

import click

from deploy.ops import completion, systemd
from deploy.ops.directories import Directories
from deploy.ops.errors import OperationError, WrongUseError
from deploy.ops.exit_code import ExitCode
from deploy.ops.installation import ROOT
from deploy.ops.log_lines import (
    LEVELS,
    MASTER,
    Choice,
    Line,
    chosen,
    last_chosen,
    parse,
    to_json,
    to_text,
)
from deploy.ops.log_sources import Journal, LogFile, OutputClosedError, Source
from deploy.ops.terminal import coloured

_FILE = "smart-factory.log"
_LINES = 100
_AGO = re.compile(r"([0-9]{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_WORKER = re.compile(r"(?:worker-)?0*([1-9][0-9]{0,3})")
_UNIT = re.compile(r"(bare|prune|topup|consumer@[A-Za-z0-9_-]+)(\.service)?")


@click.command("logs", short_help="Show what the service writes to its log.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on.")
@click.option(
    "--worker",
    default="",
    metavar="worker-N|N|master",
    shell_complete=completion.workers,
    help="Only this worker's lines, or those that name no worker.",
)
@click.option(
    "--since", default="", metavar="WHEN", help="10m, 2h, 3d, 2026-11-24, '2026-11-24 10:00'."
)
@click.option(
    "-n",
    "number",
    type=click.IntRange(0),
    metavar="N",
    help=f"Only the last N lines (default {_LINES}; with --since all of them).",
)
@click.option("--level", type=click.Choice(list(LEVELS), case_sensitive=False), help="The least.")
@click.option("--grep", default="", metavar="TEXT", help="Only lines with this text, in any case.")
@click.option(
    "--unit",
    default="",
    metavar="UNIT",
    shell_complete=completion.units,
    help="Another unit's journal: bare, prune, topup, consumer@NAME.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, as it was logged.")
def command(
    follow: bool,
    worker: str,
    since: str,
    number: int | None,
    level: str | None,
    grep: str,
    unit: str,
    as_json: bool,
) -> None:
    """Show the log: the journal of smart-factory.service, or LOG_DIRECTORY/smart-factory.log.

    JSON lines are shown in the pretty form, all others as they are. A line that is no log line, as
    one of a traceback, is chosen together with the pretty line before it.

    \b
    Exit code: 0 shown (also when -f ends with Ctrl-C), 1 there is no log to read, 2 wrong usage.
    """
    choice = Choice(worker=_worker(worker), level=level or "", text=grep)
    begin = since_when(since, time.time()) if since else None
    source = _source(Directories.read(os.environ).environ, unit)
    if number is None and begin is None:
        number = _LINES
    try:
        with contextlib.closing(source):
            _print(_lines(source, choice, begin, number, follow=follow), as_json=as_json)
    except (BrokenPipeError, OutputClosedError):
        # Python flushes at its exit, too; there it would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.exit(ExitCode.OK if follow else ExitCode.INTERRUPTED)


def since_when(text: str, now: float) -> float:
    """The Unix time that is meant by `10m` or a local time; raises WrongUseError."""
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return now - int(ago[1]) * _SECONDS[ago[2]]
    moment = datetime.fromtimestamp(now).astimezone()
    try:
        if re.fullmatch(r"\d\d:\d\d(:\d\d)?", text.strip()):  # of today, or yesterday's
            clock = datetime.fromisoformat(f"{moment:%Y-%m-%d} {text.strip()}").astimezone()
            return (clock if clock <= moment else clock - timedelta(days=1)).timestamp()
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError):
        raise WrongUseError(
            f"--since={text!r}: expected 30s, 10m, 2h or 3d ago, or a time as 2026-11-24 10:00",
            "smart-factory logs --help",
        ) from None


def _worker(text: str) -> str:
    found = _WORKER.fullmatch(text)
    if text in ("", MASTER):
        return text
    if found:
        return f"worker-{found[1]}"
    raise WrongUseError(
        f"--worker={text!r}: expected worker-2, 2 or master", "smart-factory logs --help"
    )


def _source(environ: Mapping[str, str], unit: str) -> Source:
    found = _UNIT.fullmatch(unit)
    if unit and not found:
        raise WrongUseError(
            f"--unit={unit!r}: expected bare, prune, topup or consumer@NAME",
            "see what there is with: systemctl list-units 'smart-factory*'",
        )
    name = f"smart-factory-{found[1]}.service" if found else systemd.SERVICE
    if systemd.installed(name):
        return Journal(name)
    path = _directory(environ) / _FILE
    if unit:
        raise OperationError(
            f"systemd does not know {name} here", "for the service's own log: smart-factory logs"
        )
    if not path.exists():
        raise OperationError(
            f"there is no log to read: systemd does not know {name} here, and there is no {path}",
            "name its directory in LOG_DIRECTORY, or start it with: deploy/scripts/start.sh",
        )
    return LogFile(path)


def _directory(environ: Mapping[str, str]) -> Path:
    """Where start.sh has the log written to."""
    installed = (Path(environ.get("SMART_FACTORY_ROOT") or ROOT) / "releases").is_dir()
    default = "/var/log/smart-factory" if installed else "var/log"
    return Path((environ.get("LOG_DIRECTORY") or default).split(":")[0]).absolute()


def _lines(
    source: Source, choice: Choice, since: float | None, number: int | None, *, follow: bool
) -> Iterator[Line]:
    if number is None:
        yield from chosen(_from(source, since, follow=follow), choice)
        return
    there: Iterator[Line] = map(parse, source.newest_first(since))
    if since is not None:
        there = takewhile(lambda line: line.at is None or line.at >= since, there)
    yield from last_chosen(there, choice, number)
    if follow:
        yield from chosen(map(parse, source.oldest_first(None, follow=True)), choice)


def _from(source: Source, since: float | None, *, follow: bool) -> Iterator[Line]:
    """What the source has, without what is older."""
    begun = False
    for line in map(parse, source.oldest_first(since, follow=follow)):
        begun = begun or since is None or (line.at is not None and line.at >= since)
        if begun:
            yield line


def _print(lines: Iterator[Line], *, as_json: bool) -> None:
    colour = coloured(sys.stdout)
    for line in lines:
        # A locale that cannot show a letter is no reason to stop.
        text = to_json(line) if as_json else to_text(line, colour=colour)
        sys.stdout.buffer.write(text.encode(sys.stdout.encoding, "backslashreplace") + b"\n")
        sys.stdout.buffer.flush()
    sys.stdout.flush()
