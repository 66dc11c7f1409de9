"""`logs`: the command, on a real file and on a stand-in for the journal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from deploy.ops import log_sources
from deploy.ops.errors import OperationError, WrongUseError
from deploy.ops.log_lines import parse, to_text
from deploy.ops.log_sources import Journal, LogFile
from deploy.ops.logs import since_when
from tests.cluster import ROOT
from tests.deploy.test_log_lines import NOON, PRETTY, machine
from tests.wait import wait_until


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("10m", NOON - 600),
        ("30s", NOON - 30),
        ("2h", NOON - 7200),
        ("1d", NOON - 86400),
        ("2026-11-24 10:00", NOON - 7200),
        ("2026-11-24T10:00:30", NOON - 7170),
        ("2026-11-24", NOON - 43200),
        ("11:00", NOON - 3600),
        ("13:00", NOON - 23 * 3600),
    ],
)
def test_since_is_a_span_or_a_local_time(given: str, expected: float) -> None:
    assert since_when(given, NOON) == expected


@pytest.mark.parametrize("given", ["x", "10", "10 minutes", "2026-13-01", "25:00", "-5m"])
def test_another_since_is_refused(given: str) -> None:
    with pytest.raises(WrongUseError, match=f"--since='{given}'"):
        since_when(given, NOON)


@pytest.mark.parametrize("block", [1, 2, 7, 1 << 16])
@pytest.mark.parametrize("last", ["", "unfinished"])
def test_a_file_is_read_from_either_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, last: str
) -> None:
    monkeypatch.setattr(log_sources, "_BLOCK", block)
    lines = ["first", "", "ünd", "x" * 20, "last"]
    path = tmp_path / "log"
    path.write_text("\n".join(lines) + f"\n{last}")
    with closing(LogFile(path)) as source:
        assert [raw.text for raw in source.newest_first(None)] == lines[::-1]
        with path.open("a") as file:
            file.write("more\n")
        end = f"{last}more"
        assert [raw.text for raw in source.oldest_first(None, follow=False)] == [end]
        assert [raw.text for raw in source.oldest_first(0, follow=False)] == [*lines, end]


def test_a_file_of_one_unfinished_line_has_no_line_yet(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("unfin")
    with closing(LogFile(path)) as source:
        assert list(source.newest_first(None)) == []
        assert [raw.text for raw in source.oldest_first(None, follow=False)] == ["unfin"]


class Logs:
    """`logs` on a directory, as a process."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.path = directory / "smart-factory.log"

    def write(self, *lines: str) -> None:
        with self.path.open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if name != "SMART_FACTORY_ROOT"}
        env = kept | {"LOG_DIRECTORY": str(self.directory), "ENV_FILE": "/dev/null"}
        return subprocess.Popen(
            [sys.executable, "-m", "deploy", "logs", *words],
            cwd=ROOT,
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*words)
        output, errors = process.communicate(timeout=60)
        return subprocess.CompletedProcess(words, process.returncode, output, errors)


pytestmark = pytest.mark.skipif(
    Path("/run/systemd/system").is_dir()
    and Path("/etc/systemd/system/smart-factory.service").exists(),
    reason="the service is installed here: its journal is read",
)


def test_the_file_of_a_service_without_systemd_is_shown(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.write(*(machine(f"line {n}", worker=f"worker-{n % 2 + 1}") for n in range(300)), PRETTY)
    done = logs.run()
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 100
    assert lines[-1] == PRETTY
    assert lines[0].endswith("line 201")
    assert [line[-8:] for line in logs.run("-n", "2", "--worker", "1").stdout.splitlines()] == [
        "line 296",
        "line 298",
    ]
    objects = [json.loads(line) for line in logs.run("--json", "-n3").stdout.splitlines()]
    assert [one["message"] for one in objects] == ["line 298", "line 299", "[worker-2] it broke"]
    since = logs.run("--since", "2026-11-24 00:00", "--grep", "LINE 29").stdout
    assert len(since.splitlines()) == 11
    assert logs.run("--since", "2999-01-01").stdout == ""


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--since", "x"], "--since='x': expected 30s"),
        (["--worker", "two"], "--worker='two': expected worker-2, 2 or master"),
        (["--worker", "0"], "--worker='0': expected"),
        (["--unit", "ssh"], "--unit='ssh': expected bare, prune, topup or consumer@NAME"),
    ],
)
def test_wrong_usage_is_code_2_in_one_line(tmp_path: Path, words: list[str], error: str) -> None:
    done = Logs(tmp_path).run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    said, step = done.stderr.splitlines()
    assert said.startswith(f"Error: {error}")
    assert step.startswith("Next step: ")


