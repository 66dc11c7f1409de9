"""`monit`'s layout: what stands where, on terminals of every size."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from rich.text import Text

from deploy.ops.monit_facts import Frame, Latency
from deploy.ops.monit_keys import View
from deploy.ops.monit_screen import ASCII, BLOCKS, curve, screen
from deploy.ops.status_facts import Status, Worker
from deploy.state.layout import Outcome
from deploy.state.reload_record import NEVER
from deploy.state.scoreboard import Master

MASTER = Master(
    pid=4711,
    start_ticks=1,
    started=1e9,
    mode="cluster",
    wanted=3,
    generation=1,
    release="aaa111",
    app_name="Smart\033 Factory",
    address="127.0.0.1:3000",
)
EVENTS = [
    {"at": f"2026-11-24T10:00:{n:02}Z", "event": "scale", "outcome": "complete", "who": f"bob{n}"}
    for n in range(20)
]


def worker(slot: int, **facts: Any) -> Worker:
    first: dict[str, Any] = {
        "worker": f"worker-{slot}",
        "slot": slot,
        "state": "ready",
        "pid": 100 + slot,
        "generation": 1,
        "release": "aaa111",
        "uptime_s": 100.0,
        "ready_after_ms": 5.0,
        "restarts": 0,
        "requests": 9,
        "requests_total": 9,
        "requests_per_s": 2.5,
        "busy": 1,
        "cpu_percent": 10.0,
        "rss": 1 << 26,
        "pss": 1 << 25,
        "last_exit": None,
    }
    return Worker(**(first | facts))


def frame(workers: int = 3, **facts: Any) -> Frame:
    status = Status(
        state="ready",
        detail="",
        master=replace(MASTER, wanted=workers),
        uptime_s=125.0,
        ready=workers,
        workers=[worker(slot) for slot in range(1, workers + 1)],
    )
    return Frame(
        status=replace(status, **facts.pop("status", {})),
        latency=facts.pop("latency", Latency(samples=60, p50_ms=1.25, p95_ms=4.0)),
        requests_per_s=7.5,
        cpu_percent=30.0,
        requests_past=[0.0, 50.0, 100.0],
        cpu_past=[1.0, 2.0, 3.0],
        events=facts.pop("events", EVENTS),
    )


def plain(lines: list[Text]) -> list[str]:
    return [line.plain.rstrip() for line in lines]


def test_everything_is_on_a_roomy_screen() -> None:
    lines = plain(screen(frame(), View(), 110, 30))
    assert len(lines) == 30
    assert lines[0] == (
        "Smart  Factory  ready  3/3 ready · cluster · release aaa111 · 127.0.0.1:3000"
        " · master 4711, up 2m 5s"
    )
    assert "▁▅█" in lines[1]
    assert lines[1].endswith("busy 3")
    assert lines[2] == "monit's own GET /health: p50 1.2 ms  p95 4.0 ms  (60 requests)"
    columns = "slot pid state uptime restarts req/s busy cpu rss pss release"
    assert lines[3].split() == columns.split()
    row = "worker-2 102 ready 1m 40s 0 2.5 1 10% 64.0M 32.0M aaa111"
    assert lines[5].split() == row.split()
    assert [line.split()[-1] for line in lines[8:16]] == [f"bob{n}" for n in range(12, 20)]
    assert lines[-1].startswith("q quit")


@pytest.mark.parametrize("page", ["workers", "help", "events", "slot"])
@pytest.mark.parametrize("workers", [0, 1, 40])
def test_it_fits_into_any_terminal(page: Any, workers: int) -> None:
    running = replace(NEVER, outcome=Outcome.RUNNING, phase="worker-2 of 4", number=1)
    facts = frame(workers, status={"reload": running, "failing": "a check " * 20})
    views = (View(page=page), View(page=page, asking=("reload",)), None)
    for width, height, view in product((1, 5, 20, 60, 200), (1, 2, 3, 5, 8, 15, 50), views):
        lines = screen(facts, view, width, height, news=Text("done " * 50), page=[Text("x")] * 60)
        assert len(lines) <= height
        assert all(line.cell_len <= width for line in lines)


def test_a_small_terminal_keeps_what_matters() -> None:
    lines = plain(screen(frame(), View(), 60, 15))
    assert len(lines) == 15
    heading = lines[3].split()
    assert {"slot", "state", "req/s", "busy", "cpu"} <= set(heading)
    assert "release" not in heading
    assert [line.split()[0] for line in lines[4:7]] == ["worker-1", "worker-2", "worker-3"]
    assert "last events" in lines


def test_the_selected_worker_is_in_sight() -> None:
    for selected in range(40):
        lines = screen(frame(40), View(selected=selected), 80, 15)
        (chosen,) = [line for line in lines if line.style == "reverse"]
        assert chosen.plain.startswith(f"worker-{selected + 1} ")


def test_without_a_terminal_there_is_neither_choice_nor_help() -> None:
    lines = screen(frame(), None, 200, 1000)
    assert all(line.style != "reverse" for line in lines)
    assert "quit" not in "\n".join(plain(lines))


def test_a_cluster_that_does_not_run_is_waited_for() -> None:
    stopped = {"state": "stopped", "detail": "not running (no scoreboard)", "workers": []}
    lines = plain(screen(frame(status=stopped), View(), 80, 20))
    assert lines[:2] == ["smart-factory is not running (no scoreboard)", "waiting for it to start"]
    assert "last events" in lines


@pytest.mark.parametrize(
    ("reload", "line"),
    [
        (
            {"outcome": Outcome.RUNNING, "phase": "worker-2 of 4", "release": "bbb"},
            "[##--------] reload: running, worker-2 of 4 (release bbb)",
        ),
        (
            {"outcome": Outcome.RUNNING, "phase": "loading"},
            "reload: running, loading (release not yet known)",
        ),
        (
            {"outcome": Outcome.REFUSED, "reason": "it\033 broke", "ended": 1e9, "release": "b"},
            "it  broke",
        ),
    ],
)
def test_a_reload_is_followed(reload: dict[str, Any], line: str) -> None:
    lines = plain(screen(frame(status={"reload": replace(NEVER, **reload)}), View(), 100, 20))
    assert lines[3].endswith(line)


def test_a_question_and_an_outcome_stand_at_the_foot() -> None:
    news = Text("scale +1: it broke")
    assert plain(screen(frame(), View(), 80, 20, news=news))[-2] == "scale +1: it broke"
    assert plain(screen(frame(), View(asking=("reload",)), 80, 20))[-1] == "reload? y/n"


def test_pages_are_scrolled_to_their_end_and_no_further() -> None:
    facts = frame()
    first = plain(screen(facts, View(page="events"), 80, 10))
    assert first[3].endswith("bob19")
    last = plain(screen(facts, View(page="events", scroll=999), 80, 10))
    assert last[-2].endswith("bob0")


@pytest.mark.parametrize(
    ("values", "width", "blocks", "expected"),
    [
        ([], 5, BLOCKS, ""),
        ([1, 2], 0, BLOCKS, ""),
        ([1, 2], -3, BLOCKS, ""),
        ([0, 0], 5, BLOCKS, "▁▁"),
        ([0, 5, 10], 5, BLOCKS, "▁▅█"),
        ([0, 50, 100], 5, BLOCKS, "▁▅█"),
        ([100, 0, 100], 2, BLOCKS, "▁█"),
        ([0, 10], 5, ASCII, "_#"),
        ([1], 5, BLOCKS, "▂"),
    ],
)
def test_a_curve_shows_the_last_values(
    values: list[float], width: int, blocks: str, expected: str
) -> None:
    assert curve(values, width, blocks) == expected


def test_failed_requests_are_told() -> None:
    failed = Latency(failed=2, error="refused\033")
    line = plain(screen(frame(latency=failed), View(), 80, 20))[2]
    assert line == "monit's own GET /health:   2 failed: refused"
    assert plain(screen(frame(latency=Latency()), View(), 80, 20))[2].endswith("none yet")
