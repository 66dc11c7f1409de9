"""All checks at once, each with a deadline: none waits for another, and none for ever."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from deploy.ops.checks.check import Check
from deploy.ops.checks.context import CannotLookError, Context, NoAnswerError
from deploy.ops.checks.finding import Finding, fail, skip, warn

SECONDS = 25.0  # for one check; what it asks has less


@dataclass(frozen=True, kw_only=True)
class Examined:
    """One check, as it ended."""

    check: Check
    finding: Finding
    seconds: float


def examine(
    checks: Sequence[Check],
    context: Context,
    *,
    seconds: float = SECONDS,
    waiting: Callable[[str], None] = lambda _: None,
) -> Iterator[Examined]:
    """Each check in its order, as soon as it and those before it have ended.

    `waiting` is told whom it waits for. A check that hangs is left behind: its thread ends with
    the process.
    """
    began = time.monotonic()
    answers: list[queue.SimpleQueue[Examined]] = [queue.SimpleQueue() for _ in checks]
    for check, answer in zip(checks, answers, strict=True):
        threading.Thread(
            target=_carry_out, args=(check, context, answer), name=check.name, daemon=True
        ).start()
    for check, answer in zip(checks, answers, strict=True):
        waiting(f"{check.name}: {check.promise}")
        try:
            yield answer.get(timeout=max(0.0, began + seconds - time.monotonic()))
        except queue.Empty:
            late = fail(f"no answer within {seconds:g} s", f"see docs/doctor.md, {check.name}")
            yield Examined(check=check, finding=late, seconds=seconds)


def _carry_out(check: Check, context: Context, answer: queue.SimpleQueue[Examined]) -> None:
    began = time.monotonic()
    finding = look(check, context)
    answer.put(Examined(check=check, finding=finding, seconds=time.monotonic() - began))


def look(check: Check, context: Context) -> Finding:
    """What the check says; whatever it raises is a finding, too."""
    try:
        return check.look(context)
    except CannotLookError as error:
        return skip(str(error))
    except NoAnswerError as error:
        return fail(str(error), f"see docs/doctor.md, {check.name}")
    except PermissionError as error:
        return skip(f"needs root: {error.filename or error}")
    except Exception as error:  # a fault of one check must not hide the others
        kind = type(error).__name__
        return warn(f"the check itself failed: {kind}: {error}", "report it, with this line")
