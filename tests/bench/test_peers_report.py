from __future__ import annotations

import json
from pathlib import Path

from bench.peers import objectives, results
from bench.peers.comparison import Outcome
from bench.peers.figures import Figures
from bench.peers.measurement import Measurement, Row
from bench.peers.plan import Plan
from tests.bench.peers_measured import measured

TWO = Row("json", 2)
MEASURED = [
    *measured("gthread", 100, 110, 90),
    *measured("ours", 400, 440, 450),
    *measured("waitress", 150, 120, 0, errors={3: {"connect": 32}}),
    *measured("gthread", 200, 200, 200, row=TWO),
    *measured("ours", 500, 500, 500, row=TWO),
]


def outcome(measurements: list[Measurement]) -> Outcome:
    return Outcome(
        machine={"CPUs": "2 × Abacus", "Memory": "1.0 GiB"},
        versions={"gthread": {"gunicorn": "1.2.3"}},
        measurements=measurements,
    )


def page(measurements: list[Measurement]) -> str:
    found = objectives.of(Figures(measurements))
    return results.page(Plan(rounds=3), outcome(measurements), found)


def table(text: str, title: str) -> list[list[str]]:
    lines = text.partition(f"## {title}\n\n")[2].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_ratios_stand_beside_the_base_they_are_to() -> None:
    assert table(page(MEASURED), "Requests/s, as ratios to stock gthread") == [
        ["", "stock gthread", "ours", "waitress"],
        ["---", "---:", "---:", "---:"],
        ["JSON, 1 process", "100 (90–110) /s", "4.00 (4.00–5.00)", "1.30 (1.09–1.50) †"],
        ["JSON, 2 processes", "200 (200–200) /s", "2.50 (2.50–2.50)", "–"],
    ]


def test_errors_are_named_below_the_tables() -> None:
    assert "- JSON, 1 process, waitress, round 3: errors (connect 32), not used" in page(MEASURED)


def test_machine_versions_and_bounds_are_in_the_page() -> None:
    text = page(MEASURED)
    assert "- CPUs: 2 × Abacus" in text
    assert "- **stock gthread** (gunicorn 1.2.3): " in text
    assert "requests/s of ours / stock gthread, JSON, 1 process: 4.00 × (≥ 4): met" in text


def test_without_the_base_there_are_requests_and_no_ratios() -> None:
    text = page(measured("ours", 400, 440, 450))
    assert "as ratios" not in text
    assert table(text, "Requests/s")[2] == ["JSON, 1 process", "440 (400–450)"]


def test_both_files_are_written_and_the_json_is_strict(tmp_path: Path) -> None:
    failed = measured("ours", 0, errors={1: {"connect": 32}})
    measurements = [*failed, *measured("gthread", 100)]
    found = objectives.of(Figures(measurements))
    results.write(tmp_path / "results", Plan(), outcome(measurements), found)
    assert (tmp_path / "results" / "peers.md").read_text().startswith("# The worker beside")
    facts = json.loads((tmp_path / "results" / "peers.json").read_text(), parse_constant=_refuse)
    assert facts["objectives"][0]["value"] is None
    first = facts["measurements"][0]
    assert (first["workload"], first["processes"], first["peer"]) == ("json", 1, "ours")
    assert first["errors"] == {"connect": 32}


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")
