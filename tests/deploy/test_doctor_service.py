"""`doctor`: what it makes of configuration, database, releases and what lies about."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from deploy.ops.checks.configuration import (
    Kept,
    judge_env_file,
    judge_environment,
    judge_proxies,
    judge_secrets,
)
from deploy.ops.checks.context import run
from deploy.ops.checks.database import judge_connections, judge_database, judge_migrations
from deploy.ops.checks.finding import Verdict
from deploy.ops.checks.pm2 import judge_pm2
from deploy.ops.checks.releases import judge_running
from deploy.ops.checks.service import Listener, judge_address, judge_cluster
from deploy.state import lock
from tests.deploy.examined import (
    FAIL,
    ID,
    OK,
    OTHER_ID,
    SKIPPED,
    WARN,
    finding,
    machine,
    release,
    write,
)
from tests.wait import wait_until


@pytest.mark.parametrize(
    ("state", "production", "plain", "verdict"),
    [
        ("ready", True, False, OK),
        ("starting", True, False, WARN),
        ("degraded", False, False, FAIL),
        ("stopped", True, False, FAIL),
        ("stopped", False, False, SKIPPED),
        ("stopped", True, True, WARN),
    ],
)
def test_cluster(state: str, production: bool, plain: bool, verdict: Verdict) -> None:
    found = judge_cluster(state, "why", production=production, plain=plain)
    assert found.verdict is verdict


@pytest.mark.parametrize(
    ("listeners", "running", "verdict", "said"),
    [
        ([], False, OK, "free"),
        ([], True, FAIL, "nobody listens, though the service runs"),
        ([Listener(pid=7)], True, OK, "ours, pid 7"),
        ([Listener(pid=9, command="nginx")], False, FAIL, "taken by pid 9 (nginx)"),
        ([Listener(pid=7), Listener(pid=9, command="nginx")], True, WARN, "pid 9 (nginx) listens"),
        ([Listener(pid=None)], False, SKIPPED, "needs root"),
        ([Listener(pid=None)], True, OK, "root would see"),
    ],
)
def test_address(listeners: list[Listener], running: bool, verdict: Verdict, said: str) -> None:
    found = judge_address("127.0.0.1:3000", listeners, {7, 8}, running=running)
    assert (found.verdict, said in found.detail) == (verdict, True), found


def test_a_stale_unix_socket_is_free_for_us(tmp_path: Path) -> None:
    path = tmp_path / "machine/run/x.sock"
    context = machine(tmp_path, {"BIND": "unix:/run/x.sock"})
    assert finding("address", context).detail == f"{path}: free"
    path.parent.mkdir(parents=True)
    script = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    assert finding("address", context).detail == f"{path}: free"


# --- configuration


@pytest.mark.parametrize(
    ("app_env", "log_format", "url", "verdict", "said"),
    [
        ("production", "", "postgresql://db/x", OK, ""),
        ("development", "json", "", WARN, "APP_ENV=development"),
        ("production", "pretty", "", WARN, "LOG_FORMAT=pretty"),
        (
            "production",
            "",
            "postgresql://postgres@/postgres?host=%2Fsrv%2Fvar%2Fpostgres",
            WARN,
            "em",
        ),
        ("production", "", "postgresql:///x?host=/run/postgresql&user=x", OK, ""),
    ],
)
def test_environment(app_env: str, log_format: str, url: str, verdict: Verdict, said: str) -> None:
    found = judge_environment(app_env, log_format, url)
    assert (found.verdict, said in found.detail) == (verdict, True), found


def kept(name: str = "SECRET_KEY", **changed: Any) -> Kept:
    return Kept(**{"name": name, "where": f"/c/{name}", "length": 64, **changed})


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (kept(), ""),
        (kept(mode=0o600), ""),
        (kept(mode=0o400, owner=7), ""),
        (kept(mode=0o640), "/c/SECRET_KEY: mode 0640, others may read or write it"),
        (kept(mode=0o600, owner=9), "/c/SECRET_KEY: belongs to user 9"),
        (kept(length=9), "SECRET_KEY: 9 characters, expected at least 16"),
        (kept("OTHER"), "SECRET_KEY: neither a variable nor a credential"),
    ],
)
def test_secrets(found: Kept, said: str) -> None:
    findings = judge_secrets([found, kept("INTERNAL_TOKEN")], owners=(0, 7))
    assert [each.detail for each in findings] == ([said] if said else [])
    assert all(each.verdict is FAIL for each in findings)


@pytest.mark.parametrize(
    ("mode", "verdict"),
    [(0o640, OK), (0o600, OK), (0o400, OK), (0o660, WARN), (0o644, FAIL), (0o642, FAIL)],
)
def test_the_mode_of_the_environment_file(mode: int, verdict: Verdict) -> None:
    findings = judge_env_file(Path("/e"), mode)
    assert [each.verdict for each in findings] == ([] if verdict is OK else [verdict])


def test_secrets_of_an_installation_are_files(tmp_path: Path) -> None:
    (tmp_path / "root/releases").mkdir(parents=True)
    file = write(tmp_path / "env", "A=b\n", 0o640)
    folder = tmp_path / "machine/etc/smart-factory/credentials"
    for name in ("SECRET_KEY", "INTERNAL_TOKEN"):
        write(folder / name, "0123456789abcdef" * 4, 0o600)
    (tmp_path / "state").mkdir()
    context = machine(tmp_path, {"ENV_FILE": str(file)})
    assert finding("secrets", context).verdict is OK
    (folder / "SECRET_KEY").chmod(0o644)
    assert finding("secrets", context).verdict is FAIL
    (folder / "SECRET_KEY").unlink()
    missing = finding("secrets", context)
    assert (missing.verdict, missing.detail) == (
        FAIL,
        "SECRET_KEY: neither a variable nor a credential",
    )


@pytest.mark.parametrize(
    ("addresses", "trusted", "verdict"),
    [
        (["127.0.0.1:3000"], 0, WARN),
        (["127.0.0.1:3000", "/run/x.sock"], 1, OK),
        (["0.0.0.0:3000"], 0, OK),
        (["0.0.0.0:3000"], 1, WARN),
        (["127.0.0.1:3000", "10.0.0.1:80"], 1, WARN),
    ],
)
def test_proxies(addresses: list[str], trusted: int, verdict: Verdict) -> None:
    assert judge_proxies(addresses, trusted).verdict is verdict


# --- database


@pytest.mark.parametrize(
    ("changed", "verdict", "said"),
    [
        ({}, OK, "PostgreSQL 17.2, 0.4 ms a query"),
        ({"error": "connection refused"}, FAIL, "connection refused"),
        ({"read_only": True}, FAIL, "read-only"),
        ({"version": "13.9"}, WARN, "no longer supported"),
        ({"query_ms": 80.0}, WARN, "80.0 ms a query"),
    ],
)
def test_database(changed: Mapping[str, Any], verdict: Verdict, said: str) -> None:
    facts = {"version": "17.2", "query_ms": 0.4, "connect_ms": 3.0, "read_only": False}
    found = judge_database({**facts, **changed})
    assert (found.verdict, said in found.detail) == (verdict, True), found


@pytest.mark.parametrize(
    ("workers", "others", "verdict"),
    # (3 + 1) × 7 + 3 = 31 of 97; three for each worker are the least
    [(3, 66, OK), (3, 67, WARN), (3, 88, WARN), (3, 89, FAIL), (12, 3, OK), (12, 4, WARN)],
)
def test_connections(workers: int, others: int, verdict: Verdict) -> None:
    facts = {"max_connections": 100, "reserved": 3, "others": others}
    found = judge_connections(facts, workers=workers, pool=5, extra=2)
    assert found.verdict is verdict
    assert f"Postgres grants 97, others use {others}" in found.detail
    assert f"= {(workers + 1) * 7 + 3} connections at most" in found.detail


def entry(version: int, state: str, kind: str = "expand") -> dict[str, Any]:
    return {"version": version, "name": "x", "state": state, "kind": kind}


@pytest.mark.parametrize(
    ("entries", "verdict", "said"),
    [
        ([entry(1, "applied")], OK, "1 applied, none pending"),
        ([entry(1, "applied"), entry(2, "pending")], FAIL, "pending: 0002_x"),
        ([entry(1, "applied"), entry(2, "pending", "contract")], OK, "1 contract step(s) left"),
        ([entry(1, "changed")], FAIL, "changed after they were applied: 0001_x"),
        ([entry(9, "unknown")], OK, "none pending"),
    ],
)
def test_migrations(entries: list[dict[str, Any]], verdict: Verdict, said: str) -> None:
    found = judge_migrations(entries)
    assert (found.verdict, said in found.detail) == (verdict, True), found


# --- releases


def test_current_leads_to_a_release_that_works(tmp_path: Path) -> None:
    directory = release(tmp_path, ID, "LIVED")
    context = machine(tmp_path)
    assert finding("release", context).detail == "`current` leads nowhere"
    (tmp_path / "root/current").symlink_to(f"releases/{ID}")
    assert finding("release", context).detail == f"current: {ID}"
    assert finding("release", context).verdict is OK
    python = directory / ".venv/bin/python"
    python.write_text("#!/bin/sh\necho 'No module named gunicorn' >&2\nexit 1\n")
    broken = finding("release", context)
    assert (broken.verdict, broken.detail) == (
        FAIL,
        f"current: {ID}: its Python does not work: No module named gunicorn",
    )
    python.unlink()
    assert "is not on this machine" in finding("release", context).detail


@pytest.mark.parametrize(
    ("mark", "said"), [("FAILED", "has failed: the reason"), ("BUILDING", "never built to its end")]
)
def test_a_release_that_is_of_no_use_is_not_to_be_live(
    tmp_path: Path, mark: str, said: str
) -> None:
    release(tmp_path, ID, mark)
    (tmp_path / "root/current").symlink_to(f"releases/{ID}")
    found = finding("release", machine(tmp_path))
    assert (found.verdict, said in found.detail) == (FAIL, True)


def test_previous_is_a_release_to_return_to(tmp_path: Path) -> None:
    release(tmp_path, ID, "LIVED")
    assert finding("previous", machine(tmp_path)).verdict is SKIPPED
    directory = release(tmp_path, OTHER_ID)
    context = machine(tmp_path)
    assert finding("previous", context).verdict is WARN
    (tmp_path / "root/previous").symlink_to(f"releases/{OTHER_ID}")
    assert finding("previous", context).detail == f"previous: {OTHER_ID} has never served"
    (directory / "LIVED").touch()
    assert finding("previous", context).verdict is OK
    write(directory / ".venv/bin/python", "#!/bin/sh\nexit 1\n", 0o755)
    assert finding("previous", context).verdict is WARN


def test_interrupted_builds_are_leftovers_unless_one_is_under_way(tmp_path: Path) -> None:
    release(tmp_path, ID, "LIVED")
    context = machine(tmp_path)
    assert finding("leftovers", context).verdict is OK
    release(tmp_path, OTHER_ID, "BUILDING")
    assert finding("leftovers", context).verdict is WARN
    with lock.operation(tmp_path / "state", "release"):
        assert finding("leftovers", context).detail == "a release is being built"
    assert finding("leftovers", context).verdict is WARN
    with (tmp_path / "state" / lock.FILE).open("rb") as file:  # and the lock is left free
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize(
    ("running", "spoken", "next_spoken", "verdict", "said"),
    [
        (ID, 1, 1, OK, f"{ID} serves"),
        (ID, None, 1, OK, f"{ID} serves"),
        (OTHER_ID, 1, 1, WARN, "smart-factory reload"),
        (OTHER_ID, 1, 2, WARN, "systemctl restart smart-factory"),
    ],
)
def test_running_release(
    running: str, spoken: int | None, next_spoken: int | None, verdict: Verdict, said: str
) -> None:
    found = judge_running(running, ID, spoken, next_spoken)
    assert found.verdict is verdict
    assert said in f"{found.detail} {found.next_step}"


# --- what PM2 leaves behind


def test_nothing_of_pm2_is_well(tmp_path: Path) -> None:
    write(tmp_path / "machine/etc/passwd", "root:x:0:0::/root:/bin/bash\nbad line\n")
    write(tmp_path / "machine/etc/crontab", "# was: pm2 resurrect\n0 * * * * root /bin/true\n")
    assert judge_pm2([], [], [], []).detail == "nothing of it"
    said = finding("pm2", machine(tmp_path)).detail
    assert "crontab" not in said
    assert "left behind" not in said


def test_pm2_in_units_crontabs_and_homes_is_found(tmp_path: Path) -> None:
    lines = (
        "root:x:0:0::/root:/bin/bash\nada:x:1:1::/home/ada:/bin/zsh\nd:x:2:2::/d:/sbin/nologin\n"
    )
    write(tmp_path / "machine/etc/passwd", lines)
    for home in ("root", "home/ada", "d"):
        (tmp_path / "machine" / home / ".pm2").mkdir(parents=True)
    write(tmp_path / "machine/var/spool/cron/crontabs/ada", "@reboot pm2 resurrect\n")
    write(tmp_path / "machine/etc/systemd/system/pm2-ada.service")
    found = finding("pm2", machine(tmp_path))
    assert found.verdict is WARN
    assert "starts at boot: pm2-ada.service" in found.detail
    assert "in a crontab: " in found.detail
    assert found.detail.endswith("left behind: /root/.pm2, /home/ada/.pm2")


def test_a_running_daemon_of_pm2_is_found(tmp_path: Path) -> None:
    title = "PM2 v7.0.4: God Daemon (/home/ada/.pm2)"
    script = f"import setproctitle, sys; setproctitle.setproctitle({title!r}); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as daemon:
        wait_until(
            lambda: " ".join(psutil.Process(daemon.pid).cmdline()).startswith("PM2"),
            what="the title",
        )
        found = finding("pm2", machine(tmp_path))
        assert f"pid {daemon.pid} (PM2 v7.0.4: God Daemon" in found.detail
        daemon.communicate()
    assert str(daemon.pid) not in finding("pm2", machine(tmp_path)).detail


def test_what_is_asked_as_the_service_is_asked_as_its_user() -> None:
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:  # only root may become somebody else
        identity = {"user": 65534, "group": 65534, "extra_groups": []}
    said = run(["id", "-u"], directory=Path("/"), identity=identity).out
    assert int(said) == identity.get("user", os.geteuid())
