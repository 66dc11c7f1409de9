"""`make kafka`: a broker to develop with."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from app.events.kafka_bus import KafkaBus
from tests.cluster import ROOT, free_port
from tests.kafka import jars
from tests.kafka.groups import GROUP, TOPIC, numbered
from tests.processes import runs
from tests.wait import wait_until

_SECONDS = 90.0


@contextmanager
def started(directory: Path, ports: tuple[int, int]) -> Iterator[subprocess.Popen[str]]:
    """As the target starts it, in another place; it is gone at the end."""
    program = (
        "from pathlib import Path; from tests.kafka.__main__ import main; "
        f"main(Path({str(directory)!r}), {ports!r})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return line.strip()


def brokers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def lag(address: str) -> int:
    bus = KafkaBus(brokers=[address])
    with contextlib.closing(bus):
        (found,) = bus.lags({GROUP: TOPIC})
    return found.waiting


def test_it_serves_until_ctrl_c_and_keeps_its_data(tmp_path: Path) -> None:
    ports = (free_port(), free_port())
    with started(tmp_path / "kafka", ports) as process:
        name, _, address = first_line(process).partition("=")
        assert (name, address) == ("KAFKA_BROKERS", f"127.0.0.1:{ports[0]}")
        bus = KafkaBus(brokers=[address])
        bus.publish(numbered(3))
        bus.close()
        left = brokers(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(_SECONDS) == 130
        assert not any(map(runs, left))
    with started(tmp_path / "kafka", ports) as process:
        first_line(process)
        assert lag(address) == 3


def test_the_broker_ends_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    with started(tmp_path / "kafka", (free_port(), free_port())) as process:
        first_line(process)
        left = brokers(process)
        assert left
        process.kill()
        wait_until(lambda: not any(map(runs, left)), what="the broker to end", seconds=_SECONDS)


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with started(tmp_path / "kafka", (port, free_port())) as process:
            _, errors = process.communicate(timeout=_SECONDS)
    assert process.returncode == 1
    assert errors == f"make kafka: somebody listens on 127.0.0.1:{port} already\n"


@pytest.mark.parametrize(
    ("program", "package"), [("java", "default-jre-headless"), ("mvn", "maven")]
)
def test_a_missing_program_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, package: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(jars.KafkaError, match=rf"{program}.*apt-get install {package}$"):
        jars.program(program)
