"""Releases under a load of 100 requests/s, good and bad ones: not one request fails."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator

import pytest

from tests.system.container import Container
from tests.system.operating import (
    SOURCE,
    commit,
    is_active,
    main_pid,
    shown,
    size_of,
    smart_factory,
    status,
)

BASE = "released-before"


@pytest.fixture(autouse=True)
def clean_source(machine: Container) -> Iterator[None]:
    """Each test begins with the source that works."""
    machine.sh(f"cd {SOURCE} && (git rev-parse -q --verify {BASE} >/dev/null || git tag {BASE})")
    yield
    machine.sh(f"cd {SOURCE} && git reset --quiet --hard {BASE}")


def running(machine: Container) -> str:
    """The id of the release that serves."""
    return str(status(machine)["release"])


@contextlib.contextmanager
def asked_again_and_again(machine: Container, path: str) -> Iterator[None]:
    """Somebody asks for the path twice a second, whatever comes of it."""
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.5):
            with contextlib.suppress(OSError, http.client.HTTPException, AssertionError):
                machine.get(path, timeout=5)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        over.set()
        asking.join()


def test_release_and_rollback_and_forward_again(machine: Container) -> None:
    before, master = running(machine), main_pid(machine)
    new = commit(machine, "echo '# a change' >> app/wsgi.py")
    with machine.load("/health", rate=100) as load:
        smart_factory(machine, "release", "HEAD")
        released = running(machine)
        smart_factory(machine, "rollback", "release")
        assert running(machine) == before
        smart_factory(machine, "rollback", "release", "--undo")
    assert load.failed == 0, load.report
    assert released.endswith(new)
    assert running(machine) == released
    assert main_pid(machine) == master
    assert size_of(machine) == ("cluster", 3, 3)


def test_a_release_that_does_not_load_changes_nothing(machine: Container) -> None:
    before = running(machine)
    commit(machine, "echo 'import no_such_module' >> app/wsgi.py")
    with machine.load("/health", rate=100) as load:
        done = smart_factory(machine, "release", "HEAD", code=6)
    assert "No module named 'no_such_module'" in done.stdout + done.stderr
    assert load.failed == 0, load.report
    assert running(machine) == before


def test_a_release_that_is_never_ready_is_taken_back(machine: Container) -> None:
    before = running(machine)
    commit(
        machine,
        "cat >> app/wsgi.py <<'CODE'\n"
        "\n_serving = app.wsgi_app\n"
        "def _unready(environ, start_response):\n"
        "    if environ['PATH_INFO'] == '/health/ready':\n"
        "        start_response('500 Oh', [])\n"
        "        return [b'no disk']\n"
        "    return _serving(environ, start_response)\n"
        "app.wsgi_app = _unready\n"
        "CODE",
    )
    with machine.load("/health", rate=100) as load:
        smart_factory(machine, "release", "HEAD", code=4)
    assert load.failed == 0, load.report
    assert running(machine) == before
    assert "500" in smart_factory(machine, "release", "--list").stdout


def test_a_release_that_fails_while_it_is_watched_is_taken_back(machine: Container) -> None:
    before = running(machine)
    commit(
        machine,
        "cat >> app/wsgi.py <<'CODE'\n"
        "\nimport os\n"
        "_serving = app.wsgi_app\n"
        "def _dying(environ, start_response):\n"
        "    if environ['PATH_INFO'] == '/api/status':\n"
        "        os._exit(9)\n"
        "    return _serving(environ, start_response)\n"
        "app.wsgi_app = _dying\n"
        "CODE",
    )
    with asked_again_and_again(machine, "/api/status"):
        smart_factory(machine, "release", "HEAD", "--bake", "30s", code=4)
    assert running(machine) == before
    assert size_of(machine) == ("cluster", 3, 3)


def test_a_release_brings_another_dependency(machine: Container) -> None:
    commit(
        machine,
        "echo 'humanize' >> requirements.txt\necho 'import humanize' >> app/wsgi.py",
    )
    with machine.load("/health", rate=100) as load:
        smart_factory(machine, "release", "HEAD")
    assert load.failed == 0, load.report
    machine.sh("/opt/smart-factory/current/.venv/bin/python -c 'import humanize'")
    # ... which the former release does not have.
    former = machine.run(
        *("/opt/smart-factory/previous/.venv/bin/python", "-c", "import humanize"), check=False
    )
    assert former.returncode == 1


def test_the_script_rolls_back_although_the_release_is_broken_on_disk(machine: Container) -> None:
    commit(machine, "echo '# another change' >> app/wsgi.py")
    smart_factory(machine, "release", "HEAD")
    machine.sh("ln -sfn /bin/false $(readlink -f /opt/smart-factory/current)/.venv/bin/python")
    script = f"{SOURCE}/deploy/scripts/rollback.sh"
    with machine.load("/health", rate=100) as load:
        machine.run("bash", script, "release", timeout=240)
        consumer = shown(machine, "MainPID", "smart-factory-consumer@purchase.service")
        links = machine.run("readlink", "-f", f"/proc/{consumer}/cwd", "/opt/smart-factory/current")
        assert len(set(links.stdout.split())) == 1, links.stdout
        machine.run("bash", script, "scale", timeout=240)
        assert size_of(machine) == ("cluster", 1, 1)
        machine.run("bash", script, "scale", "--undo", timeout=240)
        machine.run("bash", script, "fork", timeout=240)
        assert size_of(machine) == ("fork", 1, 1)
        machine.run("bash", script, "fork", "--undo", timeout=240)
        machine.run("bash", script, "bare", timeout=240)
        assert not is_active(machine, "smart-factory.service")
        machine.run("bash", script, "bare", "--undo", timeout=240)
        assert size_of(machine) == ("cluster", 3, 3)
    assert load.failed == 0, load.report
