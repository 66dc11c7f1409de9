"""Faults under load: what is lost is counted and named, and everything comes back by itself."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.chaos.stage import KINDS, Kind, Stage, release
from tests.chaos.test_stops import Asked
from tests.processes import runs
from tests.wait import wait_until

TCP_THREADS = KINDS[0]
# A worker that is killed takes with it what it had accepted: about this many at 200 requests/s.
IN_FLIGHT = 10
KILLED = {"reset", "eof"}


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_killed_worker_loses_its_own_requests_and_no_other(tmp_path: Path, kind: Kind) -> None:
    stage = Stage(tmp_path, kind)
    cluster = stage.cluster
    with stage.under_load() as load:
        worker = cluster.pids()["worker-2"]
        in_flight = load.progress[1]  # many of them on a machine that is slow at this moment
        os.kill(worker, signal.SIGKILL)
        cluster.wait_log("[Master] Replacement worker 2 (worker-2) is ready")
        back = load.elapsed()
        load.wait(0.5)
    assert load.report.failures.keys() <= KILLED, load.report.details
    assert load.report.failed <= IN_FLIGHT + in_flight
    assert load.report.in_window(back, back + 9).failed == 0


@pytest.mark.parametrize("code", [3, 4])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_no_exit_code_of_a_worker_stops_the_master(tmp_path: Path, kind: Kind, code: int) -> None:
    stage = Stage(tmp_path, kind)
    cluster = stage.cluster
    with stage.under_load() as load:
        for number in range(1, 4):
            Asked(stage, f"/exit?{code}").answer()
            cluster.wait_log(f"died (exit code {code}). Restarting...", times=number)
        # Not their log lines: one that is asked to exit at once dies before its readiness is said.
        wait_until(lambda: len(cluster.pids()) == 3, what="three ready workers")
    assert load.report.failures.keys() <= KILLED, load.report.details
    assert load.report.failed <= 3 * IN_FLIGHT
    assert cluster.process is not None
    assert cluster.process.returncode == 0


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_stopped_worker_is_replaced_and_only_its_own_requests_wait(
    tmp_path: Path, kind: Kind
) -> None:
    stage = Stage(tmp_path, kind, REQUEST_TIMEOUT="5")  # no worker that only waits for a CPU
    cluster = stage.cluster
    with stage.under_load() as load:
        stopped = cluster.pids()["worker-1"]
        os.kill(stopped, signal.SIGSTOP)
        cluster.wait_log("[Master] Replacement worker 1 (worker-1) is ready")
        cluster.wait_log("[Master] Worker 1 (worker-1) died (timeout). Restarting...")
        back = load.elapsed()
        load.wait(0.5)
        assert cluster.command("status").returncode == 0
    assert load.report.failures.keys() <= KILLED, load.report.details
    # Those whose connection the stopped worker had: the keep-alive ones among them.
    assert load.report.failed <= 2 * IN_FLIGHT
    assert load.report.in_window(back, back + 9).failed == 0


def test_a_hung_request_is_named_and_the_others_of_its_worker_finish(tmp_path: Path) -> None:
    stage = Stage(tmp_path, TCP_THREADS, REQUEST_TIMEOUT="5", GRACEFUL_TIMEOUT="5")
    cluster = stage.cluster
    with stage.under_load() as load:
        hung = Asked(stage, "/sleep?60")
        cluster.wait_log("A request takes longer than REQUEST_TIMEOUT (5 s)")
        cluster.wait_log("retires (request timeout). Replacing...")
        assert "time.sleep(float(query))" in cluster.log
        cluster.wait_log("retired (request timeout)")
        assert "200" not in hung.answer()
        ready = cluster.lines("Replacement worker . .* is ready")
        gone = cluster.lines(r"retired \(request timeout\)")
        assert (len(ready), len(gone)) == (1, 1)
        assert cluster.log.index(ready[0]) < cluster.log.index(gone[0])
    assert load.report.failed == 0, load.report.details


def test_a_hung_sync_worker_is_replaced_before_it_is_ended(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Kind("tcp", "sync"), REQUEST_TIMEOUT="5")
    cluster = stage.cluster
    with stage.under_load() as load:
        hung = Asked(stage, "/sleep?60")
        cluster.wait_log("[Master] Replacement worker ")
        cluster.wait_log("died (timeout). Restarting...")
        assert "time.sleep(float(query))" in cluster.log
        assert "500" in hung.answer()
    assert load.report.failed == 0, load.report.details


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_two_reloads_at_once_are_two_reloads_one_after_the_other(
    tmp_path: Path, kind: Kind
) -> None:
    stage = Stage(tmp_path, kind)
    cluster = stage.cluster
    with stage.under_load() as load:
        stage.write("import time; time.sleep(1)\n" + release("two"))
        cluster.signal(signal.SIGHUP)
        wait_until(lambda: cluster.titled("mold gen 2"), what="the first candidate")
        for _ in range(5):
            cluster.signal(signal.SIGHUP)
        cluster.wait_log("[Master] Reload complete", times=2)
        assert cluster.status()["generation"] == 3
    assert load.report.failed == 0, load.report.details
    assert cluster.log.count("[Master] Reload begins") == 2


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (signal.SIGTTIN, "[Master] Workers: 3 before, 4 now"),
        (signal.SIGTTOU, "[Master] Workers: 3 before, 2 now"),
        (signal.SIGUSR1, "Handling signal: usr1"),
        (signal.SIGUSR2, "Handling signal: usr2"),
    ],
)
def test_signals_do_what_they_say_during_a_reload(
    tmp_path: Path, number: int, expected: str
) -> None:
    stage = Stage(tmp_path, TCP_THREADS)
    cluster = stage.cluster
    with stage.under_load() as load:
        stage.write("import time; time.sleep(2)\n" + release("two"))
        cluster.signal(signal.SIGHUP)
        wait_until(lambda: cluster.titled("mold gen 2"), what="the candidate")
        cluster.signal(number)
        cluster.wait_log(expected)
        assert "Reload complete" not in cluster.log
        cluster.wait_log("[Master] Reload complete")
        if number == signal.SIGUSR2:
            cluster.wait_log("[Master] All workers ready", times=3)
            second = int((cluster.runtime / "gunicorn.pid.2").read_text())
            os.kill(second, signal.SIGTERM)
            wait_until(lambda: not (cluster.runtime / "gunicorn.pid.2").exists(), what="its end")
    assert load.report.failed == 0, load.report.details


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_during_a_reload_leaves_nothing(tmp_path: Path, number: int) -> None:
    stage = Stage(tmp_path, TCP_THREADS)
    with stage.cluster as cluster:
        stage.write("import time; time.sleep(30)")
        cluster.signal(signal.SIGHUP)
        wait_until(lambda: cluster.titled("mold gen 2"), what="the candidate")
        below = cluster.processes
        assert cluster.stop(number) == 0
        assert not any(map(runs, below))
        assert list(cluster.runtime.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_dead_mold_is_rebuilt_while_the_workers_serve_on(tmp_path: Path, kind: Kind) -> None:
    stage = Stage(tmp_path, kind)
    cluster = stage.cluster
    with stage.under_load() as load:
        before = cluster.pids()
        # What it forks has its title for a moment: the canary.
        wait_until(lambda: len(cluster.titled("mold gen 1")) == 1, what="the mold alone")
        (mold,) = cluster.titled("mold gen 1")
        os.kill(mold, signal.SIGKILL)
        cluster.wait_log("The mold of the good release is gone: the mold ended (signal SIGKILL)")
        cluster.wait_log("is loaded (mold", times=2)
        assert cluster.pids() == before
    assert load.report.failed == 0, load.report.details


def test_a_mold_that_stands_still_is_replaced_when_it_is_needed(tmp_path: Path) -> None:
    stage = Stage(tmp_path, TCP_THREADS, READY_TIMEOUT="5")  # to load in, too
    cluster = stage.cluster
    with stage.under_load() as load:
        os.kill(cluster.titled("mold gen 1")[0], signal.SIGSTOP)
        os.kill(cluster.pids()["worker-1"], signal.SIGKILL)
        cluster.wait_log("it did not fork worker-1 within 5 s")
        cluster.wait_log("[Master] Replacement worker 1 (worker-1) is ready")
    assert load.report.failed <= IN_FLIGHT, load.report.details


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_deleted_runtime_directory_is_put_back(tmp_path: Path, kind: Kind) -> None:
    stage = Stage(tmp_path, kind)
    cluster = stage.cluster
    with stage.under_load() as load:
        master = cluster.pid
        # At once: the master may put files back between two that are deleted.
        shutil.rmtree(cluster.runtime.rename(tmp_path / "deleted"))
        cluster.wait_log("were deleted: restored")
        assert cluster.pid == master
        assert cluster.command("status").returncode == 0
        assert cluster.reload().returncode == 0
        assert cluster.slot(1)["generation"] == 2
    assert load.report.failed == 0, load.report.details
    assert list(cluster.runtime.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_ledger_that_cannot_be_written_costs_its_lines_only(tmp_path: Path, kind: Kind) -> None:
    stage = Stage(tmp_path, kind)
    cluster = stage.cluster
    with stage.under_load() as load:
        ledger = tmp_path / "c" / "state" / "ledger.jsonl"
        ledger.unlink()
        ledger.symlink_to("/dev/full")  # every write is a full disk's
        assert cluster.reload().returncode == 0
        cluster.wait_log("[Master] The ledger cannot be written: [Errno 28] No space left")
        os.kill(cluster.pids()["worker-1"], signal.SIGKILL)
        cluster.wait_log("[Master] Replacement worker 1 (worker-1) is ready")
    assert load.report.failed <= IN_FLIGHT, load.report.details


@pytest.mark.parametrize(
    ("variable", "reason"),
    [
        ("MAX_REQUESTS=100", "max requests"),
        ("WORKER_MAX_LIFETIME=2", "max lifetime"),
        ("WORKER_MAX_RSS=1M", "memory limit"),
    ],
)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_worn_workers_are_replaced_one_at_a_time_before_they_leave(
    tmp_path: Path, kind: Kind, variable: str, reason: str
) -> None:
    name, _, value = variable.partition("=")
    stage = Stage(tmp_path, kind, **{name: value})
    cluster = stage.cluster
    with stage.under_load() as load:
        cluster.wait_log(f"retired ({reason})", times=3)
    assert load.report.failed == 0, load.report.details
    assert "died" not in cluster.log
