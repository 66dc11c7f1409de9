from __future__ import annotations

import json

from loadtests.tally import Cell, Run, Tally


def add(tally: Tally, second: int, error: str | None = None, worker: str | None = "w") -> None:
    tally.add(second=second, endpoint="GET /", milliseconds=2.5, worker=worker, error=error)


def test_what_is_written_is_what_is_read() -> None:
    tally = Tally()
    add(tally, 1)
    add(tally, 0)
    add(tally, 0)
    add(tally, 0, error="status 500", worker=None)
    facts = json.loads(json.dumps(tally.facts(began=5.0, seconds=2.0, cpu_seconds=0.5)))
    assert Run.of(facts) == Run(
        began=5.0,
        seconds=2.0,
        cpu_seconds=0.5,
        cells=(Cell(0, "GET /", (2.5, 2.5), 1), Cell(1, "GET /", (2.5,), 0)),
        workers={"w": 3},
        errors={"GET /: status 500": 1},
    )


def test_a_wrong_answer_counts_for_the_worker_that_gave_it_and_has_no_latency() -> None:
    tally = Tally()
    add(tally, 0, error="the content is wrong")
    facts = tally.facts(began=0, seconds=1, cpu_seconds=0)
    assert facts["cells"] == [[0, "GET /", [], 1]]
    assert facts["workers"] == {"w": 1}


def test_errors_of_many_kinds_are_counted_but_not_all_told() -> None:
    tally = Tally()
    for number in range(100):
        add(tally, 0, error=f"{number} {'x' * 1000}")
    errors = tally.facts(began=0, seconds=1, cpu_seconds=0)["errors"]
    assert len(errors) == 21
    assert errors["other errors"] == 80
    assert sum(errors.values()) == 100
    assert max(len(error) for error in errors) == 200
