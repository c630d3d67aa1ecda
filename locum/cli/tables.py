"""Tables of commands, in plain text."""

from __future__ import annotations

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]], *, right: int = 0, indent: int = 0) -> str:
    """Return the rows as lines with aligned columns, two spaces apart; the headings, if any, are the first row.

    right: number of columns at the end that are aligned to the right. indent: spaces before each line.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    first_right = len(widths) - right
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column >= first_right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((" " * indent + "  ".join(cells)).rstrip())
    return "\n".join(lines)
