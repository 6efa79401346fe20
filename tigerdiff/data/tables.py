"""Tables that lie beside pictures: metadata.csv, and the attributes and words in it."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

WORDS = range(2, 51)  # how many different ones make a column of metadata.csv an attribute


def read_text(path: Path) -> str:
    """Return a table's text, empty without a file; raise ValueError if it is not in UTF-8."""
    try:  # spreadsheets write a byte order mark, hence -sig
        return path.read_text(encoding="utf-8-sig") if path.exists() else ""
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not in UTF-8: save it anew in that encoding") from error


def table_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a CSV file with the numbers of their lines; none without a file.

    Raise ValueError if it is not in UTF-8, or is no table.
    """
    table = csv.DictReader(io.StringIO(read_text(path), newline=""))
    try:
        for row in table:
            yield table.line_num, row
    except csv.Error as error:
        raise ValueError(f"{path} is no table: save it anew as CSV ({error})") from error


def described_pictures(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a folder's metadata.csv that name a file; none if there is no table."""
    return [row for _, row in table_rows(folder / "metadata.csv") if row.get("file_name")]


def read_classes(folder: Path) -> dict[str, list[str]]:
    """Return the attributes in a folder's metadata.csv: columns with 2 to 50 different words.

    The columns file_name and text are none, nor are columns of numbers; an empty cell is no word.
    Raise ValueError if there is no table, or no such column in it.
    """
    rows = described_pictures(folder)
    classes = {}
    for name in rows[0] if rows else ():
        if name not in ("file_name", "text", "", None):
            words = sorted({row[name] for row in rows} - {"", None})
            if len(words) in WORDS and not any(map(is_number, words)):
                classes[name] = words
    if not classes:
        raise ValueError(
            f"conditional needs a table {folder / 'metadata.csv'} with a column file_name and a "
            f"column of {WORDS[0]} to {WORDS[-1]} different words, such as fur: there is none"
        )
    return classes


def is_number(word: str) -> bool:
    """Say whether a word is a number."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def read_labels(folder: Path, classes: Mapping[str, Sequence[str]], names: Sequence[str]) -> Tensor:
    """Return the labels of the named pictures of a folder, int64 (N, A).

    -1 is where the table has no row for a picture, or an empty cell. Raise ValueError if it
    names none of the pictures.
    """
    known = {row["file_name"]: row for row in described_pictures(folder)}
    if not known.keys() & set(names):
        raise ValueError(f"{folder / 'metadata.csv'} names no picture that is in {folder}")
    rows = [known.get(file, {}) for file in names]
    labels = [
        [list(words).index(row[name]) if row.get(name) in words else -1 for row in rows]
        for name, words in classes.items()
    ]
    return torch.tensor(labels).T
