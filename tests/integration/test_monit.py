"""`monit` on a real terminal: what is drawn, what keys do, and how the terminal is given back."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.state import layout
from tests.cluster import ROOT, Cluster
from tests.wait import wait_until

_ALTERNATE_ON, _ALTERNATE_OFF = "\033[?1049h", "\033[?1049l"
_OWN = {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"}
_SEQUENCE = re.compile(r"\033\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A pseudo-terminal with `monit` on it; a thread reads what is drawn."""

    def __init__(self, cluster: Cluster, *words: str, **env: str):
        self._ours, self._theirs = pty.openpty()
        self.resize(100, 30)
        self.before = termios.tcgetattr(self._theirs)
        given = cluster._env  # noqa: SLF001
        inherited = {name: value for name, value in given.items() if name not in _OWN}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "deploy", "monit", "--interval", "0.2", *words],
            cwd=ROOT,
            env=inherited | {"TERM": "xterm-256color", "PYTHONUTF8": "1", **env},
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            start_new_session=True,
        )
        self.drawn = ""
        self._end = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._end.set()
        self._reader.join()
        os.close(self._ours)
        os.close(self._theirs)

    def _read(self) -> None:
        raw = b""
        while not self._end.is_set():
            if select.select([self._ours], [], [], 0.05)[0]:
                raw += os.read(self._ours, 1 << 16)
                self.drawn = raw.decode(errors="ignore")

    @property
    def screen(self) -> str:
        """What was drawn last, whole."""
        *_, whole, _ = ["", "", *self.drawn.split("\033[H")]
        return _SEQUENCE.sub("", whole)

    def shows(self, pattern: str) -> None:
        """Waits until the pattern is on the screen."""
        try:
            wait_until(lambda: re.search(pattern, self.screen), what=f"{pattern!r} on the screen")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.screen}\n{self.drawn[-500:]!r}") from None

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def ended(self) -> int:
        """Waits for its end; the terminal must be as it was."""
        code = self.process.wait(20)
        assert termios.tcgetattr(self._theirs) == self.before
        wait_until(lambda: _ALTERNATE_OFF in self.drawn, what="the former screen")
        assert self.drawn.count(_ALTERNATE_ON) == 1
        assert self.drawn.rindex("\033[?25h") > self.drawn.rindex("\033[?25l")  # the cursor
        return code


@contextlib.contextmanager
def terminal(cluster: Cluster, *words: str, **env: str) -> Iterator[Terminal]:
    opened = Terminal(cluster, *words, **env)
    try:
        yield opened
    finally:
        opened.close()


def test_it_shows_the_cluster_and_scales_it_by_a_key(cluster: Cluster) -> None:
    with terminal(cluster) as screen:
        screen.shows(r"Smart Factory  ready  3/3 ready · cluster .* master \d+")
        screen.shows(r"worker-3 +\d+  ready ")
        screen.shows(r"GET /health: p50 \d+\.\d ms")
        screen.type("+")
        screen.shows(r"scale \+1: Scaled from 3 to 4 workers")
        screen.shows(r"worker-4 +\d+  ready ")
        screen.shows(r"\d\d:\d\d  scale  taken over ")
        screen.type("jj\r")
        screen.shows(r"worker-3  ready  0 restarts")
        screen.type("\033")
        screen.shows(r"req/s  busy")
        screen.type("q")
        assert screen.ended() == 0
    assert len(cluster.pids()) == 4


