"""Painted tigers as data: batches without end, and folders of pictures with their captions."""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from tigerdiff.checks import check_kind, check_path, whole_number
from tigerdiff.data import files
from tigerdiff.data.batches import check_place
from tigerdiff.data.tables import read_text, table_rows
from tigerdiff.data.tensors import to_float
from tigerdiff.devices import find_device
from tigerdiff.tigers.captions import caption
from tigerdiff.tigers.paint import paint, procedural_tigers
from tigerdiff.tigers.tiger import CHOICES, Tiger, series

ATTRIBUTES: dict[str, Any] = {field.name: field.type for field in fields(Tiger)}
# metadata.csv is where Hugging Face datasets look, captions.csv is for people and other programs.
COLUMNS = {
    "metadata.csv": ("file_name", "text", *ATTRIBUTES),
    "captions.csv": ("file_name", "text"),
}
OWN_PART = re.compile(r"(tiger-\d+\.png|metadata\.csv|captions\.csv)\.[0-9a-f]+\.part")
PIXELS = 2**20  # at a time: what rendering holds in memory, and what an interrupt loses
AT_ONCE = {"cuda": 1024}  # tigers of a stream that keep a GPU busy; elsewhere the CPU paints


def painted_batches(
    size: int,
    batch_size: int,
    *,
    seed: int = 0,
    start: int = 0,
    rank: int = 0,
    world_size: int = 1,
    device: torch.device | str = "cpu",
    attributes: Sequence[str] = (),
) -> Iterator[Any]:
    """Yield batches of new tigers without end; batch k is a pure function of the arguments and k.

    The stream is tigers 0, 1, 2 ... of :func:`.procedural_tigers`, each seen once: there
    are no epochs, and nothing is mirrored, so that captions with left and right stay true.

    Args:
        size: height and width in pixels, 16 ... 1024.
        batch_size: tigers per batch and process.
        seed: of the tigers, 0 ... 2**31 - 1.
        start: the first batch to yield.
        rank: number of this process.
        world_size: number of processes.
        device: where they are painted.
        attributes: such as ``("fur", "mouth")``, whose words then come with the tigers.

    Returns:
        an endless iterator of float32 ``(batch_size, 3, size, size)`` in [-1, 1]; with
        ``attributes``, pairs of these and int64 ``(batch_size, len(attributes))``, the words as
        indices into ``tigerdiff.tigers.tiger.CHOICES``.

    Raises:
        ValueError: an argument is out of range (at the call, not at the first batch).
    """
    check_painted("size", size, seed)
    check_place(batch_size, seed, start, rank, world_size)
    check_kind("attributes", attributes, list, tuple)
    if unknown := set(attributes) - set(CHOICES):
        raise ValueError(f"attributes must be of {', '.join(CHOICES)} (got {unknown.pop()!r})")
    device = find_device(device)
    together = max(1, AT_ONCE.get(device.type, 1) // batch_size)

    def painted(first: int) -> Iterator[Any]:
        places = [(k * world_size + rank) * batch_size for k in range(first, first + together)]
        tigers = [t for at in places for t in series(batch_size, seed, start=at)]
        x = map(to_float, paint(tigers, size, device).split(batch_size))
        if not attributes:
            return x
        words = [[CHOICES[name].index(getattr(t, name)) for name in attributes] for t in tigers]
        return zip(x, torch.tensor(words, device=device).split(batch_size))

    return itertools.chain.from_iterable(map(painted, itertools.count(start, together)))


def render_folder(
    out: str | os.PathLike[str],
    n: int,
    size: int = 128,
    seed: int = 0,
    *,
    resume: bool = False,
    progress: bool = True,
) -> None:
    """Write tigers 0 ... n - 1 of a seed into a folder, as PNGs with their captions.

    ``captions.csv`` (``file_name``, ``text``) and ``metadata.csv``, which has each attribute too,
    are written beside the pictures, for :func:`read_tigers` and Hugging Face's
    ``load_dataset("imagefolder", data_dir=out)``. At every moment each row of the tables has its
    picture: a rendering that was interrupted is sound and can be resumed.

    Args:
        out: a new or empty folder.
        n: number of tigers.
        size: their height and width in pixels, 16 ... 1024.
        seed: the same seed gives the same tigers, 0 ... 2**31 - 1.
        resume: continue what an earlier call with this size and seed has left in ``out``.
        progress: show a progress bar.

    Raises:
        ValueError: an argument is out of range, or what ``out`` holds are not the tigers asked for.
        FileExistsError: ``out`` holds files already, and ``resume`` is not set.
        NotADirectoryError: ``out`` is a file.
    """
    from tqdm.auto import tqdm

    check_painted("size", size, seed)
    whole_number("n", n, 1)
    root = check_path("out", out)
    kept = _kept_lines(root, size, seed, resume)
    done = len(kept["metadata.csv"]) - 1
    chunk = max(1, PIXELS // size**2)
    for name, whole in kept.items():
        with files.replacing(root / name) as part:
            part.write_text("".join(whole), encoding="utf-8", newline="\n")
    with tqdm(total=n, initial=min(n, done), unit="tiger", disable=not progress) as bar:
        for first in range(done, n, chunk):
            images, tigers = procedural_tigers(min(chunk, n - first), size, seed, start=first)
            lines = [_lines(i, tiger) for i, tiger in enumerate(tigers, first)]
            for i, image in enumerate(images, first):
                with files.replacing(root / _name(i)) as part:
                    Image.fromarray(image.permute(1, 2, 0).numpy()).save(part, "PNG")
            for name in COLUMNS:  # after the pictures that they describe
                with (root / name).open("a", encoding="utf-8", newline="") as table:
                    table.writelines(line[name] for line in lines)
            bar.update(len(tigers))


def read_tigers(folder: str | os.PathLike[str]) -> dict[str, Tiger]:
    """Read the tigers that a folder's ``metadata.csv`` describes, by file name.

    Args:
        folder: one that :func:`render_folder` has written, or any with such a table.

    Returns:
        The tigers, in the table's order; none if there is no table, or none with such columns.

    Raises:
        ValueError: a row is damaged or cut, or the table is not in UTF-8; the sentence says which.
    """
    path = check_path("folder", folder) / "metadata.csv"
    tigers = {}
    for line, row in table_rows(path):
        if not {"file_name", *ATTRIBUTES} <= row.keys():
            return {}
        try:
            values = {name: kind(row[name]) for name, kind in ATTRIBUTES.items()}
            tigers[row["file_name"]] = Tiger(**values)
        except (TypeError, ValueError) as error:
            raise ValueError(f"line {line} of {path} is damaged: {error}") from error
    # Without its end a last line may be whole, or cut in its last number, which nothing shows but
    # that the tigers of a seed have one number twice.
    endless = tigers and not read_text(path).endswith("\n")
    if endless and row["stripes"] != row["scene"] and row["stripes"].startswith(row["scene"]):
        remedy = "add a newline if it is whole, or go on with tigerdiff render --resume"
        raise ValueError(f"the last line of {path} lacks its newline and may be cut: {remedy}")
    return tigers


def check_painted(name: str, size: int, seed: int) -> None:
    """Raise ValueError unless there are painted tigers of this seed and size, called `name`."""
    if not whole_number("seed", seed, 0) < 2**31:
        raise ValueError(f"seed must be 0 ... 2**31 - 1 for painted tigers (got {seed})")
    if not 16 <= whole_number(name, size, 1) <= 1024:
        raise ValueError(f"{name} must be 16 ... 1024 for painted tigers (got {size})")


def _kept_lines(root: Path, size: int, seed: int, resume: bool) -> dict[str, list[str]]:
    """Return the lines of each table that stay, with its header, and make the folder."""
    if root.exists() and not root.is_dir():
        raise NotADirectoryError(f"out must be a folder, and {root} is a file: choose another out")
    root.mkdir(parents=True, exist_ok=True)
    headers = {name: _line(columns) for name, columns in COLUMNS.items()}
    for left_over in root.glob("*.part"):
        if OWN_PART.fullmatch(left_over.name):  # of a kill
            left_over.unlink()
    if all(files.is_litter(path.name) for path in root.iterdir()):
        return {name: [header] for name, header in headers.items()}
    if not resume:
        remedy = "choose another out, or add to the tigers in it with --resume (resume=True)"
        raise FileExistsError(f"{root} is not empty: {remedy}")
    there = {  # without a last line that a kill has cut
        name: [f"{line}\n" for line in read_text(root / name).split("\n")[:-1]]
        for name in COLUMNS
        if (root / name).exists()
    }
    if not there or any(lines[:1] != [headers[name]] for name, lines in there.items()):
        raise ValueError(f"{root} holds no tigers that could be added to: choose another out")
    lines = {name: there.get(name, [header]) for name, header in headers.items()}
    listed = min(map(len, lines.values())) - 1  # in all the tables
    done = next((i for i in range(listed) if not (root / _name(i)).exists()), listed)
    last = max(done, 1) - 1  # to compare: the last that stays, or the first
    expected = _lines(last, series(1, seed, start=last)[0])
    same = all(lines[name][last + 1 : last + 2] in ([], [expected[name]]) for name in COLUMNS)
    if not same or (done and _picture_size(root / _name(last)) != (size, size)):
        other = "tigers of another size, seed or version of tigerdiff"
        raise ValueError(f"{root} holds {other}: resume with the same, or choose another out")
    return {name: lines[name][: done + 1] for name in COLUMNS}


def _picture_size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as picture:
            return picture.size
    except OSError as error:
        raise ValueError(f"{path} is damaged: delete it, and --resume paints it again") from error


def _name(i: int) -> str:
    return f"tiger-{i:06d}.png"


def _lines(i: int, tiger: Tiger) -> dict[str, str]:
    """Return the line of a tiger in each table."""
    row = {"file_name": _name(i), "text": caption(tiger), **asdict(tiger)}
    return {name: _line(row[column] for column in columns) for name, columns in COLUMNS.items()}


def _line(values: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)  # floats in full
    return text.getvalue()
