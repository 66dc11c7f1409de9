"""The page's content; what a browser makes of it is in tests/browser/."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from loadtests import charts, page
from loadtests.charts import Series
from loadtests.facts import facts
from loadtests.measurement import Measurement
from loadtests.objectives import Limits, judge
from tests.loadtests.runs import measurement, run

EVIL = "<script>alert('&')</script>"
FORK = measurement(run([10] * 100, seconds=3), run([10] * 100, seconds=3))
CLUSTER = measurement(
    run([5] * 150, seconds=3, workers={"worker-1": 70, "worker-2": 80}),
    run([5] * 170, seconds=3, workers={"worker-1": 80, "worker-2": 90}),
    mode="cluster",
    workers=2,
)


def figures(
    fork: Measurement = FORK, cluster: Measurement = CLUSTER, limits: Limits | None = None
) -> dict[str, Any]:
    found = facts(
        fork,
        cluster,
        judge(fork, cluster, limits or Limits()),
        date="2024-05-06T07:08:09+00:00",
        release="1a2b3c4",
        machine={"CPUs": "2 × some processor", "Python": "3.11"},
        parameters={"rounds": 2, "seconds": 3, "users": 4, "shape": "steady", "think": 0.0},
    )
    read = json.loads(json.dumps(found, allow_nan=False))
    assert isinstance(read, dict)
    return read


def test_verdict_ratio_and_fairness_are_stated() -> None:
    text = page.render(figures(limits=Limits(min_ratio=1.5)))
    assert "All 7 objectives are met" in text
    assert '<dd id="ratio">1.60 ×</dd>' in text
    assert '<dd id="fairness">0.88</dd>' in text
    assert "Throughput ratio of each round: 1.50 ×, 1.70 ×." in text
    assert "release 1a2b3c4" in text
    missed = page.render(figures(limits=Limits(min_ratio=2)))
    assert "1 of 7 objectives is missed" in missed


def test_every_text_is_escaped() -> None:
    evil = run([1], failed=1, endpoint=f"GET /{EVIL}", errors={EVIL: 1}, workers={EVIL: 1})
    side = measurement(evil)
    found = figures(side, replace(side, mode="cluster"))
    found["machine"]["CPUs"] = f"2 × {EVIL}"
    text = page.render({**found, "release": EVIL})
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 5


def test_the_page_needs_nothing_else() -> None:
    text = page.render(figures())
    addresses = set(re.findall(r"(?:https?:)?//[^\s\"'<>)]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "<script" not in text
    assert "@import" not in text
    assert "url(" not in text


def test_charts_and_tables_speak_to_those_who_do_not_see_them() -> None:
    text = page.render(figures())
    drawn = re.findall(r"<svg .*?</svg>", text, re.S)
    assert len(drawn) == 6
    for svg in drawn:
        assert 'role="img"' in svg
        named = re.search(r'aria-labelledby="(\S+) (\S+)"', svg)
        assert named is not None
        assert f'<title id="{named[1]}">' in svg
        assert f'<desc id="{named[2]}">' in svg
    assert "fork: from 0 to 100 a second" in text
    heads = re.findall(r"<th\b[^>]*>", text)
    assert heads
    assert all("scope=" in head for head in heads)


def test_a_server_that_answered_nothing_still_makes_a_page() -> None:
    silent = measurement(run([], failed=7, workers={}), mode="cluster", workers=2)
    text = page.render(figures(measurement(run([], failed=7, workers={})), silent))
    assert '<dd id="ratio">–</dd>' in text
    assert "objectives are missed" in text


def test_a_long_run_is_drawn_with_points_that_can_be_seen() -> None:
    points = [(float(second), float(second % 2)) for second in range(3600)]
    thinned = charts.thinned(points)
    assert len(thinned) == 240
    assert thinned[1] == (15.0, 8 / 15)
    assert charts.thinned(points[:240]) == points[:240]
    assert charts.thinned([(0.0, None)] * 500)[0] == (0.0, None)


@pytest.mark.parametrize(
    ("seconds", "begins", "expected"),
    [
        (18, [0, 6, 12], [0, 6, 12, 18]),
        (20, [0], [0, 5, 10, 15, 20]),
        (3600, [0], [0, 600, 1200, 1800, 2400, 3000, 3600]),
        (40, [*range(0, 40, 2)], [0, 10, 20, 30, 40]),
    ],
)
def test_the_time_axis_has_few_round_labels(
    seconds: float, begins: list[float], expected: list[float]
) -> None:
    assert charts.ticks(seconds, begins) == expected


def test_workers_keep_apart_by_dashes_and_then_by_shade() -> None:
    looks = {
        (each.colour, each.dashes)
        for each in (Series(label="", server="cluster", number=n) for n in range(9))
    }
    assert len(looks) == 9
