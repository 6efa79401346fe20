"""A table for a page: plain HTML that becomes a list on the phone, and text where HTML is not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tigerdiff.checks import whole_number
from tigerdiff.notebook.pictures import Shown, figure_html

# A column of these, and of empty cells, is aligned at the right: 1,000, −0.3, 12 %, 15.9 ± 0.5.
NUMBER = re.compile(r"|[-−+]?\d[\d.,]*(e[-+]?\d+)?(\s?%|\s?±\s?[\d.,]+)?")


def table(
    rows: Sequence[Mapping[str, Any]], *, caption: str | None = None, digits: int = 3
) -> Shown:
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
    whole_number("digits", digits, 1)
    mappings = isinstance(rows, Sequence) and all(isinstance(row, Mapping) for row in rows)
    if not mappings or not rows or not rows[0] or any(list(row) != list(rows[0]) for row in rows):
        raise ValueError("rows must be mappings with the same columns, and at least one")
    names = list(rows[0])
    cells = [[_cell(row[name], digits) for name in names] for row in rows]
    numeric = [any(column) and all(map(NUMBER.fullmatch, column)) for column in zip(*cells)]
    return Shown(_html(names, cells, numeric, caption), _text(names, cells, numeric, caption))


def _text(
    names: list[str], cells: list[list[str]], numeric: list[bool], caption: str | None
) -> str:
    columns = []
    for column, number in zip(zip(names, *cells), numeric):
        width = max(map(len, column))
        columns.append([text.rjust(width) if number else text.ljust(width) for text in column])
    lines = [caption] if caption else []
    lines += ["  ".join(line) for line in zip(*columns)]
    return "\n".join(line.rstrip() for line in lines)


def _html(
    names: list[str], cells: list[list[str]], numeric: list[bool], caption: str | None
) -> str:
    kinds = [' class="tigerdiff-number"' * number for number in numeric]
    columns = [escape(name) for name in names]
    heads = [f'<th scope="col"{kind}>{name}</th>' for name, kind in zip(columns, kinds)]
    rows = [f"<thead><tr>{''.join(heads)}</tr></thead><tbody>"]
    for row in cells:
        texts = list(zip(map(escape, row), columns, kinds))
        first = f'<th scope="row"{kinds[0]}>{texts[0][0]}</th>'
        others = [f'<td{kind} data-column="{name}">{x}</td>' for x, name, kind in texts[1:]]
        rows.append(f"<tr>{first}{''.join(others)}</tr>")
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    body = f"<table>{above}{''.join(rows)}</tbody></table>"
    return figure_html(f'<div class="tigerdiff-table">{body}</div>')


def _cell(value: Any, digits: int) -> str:
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}g}"
