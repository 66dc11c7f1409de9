"""Asking over fresh connections until each worker has answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from deploy.ops.endpoint import Answer

SECONDS = 20.0  # the kernel decides who accepts: a worker may have to be waited for
_PAUSE = 0.02
_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Round:
    """Who has answered, how often, and the first answer that was wrong."""

    answers: int
    missing: list[str]
    wrong: str  # in one line; empty when none was


def ask_every(
    ask: Callable[[], Answer],
    judge: Callable[[Answer], str],
    workers: Collection[str],
    *,
    counted: Callable[[], Collection[str]],
    seconds: float = SECONDS,
) -> Round:
    """Asks until every one of `workers` has answered, one answer was wrong, or time is up.

    `judge` says what is wrong with an answer. An answer names its worker in X-Worker-ID; of an
    application that does not, `counted` tells who has answered anything since the beginning.
    """
    width = min(_AT_ONCE, 2 * max(len(workers), 1))
    seen: set[str] = set()
    answers = 0
    deadline = time.monotonic() + seconds
    # Several at once: a worker that is busy with one leaves the next to another.
    with ThreadPoolExecutor(width) as threads:
        while True:
            for found in threads.map(lambda _: _asked(ask, judge), range(width)):
                answers += 1
                if isinstance(found, str):
                    return Round(answers=answers, missing=_missing(workers, seen), wrong=found)
                seen |= {found.worker} if found.worker else set(counted())
            missing = _missing(workers, seen)
            if not missing or time.monotonic() >= deadline:
                return Round(answers=answers, missing=missing, wrong="")
            time.sleep(_PAUSE)


def ask_alone(ask: Callable[[], Answer], judge: Callable[[Answer], str], times: int) -> Round:
    """Asks a process that is alone, one time after the other."""
    for number in range(times):
        found = _asked(ask, judge)
        if isinstance(found, str):
            return Round(answers=number + 1, missing=[], wrong=found)
    return Round(answers=times, missing=[], wrong="")


def _asked(ask: Callable[[], Answer], judge: Callable[[Answer], str]) -> Answer | str:
    try:
        answer = ask()
    except OSError as error:
        return f"no answer ({str(error) or type(error).__name__})"
    wrong = judge(answer)
    return f"{answer.worker or 'a worker'} {wrong}" if wrong else answer


def _missing(workers: Collection[str], seen: set[str]) -> list[str]:
    return [worker for worker in workers if worker not in seen]
