"""install.sh and uninstall.sh, as far as they need neither root nor systemd."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.cluster import ROOT

SCRIPTS = ROOT / "deploy" / "scripts"
BASH = shutil.which("bash") or "/bin/bash"
NOBODY = 65534
# Where an installation would be.
PLACES = ("/opt", "/etc", "/etc/systemd/system", "/usr/local/bin", "/run", "/var/lib")
SYSTEMCTL = """case "$*" in
  --version) echo 'systemd {version} ({version}.8-1)' ;;
  *) exit 1 ;;
esac"""


def run(script: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BASH, SCRIPTS / script, *words],
        env={"PATH": os.environ["PATH"], "PYTHON": sys.executable, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def programs(directory: Path, **scripts: str) -> str:
    """A PATH on which these come first, whatever this machine has."""
    directory.mkdir(exist_ok=True)
    for name, script in scripts.items():
        (directory / name).write_text(f"#!{BASH}\n{script}\n")
        (directory / name).chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


@pytest.mark.parametrize("script", ["install.sh", "uninstall.sh", "build-release.sh"])
def test_help_names_every_option_and_exit_code(script: str) -> None:
    done = run(script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Exit code: 0 " in done.stdout
    cases = re.findall(r"^ +(-.+)\)(?: |$)", (SCRIPTS / script).read_text(), re.MULTILINE)
    options = {option for case in cases for option in re.findall(r"--[a-z-]+", case)} - {"--help"}
    assert options
    assert {option for option in options if option not in done.stdout} == set()


@pytest.mark.parametrize(
    ("script", "words", "said"),
    [
        ("install.sh", ["--prefix=/usr"], "unexpected argument '--prefix=/usr': allowed are"),
        ("install.sh", ["--uninstall", "--all"], "unexpected argument '--all': allowed are"),
        ("uninstall.sh", ["--force"], "unexpected argument '--force': allowed are"),
        ("build-release.sh", [], "expected SOURCE and DESTINATION"),
        ("build-release.sh", ["one"], "expected SOURCE and DESTINATION"),
        ("build-release.sh", ["--fast", "a", "b"], "unexpected option '--fast'"),
        ("build-release.sh", ["--python"], "--python: expected a value"),
        ("build-release.sh", ["/nowhere", "/nowhere/x"], "SOURCE='/nowhere': expected a directory"),
        ("build-release.sh", ["/", "/"], "DESTINATION='/': expected a path where nothing is yet"),
        ("build-release.sh", ["--kit", "/etc", "/", "/nowhere"], "--kit='/etc': expected a tree"),
    ],
)
def test_a_wrong_argument_is_named_in_one_line(script: str, words: list[str], said: str) -> None:
    done = run(script, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("script", ["install.sh", "uninstall.sh"])
def test_who_is_not_root_is_told_so(script: str) -> None:
    account = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory() as folder:  # which anybody may read
        Path(folder).chmod(0o755)
        shutil.copytree(SCRIPTS, Path(folder, "deploy", "scripts"))
        done = subprocess.run(
            [BASH, Path(folder, "deploy", "scripts", script)],
            **account,  # type: ignore[call-overload]
            env={"PATH": os.environ["PATH"]},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    said = f"{script.removesuffix('.sh')}: it has to be run by root: sudo deploy/scripts/{script}\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_a_dry_run_names_the_steps_and_does_none(tmp_path: Path) -> None:
    path = programs(tmp_path / "bin", systemctl=SYSTEMCTL.format(version=257))
    before = listing()
    done = run("install.sh", "--dry-run", PATH=path, DATABASE_URL="postgresql://db/shop")
    assert (done.returncode, done.stderr) == (0, "")
    # Each is either to be done or already so, on a machine that has been installed before.
    for word in (
        *("the user|the system user", "/opt/smart-factory/releases", "smart-factory.env"),
        *("credential SECRET_KEY", "credential INTERNAL_TOKEN", "release [0-9]{8}-", "bare"),
        *("/usr/local/bin/smart-factory", "/etc/systemd/system/smart-factory.service"),
        *("smart-factory.socket.d/10-smart-factory.conf", "enable"),
    ):
        assert re.search(rf"^install: (would|already so): .*({word})", done.stdout, re.M), word
    assert "install: done; next step: " in done.stdout
    assert listing() == before


@pytest.mark.parametrize(
    ("given", "enabled", "refused"),
    [
        ({}, ["purchase", "session", "cache"], ["allocation"]),
        (
            {"ADMIN_SERVICE_URL": "https://admin.example.org"},
            ["purchase", "allocation", "session", "cache"],
            [],
        ),
        ({"WSGI_APP": "shop:app"}, [], []),
    ],
)
def test_the_consumers_of_our_own_application_are_enabled_if_they_can_run(
    tmp_path: Path, given: dict[str, str], enabled: list[str], refused: list[str]
) -> None:
    if Path("/etc/smart-factory/smart-factory.env").exists():
        pytest.skip("this machine's own file says what holds")
    path = programs(tmp_path / "bin", systemctl=SYSTEMCTL.format(version=257))
    done = run("install.sh", "--dry-run", PATH=path, **given)
    assert done.returncode == 0
    units = [f"smart-factory-consumer@{name}.service" for name in enabled]
    found = re.findall("would: enable (.*consumer@.*)", done.stdout)
    assert found == ([" ".join(units)] if units else [])
    hints = re.findall(
        r"not enabled: smart-factory-consumer@(\w+)\.service needs ADMIN_SERVICE_URL", done.stdout
    )
    assert hints == refused


def test_a_consumer_that_an_operator_has_masked_is_left_alone(tmp_path: Path) -> None:
    systemctl = SYSTEMCTL.format(version=257).replace(
        "*) exit 1", "'is-enabled smart-factory-consumer@'*) echo masked; exit 1 ;;\n  *) exit 1"
    )
    done = run("install.sh", "--dry-run", PATH=programs(tmp_path / "bin", systemctl=systemctl))
    assert done.returncode == 0
    assert "not enabled: smart-factory-consumer@purchase.service, which is masked" in done.stdout
    assert not re.search("would: enable .*consumer@", done.stdout)


def test_a_dry_run_of_the_removal_removes_nothing(tmp_path: Path) -> None:
    path = programs(tmp_path / "bin", systemctl=SYSTEMCTL.format(version=257))
    before = listing()
    done = run("install.sh", "--dry-run", "--uninstall", "--purge", PATH=path)
    assert done.returncode == 0
    assert "uninstall: would: remove /var/lib/smart-factory" in done.stdout
    assert all(line.startswith("uninstall: ") for line in done.stdout.splitlines())
    kept = run("uninstall.sh", "--dry-run", PATH=path)
    assert "remove /var/lib" not in kept.stdout
    assert "kept: /opt/smart-factory, /etc/smart-factory, /var/" in kept.stdout
    assert listing() == before


def test_a_systemd_that_is_too_old_is_refused(tmp_path: Path) -> None:
    path = programs(tmp_path / "bin", systemctl=SYSTEMCTL.format(version=247))
    done = run("install.sh", "--dry-run", PATH=path)
    assert done.returncode == 1
    assert done.stderr == "install: systemd 247 is too old: 252 or later is needed\n"


def test_a_machine_without_systemd_is_sent_to_the_other_way(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("dirname", "bash"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or f"/usr/bin/{name}")
    done = run("install.sh", "--dry-run", PATH=str(tmp_path / "bin"))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "install: this machine has no systemd",
        "Next step: use deploy/scripts/start.sh; see docs/without-systemd.md",
    ]


def test_a_python_that_cannot_make_environments_is_refused(tmp_path: Path) -> None:
    path = programs(tmp_path / "bin", systemctl=SYSTEMCTL.format(version=252), python4="exit 1")
    done = run("install.sh", "--dry-run", PATH=path, PYTHON="python4")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "install: PYTHON='python4': expected Python 3.11 or later with venv",
        "Next step: apt-get install python3-venv",
    ]


def listing() -> list[str]:
    """What is ours in the places of an installation."""
    return sorted(str(path) for place in PLACES for path in Path(place).glob("smart-factory*"))
