"""The consumers as units: they work, end and come back, and follow the releases."""

from __future__ import annotations

import itertools

from tests.system.conftest import SOURCE
from tests.system.container import Container
from tests.system.operating import commit, is_active, shown, smart_factory
from tests.wait import wait_until

ENVIRONMENT = "/etc/smart-factory/smart-factory.env"
CURRENT = "/opt/smart-factory/current"
NAMES = ("purchase", "session", "cache")  # allocation needs an admin service
_students = itertools.count(1)


def unit(name: str) -> str:
    return f"smart-factory-consumer@{name}.service"


def pay(machine: Container) -> str:
    """Confirms a payment over HTTP; the student who paid."""
    student = f"student-{next(_students)}"
    answer = machine.request(
        "POST",
        "/api/payments/confirm",
        body={
            "provider_payment_id": f"pay-{student}",
            "student_id": student,
            "course_id": "course-1",
            "amount": 1499.0,
        },
    )
    assert answer.status == 202, answer
    return student


def await_rows(machine: Container, table: str, student: str, rows: int = 1) -> None:
    query = f"SELECT count(*) FROM {table} WHERE student_id = '{student}'"  # noqa: S608 - ours
    machine.wait(
        f'[[ $(runuser -u postgres -- psql -tA smart-factory -c "{query}") == {rows} ]]',
        what=f"{rows} row(s) of {student} in {table}",
    )


def await_logged(machine: Container, unit: str, *words: str) -> None:
    """Until one line of the unit's log has all the words."""
    wait_until(
        lambda: any(
            all(word in line for word in words) for line in machine.journal(unit).splitlines()
        ),
        what=f"{words} in the log of {unit}",
    )


def main_pid(machine: Container, name: str) -> str:
    return shown(machine, "MainPID", unit(name))


def home(machine: Container, name: str) -> str:
    """The release that the consumer's process runs."""
    return machine.run("readlink", f"/proc/{main_pid(machine, name)}/cwd").stdout.strip()


def homes(machine: Container) -> list[str]:
    return [home(machine, name) for name in NAMES]


def live(machine: Container) -> str:
    return machine.run("readlink", "-f", CURRENT).stdout.strip()


def test_a_confirmed_payment_becomes_a_purchase(machine: Container) -> None:
    for name in NAMES:  # install.sh has enabled them, the service's start has started them
        assert is_active(machine, unit(name))
    await_rows(machine, "student_course_purchases", pay(machine))


def test_a_stop_ends_in_order_and_what_is_paid_meanwhile_is_worked_on_later(
    machine: Container,
) -> None:
    machine.systemctl("stop", unit("purchase"), timeout=60)
    assert shown(machine, "Result", unit("purchase")) == "success"
    assert shown(machine, "ExecMainStatus", unit("purchase")) == "0"
    assert "purchase: left the group" in machine.journal(unit("purchase"))
    student = pay(machine)
    machine.systemctl("start", unit("purchase"))
    await_rows(machine, "student_course_purchases", student)


def test_a_killed_consumer_comes_back_and_goes_on(machine: Container) -> None:
    before = main_pid(machine, "purchase")
    machine.run("kill", "-9", before)
    student = pay(machine)
    await_rows(machine, "student_course_purchases", student)
    assert main_pid(machine, "purchase") != before
    assert shown(machine, "NRestarts", unit("purchase")) == "1"


