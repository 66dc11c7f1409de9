"""The load: wrk(1) on one thread, with a workload's request on all its connections."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path

from bench.peers import wrk_report
from bench.peers.environment import program
from bench.peers.workloads import SCRIPTS, Workload
from bench.peers.wrk_report import Report

_SECONDS_MORE = 60  # than it was to take, on a busy machine


def run(workload: Workload, port: int, *, seconds: int, cookies: Path | None) -> Report:
    """Asks for so many seconds; a server that cannot be connected to is an error in the report."""
    command = [program("wrk"), "-t1", f"-c{workload.connections}", f"-d{seconds}s", "--latency"]
    if workload.script is not None:
        command += ["-s", str(SCRIPTS / workload.script)]
    command += [f"http://127.0.0.1:{port}{workload.path}"]
    if cookies is not None:
        command += ["--", workload.method, str(cookies)]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds + _SECONDS_MORE,
        check=False,
    )
    if "unable to connect" in done.stdout + done.stderr:
        return Report(
            requests=0,
            per_second=0.0,
            mean=math.nan,
            p50=math.nan,
            p99=math.nan,
            errors={"connect": workload.connections},
        )
    return wrk_report.read(done.stdout + done.stderr)
