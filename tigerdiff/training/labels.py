"""Attributes of photos, from the table metadata.csv that lies beside them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

WORDS = range(2, 51)  # how many different ones make a column of metadata.csv an attribute
NO_ATTRIBUTES = {"file_name", "text"}


def read_classes(folder: Path) -> dict[str, list[str]]:
    """Return the attributes in a folder's metadata.csv: columns with 2 to 50 different words.

    The columns file_name and text are none, nor are columns of numbers; an empty cell is no word.

    Raises:
        ValueError: if there is no table, or no such column in it.
    """
    rows = read_table(folder)
    classes = {}
    for name in rows[0] if rows else ():
        words = sorted({row[name] for row in rows} - {"", None})
        if (
            name
            and name not in NO_ATTRIBUTES
            and len(words) in WORDS
            and not any(map(number, words))
        ):
            classes[name] = words
    if not classes:
        raise ValueError(
            f"conditional needs a table {folder / 'metadata.csv'} with a column file_name and a "
            f"column of {WORDS[0]} to {WORDS[-1]} different words, such as fur: there is none"
        )
    return classes


def read_labels(folder: Path, classes: Mapping[str, Sequence[str]], names: Sequence[str]) -> Tensor:
    """Return the labels of the named pictures of a folder, int64 (N, A).

    -1 stands where the table has no row for a picture, or an empty cell.

    Raises:
        ValueError: if the table names none of the pictures.
    """
    known = {row["file_name"]: row for row in read_table(folder)}
    if not known.keys() & set(names):
        raise ValueError(f"{folder / 'metadata.csv'} names no picture that is in {folder}")
    rows = [known.get(file, {}) for file in names]
    labels = [
        [list(words).index(row[name]) if row.get(name) in words else -1 for row in rows]
        for name, words in classes.items()
    ]
    return torch.tensor(labels).T


def read_table(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a folder's metadata.csv that name a file; none if there is no table.

    Raises:
        ValueError: if it is not in UTF-8.
    """
    path = folder / "metadata.csv"
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [row for row in csv.DictReader(file) if row.get("file_name")]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no table in UTF-8: save it anew as CSV ({error})") from error


def number(word: str) -> bool:
    """Say whether a word is a number."""
    try:
        float(word)
    except ValueError:
        return False
    return True
