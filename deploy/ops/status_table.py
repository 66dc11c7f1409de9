"""The table that `status` prints for people."""

from __future__ import annotations

from collections.abc import Iterator

import click

from deploy.ops.status_facts import Status
from deploy.ops.terminal import (
    COLOURS,
    console,
    counted,
    duration,
    local_time,
    percent,
    printable,
    shown,
    size,
)
from deploy.state.desired import Desired
from deploy.state.layout import Outcome
from deploy.state.reload_record import Reload
from deploy.state.scoreboard import Master

_COLUMNS = (
    ("slot", False),
    ("pid", True),
    ("state", False),
    ("uptime", True),
    ("restarts", True),
    ("requests", True),
    ("req/s", True),
    ("cpu", True),
    ("rss", True),
    ("pss", True),
    ("release", False),
)


def render(status: Status) -> None:
    """Prints the table for people, in colour on a terminal unless NO_COLOR is set."""
    from rich.markup import escape
    from rich.table import Table

    master = status.master
    if master is None or status.state == "stopped":
        click.echo(f"smart-factory is {status.detail}")
        return
    page = console()
    colour = COLOURS[status.state]
    page.print(
        f"[bold]{escape(master.app_name)}[/bold]  [{colour}]{status.state}[/{colour}]  "
        f"{status.ready}/{master.wanted} ready · {master.mode} · release {escape(master.release)}"
        f" · {escape(master.address)} · master {master.pid}, up {duration(status.uptime_s)}"
    )
    for line in remarks(status, master):
        page.print(printable(line), markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, justify in _COLUMNS:
        table.add_column(heading, justify="right" if justify else "left", no_wrap=True)
    for worker in status.workers:
        colour = COLOURS[worker.state]
        table.add_row(
            worker.worker,
            shown(worker.pid),
            f"[{colour}]{worker.state}[/{colour}]",
            duration(worker.uptime_s),
            str(worker.restarts),
            str(worker.requests),
            shown(worker.requests_per_s),
            percent(worker.cpu_percent),
            size(worker.rss),
            size(worker.pss),
            escape(worker.release or "-"),
        )
    page.print(table)


def remarks(status: Status, master: Master) -> Iterator[str]:
    """What is out of the ordinary, a line each."""
    if status.failing:
        yield f"failing: {status.failing}"
    if status.reload.outcome != Outcome.NONE:
        yield f"reload: {_reload(status.reload)}"
    if isinstance(status.desired, Desired):
        yield f"desired: {_difference(status.desired, master)}"
    elif status.desired:
        yield f"desired: not readable: {status.desired}"


def _reload(reload: Reload) -> str:
    release = reload.release or "not yet known"
    if reload.outcome == Outcome.RUNNING:
        return f"running, {reload.phase or 'begun'} (release {release})"
    if reload.outcome == Outcome.COMPLETE:
        return f"complete at {local_time(reload.ended)} (release {release})"
    return f"refused at {local_time(reload.ended)} (release {release}): {reload.reason}"


def _difference(asked: Desired, master: Master) -> str:
    """`5 workers (by alice), running 3`."""
    other_mode = asked.mode not in (None, master.mode)
    what = [f"{asked.mode} mode"] if other_mode else []
    runs = [master.mode] if other_mode else []
    if isinstance(asked.workers, int) and asked.workers != master.wanted:
        what.append(counted(asked.workers))
        runs.append(str(master.wanted))
    by = f" (by {asked.by})" if asked.by else ""
    return f"{', '.join(what)}{by}, running {', '.join(runs)}"
