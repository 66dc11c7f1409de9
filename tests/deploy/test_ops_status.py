"""`status`: a failing check, the last reload, and what differs from what was asked for.

With real workers it is tested in `tests/integration/test_status.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.state import desired
from deploy.state.desired import Desired
from tests.deploy.test_ops_cluster import FakeMaster, Place, fake_master


def facts(master: FakeMaster) -> Any:
    return json.loads(master.run("status", "--json", "--interval", "0").stdout)


def lines(master: FakeMaster) -> list[str]:
    """The lines between title and table."""
    _, *rest = master.run("status", "--interval", "0").stdout.splitlines()
    return rest[: next(n for n, line in enumerate(rest) if line.startswith("slot "))]


def test_without_news_there_is_no_line(tmp_path: Path) -> None:
    with fake_master(tmp_path) as master:
        assert lines(master) == []
        said = facts(master)
    assert (said["state"], said["failing"], said["reload"], said["desired"]) == (
        "ready",
        None,
        None,
        None,
    )


def test_a_failing_check_is_degraded_though_all_are_ready(tmp_path: Path) -> None:
    check = "GET /health/ready answered 503 [postgres]"
    with fake_master(tmp_path, failing=check) as master:
        done = master.run("status", "--interval", "0")
        assert done.returncode == 3
        assert "  degraded  3/3 ready" in done.stdout
        assert lines(master) == [f"failing: {check}"]
        said = facts(master)
    assert (said["state"], said["detail"], said["failing"]) == ("degraded", check, check)


@pytest.mark.parametrize(
    ("answer", "line", "expected"),
    [
        (
            "complete",
            "reload: complete at ",
            {"outcome": "complete", "release": "bbb222", "phase": "", "reason": ""},
        ),
        (
            "refuse",
            "reload: refused at ",
            {
                "outcome": "refused",
                "release": "bbb222",
                "phase": "",
                "reason": "the application does not load: ImportError: no module named 'nope'",
            },
        ),
        (
            "stuck",
            "reload: running, worker-2 of 3 (release bbb222)",
            {"outcome": "running", "release": "bbb222", "phase": "worker-2 of 3", "reason": ""},
        ),
    ],
)
def test_the_last_reload_is_shown(
    tmp_path: Path, answer: str, line: str, expected: dict[str, str]
) -> None:
    with fake_master(tmp_path, reload=answer) as master:
        command = master.place.start("reload")
        if answer == "stuck":
            master.wait_reload_begun()
            command.kill()
        command.communicate(timeout=60)
        (shown,) = lines(master)
        reload = facts(master)["reload"]
    assert shown.startswith(line)
    assert expected["reason"] in shown
    assert reload.pop("at") > 1e9
    assert reload == expected


@pytest.mark.parametrize(
    ("asked", "mode", "line"),
    [
        (Desired(workers=5, by="alice"), "cluster", "5 workers (by alice), running 3"),
        (Desired(workers=1), "cluster", "1 worker, running 3"),
        (Desired(mode="fork", by="bob"), "cluster", "fork mode (by bob), running cluster"),
        (
            Desired(mode="cluster", workers=4, by="bob"),
            "fork",
            "cluster mode, 4 workers (by bob), running fork, 3",
        ),
        (Desired(workers=3, mode="cluster"), "cluster", None),
        (Desired(workers="max"), "cluster", None),  # how many that makes, the master knows
        (Desired(workers=5), "fork", None),  # fork mode runs one, whatever is kept
    ],
)
def test_what_was_asked_for_is_shown_where_it_differs(
    tmp_path: Path, asked: Desired, mode: str, line: str | None
) -> None:
    desired.write(Place(tmp_path).state, asked)
    with fake_master(tmp_path, mode=mode) as master:
        assert lines(master) == ([] if line is None else [f"desired: {line}"])
        said = facts(master)["desired"]
    if line is None:
        assert said is None
    else:
        assert (said["mode"], said["workers"], said["by"]) == (asked.mode, asked.workers, asked.by)


def test_damaged_desired_state_is_shown_not_fatal(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.state.mkdir()
    (place.state / desired.FILE).write_text('{"workers": 0}')
    with fake_master(tmp_path) as master:
        (line,) = lines(master)
        said = facts(master)
    assert line.startswith(f"desired: not readable: {place.state / desired.FILE}: workers=0: ")
    assert said["state"] == "ready"
    assert "workers=0" in said["desired"]["error"]


def test_the_canary_is_no_worker_and_a_gap_is_no_worker_either(tmp_path: Path) -> None:
    with fake_master(tmp_path, wanted=2, rows=[[0, "ready"], [4, "ready"]]) as master:
        said = facts(master)
    assert said["workers"] == {"wanted": 2, "ready": 2}
    assert [slot["worker"] for slot in said["slots"]] == ["worker-1", "worker-2", "worker-4"]
