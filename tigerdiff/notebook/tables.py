"""A table for a page: plain HTML that becomes a list on the phone, and text where HTML is not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tigerdiff.notebook.pictures import figure_html

# A column of these, and of empty cells, is aligned at the right: 1,000, −0.3, 12 %, 15.9 ± 0.5.
NUMBER = re.compile(r"|[-−+]?\d[\d.,]*(e[-+]?\d+)?(\s?%|\s?±\s?[\d.,]+)?")


def table(
    rows: Sequence[Mapping[str, Any]], *, caption: str | None = None, digits: int = 3
) -> Table:
    """Show rows of values; the first column names the row.

    Args:
        rows: such as ``[{"sampler": "DDPM", "steps": 1000, "distance": 15.9}, ...]``, the same
            columns in each row; a value is a text or a number. Columns of numbers are aligned at
            the right, also if they are texts ("15.9 ± 0.5").
        caption: a sentence above the table.
        digits: significant digits of a float.

    Returns:
        An object that the notebook shows; ``str`` of it is the table as text.

    Raises:
        ValueError: if there is no row, or the rows have different columns.
    """
    if not rows or not rows[0] or any(list(row) != list(rows[0]) for row in rows):
        raise ValueError("rows must be mappings with the same columns, and at least one")
    return Table(list(rows), caption, digits)


class Table:
    """What `table` returns."""

    def __init__(self, rows: list[Mapping[str, Any]], caption: str | None, digits: int) -> None:
        self._columns, self._caption = list(rows[0]), caption
        self._cells = [[_cell(row[name], digits) for name in self._columns] for row in rows]
        columns = zip(*self._cells)
        self._numeric = [any(column) and all(map(NUMBER.fullmatch, column)) for column in columns]

    def __str__(self) -> str:
        columns = []
        for column, number in zip(zip(self._columns, *self._cells), self._numeric):
            width = max(map(len, column))
            columns.append([text.rjust(width) if number else text.ljust(width) for text in column])
        lines = [self._caption] if self._caption else []
        lines += ["  ".join(line) for line in zip(*columns)]
        return "\n".join(line.rstrip() for line in lines)

    __repr__ = __str__

    def _html(self) -> str:
        kinds = [' class="tigerdiff-number"' * number for number in self._numeric]
        columns = [escape(name) for name in self._columns]
        heads = [f'<th scope="col"{kind}>{name}</th>' for name, kind in zip(columns, kinds)]
        head, body = "".join(heads), ""
        for row in self._cells:
            cells = list(zip(map(escape, row), columns, kinds))
            first = f'<th scope="row"{kinds[0]}>{cells[0][0]}</th>'
            others = [f'<td{kind} data-column="{name}">{x}</td>' for x, name, kind in cells[1:]]
            body += f"<tr>{first}{''.join(others)}</tr>"
        caption = f"<caption>{escape(self._caption)}</caption>" if self._caption else ""
        return figure_html(
            f'<div class="tigerdiff-table"><table>{caption}<thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {"text/html": self._html(), "text/plain": str(self)}


def _cell(value: Any, digits: int) -> str:
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}g}"
