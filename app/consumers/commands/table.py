"""Tables as plain text."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def table(names: Sequence[str], rows: Sequence[Sequence[object]], *, right: Collection[str]) -> str:
    """Columns two blanks apart; `right` names those of numbers."""
    cells = [list(names), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = (
        "  ".join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(names, line, widths, strict=True)
        )
        for line in cells
    )
    return "\n".join(line.rstrip() for line in lines)


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else str(value)
