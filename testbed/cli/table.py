"""Plain text tables of at most 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

WIDTH = 100
_GAP = 2
#: No column is made narrower than this to let the others fit.
_NARROWEST = 12


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; where that is too much, the widest ones are wrapped."""
    cells = [list(head), *[list(row) for row in rows]]
    widths = _fitting([max(len(row[i]) for row in cells) for i in range(len(head))])
    return "\n".join(line for row in cells for line in _lines(row, widths))


def _fitting(widths: list[int]) -> list[int]:
    """Take columns from the widest until the table fits."""
    room = WIDTH - _GAP * (len(widths) - 1)
    while sum(widths) > room:
        widest = max(range(len(widths)), key=lambda i: widths[i])
        if widths[widest] <= _NARROWEST:
            break
        widths[widest] -= 1
    return widths


def _lines(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    wrapped = [
        textwrap.wrap(cell, width, break_on_hyphens=False) or [""]
        for cell, width in zip(row, widths, strict=True)
    ]
    height = max(len(cell) for cell in wrapped)
    return [
        (" " * _GAP)
        .join(
            (cell[i] if i < len(cell) else "").ljust(width)
            for cell, width in zip(wrapped, widths, strict=True)
        )
        .rstrip()
        for i in range(height)
    ]
