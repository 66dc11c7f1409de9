"""Log lines, as they come out of a running cluster."""

from __future__ import annotations

import http.client
import json
import os
import pty
import re
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import Cluster
from tests.wait import wait_until

SECRETS = {"SECRET_KEY": "the-key-of-the-house", "DATABASE_URL": "postgresql://u:p4ssw0rd@[::1]:1/"}


def machine_lines(cluster: Cluster) -> list[dict[str, Any]]:
    return [json.loads(line) for line in cluster.log.splitlines()]


def test_json_lines_carry_the_same_fields_from_everybody(tmp_path: Path) -> None:
    env = {"LOG_FORMAT": "json", "RELEASE": "2f1c9e"}
    with Cluster(tmp_path, app="plain:app", env=env) as cluster:
        pids = cluster.pids()
        cluster.get("/log?page=2")
        cluster.wait_log('"path": "/log"')  # written after the answer, perhaps by the one killed
        os.kill(pids["worker-2"], signal.SIGKILL)
        cluster.wait_log("Replacement worker")
        cluster.get("/boom")
        cluster.wait_log("this application breaks")
    lines = machine_lines(cluster)
    for line in lines:
        assert {"timestamp", "level", "message", "pid", "hostname", "env"} <= line.keys()
        assert {"worker", "slot", "release", "request_id", "event"} <= line.keys()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])
        assert (line["env"], line["release"]) == ("test", "2f1c9e")

    died = next(line for line in lines if line["event"] == "worker.died")
    assert died["message"] == "[Master] Worker 2 (worker-2) died (signal SIGKILL). Restarting..."
    assert (died["pid"], died["slot"], died["worker"]) == (pids["worker-2"], 2, "worker-2")
    assert died["level"] == "error"

    request = next(line for line in lines if line["event"] == "request")
    assert (request["method"], request["path"], request["status"]) == ("GET", "/log", 200)
    assert request["request_id"] == "request-of-plain"
    assert request["worker"] in pids
    assert request["pid"] == pids[request["worker"]]
    assert request["duration_ms"] >= 0
    assert request["bytes"] > 0

    ours = next(line for line in lines if "a line of the application" in line["message"])
    assert (ours["level"], ours["logger"]) == ("warning", "plain")
    assert ours["worker"] in pids

    broken = next(line for line in lines if "exc_info" in line)
    assert "RuntimeError: this application breaks when asked to" in broken["exc_info"]
    failed = [line for line in lines if line["event"] == "request" and line["status"] == 500]
    assert [line["path"] for line in failed] == ["/boom"]


def test_pretty_lines_are_plain_when_nobody_watches(cluster: Cluster) -> None:
    cluster.get("/log")
    cluster.wait_log("a line of the application")
    assert "\033" not in cluster.log
    form = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (DEBUG|INFO|WARNING|ERROR|CRITICAL) +\[\d+\] \S.*"
    assert all(re.fullmatch(form, line) for line in cluster.log.splitlines())
    access = r"GET /log 200 [\d.]+ms \d+B worker-\d request-of-plain$"
    wait_until(lambda: len(cluster.lines(access)) == 1, what="the request's access line")


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colour_is_for_terminals_and_no_color_is_honoured(
    tmp_path: Path, no_color: str, coloured: bool
) -> None:
    cluster = Cluster(tmp_path, app="broken:app", env={"NO_COLOR": no_color})
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        cluster._command,  # noqa: SLF001 - the same start, on a terminal
        env=cluster._env,  # noqa: SLF001
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    output = b""
    try:
        while chunk := os.read(master, 65536):
            output += chunk
    except OSError:  # the last writer has closed the terminal
        pass
    os.close(master)
    process.wait(30)
    assert b"[Master] The application does not load" in output
    assert (b"\033[31m" in output) is coloured


def test_no_secret_appears_at_any_level(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("INTERNAL_TOKEN=token-from-the-file\n")
    with Cluster(tmp_path, app="plain:app", env={**SECRETS, "LOG_LEVEL": "debug"}) as cluster:
        headers = {
            "Cookie": "session=cookie-of-a-user",
            "Authorization": "Bearer bearer-of-a-user",
        }
        cluster.get("/log?password=password-in-a-query", headers=headers)
        cluster.get("/boom?token=token-in-a-query", headers=headers)
        with socket.create_connection(("127.0.0.1", cluster.port)) as client:
            client.sendall(
                b"GET / HTTP/1.1\r\nHost: a\r\nCookie: session=broken-c\x00ookie\r\n\r\n"
            )
            assert b"400" in client.recv(1000)
        cluster.wait_log("Invalid request")
        cluster.wait_log("breaks when asked to")
        cluster.signal(signal.SIGHUP)
        cluster.wait_log("All workers ready", times=2)
    assert "Current configuration" in cluster.log
    assert "raw_env" in cluster.log
    for secret in (
        "the-key-of-the-house",
        "p4ssw0rd",
        "token-from-the-file",
        "cookie-of-a-user",
        "broken-c",
        "bearer-of-a-user",
        "password-in-a-query",
        "token-in-a-query",
        "hunter2",
    ):
        assert secret not in cluster.log
    assert "[redacted]" in cluster.log


def test_a_path_cannot_steer_the_terminal_that_shows_the_log(cluster: Cluster) -> None:
    with socket.create_connection(("127.0.0.1", cluster.port)) as client:
        client.sendall(b"GET /\x1b[31mred\x9b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        client.recv(1000)
    wait_until(lambda: "red" in cluster.log, what="a line about the request")
    assert "\x1b" not in cluster.log
    assert "\x9b" not in cluster.log


def test_an_application_that_stamps_its_records_does_not_disturb_access_lines(
    tmp_path: Path,
) -> None:
    with Cluster(tmp_path, app="stamping:app", env={"CLUSTER_WORKERS": "1"}) as cluster:
        assert cluster.get("/").status == 200
        wait_until(lambda: cluster.lines("GET / 200 .* worker-1 of-the-answer"), what="the line")


def test_a_quiet_level_writes_no_access_lines(tmp_path: Path) -> None:
    with Cluster(tmp_path, app="plain:app", env={"CLUSTER_WORKERS": "1"}) as cluster:
        cluster.get("/")
        wait_until(lambda: cluster.lines("GET / 200"), what="an access line")
    quiet = Cluster(tmp_path, app="plain:app", env={"LOG_LEVEL": "warning"})
    quiet.log_file = tmp_path / "quiet"
    quiet.start()

    def answers() -> bool:
        try:
            return quiet.get("/").status == 200
        except (OSError, http.client.HTTPException):
            return False

    wait_until(answers, what="an answer")
    quiet.stop()
    assert not quiet.lines("GET /")


def test_a_changed_level_is_followed_at_a_reload(tmp_path: Path) -> None:
    file = tmp_path / "app.env"
    file.write_text("LOG_LEVEL=info\n")
    with Cluster(tmp_path, app="plain:app", env={"ENV_FILE": str(file)}) as cluster:
        assert not cluster.lines("DEBUG")
        file.write_text("LOG_LEVEL=debug\n")
        cluster.signal(signal.SIGHUP)
        cluster.wait_log("All workers ready", times=2)
        assert cluster.lines("DEBUG")
