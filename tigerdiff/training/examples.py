"""What a run trains on: the images, their labels if it is conditional, and batches of both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from tigerdiff.data.batches import batches
from tigerdiff.data.painted import painted_batches
from tigerdiff.training.config import TrainConfig
from tigerdiff.training.labels import read_labels


class Examples(NamedTuple):
    """Images, uint8 (N, 3, S, S), or None for painted tigers, and labels, int64 (N, A), or None."""

    images: Tensor | None
    labels: Tensor | None

    def content(self) -> str | None:
        """Return hashes that tell other images or labels from these; None for painted tigers."""
        if self.images is None:
            return None
        return " ".join(content_of(part) for part in self if part is not None)


def content_of(tensor: Tensor) -> str:
    """Return the SHA-256 of a tensor's values."""
    return hashlib.sha256(tensor.cpu().contiguous().numpy().data).hexdigest()


def load_examples(config: TrainConfig, progress: bool = True) -> Examples:
    """Read the images and labels that a configuration names.

    Raises:
        FileNotFoundError, ValueError: as :meth:`TrainConfig.images`; or if a picture of a
            conditional run cannot be used, as labels go by the names of the files.
    """
    images, labels = config.images(progress), config.labels
    if images is not None and config.conditional and isinstance(config.data, Path):
        assert config.classes
        labels = read_labels(config.data, config.classes)
        if len(labels) != len(images):
            raise ValueError(
                f"{len(labels) - len(images)} pictures of {config.data} cannot be used (log.txt "
                "names them): delete them or take new copies, as labels go by the files' names"
            )
    return Examples(images, labels)


def stream(
    config: TrainConfig, examples: Examples, **place: Any
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Return batches without end: float32 (B, 3, S, S) in [-1, 1], and int64 (B, A) or None.

    Args:
        config: says the size and the seed.
        examples: on the device that the batches go to.
        place: ``batch_size``, ``start``, ``rank``, ``world_size`` and ``device``, as for
            :func:`tigerdiff.batches`.
    """
    stream: Iterator[Any]
    if examples.images is None:
        attributes = tuple(config.classes or ())
        stream = painted_batches(
            config.image_size, seed=config.seed, attributes=attributes, **place
        )
    else:
        stream = batches(examples.images, labels=examples.labels, seed=config.seed, **place)
    return (batch if isinstance(batch, tuple) else (batch, None) for batch in stream)
