"""What a run trains on: images, their labels if it is conditional, and batches of both."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from tigerdiff.data.batches import batches
from tigerdiff.data.painted import painted_batches
from tigerdiff.data.photos import read_folder
from tigerdiff.data.tables import read_labels
from tigerdiff.data.tensors import described
from tigerdiff.training.config import TrainConfig

logger = logging.getLogger(__name__)


class Examples(NamedTuple):
    """Images, uint8 (N, 3, S, S), or None for painted tigers, and labels, int64 (N, A), or None."""

    images: Tensor | None
    labels: Tensor | None

    def content(self) -> str | None:
        """Return hashes that differ for other images or labels; None for painted tigers."""
        if self.images is None:
            return None
        return " ".join(content_of(part) for part in self if part is not None)


def content_of(tensor: Tensor) -> str:
    """Return the SHA-256 of a tensor's values."""
    return hashlib.sha256(tensor.cpu().contiguous().numpy().data).hexdigest()


def load_examples(config: TrainConfig, progress: bool = True) -> Examples:
    """Read the images that a configuration names, and their labels if it is conditional.

    Raises:
        ValueError: if a tensor has another shape or dtype, or a table of labels does not fit.
        FileNotFoundError: if ``data`` is no folder, or holds no photo that can be used.
    """
    size, data = config.image_size, config.data
    if config.painted:
        if Path("painted").is_dir():
            logger.warning("painted tigers are used; the folder painted would be ./painted")
        return Examples(None, None)
    if isinstance(data, (str, Path)):
        images, names = read_folder(data, size, progress=progress)
        classes = config.classes if config.conditional else None
        return Examples(images, read_labels(Path(data), classes, names) if classes else None)
    got = described(data) if isinstance(data, Tensor) else type(data).__name__
    if not got.startswith("uint8") or data.shape[1:] != (3, size, size):
        raise ValueError(f"data must be uint8 (N, 3, {size}, {size}): see image_size (got {got})")
    return Examples(data, config.labels)


def stream(
    config: TrainConfig, examples: Examples, **place: Any
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Return batches without end: float32 (B, 3, S, S) in [-1, 1], and int64 (B, A) or None.

    ``place`` is ``batch_size``, ``start``, ``rank``, ``world_size`` and ``device``, as for
    :func:`.batches`.
    """
    endless: Iterator[Any]
    if examples.images is None:
        place["attributes"] = tuple(config.classes or ())
        endless = painted_batches(config.image_size, seed=config.seed, **place)
    else:
        place["flip"] = config.flip
        endless = batches(examples.images, labels=examples.labels, seed=config.seed, **place)
    return (batch if isinstance(batch, tuple) else (batch, None) for batch in endless)
