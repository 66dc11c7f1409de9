"""`doctor`: which checks there are, how they are run, and what it prints."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from deploy.ops.checks import CHECKS
from deploy.ops.checks.check import Check
from deploy.ops.checks.context import CannotLookError, Context, NoAnswerError, run
from deploy.ops.checks.examination import examine
from deploy.ops.checks.finding import Finding, fail, ok, skip, together, warn
from tests.cluster import ROOT
from tests.deploy.examined import FAIL, OK, SKIPPED, WARN, finding, machine, write
from tests.deploy.test_ops_cluster import Place

PROGRAM = "from deploy.ops.doctor import command; command(prog_name='smart-factory doctor')"


def doctor(place: Place, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The command, on a checkout without a cluster."""
    unset = ("DATABASE_URL", "APP_ENV", "SMART_FACTORY_ROOT", "BIND", "HOST", "PORT")
    environ = {name: value for name, value in place.env.items() if name not in unset}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        cwd=ROOT,
        env=environ | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_names_are_unique_and_each_is_explained() -> None:
    names = [check.name for check in CHECKS]
    assert len(names) == len(set(names))
    assert not set(names) & {check.group for check in CHECKS}
    page = (ROOT / "docs" / "doctor.md").read_text()
    assert re.findall(r"^## (\S+)$", page, re.MULTILINE) == list(
        dict.fromkeys(check.group for check in CHECKS)
    )
    rows = page[page.index("## service") :]
    explained = re.findall(r"^\| `([a-z0-9-]+)` \|", rows, re.MULTILINE)
    assert explained == names, "docs/doctor.md: one row for each check, in their order"


def test_the_list_looks_at_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path)
    done = doctor(place, "--list", ENV_FILE="/nowhere")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [c.name for c in CHECKS]
    rows = json.loads(doctor(place, "--list", "--only", "checklist", "--json").stdout)
    assert {row["group"] for row in rows} == {"checklist"}
    assert len(rows) == 9


def test_a_checkout_without_anything_is_in_order_and_left_as_it_was(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with socket.socket() as free:  # bound, so that nobody else comes to listen there
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        done = doctor(place, PORT=port)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = [line for line in done.stdout.splitlines() if not line.startswith("      →")]
    assert [line[6:].split()[0] for line in lines[:-1]] == [check.name for check in CHECKS]
    assert {line[:5].strip() for line in lines[:-1]} <= {"ok", "warn", "-"}
    assert re.search(rf"^ok    address              127\.0\.0\.1:{port}: free$", done.stdout, re.M)
    assert re.search(
        r"^ok    python               Python 3\.\d+, \d+ packages as", done.stdout, re.M
    )
    assert re.fullmatch(r"\d+ ok, \d+ warnings?, 0 failed, \d+ do not apply here", lines[-1])
    assert list(tmp_path.iterdir()) == []


def test_only_takes_names_and_groups_and_refuses_others(tmp_path: Path) -> None:
    place = Place(tmp_path)
    done = doctor(place, "--only", "backlog,history", "--json")
    checks = json.loads(done.stdout)["checks"]
    assert [check["name"] for check in checks] == ["backlog", "crashes", "pm2"]
    done = doctor(place, "--only", "backlog,nonsense")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "Error: --only 'nonsense': expected names or groups of checks",
        "Next step: smart-factory doctor --list shows them",
    ]


