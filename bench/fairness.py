"""How evenly requests spread over the workers: the kit's worker class beside stock gthread.

A proxy without keep-alive opens a connection for each request; one with keep-alive holds a few and
asks on each in turn. Which worker answers is in the answer. The rates are shares of what each
server did in the same round when asked without a pause. Both servers run all the while and take
turns, so that whatever else the machine does hits both.

Where connections land is a matter of chance, whatever the server: a measurement gives 0.1 and the
same one again 0.9. So what is bound is a difference that chance does not explain, over all that was
measured of a load and a kind of request; the medians of which it is made stand below it.
"""

from __future__ import annotations

import math
import selectors
import socket
import statistics
import subprocess
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from bench.objective import Objective
from tests.cluster import GUNICORN, Cluster, free_port
from tests.wait import wait_until

ROUNDS, CLIENTS, THREADS = 3, 16, 4
WORKERS = (2, 4)
PATHS = {"/work": "5 ms", "/": "tiny"}  # of bench/apps/fair.py
# Shares of what the server can do, each with the seconds of a measurement.
LOADS = {1.0: 0.6, 0.5: 0.8, 0.05: 1.6}
_WARM_SECONDS = 0.2
_ANSWER_SECONDS = 30.0
# Standard errors; of a dozen pairs, chance alone goes below once in a hundred runs (Student's t).
_CHANCE = -2.7
_APP = ("--chdir", str(Path(__file__).parent / "apps"), "--access-logfile", "/dev/null", "fair:app")

Pair = tuple[float, float]  # min/max of ours and of stock Gunicorn, one after the other


