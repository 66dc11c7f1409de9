"""Reload, respawn and memory of an application that takes three seconds to import."""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import time
from pathlib import Path

import psutil

from bench.objective import Objective
from loadtests.drops import Load
from tests.cluster import Cluster
from tests.wait import wait_until

APPS = Path(__file__).parent / "apps"
WORKERS = 4
RATE = 200
RELOADS = 20
KILLS = 20


def cluster(directory: Path, app: str, workers: int = WORKERS) -> Cluster:
    """A cluster whose access log goes nowhere: the log file is what is waited on."""
    return Cluster(
        directory,
        *("--chdir", str(APPS), "--access-logfile", "/dev/null", app),
        env={"CLUSTER_WORKERS": str(workers), "APP_ENV": "production"},
    )


def boot(directory: Path) -> float:
    """Seconds from the start of one worker alone to its readiness."""
    alone = cluster(directory, "large:app", workers=1)
    began = time.monotonic()
    with alone:
        return time.monotonic() - began


def reload(directory: Path) -> list[Objective]:
    """One reload of four workers beside the boot of one, under load."""
    one_boot = boot(directory / "boot")
    with (
        cluster(directory / "reload", "large:app") as running,
        Load(f"http://127.0.0.1:{running.port}/", rate=RATE) as load,
    ):
        load.wait(1)
        began, since = time.monotonic(), load.elapsed()
        running.signal(signal.SIGHUP)
        running.wait_log("Reload complete", seconds=60)
        seconds = time.monotonic() - began
        until = load.elapsed()
        load.wait(1)
    during = load.report.in_window(since, until)
    return [
        Objective(
            name="reload of 4 workers / boot of one",
            value=seconds / one_boot,
            unit="×",
            at_most=1.3,
        ),
        Objective(
            name="p99 during that reload, 200 requests/s",
            value=during.latency(99) * 1000,
            unit="ms",
            at_most=100,
        ),
        Objective(name="requests failed in it", value=load.report.failed, unit="", at_most=0),
    ]


def respawn_and_memory(directory: Path) -> list[Objective]:
    """How soon a killed worker is back, and what one more worker costs."""
    with cluster(directory / "respawn", "large:app") as running:
        seconds = []
        for number in range(KILLS):
            slot = number % WORKERS + 1
            pid = running.pids()[f"worker-{slot}"]
            began = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            running.wait_log("Replacement worker", times=number + 1)
            seconds.append(time.monotonic() - began)
        with Load(f"http://127.0.0.1:{running.port}/", rate=RATE) as load:
            load.wait(3)
        assert load.report.failed == 0
        memory = [psutil.Process(pid).memory_full_info() for pid in running.pids().values()]
    shares = [(m.uss / m.rss) for m in memory]
    return [
        Objective(
            name=f"respawn after kill -9, median of {KILLS}",
            value=statistics.median(seconds) * 1000,
            unit="ms",
            at_most=100,
        ),
        Objective(
            name=f"private memory of a worker / its RSS ({memory[0].rss >> 20} MB)",
            value=max(shares),
            unit="",
            at_most=0.15,
        ),
    ]


def reloads(directory: Path) -> list[Objective]:
    """Twenty reloads, one after the other, under fresh and keep-alive connections."""
    with (
        cluster(directory / "reloads", "small:app") as running,
        Load(f"http://127.0.0.1:{running.port}/", rate=RATE) as load,
    ):
        for number in range(1, RELOADS + 1):
            running.signal(signal.SIGHUP)
            running.wait_log("Reload complete", times=number)
    with (
        cluster(directory / "restart", "small:app") as running,
        Load(f"http://127.0.0.1:{running.port}/", rate=RATE) as control,
    ):
        running.stop()
        running.start()
        wait_until(lambda: running.log.count("All workers ready") == 2, what="the second start")
    return [
        Objective(
            name=f"failed of {load.report.sent} requests in {RELOADS} reloads",
            value=load.report.failed,
            unit="",
            at_most=0,
        ),
        Objective(
            name="negative control: failed in a plain restart",
            value=control.report.failed,
            unit="",
            at_least=1,
        ),
    ]


def run() -> list[Objective]:
    """All of it, in directories that are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        return [*reloads(directory), *reload(directory), *respawn_and_memory(directory)]
