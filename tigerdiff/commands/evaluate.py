"""What ``tigerdiff evaluate`` does: gather pictures, measure them, and keep what was found."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from tigerdiff.data import files as _files
from tigerdiff.data.painted import read_tigers
from tigerdiff.data.photos import load_folder
from tigerdiff.data.tensors import seeded_generator
from tigerdiff.drawing import sample
from tigerdiff.metrics.distances import (
    frechet_distance,
    judge,
    kernel_distance,
    nearest_neighbours,
    prompt_accuracy,
)
from tigerdiff.pretrained import load as pretrained
from tigerdiff.tigers.paint import procedural_tigers
from tigerdiff.tigers.tiger import CHOICES, Tiger
from tigerdiff.training import checkpoints as runs

FEWEST = 20  # pictures, as the kernel distance needs
PIXELS = 2**18  # drawn at a time
LARGEST = 256  # pixels of photos; the judge looks at 64
REFERENCE_SEED = 2_000_000_000  # far from what anyone trains with; the floor takes the next one
COPY = 0.5  # a nearest neighbour's score below which a picture counts as a copy; new ones have 1


class Pictures(NamedTuple):
    """Pictures uint8 (N, 3, S, S), in words where they are from, and their attributes if known."""

    images: Tensor
    source: str
    tigers: list[Tiger] | None = None

    def part(self, places: slice) -> Pictures:
        """Some of them."""
        return Pictures(self.images[places], self.source, self.tigers and self.tigers[places])


def evaluate(
    pictures: Pictures, reference: Pictures, floor: Pictures | None, training: Pictures | None
) -> dict[str, Any]:
    """Measures pictures against a reference, and beside them the floor, which is as real as that.

    Args:
        pictures: the ones in question, at least 20.
        reference: as many real ones.
        floor: as many other real ones, which show how small a distance can be, or None.
        training: those that a model was trained on, or None for the reference.

    Returns:
        What :func:`table` prints, ready for JSON.

    Raises:
        ValueError: there are too few pictures.
    """
    for x in (pictures, reference):
        _check_enough(x)
    known = training or reference
    sets = {"pictures": pictures} | ({"floor": floor} if floor else {})
    results: dict[str, Any] = {
        "sources": {name: _described(x) for name, x in sets.items()}
        | {"reference": _described(reference), "nearest_among": _described(known)}
    }
    for name, x in sets.items():
        distance, error = kernel_distance(x.images, reference.images)
        score = nearest_neighbours(x.images, known.images).score
        read = judge(x.images)
        results[name] = {
            "frechet_distance": frechet_distance(x.images, reference.images),
            "kernel_distance": {"distance": distance, "standard_error": error},
            "nearest_neighbours": {
                "median_score": score.median().item(),
                "copies": (score < COPY).double().mean().item(),
            },
            "shares": {
                name: dict(zip(words, _shares(read[name]), strict=True))
                for name, words in CHOICES.items()
            },
            "prompt_accuracy": prompt_accuracy(x.images, x.tigers) if x.tigers else None,
        }
    return results


def painted_pictures(n: int, size: int, seed: int) -> Pictures:
    """The first n painted tigers of a seed."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images, tigers = procedural_tigers(n, size, seed, device)
    return Pictures(images.cpu(), f"painted tigers of seed {seed}", tigers)


def folder_pictures(folder: Path, n: int | None, seed: int, size: int | None = None) -> Pictures:
    """The pictures of a folder, or n of them that the seed chooses, with what its table tells.

    Raises:
        ValueError: its metadata.csv has attributes, but not those of every picture.
        FileNotFoundError, NotADirectoryError: as :func:`tigerdiff.load_folder`.
    """
    names = list(_files.find_pictures(folder.expanduser())[0])
    images = load_folder(folder, size or _size(folder.expanduser() / name for name in names))
    told = read_tigers(folder)
    if told and not (len(names) == len(images) and told.keys() >= set(names)):
        raise ValueError(
            f"{folder}/metadata.csv does not tell of every picture in {folder}: take away the "
            "others, or the table"
        )
    tigers = [told[name] for name in names] if told else None
    chosen = torch.randperm(len(images), generator=seeded_generator(seed))[:n].sort().values
    few = [tigers[i] for i in chosen.tolist()] if tigers else None
    return Pictures(images[chosen], str(folder), few)


