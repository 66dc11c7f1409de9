"""A member of a consumer group in a process of its own, which a test may stop or kill.

It tells on standard output, line by line, what it received and what became of what it was told to
do on standard input: `ack` acknowledges all that it received, `holds` counts what it still holds,
`close` leaves and ends.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.events.bus import Message
from app.events.kafka_subscription import KafkaSubscription
from tests.cluster import ROOT
from tests.wait import wait_until

_SECONDS = 60.0


class Member:
    """The process, as the test that started it sees it."""

    def __init__(self, process: subprocess.Popen[bytes], said: Path):
        self._process = process
        self._said = said

    @property
    def received(self) -> list[str]:
        """The values of the messages."""
        return [line["value"] for line in self._lines() if line["what"] == "received"]

    def wait_received(self, count: int) -> None:
        wait_until(
            lambda: len(self.received) >= count,
            what=f"the other process to receive {count} messages",
            seconds=_SECONDS,
        )

    def ask(self, command: str) -> Any:
        """What it answers."""
        before = len(self._answers())
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        self._process.stdin.flush()
        wait_until(
            lambda: len(self._answers()) > before,
            what=f"the other process to answer {command}",
            seconds=_SECONDS,
        )
        return self._answers()[before]["answer"]

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Its exit code."""
        return self._process.wait(_SECONDS)

    def _answers(self) -> list[dict[str, Any]]:
        return [line for line in self._lines() if line["what"] == "answer"]

    def _lines(self) -> list[dict[str, Any]]:
        # What is being written has no end of line yet.
        whole = self._said.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]


@contextmanager
def member(
    directory: Path, *, address: str, group: str, topic: str, overrides: Mapping[str, Any]
) -> Iterator[Member]:
    """A process that receives and holds; it is gone at the end."""
    said = directory / f"member-{group}"
    with said.open("wb") as output, (directory / "member.log").open("ab") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.kafka.member"),
                *(address, group, topic, json.dumps(dict(overrides))),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=log,
        )
    try:
        yield Member(process, said)
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate()


def _main(address: str, group: str, topic: str, overrides: str) -> None:
    logging.basicConfig(level=logging.INFO)
    subscription = KafkaSubscription(
        brokers=[address],
        group=group,
        topics=[topic],
        settle=lambda: None,
        overrides=json.loads(overrides),
    )
    held: list[Message] = []
    while True:
        for message in subscription.receive(100, 0.1):
            held.append(message)
            _say(what="received", value=message.value.decode())
        command = _command()
        if command == "ack":
            subscription.acknowledge(held)
            _say(what="answer", answer=len(held))
        elif command == "holds":
            _say(what="answer", answer=sum(map(subscription.holds, held)))
        elif command == "close":
            subscription.close()
            _say(what="answer", answer="closed")
            return


def _command() -> str:
    ready, _, _ = select.select([sys.stdin], [], [], 0)
    return os.read(sys.stdin.fileno(), 100).decode().strip() if ready else ""


def _say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
