"""install.sh and uninstall.sh, from a machine without us to one without us."""

from __future__ import annotations

import json

import pytest

from tests.system.conftest import DATABASE_URL, SOURCE
from tests.system.container import Container
from tests.system.operating import is_active, shown, size_of, smart_factory

INSTALL = f"{SOURCE}/deploy/scripts/install.sh"


@pytest.fixture(scope="module")
def installed(bare_machine: Container) -> Container:
    """Installed, and not yet started."""
    before = bare_machine.sh("ls -A /opt /etc/systemd/system").stdout
    bare_machine.run(INSTALL, "--dry-run")
    assert bare_machine.sh("ls -A /opt /etc/systemd/system").stdout == before
    bare_machine.run(
        INSTALL, env={"DATABASE_URL": DATABASE_URL, "CLUSTER_WORKERS": "3"}, timeout=600
    )
    return bare_machine


def test_start_returns_when_every_worker_is_ready(installed: Container) -> None:
    assert not is_active(installed, "smart-factory.service")
    installed.systemctl("start", "smart-factory.service")
    assert size_of(installed) == ("cluster", 3, 3)
    assert installed.get("/health/ready").status == 200
    assert shown(installed, "StatusText").startswith("3/3 ready · cluster · release 20")


def test_a_second_run_changes_nothing(installed: Container) -> None:
    installed.sh("echo 'LOG_LEVEL=warning' >>/etc/smart-factory/smart-factory.env")
    files = "/etc/smart-factory /etc/systemd/system /opt/smart-factory /usr/local/bin"
    listing = f"find {files} -not -path '*/.venv/*' -printf '%p %m %u %g %T@ %l\\n' | sort"
    before = installed.sh(listing).stdout
    done = installed.run(INSTALL, env={"DATABASE_URL": "postgresql://elsewhere/", "PORT": "4000"})
    assert installed.sh(listing).stdout == before
    assert "write" not in done.stdout
    assert f"smart-factory release {SOURCE}" in done.stdout


def test_secrets_are_root_s_alone_and_variables_the_service_s(installed: Container) -> None:
    listing = installed.sh("stat -c '%a %U:%G %n' /etc/smart-factory/* /etc/smart-factory/*/*")
    assert listing.stdout.splitlines() == [
        "700 root:root /etc/smart-factory/credentials",
        "640 root:smart-factory /etc/smart-factory/smart-factory.env",
        "600 root:root /etc/smart-factory/credentials/INTERNAL_TOKEN",
        "600 root:root /etc/smart-factory/credentials/SECRET_KEY",
    ]


def test_logs_come_from_the_journal(installed: Container) -> None:
    of_one = smart_factory(installed, "logs", "-n", "500", "--worker", "1").stdout
    assert "[worker-1] Started" in of_one
    assert "[worker-2] Started" not in of_one
    assert "[Master] All workers ready" in smart_factory(installed, "logs", "-n", "500").stdout
    as_json = smart_factory(installed, "logs", "-n", "1", "--worker", "1", "--json").stdout
    assert json.loads(as_json)["worker"] == "worker-1"


def test_one_frame_of_the_live_screen_shows_the_workers(installed: Container) -> None:
    frame = smart_factory(installed, "monit", "--once").stdout
    for word in ("3/3 ready", "worker-1", "worker-2", "worker-3", "127.0.0.1:3000"):
        assert word in frame


def test_anybody_may_ask_for_the_status(installed: Container) -> None:
    done = installed.run("runuser", "-u", "nobody", "--", "smart-factory", "status", "--json")
    assert json.loads(done.stdout)["state"] == "ready"


def test_a_changed_variable_needs_a_reload_only(installed: Container) -> None:
    installed.sh("sed -i 's/^CLUSTER_WORKERS=.*/CLUSTER_WORKERS=2/' /etc/smart-factory/*.env")
    installed.systemctl("reload", "smart-factory.service")
    assert size_of(installed) == ("cluster", 2, 2)
    installed.sh("sed -i 's/^CLUSTER_WORKERS=.*/CLUSTER_WORKERS=3/' /etc/smart-factory/*.env")
    installed.systemctl("reload", "smart-factory.service")
    assert size_of(installed) == ("cluster", 3, 3)


def test_a_refused_reload_makes_systemctl_fail(installed: Container) -> None:
    installed.sh("echo 'THREADS=many' >>/etc/smart-factory/smart-factory.env")
    done = installed.systemctl("reload", "smart-factory.service", check=False)
    assert done.returncode == 1
    assert "THREADS='many': expected an integer" in installed.journal()
    assert "last reload refused" in shown(installed, "StatusText")
    assert size_of(installed) == ("cluster", 3, 3)
    assert is_active(installed, "smart-factory.service")
    installed.sh("sed -i /THREADS/d /etc/smart-factory/smart-factory.env")
    installed.systemctl("reload", "smart-factory.service")


