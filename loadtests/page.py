"""The report: one file of HTML that needs nothing else; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from loadtests import charts
from loadtests.charts import Chart, Point, Series

_HERE = Path(__file__).parent
_SERVERS = ("fork", "cluster")
_TIME = "Seconds under load"


def render(facts: Mapping[str, Any]) -> str:
    """The page of what `loadtests.facts.facts` made; every text in it is escaped."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "size": _size, "ratio": _ratio}
    return environment.get_template("page.html").render(
        **facts,
        css=Markup((_HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
        charts=[
            (chart, Markup(chart.svg))  # noqa: S704 - serialised XML, escaped by ElementTree
            for chart in _charts(facts)
        ],
        endpoints=_endpoints(facts),
        missed=sum(not each["met"] for each in facts["objectives"]),
        cpus=facts["machine"].get("CPUs", "?").partition(" ")[0],
    )


def _charts(facts: Mapping[str, Any]) -> list[Chart]:
    servers = facts["servers"]
    seconds = max(len(servers[name]["timeline"]) for name in _SERVERS)
    several = 2 <= len(servers["fork"]["begins"]) <= 8
    time = f"{_TIME}; a vertical line begins a round." if several else f"{_TIME}."
    axis = charts.ticks(seconds, servers["fork"]["begins"])

    def over_time(
        name: str, title: str, series: Sequence[Series], unit: str, more: str = ""
    ) -> Chart:
        caption = f"{more} {time}".strip()
        return charts.lines(name, title, caption, series, ticks=axis, unit=unit)

    mebi = 1 / 2**20
    return [
        over_time(
            "throughput",
            "Throughput, right answers a second",
            [_series(servers, name, "answered") for name in _SERVERS],
            " a second",
        ),
        over_time(
            "latency",
            "Latency, milliseconds",
            [
                _series(servers, name, percent, number)
                for name in _SERVERS
                for number, percent in enumerate(("p95", "p50"))
            ],
            " ms",
            "Of the right answers of each second: half took at most p50, 95 of 100 at most p95.",
        ),
        charts.bars(
            "requests",
            "Requests answered by each worker",
            "Counted by the X-Worker-ID that each answer carries.",
            [
                Series(
                    label=f"{name} {load['worker']}",
                    server=name,
                    points=((0, load["answered"]),),
                )
                for name in _SERVERS
                for load in servers[name]["loads"]
            ],
        ),
        over_time("cpu", "CPU of each worker, percent of one CPU", _sampled(servers, "cpu"), " %"),
        over_time(
            "rss",
            "Resident memory (RSS) of each worker, MiB",
            _sampled(servers, "rss", mebi),
            " MiB",
            "Pages that workers share are counted in full.",
        ),
        over_time(
            "pss",
            "Proportional memory (PSS) of each worker, MiB",
            _sampled(servers, "pss", mebi),
            " MiB",
            "A page that n processes share counts 1/n, so that workers can be added up.",
        ),
    ]


def _series(servers: Mapping[str, Any], name: str, figure: str, number: int = 0) -> Series:
    label = name if figure == "answered" else f"{name} {figure}"
    points: list[Point] = [
        (second["second"] + 0.5, second[figure]) for second in servers[name]["timeline"]
    ]
    return Series(label=label, server=name, number=number, points=points)


def _sampled(servers: Mapping[str, Any], figure: str, scale: float = 1.0) -> list[Series]:
    found = []
    for name in _SERVERS:
        for number, load in enumerate(servers[name]["loads"]):
            points: list[Point] = [
                (sample["second"], None if sample[figure] is None else sample[figure] * scale)
                for sample in servers[name]["samples"]
                if sample["worker"] == load["worker"]
            ]
            label = f"{name} {load['worker']}"
            found.append(Series(label=label, server=name, number=number, points=points))
    return found


def _endpoints(facts: Mapping[str, Any]) -> list[tuple[str, list[Mapping[str, Any] | None]]]:
    """Each endpoint with its row in fork mode and in cluster mode."""
    rows = {
        name: {row["name"]: row for row in facts["servers"][name]["endpoints"]} for name in _SERVERS
    }
    names = dict.fromkeys(name for side in rows.values() for name in side)
    return [(name, [rows[side].get(name) for side in _SERVERS]) for name in names]


def _number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _size(value: float | None) -> str:
    return "–" if value is None else f"{value / 2**20:,.0f} MiB"


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} ×"
