"""The watch over a new release: crashes, errors and latency, for as long as an operator asks."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from deploy.ops import bake, new_errors
from deploy.ops.access_lines import AccessLines, following
from deploy.ops.bake import Seen, Traffic
from deploy.ops.change import Say
from deploy.ops.check import Check
from deploy.ops.cluster import NotRunningError
from deploy.ops.directories import Directories
from deploy.ops.endpoint import Endpoint
from deploy.ops.service import Service
from deploy.ops.terminal import printable
from deploy.ops.waiting import Progress
from deploy.state import ledger
from deploy.state.layout import SLOTS_MAX

_EVERY = 0.5  # seconds from one probe to the next
_TIMEOUT = 5.0
_PROBES_BEFORE = 20
_HEALTH = "/health"


@dataclass
class Probes:
    """Our own requests, and how they ended."""

    endpoint: Endpoint
    path: str
    answers: list[tuple[int, float]] = field(default_factory=list)  # status, milliseconds
    in_a_row: int = 0  # failed
    failure: str = ""

    @classmethod
    def to(cls, endpoint: Endpoint, environ_path: str) -> Probes:
        """GET /health; of an application without it READY_PATH, or /."""
        path = _HEALTH
        try:
            if endpoint.ask("GET", path, timeout=_TIMEOUT).status == 404:
                path = environ_path or "/"
        except OSError:
            pass
        return cls(endpoint=endpoint, path=path)

    def ask(self) -> None:
        """One more."""
        began = time.monotonic()
        try:
            status = self.endpoint.ask("GET", self.path, timeout=_TIMEOUT).status
            good = status == 200 if self.path == _HEALTH else status < 500
            said = "" if good else f"{status}"
        except OSError as error:
            status, said = 599, str(error) or type(error).__name__
        self.answers.append((status, (time.monotonic() - began) * 1000))
        self.in_a_row = self.in_a_row + 1 if said else 0
        if said:
            self.failure = printable(f"GET {self.path}: {said}")


class Watch:
    """Begun before the change, so that there is something to compare with."""

    def __init__(self, directories: Directories, seconds: int):
        self._directories = directories
        self._seconds = seconds
        self._at = 0.0  # Unix time of the change
        self._probed = Traffic()  # before it
        self._restarts = self._crashed = 0  # seen last

    def note(self, service: Service) -> None:
        """How it is before the change; never raises for what cannot be asked."""
        probes = self._probes(service)
        for _ in range(_PROBES_BEFORE):
            probes.ask()
            if probes.in_a_row:
                break
        self._probed = Traffic.of(probes.answers)
        self._at = time.time()

    def watch(self, service: Service, say: Say) -> list[Check]:
        """Looks until the time is over or something is wrong, and says what it has seen."""
        began = time.time()
        self._restarts, self._crashed = _restarts(service), 0
        since = (self._at or began) - self._seconds
        with following(service.unit, since) as lines:
            seen, before, wrong = self._look(service, lines, began)
        detail = (
            f"{wrong} (after {time.time() - began:.0f} s)"
            if wrong
            else f"{self._seconds} s; crashes: {seen.crashes}; {seen.traffic}; before: {before}"
        )
        check = Check(name="bake", ok=not wrong, detail=detail)
        say(str(check))
        return [check]

    def _look(
        self, service: Service, lines: AccessLines | None, began: float
    ) -> tuple[Seen, Traffic, str]:
        probes = self._probes(service)
        line = Progress()
        deadline = time.monotonic() + self._seconds
        try:
            while True:
                probes.ask()
                seen, before = self._seen(service, probes, lines, began)
                wrong = bake.verdict(before, seen) or _gone(self._directories)
                left = deadline - time.monotonic()
                if wrong or left <= 0:
                    return seen, before, wrong
                line.show(f"Bake: {left:.0f} s left; crashes: {seen.crashes}; {seen.traffic}")
                time.sleep(min(_EVERY, left))
        finally:
            line.clear()

    def _seen(
        self, service: Service, probes: Probes, lines: AccessLines | None, began: float
    ) -> tuple[Seen, Traffic]:
        """Visitors' requests where the journal has them, else our own."""
        now, before = Traffic.of(probes.answers), self._probed
        if lines is not None:
            visitors = lines.between(began, float("inf"))
            if visitors.requests:
                now, before = visitors, lines.between(self._at - self._seconds, self._at)
        seen = Seen(
            crashes=self._crashes(service, began),
            traffic=now,
            failed_probes=probes.in_a_row,
            failure=probes.failure,
        )
        return seen, before

    def _crashes(self, service: Service, began: float) -> int:
        """The ledger tells crashes from workers that were retired; it is read when it is longer."""
        restarts = _restarts(service)
        if restarts == self._restarts:
            return self._crashed
        try:
            events = ledger.read(self._directories.state, limit=None)
        except OSError:
            return self._crashed
        self._restarts = restarts
        crashes = [event for event in events if event.get("event") == "crash"]
        self._crashed = len(new_errors.in_events(crashes, began))
        return self._crashed

    def _probes(self, service: Service) -> Probes:
        return Probes.to(service.endpoint, self._directories.environ.get("READY_PATH", ""))


def _restarts(service: Service) -> int:
    """Workers that took another's place, so far."""
    board = service.board
    if board is None:
        return 0
    return sum(board.slot(slot).restarts for slot in range(1, SLOTS_MAX + 1))


def _gone(directories: Directories) -> str:
    try:
        Service.find(directories)
    except NotRunningError as error:
        return error.message
    return ""
