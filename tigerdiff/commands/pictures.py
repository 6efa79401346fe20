"""The pictures that ``tigerdiff evaluate`` compares: given, drawn, painted or trained on."""

from __future__ import annotations

import contextlib
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from tigerdiff.checks import check_path
from tigerdiff.commands.options import FEWEST
from tigerdiff.data import files
from tigerdiff.data.painted import read_tigers
from tigerdiff.data.photos import read_folder
from tigerdiff.data.tensors import seeded_generator
from tigerdiff.drawing import sample
from tigerdiff.pretrained import load as pretrained
from tigerdiff.tigers.paint import procedural_tigers
from tigerdiff.tigers.tiger import Tiger
from tigerdiff.training import checkpoints as runs
from tigerdiff.training.examples import content_of

LARGEST = 256  # pixels of photos; the judge looks at 64
REFERENCE_SEED = 2_000_000_000  # far from the seeds of training; the floor takes the next one


class Pictures(NamedTuple):
    """Pictures uint8 (N, 3, S, S), their source in words, and their attributes if known."""

    images: Tensor
    source: str
    tigers: list[Tiger] | None = None

    def part(self, places: slice | Tensor) -> Pictures:
        """Return the pictures at these places."""
        chosen = torch.arange(len(self.images))[places].tolist()
        tigers = [self.tigers[i] for i in chosen] if self.tigers else None
        return Pictures(self.images[chosen], self.source, tigers)

    def some(self, n: int | None, seed: int) -> Pictures:
        """Return n pictures that the seed chooses, or all, in their order."""
        order = torch.randperm(len(self.images), generator=seeded_generator(seed))
        return self.part(order[:n].sort().values)

    def distinct(self) -> Pictures:
        """Return the pictures without those that equal an earlier one to the last bit."""
        first = {image.numpy().tobytes(): i for i, image in reversed([*enumerate(self.images)])}
        return self.part(torch.tensor(sorted(first.values())))

    def with_mirrored(self) -> Pictures:
        """Return the pictures and their mirror images: a network in training sees both."""
        both = torch.cat([self.images, self.images.flip(-1)])
        return Pictures(both, f"{self.source}, mirrored too")


def painted_pictures(n: int, size: int, seed: int, device: str = "cpu") -> Pictures:
    """Return the first n painted tigers of a seed."""
    images, tigers = procedural_tigers(n, size, seed, device)
    return Pictures(images.cpu(), f"painted tigers of seed {seed}", tigers)


def folder_pictures(folder: Path, n: int | None, seed: int, size: int | None = None) -> Pictures:
    """Return the pictures of a folder, or n that the seed chooses, with what its table says.

    Raise ValueError if its metadata.csv has attributes, but not those of every picture.
    """
    sides = {} if size else short_sides(folder)
    usual = statistics.median_low(sides.values() or [LARGEST])
    images, names = read_folder(folder, size or max(16, min(usual, LARGEST)))
    if odd := [name for name in names if sides.get(name, usual) < min(usual, LARGEST) / 2]:
        files.logger.warning(
            "left out %s: the other pictures in %s have %d pixels", ", ".join(odd), folder, usual
        )
        images = images[[i for i, name in enumerate(names) if name not in odd]]
        names = [name for name in names if name not in odd]
    known = read_tigers(folder)
    if known and (missing := [name for name in names if name not in known]):
        what = f"has no row for {len(missing)} of the pictures, such as {missing[0]}"
        raise ValueError(f"{folder}/metadata.csv {what}: move these, or the table, elsewhere")
    tigers = [known[name] for name in names] if known else None
    return Pictures(images, str(folder), tigers).some(n, seed)


def short_sides(folder: Path) -> dict[str, int]:
    """Return the short side of each picture in a folder that can be opened, in pixels."""
    sides = {}
    for name in files.find_pictures(folder)[0] if folder.is_dir() else ():
        unusable = contextlib.suppress(OSError, ValueError, Image.DecompressionBombError)
        with unusable, Image.open(folder / name, formats=files.FORMATS) as picture:
            sides[name] = min(picture.size)
    return sides


