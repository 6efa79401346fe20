"""Tables that lie beside pictures: metadata.csv, and the attributes and words in it."""

import csv
import io
import logging
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

NUMBER = re.compile(r"[-+]?(\d+[.,]?\d*|[.,]\d+|inf(inity)?)(e[-+]?\d+)?|nan", re.IGNORECASE)
WORDS = range(2, 51)  # how many different ones make a column of metadata.csv an attribute


logger = logging.getLogger(__name__)
composed = partial(unicodedata.normalize, "NFC")  # a Mac stores accents apart from their letters


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
    text = read_text(path)
    # In some languages spreadsheets write semicolons.
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in table:
            yield table.line_num, row
    except csv.Error as error:
        raise ValueError(f"{path} is no table: save it anew as CSV ({error})") from error


def described_pictures(folder: Path) -> dict[str, dict[str, str]]:
    """Return the rows of a folder's metadata.csv by the file that each names; the last one counts.

    Names are in Unicode's composed form, and cells without spaces around them. Raise ValueError if
    there is no table, or no column file_name in it.
    """
    path = folder / "metadata.csv"
    rows = [
        {composed(x.strip()): composed((cell or "").strip()) for x, cell in row.items() if x}
        for _, row in table_rows(path)
    ]
    known = {row["file_name"]: row for row in rows if row.get("file_name")}
    if not known:
        need = "conditional needs such a table, with a column file_name and others like fur"
        first = read_text(path).partition("\n")[0]
        raise ValueError(f"{path}: {need} (its first line is {first!r})")
    return known


def read_classes(folder: Path) -> dict[str, list[str]]:
    """Return the attributes in a folder's metadata.csv: columns with 2 to 50 different words.

    The columns file_name and text are none, nor are columns with a number; an empty cell is no
    word. Raise ValueError if there is no table, or no such column in it.
    """
    columns: dict[str, set[str]] = {}
    for name, word in (cell for row in described_pictures(folder).values() for cell in row.items()):
        if name not in ("file_name", "text"):
            columns.setdefault(name, set()).update([word] if word else [])
    classes = {
        name: sorted(words)
        for name, words in columns.items()
        if len(words) in WORDS and not any(map(NUMBER.fullmatch, words))
    }
    others = [name for name, words in columns.items() if words and name not in classes]
    found = ", ".join(f"{name} ({len(columns[name])} different)" for name in others)
    rule = f"{WORDS[0]} to {WORDS[-1]} different words, none of them a number"
    if not classes:
        raise ValueError(f"conditional needs a column of {rule}: {folder} has {found or 'none'}")
    if found:
        logger.info("columns left out: %s, as they have not %s", found, rule)
    return classes


def read_labels(folder: Path, classes: Mapping[str, Sequence[str]], names: Sequence[str]) -> Tensor:
    """Return the labels of the named pictures of a folder, int64 (N, A), and log what was found.

    -1 is where the table has no row for a picture, or an empty cell. Raise ValueError if it
    names none of the pictures.
    """
    path, known = folder / "metadata.csv", described_pictures(folder)
    rows = [known.get(composed(file), {}) for file in names]
    if not any(rows):
        named = f"the table has {next(iter(known))}, the folder {names[0]}"
        raise ValueError(f"{path} names no picture that is in {folder}: {named}")
    labels = [
        [list(words).index(row[name]) if row.get(name) in words else -1 for row in rows]
        for name, words in classes.items()
    ]
    for (name, words), found in zip(classes.items(), labels):
        counts = ", ".join(f"{word} {found.count(i)}" for i, word in enumerate(words))
        logger.info("%s: %s, left open %d", name, counts, found.count(-1))
    if missing := sum(not row for row in rows):
        logger.warning("%s has no row for %d of %d pictures", path, missing, len(rows))
    if unused := sorted(known.keys() - set(map(composed, names))):
        logger.warning("%s names %d more that are not used: %s ...", path, len(unused), unused[0])
    return torch.tensor(labels).T
