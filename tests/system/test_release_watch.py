"""What a release does where systemd runs: the journal tells of visitors, a kit is restarted."""

from __future__ import annotations

import re

from tests.system.container import Container
from tests.system.operating import commit, main_pid, smart_factory, status

VISITED = "/api/status"


def test_visitors_requests_decide_whether_a_release_stays(machine: Container) -> None:
    before = status(machine)["release"]
    with machine.load(VISITED, rate=50) as load:
        commit(machine, "echo '# a change' >> app/wsgi.py")
        good = smart_factory(machine, "release", "HEAD", "--bake", "8s")
    assert load.failed == 0, load.report
    line = next(line for line in good.stdout.splitlines() if " bake " in line)
    counted = re.search(r"crashes: 0; (\d+) requests, .*; before: (\d+) requests, ", line)
    assert counted, line
    # Our own would be 16 and 20.
    assert min(map(int, counted.groups())) > 100, line
    released = status(machine)["release"]
    assert released != before

    commit(
        machine,
        "cat >> app/wsgi.py <<'CODE'\n"
        "\n_serving = app.wsgi_app\n"
        "def _failing(environ, start_response):\n"
        f"    if environ['PATH_INFO'] == '{VISITED}':\n"
        "        start_response('500 Oh', [])\n"
        "        return [b'oh']\n"
        "    return _serving(environ, start_response)\n"
        "app.wsgi_app = _failing\n"
        "CODE",
    )
    with machine.load(VISITED, rate=50):
        bad = smart_factory(machine, "release", "HEAD", "--bake", "30s", code=4)
    assert re.search(
        r"^FAILED bake +[\d.]+% of \d+ requests were answered 5xx", bad.stdout, re.MULTILINE
    ), bad.stdout
    assert status(machine)["release"] == released


def test_a_kit_that_speaks_another_protocol_is_restarted_behind_the_socket(
    machine: Container,
) -> None:
    before, master = status(machine)["release"], main_pid(machine)
    commit(
        machine,
        "git checkout --quiet HEAD~1 -- app\n"
        "sed -i 's/^VERSION = 1$/VERSION = 99/' deploy/cluster/protocol.py",
    )
    with machine.load("/health", rate=50) as load:
        done = smart_factory(machine, "release", "HEAD", "--bake", "2s")
        another = main_pid(machine)
        assert another != master
        assert status(machine)["release"] != before
        back = smart_factory(machine, "rollback", "release")
    assert load.failed == 0, load.report
    for each in (done, back):
        assert "Its kit speaks another protocol: a restart, behind the socket" in each.stdout
    assert main_pid(machine) != another
    assert status(machine)["release"] == before
