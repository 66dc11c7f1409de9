"""`status` and the consumers: their answer as it came, and whatever they do instead of answering.

A process that sits in a release's directory stands in for the cluster.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from deploy.ops.consumers import parse
from deploy.ops.embedded_postgres import EmbeddedPostgres
from deploy.state.process import start_ticks
from deploy.state.scoreboard import Master, Scoreboard
from tests.deploy.test_ops_cluster import Place, fake_master
from tests.integration import own_application
from tests.processes import runs
from tests.wait import wait_until

NOBODY = 65534
OWN = "app.wsgi:app"
PURCHASE: dict[str, Any] = {
    "consumer": "purchase",
    "group": "purchase-creation-workers",
    "topic": "purchase-confirmed",
    "instances": 2,
    "state": "running",
    "detail": "",
    "lag": 17,
    "per_second": 12.5,
    "processed": 1000,
    "redelivered": 3,
    "retried": 2,
    "dead_lettered": 4,
    "dead_letters_waiting": 1,
}
PAUSED = PURCHASE | {
    "consumer": "cache",
    "state": "paused",
    "detail": "Postgres is away: [refused]",
}
UNSEEN = PURCHASE | {"consumer": "session", "state": "stopped", "instances": 0, "lag": None}
ANSWER = {
    "bus": "postgres",
    "consumers": [PURCHASE, UNSEEN],
    "outbox": {"waiting": 0, "oldest_s": None},
}
SAYS_WHAT_IT_FOUND = """
import json, os, sys
found = {"words": sys.argv[1:], "url": os.environ.get("DATABASE_URL"), "at": os.getcwd()}
print("a warning", file=sys.stderr)
print(json.dumps({"bus": "postgres", "consumers": [], "found": found}))
"""


@dataclass(frozen=True)
class Installed:
    """A cluster of an installation with one release, and the command about it."""

    place: Place

    @property
    def release(self) -> Path:
        return self.place.root / "releases" / "20261125-101500-0a1b2c3"

    def write(self, consumers: str) -> None:
        """What `python -m app.consumers` of the release does."""
        own_application.write(self.release)
        (self.release / "app/consumers/__main__.py").write_text(consumers)

    def status(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        given = {"SMART_FACTORY_ROOT": str(self.place.root), "DATABASE_URL": ""}
        return self.place.run("status", "--interval", "0", *words, **(given | env))

    def facts(self, **env: str) -> Any:
        done = self.status("--json", **env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["consumers"]

    @contextlib.contextmanager
    def running(
        self,
        directory: Path | None = None,
        *,
        application: str = OWN,
        script: str = "import sys; sys.stdin.read()",
        environ: Mapping[str, str] | None = None,
    ) -> Iterator[None]:
        """A process in the directory, which the board takes for the master and its worker."""
        self.place.runtime.mkdir(exist_ok=True)
        self.place.state.mkdir(exist_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=directory or self.release,
            env={**os.environ, **(environ or {})},
            stdin=subprocess.PIPE,
        )
        try:
            board = Scoreboard.create(
                self.place.runtime / "scoreboard",
                Master(
                    pid=process.pid,
                    start_ticks=start_ticks(process.pid) or 0,
                    started=time.time(),
                    mode="cluster",
                    wanted=1,
                    generation=1,
                    release="aaa111",
                    app_name="Smart Factory",
                    address="127.0.0.1:3000",
                    application=application,
                ),
            )
            seat = board.claim(1, generation=1, release="aaa111")
            assert seat is not None
            seat.occupy(process.pid)
            seat.ready()
            yield
        finally:
            process.communicate(timeout=60)


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    return Installed(Place(tmp_path))


def printing(answer: object) -> str:
    return f"print({json.dumps(answer)!r})\n"


def test_the_object_is_handed_on_as_it_came(installed: Installed) -> None:
    installed.write(printing(ANSWER))
    with installed.running():
        assert installed.facts() == ANSWER


def test_a_table_of_their_own_stands_below_the_workers(installed: Installed) -> None:
    installed.write(printing(ANSWER))
    with installed.running():
        done = installed.status()
    assert done.returncode == 0, done.stderr
    *_, worker, space, header, purchase, session = done.stdout.splitlines()
    assert worker.startswith("worker-1 ")
    assert space == ""
    assert " ".join(header.split()) == "consumer state instances lag events/s retries dead letters"
    assert purchase.split() == ["purchase", "running", "2", "17", "12.5", "2", "1"]
    assert session.split() == ["session", "stopped", "0", "-", "12.5", "2", "1"]


def test_why_one_is_paused_is_said(installed: Installed) -> None:
    installed.write(printing(ANSWER | {"consumers": [PURCHASE, PAUSED]}))
    with installed.running():
        done = installed.status()
    assert done.returncode == 0  # it is about the workers
    assert done.stdout.splitlines()[-3].rstrip().endswith("  detail")
    assert done.stdout.rstrip().endswith("1  Postgres is away: [refused]")


def test_what_they_cannot_tell_themselves_is_said(installed: Installed) -> None:
    answer = ANSWER | {"error": "the broker is away"}
    installed.write(printing(answer))
    with installed.running():
        assert installed.facts() == answer
        *_, session, last = installed.status().stdout.splitlines()
    assert session.startswith("session ")
    assert last == "not all of it is known: the broker is away"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("print('Hello')", "their answer cannot be read: 'Hello'"),
        ("print('[]')", "their answer cannot be read: '[]'"),
        ("", "their answer cannot be read: ''"),
        ("import sys; sys.exit(3)", "it said nothing"),
        (
            "import sys; print('{}'); sys.exit('Error: Postgres is away: \\x1b[31mrefused')",
            "Postgres is away:  [31mrefused",
        ),
        ("raise ValueError('broken')", "ValueError: broken"),
    ],
)
def test_without_an_answer_it_says_why_and_goes_on(
    installed: Installed, script: str, why: str
) -> None:
    installed.write(script)
    with installed.running():
        assert installed.facts() == {"error": why}
        done = installed.status()
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == f"consumers: unknown ({why})"


def test_those_that_hang_are_given_up_and_ended(installed: Installed) -> None:
    note = installed.place.root / "pid"
    installed.write(
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"with open({str(note)!r}, 'w') as file:\n"
        "    file.write(str(os.getpid()))\n"
        "print('{', flush=True)\n"
        "time.sleep(600)\n"
    )
    with installed.running():
        assert installed.facts() == {"error": "no answer within 5 s"}
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(int(note.read_text()))
        wait_until(lambda: not runs(process), what="the hanging one to be ended")


def test_they_have_the_interval_as_well(installed: Installed) -> None:
    installed.write("import time\ntime.sleep(600)\n")
    with installed.running():
        done = installed.place.run(
            *("status", "--interval", "0.5"), SMART_FACTORY_ROOT=str(installed.place.root)
        )
    assert done.stdout.splitlines()[-1] == "consumers: unknown (no answer within 5.5 s)"


@pytest.mark.parametrize("application", ["other.wsgi:app", ""])  # an older kit says nothing
def test_of_another_application_nothing_is_asked(installed: Installed, application: str) -> None:
    note = installed.place.root / "asked"
    installed.write(f"open({str(note)!r}, 'w')\n")
    with installed.running(application=application):
        assert installed.facts() is None
        assert "consumer" not in installed.status().stdout
    assert not note.exists()


def test_a_release_that_brings_none_is_asked_nothing(installed: Installed) -> None:
    own_application.write(installed.release)
    with installed.running():
        assert installed.facts() is None


def test_without_a_cluster_there_is_nobody_to_ask(installed: Installed) -> None:
    done = installed.status("--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["consumers"] is None
    assert "consumer" not in installed.status().stdout


def test_nothing_is_run_that_lies_elsewhere(installed: Installed) -> None:
    note = installed.place.root / "asked"
    installed.write(f"open({str(note)!r}, 'w')\n")
    elsewhere = installed.place.root / "elsewhere"
    installed.release.rename(elsewhere)
    (installed.place.root / "releases").mkdir(exist_ok=True)
    with installed.running(elsewhere):
        said = f"the cluster runs in {elsewhere}: ask with the command there"
        assert installed.facts() == {"error": said}
    assert not note.exists()


def test_they_are_asked_in_the_release_with_what_the_operator_has(installed: Installed) -> None:
    installed.write(SAYS_WHAT_IT_FOUND)
    url = "postgresql://127.0.0.1:1/mine"
    with installed.running():
        assert installed.facts(DATABASE_URL=url)["found"] == {
            "words": ["status", "--json"],
            "url": url,
            "at": str(installed.release),
        }


def test_in_development_they_are_asked_with_what_the_start_has_given_them(
    installed: Installed,
) -> None:
    ready = installed.place.root / "ready"
    installed.write(
        "import sys\n"
        "if sys.argv[1] == 'develop':\n"
        f"    open({str(ready)!r}, 'w')\n"
        "    sys.exit(sys.stdin.read())\n"
        f"{SAYS_WHAT_IT_FOUND}"
    )
    url = "postgresql://127.0.0.1:1/of-the-start"
    master = (
        "import subprocess, sys\n"
        "words = [sys.executable, '-m', 'app.consumers', 'develop', '--hold']\n"
        "with subprocess.Popen(words, stdin=subprocess.PIPE):\n"
        "    sys.stdin.read()\n"
    )
    with installed.running(script=master, environ={"DATABASE_URL": url}):
        wait_until(ready.exists, what="the consumers beside the workers")
        assert installed.facts(DATABASE_URL="postgresql://other/")["found"]["url"] == url


def test_the_embedded_database_is_found_where_the_cluster_runs(installed: Installed) -> None:
    installed.write(SAYS_WHAT_IT_FOUND)
    with installed.running():
        assert not installed.facts()["found"]["url"]
        data = installed.release / "var" / "postgres"
        postgres = EmbeddedPostgres(data, options={"fsync": "off"})
        url = postgres.start()
        try:
            assert EmbeddedPostgres(data).running_url == url
            assert installed.facts()["found"]["url"] == url
        finally:
            postgres.stop()
        assert EmbeddedPostgres(data).running_url is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_root_asks_as_who_owns_the_state() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # others may enter it
        installed = Installed(Place(Path(name)))
        installed.place.root.chmod(0o755)
        installed.write("")
        python = installed.release / ".venv" / "bin" / "python"  # ours may be closed to others
        python.parent.mkdir(parents=True)
        python.write_text('#!/bin/sh\necho "{\\"consumers\\": [], \\"uid\\": $(id -u)}"\n')
        python.chmod(python.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        with installed.running():
            os.chown(installed.place.state, NOBODY, NOBODY)
            assert installed.facts() == {"consumers": [], "uid": NOBODY}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_users_cluster_is_not_looked_into() -> None:
    code = """