def reference_pictures(source: str, like: Tensor, seed: int) -> tuple[Pictures, Pictures | None]:
    """As many real pictures as ``like`` has, and as many others for the floor where there are."""
    n, size = len(like), like.shape[-1]
    if source == "painted":
        first, second = (painted_pictures(n, size, REFERENCE_SEED + i) for i in range(2))
        return first, second
    both = folder_pictures(Path(source), 2 * n, seed, size)
    if len(both.images) < 2 * n:
        return both.part(slice(n)), None
    return both.part(slice(0, None, 2)), both.part(slice(1, None, 2))


def drawn_pictures(checkpoint: Path, sampler: str, steps: int, n: int, seed: int) -> Pictures:
    """N pictures by the network of a run's or an exported folder, a heap at a time."""
    folder = pretrained.find_pretrained(checkpoint)
    model, schedule = pretrained.load_pretrained(folder)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    size: Any = model.config["size"]
    heap = max(1, PIXELS // size**2)
    how: dict[str, Any] = {"size": size, "sampler": sampler, "steps": steps}
    parts = []
    with tqdm(total=n, desc="drawing", unit="image") as bar:
        for first in range(0, n, heap):
            own = seeded_generator(seed, first).initial_seed()
            parts.append(sample(model, schedule, min(heap, n - first), seed=own, **how))
            bar.update(len(parts[-1]))
    source = folder.name if folder.parent == pretrained.WEIGHTS else folder
    return Pictures(torch.cat(parts), f"{source}, {sampler} with {steps} steps")


def check_reference(source: str, checkpoint: Path | None) -> None:
    """Nothing, if there is such a reference for what a checkpoint draws, if that is given.

    Raises:
        NotADirectoryError: it is no folder.
        ValueError: it has too few pictures, or the network draws smaller ones than are painted.
    """
    if source != "painted" and not Path(source).expanduser().is_dir():
        raise NotADirectoryError(f"--reference must be 'painted' or a folder, and {source} is none")
    if checkpoint is None:
        return
    size: Any = pretrained.load_pretrained(checkpoint)[0].config["size"]
    if source != "painted":
        _check_enough(folder_pictures(Path(source), None, 0, size))
    elif size < 16:
        raise ValueError(
            f"{checkpoint} draws {size} x {size} pixels and tigers are painted from 16 on: "
            "compare with a folder, --reference DIR"
        )


def training_pictures(checkpoint: Path, n: int) -> Pictures | None:
    """Up to n of those that a network was trained on, or None where they are not found.

    Painted tigers are painted again, as the card says. Photos are looked for if it is a run's
    folder; the path in a card would be one of another machine.
    """
    folder = pretrained.find_pretrained(checkpoint)
    card, size = pretrained.read_card(folder), pretrained.read_config(folder)["network"]["size"]
    seed, seen = card.get("seed"), card.get("images")
    if card.get("data") == "painted" and isinstance(seed, int) and isinstance(seen, int):
        some = painted_pictures(max(2, min(n, seen)), size, seed)
        if len(some.images) < seen:
            first = f"the first {len(some.images)} of {seen}"
            some = some._replace(source=f"{first} {some.source}")
        return _and_mirrored(some) if card.get("mirrored") else some
    if pretrained.is_exported(folder):
        return None
    config = runs.read_state(folder)["config"]
    try:
        photos = folder_pictures(Path(config["data"]), n, config["seed"], size)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _and_mirrored(photos)


def _and_mirrored(pictures: Pictures) -> Pictures:
    """The pictures and their mirror images, as a network has seen them that is trained on a set."""
    both = torch.cat([pictures.images, pictures.images.flip(-1)])
    return pictures._replace(images=both, source=f"{pictures.source}, mirrored too", tigers=None)


def provenance(command: str, seed: int) -> dict[str, Any]:
    """How to get the results again, and on what they were had."""
    cuda = torch.cuda.is_available()
    return {
        "command": command,
        "seed": seed,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "hardware": torch.cuda.get_device_name() if cuda else f"CPU, {os.cpu_count()} cores",
        "machine": platform.machine(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("tigerdiff", "torch", "numpy")},
        },
    }


