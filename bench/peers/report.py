"""The comparison for people: tables in Markdown; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from bench.objective import Objective
from bench.peers.figures import Figures, Spread
from bench.peers.lineup import BASE, BY_NAME, Peer
from bench.peers.measurement import Row
from bench.peers.objectives import named

_FLAWED, _NOTHING = "†", "–"
_METHOD = (
    "Measured on {date} by `python -m bench.peers`: one machine, on which wrk and Postgres run as "
    "well, all servers at once, asked in turn, {rounds} round(s) of {seconds} s each. A figure is "
    "the median of the rounds, with the least and the most; a ratio is that of the rounds' ratios."
)
Cell = Callable[[Row, str], str]


def render(
    figures: Figures,
    objectives: Sequence[Objective],
    *,
    rounds: int,
    seconds: int,
    date: str,  # ISO 8601
    machine: Mapping[str, str],
    versions: Mapping[str, Mapping[str, str]],
) -> str:
    """The whole page; what was measured with errors is marked, and named below the tables."""
    lines = [
        "# The worker beside its peers",
        "",
        _METHOD.format(date=date, rounds=rounds, seconds=seconds),
        "",
        *(f"- {name}: {value}" for name, value in machine.items()),
        "",
        "## Peers",
        "",
        *(_peer(BY_NAME[name], versions.get(name, {})) for name in figures.peers),
        "",
        *_tables(figures),
        *_flaws(figures),
        "## Bounds",
        "",
        *(_objective(each) for each in objectives),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _peer(peer: Peer, versions: Mapping[str, str]) -> str:
    packages = ", ".join(f"{package} {version}" for package, version in versions.items())
    return f"- **{peer.title}** ({packages}): {peer.note}"


def _objective(objective: Objective) -> str:
    bound = f"≤ {objective.at_most:g}" if objective.at_most is not None else ""
    bound = f"≥ {objective.at_least:g}" if objective.at_least is not None else bound
    verdict = "met" if objective.met else "**missed**"
    return f"- {objective.name}: {objective.value:.2f} {objective.unit} ({bound}): {verdict}"


def _tables(figures: Figures) -> list[str]:
    peers = figures.peers
    lines = []
    if BASE in peers:
        others = [peer for peer in peers if peer != BASE]
        lines += [
            *("## Requests/s, as ratios to stock gthread", ""),
            *_table(figures, [BASE, *others], _ratio_or_base(figures)),
        ]
    for title, cell in {
        "Requests/s": _cells(lambda row, peer: figures.spread(row, peer, "per_second"), "{:.0f}"),
        "p50, milliseconds": _cells(lambda row, peer: figures.spread(row, peer, "p50"), "{:.2f}"),
        "p99, milliseconds": _cells(lambda row, peer: figures.spread(row, peer, "p99"), "{:.1f}"),
        "CPU, microseconds a request": _cells(
            lambda row, peer: figures.spread(row, peer, "cpu"), "{:.0f}"
        ),
    }.items():
        lines += [f"## {title}", "", *_table(figures, peers, cell)]
    return lines


def _ratio_or_base(figures: Figures) -> Cell:
    base = _cells(lambda row, peer: figures.spread(row, peer, "per_second"), "{:.0f}")
    ratio = _cells(lambda row, peer: figures.ratio(row, peer, BASE, "per_second"), "{:.2f}")

    def cell(row: Row, peer: str) -> str:
        return f"{base(row, peer)} /s" if peer == BASE else ratio(row, peer)

    return cell


def _cells(spread: Callable[[Row, str], Spread | None], form: str) -> Cell:
    def cell(row: Row, peer: str) -> str:
        found = spread(row, peer)
        if found is None:
            return _NOTHING
        median, least, most = (
            form.format(each) for each in (found.median, found.least, found.most)
        )
        return f"{median} ({least}–{most})"

    return cell


def _table(figures: Figures, peers: Sequence[str], cell: Cell) -> list[str]:
    def marked(row: Row, peer: str) -> str:
        return cell(row, peer) + (f" {_FLAWED}" if figures.flaws(row, peer) else "")

    return [
        _line(["", *(BY_NAME[peer].title for peer in peers)]),
        _line(["---", *("---:" for _ in peers)]),
        *(_line([named(row), *(marked(row, peer) for peer in peers)]) for row in figures.rows),
        "",
    ]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _flaws(figures: Figures) -> list[str]:
    found = [
        f"- {named(row)}, {BY_NAME[peer].title}, {flaw}"
        for row in figures.rows
        for peer in figures.peers
        for flaw in figures.flaws(row, peer)
    ]
    return [f"{_FLAWED} Not as it should be:", "", *found, ""] if found else []
