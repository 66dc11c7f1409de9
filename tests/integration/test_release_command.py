"""`release`, without systemd: what goes live stays only if it does well."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from loadtests.drops import Load
from tests.cluster import ROOT
from tests.integration.release_room import (
    DYING,
    SICKLY,
    UNREADY,
    Room,
    name,
    read_until,
    wait_for_another,
)

ONE, TWO, THREE = name(1), name(2), name(3)
RATE = 50
pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_a_good_release_goes_live_without_a_request_lost(room: Room) -> None:
    with room.serving() as cluster, Load(f"http://127.0.0.1:{cluster.port}/", rate=RATE) as load:
        room.make(2)
        done = room.release(TWO, "--bake", "2s", "--why", "the new shop")
        assert done.returncode == 0, done.stdout + done.stderr
        assert room.served() == TWO
        assert room.live == (TWO, ONE)
        assert (room.marks(ONE), room.marks(TWO)) == ({"LIVED"}, {"LIVED"})
        assert "ok     bake       2 s; crashes: 0; " in done.stdout
        assert f"Release {TWO}: complete" in done.stdout

        # And back to the older one, which is built already.
        done = room.release(ONE, "--bake", "0", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert room.live == (ONE, TWO)
        facts = json.loads(done.stdout)
        assert (facts["name"], facts["outcome"]) == (f"release {ONE}", "complete")
        assert "bake" not in [check["name"] for check in facts["checks"]]
    assert load.report.answered > RATE
    assert load.report.failed == 0, load.report
    first, second = room.history("release")
    assert (first["release"], first["former"], first["why"]) == (TWO, ONE, "the new shop")
    assert (second["release"], second["former"], second["outcome"]) == (ONE, TWO, "complete")


def test_what_does_not_load_changes_nothing(room: Room) -> None:
    with room.serving() as cluster:
        before = cluster.pids()
        room.make(2, "import nowhere_to_be_found")
        done = room.release(TWO)
        assert done.returncode == 6
        assert "Traceback (most recent call last)" in done.stderr
        reason = "it does not load: ModuleNotFoundError: No module named 'nowhere_to_be_found'"
        assert f"Error: release {TWO}: {reason}\nNext step: " in done.stderr
        assert room.live == (ONE, "")
        assert room.failure(TWO) == f"{reason}\n"
        assert cluster.pids() == before
        assert cluster.status()["reload"] is None
        (event,) = room.history("release")
        assert (event["outcome"], event["reason"]) == ("refused", f"release {TWO}: {reason}")


@pytest.mark.parametrize(
    ("app", "said"),
    [
        (UNREADY, "the reload was refused: "),
        (DYING, "the validation failed: "),
    ],
)
def test_what_loads_and_does_not_serve_is_rolled_back(room: Room, app: str, said: str) -> None:
    with room.serving():
        room.make(2, app)
        done = room.release(TWO)
        assert done.returncode == 4, done.stdout + done.stderr
        assert f"release {TWO} was rolled back ({said}" in done.stderr
        assert "the former state serves again" in done.stderr
        assert room.live == (ONE, "")
        assert room.served() == ONE
        assert said in room.failure(TWO)
        (event,) = room.history("release")
        assert event["outcome"] == "rolled back"


def test_force_releases_while_the_service_fails_the_same_probe(tmp_path: Path) -> None:
    """A dependency is away, and the release that can do without is to go out."""
    room = Room(tmp_path, env={"READY_TIMEOUT": "10"})  # to load a release takes its time, too
    room.installed.link("current", room.make(1, UNREADY))
    room.make(2, UNREADY)
    room.cluster.start()
    try:
        room.cluster.wait_log("Degraded after")
        assert room.release(TWO, "--bake", "0").returncode == 4
        done = room.release(TWO, "--force", "--bake", "0")
        assert done.returncode == 0, done.stdout + done.stderr
        assert room.live[0] == TWO
    finally:
        room.cluster.stop()


def test_a_kit_that_speaks_another_protocol_waits_for_a_restart(room: Room) -> None:
    with room.serving() as cluster:
        before = cluster.pids()
        protocol = room.make(2) / "deploy/cluster/protocol.py"
        protocol.write_text(protocol.read_text().replace("VERSION = 1", "VERSION = 99"))
        done = room.release(TWO)
        assert done.returncode == 6, done.stdout + done.stderr
        assert "its kit speaks another protocol than the running master's" in done.stderr
        assert f"stop.sh, then smart-factory release {TWO}, then " in done.stderr
        assert (room.live, room.marks(TWO)) == ((ONE, ""), set())
        assert cluster.pids() == before


def test_errors_during_the_bake_roll_back(room: Room) -> None:
    with room.serving() as cluster:
        room.make(2, SICKLY)
        with room.releasing(TWO, "--bake", "1m") as process:
            read_until(process, "cpu ")
            assert cluster.get("/").body == b"well"
            (cluster.directory / "state" / "ill").touch()
            out, error = process.communicate(timeout=100)
        assert process.returncode == 4, out + error
        assert "FAILED bake       it failed 2 times in a row to answer (GET /health: 500)" in out
        assert room.live == (ONE, "")
        assert room.served() == ONE
        assert "GET /health: 500" in room.failure(TWO)


def test_crashes_during_the_bake_roll_back(room: Room) -> None:
    with room.serving() as cluster:
        room.make(2)
        with room.releasing(TWO, "--bake", "1m") as process:
            read_until(process, "cpu ")
            pid = cluster.pids()["worker-1"]
            for _ in range(2):
                os.kill(pid, signal.SIGKILL)
                pid = wait_for_another(cluster, 1, pid)
            out, error = process.communicate(timeout=100)
        assert process.returncode == 4, out + error
        assert "FAILED bake       2 workers have crashed" in out
        assert room.served() == ONE
        assert room.live == (ONE, "")


def test_ctrl_c_during_the_bake_rolls_back(room: Room) -> None:
    with room.serving():
        room.make(2)
        with room.releasing(TWO, "--bake", "1m") as process:
            read_until(process, "cpu ")
            process.send_signal(signal.SIGINT)
            out, error = process.communicate(timeout=100)
        assert process.returncode == 130, out + error
        assert room.live == (ONE, "")
        assert room.served() == ONE
        assert room.failure(TWO) == "interrupted\n"


def test_at_rest_the_links_wait_for_the_start(room: Room) -> None:
    room.installed.link("current", room.make(1))
    room.make(2)
    done = room.release(TWO)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        f"smart-factory is not running: release {TWO} from its next start on "
        "(deploy/scripts/start.sh)\n" in done.stdout
    )
    assert room.live == (TWO, "")  # the other has never served
    assert room.marks(TWO) == set()
    with room.cluster:
        assert room.served() == TWO
        again = room.release(TWO, "--bake", "0")
        assert again.returncode == 0, again.stdout + again.stderr
        assert f"Release {TWO} is live already" in again.stdout
        assert room.marks(TWO) == {"LIVED"}


def test_another_operation_keeps_it_out(room: Room) -> None:
    with room.serving() as cluster:
        room.make(2)
        with room.releasing(TWO, "--bake", "1m") as process:
            read_until(process, "cpu ")
            second = room.release(ONE)
            assert second.returncode == 5
            assert f"another operation is running: 'release {TWO}'" in second.stderr
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=100)
        assert process.returncode == 130
        assert cluster.get("/").body.decode() == ONE


def test_old_releases_go_when_a_new_one_is_live(room: Room) -> None:
    with room.serving(1):
        for number in (2, 3, 4, 5):
            room.make(number)
        (room.releases / THREE / "BUILDING").touch()
        done = room.release(name(5), "--bake", "0", "--keep", "2")
        assert done.returncode == 0, done.stdout + done.stderr
        assert room.ids() == [ONE, name(5)]  # the one that serves, the one to return to


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "what is to be released? expected PATH, GITREF or ID"),
        (["no-such-branch"], 2, "'no-such-branch': expected a directory, a release in"),
        (["20260101-000000-abcdef0"], 2, "'20260101-000000-abcdef0': expected a directory"),
        (["--list", "x"], 2, "--list takes no argument, not 'x'"),
        (["x", "--bake", "soon"], 2, "'soon': expected seconds, as 0, 30, 30s, 5m or 1h"),
        ([THREE], 6, f"release {THREE} was never built to its end"),
        (["source", "--python", "nowhere"], 6, "--python='nowhere': expected Python 3.11 or later"),
    ],
)
def test_what_cannot_be_released(
    room: Room, tmp_path: Path, words: list[str], code: int, said: str
) -> None:
    room.installed.link("current", room.make(1))
    (room.make(3) / "BUILDING").touch()
    (tmp_path / "source").mkdir()
    done = room.release(*words)
    assert done.returncode == code, done.stderr
    assert f"Error: {said}" in done.stderr or f": {said}" in done.stderr
    assert room.live == (ONE, "")


def test_without_an_installation_it_says_where_it_looked(room: Room, tmp_path: Path) -> None:
    done = room.release("x", env={"SMART_FACTORY_ROOT": str(tmp_path / "nowhere")})
    assert done.returncode == 1
    assert f"no installation in {tmp_path}/nowhere (SMART_FACTORY_ROOT)" in done.stderr


def test_a_dry_run_says_what_it_would_do(room: Room) -> None:
    with room.serving() as cluster:
        before = cluster.pids()
        done = room.release("HEAD", "--repository", ROOT, "--bake", "30s", "--dry-run")
        assert done.returncode == 0, done.stderr
        first, *steps = done.stdout.splitlines()
        assert first.startswith("Release 20")
        assert first.endswith(" would:")
        assert f"from HEAD of {ROOT} (commit " in steps[0]
        assert [step[:8] for step in steps[1:]] == [
            *("2. check", "3. apply", "4. point", "5. reloa", "6. valid", "7. watch", "8. if an"),
        ]
        assert room.ids() == [ONE]
        assert room.live == (ONE, "")
        assert room.marks(ONE) == set()
        assert cluster.pids() == before
        assert room.history("release") == []


def test_the_list_shows_what_lies_there(room: Room) -> None:
    room.installed.link("current", room.make(1))
    (room.make(2) / "FAILED").write_text("it does not load\n")
    done = room.release("--list")
    assert done.returncode == 0, done.stderr
    _, two, one = done.stdout.splitlines()
    assert two.startswith(TWO)
    assert two.endswith("failed: it does not load")
    assert one.startswith(ONE)
    assert one.endswith("live, not validated")
    facts = json.loads(room.release("--list", "--json").stdout)
    assert [(line["id"], line["live"], line["failed"]) for line in facts] == [
        (TWO, False, "it does not load"),
        (ONE, True, ""),
    ]
