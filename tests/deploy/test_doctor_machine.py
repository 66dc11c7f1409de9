"""`doctor`: what it makes of the machine and of the units."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from deploy.ops.checks import unit_facts
from deploy.ops.checks.finding import Verdict
from deploy.ops.checks.interpreter import judge_python, pinned
from deploy.ops.checks.machine import (
    Room,
    judge_backlog,
    judge_clock,
    judge_room,
    judge_systemd,
)
from deploy.ops.checks.resources import (
    Memory,
    judge_all_files,
    judge_files,
    judge_memory,
    limit_in_force,
)
from deploy.ops.checks.units import (
    drop_ins,
    judge_exposure,
    judge_socket,
    judge_starts,
    judge_states,
)
from deploy.ops.checks.units import judge_files as judge_unit_files
from deploy.ops.systemd import BARE, SERVICE, SOCKET
from tests.deploy.examined import FAIL, ID, OK, SKIPPED, WARN, finding, machine, release, write


@pytest.mark.parametrize(
    ("version", "verdict", "said"),
    [(251, FAIL, "expected 252"), (252, OK, "RestartSteps needs 254"), (254, OK, "understood")],
)
def test_systemd(version: int, verdict: Verdict, said: str) -> None:
    found = judge_systemd(version)
    assert (found.verdict, said in found.detail) == (verdict, True)


@pytest.mark.parametrize(
    ("version", "installed", "verdict", "said"),
    [
        ((3, 11), {"click": "8.5.1", "rich": "15.0.0"}, OK, "2 packages as pinned"),
        ((3, 10), {"click": "8.5.1", "rich": "15.0.0"}, FAIL, "3.10: expected 3.11 to 3.14"),
        ((3, 15), {"click": "8.5.1", "rich": "15.0.0"}, FAIL, "3.15: expected"),
        ((3, 13), {"click": "8.5.0", "rich": "15.0.0"}, WARN, "click 8.5.0 (pinned: 8.5.1)"),
        ((3, 13), {"click": "8.5.0", "rich": None}, FAIL, "not installed: rich"),
    ],
)
def test_python(
    version: tuple[int, int], installed: dict[str, str | None], verdict: Verdict, said: str
) -> None:
    found = judge_python(version, {"click": "8.5.1", "rich": "15.0.0"}, installed)
    assert (found.verdict, said in found.detail) == (verdict, True), found


def test_pins_of_other_pythons_and_comments_are_left_out() -> None:
    text = "# a==1\nclick==8.5.1\npsycopg[binary]==3.3.9  # why\n-r more.txt\nb==2; python<'3'\n"
    assert pinned(text) == {"click": "8.5.1", "psycopg": "3.3.9"}


def room(space: float, inodes: float | None) -> Room:
    return Room(path=Path("/var"), space=space, inodes=inodes, free=1 << 30)


@pytest.mark.parametrize(
    ("space", "inodes", "verdict", "said"),
    [
        (50, 60, OK, "/var: 50 % free (1.0G)"),
        (10, None, OK, "10 % free"),
        (9.9, 60, WARN, "10 % of its space free"),
        (50, 9, WARN, "9 % of its inodes free"),
        (1.9, 60, FAIL, "2 % of its space free"),
        (50, 0, FAIL, "0 % of its inodes free"),
    ],
)
def test_disk(space: float, inodes: float | None, verdict: Verdict, said: str) -> None:
    found = judge_room(room(space, inodes))
    assert (found.verdict, said in found.detail) == (verdict, True), found


@pytest.mark.parametrize(
    ("somaxconn", "asked", "verdict"),
    [(4096, 2048, OK), (128, 100, WARN), (1024, 2048, WARN), (4096, 2147483647, OK)],
)
def test_backlog(somaxconn: int, asked: int, verdict: Verdict) -> None:
    assert judge_backlog(somaxconn, asked).verdict is verdict


@pytest.mark.parametrize(
    ("synchronised", "skew", "doubt", "verdict"),
    [
        (True, 0.1, 0.01, OK),
        (True, None, 0, OK),
        (None, 0.1, 0, OK),
        (None, None, 0, SKIPPED),
        (False, None, 0, WARN),
        (False, 0.1, 0, WARN),
        (True, -2.5, 0.1, WARN),
        (True, 2.5, 1.0, OK),  # the answer took two seconds: it may be well
    ],
)
def test_clock(
    synchronised: bool | None, skew: float | None, doubt: float, verdict: Verdict
) -> None:
    assert judge_clock(synchronised, skew, doubt).verdict is verdict


@pytest.mark.parametrize(
    ("soft", "clients", "most_open", "verdict"),
    [
        (65536, 1000, 200, OK),
        (-1, 1000, 100_000, OK),
        (4096, 1000, None, OK),
        (1024, 0, None, WARN),
        (4096, 10_000, None, WARN),
        (4096, 1000, 3500, FAIL),
    ],
)
def test_files(soft: int, clients: int, most_open: int | None, verdict: Verdict) -> None:
    assert judge_files("the master", soft, clients, most_open).verdict is verdict


def test_files_of_the_whole_machine() -> None:
    assert judge_all_files(95, 100).verdict is WARN
    assert judge_all_files(85, 100).verdict is OK


@pytest.mark.parametrize(
    ("changed", "verdict", "said"),
    [
        ({}, OK, "the workers use 300M of 1024M"),
        ({"used": 900 << 20}, WARN, "the workers use 900M of 1024M"),
        ({"worker_max": 512 << 20}, WARN, "3 workers × WORKER_MAX_RSS=512M = 1536M, but 1024M"),
        ({"worker_max": 256 << 20}, OK, ""),
        ({"available": 10 << 20}, WARN, "10M of the machine's 2048M left"),
        ({"swap": 100 << 20, "swap_used": 60 << 20}, WARN, "60M of 100M swap used"),
        ({"workers": 0, "used": 0}, OK, "no worker runs; 1024M"),
    ],
)
def test_memory(changed: Mapping[str, int], verdict: Verdict, said: str) -> None:
    values = {
        "limit": 1 << 30,
        "available": 1 << 30,
        "total": 2 << 30,
        "swap": 0,
        "swap_used": 0,
        "workers": 3,
        "used": 300 << 20,
        "worker_max": 0,
    }
    found = judge_memory(Memory(**{**values, **changed}))
    assert (found.verdict, said in found.detail) == (verdict, True), found


def test_the_smallest_limit_of_memory_is_the_one_that_counts(tmp_path: Path) -> None:
    write(tmp_path / "machine/sys/fs/cgroup/memory.max", "1048576\n")
    context = machine(tmp_path)
    assert limit_in_force(context, total=1 << 30) == 1 << 20
    found = finding("memory", context)
    # A machine that is short of memory just now is told that instead.
    assert found.verdict is WARN or "no worker runs; 1M" in found.detail


# --- units

SHOWN = """\
Id=smart-factory.service
LoadState=loaded
ActiveState=active
DropInPaths=/etc/systemd/system/smart-factory.service.d/10-smart-factory.conf

