"""After a reboot the machine serves as before it."""

from __future__ import annotations

from tests.system.container import Container
from tests.system.operating import is_active, shown, size_of, smart_factory

UP = "systemctl is-active --quiet smart-factory.service"


def test_a_scaled_cluster_comes_back_in_its_size(machine: Container) -> None:
    smart_factory(machine, "scale", "4")
    machine.reboot()
    machine.wait(UP, what="the service after the reboot")
    assert size_of(machine) == ("cluster", 4, 4)
    assert machine.get("/health").status == 200
    smart_factory(machine, "scale", "--reset")


def test_fork_mode_comes_back_as_fork_mode(machine: Container) -> None:
    smart_factory(machine, "switch", "fork")
    machine.reboot()
    machine.wait(UP, what="the service after the reboot")
    assert size_of(machine) == ("fork", 1, 1)
    smart_factory(machine, "switch", "cluster")


def test_the_plain_process_comes_back_as_such(machine: Container) -> None:
    smart_factory(machine, "rollback", "bare")
    machine.reboot()
    machine.wait("systemctl is-active --quiet smart-factory-bare.service", what="the plain service")
    assert machine.get("/health").status == 200
    assert not is_active(machine, "smart-factory.service")
    smart_factory(machine, "rollback", "bare", "--undo")
    machine.reboot()
    machine.wait(UP, what="the cluster after the reboot")
    assert size_of(machine) == ("cluster", 3, 3)
    assert shown(machine, "NRestarts") == "0"
