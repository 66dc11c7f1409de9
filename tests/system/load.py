"""Requests at a fixed rate in another network namespace, as `loadtests.drops` sends them."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from tests.cluster import ROOT

_BEGIN_SECONDS = 60
_AFTER_SECONDS = 1.0  # how long the load goes on after what was to be seen

# Until its standard input ends; then it prints the report.
_CLIENT = """
import json, sys
from loadtests.drops import Load
target, options = json.loads(sys.argv[1])
with Load(target, **options) as load:
    print("begun", flush=True)
    sys.stdin.read()
print(json.dumps(load.report.facts()))
"""


class Load:
    """What became of the requests; whole after the block."""

    def __init__(self) -> None:
        self.report: dict[str, Any] = {}  # as `python -m loadtests.drops --json` prints it

    @property
    def sent(self) -> int:
        return int(self.report["sent"])

    @property
    def failed(self) -> int:
        return int(self.report["failed"])


@contextlib.contextmanager
def load_on(
    target: str, *, within: Sequence[str], timeout: float, **options: Any
) -> Iterator[Load]:
    """Requests arrive from before the block's first line until a second after its last.

    `within`: the command that runs another in that network. Options: those of loadtests.drops.Load.
    """
    load = Load()
    what = json.dumps([target, {**options, "timeout": timeout}])
    client = subprocess.Popen(
        [*within, sys.executable, "-c", _CLIENT, what],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _await_begin(client)
        yield load
        time.sleep(_AFTER_SECONDS)  # waits for nothing: the load lasts that long
        out, err = client.communicate(timeout=timeout + 30)
    finally:
        if client.poll() is None:
            client.kill()
            client.communicate()
    if client.returncode:
        raise AssertionError(f"the load's client failed: {err}")
    load.report = json.loads(out)


def _await_begin(client: subprocess.Popen[str]) -> None:
    assert client.stdout is not None
    assert client.stderr is not None
    readable, _, _ = select.select([client.stdout], [], [], _BEGIN_SECONDS)
    if not readable:
        raise AssertionError(f"the load did not begin within {_BEGIN_SECONDS} s")
    if client.stdout.readline() != "begun\n":
        raise AssertionError(f"the load's client failed: {client.stderr.read()}")