def test_another_address_is_the_socket_s(installed: Container) -> None:
    installed.sh("echo 'BIND=127.0.0.1:3100,unix:/run/sf.sock' >>/etc/smart-factory/*.env")
    installed.run(INSTALL)
    installed.systemctl("restart", "smart-factory.socket", "smart-factory.service")
    assert installed.get("/health", port=3100).status == 200
    assert installed.sh("test -S /run/sf.sock", check=False).returncode == 0
    with pytest.raises(OSError, match="refused"):
        installed.get("/health")
    installed.sh("sed -i /^BIND/d /etc/smart-factory/smart-factory.env")
    installed.run(INSTALL)
    installed.systemctl("restart", "smart-factory.socket", "smart-factory.service")
    assert installed.get("/health").status == 200


def test_a_start_that_cannot_load_fails_with_its_traceback_and_heals(installed: Container) -> None:
    installed.sh(
        "cd /opt/smart-factory/current && cp app/wsgi.py /root/wsgi.py"
        " && echo 'import no_such_module' >>app/wsgi.py"
    )
    done = installed.systemctl("restart", "smart-factory.service", check=False)
    assert done.returncode == 1
    journal = installed.journal()
    assert "Traceback (most recent call last)" in journal
    assert "No module named 'no_such_module'" in journal
    installed.sh("cp /root/wsgi.py /opt/smart-factory/current/app/wsgi.py")
    installed.wait(
        "systemctl is-active --quiet smart-factory", what="the next start by itself", seconds=60
    )
    assert size_of(installed) == ("cluster", 3, 3)


def test_timers_do_their_work_or_say_that_there_is_none(installed: Container) -> None:
    installed.systemctl("start", "smart-factory-prune.service")
    assert shown(installed, "Result", "smart-factory-prune.service") == "success"
    assert shown(installed, "ExecMainStatus", "smart-factory-prune.service") == "0"
    assert "deleted" in smart_factory(installed, "logs", "--unit", "prune").stdout
    listed = installed.systemctl("list-timers", "--all").stdout
    assert "smart-factory-prune.timer" in listed
    assert "smart-factory-topup.timer" in listed


def test_consumers_are_enabled_and_a_release_without_them_skips_them(installed: Container) -> None:
    consumer = "smart-factory-consumer@{}.service".format
    listed = installed.sh("ls /etc/systemd/system/smart-factory.target.wants").stdout.split()
    consumers = [consumer(name) for name in ("cache", "purchase", "session")]
    assert [unit for unit in listed if "consumer" in unit] == consumers
    for unit in consumers:
        assert is_active(installed, unit)
    program = "/opt/smart-factory/current/app/consumers/__main__.py"
    installed.sh(f"mv {program} /root/")
    for unit in (consumer("purchase"), "smart-factory-topup.service"):
        installed.systemctl("restart", unit)
        assert shown(installed, "ConditionResult", unit) == "no"
        assert not is_active(installed, unit)
    installed.sh(f"mv /root/__main__.py {program}")
    installed.systemctl("start", "smart-factory.target")
    assert is_active(installed, consumer("purchase"))
    # One that has failed is not remembered after the removal.
    installed.systemctl("start", consumer("allocation"), check=False)
    installed.wait(f"systemctl is-failed --quiet {consumer('allocation')}", what="its refusal")


def test_doctor_finds_nothing_that_fails(installed: Container) -> None:
    done = smart_factory(installed, "doctor", "--json", code=None)
    facts = json.loads(done.stdout)
    assert [each for each in facts["checks"] if each["verdict"] == "fail"] == []
    assert facts["verdict"] in ("ok", "warn")
    assert done.returncode == 0


def test_the_exposure_is_low_on_this_systemd(installed: Container) -> None:
    installed.run(f"{SOURCE}/systemd/verify.sh")
    consumer = "smart-factory-consumer@purchase"
    for unit in ("smart-factory", "smart-factory-bare", "smart-factory-prune", consumer):
        shown = installed.run(
            *("systemd-analyze", "security", "--threshold=15", "--no-pager", f"{unit}.service"),
            check=False,
        )
        assert shown.returncode == 0, shown.stdout


def test_uninstall_leaves_what_is_the_operator_s(installed: Container) -> None:
    uninstall = f"{SOURCE}/deploy/scripts/uninstall.sh"
    installed.run(uninstall, "--dry-run")
    assert is_active(installed, "smart-factory.service")
    installed.run(uninstall)
    assert not is_active(installed, "smart-factory.service")
    assert installed.sh("ls /etc/systemd/system | grep -c smart || true").stdout.strip() == "0"
    known = installed.systemctl("list-units", "--all", "--plain", "--no-legend", "smart-factory*")
    assert known.stdout == ""
    assert "DATABASE_URL" in installed.sh("cat /etc/smart-factory/smart-factory.env").stdout
    with pytest.raises(OSError, match="refused"):
        installed.get("/health")
    # ... and a new installation takes it up again.
    installed.run(INSTALL, timeout=600)
    installed.systemctl("start", "smart-factory.service")
    assert size_of(installed) == ("cluster", 3, 3)
    installed.run(INSTALL, "--uninstall", "--purge")
    left = "ls -d /opt/smart-factory /etc/smart-factory /var/lib/smart-factory 2>/dev/null || true"
    assert installed.sh(left).stdout == ""
    assert installed.run("getent", "passwd", "smart-factory", check=False).returncode == 2