def test_a_failure_is_code_1_and_names_the_next_step(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        env = {"PORT": str(taken.getsockname()[1])}
        done = doctor(place, "--only", "address,backlog", **env)
        facts = json.loads(doctor(place, "--only", "address", "--json", **env).stdout)
    assert done.returncode == 1
    found, step, backlog, summary = done.stdout.splitlines()
    assert found.startswith(f"FAIL  address              127.0.0.1:{env['PORT']}: taken by pid ")
    assert step == "      → stop it, or set PORT or BIND to a free address"
    assert backlog.startswith("ok    backlog")
    assert summary == "1 ok, 0 warnings, 1 failed, 0 do not apply here"
    (check,) = facts["checks"]
    assert (facts["verdict"], check["verdict"], check["group"]) == ("fail", "fail", "service")
    assert check["next_step"] == "stop it, or set PORT or BIND to a free address"
    assert str(os.getpid()) in check["detail"]


def test_an_environment_file_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    done = doctor(Place(tmp_path), "--only", "environment,database", ENV_FILE="/nowhere/env")
    assert done.returncode == 1
    assert "FAIL  environment          ENV_FILE='/nowhere/env': expected a file" in done.stdout
    assert "-     database             the environment file cannot be read" in done.stdout


@pytest.mark.parametrize("url", ["postgresql://u:hush-hush@127.0.0.1:{}/x", "host=x hush-hush"])
def test_a_password_is_never_printed(tmp_path: Path, url: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = url.format(closed.getsockname()[1])
        done = doctor(
            Place(tmp_path),
            "--only",
            "database,configuration",
            DATABASE_URL=url,
            APP_ENV="production",
            SECRET_KEY="hush-hush",
            INTERNAL_TOKEN="hush-hush",
        )
    assert done.returncode == 1
    assert "FAIL  database " in done.stdout
    assert "SECRET_KEY: 9 characters, expected at least 16" in done.stdout
    assert "hush" not in done.stdout + done.stderr


def test_a_database_that_accepts_and_never_answers_ends_as_a_failure(tmp_path: Path) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        url = f"postgresql://u@127.0.0.1:{mute.getsockname()[1]}/x"
        done = doctor(Place(tmp_path), "--only", "database", DATABASE_URL=url)
    assert done.returncode == 1
    assert re.match(r"FAIL  database +.*timeout", done.stdout), done.stdout


def test_a_systemctl_that_hangs_is_ended_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = write(tmp_path / "bin" / "systemctl", "#!/bin/sh\nexec sleep 600\n", 0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    before = {*psutil.Process().children()}
    with pytest.raises(NoAnswerError, match=r"^no answer within 1 s: systemctl show x$"):
        run(["systemctl", "show", "x"], seconds=1)
    assert {*psutil.Process().children()} <= before


def _checks(*looks: object) -> list[Check]:
    return [Check(f"check-{n}", "tests", "", look) for n, look in enumerate(looks)]  # type: ignore[arg-type] # functions of a context


def test_a_check_that_hangs_holds_up_nobody_and_fails(tmp_path: Path) -> None:
    hung = threading.Event()

    def hangs(_: Context) -> Finding:
        hung.wait(60)
        return ok("never told")

    checks = _checks(hangs, lambda _: ok("well"))
    try:
        first, second = examine(checks, machine(tmp_path), seconds=2)
    finally:
        hung.set()
    assert first.finding == fail("no answer within 2 s", "see docs/doctor.md, check-0")
    assert second.finding == ok("well")


def test_checks_run_at_the_same_time_and_are_shown_in_order(tmp_path: Path) -> None:
    meet = threading.Barrier(2)

    def waits(_: Context) -> Finding:
        meet.wait(30)  # breaks, and raises, when the other one does not come
        return ok("met")

    found = list(examine(_checks(waits, waits), machine(tmp_path), seconds=60))
    assert [(each.check.name, each.finding) for each in found] == [
        ("check-0", ok("met")),
        ("check-1", ok("met")),
    ]


def test_what_a_check_raises_is_its_finding(tmp_path: Path) -> None:
    def raises(error: Exception) -> object:
        def look(_: Context) -> Finding:
            raise error

        return look

    found = examine(
        _checks(
            raises(CannotLookError("nothing there")),
            raises(NoAnswerError("it hangs")),
            raises(PermissionError(13, "Permission denied", "/root/x")),
            raises(KeyError("oops")),
        ),
        machine(tmp_path),
    )
    assert [each.finding for each in found] == [
        skip("nothing there"),
        fail("it hangs", "see docs/doctor.md, check-1"),
        skip("needs root: /root/x"),
        warn("the check itself failed: KeyError: 'oops'", "report it, with this line"),
    ]


def test_facts_are_gathered_once_for_all_who_ask(tmp_path: Path) -> None:
    context, asked = machine(tmp_path), []

    def gather(_: Context) -> int:
        asked.append(time.monotonic())
        return len(asked)

    def fails(_: Context) -> int:
        asked.append(time.monotonic())
        raise CannotLookError("not here")

    assert [context.once(gather) for _ in range(3)] == [1, 1, 1]
    for _ in range(2):
        with pytest.raises(CannotLookError):
            context.once(fails)
    assert len(asked) == 2


def test_the_worst_of_several_findings_counts() -> None:
    assert together([ok("a"), ok("b")]) == ok("a; b")
    assert together([skip("x"), ok("a")]) == ok("a")
    assert together([ok("a"), warn("b", "do b"), fail("c", "do c")]) == Finding(
        verdict=FAIL, detail="c; b", next_step="do c"
    )
    assert SKIPPED < OK < WARN < FAIL


def test_a_checkout_beside_an_installation_is_about_itself(tmp_path: Path) -> None:
    environ = {"STATE_DIRECTORY": str(tmp_path), "RUNTIME_DIRECTORY": str(tmp_path)}
    assert Context.read(environ, now=0).installation is None
    (tmp_path / "releases").mkdir()
    named = Context.read({**environ, "SMART_FACTORY_ROOT": str(tmp_path)}, now=0)
    assert named.installation is not None
    assert named.installation.root == tmp_path
    missing = Context.read({**environ, "SMART_FACTORY_ROOT": str(tmp_path / "no")}, now=0)
    assert finding("release", missing) == fail(
        f"no installation in {tmp_path}/no (SMART_FACTORY_ROOT)",
        "install it with: sudo deploy/scripts/install.sh",
    )
