"""What must not get through: the same processes go on serving, and no request is lost."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.stage import CONFIG, KINDS, Kind, Stage, release
from tests.wait import wait_until

PROBED = '    if path == "/health/ready":\n        '
UNREADY = release("two").replace(
    "    body", PROBED + 'start_response("500 Oh", []); return [b"no disk"]\n    body', 1
)
HANGING = release("two").replace("    body", PROBED + "time.sleep(99)\n    body", 1)
RAISING = release("two").replace("    body", PROBED + 'raise ValueError("no disk")\n    body', 1)
NO_SECOND_WORKER = """
def post_worker_init(worker):
    if worker.slot == 2:
        os._exit(7)
"""


def write(code: str) -> Callable[[Stage], None]:
    return lambda stage: stage.write(code)


def write_hung(code: str, seconds: int) -> Callable[[Stage], None]:
    def spoil(stage: Stage) -> None:
        stage.write(code)
        stage.set(READY_TIMEOUT=str(seconds))  # in which the configuration is read, too

    return spoil


def configure(text: str) -> Callable[[Stage], None]:
    def spoil(stage: Stage) -> None:
        stage.config.write_text(text)

    return spoil


def set_variable(name: str, value: str) -> Callable[[Stage], None]:
    return lambda stage: stage.set(**{name: value})


REFUSALS: dict[str, tuple[Callable[[Stage], None], str]] = {
    "import error": (write("import no_such_module"), "No module named 'no_such_module'"),
    "syntax error": (write("def app(:\n    pass"), "SyntaxError"),
    "no such callable": (write("x = 1"), "Failed to find attribute 'app'"),
    "exit 0 at import": (write("import os; os._exit(0)"), "the mold ended (exit code 0)"),
    "exit 3 at import": (write("import os; os._exit(3)"), "the mold ended (exit code 3)"),
    "sys.exit at import": (write("raise SystemExit(4)"), "the mold ended (exit code 4)"),
    "abort at import": (write("import os; os.abort()"), "the mold ended (signal SIGABRT)"),
    "hung import": (
        write_hung("import time; time.sleep(99)", 2),
        "not loaded within READY_TIMEOUT (2 s)",
    ),
    "readiness 500": (write(UNREADY), "GET /health/ready answered 500 Oh: no disk"),
    "readiness error": (write(RAISING), "GET /health/ready raised ValueError: no disk"),
    "hung readiness": (write_hung(HANGING, 5), "not ready within READY_TIMEOUT (5 s)"),
    "configuration syntax": (configure("workers = = 3"), "SyntaxError"),
    "configuration value": (configure(CONFIG + "\nworkers = 'many'\n"), "ValueError"),
    "preload_app": (configure(CONFIG + "\npreload_app = True\n"), "use CLUSTER_PRELOAD=mold"),
    "no configuration": (lambda stage: stage.config.unlink(), "doesn't exist"),
    "worker class": (
        set_variable("WORKER_CLASS", "no.such.Worker"),
        "WORKER_CLASS='no.such.Worker'",
    ),
    "variable": (set_variable("GRACEFUL_TIMEOUT", "soon"), "GRACEFUL_TIMEOUT='soon': expected"),
    "a worker that dies after others were replaced": (
        configure(CONFIG + NO_SECOND_WORKER),
        "worker-2 died (exit code 7)",
    ),
}
RETURNED = "a worker that dies after others were replaced"


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("name", REFUSALS)
def test_a_bad_release_is_refused_and_no_request_is_lost(
    tmp_path: Path, name: str, kind: Kind
) -> None:
    spoil, reason = REFUSALS[name]
    stage = Stage(tmp_path, kind)
    cluster = stage.cluster
    with stage.under_load() as load:
        before = cluster.pids()
        spoil(stage)
        done = cluster.reload()
        assert done.returncode == 1, done
        assert reason in done.stderr
        cluster.wait_log("[Master] Reload refused: ")
        if name == RETURNED:
            wait_until(lambda: set(cluster.pids()) == set(before), what="three workers again")
            assert cluster.pids()["worker-3"] == before["worker-3"]
            wait_until(
                lambda: {slot["generation"] for slot in cluster.status()["slots"]} == {1},
                what="those of the bad release to leave",
            )
        else:
            assert cluster.pids() == before
        wait_until(lambda: not cluster.titled("mold gen 2"), what="the candidate's end")
        assert cluster.command("status").returncode == 0
        (event,) = [e for e in stage.ledger() if e["event"] == "reload"]
        assert event["outcome"] == "refused"

        # The next good release goes through, and its workers come from it.
        stage.config.write_text(CONFIG)
        stage.set()
        stage.write(release("two"))
        done = cluster.reload()
        assert done.returncode == 0, done
        assert not set(cluster.pids().values()) & set(before.values())
    assert load.report.failed == 0, load.report.details
    assert cluster.process is not None
    assert cluster.process.returncode == 0


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_candidate_that_is_killed_is_refused(tmp_path: Path, kind: Kind) -> None:
    stage = Stage(tmp_path, kind)
    cluster = stage.cluster
    with stage.under_load() as load:
        before = cluster.pids()
        stage.write("import time; time.sleep(30)")
        cluster.signal(signal.SIGHUP)
        wait_until(lambda: cluster.titled("mold gen 2"), what="the candidate")
        os.kill(cluster.titled("mold gen 2")[0], signal.SIGKILL)
        cluster.wait_log("[Master] Reload refused: the mold ended (signal SIGKILL). Still serving")
        assert cluster.pids() == before
    assert load.report.failed == 0, load.report.details


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_an_address_that_is_taken_is_refused_while_the_old_one_serves(
    tmp_path: Path, kind: Kind
) -> None:
    stage = Stage(tmp_path, kind)
    cluster = stage.cluster
    with socket.create_server(("127.0.0.1", 0)) as taken, stage.under_load() as load:
        before = cluster.pids()
        stage.set(BIND=f"127.0.0.1:{taken.getsockname()[1]}")
        done = cluster.reload()
        assert done.returncode == 1
        assert f"is taken by pid {os.getpid()}" in done.stderr
        assert cluster.pids() == before
    assert load.report.failed == 0, load.report.details
