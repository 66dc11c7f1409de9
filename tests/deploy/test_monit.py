"""`monit`: its keys and its figures; on a terminal it is in tests/integration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.ops import monit_facts
from deploy.ops.directories import Directories
from deploy.ops.monit_facts import Latency, Sampler, Stopwatch, latency
from deploy.ops.monit_keys import Press, View, keys, press
from deploy.ops.monit_operation import Ended, outcome
from deploy.state import ledger
from tests.deploy.test_monit_screen import frame
from tests.deploy.test_ops_cluster import Place, fake_master


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (b"q", ["q"]),
        (b"\x1b", ["escape"]),
        (b"\x03", ["interrupt"]),
        (b"\r", ["enter"]),
        (b"\x1b[A\x1bOB\x1b[H\x1b[F", ["up", "down", "home", "end"]),
        (b"\x1b[5~\x1b[6~j", ["page-up", "page-down", "j"]),
        (b"A~", ["A", "~"]),
        (b"\x1b[15~\x1b[1;5Ak", ["k"]),
        ("é".encode(), []),
        (b"\x00\x7f+-", ["+", "-"]),
    ],
)
def test_keys_are_understood(typed: bytes, expected: list[str]) -> None:
    assert keys(typed) == expected


RELOAD = ("reload", "--why", "monit")


@pytest.mark.parametrize(
    ("view", "key", "expected"),
    [
        (View(), "q", Press(view=View(), quit=True)),
        (View(), "escape", Press(view=View(), quit=True)),
        (View(page="help"), "interrupt", Press(view=View(page="help"), quit=True)),
        (View(page="help"), "q", Press(view=View())),
        (View(page="events", scroll=4), "escape", Press(view=View())),
        (View(), "+", Press(view=View(), run=("scale", "+1"))),
        (View(), "-", Press(view=View(), run=("scale", "-1"))),
        (View(page="slot"), "+", Press(view=View(page="slot"))),
        (View(), "r", Press(view=View(asking=RELOAD))),
        (View(asking=RELOAD), "y", Press(view=View(), run=RELOAD)),
        (View(asking=RELOAD), "n", Press(view=View())),
        (View(asking=RELOAD), "q", Press(view=View())),
        (View(asking=RELOAD), "interrupt", Press(view=View(asking=RELOAD), quit=True)),
        (View(), "j", Press(view=View(selected=1))),
        (View(selected=2), "down", Press(view=View(selected=2))),
        (View(selected=2), "home", Press(view=View())),
        (View(), "up", Press(view=View())),
        (View(selected=1), "enter", Press(view=View(page="slot", selected=1))),
        (View(), "e", Press(view=View(page="events"))),
        (View(), "?", Press(view=View(page="help"))),
        (View(page="events"), "down", Press(view=View(page="events", scroll=1))),
        (View(page="events"), "up", Press(view=View(page="events"))),
        (View(), "z", Press(view=View())),
    ],
)
def test_a_key_does_what_the_help_says(view: View, key: str, expected: Press) -> None:
    assert press(view, key, workers=3) == expected


def test_without_a_worker_there_is_none_to_describe() -> None:
    assert press(View(), "d", workers=0).view == View()
    assert press(View(), "down", workers=0).view == View()


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ([], Latency()),
        ([2.0], Latency(samples=1, p50_ms=2.0, p95_ms=2.0)),
        ([float(n) for n in range(100, 0, -1)], Latency(samples=100, p50_ms=50.0, p95_ms=95.0)),
        ([None, 1.0], Latency(samples=1, p50_ms=1.0, p95_ms=1.0, failed=1)),
    ],
)
def test_latency_is_the_nearest_rank(taken: list[float | None], expected: Latency) -> None:
    assert latency(taken) == expected


@pytest.mark.parametrize(
    ("code", "output", "expected"),
    [
        (0, "Scaled\n\n", Ended(words="x", well=True, said="Scaled")),
        (3, "Error: so\nNext step: y\n", Ended(words="x", well=False, said="so")),
        (
            1,
            "a\nReload refused: b\nStill\n",
            Ended(words="x", well=False, said="Reload refused: b"),
        ),
        (1, "odd \033[2J\n", Ended(words="x", well=False, said="odd  [2J")),
        (-9, "", Ended(words="x", well=False, said="exit code -9")),
    ],
)
def test_the_outcome_of_an_operation_is_one_line(code: int, output: str, expected: Ended) -> None:
    assert outcome("x", code, output) == expected


def test_one_frame_has_the_facts_of_status_and_the_events(tmp_path: Path) -> None:
    with fake_master(tmp_path, rows=[[2, "draining"]]) as master:
        place = master.place
        ledger.append(place.state, "scale", who="bob", outcome="complete")
        directories = Directories(runtime=place.runtime, state=place.state, environ={})
        sampler = Sampler(directories, Stopwatch())
        first, second = sampler.look(), sampler.look()
        assert (len(first.requests_past), len(second.requests_past)) == (0, 1)
        assert [worker.state for worker in second.status.workers] == ["ready"] * 2 + [
            "draining",
            "ready",
        ]
        assert [event["who"] for event in second.events] == ["bob"]
        ledger.append(place.state, "reload", who="eve", outcome="refused")
        assert [event["who"] for event in sampler.look().events] == ["bob", "eve"]
        master.process.kill()
        master.process.wait()
        gone = sampler.look()
        assert (gone.status.state, gone.address, len(gone.requests_past)) == ("stopped", "", 3)
    with fake_master(tmp_path, wanted=1):
        again = sampler.look()
        assert (again.status.state, len(again.status.workers)) == ("ready", 1)


def test_a_latency_that_cannot_be_taken_is_a_failure() -> None:
    stopwatch = Stopwatch()
    stopwatch.time("unix:/nonexistent/socket")
    stopwatch.time("nonsense")
    taken = stopwatch.latency()
    assert (taken.samples, taken.failed) == (0, 2)
    assert "nonsense" in taken.error


def test_json_has_what_status_has_and_latency() -> None:
    said = json.loads(monit_facts.to_json(frame()))
    assert said["workers"] == {"wanted": 3, "ready": 3}
    assert said["latency"] == {
        "path": "/health",
        "samples": 60,
        "p50_ms": 1.25,
        "p95_ms": 4.0,
        "failed": 0,
        "error": None,
    }


@pytest.mark.parametrize("words", [["--once"], ["--json"]])
def test_once_without_a_cluster_is_code_3(tmp_path: Path, words: list[str]) -> None:
    done = Place(tmp_path).run("monit", *words)
    assert (done.returncode, done.stderr) == (3, "")
    assert "not running (no scoreboard" in done.stdout
    assert "\033" not in done.stdout


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_without_a_terminal_it_is_code_2_and_names_once(tmp_path: Path, term: str) -> None:
    done = Place(tmp_path).run("monit", TERM=term)
    assert (done.returncode, done.stdout) == (2, "")
    error, step = done.stderr.splitlines()
    assert error == f"Error: monit needs a terminal to draw on (TERM='{term}')"
    assert step.endswith("smart-factory monit --once")