import contextlib, os, sys
from deploy.ops.cli import main
with contextlib.suppress(SystemExit):
    main(["status", "--interval", "0"])  # imports what nobody may read in root's home
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
main(["status", "--interval", "0"])
"""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        installed = Installed(Place(Path(name)))
        installed.place.root.chmod(0o755)
        installed.write("")
        with installed.running():
            done = subprocess.run(
                [sys.executable, "-c", code],
                env=installed.place.env | {"SMART_FACTORY_ROOT": name},
                capture_output=True,
                text=True,
                check=False,
            )
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("consumers: unknown (process ")
    assert last.endswith(" is another user's: ask as that user, or as root)")


def test_monit_and_describe_do_not_ask(installed: Installed) -> None:
    note = installed.place.root / "asked"
    installed.write(f"open({str(note)!r}, 'w')\n")
    with installed.running():
        for words in (["monit", "--json", "--interval", "0.1"], ["describe", "1"]):
            assert installed.place.run(*words).returncode == 0
    assert not note.exists()


def test_a_stand_in_of_the_kits_own_tests_is_no_application_of_ours(tmp_path: Path) -> None:
    with fake_master(tmp_path) as master:
        done = master.run("status", "--json", "--interval", "0")
    assert json.loads(done.stdout)["consumers"] is None


@pytest.mark.parametrize(
    "text", ["", "null", "{}", '{"consumers": 1}', '{"consumers": [1]}', "[" * 9]
)
def test_what_is_no_answer_is_not_taken_for_one(text: str) -> None:
    answer = parse(text)
    assert answer is not None
    assert list(answer) == ["error"]
