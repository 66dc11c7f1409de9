"""`validate`: whether the service does what it should, now."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from dataclasses import asdict

import click

from deploy.ops import check, options
from deploy.ops.change import Expected
from deploy.ops.directories import Directories
from deploy.ops.exit_code import ExitCode
from deploy.ops.service import Service
from deploy.ops.validation import validate
from deploy.ops.witness import Witness
from deploy.state import desired, ledger, request
from deploy.state.desired import DesiredError


@click.command("validate", short_help="Check that every worker serves as it should.")
@options.why
@click.option("--json", "as_json", is_flag=True, help="Print the checks as one JSON object.")
def command(why: str, as_json: bool) -> None:
    """Check the processes, every worker's answers, a session across them, errors, CPU.

    It opens a session of its own, and takes its value out again. `-` marks what cannot be asked
    here; it counts neither way. Every operation validates by itself.

    \b
    Exit code: 0 nothing failed, 1 something did, 3 not running.
    """
    directories = Directories.read(os.environ)
    began = time.monotonic()
    service = Service.find(directories)
    witness = Witness.open(service)
    say = (lambda _: None) if as_json else click.echo
    try:
        checks = validate(service, witness, _expected(service), say=say, alone=True)
    finally:
        if witness.session:
            witness.session.close(service.endpoint)
    reason = check.reason(checks)
    outcome = "failed" if reason else "complete"
    facts = {
        "reason": reason,
        "checks": [asdict(each) for each in checks],
        "seconds": round(time.monotonic() - began, 3),
    }
    with contextlib.suppress(OSError):  # whoever may only look has validated all the same
        who = request.who()
        ledger.append(directories.state, "validate", who=who, why=why, outcome=outcome, **facts)
    if as_json:
        click.echo(json.dumps({"name": "validate", "outcome": outcome, **facts}, indent=2))
    sys.exit(ExitCode.FAILED if reason else ExitCode.OK)


def _expected(service: Service) -> Expected:
    """What an operator asked for last, where they did."""
    if service.plain:
        return Expected(plain=True)
    try:
        asked = desired.read(service.directories.state)
    except DesiredError:  # the master ignores it, and status says so
        return Expected()
    number = asked.workers if asked.mode != "fork" and isinstance(asked.workers, int) else None
    now = service.expected()
    return Expected(workers=number if now.mode == "cluster" else None, mode=asked.mode)