def reference_pictures(
    source: str, like: Tensor, seed: int, device: str = "cpu"
) -> tuple[Pictures, Pictures | None]:
    """Return as many real pictures as ``like`` has, and as many others for the floor, or None."""
    n, size = len(like), like.shape[-1]
    if source == "painted":
        first, second = (painted_pictures(n, size, REFERENCE_SEED + i, device) for i in range(2))
        return first, second
    both = folder_pictures(check_path("--reference", source), 2 * n, seed, size)
    if len(both.images) < 2 * n:
        return both.some(n, seed), None
    return both.part(slice(0, None, 2)), both.part(slice(1, None, 2))


def drawn_pictures(
    folder: Path, sampler: str, steps: int, n: int, seed: int, device: str = "cpu"
) -> Pictures:
    """Return n pictures drawn by the network of a checkpoint or an exported folder."""
    model, schedule = pretrained.load_pretrained(folder)
    size: Any = model.config["size"]
    images = sample(
        model.to(device), schedule, n, size=size, sampler=sampler, steps=steps, seed=seed
    )
    source = folder.name if folder.parent == pretrained.WEIGHTS else folder
    return Pictures(images, f"{source}, {sampler} with {steps} steps")


def training_pictures(folder: Path, n: int, device: str = "cpu") -> Pictures | None:
    """Return up to n that a network was trained on, or None where they are not found.

    Painted tigers are painted again, as the card says. Photos are looked for if it is a run's
    folder, and must be those of the run; the path in a card would be one of another machine.
    """
    folder = pretrained.find_pretrained(folder)
    card, size = pretrained.read_card(folder), pretrained.read_config(folder)["network"]["size"]
    seed, seen = card.get("seed"), card.get("images")
    if card.get("data") == "painted" and isinstance(seed, int) and isinstance(seen, int):
        painted = painted_pictures(max(2, min(n, seen)), size, seed, device)
        if len(painted.images) < seen:
            first = f"the first {len(painted.images)} of {seen}"
            painted = painted._replace(source=f"{first} {painted.source}")
        return painted.with_mirrored() if card.get("mirrored") else painted
    if pretrained.is_exported(folder):
        return None
    state = runs.read_state(folder)
    data = Path(state["config"]["data"])
    if not (data.is_absolute() and data.is_dir()):  # an older tigerdiff wrote relative paths
        return None
    try:
        photos = folder_pictures(data, None, 0, size)
    except FileNotFoundError:
        return None
    if (state.get("content") or "").partition(" ")[0] not in ("", content_of(photos.images)):
        return None
    return photos.distinct().some(n, state["config"]["seed"]).with_mirrored()


def shared(pictures: Pictures, reference: Pictures) -> int:
    """Return how many of the pictures are in the reference too, to the last bit."""
    known = {image.numpy().tobytes() for image in reference.images}
    return sum(image.numpy().tobytes() in known for image in pictures.images)


def check_reference(source: str, checkpoint: Path | None) -> None:
    """Raise an error unless the reference exists and suits the size that a checkpoint draws."""
    if source != "painted" and not check_path("--reference", source).is_dir():
        raise NotADirectoryError(f"--reference must be 'painted' or a folder, and {source} is none")
    if checkpoint is None:
        return
    size: Any = pretrained.load_pretrained(checkpoint)[0].config["size"]
    if source != "painted":
        check_enough(folder_pictures(check_path("--reference", source), None, 0, size))
    elif size < 16:
        what = f"{checkpoint} draws {size} x {size} pixels and tigers are painted from 16 on"
        raise ValueError(f"{what}: compare with a folder, --reference DIR")


def check_enough(pictures: Pictures) -> None:
    """Raise ValueError unless there are enough pictures for a distance."""
    if (n := len(pictures.images)) < FEWEST:
        raise ValueError(
            f"{pictures.source} gives {n} pictures: a distance takes at least {FEWEST}"
        )