Id=smart-factory.socket
Listen=127.0.0.1:3000 (Stream)
Listen=/run/x.sock (Stream)
"""


def test_properties_are_read_by_unit_and_repeated_ones_joined() -> None:
    found = unit_facts.parsed(SHOWN)
    assert list(found) == [SERVICE, SOCKET]
    assert found[SOCKET]["Listen"] == "127.0.0.1:3000 (Stream)\n/run/x.sock (Stream)"
    assert drop_ins(found) == ["smart-factory.service.d/10-smart-factory.conf"]
    assert unit_facts.there(found, SERVICE)
    assert not unit_facts.there(found, SOCKET)


def test_unit_files_missing_and_changed() -> None:
    shipped = {SERVICE: b"a", SOCKET: b"b", "smart-factory-prune.timer": b"c"}
    assert judge_unit_files(shipped, shipped) == []
    (changed,) = judge_unit_files(shipped, {**shipped, SOCKET: b"x"})
    assert (changed.verdict, changed.detail) == (WARN, f"differs from the release's: {SOCKET}")
    (missing,) = judge_unit_files(shipped, {**shipped, "smart-factory-prune.timer": None})
    assert missing.verdict is WARN
    (missing,) = judge_unit_files(shipped, {**shipped, SERVICE: None})
    assert (missing.verdict, missing.detail) == (FAIL, f"not installed: {SERVICE}")


@pytest.mark.parametrize(
    ("facts", "verdict", "said"),
    [
        ({"LoadState": "masked"}, FAIL, f"masked: {SERVICE}"),
        ({"LoadState": "bad-setting"}, FAIL, "cannot be loaded"),
        ({"NeedDaemonReload": "yes"}, WARN, "changed on disk since they were loaded"),
    ],
)
def test_unit_states(facts: Mapping[str, str], verdict: Verdict, said: str) -> None:
    (found,) = judge_states({SERVICE: facts})
    assert (found.verdict, said in found.detail) == (verdict, True)
    assert judge_states({SERVICE: {"LoadState": "loaded", "NeedDaemonReload": "no"}}) == []


def test_installed_units_are_compared_with_the_live_releases(tmp_path: Path) -> None:
    directory = release(tmp_path, ID)
    (tmp_path / "root/current").symlink_to(f"releases/{ID}")
    for name in (SERVICE, SOCKET, "smart-factory-consumer@.service", "README.md"):
        write(directory / "systemd" / name, f"# {name}\n")
        write(tmp_path / "machine/etc/systemd/system" / name, f"# {name}\n")
    context = machine(tmp_path, systemd=True)
    _systemd_says(context, SHOWN)
    found = finding("unit-files", context)
    assert (found.verdict, found.detail) == (
        OK,
        f"3 units as the release brings them; drop-ins: {SERVICE}.d/10-smart-factory.conf",
    )
    write(tmp_path / "machine/etc/systemd/system" / SOCKET, "# mine\n")
    found = finding("unit-files", context)
    assert (found.verdict, found.detail.partition(";")[0]) == (
        WARN,
        f"differs from the release's: {SOCKET}",
    )


def _systemd_says(context: Any, shown: str) -> None:
    """There is no systemd to ask here: what one has said stands in."""
    from concurrent.futures import Future

    said: Future[Any] = Future()
    said.set_result(unit_facts.parsed(shown))
    context._kept[unit_facts.facts] = said  # noqa: SLF001


def socket_facts(**changed: str) -> dict[str, dict[str, str]]:
    facts = {
        "LoadState": "loaded",
        "ActiveState": "active",
        "Result": "success",
        "Listen": "127.0.0.1:3000 (Stream)",
    }
    return {SOCKET: {**facts, **changed}}


def test_the_socket_listens_where_the_environment_says() -> None:
    here = ["127.0.0.1:3000"]
    assert judge_socket(socket_facts(), here).verdict is OK
    assert judge_socket({}, here).detail == "not installed"
    stopped = judge_socket(socket_facts(ActiveState="inactive"), here)
    assert (stopped.verdict, stopped.next_step) == (FAIL, f"systemctl start {SOCKET}")
    broken = judge_socket(
        socket_facts(ActiveState="failed", Result="service-start-limit-hit"), here
    )
    assert (broken.verdict, "service-start-limit-hit" in broken.detail) == (FAIL, True)
    assert "reset-failed" in broken.next_step
    moved = judge_socket(socket_facts(), ["0.0.0.0:80"])
    assert (moved.verdict, moved.detail) == (
        WARN,
        "listens at 127.0.0.1:3000, the environment says 0.0.0.0:80",
    )


def test_the_plain_service_shares_the_socket() -> None:
    bare = {"LoadState": "loaded", "TriggeredBy": SOCKET}
    assert judge_socket({**socket_facts(), BARE: bare}, ["127.0.0.1:3000"]).verdict is OK
    bare["TriggeredBy"] = ""
    assert judge_socket({**socket_facts(), BARE: bare}, ["127.0.0.1:3000"]).verdict is WARN


@pytest.mark.parametrize(
    ("facts", "verdict", "said"),
    [
        ({"ActiveState": "active", "NRestarts": "0"}, OK, "never had to be started again"),
        ({"ActiveState": "active", "NRestarts": "2"}, WARN, "start it again 2 ×"),
        ({"ActiveState": "failed", "Result": "start-limit-hit"}, FAIL, "systemd has given up"),
        ({"ActiveState": "failed", "Result": "exit-code"}, FAIL, "exit-code"),
        ({"ActiveState": "activating", "SubState": "auto-restart"}, FAIL, "auto-restart"),
        ({"ActiveState": "inactive"}, WARN, "not started"),
    ],
)
def test_starts(facts: Mapping[str, str], verdict: Verdict, said: str) -> None:
    found = judge_starts({SERVICE: facts})
    assert (found.verdict, said in found.detail) == (verdict, True), found


def test_a_service_that_gave_way_to_the_plain_one_is_no_puzzle() -> None:
    found = judge_starts({SERVICE: {"ActiveState": "inactive"}, BARE: {"ActiveState": "active"}})
    assert found.next_step == "back with: smart-factory rollback bare --undo"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (f"…\n→ Overall exposure level for {SERVICE}: 1.1 OK 🙂\n", OK),
        (f"→ Overall exposure level for {SERVICE}: 9.8 UNSAFE 😨\n", WARN),
        ("something else", SKIPPED),
    ],
)
def test_exposure(text: str, verdict: Verdict) -> None:
    assert judge_exposure(text).verdict is verdict
