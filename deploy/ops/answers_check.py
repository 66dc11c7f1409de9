"""Whether every worker answers: that it is well, and that it knows a visitor's session."""

from __future__ import annotations

from collections.abc import Callable

from deploy.ops.check import Check
from deploy.ops.endpoint import Answer
from deploy.ops.every_worker import SECONDS, Round, ask_alone, ask_every
from deploy.ops.service import Service
from deploy.ops.terminal import printable
from deploy.ops.witness import Witness
from deploy.state.layout import State

_HEALTH = "/health"
_PLAIN_ANSWERS = 5  # wanted of a process that is alone


def health(service: Service) -> Check:
    """GET /health, 200 from each; of an application without it READY_PATH, or /: no error."""
    path, highest = _HEALTH, 200
    try:
        if service.endpoint.ask("GET", path).status == 404:
            path, highest = service.directories.environ.get("READY_PATH") or "/", 499
    except OSError as error:
        return _check("health", f"GET {path}", Round(answers=0, missing=[], wrong=str(error)), 0)

    def wrong(answer: Answer) -> str:
        return "" if 200 <= answer.status <= highest else f"answered {answer.status}"

    found, workers = _ask(service, lambda: service.endpoint.ask("GET", path), wrong)
    said = "200" if path == _HEALTH else "no error"
    return _check("health", f"GET {path}: {said}", found, workers)


def session(service: Service, witness: Witness, *, alone: bool) -> Check:
    """The witness's session, valid on each; `alone`: there was no change that it is older than.

    A route that failed before the change as well is not the change's fault.
    """
    opened = witness.session
    if opened is None:
        ok = False if witness.broken and alone else None
        return Check(name="session", ok=ok, detail=printable(witness.sessionless))
    found, workers = _ask(service, lambda: opened.ask(service.endpoint), opened.wrong)
    what = "opened here: valid" if alone else "opened before the change: valid"
    return _check("session", what, found, workers)


def ready(service: Service) -> list[str]:
    """The names of the ready workers."""
    rows = service.board.rows() if service.board else []
    return list(dict.fromkeys(row.name for row in rows if row.slot and row.state == State.READY))


def _ask(
    service: Service, ask: Callable[[], Answer], wrong: Callable[[Answer], str]
) -> tuple[Round, int]:
    if service.plain:
        return ask_alone(ask, wrong, _PLAIN_ANSWERS), 1
    workers = ready(service)
    return ask_every(ask, wrong, workers, counted=_Counters(service)), len(workers)


def _check(name: str, what: str, found: Round, workers: int) -> Check:
    if found.wrong:
        return Check(name=name, ok=False, detail=printable(f"{what}? {found.wrong}"))
    if found.missing:
        waited = f"no answer of {', '.join(found.missing)} within {SECONDS:g} s"
        return Check(name=name, ok=False, detail=f"{what}? {waited}")
    by = "1 worker" if workers == 1 else f"each of {workers} workers"
    return Check(name=name, ok=True, detail=f"{what} from {by}, {found.answers} answers")


class _Counters:
    """The workers that have answered something since the beginning, by the board's counts."""

    def __init__(self, service: Service):
        self._service = service
        self._before = self._counts()

    def __call__(self) -> set[str]:
        before = self._before
        return {
            name
            for (name, pid), count in self._counts().items()
            if count > before.get((name, pid), 0)
        }

    def _counts(self) -> dict[tuple[str, int], int]:
        board = self._service.board
        rows = board.rows() if board else []
        return {(row.name, row.pid): row.requests for row in rows if row.state == State.READY}