@pytest.mark.parametrize("words", [[], ["--unit", "bare"]])
def test_without_a_log_the_next_step_is_named(tmp_path: Path, words: list[str]) -> None:
    done = Logs(tmp_path).run(*words)
    assert (done.returncode, done.stdout) == (1, "")
    said, step = done.stderr.splitlines()
    assert "systemd does not know smart-factory" in said
    assert step.startswith("Next step: ")


def lines_of(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    return (line.rstrip("\n") for line in process.stdout)


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Waits for the end, and what was said on standard error."""
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def test_a_file_is_followed_across_its_rotation_until_ctrl_c(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.write("one", "two")
    process = logs.start("-f", "-n", "1", process_group=0)
    lines = lines_of(process)
    assert next(lines) == "two"
    logs.write("three")
    assert next(lines) == "three"
    logs.path.rename(tmp_path / "smart-factory.log.1")
    with (tmp_path / "smart-factory.log.1").open("a") as old:
        old.write("four\nfive")
    logs.write("six")
    assert list(islice(lines, 3)) == ["four", "five", "six"]
    os.truncate(logs.path, 0)
    # Emptied and longer again before it is looked at, it would not be seen to be emptied.
    wait_until(lambda: _position(process.pid, logs.path) == 0, what="the emptied file to be seen")
    logs.write("seven")
    assert next(lines) == "seven"
    process.send_signal(signal.SIGINT)
    assert end(process) == (0, "")


def _position(pid: int, path: Path) -> int | None:
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        if fd.readlink() == path:
            said = Path(f"/proc/{pid}/fdinfo/{fd.name}").read_text()
            return int(said.split()[1])
    return None


def test_following_ends_silently_when_nobody_reads_any_more(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.write("one")
    process = logs.start("-f")
    assert next(lines_of(process)) == "one"
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert end(process) == (0, "")  # though nothing more is written


JOURNALCTL = """#!/bin/bash
printf '%s\\n' "$*" >>"$0.asked"
[[ $* != *--fail* && ! -e $0.fails ]] || exit 3
case $* in
  *--reverse*) tac "$0.entries" ;;
  *--follow*) tail -n 1 "$0.entries"; exec sleep 600 ;;
  *) cat "$0.entries" ;;
esac
"""


@pytest.fixture
def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in that has three entries, and notes what it was asked."""
    path = tmp_path / "bin" / "journalctl"
    path.parent.mkdir()
    path.write_text(JOURNALCTL)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    entries: list[dict[str, Any]] = [
        {"MESSAGE": "Started.", "_PID": "1", "SYSLOG_IDENTIFIER": "systemd", "PRIORITY": "4"},
        {"MESSAGE": [98, 255, 97], "_PID": "7"},
        {"MESSAGE": machine(), "_PID": "7", "__REALTIME_TIMESTAMP": "1795489597830338"},
    ]
    numbered = [entry | {"__CURSOR": f"c{number}"} for number, entry in enumerate(entries)]
    path.with_name("journalctl.entries").write_text(
        "".join(f"{json.dumps(entry)}\n" for entry in numbered)
    )
    return path


def asked(journalctl: Path) -> str:
    return journalctl.with_name("journalctl.asked").read_text().splitlines()[-1]


def test_the_journal_is_read_backwards_and_followed_from_there(journalctl: Path) -> None:
    source = Journal("smart-factory.service")
    shown = [to_text(parse(raw), colour=False) for raw in source.newest_first(NOON)]
    assert shown[0].endswith("INFO     [7] hello")
    assert shown[1:] == ["b\N{REPLACEMENT CHARACTER}a", "- WARNING  [systemd] Started."]
    words = asked(journalctl)
    assert "--unit=smart-factory.service" in words
    assert f"--since=@{int(NOON)}" in words
    followed = source.oldest_first(None, follow=True)
    assert next(followed).cursor == "c2"
    assert "--after-cursor=c2" in asked(journalctl)
    followed.close()  # type: ignore[attr-defined]  # and the child has ended


def test_a_failing_journalctl_is_an_error(journalctl: Path) -> None:
    journalctl.with_name("journalctl.fails").touch()
    with pytest.raises(OperationError, match="journalctl ended with exit code 3"):
        list(Journal("smart-factory.service").newest_first(None))
