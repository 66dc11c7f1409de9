"""The worker beside its peers: the same application on other servers, all in one run.

`python -m bench.peers --help` measures a part of it.
"""

from __future__ import annotations

from bench.objective import Objective
from bench.peers import comparison, objectives, results
from bench.peers.figures import Figures
from bench.peers.plan import Plan


def run() -> list[Objective]:
    """All peers at all workloads, kept in bench/results; raises MissingProgramError."""
    plan = Plan()
    outcome = comparison.run(plan)
    found = objectives.of(Figures(outcome.measurements))
    results.write(results.DIRECTORY, plan, outcome, found)
    return found
