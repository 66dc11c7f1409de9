"""deploy/scripts/rollback.sh where no master runs, and its files, which are Python's as well."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.state import desired, layout, ledger
from deploy.state.desired import Desired
from deploy.state.lock import operation
from deploy.state.process import start_ticks
from deploy.state.scoreboard import Master, Scoreboard
from tests.cluster import ROOT

SCRIPTS = ROOT / "deploy" / "scripts"
BASH = shutil.which("bash") or "/bin/bash"


def environment(directory: Path, **more: str) -> dict[str, str]:
    (directory / "root/releases").mkdir(parents=True, exist_ok=True)
    return {
        "PATH": os.environ["PATH"],
        "SMART_FACTORY_ROOT": str(directory / "root"),
        "RUNTIME_DIRECTORY": str(directory / "run"),
        "STATE_DIRECTORY": str(directory / "state"),
        "ENV_FILE": str(directory / "app.env"),
        "SUDO_USER": "alice",
        **more,
    }


def rollback(directory: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BASH, SCRIPTS / "rollback.sh", *words],
        env=environment(directory, **env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def in_bash(directory: Path, script: str, **env: str) -> str:
    """What a script prints that has the functions of common.sh and kept.sh."""
    head = (
        f"set -Eeuo pipefail; SF_PROGRAM=test; . {SCRIPTS}/common.sh; . {SCRIPTS}/kept.sh; locate; "
    )
    return subprocess.run(
        [BASH, "-c", head + script],
        env=environment(directory, **env),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "expected scale, fork, bare or release"),
        (["everything"], "unexpected argument 'everything'"),
        (["scale", "fork"], "unexpected argument 'fork'"),
        (["scale", "--force"], "unexpected argument '--force'"),
        (["scale", "--why"], "--why: expected a text"),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_allowed(
    tmp_path: Path, words: list[str], said: str
) -> None:
    done = rollback(tmp_path, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "state").exists()


def test_a_root_without_releases_is_refused(tmp_path: Path) -> None:
    done = rollback(tmp_path, "scale", SMART_FACTORY_ROOT=str(tmp_path / "nothing"))
    assert done.returncode == 2
    assert "nothing': expected a directory with releases/ in it" in done.stderr


def test_help_says_what_there_is(tmp_path: Path) -> None:
    done = rollback(tmp_path, "--help")
    assert done.returncode == 0
    for word in ("scale", "fork", "bare", "release", "--undo", "--dry-run", "--why", "Exit code"):
        assert word in done.stdout
    assert "shellcheck" not in done.stdout


@pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="this machine runs systemd")
def test_bare_without_systemd_is_wrong_use_with_a_next_step(tmp_path: Path) -> None:
    done = rollback(tmp_path, "bare")
    assert done.returncode == 2
    assert "bare needs systemd" in done.stderr
    assert "Next step: " in done.stderr


@pytest.mark.parametrize(
    ("name", "former", "kept"),
    [
        ("scale", Desired(mode="cluster", workers=4, by="bob", at=1.5), ("cluster", 1)),
        ("scale", Desired(workers="max", by='a "quoted" \\ name'), (None, 1)),
        ("scale", None, (None, 1)),
        ("fork", Desired(mode="cluster", workers=4), ("fork", 4)),
        ("fork", None, ("fork", None)),
    ],
)
def test_what_is_asked_for_holds_for_the_next_start_and_undo_puts_it_back(
    tmp_path: Path, name: str, former: Desired | None, kept: tuple[str | None, int | None]
) -> None:
    state = tmp_path / "state"
    if former is not None:
        desired.write(state, former)
    before = (state / "desired.json").read_bytes() if former else b"{}\n"
    done = rollback(tmp_path, name)
    assert (done.returncode, done.stderr) == (0, "")
    assert "not running" in done.stdout
    asked = desired.read(state)
    assert (asked.mode, asked.workers, asked.by) == (*kept, "alice")
    copy = state / f"desired.before-{name}.json"
    assert copy.read_bytes() == before

    assert rollback(tmp_path, name).returncode == 0
    assert copy.read_bytes() == before  # the first one stays

    assert rollback(tmp_path, name, "--undo").returncode == 0
    assert desired.read(state) == (former or Desired())
    assert not copy.exists()
    again = rollback(tmp_path, name, "--undo")
    assert again.returncode == 1
    assert f"nothing to undo: there is no {copy}" in again.stderr


def test_a_copy_that_the_command_made_of_no_file_is_understood(tmp_path: Path) -> None:
    state = tmp_path / "state"
    desired.write(state, Desired(workers=1))
    (state / "desired.before-scale.json").write_text("{}\n")
    assert rollback(tmp_path, "scale", "--undo").returncode == 0
    assert desired.read(state) == Desired()


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"workers": 3}', '{"mode": "swarm", "workers": 3, "by": "", "at": 0.0}', "{}{}"],
)
def test_a_damaged_desired_state_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    file = tmp_path / "state/desired.json"
    file.parent.mkdir()
    file.write_text(content)
    done = rollback(tmp_path, "scale")
    assert done.returncode == 1
    assert f"{file}: expected one line as smart-factory writes it" in done.stderr
    assert file.read_text() == content
    assert not (tmp_path / "state/desired.before-scale.json").exists()


def test_a_dry_run_prints_the_steps_and_writes_nothing(tmp_path: Path) -> None:
    done = rollback(tmp_path, "fork", "--dry-run")
    assert done.returncode == 0
    assert f"would: write mode fork into {tmp_path}/state/desired.json" in done.stdout
    assert not (tmp_path / "state").exists()


def test_another_operation_is_waited_for_by_nobody(tmp_path: Path) -> None:
    with operation(tmp_path / "state", "scale 4"):
        done = rollback(tmp_path, "fork")
    assert done.returncode == 5
    assert f"another operation is running: 'scale 4' (pid {os.getpid()}) since " in done.stderr
    assert not (tmp_path / "state/desired.json").exists()
    assert rollback(tmp_path, "fork").returncode == 0


def test_its_own_lock_holds_the_commands_off_and_names_it(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from deploy.state.lock import operation\n"
        "with operation(Path(sys.argv[1]), 'scale'): pass"
    )
    script = f'take_lock \'rollback fork\'; {sys.executable} -c "$CHECK" "$SF_STATE" 2>&1 || true'
    said = in_bash(tmp_path, script, CHECK=program)
    assert "LockHeldError: another operation is running: 'rollback fork' (pid " in said
    with operation(tmp_path / "state", "scale"):  # it went with the process
        pass


def test_the_outcome_is_in_the_ledger_with_who_and_why(tmp_path: Path) -> None:
    state = tmp_path / "state"
    ledger.append(state, "start", who="master")
    with (state / "ledger.jsonl").open("a") as file:
        file.write('{"event": "torn')
    why = 'too "much"\nof \\ it, ä'
    assert rollback(tmp_path, "scale", "--why", why).returncode == 0
    start, event = ledger.read(state, limit=None)
    assert start["event"] == "start"
    assert (event["event"], event["name"], event["outcome"], event["who"]) == (
        "rollback",
        "rollback scale",
        "complete",
        "alice",
    )
    assert event["why"] == why.replace("\n", " ")
    assert event["at"].endswith("Z")
    assert event["checks"] == []


def test_a_long_line_of_the_ledger_is_written_whole(tmp_path: Path) -> None:
    more = f', \\"x\\": \\"{"y" * 20_000}\\"'
    in_bash(tmp_path, f'mkdir -p "$SF_STATE"; record rollback complete "" "{more}"')
    (event,) = ledger.read(tmp_path / "state", limit=None)
    assert len(event["x"]) == 20_000


def test_files_of_root_belong_to_the_owner_of_the_directory(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 1234, 1235)
    assert rollback(tmp_path, "scale").returncode == 0
    for name in ("desired.json", "desired.before-scale.json", "ledger.jsonl", "operation.lock"):
        assert (state / name).stat().st_uid == 1234, name


def test_the_shell_reads_the_scoreboard_as_its_layout_says(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    master = Master(
        pid=4711,
        start_ticks=123456789012,
        started=1.5,
        mode="cluster",
        wanted=7,
        generation=2,
        release="2f1c9e",
        app_name="a",
        address="127.0.0.1:3000, unix:/x",
    )
    board = Scoreboard.create(tmp_path / "run/scoreboard", master)
    script = (
        'board_number "$BOARD_PID"; board_number "$BOARD_START"; board_number "$BOARD_WANTED"; '
        'board_text "$BOARD_MODE" 16; echo; board_text "$BOARD_ADDRESS" 240; echo; board_ready; '
        'echo "$BOARD_VERSION $BOARD_ROWS $BOARD_ROW $BOARD_ROWS_BYTES $BOARD_READY"'
    )
    *header, constants = in_bash(tmp_path, script).splitlines()
    assert header == ["4711", "123456789012", "7", "cluster", "127.0.0.1:3000, unix:/x", "0"]
    assert [int(word) for word in constants.split()] == [
        layout.VERSION,
        layout.row_offset(0),
        layout.ROW.size,
        layout.ROWS * layout.ROW.size,
        layout.State.READY,
    ]
    board.close()


def test_a_board_of_another_version_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/scoreboard").write_bytes(b"SFBOARD\0" + b"\x63" + b"\0" * 4096)
    assert in_bash(tmp_path, 'board_number "$BOARD_PID"') == ""


def test_a_process_has_the_start_that_python_reads(tmp_path: Path) -> None:
    assert in_bash(tmp_path, f"start_of {os.getpid()}").strip() == str(start_ticks(os.getpid()))
    assert in_bash(tmp_path, "start_of 999999999 || echo gone").strip() == "gone"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("PORT=4000", "4000"),
        ("export PORT='4000'  # ours", "4000"),
        ('PORT = "4000"', "4000"),
        ("PORT=4000 # ours", "4000"),
        ("PORT=1\nPORT=4000", "4000"),
        ("XPORT=1\n#PORT=2", "default"),
        ("PORT=", "default"),
    ],
)
def test_the_environment_file_is_read_as_the_kit_reads_it(
    tmp_path: Path, line: str, value: str
) -> None:
    (tmp_path / "app.env").write_text(f"{line}\n")
    assert in_bash(tmp_path, "setting PORT default").strip() == value
    assert in_bash(tmp_path, "setting PORT default", PORT="5000").strip() == "5000"


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", "7"), ("7s", "7"), ("5m", "300"), ("2h", "7200"), ("08", "8")]
)
def test_durations_have_units(tmp_path: Path, value: str, seconds: str) -> None:
    assert (
        in_bash(tmp_path, "seconds GRACEFUL_TIMEOUT 10", GRACEFUL_TIMEOUT=value) == f"{seconds}\n"
    )


def test_text_becomes_json_whatever_is_in_it(tmp_path: Path) -> None:
    text = 'a "b" \\ & \t ä \\n'
    said = in_bash(tmp_path, 'json_text "$TEXT"', TEXT=text)
    assert json.loads(said) == text.replace("\t", " ")


# --- releases


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    """Two releases, linked; neither has an interpreter."""
    root = tmp_path / "root"
    for name in ("20260101-000000-1111111", "20260102-000000-2222222"):
        (root / "releases" / name).mkdir(parents=True)
    (root / "previous").symlink_to("releases/20260101-000000-1111111")
    (root / "current").symlink_to("releases/20260102-000000-2222222")
    return root


def give_python(release: Path) -> None:
    (release / ".venv").symlink_to(ROOT / ".venv")


def links(root: Path) -> tuple[str, str]:
    return (root / "current").readlink().name[-7:], (root / "previous").readlink().name[-7:]


def test_without_a_previous_release_there_is_nothing_to_return_to(
    tmp_path: Path, releases: Path
) -> None:
    (releases / "previous").unlink()
    done = rollback(tmp_path, "release")
    assert done.returncode == 1
    assert f"no previous release: {releases}/previous leads nowhere" in done.stderr


@pytest.mark.parametrize(
    ("fault", "said"),
    [("python", "has no Python that runs either"), ("building", "was never built to its end")],
)
def test_a_previous_release_that_is_of_no_use_changes_nothing(
    tmp_path: Path, releases: Path, fault: str, said: str
) -> None:
    if fault == "building":
        (releases / "previous").resolve().joinpath("BUILDING").touch()
        give_python((releases / "previous").resolve())
    done = rollback(tmp_path, "release")
    assert done.returncode == 6
    assert said in done.stderr
    assert links(releases) == ("2222222", "1111111")


def test_only_a_rollback_of_the_release_is_undone(tmp_path: Path, releases: Path) -> None:
    give_python((releases / "previous").resolve())
    state = tmp_path / "state"
    ledger.append(state, "rollback", who="a", outcome="complete", name="rollback scale")
    assert rollback(tmp_path, "release", "--undo", "--dry-run").returncode == 1
    ledger.append(state, "rollback", who="a", outcome="rolled back", name="rollback release")
    assert rollback(tmp_path, "release", "--undo", "--dry-run").returncode == 1
    ledger.append(state, "rollback", who="a", outcome="complete", name="rollback release")
    ledger.append(state, "rollback", who="a", outcome="complete", name="rollback scale")
    assert rollback(tmp_path, "release", "--undo", "--dry-run").returncode == 0
    ledger.append(state, "release", who="a", outcome="complete", name="release 1")
    done = rollback(tmp_path, "release", "--undo", "--dry-run")
    assert done.returncode == 1
    assert "nothing to undo: the last change of the release was no rollback" in done.stderr
