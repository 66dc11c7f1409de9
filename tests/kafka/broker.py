"""A real Kafka broker on this machine: one node, which is its own controller."""

from __future__ import annotations

import base64
import logging
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.cluster import free_port
from tests.kafka.jars import KafkaError, jars, program

_START_SECONDS = 60  # about 2 on an idle machine
_STOP_SECONDS = 20
_TAIL = 3000  # characters of the log that an error shows
_NODE = 1

# Compiled once and quickly, collected by one thread: it starts sooner and takes half of the memory.
_JAVA = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_PROPERTIES = """\
process.roles=broker,controller
node.id={node}
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
num.partitions=3
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
num.network.threads=1
num.io.threads=2
background.threads=1
log.cleaner.dedupe.buffer.size=2097152
log.index.size.max.bytes=1048576
"""


class Broker:
    """One broker, whose data and log are in `directory`; it ends with the thread that started it.

    It listens on the same ports, with the same data, each time that it is started.
    """

    def __init__(self, directory: Path, *, ports: tuple[int, int] | None = None):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory.resolve()
        self.log_file = self.directory / "log"
        self._port, self._controller = ports or (free_port(), free_port())
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """For KAFKA_BROKERS."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def start(self) -> None:
        """Returns when it answers; raises KafkaError with the end of its log."""
        self._refuse_taken_ports()
        properties = self.directory / "server.properties"
        data = self.directory / "data"
        properties.write_text(
            _PROPERTIES.format(node=_NODE, port=self._port, controller=self._controller, data=data)
        )
        classes = ["-cp", f"{jars()}/*"]
        if not (data / "meta.properties").exists():
            self._format(classes, properties)
        level = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(*_dying_with_us(), program("java"), "-Xmx256m", *_JAVA, level, *classes),
                    *("kafka.Kafka", str(properties)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C is for whoever started it, who then stops it.
                start_new_session=True,
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Ends it in order, within 20 s or else by force; nothing when it does not run."""
        if self._process is None:
            return
        self._process.terminate()
        self._process.send_signal(signal.SIGCONT)  # a frozen one hears nothing
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Ends it as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_STOP_SECONDS)

    def wait(self) -> None:
        """Returns when it has ended."""
        assert self._process is not None
        self._process.wait()

    def freeze(self) -> None:
        """Leaves its connections open and unanswered, until `thaw`."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _refuse_taken_ports(self) -> None:
        """What answers on our port must be ours."""
        for port in (self._port, self._controller):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    raise KafkaError(f"somebody listens on 127.0.0.1:{port} already")

    def _format(self, classes: Sequence[str], properties: Path) -> None:
        identity = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        done = subprocess.run(
            [
                *(program("java"), *_JAVA, *classes, "kafka.tools.StorageTool", "format"),
                *(
                    "--standalone",
                    "--ignore-formatted",
                    f"--cluster-id={identity}",
                    "-c",
                    str(properties),
                ),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_START_SECONDS,
            check=False,
        )
        if done.returncode:
            raise KafkaError(f"Kafka's directory cannot be prepared:\n{done.stderr[-_TAIL:]}")

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        client = AdminClient(
            {"bootstrap.servers": self.address, "reconnect.backoff.max.ms": 200}, logger=_silent()
        )
        while True:
            if self._process.poll() is not None:
                raise KafkaError(f"Kafka ended at its start:\n{self.log[-_TAIL:]}")
            try:
                if _NODE in client.list_topics(timeout=1).brokers:
                    return
            except KafkaException:
                pass  # not yet
            if time.monotonic() > deadline:
                raise KafkaError(
                    f"Kafka did not answer within {_START_SECONDS} s:\n{self.log[-_TAIL:]}"
                )
            time.sleep(0.05)


def _dying_with_us() -> list[str]:
    """The kernel kills it when we are gone, however we went; other systems than Linux cannot."""
    found = shutil.which("setpriv")
    return [found, "--pdeathsig", "KILL", "--"] if found else []


def _silent() -> logging.Logger:
    """That nobody answers yet is no news."""
    logger = logging.getLogger(f"{__name__}.start")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger
