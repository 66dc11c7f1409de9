"""Proves that no request is dropped: `python -m loadtests.drops http://127.0.0.1:3000/healthz`.

An open-model client: requests begin at fixed times, whatever became of the earlier ones, and none
is repeated. Run it while the cluster reloads, scales or is hurt; it exits with 0 when nothing was
lost, 1 when something was (or the server's count contradicts the client's), 2 for wrong usage.

From the inside of a test: `with Load("http://127.0.0.1:3000/", rate=200) as load: ...`, then
`load.report`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

if not __package__:  # started as `python loadtests/drops.py`
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import click

from loadtests.load import Connections, Load
from loadtests.outcome import Fault, Kind, Outcome
from loadtests.report import Reconciliation, Report, reconcile, verdict
from loadtests.target import Target, TargetError

__all__ = [
    "Fault",
    "Kind",
    "Load",
    "Outcome",
    "Reconciliation",
    "Report",
    "Target",
    "TargetError",
    "reconcile",
    "verdict",
]

_COUNT_SECONDS = 2.0  # a worker counts a request just after the client has its answer
_POSITIVE = click.FloatRange(min=0, min_open=True)


class UsageError(click.ClickException):
    """Something asked for cannot be done; nothing was sent."""

    exit_code = 2


class CountError(Exception):
    """The count command failed or did not print one integer."""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("target")
@click.option("--path", help="What to ask a unix: target for.  [default: /]")
@click.option("--rate", type=_POSITIVE, default=200, help="Requests per second.")
@click.option("--duration", type=_POSITIVE, default=10, help="Seconds during which they begin.")
@click.option("--timeout", type=_POSITIVE, default=15, help="Seconds granted to each request.")
@click.option(
    "--connections",
    type=click.Choice(["fresh", "keepalive", "both"]),
    default="both",
    help="A connection each, kept ones, or in turn.",
)
@click.option(
    "--idle-limit",
    type=_POSITIVE,
    default=1.5,
    help="Seconds after which a kept connection is closed, not reused; keep it below the server's.",
)
@click.option("--method", type=click.Choice(["GET", "POST"]), default="GET", help="Without a body.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Repeatable.")
@click.option(
    "--count-command",
    metavar="COMMAND",
    help="Shell command that prints how many requests the server has answered; run before and "
    "after, the difference is compared with the client's count.",
)
@click.option("--max-failures", type=click.IntRange(0), default=0, help="Exit with 1 above these.")
@click.option("--expect-failures", is_flag=True, help="Negative control: exit with 1 without any.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
def main(
    target: str,
    path: str | None,
    rate: float,
    duration: float,
    timeout: float,
    connections: Connections,
    idle_limit: float,
    method: str,
    headers: tuple[str, ...],
    count_command: str | None,
    max_failures: int,
    expect_failures: bool,
    as_json: bool,
) -> None:
    """Send requests to TARGET at a fixed rate and tell of each that was dropped.

    TARGET is http://127.0.0.1:PORT/path or unix:/path/to.sock, on this machine only.

    \b
    The server's count, when nobody else asks it anything and no worker is draining:
    --count-command 'python -m deploy status --json --interval 0 | jq "[.slots[].requests_total] | add"'
    """  # noqa: E501  # an example is one line, to be copied
    try:
        load = Load(
            Target.parse(target, path),
            rate=rate,
            connections=connections,
            duration=duration,
            timeout=timeout,
            idle_limit=idle_limit,
            method=method,
            headers=headers,
        )
        before = _count(count_command) if count_command else 0
    except (ValueError, CountError) as error:
        raise UsageError(str(error)) from None

    problem = None
    with load:
        try:
            _watch(load)
        except KeyboardInterrupt:
            problem = f"interrupted after {load.elapsed():.1f} of {duration:g} s"
    report = load.report

    reconciliation = None
    if count_command:
        reached = report.sent - report.failures.get(Fault.REFUSED, 0)
        try:
            served = _settled_count(count_command, before + report.answered) - before
            reconciliation = reconcile(reached, report.answered, served)
        except CountError as error:
            problem = problem or str(error)
    problem = problem or verdict(
        report, reconciliation, max_failures=max_failures, expect_failures=expect_failures
    )
    if as_json:
        served_facts = {"served": reconciliation.served} if reconciliation else {}
        click.echo(json.dumps({**report.facts(), **served_facts, "problem": problem}, indent=2))
    else:
        client = f"client: sent {report.sent}, answered {report.answered}"
        click.echo(str(reconciliation) if reconciliation else client)
        click.echo("\n".join(report.lines()))
        click.echo(f"FAILED: {problem}" if problem else "ok")
    sys.exit(1 if problem else 0)


def _watch(load: Load) -> None:
    """Waits for the end of the run; a terminal is told once a second how it goes."""
    while not load.wait(1.0):
        if sys.stderr.isatty():
            begun, in_flight, failed = load.progress
            line = f"{load.elapsed():4.0f} s: {begun} sent, {in_flight} in flight, {failed} failed"
            click.echo(f"\r{line}\033[K", err=True, nl=False)
    if sys.stderr.isatty():
        click.echo("\r\033[K", err=True, nl=False)


def _settled_count(command: str, expected: int) -> int:
    """The server's count, asked again for a moment while it is still below what was answered."""
    deadline = time.monotonic() + _COUNT_SECONDS
    while True:
        count = _count(command)
        if count >= expected or time.monotonic() > deadline:
            return count
        time.sleep(0.1)


def _count(command: str) -> int:
    """The integer that a command of the operator's prints."""
    try:
        done = subprocess.run(  # noqa: S603  # to run what the operator wrote is its purpose
            ["/bin/sh", "-c", command],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CountError("the count command did not end within 30 s") from None
    try:
        count = int(done.stdout)
    except ValueError:
        count = None
    if done.returncode or count is None:
        said = (done.stdout + done.stderr).strip().partition("\n")[0][:200]
        raise CountError(
            f"the count command must print one integer and exit with 0, "
            f"not {said!r} and {done.returncode}"
        )
    return count


if __name__ == "__main__":
    main()
