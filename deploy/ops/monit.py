"""`monit`: the cluster on a live screen."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import click

from deploy.ops.directories import Directories
from deploy.ops.errors import WrongUseError
from deploy.ops.exit_code import ExitCode
from deploy.ops.terminal import console

if TYPE_CHECKING:
    from deploy.ops.monit_facts import Frame

_LINES_OF_ONE_FRAME = 10_000  # a pipe has no edge


@click.command("monit", short_help="Watch the cluster on a live screen.")
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 60),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="From one look to the next.",
)
@click.option(
    "--once", is_flag=True, help="Print one screen as plain text, measured over interval."
)
@click.option("--json", "as_json", is_flag=True, help="Print what status --json has, and latency.")
def command(interval: float, once: bool, as_json: bool) -> None:
    """Watch the cluster: workers, requests, CPU, memory, latency, events; and steer it.

    Keys: + - scale by one, r reload (asks first), j k or arrows select, d describe, e events,
    ? help, q quit. It waits for a cluster that does not run.

    \b
    Exit code: 0 quit; 2 there is no terminal to draw on; with --once or --json as status:
    0 ready, 3 not running or not whole.
    """
    directories = Directories.read(os.environ)
    if once or as_json:
        sys.exit(_print(directories, interval, as_json=as_json))
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or _dumb():
        raise WrongUseError(
            f"monit needs a terminal to draw on (TERM={os.environ.get('TERM', '')!r})",
            "for one screen as plain text: smart-factory monit --once",
        )
    from deploy.ops import monit_live

    left = monit_live.run(directories, interval)
    if left.operation:
        click.echo(f"{left.operation} goes on; its outcome is in: smart-factory history")
    if left.ended_by not in (0, signal.SIGINT):
        # Ended by the signal, as who has sent it expects.
        signal.signal(left.ended_by, signal.SIG_DFL)
        os.kill(os.getpid(), left.ended_by)


def _print(directories: Directories, interval: float, *, as_json: bool) -> ExitCode:
    from deploy.ops import monit_facts

    frame = monit_facts.once(directories, interval)
    if as_json:
        click.echo(monit_facts.to_json(frame))
    else:
        _draw(frame)
    return ExitCode.OK if frame.status.state == "ready" else ExitCode.DEGRADED


def _draw(frame: Frame) -> None:
    from deploy.ops import monit_screen

    page = console()
    for line in monit_screen.screen(frame, None, page.width, _LINES_OF_ONE_FRAME):
        page.print(line, soft_wrap=True)


def _dumb() -> bool:
    return os.environ.get("TERM", "") in ("", "dumb", "unknown")
