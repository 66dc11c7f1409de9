"""The whole load test, as `make loadtest` starts it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cluster import ROOT
from tests.processes import runs
from tests.wait import wait_until

# Three servers are started, and a machine that is busy takes its time for it.
pytestmark = pytest.mark.timeout(300)
COMMAND = [sys.executable, "-m", "loadtests.comparison"]


def comparison(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )


def test_a_missed_objective_is_exit_1_and_in_the_report(tmp_path: Path) -> None:
    report = tmp_path / "new" / "report.html"
    done = comparison(
        *("--rounds", "1", "--seconds", "2", "--users", "4", "--report", str(report)),
        *("--min-throughput", "1e9", "--min-fairness", "none", "--min-ratio", "none"),
        *("--max-p95", "none", "--max-p99", "none", "--max-error-rate", "100"),
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    assert "MISS  throughput, cluster" in done.stdout
    assert f"report: {report}" in done.stdout
    assert "1 of 3 objectives is missed" in report.read_text()
    facts = json.loads(report.with_suffix(".json").read_text())
    assert facts["met"] is False
    assert facts["servers"]["fork"]["workers"] == 1
    assert facts["servers"]["cluster"]["answered"] > 0
    assert [each.name for each in report.parent.iterdir() if each.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rounds", "0"], "--rounds"),
        (["--shape", "cube"], "--shape"),
        (["--max-p95", "fast"], "'fast': expected a number of at least 0, or none"),
        (["--min-ratio", "-1"], "'-1': expected a number of at least 0, or none"),
        (["--workers", "1"], "--workers"),
        (["http://127.0.0.1:3000"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_exit_2_and_one_line(words: list[str], said: str) -> None:
    done = comparison(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert said in errors[0]


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[psutil.Popen]:
    """A comparison whose users are at work."""
    report = tmp_path / "report.html"
    process = psutil.Popen(
        [*COMMAND, "--seconds", "60", "--report", str(report)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        wait_until(lambda: locust(process), what="locust to be at work", seconds=180)
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)
        process.stderr.close()


def locust(process: psutil.Process) -> Path | None:
    """The directory of the users at work: they have said something, and are waited for."""
    for child in process.children():
        with contextlib.suppress(psutil.Error, OSError):  # it has ended meanwhile
            if "locust" in child.cmdline():
                directory = Path(child.cwd())
                if (directory / "locust.log").stat().st_size:
                    return directory
    return None


def command_line(process: psutil.Process) -> str:
    """Nothing of a process that has ended meanwhile."""
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_all_that_was_started(begun: psutil.Popen, number: int) -> None:
    # Asked again: between two runs there is none.
    directory = wait_until(lambda: locust(begun), what="locust to be at work", seconds=60)
    assert directory is not None
    started = begun.children(recursive=True)
    titles = " ".join(command_line(process) for process in started)
    assert "postgres" in titles
    assert "gunicorn" in titles
    os.kill(begun.pid, number)
    assert begun.wait(90) == 130
    assert begun.stderr.read() == b"interrupted: everything is stopped, no report is written\n"
    assert not any(map(runs, started))
    assert not directory.exists()
