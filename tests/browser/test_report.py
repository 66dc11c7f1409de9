"""The load test's report, opened as somebody opens it who got it by mail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from tests.browser.conftest import program

# The load test comes first, and a machine that is busy takes its time for it.
pytestmark = pytest.mark.timeout(300)
_BOXES = """
return [...document.querySelectorAll("figure svg")].map((svg) => {
  const boxes = (marks) => [...svg.querySelectorAll(marks)].map((mark) => mark.getBoundingClientRect());
  const box = svg.getBoundingClientRect();
  return {
    name: svg.querySelector("title").textContent,
    width: box.width,
    height: box.height,
    marks: boxes(".series .line, .series .rect").filter((each) => each.width + each.height > 0).length,
    labels: svg.querySelectorAll(".axis text").length,
    outside: boxes(".axis text, .dot, .rect").filter(
      (each) => each.left < box.left - 1 || each.right > box.right + 20
    ).length,
  };
});
"""  # noqa: E501
_CONTRAST = """
const probe = (selector) => getComputedStyle(document.querySelector(selector));
return [probe("body").backgroundColor, probe("h1").color];
"""


@pytest.fixture
def opened(browser: Chrome, report: Path) -> Chrome:
    browser.get(report.as_uri())
    return browser


def metrics(browser: Chrome, **values: Any) -> None:
    """Sets the size of the page, also below what a window can have."""
    sizes = {"height": 900, "deviceScaleFactor": 1, "mobile": False, **values}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sizes)


def test_every_chart_is_drawn(opened: Chrome) -> None:
    found = opened.execute_script(_BOXES)
    assert len(found) == 6
    for chart in found:
        assert chart["width"] > 200, chart
        assert chart["height"] > 80, chart
        assert chart["marks"] >= 2, chart
        assert chart["labels"] >= 4, chart
        assert chart["outside"] == 0, chart


def test_ratio_and_fairness_are_stated_as_they_were_measured(opened: Chrome, report: Path) -> None:
    facts = json.loads(report.with_suffix(".json").read_text())
    assert opened.find_element(By.ID, "ratio").text == (
        f"{facts['ratios']['throughput']['median']:.2f} ×"
    )
    fairness = facts["servers"]["cluster"]["fairness"]
    assert opened.find_element(By.ID, "fairness").text == f"{fairness:.2f}"
    assert 0 < fairness <= 1
    body = opened.find_element(By.TAG_NAME, "body").text
    for text in ("One worker against a cluster of 2", "What this can show", "POST /api/auth/login"):
        assert text in body


def test_the_page_asks_for_nothing_and_complains_of_nothing(opened: Chrome) -> None:
    script = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    assert opened.execute_script(script) == []
    assert opened.get_log("browser") == []  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_no_width_needs_scrolling_sideways(opened: Chrome, width: int) -> None:
    metrics(opened, width=width)
    element = "document.documentElement"
    inner, seen, needed = opened.execute_script(
        f"return [innerWidth, {element}.clientWidth, {element}.scrollWidth]"
    )
    assert inner == width
    assert needed == seen  # without the vertical scrollbar


def test_light_and_dark_are_both_readable(opened: Chrome) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        page, ink = opened.execute_script(_CONTRAST)
        seen[scheme] = brightness(page) - brightness(ink)
    assert seen["light"] > 150
    assert seen["dark"] < -150


def test_a_missing_browser_is_a_failure_that_says_what_to_install() -> None:
    with pytest.raises(AssertionError, match="no-such-program is not installed: apt-get install x"):
        program("no-such-program", "x")


def brightness(colour: str) -> float:
    """Of `rgb(1, 2, 3)`, 0 to 255."""
    parts = [float(part) for part in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    return sum(parts) / 3