def test_who_misses_its_configuration_says_so_once_and_starts_when_it_is_there(
    machine: Container,
) -> None:
    allocation = unit("allocation")
    enabled = machine.systemctl("is-enabled", allocation, check=False).stdout.strip()
    assert enabled == "disabled"
    machine.systemctl("start", allocation, check=False)
    failed = f"[[ $(systemctl show -P ActiveState {allocation}) == failed ]]"  # not activating
    machine.wait(failed, what="its end without another start")
    assert shown(machine, "ExecMainStatus", allocation) == "2"
    assert shown(machine, "NRestarts", allocation) == "0"
    assert machine.journal(allocation).count("ADMIN_SERVICE_URL: required by") == 1
    doctor = smart_factory(machine, "doctor", "--only", "consumers").stdout
    assert "allocation does not run: ADMIN_SERVICE_URL is not set" in doctor

    machine.run(
        *("systemd-run", "--quiet", "--unit=admin-stub", f"--working-directory={CURRENT}"),
        *(f"{CURRENT}/.venv/bin/python", "-m", "app.consumers.admin_stub", "--port=3900"),
    )
    machine.sh(f"echo ADMIN_SERVICE_URL=http://localhost:3900 >>{ENVIRONMENT}")
    done = machine.run(f"{SOURCE}/deploy/scripts/install.sh")
    assert f"install: enable {allocation}\ninstall: start them\n" in done.stdout
    student = pay(machine)
    await_rows(machine, "trainer_allocations", student)
    await_rows(
        machine,
        "course_sessions JOIN trainer_allocations AS a ON a.id = allocation_id",
        student,
        rows=7,
    )
    assert "running: " in smart_factory(machine, "doctor", "--only", "consumers").stdout


def test_the_top_up_does_its_work(machine: Container) -> None:
    machine.systemctl("start", "smart-factory-topup.service")
    assert shown(machine, "Result", "smart-factory-topup.service") == "success"
    assert "session(s) scheduled" in machine.journal("smart-factory-topup.service")
    timers = machine.systemctl("list-timers", "--all").stdout
    assert "smart-factory-topup.timer" in timers


def test_the_sandbox_lets_caches_and_brokers_be_asked_for(machine: Container) -> None:
    """There is neither here: what matters is that their libraries load, and look for them."""
    cache = unit("cache")
    machine.sh(f"cp {ENVIRONMENT} /root/environment")
    machine.sh(f"echo REDIS_URL=redis://localhost:9/0 >>{ENVIRONMENT}")
    machine.systemctl("restart", cache)
    student = pay(machine)
    await_logged(machine, cache, "The cached pages", f"'{student}'", "refused")
    machine.sh(f"echo KAFKA_BROKERS=localhost:9 >>{ENVIRONMENT}")
    machine.systemctl("restart", cache)
    await_logged(machine, cache, "localhost:9/bootstrap", "Connection refused")
    assert is_active(machine, cache)
    machine.sh(f"cp /root/environment {ENVIRONMENT}")
    machine.systemctl("restart", cache)


def test_the_consumers_follow_a_release_and_the_way_back(machine: Container) -> None:
    before = live(machine)
    assert homes(machine) == [before] * len(NAMES)
    commit(machine, "echo '# a change' >> app/consumers/__init__.py")
    machine.systemctl("stop", unit("allocation"))
    planned = smart_factory(machine, "release", "HEAD", "--dry-run").stdout
    assert "restart the consumers, and see that they stay: cache, purchase, session" in planned
    done = smart_factory(machine, "release", "HEAD").stdout
    assert "ok     consumers  restarted: cache, purchase, session\n" in done
    assert live(machine) != before
    assert homes(machine) == [live(machine)] * len(NAMES)
    assert not is_active(machine, unit("allocation"))  # an operator's will
    smart_factory(machine, "rollback", "release")
    assert homes(machine) == [before] * len(NAMES)
    await_rows(machine, "student_course_purchases", pay(machine))


def test_a_release_whose_consumers_cannot_start_is_taken_back(machine: Container) -> None:
    before = live(machine)
    commit(machine, "echo 'import no_such_module' >> app/consumers/__init__.py")
    done = smart_factory(machine, "release", "HEAD", code=4)
    said = "ended with exit code 1 (ModuleNotFoundError: No module named 'no_such_module')"
    assert said in done.stdout
    assert said in done.stderr
    assert live(machine) == before
    assert homes(machine) == [before] * len(NAMES)
    await_rows(machine, "student_course_purchases", pay(machine))
