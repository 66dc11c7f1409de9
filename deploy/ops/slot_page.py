"""The page that `describe` prints for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from deploy.ops.slot_facts import Occupant, Slot
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

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def render(slot: Slot, page: Console | None = None) -> None:
    """Prints the page, in colour on a terminal unless NO_COLOR is set."""
    page = page or console()
    colour = COLOURS[slot.state]
    page.print(
        f"[bold]{slot.worker}[/bold]  [{colour}]{slot.state}[/{colour}]  "
        f"{counted(slot.restarts, 'restart')} · {counted(slot.requests_total, 'request')}, "
        f"{slot.requests_before} of them by former workers"
    )
    for worker in slot.workers:
        page.print()
        page.print(_table((), _facts(worker)))
    if slot.exits:
        page.print("\n[bold]last exits[/bold]")
        rows = [(local_time(exit_.at), str(exit_.pid), exit_.reason) for exit_ in slot.exits]
        page.print(_table(("when", "pid", "reason"), rows))
    if slot.failed_boot:
        page.print(f"\n[bold]last failed boot[/bold], {local_time(slot.failed_boot.at)}")
        page.print(slot.failed_boot.traceback.rstrip("\n"), markup=False, soft_wrap=True)


def _facts(worker: Occupant) -> Iterable[tuple[str, str]]:
    after = worker.ready_after_ms
    yield "pid", shown(worker.pid)
    yield "state", worker.state
    yield "generation", str(worker.generation)
    yield "release", worker.release or "-"
    yield "uptime", f"{duration(worker.uptime_s)}, since {local_time(worker.started)}"
    yield "ready after", "-" if after is None else f"{after:.0f} ms"
    yield "requests", f"{worker.requests} answered, {worker.busy} in flight"
    if worker.overdue_s is not None:
        yield "overdue", f"a request has been running for {duration(worker.overdue_s)}"
    age = worker.heartbeat_age_s
    yield "heartbeat", "none yet" if age is None else f"{age:.1f} s ago"
    yield "cpu", percent(worker.cpu_percent)
    yield "memory", f"{size(worker.rss)} rss, {size(worker.pss)} pss"
    yield "threads", shown(worker.threads)
    yield "open files", shown(worker.open_files)


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", show_header=bool(headings))
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table
