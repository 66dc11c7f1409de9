"""The command: what it prints, and its exit codes."""

from __future__ import annotations

import itertools
import json
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from loadtests.drops import main
from tests.cluster import ROOT
from tests.loadtests.servers import OK, Peer, always, serving

SHORT = ("--rate", "200", "--duration", "0.1")


def drops(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments])


def test_a_clean_run_exits_with_0() -> None:
    with serving(always(OK)) as target:
        done = drops(target, *SHORT)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("client: sent 20, answered 20\nfailures: 0\n")
    assert done.stdout.endswith("\nok\n")
    assert done.stderr == ""


def test_failures_exit_with_1_unless_they_are_allowed_or_expected() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        target = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        assert drops(target, *SHORT).exit_code == 1
        assert drops(target, *SHORT, "--max-failures", "19").exit_code == 1
        assert drops(target, *SHORT, "--max-failures", "20").exit_code == 0
        assert drops(target, *SHORT, "--expect-failures").exit_code == 0


def test_a_negative_control_without_failures_exits_with_1() -> None:
    with serving(always(OK)) as target:
        done = drops(target, *SHORT, "--expect-failures")
    assert done.exit_code == 1
    assert done.stdout.endswith("FAILED: failures were expected, and there were none\n")


def test_json_is_one_object() -> None:
    with serving(always(OK)) as target:
        done = drops(target, *SHORT, "--json", "--method", "POST", "--header", "X-A: b")
    facts = json.loads(done.stdout)
    assert done.exit_code == 0
    assert (facts["sent"], facts["answered"], facts["problem"]) == (20, 20, None)
    assert set(facts["latency_ms"]) == {"all", "fresh", "keepalive"}


def test_the_server_s_count_is_compared(tmp_path: Path) -> None:
    counter = tmp_path / "count"
    counter.write_bytes(b"from before")

    def serve(peer: Peer) -> None:
        while peer.read_request():
            with counter.open("ab") as file:
                file.write(b".")
            peer.send(OK)

    with serving(serve) as target:
        done = drops(target, *SHORT, "--count-command", f"wc -c < '{counter}'")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("client: sent 20, answered 20; server: answered 20\n")


def test_a_server_that_counts_fewer_fails_the_run() -> None:
    with serving(always(OK)) as target:
        done = drops(target, *SHORT, "--count-command", "echo 7")
    assert done.exit_code == 1
    assert "FAILED: the server counts 20 fewer than were received" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["http://192.0.2.1/"], "only this machine (loopback) is a target"),
        (["unix:/x", "--header", "none"], "expected 'Name: value'"),
        (["unix:/x", "--count-command", "echo many"], "must print one integer"),
        (["unix:/x", "--count-command", "echo 1; exit 3"], "not '1' and 3"),
        (["unix:/x", "--rate", "inf"], "finite"),
    ],
)
def test_wrong_usage_is_told_in_one_line(arguments: list[str], why: str) -> None:
    done = drops(*arguments)
    assert done.exit_code == 2
    assert why in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_timeout_of_0_is_wrong_usage() -> None:
    assert drops("unix:/x", "--timeout", "0").exit_code == 2


@pytest.mark.parametrize("start", [["-m", "loadtests.drops"], ["loadtests/drops.py"]])
def test_it_starts_as_a_module_and_as_a_file(start: list[str]) -> None:
    with serving(always(OK)) as target:
        done = subprocess.run(
            [sys.executable, *start, target, *SHORT],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\nok\n")


def test_an_interrupted_run_waits_for_those_in_flight_and_fails() -> None:
    asked, gate, numbers = threading.Event(), threading.Event(), itertools.count()

    def serve(peer: Peer) -> None:
        while peer.read_request():
            if next(numbers) == 20:
                asked.set()
            gate.wait(60)
            peer.send(OK)

    command = [sys.executable, "-m", "loadtests.drops"]
    with serving(serve) as target:
        # The twenty-first comes after a second: by then the command waits, and hears the signal.
        process = subprocess.Popen(
            [*command, target, "--duration", "60", "--rate", "20", "--timeout", "60"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert asked.wait(60)
            process.send_signal(signal.SIGINT)
            threading.Timer(0.3, gate.set).start()
            output, _ = process.communicate(timeout=60)
        finally:
            gate.set()
            process.kill()
            process.communicate()
    assert process.returncode == 1
    assert "\nfailures: 0\n" in output
    assert "FAILED: interrupted after" in output
