"""Runs Locust, without its web page, as a process of its own.

As a library it would replace sockets, threads and locks of whoever imports it (gevent).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loadtests.server import environment
from loadtests.tally import Run

_LOCUSTFILE = Path(__file__).with_name("locustfile.py")
_GRACE_SECONDS = 60.0  # for a start and an end beyond the run itself, on a machine that is busy
_KILL_SECONDS = 10.0


class GeneratorError(RuntimeError):
    """Locust ended without a result; the message is one line."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run does to a server."""

    users: int
    seconds: int
    shape: str  # of `loadtests.shapes.SHAPES`
    think: float = 0.0  # seconds between two visits of a user


def run(
    url: str, plan: Plan, directory: Path, watch: Callable[[float], None] = lambda _: None
) -> Run:
    """Sends the users of `plan` to `url` and returns what they saw; raises GeneratorError.

    `watch` hears a few times a second how many seconds have passed. Whatever ends this call, Locust
    has ended before it.
    """
    tally, log = directory / "tally.json", directory / "locust.log"
    tally.unlink(missing_ok=True)
    command = [sys.executable, "-m", "locust", "--locustfile", str(_LOCUSTFILE), "--headless"]
    command += ["--host", url, "--shape", plan.shape, "--users", str(plan.users)]
    command += ["--run-time", f"{plan.seconds}s", "--think", str(plan.think), "--only-summary"]
    # What failed is in the tally, and ours to judge.
    command += ["--exit-code-on-error", "0", "--tally", str(tally)]
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command,
            cwd=directory,
            # HOME: where Locust would look for a configuration of its own.
            env=environment(HOME=str(directory)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait(process, began, plan.seconds + _GRACE_SECONDS, watch)
    finally:
        process.terminate()
        try:
            process.wait(_KILL_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    try:
        if process.returncode == 0:
            return Run.of(json.loads(tally.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    said = log.read_text(errors="replace").strip().splitlines() or ["nothing"]
    raise GeneratorError(f"locust ended with {process.returncode} and said: {said[-1][:300]}")


def _wait(
    process: subprocess.Popen[bytes],
    began: float,
    seconds: float,
    watch: Callable[[float], None],
) -> None:
    while process.poll() is None:
        passed = time.monotonic() - began
        if passed > seconds:
            raise GeneratorError(f"locust did not end within {seconds:g} s")
        watch(passed)
        time.sleep(0.1)
