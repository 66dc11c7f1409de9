"""The containers themselves: what a test may rely on, and that a loss would be seen."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cluster import ROOT
from tests.processes import runs
from tests.system.conftest import DATABASE_URL, SOURCE
from tests.system.container import Container
from tests.wait import wait_until

_SERVER = "python3 -m http.server --protocol HTTP/1.1 --bind 127.0.0.1 --directory /srv/small 3000"
_NOBODY_LISTENS = 3999
_BOOT = """
import sys
from pathlib import Path
from tests.system.container import Container
with Container([Path(sys.argv[1])], Path(sys.argv[2])) as container:
    print(container.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def serving(bare_machine: Container) -> Iterator[Container]:
    """With a small server on port 3000, the unit small.service."""
    bare_machine.write("/srv/small/health", "ok")
    unit = f"[Service]\nExecStart={_SERVER}\n"
    bare_machine.write("/etc/systemd/system/small.service", unit)
    bare_machine.systemctl("daemon-reload")
    _start(bare_machine)
    yield bare_machine
    bare_machine.systemctl("stop", "small.service")


def _start(machine: Container) -> None:
    machine.systemctl("start", "small.service")
    machine.wait(": </dev/tcp/127.0.0.1/3000", what="the small server to listen")


def test_a_real_systemd_is_up(bare_machine: Container) -> None:
    assert bare_machine.systemctl("--version").stdout.startswith("systemd 257 ")
    assert bare_machine.systemctl("is-system-running").stdout == "running\n"
    assert bare_machine.sh("cat /proc/1/comm").stdout == "systemd\n"


def test_its_network_is_loopback_alone(bare_machine: Container) -> None:
    assert bare_machine.sh("ls /sys/class/net").stdout == "lo\n"


def test_a_command_gets_its_input_and_no_variable_of_ours(
    bare_machine: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "/elsewhere")
    done = bare_machine.sh("cat; env", input="said\n", env={"GIVEN": "a b"})
    assert done.stdout.startswith("said\n")
    assert "GIVEN=a b\n" in done.stdout
    assert "PIP_FIND_LINKS" not in done.stdout


def test_a_command_that_fails_says_why(bare_machine: Container) -> None:
    with pytest.raises(AssertionError, match="exit code 3\nout\nerr\n"):
        bare_machine.sh("echo out; echo err >&2; exit 3")
    assert bare_machine.sh("exit 3", check=False).returncode == 3


def test_no_command_runs_where_no_container_does(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="the container does not run"):
        Container([], tmp_path).run("true")


def test_a_run_that_is_killed_leaves_no_container(debian: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _BOOT, str(debian), str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout is not None
        try:
            init = psutil.Process(int(run.stdout.readline()))
        finally:
            run.kill()
            run.wait()
            subprocess.run(["umount", "--lazy", str(tmp_path / "root")], check=True)
    wait_until(lambda: not runs(init), what="the container to end", seconds=60)


def test_a_path_leads_to_the_same_file(bare_machine: Container) -> None:
    for inside in ("/srv/a b/file", "/run/file", "/tmp/file"):  # noqa: S108 - the container's
        bare_machine.write(inside, "text", mode=0o640)
        assert bare_machine.path(inside).read_text() == "text"
        assert bare_machine.path(inside).stat().st_mode & 0o777 == 0o640


def test_the_source_is_a_committed_tree(bare_machine: Container) -> None:
    assert bare_machine.sh(f"git -C {SOURCE} status --porcelain").stdout == ""
    log = bare_machine.sh(f"git -C {SOURCE} log --oneline").stdout
    assert log.count("\n") == 1
    bare_machine.sh(f"test -x {SOURCE}/deploy/scripts/install.sh")


def test_pip_needs_no_network(bare_machine: Container) -> None:
    bare_machine.sh("python3 -m venv /srv/venv && /srv/venv/bin/pip install --quiet humanize")
    bare_machine.sh("/srv/venv/bin/python -c 'import humanize'")


def test_a_reboot_keeps_files_and_starts_postgres(bare_machine: Container) -> None:
    bare_machine.write("/srv/kept", "as it was")
    bare_machine.write("/run/gone", "")
    before = bare_machine.pid
    bare_machine.reboot()
    assert bare_machine.pid != before
    assert bare_machine.path("/srv/kept").read_text() == "as it was"
    assert not bare_machine.path("/run/gone").exists()
    bare_machine.wait("pg_isready --quiet", what="Postgres")
    asked = ("psql", "--no-align", "--tuples-only", "--command=SELECT current_user", DATABASE_URL)
    answer = bare_machine.run("runuser", "-u", "smart-factory", "--", *asked)
    assert answer.stdout == "smart-factory\n"


def test_a_request_is_answered_from_inside(serving: Container) -> None:
    answer = serving.get("/health")
    assert (answer.status, answer.body) == (200, b"ok")
    assert serving.get("/none").status == 404
    with pytest.raises(OSError, match="refused"):
        serving.get("/health", port=_NOBODY_LISTENS)


def test_a_load_loses_nothing_with_a_server(serving: Container) -> None:
    with serving.load("/health", rate=50) as load:
        serving.sh("true")
    assert load.sent >= 25, load.report
    assert load.failed == 0, load.report


def test_a_load_counts_what_is_refused(serving: Container) -> None:
    with serving.load("/health", port=_NOBODY_LISTENS, rate=50) as load:
        serving.sh("true")
    assert load.sent >= 25, load.report
    assert load.report["failures"] == {"refused": load.sent}


def test_a_load_sees_a_server_s_restart_and_goes_on(serving: Container) -> None:
    with serving.load("/health", rate=100) as load:
        serving.systemctl("stop", "small.service")
        _start(serving)
    assert 0 < load.failed < load.sent, load.report
    assert "refused" in load.report["failures"], load.report
