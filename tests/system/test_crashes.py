"""What is killed or hangs under load: what is lost is named, the rest is answered."""

from __future__ import annotations

from tests.system.container import Container
from tests.system.operating import commit, main_pid, restarts, size_of, smart_factory, status
from tests.wait import wait_until

HANGING = """cat >> app/wsgi.py <<'CODE'

import os, pathlib, time
_serving, _switch = app.wsgi_app, pathlib.Path("/run/smart-factory/hang")
def _hanging(environ, start_response):
    # Only below the master that is named: the next one's workers serve.
    if _switch.exists() and _switch.read_text() == str(os.getppid()):
        time.sleep(3600)
    return _serving(environ, start_response)
app.wsgi_app = _hanging
CODE"""


def test_a_killed_master_costs_nothing(machine: Container) -> None:
    master, before = main_pid(machine), restarts(machine)
    with machine.load("/health", rate=100) as load:
        machine.sh(f"kill -9 {master}")
        machine.wait(
            f"(( $(systemctl show -P NRestarts smart-factory) > {before} ))"
            " && systemctl is-active --quiet smart-factory",
            what="systemd to restart the service",
        )
    assert size_of(machine) == ("cluster", 3, 3)
    assert main_pid(machine) != master
    # Only the master was killed, and it has no request: its workers answer what they have.
    assert load.failed == 0, load.report


def test_a_killed_worker_costs_what_it_had_in_flight(machine: Container) -> None:
    def worker_2() -> int | None:
        slots = status(machine)["slots"]
        pids = [each["pid"] for each in slots if each["slot"] == 2 and each["state"] == "ready"]
        return pids[0] if pids else None

    with machine.load("/health", rate=100) as load:
        worker = worker_2()
        machine.sh(f"kill -9 {worker}")
        wait_until(lambda: worker_2() not in (None, worker), what="the worker's successor")
    assert "refused" not in load.report["failures"]
    # Four threads, and what they have accepted beyond: those were in flight on the killed process.
    assert load.failed <= 5, load.report
    assert size_of(machine) == ("cluster", 3, 3)


def test_the_watchdog_restarts_an_application_that_hangs(machine: Container) -> None:
    machine.write(
        "/etc/systemd/system/smart-factory.service.d/50-test.conf", "[Service]\nWatchdogSec=6\n"
    )
    machine.systemctl("daemon-reload")
    commit(machine, HANGING)
    smart_factory(machine, "release", "HEAD")
    machine.systemctl("restart", "smart-factory.service")  # from now on with that watchdog
    before, master = restarts(machine), main_pid(machine)
    with machine.load("/health", rate=100) as load:
        machine.sh(f"printf {master} >/run/smart-factory/hang.new")
        machine.sh("mv /run/smart-factory/hang.new /run/smart-factory/hang")
        machine.wait(
            f"(( $(systemctl show -P NRestarts smart-factory) > {before} ))"
            " && systemctl is-active --quiet smart-factory",
            what="the watchdog to restart the service",
            seconds=90,
        )
    assert "watchdog" in machine.journal("smart-factory.service", "-n", "5000").lower()
    assert size_of(machine) == ("cluster", 3, 3)
    # What the hanging workers had accepted is lost with them, and nothing else: the listener was
    # never closed.
    assert load.report["failures"].keys() <= {"eof", "reset"}, load.report
    assert 0 < load.failed < load.sent
