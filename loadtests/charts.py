"""The report's charts: SVG by pygal, stripped to marks and labels, styled by the page's own CSS.

pygal's styles and scripts are dropped: the page knows light and dark, and nothing is fetched.
"""

from __future__ import annotations

import math
import re
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import pygal
from pygal.style import Style

# pygal hooks itself into every later import, for map plugins that nobody has, in a way that Python
# warns of (3.11) and ignores (3.12).
sys.meta_path[:] = [each for each in sys.meta_path if not isinstance(each, pygal.PluginImportFixer)]

Point = tuple[float, float | None]

_SIZE = {"width": 560, "height": 280}
_POINTS = 240  # a line; more would not be seen, only make the page large
_DASHES = ("", "6 4", "2 3")
_BORDERS = ("solid", "dashed", "dotted")  # what the legend shows for these
_STYLE = Style(label_font_size=12, major_label_font_size=12)  # room for labels; the CSS draws them


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line or bar, its colour that of the server, its shade and dashes told by `number`."""

    label: str
    server: str  # fork or cluster
    number: int = 0
    points: Sequence[Point] = ()

    @property
    def colour(self) -> str:
        """CSS."""
        share = 100 - 22 * (self.number // len(_DASHES))
        return f"color-mix(in srgb, var(--{self.server}) {max(share, 34)}%, var(--ink))"

    @property
    def dashes(self) -> str:
        """SVG's stroke-dasharray."""
        return _DASHES[self.number % len(_DASHES)]

    @property
    def border(self) -> str:
        """The CSS border style that looks like the dashes."""
        return _BORDERS[self.number % len(_BORDERS)]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A drawn chart and what stands around it."""

    name: str  # unique in the page
    title: str
    caption: str
    legend: Sequence[Series]
    svg: str


def lines(
    name: str,
    title: str,
    caption: str,
    series: Sequence[Series],
    *,
    ticks: Sequence[float],
    unit: str,
    format_value: Callable[[float], str] = lambda value: f"{value:,.0f}",
) -> Chart:
    """Values over the seconds under load; a point without a value is left out."""
    chart = pygal.XY(
        **_config(format_value),
        x_labels=list(ticks),
        show_x_guides=True,
        x_value_formatter=lambda value: f"{value:g}",
        dots_size=2,
    )
    for each in series:
        points = [point for point in thinned(each.points) if point[1] is not None]
        chart.add(each.label, points)
    chart.range = (0, _top(series))
    chart.xrange = (0, max(ticks))
    svg = _dressed(chart, name, title, _summary(series, unit, format_value), series)
    return Chart(name=name, title=title, caption=caption, legend=series, svg=svg)


def bars(name: str, title: str, caption: str, series: Sequence[Series]) -> Chart:
    """One bar a series, its value that of its only point, its label beside it."""
    config = _config(lambda value: f"{value:,.0f}") | {
        "height": max(190, 48 + 32 * len(series)),
        "show_y_guides": False,
        "show_x_guides": True,
    }
    chart = pygal.HorizontalStackedBar(**config)
    turned = list(reversed(series))  # pygal begins at the bottom
    chart.x_labels = [each.label for each in turned]
    for number, each in enumerate(turned):
        values: list[float | None] = [None] * len(turned)
        values[number] = each.points[0][1]
        chart.add(each.label, values)
    chart.range = (0, _top(series))
    svg = _dressed(chart, name, title, _summary(series, "", lambda value: f"{value:,.0f}"), turned)
    return Chart(name=name, title=title, caption=caption, legend=(), svg=svg)


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most as many points as can be seen, each the mean of its neighbours'; pure."""
    each = math.ceil(len(points) / _POINTS)
    if each <= 1:
        return list(points)
    found: list[Point] = []
    for begin in range(0, len(points), each):
        group = points[begin : begin + each]
        values = [value for _, value in group if value is not None]
        found.append((group[0][0], statistics.fmean(values) if values else None))
    return found


def ticks(seconds: float, begins: Sequence[float]) -> list[float]:
    """Where the time axis is labelled: at the begin of each round, or at round numbers; pure."""
    if 2 <= len(begins) <= 8:
        return [*begins, seconds]
    step = _nice(seconds / 6)
    return [step * number for number in range(math.floor(seconds / step) + 1)]


def _config(format_value: Callable[[float], str]) -> dict[str, Any]:
    return _SIZE | {
        "js": (),
        "css": (),
        "style": _STYLE,
        "show_legend": False,
        "margin": 8,
        "margin_right": 16,
        "min_scale": 3,
        "max_scale": 6,
        "include_x_axis": True,
        "truncate_label": -1,
        "value_formatter": format_value,
    }


def _top(series: Sequence[Series]) -> float:
    values = [value for each in series for _, value in each.points if value is not None]
    return max([*values, 1e-9]) * 1.08 if any(values) else 1.0


def _nice(step: float) -> float:
    """The next of 1, 2, 5, 10, 15, 30, 60 … that is not smaller."""
    for nice in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200):
        if nice >= step:
            return float(nice)
    return math.ceil(step / 3600) * 3600.0


def _summary(series: Sequence[Series], unit: str, format_value: Callable[[float], str]) -> str:
    """What somebody who does not see the chart is told."""
    said = []
    for each in series:
        values = [value for _, value in each.points if value is not None]
        if not values:
            said.append(f"{each.label}: no value")
        elif len(values) == 1:
            said.append(f"{each.label}: {format_value(values[0])}{unit}")
        else:
            low, middle, high = min(values), statistics.fmean(values), max(values)
            said.append(
                f"{each.label}: from {format_value(low)} to {format_value(high)}{unit}, "
                f"mean {format_value(middle)}"
            )
    return "; ".join(said) + "."


def _dressed(chart: Any, name: str, title: str, summary: str, series: Sequence[Series]) -> str:
    """The chart as an element of the page: named, without styles, scripts and comments."""
    root = chart.render_tree()
    for parent in root.iter():
        for child in list(parent):
            classes = child.get("class", "").split()
            if (
                not isinstance(child.tag, str)  # a comment
                or child.tag in ("defs", "title")
                or {"tooltip-overlay", "titles"} & set(classes)
            ):
                parent.remove(child)
    for group in root.iter("g"):
        _name_mark(group)
        found = re.search(r"\bserie-(\d+)\b", group.get("class", ""))
        if found:
            each = series[int(found[1])]
            group.set("class", "series")
            group.set("style", f"--colour: {each.colour}; --dashes: {each.dashes or 'none'}")
    for attribute in ("id", "class"):
        root.attrib.pop(attribute, None)
    root.set("class", "chart")
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title {name}-desc")
    for place, (tag, text) in enumerate((("title", title), ("desc", summary))):
        element = ElementTree.Element(tag, id=f"{name}-{tag}")
        element.text = text
        root.insert(place, element)
    return ElementTree.tostring(root, encoding="unicode")


def _name_mark(group: ElementTree.Element) -> None:
    """pygal notes a mark's value for its script; here the browser's own tooltip shows it."""
    notes = [child for child in group if child.tag == "desc"]
    value = next((note.text for note in notes if note.get("class") == "value"), None)
    for note in notes:
        group.remove(note)
    if value:
        title = ElementTree.Element("title")
        title.text = value
        group.insert(0, title)
