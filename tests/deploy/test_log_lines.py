"""A line of a log: how it is read, chosen and shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Any

import pytest

from deploy.ops.log_lines import (
    Choice,
    Raw,
    chosen,
    last_chosen,
    of_journal,
    parse,
    to_json,
    to_text,
)

NOON = datetime(2026, 11, 24, 12).astimezone().timestamp()


def machine(message: str = "hello", **fields: Any) -> str:
    at = "2026-11-24T10:00:00.000Z"
    first = {"message": message, "timestamp": at, "level": "info", "pid": 7, "worker": None}
    return json.dumps(first | fields)


ACCESS = machine(
    "GET /health 200 1.31ms 154B worker-1 0e2f4c99aabbccdd",
    event="request",
    method="GET",
    path="/health",
    status=200,
    bytes=154,
    duration_ms=1.31,
    worker="worker-1",
    request_id="0e2f4c99aabbccdd",
)
PRETTY = "2026-11-24 12:00:00 ERROR    [77] [worker-2] it broke"


def text(line: str, *, colour: bool = False) -> str:
    return to_text(parse(Raw(text=line)), colour=colour)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (machine(level="warning"), r"2026-11-24 \d\d:00:00 WARNING  \[7\] hello"),
        (ACCESS, r".* INFO     \[7\] GET /health 200 1\.3ms 154B worker-1 0e2f4c99"),
        (machine("a\nb", exc_info="Traceback\n  File x"), r".*\[7\] a\nb\nTraceback\n  File x"),
        (machine(event="request"), r".*\[7\] hello"),
        (PRETTY, re.escape(PRETTY)),
        ("  File 'x'", r"  File 'x'"),
        ('{"torn": ', r'\{"torn":'),
        ("[1]", r"\[1\]"),
        (machine(timestamp="never", pid=None), r"- INFO     \[-\] hello"),
        (machine("red \033[31m\x9b2J\u202e\r"), r".*red  \[31m 2J"),
        ("bell\a\ttab", r"bell    ? *tab"),
    ],
)
def test_a_line_is_shown_in_the_pretty_form(line: str, shown: str) -> None:
    assert re.fullmatch(shown, text(line)), text(line)


@pytest.mark.parametrize(
    ("line", "begin"),
    [
        (machine(level="error"), "\033[31m"),
        (machine(), ""),
        (ACCESS, ""),
        (ACCESS.replace('"status": 200', '"status": 404'), "\033[33m"),
        (ACCESS.replace('"status": 200', '"status": 503'), "\033[31m"),
    ],
)
def test_colour_tells_level_and_status(line: str, begin: str) -> None:
    shown = text(line, colour=True)
    assert shown.startswith(begin + "2026")
    assert shown.endswith("\033[0m") is bool(begin)


def test_json_is_passed_through_and_other_lines_become_objects() -> None:
    assert json.loads(to_json(parse(Raw(text=ACCESS)))) == json.loads(ACCESS)
    plain = json.loads(to_json(parse(Raw(text="Traceback", at=NOON))))
    assert plain["message"] == "Traceback"
    assert datetime.fromisoformat(plain["timestamp"]).timestamp() == NOON


MIXED = [
    Raw(text="before all", pid=3),
    Raw(text=machine("of the master"), pid=1000),
    Raw(text=machine("of one", worker="worker-1", level="debug"), pid=1),
    Raw(text="2026-11-24 12:00:00 ERROR    [2] [worker-2] boom", pid=2),
    Raw(text=machine("of slot 3", slot=3, level="warning"), pid=1),
    Raw(text="  of the boom", pid=2),
    Raw(text="printed by one", pid=1),
    Raw(text="2026-11-24 12:00:00 INFO     [2] [worker-2] Calm", pid=2),
    Raw(text="  of the calm", pid=2),
    Raw(text="Started.", pid=1, by="systemd", priority=6),
]


@pytest.mark.parametrize(
    ("choice", "numbers"),
    [
        (Choice(), range(10)),
        (Choice(worker="worker-2"), [3, 5, 7, 8]),
        (Choice(worker="worker-1"), [2]),
        (Choice(worker="worker-3"), [4]),
        (Choice(worker="master"), [0, 1, 6, 9]),
        (Choice(level="info"), [0, 1, 3, 4, 5, 6, 7, 8, 9]),
        (Choice(level="warning"), [0, 3, 4, 5, 6]),
        (Choice(text="OF THE"), [1, 5, 8]),
        (Choice(worker="worker-2", level="error", text="boom"), [3, 5]),
    ],
)
def test_lines_are_chosen_alike_from_either_end(choice: Choice, numbers: Iterator[int]) -> None:
    lines = [parse(raw) for raw in MIXED]
    expected = [lines[number] for number in numbers]
    assert list(chosen(lines, choice)) == expected
    assert last_chosen(reversed(lines), choice, 100) == expected
    assert last_chosen(reversed(lines), choice, 1) == expected[-1:]


def test_the_last_lines_are_found_without_reading_all() -> None:
    endless = (parse(Raw(text=machine(worker=f"worker-{n % 3}"))) for n in iter(int, 1))
    assert len(last_chosen(islice(endless, 10**9), Choice(worker="worker-0"), 5)) == 5


def test_no_line_waits_for_ever_for_its_head() -> None:
    loose = (parse(Raw(text="loose", pid=1)) for _ in iter(int, 1))
    assert len(last_chosen(loose, Choice(level="error"), 3)) == 3


@pytest.mark.parametrize(
    ("entry", "raw"),
    [
        ({}, Raw(text="")),
        ({"MESSAGE": None, "_PID": "x"}, Raw(text="")),
        ({"MESSAGE": ["a", [98]], "_PID": "5"}, Raw(text="a\nb", pid=5)),
        ({"MESSAGE": "a", "__REALTIME_TIMESTAMP": "1500000"}, Raw(text="a", at=1.5)),
    ],
)
def test_any_entry_of_the_journal_is_a_line(entry: dict[str, Any], raw: Raw) -> None:
    assert of_journal(entry) == raw
