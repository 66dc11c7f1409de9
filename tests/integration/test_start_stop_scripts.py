"""deploy/scripts/start.sh and stop.sh: a cluster without systemd."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cluster import Answer, Cluster
from tests.integration.installed_releases import (
    SCRIPTS,
    InstalledReleases,
    environment,
    run,
)
from tests.processes import runs
from tests.wait import wait_until

ID = "20260101-000000-1111111"
SLOW = """
import os, pathlib, time
def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        pathlib.Path(os.environ["BEGUN"]).touch()
        time.sleep(2)
    start_response("200 OK", [("Content-Length", "4")])
    return [b"done"]
"""


class Place:
    """An installation whose current release the scripts start and stop."""

    def __init__(self, directory: Path):
        self.releases = InstalledReleases(directory / "root")
        self.release = self.releases.make(ID)
        self.releases.link("current", self.release)
        self.cluster = Cluster(directory / "c")
        self.pidfile = self.cluster.runtime / "gunicorn.pid"
        self.log = directory / "c/logs/smart-factory.log"
        self.env = environment(
            self.cluster,
            SMART_FACTORY_ROOT=str(self.releases.root),
            WSGI_APP="served:app",
            CLUSTER_WORKERS="2",
            APP_ENV="test",
            BEGUN=str(directory / "begun"),
        )

    def start(self, **env: str) -> subprocess.CompletedProcess[str]:
        return run("start.sh", env={**self.env, **env})

    def stop(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return run("stop.sh", *words, env={**self.env, **env})

    def clean(self) -> None:
        """Ends what a failed test has left."""
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            master = psutil.Process(int(self.pidfile.read_text()))
            if "gunicorn: master" in " ".join(master.cmdline()):
                os.killpg(master.pid, signal.SIGKILL)


def said_ready(place: Place) -> None:
    """Waits for the master's line; the script may have seen the board before."""
    wait_until(lambda: "[Master] All workers ready" in place.log.read_text(), what="its line")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.clean()


def test_start_returns_when_every_worker_is_ready_and_stop_when_none_is_left(place: Place) -> None:
    done = place.start()
    assert (done.returncode, done.stderr) == (0, "")
    assert f"started {place.releases.root}/current (pid {place.cluster.pid})" in done.stdout
    assert "every worker is ready" in done.stdout
    facts = place.cluster.status()
    assert facts["workers"] == {"wanted": 2, "ready": 2}
    assert place.cluster.get("/").body.decode() == ID
    said_ready(place)

    master = psutil.Process(place.cluster.pid)
    processes = [master, *master.children(recursive=True)]
    assert os.getsid(master.pid) == master.pid  # it outlives the terminal
    assert Path(f"/proc/{master.pid}/fd/0").readlink() == Path("/dev/null")

    again = place.start()
    assert again.returncode == 0
    assert f"it runs already (pid {master.pid})" in again.stdout

    said = place.stop("--dry-run")
    assert said.returncode == 0
    assert f"would send TERM to the master, pid {master.pid}" in said.stdout
    assert master.is_running()

    stopped = place.stop()
    assert (stopped.returncode, stopped.stdout) == (0, f"stop: stopped (pid {master.pid})\n")
    assert not any(map(runs, processes))
    nothing = place.stop()
    assert (nothing.returncode, nothing.stdout) == (0, "stop: not running\n")


def test_a_second_start_appends_to_the_log_and_waits_for_its_own_lines(place: Place) -> None:
    assert place.start().returncode == 0
    said_ready(place)
    assert place.stop().returncode == 0
    (place.release / "served.py").write_text("raise RuntimeError('broken by hand')")
    done = place.start()
    assert done.returncode == 1
    assert "RuntimeError: broken by hand" in done.stderr
    assert "it does not start (exit code " in done.stderr
    assert "Next step: mend what failed and start again, or return to the previous" in done.stderr
    assert place.log.read_text().count("[Master] All workers ready") == 1
    assert not place.pidfile.exists()


def test_a_quiet_log_does_not_hide_that_it_is_ready(place: Place) -> None:
    done = place.start(LOG_LEVEL="error")
    assert done.returncode == 0
    assert "All workers ready" not in place.log.read_text()
    assert place.stop().returncode == 0


def test_an_interpreter_that_does_not_run_is_said(place: Place) -> None:
    place.releases.break_python(place.release)
    done = place.start()
    assert done.returncode == 1
    assert "Fatal Python error: nothing works" in done.stderr


