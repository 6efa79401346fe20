"""What a run's arguments must be, said in one sentence where they are not."""

import numbers
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOST_LEVELS = 7
LARGEST_ATTENTION = 16  # pixels a side: the memory of attention grows with their fourth power


def levels(size: int) -> int:
    """Return how many resolutions the network has by default: from ``size`` to 8 ... 16 pixels."""
    n = 1
    while n < MOST_LEVELS and size % 2**n == 0 and size >> n >= 8:
        if n == MOST_LEVELS - 1 and size >> (n - 1) <= LARGEST_ATTENTION:
            break
        n += 1
    return n


def check_size(size: int) -> None:
    """Raise ValueError, with the nearest sizes that work, if attention would be on large maps."""

    def works(size: int) -> bool:
        return size >> (levels(size) - 1) <= LARGEST_ATTENTION

    if not works(size):
        larger = range(size, LARGEST_ATTENTION << (MOST_LEVELS - 1))
        nearest = [next(filter(works, range(size, 0, -1))), *filter(works, larger)][:2]
        raise ValueError(
            f"image_size {size} cannot be halved down to 8 ... {LARGEST_ATTENTION} pixels, where "
            f"attention is affordable: use {' or '.join(map(str, nearest))}"
        )


def number(name: str, value: Any, kind: Any, rule: str, fits: Callable[[Any], bool]) -> int | float:
    """Return an integral or real number, NumPy's too, as an int or a float, if it fits the rule."""
    if not isinstance(value, kind) or isinstance(value, bool) or not fits(value):
        raise ValueError(f"{name} must be {rule} (got {value!r})")
    return int(value) if kind is numbers.Integral else float(value)


def check_out(photos: Path | None, out: Path) -> None:
    """Raise unless ``out`` can be a folder whose pictures do not become photos to train on."""
    samples = (out / "samples").resolve()
    there = [path for path in (samples, *samples.parents) if path.exists()]
    if not there[0].is_dir():
        raise NotADirectoryError(
            f"out must be a folder, and {there[0]} is a file: choose another out, like runs/tigers"
        )
    if photos and photos.exists() and any(path.samefile(photos) for path in there):
        raise ValueError(
            f"out ({out}) must not be in data ({photos}), whose photos its pictures would join: "
            "choose another out, like runs/tigers"
        )