@dataclass(frozen=True, kw_only=True)
class Visits:
    """What clients ask for, and how."""

    path: str
    kept: bool  # whether a client keeps its connection

    @property
    def request(self) -> bytes:
        connection = "keep-alive" if self.kept else "close"
        return f"GET {self.path} HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\n\r\n".encode()


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One line of the result."""

    workers: int
    visits: Visits
    load: float

    @property
    def title(self) -> str:
        return f"{PATHS[self.visits.path]} at {self.load:.0%}"

    def __str__(self) -> str:
        kind = "kept" if self.visits.kept else "new"
        return f"{self.title}, {self.workers} workers, {kind} connections"


def run() -> list[Objective]:
    """Each load with its bound and its medians; takes two and a half minutes."""
    pairs: dict[Cell, list[Pair]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        for workers in WORKERS:
            directory = Path(name) / str(workers)
            directory.mkdir()
            with kit(directory, workers) as ours, stock(directory, workers) as plain:
                for path, kept in product(PATHS, (False, True)):
                    visits = Visits(path=path, kept=kept)
                    for port in (ours, plain):
                        warm(port, workers)
                    for _ in range(ROUNDS):
                        for cell, pair in one_round(ours, plain, workers, visits):
                            pairs.setdefault(cell, []).append(pair)
    return objectives(pairs)


def objectives(pairs: Mapping[Cell, Sequence[Pair]]) -> list[Objective]:
    """A bound for each load and kind of request, and below it what it is made of."""
    found = []
    for title in dict.fromkeys(cell.title for cell in pairs):
        alike = {cell: each for cell, each in pairs.items() if cell.title == title}
        together = [pair for each in alike.values() for pair in each]
        ours, plain = (statistics.fmean(side) for side in zip(*together, strict=True))
        bound = Objective(
            name=f"min/max of requests a worker, {title}: {ours:.2f}, stock {plain:.2f}",
            value=certainty(together),
            unit="σ",
            at_least=_CHANCE,
        )
        found += [bound, *(_information(cell, each) for cell, each in alike.items())]
    return found


def certainty(pairs: Sequence[Pair]) -> float:
    """The mean of ours minus stock in its standard errors: below -2 is hardly chance."""
    differences = [ours - plain for ours, plain in pairs]
    mean = statistics.fmean(differences)
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return mean / error if error else math.copysign(math.inf, mean) if mean else 0.0


def _information(cell: Cell, pairs: Sequence[Pair]) -> Objective:
    ours, plain = (statistics.median(side) for side in zip(*pairs, strict=True))
    return Objective(name=f"  {cell}; stock {plain:.2f}", value=ours, unit="")


def one_round(ours: int, plain: int, workers: int, visits: Visits) -> Iterator[tuple[Cell, Pair]]:
    """Both servers at all loads, beginning with the one that the others are shares of."""
    full: dict[int, float] = {}
    for load, seconds in LOADS.items():
        found = {}
        for port in (ours, plain):
            rate = full[port] * load if port in full else None
            counts = visit(port, visits, seconds=seconds, rate=rate)
            full.setdefault(port, counts.total() / seconds)
            found[port] = evenness(counts, workers)
        yield Cell(workers=workers, visits=visits, load=load), (found[ours], found[plain])


def evenness(counts: Mapping[int, int], workers: int) -> float:
    """The fewest requests of a worker over the most; 0 when one of them had none."""
    return min(counts.values()) / max(counts.values()) if len(counts) == workers else 0.0


def warm(port: int, workers: int) -> None:
    """Until each worker has answered in one go: all of them have booted."""
    visits = Visits(path="/work", kept=False)

    def all_answer() -> bool:
        return len(visit(port, visits, seconds=_WARM_SECONDS, rate=None)) == workers

    wait_until(all_answer, what="all workers to answer", seconds=60)


# --- the servers


@contextmanager
def kit(directory: Path, workers: int) -> Iterator[int]:
    """The port of a cluster with WORKER_CLASS=adaptive."""
    env = {
        "CLUSTER_WORKERS": str(workers),
        "WORKER_CLASS": "adaptive",
        "THREADS": str(THREADS),
        "APP_ENV": "production",
    }
    with Cluster(directory / "kit", *_APP, env=env) as cluster:
        yield cluster.port


@contextmanager
def stock(directory: Path, workers: int) -> Iterator[int]:
    """The port of plain Gunicorn with the values that gunicorn.conf.py sets, and no hook."""
    port = free_port()
    command = [str(GUNICORN), "-c", "/dev/null", "--bind", f"127.0.0.1:{port}"]
    command += ["--workers", str(workers), "--worker-class", "gthread", "--threads", str(THREADS)]
    command += ["--keep-alive", "5", "--worker-tmp-dir", "/dev/shm"]  # noqa: S108 - as there
    command += ["--no-control-socket", *_APP]
    log = directory / "stock.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=directory, start_new_session=True
        )
    try:
        wait_until(lambda: "Booting worker" in log.read_text(), what="stock Gunicorn")
        yield port
    finally:
        process.terminate()
        process.wait(30)


# --- the clients


class Client:
    """Asks one request at a time, and counts who answered."""

    def __init__(self, port: int, visits: Visits, counts: Counter[int]):
        self._port = port
        self._visits = visits
        self._counts = counts
        self._data = b""
        self._sock: socket.socket | None = None

    def ask(self) -> socket.socket:
        """Sends a request; the socket that the answer comes from."""
        if self._sock is None:
            self._sock = socket.create_connection(("127.0.0.1", self._port), _ANSWER_SECONDS)
        self._sock.sendall(self._visits.request)
        return self._sock

    def read(self) -> bool:
        """Takes in what has come; whether that is all: the whole answer, or the server's end."""
        assert self._sock is not None
        more = self._sock.recv(4096)
        self._data += more
        head, _, body = self._data.partition(b"\r\n\r\n")
        whole = len(body) == 10
        if more and not (whole and self._visits.kept):
            return False
        if not (whole and head.startswith(b"HTTP/1.1 200 ")):
            raise RuntimeError(f"a request was answered with {self._data!r}")
        self._counts[int(body)] += 1
        self._data = b""
        if not self._visits.kept:
            self.close()
        return True

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def visit(port: int, visits: Visits, *, seconds: float, rate: float | None) -> Counter[int]:
    """How many requests each pid answered.

    `rate`: so many are due a second, whatever became of the others; None: each client asks as soon
    as it has its answer.
    """
    counts: Counter[int] = Counter()
    idle = deque(Client(port, visits, counts) for _ in range(CLIENTS))
    began, begun = time.monotonic(), 0
    with selectors.SelectSelector() as answers:  # epoll's pauses are whole milliseconds
        while (passed := time.monotonic() - began) < seconds or len(idle) < CLIENTS:
            due = 0
            if passed < seconds:
                due = len(idle) if rate is None else int(passed * rate) + 1 - begun
            for _ in range(min(due, len(idle))):
                client = idle.popleft()
                answers.register(client.ask(), selectors.EVENT_READ, client)
                begun += 1
            pause = _ANSWER_SECONDS
            if idle and passed < seconds:
                assert rate is not None
                pause = max(0.0, began + begun / rate - time.monotonic())
            found = answers.select(pause)
            if not found and pause == _ANSWER_SECONDS:
                raise RuntimeError(f"no answer came within {_ANSWER_SECONDS:g} s")
            for key, _ in found:
                if key.data.read():
                    answers.unregister(key.fileobj)
                    idle.append(key.data)
    for client in idle:
        client.close()
    return counts
