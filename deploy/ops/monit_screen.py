"""How `monit`'s facts are laid out in so many columns and lines; pure.

Imported when a screen is drawn: rich takes its time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from deploy.ops import history
from deploy.ops.monit_facts import TIMED_PATH, Frame, Latency
from deploy.ops.monit_keys import View
from deploy.ops.status_facts import Status, Worker
from deploy.ops.status_table import remarks
from deploy.ops.terminal import COLOURS, counted, duration, percent, printable, shown, size
from deploy.state.layout import Outcome

BLOCKS, ASCII = "▁▂▃▄▅▆▇█", "_.:-=+*#"
HELP = (
    "monit shows the cluster; it reads shared memory and /proc, and asks no process.",
    f"Latency is that of its own GET {TIMED_PATH}, one a second, over the last minute.",
    "",
    "+  -             one worker more, one less (kept, as by smart-factory scale)",
    "r                reload: asks first",
    "up down j k      select a worker; scroll a page",
    "Enter  d         describe it",
    "e                more events (as smart-factory history)",
    "?  h             this page",
    "q  Esc           back; on the first page: quit",
    "Ctrl-C           quit; an operation that runs goes on",
)
_KEYS = "q quit  ? help  +/- scale  r reload  j/k select  d describe  e events"
_BACK = "q back  j/k scroll"
_EVENTS, _FEW_EVENTS = 8, 3
_ROOMY = 8  # lines from which on a long table leaves some to the events
_CURVE = 30  # columns at most
_LEAST_TOP = 10.0  # or a request a second would look like a flood
# Those that are left out first in a narrow terminal, in this order.
_DISPENSABLE = ("release", "pss", "uptime", "restarts", "rss", "pid")
_BAD = ("refused", "failed", "rolled back", "lost")
_LEFT = ("slot", "state", "release")
_OF = re.compile(r"(\d+) of (\d+)")


def screen(
    frame: Frame,
    view: View | None,
    width: int,
    height: int,
    *,
    blocks: str = BLOCKS,
    news: Text | None = None,
    page: Sequence[Text] = (),
) -> list[Text]:
    """The lines, at most `height`, each at most `width` wide; without a view: the bare facts.

    `news` is what became of an operation, `page` what is known of the selected slot.
    """
    head = [*_header(frame, width, blocks), *_remarks(frame.status, width)]
    foot = [] if view is None else _foot(view, news)
    # On a tiny terminal the table comes before what is said above it.
    head = head[: max(1, height - len(foot) - 3)]
    space = max(0, height - len(head) - len(foot))
    if view is None or view.page == "workers":
        body = _body(frame, view, width, space)
    else:
        body = _page(frame, view, page, space)
    lines = [*head, *body[:space]]
    if view is not None:
        lines += [Text()] * (height - len(lines) - len(foot))
    lines = [*lines, *foot][:height]
    for line in lines:
        line.truncate(width, overflow="ellipsis" if blocks == BLOCKS else "crop")
    return lines


def curve(values: Sequence[float], width: int, blocks: str) -> str:
    """The last values as a curve of so many columns: 0 at the bottom, at least 10 at the top."""
    last = list(values)[-width:] if width > 0 else []
    top = max(_LEAST_TOP, *last) if last else 0.0
    return "".join(blocks[round((len(blocks) - 1) * value / top)] for value in last)


def _header(frame: Frame, width: int, blocks: str) -> Iterator[Text]:
    status, master = frame.status, frame.status.master
    if master is None or status.state == "stopped":
        yield Text(printable(f"smart-factory is {status.detail}"), style=COLOURS["stopped"])
        yield Text("waiting for it to start")
        return
    line = Text()
    line.append(printable(master.app_name), style="bold")
    line.append("  ").append(status.state, style=COLOURS[status.state])
    line.append(
        printable(
            f"  {status.ready}/{master.wanted} ready · {master.mode} · release {master.release}"
            f" · {master.address} · master {master.pid}, up {duration(status.uptime_s)}"
        )
    )
    yield line
    yield _curves(frame, width, blocks)
    yield _latency(frame.latency)


def _curves(frame: Frame, width: int, blocks: str) -> Text:
    rate, cpu = shown(_short(frame.requests_per_s)), percent(frame.cpu_percent)
    words = (f"req/s {rate:>6} ", f"  cpu {cpu:>5} ", f"  busy {frame.busy}")
    # One look makes no curve.
    columns = min(_CURVE, (width - sum(map(len, words))) // 2) if len(frame.cpu_past) > 1 else 0
    line = Text(words[0])
    line.append(curve(frame.requests_past, columns, blocks).rjust(max(columns, 0)), style="green")
    line.append(words[1])
    line.append(curve(frame.cpu_past, columns, blocks).rjust(max(columns, 0)), style="cyan")
    return line.append(words[2])


def _latency(latency: Latency) -> Text:
    line = Text(f"monit's own GET {TIMED_PATH}: ")
    if latency.samples:
        line.append(
            f"p50 {latency.p50_ms:.1f} ms  p95 {latency.p95_ms:.1f} ms"
            f"  ({counted(latency.samples, 'request')})"
        )
    elif not latency.failed:
        line.append("none yet")
    if latency.failed:
        error = f": {latency.error}" if latency.error else ""
        line.append(printable(f"  {latency.failed} failed{error}"), style="red")
    return line


def _remarks(status: Status, width: int) -> Iterator[Text]:
    master = status.master
    if master is None or status.state == "stopped":
        return
    for remark in remarks(status, master):
        running = remark.startswith("reload: running")
        refused = remark.startswith("reload: refused")
        calm = running or remark.startswith("reload: complete")
        line = Text(printable(remark), style="cyan" if running else "" if calm else "yellow")
        if refused:
            line.truncate(width, overflow="ellipsis")
        found = _OF.search(status.reload.phase) if running else None
        if found and status.reload.outcome == Outcome.RUNNING:
            line = Text.assemble(_bar(int(found[1]), int(found[2])), " ", line)
        yield line


def _bar(number: int, total: int) -> tuple[str, str]:
    """How far it is; the one that is named is not done yet."""
    done = 10 * max(0, number - 1) // max(total, 1)
    return f"[{'#' * done}{'-' * (10 - done)}]", "cyan"


def _body(frame: Frame, view: View | None, width: int, space: int) -> list[Text]:
    workers, events = frame.status.workers, frame.events
    rows = min(len(workers), max(1, space - 1))
    if rows < len(workers) and space >= _ROOMY:
        rows -= min(len(events), _FEW_EVENTS) + bool(events)
    lines = _table(workers, view, width, rows) if rows else []
    left = space - len(lines) - 1
    if events and left >= 1:
        lines.append(Text("last events", style="bold"))
        lines += [_event(event) for event in events[-min(_EVENTS, left) :]]
    return lines


def _table(workers: Sequence[Worker], view: View | None, width: int, rows: int) -> list[Text]:
    selected = min(view.selected, len(workers) - 1) if view else -1
    top = min(max(0, selected - rows // 2), len(workers) - rows)
    cells = [_cells(worker) for worker in workers[top : top + rows]]
    columns = {name: max(len(name), *(len(row[name]) for row in cells)) for name in cells[0]}
    for name in _DISPENSABLE:
        if sum(columns.values()) + 2 * (len(columns) - 1) > width:
            del columns[name]
    lines = [Text("  ".join(_aligned(name, name, wide) for name, wide in columns.items()), "bold")]
    for number, (worker, row) in enumerate(zip(workers[top:], cells, strict=False), top):
        line = Text(style="reverse" if number == selected else "")
        for name, wide in columns.items():
            line.append("  " if line else "")
            cell = _aligned(name, row[name], wide)
            line.append(cell, style=COLOURS[worker.state] if name == "state" else "")
        lines.append(line)
    return lines


def _cells(worker: Worker) -> Mapping[str, str]:
    return {
        "slot": worker.worker,
        "pid": shown(worker.pid),
        "state": worker.state,
        "uptime": duration(worker.uptime_s),
        "restarts": str(worker.restarts),
        "req/s": shown(_short(worker.requests_per_s)),
        "busy": str(worker.busy),
        "cpu": percent(worker.cpu_percent),
        "rss": size(worker.rss),
        "pss": size(worker.pss),
        "release": printable(worker.release or "-"),
    }


def _aligned(name: str, cell: str, wide: int) -> str:
    return cell.ljust(wide) if name in _LEFT else cell.rjust(wide)


def _event(event: Mapping[str, Any]) -> Text:
    line = Text(f"{history.when(event)[5:]}  ", style="")
    outcome = printable(str(event.get("outcome") or "-"))
    bad = outcome in _BAD
    line.append(f"{printable(str(event['event']))}  ")
    line.append(outcome, style="red" if bad else "")
    return line.append(f"  {printable(str(event.get('who') or '-'))}  {history.detail(event)}")


def _page(frame: Frame, view: View, page: Sequence[Text], space: int) -> list[Text]:
    lines: Sequence[Text]
    if view.page == "help":
        lines = [Text(line) for line in HELP]
    elif view.page == "events":
        lines = [_event(event) for event in reversed(frame.events)] or [Text("nothing yet")]
    else:
        lines = page
    first = max(0, min(view.scroll, len(lines) - space))
    return list(lines[first : first + space])


def _foot(view: View, news: Text | None) -> list[Text]:
    if view.asking:
        return [Text(f"{view.asking[0]}? y/n", style="bold yellow")]
    keys = Text(_KEYS if view.page == "workers" else _BACK, style="dim")
    return [news, keys] if news else [keys]


def _short(value: float | None) -> str | None:
    if value is None:
        return None
    return f"{value:.1f}" if value < 1000 else f"{value:.0f}"
