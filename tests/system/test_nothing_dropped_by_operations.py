"""Operations under a load of 100 requests/s: not one is refused, not one fails."""

from __future__ import annotations

from tests.system.container import Container
from tests.system.operating import is_active, main_pid, size_of, smart_factory, status


def test_start(machine: Container) -> None:
    machine.systemctl("stop", "smart-factory.service")
    with machine.load("/health", rate=100) as load:  # what comes first starts it
        machine.systemctl("start", "smart-factory.service")
        assert size_of(machine) == ("cluster", 3, 3)
    assert load.sent > 100
    assert load.failed == 0, load.report


def test_ten_reloads(machine: Container) -> None:
    master = main_pid(machine)
    with machine.load("/health", rate=100) as load:
        for _ in range(10):
            machine.systemctl("reload", "smart-factory.service")
    assert load.failed == 0, load.report
    assert main_pid(machine) == master
    assert status(machine)["generation"] >= 10


def test_restart(machine: Container) -> None:
    master = main_pid(machine)
    with machine.load("/health", rate=100) as load:
        machine.systemctl("restart", "smart-factory.service")
    assert load.failed == 0, load.report
    assert main_pid(machine) != master
    assert size_of(machine) == ("cluster", 3, 3)


def test_switch_to_fork_and_back_to_the_cluster(machine: Container) -> None:
    with machine.load("/health", rate=100) as load:
        smart_factory(machine, "switch", "fork")
        assert size_of(machine) == ("fork", 1, 1)
        smart_factory(machine, "switch", "cluster")
        assert size_of(machine) == ("cluster", 3, 3)
    assert load.failed == 0, load.report


def test_rollback_to_one_worker_and_back(machine: Container) -> None:
    with machine.load("/health", rate=100) as load:
        smart_factory(machine, "rollback", "scale")
        assert size_of(machine) == ("cluster", 1, 1)
        smart_factory(machine, "rollback", "scale", "--undo")
        assert size_of(machine) == ("cluster", 3, 3)
    assert load.failed == 0, load.report


def test_rollback_to_fork_and_back(machine: Container) -> None:
    with machine.load("/health", rate=100) as load:
        smart_factory(machine, "rollback", "fork")
        assert size_of(machine) == ("fork", 1, 1)
        smart_factory(machine, "rollback", "fork", "--undo")
        assert size_of(machine) == ("cluster", 3, 3)
    assert load.failed == 0, load.report


def test_rollback_to_the_plain_process_and_back(machine: Container) -> None:
    with machine.load("/health", rate=100) as load:
        smart_factory(machine, "rollback", "bare")
        assert is_active(machine, "smart-factory-bare.service")
        assert not is_active(machine, "smart-factory.service")
        smart_factory(machine, "rollback", "bare", "--undo")
        assert not is_active(machine, "smart-factory-bare.service")
        assert size_of(machine) == ("cluster", 3, 3)
    assert load.failed == 0, load.report


def test_an_operation_is_in_the_ledger_with_its_checks(machine: Container) -> None:
    smart_factory(machine, "switch", "cluster", "--why", "to be sure")
    history = smart_factory(machine, "history", "--json", "--event", "switch").stdout
    for word in ('"to be sure"', '"complete"', '"session"', '"health"', '"processes"', '"journal"'):
        assert word in history
