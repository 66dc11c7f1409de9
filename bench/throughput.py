"""Requests per second with the kit and with stock Gunicorn, the same settings, in turn.

Both run all the while, and wrk(1) asks first one and then the other, so that whatever else the
machine does hits both. The ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.objective import Objective
from tests.cluster import GUNICORN, ROOT, Cluster, free_port
from tests.wait import wait_until

APPS = Path(__file__).parent / "apps"
_LOGGED = ("--access-logfile", "/dev/null")
_IN_MEMORY = ("--worker-tmp-dir", "/dev/shm")  # noqa: S108 - as gunicorn.conf.py has it
ROUNDS, SECONDS, CONNECTIONS = 9, 2, 16
# Name: worker class, threads, whether requests are logged.
KINDS = {
    "gthread": ("gthread", 4, True),
    "gthread without access log": ("gthread", 4, False),
    "sync": ("sync", 1, True),
    "sync without access log": ("sync", 1, False),
}


class MissingProgramError(RuntimeError):
    """wrk is not installed."""


@contextmanager
def stock(directory: Path, worker_class: str, threads: int, logged: bool) -> Iterator[str]:
    """Plain Gunicorn with the values that gunicorn.conf.py sets, and no hook."""
    port = free_port()
    directory.mkdir()
    command = [
        str(GUNICORN),
        "-c",
        "/dev/null",
        "--chdir",
        str(APPS),
        "--bind",
        f"127.0.0.1:{port}",
    ]
    command += ["--workers", "1", "--worker-class", worker_class, "--threads", str(threads)]
    command += ["--keep-alive", "5", *_IN_MEMORY, "--no-control-socket"]
    command += [*(_LOGGED if logged else ()), "small:app"]
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=directory, start_new_session=True
        )
    try:
        wait_until(lambda: "Booting worker" in log.read_text(), what="stock Gunicorn")
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(30)


def measure(url: str) -> float:
    """Requests per second, by wrk."""
    done = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", url],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"Requests/sec:\s+([0-9.]+)", done.stdout)
    if found is None or "Non-2xx" in done.stdout:
        raise RuntimeError(f"wrk says:\n{done.stdout}")
    return float(found[1])


def ratio(directory: Path, kind: str) -> Objective:
    """The kit's requests per second over stock Gunicorn's."""
    worker_class, threads, logged = KINDS[kind]
    config = directory / "gunicorn.conf.py"
    config.write_text((ROOT / "gunicorn.conf.py").read_text() + "\naccesslog = None\n")
    kit = Cluster(
        directory / f"kit {kind}",
        *("--chdir", str(APPS), *(_LOGGED if logged else ()), "small:app"),
        config=config,
        env={
            "CLUSTER_WORKERS": "1",
            "WORKER_CLASS": worker_class,
            "THREADS": str(threads),
            "APP_ENV": "production",
        },
    )
    with kit, stock(directory / f"stock {kind}", worker_class, threads, logged) as plain:
        ours = f"http://127.0.0.1:{kit.port}/"
        measure(ours), measure(plain)  # warm
        ratios = []
        for number in range(ROUNDS):
            if number % 2:
                first, second = measure(ours), measure(plain)
            else:
                second, first = measure(plain), measure(ours)
            ratios.append(first / second)
    return Objective(
        name=f"requests/s / stock Gunicorn, {kind}, median of {ROUNDS}",
        value=statistics.median(ratios),
        unit="×",
        at_least=0.98,
    )


def run() -> list[Objective]:
    """Each worker class; raises MissingProgramError."""
    if shutil.which("wrk") is None:
        raise MissingProgramError("wrk is not installed: apt-get install wrk")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        return [ratio(Path(name), kind) for kind in KINDS]
