"""Stock Gunicorn and the kit side by side: the same application and settings, the same cases."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.cluster import GUNICORN, ROOT, Cluster, free_port
from tests.wait import wait_until
from tests.worker.case import Case
from tests.worker.exchange import PATIENCE, Address, NoAnswerError, ask, exchange
from tests.worker.record import Record
from tests.worker.variants import Variant

# The kit's worker that is held against stock gthread.
WORKER_CLASS = "adaptive"
THREADS = 4
# Who is silent may only be slow: when the other one has answered, it is asked again.
_MORE_PATIENCE = (2.0, 10.0)
_APP = ("--chdir", str(ROOT), "tests.worker.app:app")


@dataclass(frozen=True)
class Two:
    """What our worker did in an exchange, and what stock Gunicorn did."""

    ours: Record
    stock: Record


@dataclass
class Pair:
    """The addresses of the two servers."""

    ours: Address
    stock: Address
    lost: str = ""  # since when ours answers nobody any more

    def play(self, case: Case) -> Two:
        """The case at both, one after the other."""
        two = Two(self._ours(case, PATIENCE), exchange(self.stock, case, patience=PATIENCE))
        for patience in _MORE_PATIENCE:
            if two.ours == two.stock or self.lost:
                break
            if two.ours.waited:
                two = replace(two, ours=self._ours(case, patience))
            if two.stock.waited:
                two = replace(two, stock=exchange(self.stock, case, patience=patience))
        return two

    def play_all(self, cases: Sequence[Case]) -> list[Two]:
        """As many at a time as there are threads; those that need the server alone come last."""
        together = [case for case in cases if not case.alone]
        with ThreadPoolExecutor(THREADS) as pool:
            played = dict(zip(map(id, together), pool.map(self.play, together), strict=True))
        return [played.get(id(case)) or self.play(case) for case in cases]

    def _ours(self, case: Case, patience: float) -> Record:
        """A server that one case has stopped is not waited for in all the others."""
        if self.lost:
            return Record((), "", self.lost)
        try:
            record = exchange(self.ours, case, patience=patience)
        except (NoAnswerError, OSError) as error:
            record = Record((), "", f"no exchange: {error}")
        if record.is_late or record.ending.startswith("no exchange"):
            try:
                ask(self.ours, b"/")
            except (NoAnswerError, OSError):
                self.lost = f"not played: answers nobody since {case.name!r}, or one beside it"
        return record


_HELD = """
from deploy.cluster.adaptive.loop import Loop
Loop._others_wait = lambda self: True
"""


@contextmanager
def pair(directory: Path, variant: Variant) -> Iterator[Pair]:
    """Both servers, serving."""
    directory.mkdir(exist_ok=True)
    with ExitStack() as stack:
        # Both boot at the same time.
        stock = stack.enter_context(_stock(directory / "stock", variant))
        socket = directory / "ours.sock"
        config = ROOT / "gunicorn.conf.py"
        if variant.held:
            held = directory / "ours.conf.py"
            held.write_text(config.read_text() + _HELD)
            config = held
        cluster = Cluster(
            directory / "ours",
            *variant.options,
            *_APP,
            config=config,
            env={
                "PYTHONPATH": str(ROOT),  # for a configuration that is not beside the kit
                "CLUSTER_WORKERS": "1",
                "WORKER_CLASS": WORKER_CLASS,
                "THREADS": str(THREADS),
                "READY_PATH": "",
                **({"BIND": f"unix:{socket}"} if variant.unix else {}),
                **variant.env,
            },
        )
        stack.enter_context(cluster)
        ours = str(socket) if variant.unix else ("127.0.0.1", cluster.port)
        wait_until(lambda: "Booting worker" in stock.log.read_text(), what="stock Gunicorn")
        yield Pair(ours, stock.address)


@dataclass(frozen=True)
class _Stock:
    address: Address
    log: Path


@contextmanager
def _stock(directory: Path, variant: Variant) -> Iterator[_Stock]:
    """Plain Gunicorn with the values that gunicorn.conf.py sets, and no hook."""
    directory.mkdir(exist_ok=True)
    port, path = free_port(), directory.with_name("base.sock")
    bind = f"unix:{path}" if variant.unix else f"127.0.0.1:{port}"
    command = [str(GUNICORN), "-c", "/dev/null", "--bind", bind, "--workers", "1"]
    command += ["--worker-class", "gthread", "--threads", str(THREADS), "--keep-alive", "5"]
    command += ["--access-logfile", "-", "--no-control-socket", *variant.options, *_APP]
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, **variant.env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield _Stock(str(path) if variant.unix else ("127.0.0.1", port), log)
    finally:
        process.terminate()
        process.wait(30)


def results(shared: Path, variant: Variant) -> dict[str, Two]:
    """What both did in each case, by its name; played once for all processes that run tests."""
    file = shared / f"{variant.name}.json"
    with (shared / f"{variant.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            with pair(shared / variant.name, variant) as servers:
                played = servers.play_all(variant.cases)
            messages = {
                case.name: [two.ours.as_message(), two.stock.as_message()]
                for case, two in zip(variant.cases, played, strict=True)
            }
            file.write_text(json.dumps(messages))
    return {
        name: Two(*map(Record.from_message, messages))
        for name, messages in json.loads(file.read_text()).items()
    }
