"""What commands say of clusters that are not there; and the stand-in for a master they talk to.

`FakeMaster` is a process of its own with a real scoreboard, which answers a request as its plan
says: the real master is tested with its workers in `tests/integration`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from deploy.state import desired, ledger, lock, request
from deploy.state.layout import Outcome
from deploy.state.process import start_ticks
from deploy.state.reload_record import NEVER, Reload
from deploy.state.scoreboard import Master, Scoreboard
from deploy.state.seat import Seat
from tests.cluster import ROOT
from tests.wait import wait_until

SIGNALS = {signal.SIGHUP, signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1}
MAX, DEFAULT = 6, 2  # what the stand-in makes of `max`, and of no number


@dataclass(frozen=True)
class Place:
    """The directories of a cluster, and commands about it."""

    root: Path

    @property
    def runtime(self) -> Path:
        return self.root / "run"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def env(self) -> dict[str, str]:
        ours = ("FORCE_COLOR", "NO_COLOR", "TTY_", "CLUSTER_", "MODE", "SUDO_USER")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return kept | {
            "RUNTIME_DIRECTORY": str(self.runtime),
            "STATE_DIRECTORY": str(self.state),
            "ENV_FILE": "/dev/null",  # not the developer's own
            "LOGNAME": "alice",
            "PYTHONWARNINGS": "error",
            "TZ": "UTC",
        }

    def start(
        self, *words: str, stderr: int = subprocess.PIPE, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Runs a command that the test does not wait for."""
        return subprocess.Popen(
            [sys.executable, "-m", "deploy", *words],
            cwd=ROOT,
            env=self.env | dict(env or {}),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        process = self.start(*words, env=env)
        stdout, stderr = process.communicate(timeout=100)
        return subprocess.CompletedProcess(words, process.returncode, stdout, stderr)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the stand-in is, and how it answers."""

    wanted: int = 3
    mode: str = "cluster"
    reload: str = "complete"  # a method of _Answers
    scale: str = "follow"  # follow, ignore, or short: the last worker stays in its boot
    failing: str = ""
    rows: list[list[int | str]] = field(default_factory=list)  # more: slot, state


@contextlib.contextmanager
def fake_master(root: Path, **plan: Any) -> Iterator[FakeMaster]:
    """A stand-in that is ready, until the end of the block."""
    place = Place(root)
    place.runtime.mkdir(exist_ok=True)
    words = [sys.executable, "-m", "tests.deploy.test_ops_cluster", str(root), json.dumps(plan)]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        with process.stdout as said:
            assert said.readline() == "ready\n"
        yield FakeMaster(place, process)
    finally:
        process.kill()
        process.wait()


class FakeMaster:
    """The stand-in as its test sees it."""

    def __init__(self, place: Place, process: subprocess.Popen[str]):
        self.place = place
        self.process = process

    @property
    def board(self) -> Scoreboard:
        return Scoreboard.open(self.place.runtime / "scoreboard")

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.place.run(*words, **env)

    def go_on(self) -> None:
        """Lets a held reload end."""
        self.process.send_signal(signal.SIGUSR1)

    def wait_reload_begun(self) -> Reload:
        """The reload that was asked for; one before it may be on the board for a moment."""

        def begun() -> Reload | None:
            record = self.board.reload()
            ours = record.request and record.outcome == Outcome.RUNNING
            return record if ours else None

        found = wait_until(begun, what="a running reload")
        assert found is not None
        return found


class _Answers:
    """The stand-in itself: one method for each way in which a reload goes."""

    def __init__(self, root: Path, plan: Plan):
        self.place = Place(root)
        self.plan = plan
        self.seats: dict[int, Seat] = {}
        self.asked: request.Request | None = None
        self.master = Master(
            pid=os.getpid(),
            start_ticks=start_ticks(os.getpid()) or 0,
            started=time.time(),
            mode=plan.mode,
            wanted=plan.wanted,
            generation=1,
            release="aaa111",
            app_name="Smart Factory",
            address="127.0.0.1:3000",
        )
        self._make_board()
        self.board.fail(plan.failing)

    def serve(self) -> None:
        while True:
            number = signal.sigwait(SIGNALS)
            if number == signal.SIGTERM:
                self.board.remove()
                return
            if number == signal.SIGHUP:
                self.asked = request.take(self.place.runtime)
                getattr(self, self.plan.reload)()
            if number == signal.SIGCHLD and self.plan.scale != "ignore":
                self._rescale()

    def complete(self) -> None:
        now = time.time()
        self._say(phase="worker-1 of 3")
        self._say(outcome=Outcome.COMPLETE, release="bbb222", started=now - 1.25, ended=now)

    def refuse(self) -> None:
        self._say(phase="loading")
        self._say(
            outcome=Outcome.REFUSED,
            release="bbb222",
            reason="the application does not load: ImportError: no module named 'nope'",
            traceback="Traceback (most recent call last):\nImportError: no module named 'nope'",
            ended=time.time(),
        )

    def never(self) -> None:
        pass

    def stuck(self) -> None:
        self._say(phase="worker-2 of 3", release="bbb222")

    def held(self) -> None:
        self._say(phase="worker-2 of 3", release="bbb222")
        signal.sigwait({signal.SIGUSR1})
        self.complete()

    def die(self) -> None:
        self._say(phase="worker-2 of 3")
        os.kill(os.getpid(), signal.SIGKILL)

    def die_with_a_word(self) -> None:
        self.refuse()
        os.kill(os.getpid(), signal.SIGKILL)

    def after_another(self) -> None:
        self._say(request="", number=1, phase="worker-3 of 3")
        self._say(request="", number=1, outcome=Outcome.REFUSED, reason="not ours")
        self.held()

    def overtaken(self) -> None:
        assert self.asked is not None
        facts = {"release": "bbb222", "request": self.asked.id}
        ledger.append(self.place.state, "reload", who="alice", outcome="complete", **facts)
        self._say(request="", number=3, phase="worker-1 of 3", release="ccc333")

    def on_a_new_board(self) -> None:
        self._make_board()
        self.complete()

    def another_takes_the_board(self) -> None:
        Scoreboard.create(self.board.path, replace(self.master, pid=1, start_ticks=0))

    def _say(self, **words: Any) -> None:
        assert self.asked is not None
        first: dict[str, Any] = {
            "number": 2,
            "request": self.asked.id,
            "outcome": Outcome.RUNNING,
            "started": time.time(),
        }
        self.board.describe_reload(replace(NEVER, **(first | words)))

    def _make_board(self) -> None:
        self.board = Scoreboard.create(self.place.runtime / "scoreboard", self.master)
        self.seats.clear()
        for slot in range(1, self.master.wanted + 1):
            self._seat(slot)
        for more, state in self.plan.rows:
            self._seat(int(more), str(state))

    def _seat(self, slot: int, state: str = "ready") -> None:
        seat = self.board.claim(slot, generation=1, release="aaa111")
        assert seat is not None
        seat.occupy(os.getpid())
        if state != "booting":
            seat.ready()
            seat.beat()
        if state == "draining":
            seat.drain()
        else:
            self.seats[slot] = seat

    def _rescale(self) -> None:
        asked = desired.read(self.place.state).workers
        wanted = asked if isinstance(asked, int) else {"max": MAX, None: DEFAULT}[asked]
        for slot in sorted(self.seats):
            if slot > wanted:
                self.board.vacate(self.seats.pop(slot))
        for slot in range(1, wanted + 1):
            if slot not in self.seats:
                late = self.plan.scale == "short" and slot == wanted
                self._seat(slot, "booting" if late else "ready")
        self.master = replace(self.master, wanted=wanted)
        self.board.describe(self.master)


def _main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    answers = _Answers(Path(sys.argv[1]), Plan(**json.loads(sys.argv[2])))
    print("ready", flush=True)
    answers.serve()


COMMANDS = (["reload"], ["describe", "1"])


@pytest.mark.parametrize("words", COMMANDS)
def test_a_cluster_that_does_not_run_is_code_3(tmp_path: Path, words: list[str]) -> None:
    done = Place(tmp_path).run(*words)
    assert done.returncode == 3
    assert done.stdout == ""
    error, step = done.stderr.splitlines()
    assert error == f"Error: smart-factory is not running (no scoreboard in {tmp_path / 'run'})"
    assert step.startswith("Next step: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [*COMMANDS, ["scale", "+1"]])
def test_a_killed_master_is_not_taken_for_a_running_one(tmp_path: Path, words: list[str]) -> None:
    with fake_master(tmp_path) as master:
        master.process.kill()
        master.process.wait()
        done = master.run(*words)
    assert done.returncode == 3
    assert "smart-factory is not running" in done.stderr


def test_a_file_that_is_no_board_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "scoreboard").write_text("x")
    done = Place(tmp_path).run("describe", "1")
    assert done.returncode == 3
    assert "is no scoreboard" in done.stderr


@pytest.mark.parametrize("words", [["reload"], ["scale", "4"]])
def test_one_operation_at_a_time_is_code_5(tmp_path: Path, words: list[str]) -> None:
    with fake_master(tmp_path) as master, lock.operation(master.place.state, "rollback release"):
        done = master.run(*words)
    assert done.returncode == 5
    error, step = done.stderr.splitlines()
    said = f"Error: another operation is running: 'rollback release' (pid {os.getpid()}) since "
    assert error.startswith(said)
    assert step == "Next step: wait until it has ended, then try again"


@pytest.mark.parametrize("words", [["reload"], ["scale", "4"]])
def test_a_state_directory_that_takes_no_file_is_named(tmp_path: Path, words: list[str]) -> None:
    with fake_master(tmp_path) as master:
        master.place.state.write_text("in the way")
        done = master.run(*words)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: cannot write to {tmp_path / 'state'} (File exists)\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("words", [["reload"], ["scale", "4"]])
def test_who_may_not_signal_the_master_leaves_nothing_behind(
    tmp_path: Path, words: list[str]
) -> None:
    code = """
import contextlib, os, sys
from deploy.ops.cli import main
with contextlib.suppress(SystemExit):
    main(["describe", "1", "--interval", "0"])  # imports what nobody may read in root's home
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
main(sys.argv[1:])
"""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # others may enter it
        Path(name).chmod(0o777)
        with fake_master(Path(name)) as master:
            for directory in (master.place.runtime, master.place.state):
                directory.mkdir(exist_ok=True)
                directory.chmod(0o777)
            done = subprocess.run(
                [sys.executable, "-c", code, *words],
                cwd=ROOT,
                env=master.place.env,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 1
            pid = master.process.pid
            assert done.stderr.startswith(
                f"Error: not allowed to signal the master, pid {pid}\nNext step: run the command as"
            )
            assert not (master.place.runtime / request.FILE).exists()
            assert not (master.place.state / desired.FILE).exists()


def test_the_directories_may_come_from_the_env_file(tmp_path: Path) -> None:
    with fake_master(tmp_path) as master:
        env_file = tmp_path / "settings.env"
        env_file.write_text(f"RUNTIME_DIRECTORY={master.place.runtime}\n")
        done = master.run("describe", "1", RUNTIME_DIRECTORY="", ENV_FILE=str(env_file))
        assert done.returncode == 0, done.stderr
        missing = master.run("describe", "1", ENV_FILE=str(tmp_path / "missing"))
    assert missing.returncode == 2
    assert "ENV_FILE=" in missing.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["describe"],
        ["reload", "--timeout", "0"],
        ["reload", "now"],
        ["history", "-n", "0"],
        ["scale"],
        ["restart"],
    ],
)
def test_wrong_usage_is_code_2(tmp_path: Path, words: list[str]) -> None:
    done = Place(tmp_path).run(*words)
    assert done.returncode == 2
    assert "Error: " in done.stderr


def test_every_command_explains_itself(tmp_path: Path) -> None:
    listed = Place(tmp_path).run("--help").stdout
    for name in ("status", "describe", "reload", "scale", "history"):
        assert f"  {name} " in listed
        assert "Usage: " in Place(tmp_path).run(name, "-h").stdout
    assert "..." not in listed.partition("Commands:")[2]  # no short help is cut


if __name__ == "__main__":
    _main()
