"""`doctor`: what is wrong with this machine and this service, and what to do about it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from deploy.ops.errors import WrongUseError
from deploy.ops.exit_code import ExitCode
from deploy.ops.terminal import counted, printable
from deploy.ops.waiting import progress

if TYPE_CHECKING:
    from deploy.ops.checks.check import Check
    from deploy.ops.checks.examination import Examined

_MARKS = {"SKIPPED": "-", "OK": "ok", "WARN": "warn", "FAIL": "FAIL"}
_COLOURS = {"SKIPPED": "bright_black", "OK": "green", "WARN": "yellow", "FAIL": "red"}
_NAME = 20  # columns


@click.command("doctor", short_help="Say what is wrong here, and what to do about it.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as one JSON object.")
@click.option(
    "--only", default="", metavar="NAME,...", help="Only these checks, or groups of them."
)
@click.option("--list", "as_list", is_flag=True, help="Print the checks; look at nothing.")
def command(as_json: bool, only: str, as_list: bool) -> None:
    """Look at machine, units, configuration, database, releases and the production checklist.

    Changes nothing and needs no root; what it cannot see without, it says. Each check has a
    deadline. A `-` is a check that does not apply here.

    \b
    Exit codes: 0 nothing failed (warnings are allowed), 1 a check failed, 2 wrong usage
    """
    chosen = select(only)
    if as_list:
        _print_list(chosen, as_json=as_json)
        return
    examined = _examine(chosen, as_json=as_json)
    failed = sum(each.finding.verdict.name == "FAIL" for each in examined)
    if as_json:
        click.echo(json.dumps(facts(examined), indent=2))
    else:
        click.echo(summary(examined))
    sys.exit(ExitCode.FAILED if failed else ExitCode.OK)


def select(only: str) -> list[Check]:
    """The checks of these names and groups, in their order; raises WrongUseError."""
    from deploy.ops.checks import CHECKS

    words = [word.strip() for word in only.split(",") if word.strip()]
    known = {check.name for check in CHECKS} | {check.group for check in CHECKS}
    for word in words:
        if word not in known:
            raise WrongUseError(
                f"--only {word!r}: expected names or groups of checks",
                "smart-factory doctor --list shows them",
            )
    return [check for check in CHECKS if not words or check.name in words or check.group in words]


def _examine(chosen: Sequence[Check], *, as_json: bool) -> list[Examined]:
    from deploy.ops.checks.context import Context
    from deploy.ops.checks.examination import examine

    context = Context.read(os.environ, now=time.time())
    found = []
    with progress(
        interrupted="interrupted; nothing was changed", next_step="smart-factory doctor --only NAME"
    ) as line:
        for each in examine(chosen, context, waiting=line.show):
            line.clear()
            found.append(each)
            if not as_json:
                _print(each)
    return found


def _print(each: Examined) -> None:
    verdict = each.finding.verdict.name
    mark = _coloured(f"{_MARKS[verdict]:5}", verdict)
    click.echo(f"{mark} {each.check.name:{_NAME}} {printable(each.finding.detail)}")
    if each.finding.next_step and verdict in ("WARN", "FAIL"):
        click.echo(f"      → {printable(each.finding.next_step)}")


def _coloured(text: str, verdict: str) -> str:
    plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty()
    return text if plain else click.style(text, fg=_COLOURS[verdict])


def _print_list(chosen: Sequence[Check], *, as_json: bool) -> None:
    if as_json:
        rows = [{"name": c.name, "group": c.group, "promise": c.promise} for c in chosen]
        click.echo(json.dumps(rows, indent=2))
        return
    for check in chosen:
        click.echo(f"{check.name:{_NAME}} {check.group:14} {check.promise}")


def summary(examined: Sequence[Examined]) -> str:
    """`20 ok, 3 warnings, 1 failed, 8 not looked at`."""
    verdicts = [each.finding.verdict.name for each in examined]
    return (
        f"{verdicts.count('OK')} ok, {counted(verdicts.count('WARN'), 'warning')}, "
        f"{verdicts.count('FAIL')} failed, {verdicts.count('SKIPPED')} do not apply here"
    )


def facts(examined: Sequence[Examined]) -> dict[str, Any]:
    """The findings for a program; `verdict` is ok, warn, fail or skipped, for all the worst."""
    worst = max((each.finding.verdict for each in examined), default=None)
    return {
        "verdict": "skipped" if worst is None else worst.name.lower(),
        "checks": [
            {
                "name": each.check.name,
                "group": each.check.group,
                "verdict": each.finding.verdict.name.lower(),
                "detail": each.finding.detail,
                "next_step": each.finding.next_step or None,
                "seconds": round(each.seconds, 3),
            }
            for each in examined
        ],
    }
