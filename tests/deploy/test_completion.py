"""`completion`: bash itself completes the command."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cluster import ROOT
from tests.deploy.test_ops_cluster import Place, fake_master

# As a shell does at TAB: it calls the function that is registered for the command.
ASK = """
eval "$(smart-factory completion bash)"
complete -p smart-factory >/dev/null || exit 1
COMP_WORDS=({words}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_smart_factory_completion smart-factory
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def complete(place: Place, *words: str) -> Sequence[str]:
    """What bash offers for the last of the words."""
    command = place.root / "bin" / "smart-factory"
    command.parent.mkdir(exist_ok=True)
    # As install.sh makes it; here -P would hide the tree, which is no installed release.
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m deploy "$@"\n')
    command.chmod(0o755)
    quoted = " ".join(map(shlex.quote, ["smart-factory", *words]))
    done = subprocess.run(
        ["bash", "--norc", "-c", ASK.format(words=quoted)],
        cwd=ROOT,
        env=place.env | {"PATH": f"{command.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_commands_and_choices_are_completed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert {"status", "monit", "logs", "reload", "completion"} <= set(complete(place, ""))
    assert complete(place, "stat") == ["status"]
    assert complete(place, "completion", "") == ["bash", "zsh", "fish"]
    assert complete(place, "logs", "--level", "w") == ["warning"]
    assert "--force" in complete(place, "reload", "--")
    units = complete(place, "logs", "--unit", "")
    assert units[:3] == ["bare", "prune", "topup"]
    assert "consumer@purchase" in units


def test_the_slots_that_run_are_completed(tmp_path: Path) -> None:
    with fake_master(tmp_path, wanted=3, rows=[[0, "ready"], [5, "draining"]]) as master:
        slots = ["worker-1", "worker-2", "worker-3", "worker-5"]
        assert complete(master.place, "describe", "") == slots
        assert complete(master.place, "describe", "worker-2") == ["worker-2"]
        assert complete(master.place, "logs", "--worker", "") == [*slots, "master"]


@pytest.mark.parametrize("board", [None, b"no scoreboard"])
def test_without_a_cluster_nothing_is_offered_and_nothing_said(
    tmp_path: Path, board: bytes | None
) -> None:
    (tmp_path / "run").mkdir()
    if board:
        (tmp_path / "run" / "scoreboard").write_bytes(board)
    assert complete(Place(tmp_path), "describe", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_names_the_installed_command(tmp_path: Path, shell: str) -> None:
    done = Place(tmp_path).run("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_SMART_FACTORY_COMPLETE={shell}_complete" in done.stdout
    assert "python" not in done.stdout


def test_another_shell_is_code_2(tmp_path: Path) -> None:
    assert Place(tmp_path).run("completion", "tcsh").returncode == 2
