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
        digits: significant digits of a float. A column shows all its floats with the same number of
            decimals, unless they differ too much in size.

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
    columns = [_column([row[name] for row in rows], digits) for name in names]
    cells = [list(row) for row in zip(*columns)]
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


def _column(values: list[Any], digits: int) -> list[str]:
    values = [value.item() if hasattr(value, "item") else value for value in values]
    floats = [x for x in values if isinstance(x, float)]
    shortest = [f"{x:.{digits}g}" for x in floats]
    decimals = max((len(text.partition(".")[2]) for text in shortest), default=0)
    whole = max((len(text.lstrip("-").partition(".")[0]) for text in shortest), default=0)
    if any("e" in text for text in shortest) or whole + decimals > digits + 2:
        form = f"#,.{digits}g"  # from large to tiny: significant digits, zeros too
    else:
        form = f",.{decimals}f"
    return [_cell(x, form if floats else ",") for x in values]


def _cell(value: Any, form: str) -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return format(value, form).rstrip(".") if number else str(value)
