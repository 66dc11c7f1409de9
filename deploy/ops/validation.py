"""Whether the service does what it should, seen from outside, worker by worker."""

from __future__ import annotations

from dataclasses import replace

from deploy.ops import answers_check, cpu_check, new_errors, processes_check
from deploy.ops.change import Expected, Say
from deploy.ops.check import Check
from deploy.ops.service import Service
from deploy.ops.terminal import counted
from deploy.ops.waiting import Progress
from deploy.ops.witness import Witness

__all__ = ["Check", "Service", "validate"]

_LETTERS = 200  # of an error that is quoted


def validate(
    service: Service, witness: Witness, expected: Expected, *, say: Say, alone: bool = False
) -> list[Check]:
    """Looks at it in five ways, and says each result as soon as it is known.

    `alone`: nothing was changed, so the witness saw nothing else.
    """
    line = Progress()
    checks: list[Check] = []

    def add(check: Check) -> None:
        line.clear()
        checks.append(check)
        say(str(check))

    try:
        failing = "" if alone else witness.failing
        add(processes_check.check(service, expected, failing_before=failing, line=line))
        spread = cpu_check.Spread(service)
        line.show("Validation: asking every worker")
        add(answers_check.health(service))
        line.show("Validation: asking every worker for the session")
        add(answers_check.session(service, witness, alone=alone))
        add(_journal(service, witness, alone=alone))
        add(spread.check(line))
    finally:
        line.clear()
    return checks


def _journal(service: Service, witness: Witness, *, alone: bool) -> Check:
    # Without a change nothing is excused for having been said before.
    mark = replace(witness.mark, known=frozenset()) if alone else witness.mark
    try:
        errors = new_errors.since(mark, service.directories.state)
    except OSError as error:
        return Check(name="journal", ok=None, detail=f"the ledger cannot be read ({error})")
    if errors.new:
        more = f" (and {len(errors.new) - 1} more)" if len(errors.new) > 1 else ""
        return Check(name="journal", ok=False, detail=f"{errors.new[0][:_LETTERS]}{more}")
    where = "journal and ledger" if errors.journal else "ledger (no journal to read)"
    before = f"; {counted(errors.known, 'error')} as before the change" if errors.known else ""
    return Check(name="journal", ok=True, detail=f"no new error in the {where}{before}")
