from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.cluster import launch
from deploy.cluster.launch import Launch, LaunchError


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    """`current` leads to the first of two releases; each has its own virtual environment."""
    for name in ("one", "two"):
        binaries = tmp_path / name / ".venv" / "bin"
        binaries.mkdir(parents=True)
        (binaries / "python").symlink_to(sys.executable)
        (binaries.parent / "pyvenv.cfg").write_text("home = /usr/bin\n")
        (binaries / "gunicorn").write_text(f"#!{binaries / 'python'}\n")
    (tmp_path / "current").symlink_to("one")
    return tmp_path


def of_current(releases: Path) -> Launch:
    current = releases / "current"
    return Launch(
        python=current / ".venv/bin/python",
        arguments=("-c", "gunicorn.conf.py"),
        directory=current,
        environ={"PWD": "/somewhere", "APP_ENV": "test"},
    )


def switch(releases: Path, to: str) -> None:
    (releases / "next").symlink_to(to)
    (releases / "next").rename(releases / "current")


def test_links_are_followed_to_where_they_lead_now(releases: Path) -> None:
    written = of_current(releases)
    first = written.resolved()
    switch(releases, "two")
    second = written.resolved()
    for resolved, name in [(first, "one"), (second, "two")]:
        assert resolved.directory == releases / name
        assert resolved.python == releases / name / ".venv/bin/python"
        assert resolved.environ == {"PWD": str(releases / name), "APP_ENV": "test"}
        assert resolved.arguments == written.arguments
    assert first.resolved() == first


def test_the_interpreters_own_link_makes_it_the_virtual_environments(releases: Path) -> None:
    resolved = of_current(releases).resolved()
    assert resolved.python.is_symlink()
    done = subprocess.run(
        [resolved.python, "-I", "-c", "import sys; print(sys.prefix)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(releases / "one" / ".venv")


def test_a_virtual_environment_that_is_a_link_is_followed(releases: Path) -> None:
    (releases / "one/.venv").rename(releases / "shared")
    (releases / "one/.venv").symlink_to(releases / "shared")
    assert of_current(releases).resolved().python == releases / "shared/bin/python"


@pytest.mark.parametrize("gone", ["directory", "link"])
def test_a_release_that_is_not_there_is_named(releases: Path, gone: str) -> None:
    written = of_current(releases)
    if gone == "directory":
        switch(releases, "three")
    else:
        (releases / "current").unlink()
    expected = f"the release's directory {releases}/current does not exist"
    with pytest.raises(LaunchError) as refusal:
        written.resolved()
    assert str(refusal.value) == expected


@pytest.mark.parametrize("how", ["missing", "dangling", "not executable"])
def test_an_interpreter_that_cannot_be_run_is_named(releases: Path, how: str) -> None:
    python = releases / "one/.venv/bin/python"
    python.unlink()
    if how == "dangling":
        python.symlink_to("/nowhere/python")
    elif how == "not executable":
        python.write_text("")
    written = of_current(releases)
    with pytest.raises(LaunchError) as refusal:
        written.resolved()
    assert str(refusal.value) == f"the release's interpreter {written.python} does not exist"


def test_a_directory_that_is_a_file_is_refused(releases: Path) -> None:
    (releases / "file").touch()
    with pytest.raises(LaunchError, match=r"directory .*/file does not exist"):
        replace(of_current(releases), directory=releases / "file").resolved()


def test_what_was_found_is_pinned_after_what_was_asked_for() -> None:
    """The last of several equal options wins."""
    plain = Launch(python=Path("p"), arguments=("-c", "x", "a:b"), directory=Path(), environ={})
    pinned = plain.pinned(config="/r/one/conf.py", chdir="/r/one")
    assert pinned.arguments == (
        *("-c", "x", "a:b", "--chdir", "/r/one"),
        *("--config", "/r/one/conf.py"),
    )
    assert plain.pinned(config=None, chdir="/r").arguments == ("-c", "x", "a:b", "--chdir", "/r")


MASTERS_OWN = (
    *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"),
    *("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"),
    *("GUNICORN_FD", "GUNICORN_PID", "SERVER_SOFTWARE"),
)


def test_what_belongs_to_the_master_alone_is_not_inherited(tmp_path: Path) -> None:
    environ = dict.fromkeys([*MASTERS_OWN, "PATH", "GUNICORN_CMD_ARGS", "INVOCATION_ID"], "x")
    found = launch.of_this_process(
        arguments=["gunicorn", "-w", "2"], directory=str(tmp_path), environ=environ
    )
    assert set(found.environ) == {"PATH", "GUNICORN_CMD_ARGS", "INVOCATION_ID"}
    assert found.arguments == ("-w", "2")
    assert found.directory == tmp_path
    assert len(environ) == len(MASTERS_OWN) + 3


class Started:
    """The interpreter of a release, as `sys.executable` names it after an exec."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, executable: Path):
        monkeypatch.setattr(sys, "executable", str(executable))

    def python(self, script: str, directory: Path) -> Path:
        return launch.of_this_process(
            arguments=[script], directory=str(directory), environ={}
        ).python


def test_a_script_beside_the_interpreter_is_found_again_through_its_link(
    releases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script's first line names the release, what was typed names `current`."""
    started = Started(monkeypatch, releases / "one/.venv/bin/python")
    typed = releases / "current/.venv/bin/gunicorn"
    assert started.python(str(typed), Path("/")) == typed.with_name("python")


@pytest.mark.parametrize("script", [".venv/bin/gunicorn", "./.venv/bin/gunicorn"])
def test_a_relative_script_belongs_to_the_directory_as_it_was_named(
    releases: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    started = Started(monkeypatch, releases / "one/.venv/bin/python")
    current = releases / "current"
    assert started.python(script, current) == current / ".venv/bin/python"


def test_an_interpreter_within_the_directory_is_found_through_the_directorys_link(
    releases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `python -m gunicorn`: the script is a module, far from the interpreter."""
    started = Started(monkeypatch, releases / "one/.venv/bin/python")
    module = str(releases / "one/.venv/lib/site-packages/gunicorn/__main__.py")
    assert started.python(module, releases / "current") == releases / "current/.venv/bin/python"


def test_any_other_interpreter_is_what_it_is(
    releases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = releases / "two/.venv/bin/python"
    started = Started(monkeypatch, elsewhere)
    for script in ("/usr/bin/gunicorn", str(releases / "one/.venv/bin/gunicorn")):
        assert started.python(script, releases / "current") == elsewhere


def test_this_process_can_be_launched_again(tmp_path: Path) -> None:
    found = launch.of_this_process(
        arguments=sys.argv, directory=str(tmp_path), environ=os.environ
    ).resolved()
    code = "import sys, deploy.cluster.launch; print(sys.prefix)"
    done = subprocess.run(
        [found.python, "-c", code],
        cwd=Path(__file__).parents[2],
        env=dict(found.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == sys.prefix