def check_out(out: Path, command: str) -> None:
    """Nothing, if results may be written there: over nothing, or over those of the same command.

    Raises:
        FileExistsError: there is something else.
        NotADirectoryError, PermissionError: its folder cannot be one, or cannot be written to.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(f"{out.parent} is no folder: choose another --out") from None
    if not os.access(out.parent, os.W_OK):
        raise PermissionError(f"{out.parent} cannot be written to: choose another --out")
    if not out.exists():
        return
    try:
        same = json.loads(out.read_text(encoding="utf-8"))["command"] == command
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise FileExistsError(f"{out} exists and is not of this command: choose another --out")


def write(results: dict[str, Any], out: Path) -> None:
    """Writes results as JSON, whole or not at all."""
    with _files.replacing(out) as part:
        part.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def table(results: dict[str, Any]) -> str:
    """The results for people."""
    columns = [name for name in ("pictures", "floor") if name in results]
    sources = [f"{name.replace('_', ' ')}: {text}" for name, text in results["sources"].items()]
    lines = [*sources, "", " " * 26 + "".join(f"{name:>10}" for name in columns)]

    def row(title: str, form: str, *path: str) -> None:
        cells = []
        for name in columns:
            value = functools.reduce(lambda at, key: at and at[key], path, results[name])
            cells.append("" if value is None else format(value, form))
        lines.append(f"{title:26}" + "".join(f"{cell:>10}" for cell in cells))

    row("Frechet distance", ".3f", "frechet_distance")
    row("kernel distance", ".4f", "kernel_distance", "distance")
    row("  standard error", ".4f", "kernel_distance", "standard_error")
    row("score of nearest neighbour", ".2f", "nearest_neighbours", "median_score")
    row("  copies", ".1%", "nearest_neighbours", "copies")
    for name in results["pictures"]["prompt_accuracy"] or ():
        row(f"{name} as asked", ".1%", "prompt_accuracy", name)
    lines += ["", "What is in them: " + " / ".join(columns)]
    for name, words in CHOICES.items():
        shares = [[results[column]["shares"][name][word] for column in columns] for word in words]
        told = (" / ".join(f"{share:.0%}" for share in each) for each in shares)
        lines.append(f"{name:10}" + ", ".join(f"{w} {t}" for w, t in zip(words, told, strict=True)))
    return "\n".join(lines)


def _size(paths: Iterable[Path]) -> int:
    """The short side of the first of these pictures that can be opened."""
    for path in paths:
        unusable = contextlib.suppress(OSError, ValueError, Image.DecompressionBombError)
        with unusable, Image.open(path) as picture:
            return max(16, min(*picture.size, LARGEST))
    return LARGEST


def _check_enough(pictures: Pictures) -> None:
    if (n := len(pictures.images)) < FEWEST:
        raise ValueError(
            f"{pictures.source} gives {n} pictures: a distance takes at least {FEWEST}"
        )


def _shares(probabilities: Tensor) -> list[float]:
    """How often each word is the likeliest."""
    counts = torch.bincount(probabilities.argmax(1), minlength=probabilities.shape[1])
    return (counts.double() / len(probabilities)).tolist()


def _described(pictures: Pictures) -> str:
    n, _, height, width = pictures.images.shape
    return f"{pictures.source}: {n} of {height} x {width} pixels"