def test_two_starts_at_once_start_one_cluster(place: Place) -> None:
    starts = [
        subprocess.Popen([SCRIPTS / "start.sh"], env=place.env, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        said = [start.communicate(timeout=100)[0] for start in starts]
    finally:
        for start in starts:  # one that still waits would start another one later
            start.kill()
    assert [start.returncode for start in starts] == [0, 0]
    assert sum("it runs already" in text for text in said) == 1
    said_ready(place)
    assert place.log.read_text().count("[Master] All workers ready") == 1
    assert place.stop().returncode == 0


def test_what_an_application_has_in_its_environment_reaches_it(place: Place) -> None:
    """Names that a script might well use for itself."""
    names = {"STATE": "a", "TOKEN": "b", "NAME": "c", "ENVIRONMENT": "d", "LOGS": "e", "HOST": ""}
    (place.release / "served.py").write_text(
        "import os\ndef app(environ, start_response):\n"
        f"    body = ''.join(os.environ[name] for name in {list(names)}).encode()\n"
        "    start_response('200 OK', [('Content-Length', str(len(body)))])\n"
        "    return [body]\n"
    )
    assert place.start(**names).returncode == 0
    assert place.cluster.get("/").body == b"abcde"
    assert place.stop().returncode == 0


def test_the_file_of_env_file_is_followed(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "app.env"
    file.write_text(f"CLUSTER_WORKERS=1\nRUNTIME_DIRECTORY='{tmp_path}/elsewhere'\n")
    env = {"ENV_FILE": str(file), "CLUSTER_WORKERS": "", "RUNTIME_DIRECTORY": ""}
    done = place.start(**env)
    assert done.returncode == 0
    assert "with 1 worker(s)" in place.log.read_text()
    assert (tmp_path / "elsewhere/gunicorn.pid").exists()
    assert place.stop(**env).stdout.startswith("stop: stopped (pid ")


def test_root_starts_it_as_the_user_who_owns_the_state(place: Place, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    state = tmp_path / "c/state"
    state.mkdir(parents=True)
    os.chown(state, 65534, 65534)
    done = run("start.sh", "--dry-run", env=place.env)
    assert f"would start {place.releases.root}/current as uid 65534" in done.stdout
    assert not (tmp_path / "c/run").exists()


def test_a_stop_answers_what_is_in_flight(place: Place, tmp_path: Path) -> None:
    (place.release / "served.py").write_text(SLOW)
    assert place.start().returncode == 0
    answers: list[Answer] = []
    client = threading.Thread(target=lambda: answers.append(place.cluster.get("/slow")))
    client.start()
    wait_until(lambda: (tmp_path / "begun").exists(), what="the request to begin")
    assert place.stop().returncode == 0
    client.join()
    assert [answer.body for answer in answers] == [b"done"]


def mold_and_workers(master: psutil.Process) -> list[psutil.Process]:
    """What stays below the master; the start's canary leaves by itself."""
    below: list[psutil.Process] = []

    def alone() -> bool:
        below[:] = master.children(recursive=True)
        return len(below) == 3

    wait_until(alone, what="the canary to leave")
    return below


def test_a_master_that_hangs_is_killed_only_by_force(place: Place) -> None:
    assert place.start().returncode == 0
    master = psutil.Process(place.cluster.pid)
    processes = [master, *mold_and_workers(master)]
    master.suspend()
    done = place.stop("--timeout", "1")
    assert done.returncode == 1
    assert f"the master, pid {master.pid}, still runs" in done.stderr
    assert "Next step: wait, or run it again with --force" in done.stderr
    assert all(process.is_running() for process in processes)
    forced = place.stop("--timeout", "1", "--force")
    assert forced.returncode == 0
    assert "killed after 1 s" in forced.stdout
    wait_until(lambda: not any(map(runs, processes)), what="their end")
    assert "which is gone" in place.stop().stdout


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of ours."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()
    assert process.stdin is not None
    process.stdin.close()


def test_another_process_with_the_pid_of_the_file_is_never_signalled(
    place: Place, other: subprocess.Popen[bytes]
) -> None:
    place.pidfile.parent.mkdir(parents=True)
    place.pidfile.write_text(f"{other.pid}\n")
    done = place.stop("--force", "--timeout", "1")
    assert done.returncode == 0
    assert f"not running ({place.pidfile} names pid {other.pid}, which is another" in done.stdout
    assert other.poll() is None

    started = place.start()  # as after a reboot without a clean end
    assert "which is another process" in started.stdout
    assert other.poll() is None


def test_a_later_master_with_the_pid_of_an_old_file_is_not_signalled(place: Place) -> None:
    """Pids are used again: what looks like a master is younger than the file that names it."""
    place.pidfile.parent.mkdir(parents=True)
    title = "gunicorn: master [another]"
    impostor = subprocess.Popen(
        ["bash", "-c", f"exec -a '{title}' '{sys.executable}' -c 'input()'"], stdin=subprocess.PIPE
    )
    try:
        wait_until(
            lambda: title in " ".join(psutil.Process(impostor.pid).cmdline()), what="its title"
        )
        place.pidfile.write_text(f"{impostor.pid}\n")
        assert f"pid {impostor.pid}" in place.stop("--dry-run").stdout  # it would be believed
        os.utime(place.pidfile, (1_000_000_000, 1_000_000_000))
        done = place.stop("--timeout", "1", "--force")
        assert (done.returncode, impostor.poll()) == (0, None)
        assert "which started after the file was written" in done.stdout
    finally:
        impostor.kill()
        impostor.wait()
        assert impostor.stdin is not None
        impostor.stdin.close()


@pytest.mark.parametrize(
    ("script", "words", "said"),
    [
        ("start.sh", ["now"], "unexpected argument 'now': allowed are --dry-run and --help"),
        ("stop.sh", ["now"], "unexpected argument 'now': allowed are --timeout, --force"),
        ("stop.sh", ["--timeout"], "--timeout '': expected whole seconds"),
        ("stop.sh", ["--timeout", "1.5"], "--timeout '1.5': expected whole seconds"),
    ],
)
def test_a_wrong_argument_is_named(place: Place, script: str, words: list[str], said: str) -> None:
    done = run(script, *words, env=place.env)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_wrong_duration_is_named_before_anything_happens(place: Place) -> None:
    assert place.start(READY_TIMEOUT="soon").returncode == 2
    assert not place.pidfile.exists()
    place.pidfile.write_text("0\n")
    done = place.stop(GRACEFUL_TIMEOUT="long")
    assert done.returncode == 2
    assert "GRACEFUL_TIMEOUT='long': expected seconds" in done.stderr