def test_a_reload_is_asked_about_and_its_refusal_shown(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text("def app(environ, start):\n    start('200 OK', [])\n    return [b'ok']\n")
    with (
        Cluster(tmp_path, "--chdir", str(tmp_path), "app:app") as cluster,
        terminal(cluster) as screen,
    ):
        screen.shows("3/3 ready")
        app.write_text("raise RuntimeError('broken on purpose')")
        screen.type("r")
        screen.shows(r"reload\? y/n")
        screen.type("n")
        screen.shows("q quit")
        assert "reload" not in cluster.command("history").stdout
        screen.type("ry")
        screen.shows("reload: Reload refused: .*broken on purpose")
        screen.shows("reload  refused ")
        screen.shows("3/3 ready")


@pytest.mark.parametrize(
    ("end", "code"), [("\003", 0), ("\033", 0), (signal.SIGTERM, -15), (signal.SIGHUP, -1)]
)
def test_the_terminal_is_given_back(tmp_path: Path, end: str | int, code: int) -> None:
    with terminal(Cluster(tmp_path, app="plain:app")) as screen:
        screen.shows("smart-factory is not running")
        if isinstance(end, str):
            screen.type(end)
        else:
            screen.process.send_signal(end)
        assert screen.ended() == code


def test_the_terminal_is_given_back_after_an_error(cluster: Cluster) -> None:
    with terminal(cluster) as screen:
        screen.shows("3/3 ready")
        with (cluster.runtime / "scoreboard").open("r+b") as board:
            board.seek(layout.RELOAD_OFFSET + 8)
            board.write(layout.UNSIGNED.pack(99))  # no outcome of a reload
        assert screen.ended() == 1
        wait_until(lambda: "99 is not a valid Outcome" in screen.drawn, what="the error")


def test_it_outlives_the_master_and_sees_the_next_one(cluster: Cluster) -> None:
    with terminal(cluster) as screen:
        screen.shows("3/3 ready")
        cluster.stop()
        screen.shows("smart-factory is not running .*\n.*waiting for it to start")
        cluster.start()
        screen.shows("3/3 ready")
        assert screen.process.poll() is None


def test_it_follows_the_size_of_the_terminal(cluster: Cluster) -> None:
    with terminal(cluster, NO_COLOR="1") as screen:
        screen.shows("pss  release")
        screen.resize(60, 15)
        screen.process.send_signal(signal.SIGWINCH)
        wait_until(
            lambda: (
                "pss" not in screen.screen
                and "worker-3" in screen.screen
                and screen.screen.count("\n") == 14
            ),
            what="a screen of 60 by 15",
        )
        screen.resize(10, 3)
        screen.process.send_signal(signal.SIGWINCH)
        wait_until(lambda: screen.screen.count("\n") == 2, what="a screen of 3 lines")
        assert screen.process.poll() is None
        assert "\033[32m" not in screen.drawn


def test_an_operation_goes_on_when_monit_is_left(tmp_path: Path) -> None:
    with Cluster(tmp_path, app="plain:app") as cluster, terminal(cluster) as screen:
        screen.shows("3/3 ready")
        screen.type("+q")
        assert screen.ended() == 0
        wait_until(lambda: "scale +1 goes on" in screen.drawn, what="the last line")
        wait_until(lambda: len(cluster.pids()) == 4, what="the fourth worker")


def test_once_prints_one_screen_as_text(cluster: Cluster) -> None:
    done = cluster.command("monit", "--once", "--interval", "0.2")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Smart Factory  ready  3/3 ready · cluster")
    assert re.search(r"GET /health: p50 \d+\.\d ms  p95 \d+\.\d ms  \(5 requests\)", done.stdout)
    assert re.search(r"\nworker-3 +\d+  ready ", done.stdout)
    assert "\033" not in done.stdout
    facts = json.loads(cluster.command("monit", "--json", "--interval", "0.2").stdout)
    assert (facts["state"], len(facts["slots"])) == ("ready", 3)
    assert facts["latency"]["p95_ms"] >= facts["latency"]["p50_ms"] > 0


def test_a_dumb_terminal_is_refused(tmp_path: Path) -> None:
    with terminal(Cluster(tmp_path, app="plain:app"), TERM="dumb") as screen:
        assert screen.process.wait(20) == 2
        wait_until(lambda: "monit --once" in screen.drawn, what="the next step")
        assert _ALTERNATE_ON not in screen.drawn
