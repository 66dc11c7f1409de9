"""The units: what systemd says of them, and what their README says of each directive."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.cluster import ROOT

UNITS = sorted(path for path in (ROOT / "systemd").iterdir() if path.suffix not in (".md", ".sh"))
SERVICES = [path for path in UNITS if path.suffix == ".service"]


def directives(unit: Path) -> list[str]:
    return re.findall(r"^(\w+)=", unit.read_text(), re.MULTILINE)


def sandbox(unit: Path) -> str:
    return unit.read_text().partition("# The sandbox")[2].partition("[Install]")[0].strip()


def test_systemd_has_nothing_to_say_and_the_exposure_is_low() -> None:
    done = subprocess.run(
        [ROOT / "systemd" / "verify.sh"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("unit", "replaced", "by", "said"),
    [
        ("smart-factory.service", "KillMode=", "KillModus=", "Unknown key"),
        ("smart-factory-prune.service", "ProtectSystem=strict\n", "", "exposure level"),
        ("smart-factory-topup.timer", "OnCalendar=", "OnCalendar=noon ", "calendar"),
        ("smart-factory.service", "ExecStart=/opt", "ExecStart=opt", "smart-factory.service"),
    ],
)
def test_a_unit_that_is_wrong_is_found(
    unit: str, replaced: str, by: str, said: str, tmp_path: Path
) -> None:
    for path in (*UNITS, ROOT / "systemd" / "verify.sh"):
        copy = tmp_path / path.name
        copy.write_text(path.read_text())
        copy.chmod(path.stat().st_mode)
    spoilt = tmp_path / unit
    assert replaced in spoilt.read_text()
    spoilt.write_text(spoilt.read_text().replace(replaced, by, 1))
    done = subprocess.run(
        [tmp_path / "verify.sh"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert said in done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_readme_explains_every_directive(unit: Path) -> None:
    explained = set(re.findall(r"(\w+)=", (ROOT / "systemd" / "README.md").read_text()))
    assert sorted(set(directives(unit)) - explained) == []


@pytest.mark.parametrize("service", SERVICES, ids=lambda unit: unit.name)
def test_every_service_has_the_same_sandbox(service: Path) -> None:
    assert sandbox(service)
    assert sandbox(service) == sandbox(ROOT / "systemd" / "smart-factory.service")
