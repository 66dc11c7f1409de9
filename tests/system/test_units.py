"""What the units promise by themselves: sockets, targets, and what outlives a killed master."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.system.conftest import SOURCE
from tests.system.container import Container
from tests.system.operating import is_active, main_pid, restarts, shown, size_of, smart_factory
from tests.wait import wait_until

INSTALL = f"{SOURCE}/deploy/scripts/install.sh"
ENVIRONMENT = "/etc/smart-factory/smart-factory.env"
UP = "systemctl is-active --quiet smart-factory.service"
# Says that it has begun, and answers when it is told to.
SLOW = """
import pathlib, time
run = pathlib.Path("/run/smart-factory")

def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        (run / "begun").touch()
        deadline = time.monotonic() + 20
        while not (run / "end").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
    start_response("200 OK", [])
    return [b"answered"]
"""


def set_variable(machine: Container, name: str, value: str | None) -> None:
    machine.sh(f"sed -i '/^{name}=/d' {ENVIRONMENT}")
    if value is not None:
        machine.sh(f"echo '{name}={value}' >>{ENVIRONMENT}")


def test_connections_never_start_the_cluster_beside_the_plain_service(machine: Container) -> None:
    smart_factory(machine, "rollback", "bare")
    for _ in range(20):
        assert machine.get("/health").status == 200
    assert not is_active(machine, "smart-factory.service")
    # While the plain one starts again there is nobody at the socket, and something to answer.
    bare = shown(machine, "MainPID", "smart-factory-bare.service")
    machine.sh(f"kill -9 {bare}")
    assert machine.get("/health").status == 200
    assert is_active(machine, "smart-factory-bare.service")
    assert not is_active(machine, "smart-factory.service")
    smart_factory(machine, "rollback", "bare", "--undo")
    assert size_of(machine) == ("cluster", 3, 3)


def test_a_connection_starts_what_was_stopped_with_its_socket_left_open(machine: Container) -> None:
    machine.systemctl("stop", "smart-factory.service")
    assert machine.get("/health", timeout=60).status == 200
    machine.wait(UP, what="the service that the request has started")


def test_the_target_s_stop_stops_all_of_it(machine: Container) -> None:
    machine.systemctl("stop", "smart-factory.target")
    units = " ".join(f"smart-factory{unit}" for unit in (".socket", ".service", "-prune.timer"))
    machine.wait(f"! systemctl is-active --quiet {units}", what="all units to stop")
    with pytest.raises(OSError, match="refused"):
        machine.get("/health")
    machine.systemctl("start", "smart-factory.target")
    machine.wait(UP, what="the service of the target")
    assert is_active(machine, "smart-factory-prune.timer")
    assert not is_active(machine, "smart-factory-bare.service")


def test_a_unix_socket_beside_the_pid_file_outlives_the_service(machine: Container) -> None:
    path = "/run/smart-factory/http.sock"
    set_variable(machine, "BIND", f"127.0.0.1:3000,unix:{path}")
    machine.run(INSTALL)
    machine.systemctl("restart", "smart-factory.socket", "smart-factory.service")
    machine.sh(f"test -S {path}")
    machine.systemctl("restart", "smart-factory.service")
    machine.sh(f"test -S {path}")
    machine.systemctl("stop", "smart-factory.service")
    machine.sh(f"test -S {path}")
    done = smart_factory(machine, "status", code=3)
    assert "not running" in done.stdout + done.stderr
    set_variable(machine, "BIND", None)
    machine.run(INSTALL)
    machine.systemctl("restart", "smart-factory.socket", "smart-factory.service")
    assert size_of(machine) == ("cluster", 3, 3)


def test_a_request_in_flight_is_answered_after_the_master_was_killed(machine: Container) -> None:
    machine.write("/opt/smart-factory/current/slow.py", SLOW)
    set_variable(machine, "WSGI_APP", "slow:app")
    machine.systemctl("reload", "smart-factory.service")
    with ThreadPoolExecutor() as background:
        asking = background.submit(machine.get, "/slow", timeout=60)
        machine.wait("test -e /run/smart-factory/begun", what="the request to be in flight")
        before = restarts(machine)
        machine.sh(f"kill -9 {main_pid(machine)}")
        machine.wait(
            "[[ $(systemctl show -P ExecMainCode smart-factory) == 2 ]]",
            what="systemd to see the master's death",
        )
        machine.sh("touch /run/smart-factory/end")
        answer = asking.result()
    assert (answer.status, answer.body) == (200, b"answered")
    wait_until(lambda: restarts(machine) == before + 1, what="systemd's restart", seconds=60)
    machine.wait(UP, what="the service")
    set_variable(machine, "WSGI_APP", None)
    machine.systemctl("reload", "smart-factory.service")


def test_visitors_of_a_service_that_cannot_start_do_not_take_the_socket_down(
    machine: Container,
) -> None:
    set_variable(machine, "THREADS", "many")
    machine.systemctl("restart", "smart-factory.service", check=False)
    for _ in range(5):
        with pytest.raises(OSError, match="timed out"):
            machine.get("/health", timeout=1)
    assert is_active(machine, "smart-factory.socket")
    set_variable(machine, "THREADS", None)
    assert machine.get("/health", timeout=60).status == 200
    machine.wait(UP, what="the service, mended")


def test_what_is_disabled_stays_off_after_a_reboot(machine: Container) -> None:
    machine.systemctl("disable", "smart-factory.target")
    machine.reboot()
    with pytest.raises(OSError, match="refused"):
        machine.get("/health")
    machine.systemctl("enable", "--now", "smart-factory.target")
    machine.wait(UP, what="the service of the target")


def test_a_drop_in_of_the_operator_s_outlives_the_removal(machine: Container) -> None:
    units = "/etc/systemd/system"
    machine.write(f"{units}/smart-factory.service.d/50-mine.conf", "[Service]\nMemoryMax=2G\n")
    machine.run(f"{SOURCE}/deploy/scripts/uninstall.sh")
    left = f"find {units} -name 'smart-factory*' -o -path '*smart-factory*'"
    assert machine.sh(left).stdout.split() == [
        f"{units}/smart-factory.service.d",
        f"{units}/smart-factory.service.d/50-mine.conf",
    ]
    machine.run(INSTALL)
    machine.systemctl("start", "smart-factory.service")
    assert is_active(machine, "smart-factory-prune.timer")  # which is enabled: without a reboot
    assert shown(machine, "MemoryMax") == str(2 << 30)
    machine.run(INSTALL, "--uninstall", "--purge")
    assert machine.sh(left).stdout == ""
