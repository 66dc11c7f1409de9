"""The application's own tests pass under the service's sandbox."""

from __future__ import annotations

import re

from tests.cluster import ROOT
from tests.system.conftest import SOURCE
from tests.system.container import Container

UNIT = "sandboxed-tests.service"
# A short path: a Unix socket's must not exceed 107 bytes.
# Without a broker, which is Java's and fetched; test_consumers.py tries Kafka's client.
COMMAND = (
    "/srv/venv/bin/python -m pytest -n 2 -q -p no:cacheprovider --basetemp=/tmp/t"
    " --ignore-glob=*_on_kafka.py tests/app"
)


def test_the_application_s_tests_pass_under_the_service_s_sandbox(machine: Container) -> None:
    machine.sh(
        "python3 -m venv /srv/venv && /srv/venv/bin/pip install --quiet"
        f" -r {SOURCE}/requirements.txt -r {SOURCE}/requirements-dev.txt"
        f" -c {SOURCE}/constraints.txt"
        f" && echo {SOURCE} >$(echo /srv/venv/lib/python3.*/site-packages)/source.pth",
        timeout=300,
    )
    unit = (ROOT / "systemd" / "smart-factory.service").read_text()
    # Everything stays as it is but what is run and how systemd hears of its end.
    for name, value in {
        "Type": "oneshot",
        "WorkingDirectory": SOURCE,
        "ExecStart": COMMAND,
        "Restart": "no",
        "WatchdogSec": "0",
        "TimeoutStartSec": "10min",
        "StateDirectory": "sandboxed-tests",
        "RuntimeDirectory": "sandboxed-tests",
    }.items():
        unit, count = re.subn(rf"^{name}=.*$", f"{name}={value}", unit, flags=re.MULTILINE)
        assert count == 1, name
    others = "ExecReload|ExitType|Requires|Wants|SyslogIdentifier"
    unit = re.sub(rf"^({others})=.*\n", "", unit, flags=re.MULTILINE)
    machine.write(f"/etc/systemd/system/{UNIT}", unit)
    machine.systemctl("daemon-reload")
    done = machine.systemctl("start", UNIT, check=False, timeout=600)
    journal = machine.journal(UNIT)
    assert done.returncode == 0, journal
    assert re.search(r"\d{3,} passed", journal), journal
    assert "skipped" not in journal
