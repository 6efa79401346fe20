"""Batches of pictures without end, each a pure function of a seed and its number."""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from tigerdiff.checks import check_kind, whole_number
from tigerdiff.data.tensors import described, seeded_generator, to_float
from tigerdiff.devices import find_device


def batches(
    images: Tensor,
    batch_size: int,
    *,
    labels: Tensor | None = None,
    seed: int = 0,
    flip: bool = True,
    start: int = 0,
    rank: int = 0,
    world_size: int = 1,
    device: torch.device | str = "cpu",
) -> Iterator[Any]:
    """Yield shuffled batches without end; batch k is a pure function of the arguments and k.

    Each epoch is a fresh permutation, and epochs follow each other without a gap: no image is
    dropped, any ``batch_size`` works, and ``start=k`` continues exactly where k batches ended.
    In each step the ranks take neighbouring parts of that one stream: together they see what one
    process with ``world_size`` times the batch would.

    Args:
        images: uint8 ``(N, 3, H, W)``.
        batch_size: images per batch and process.
        labels: int64 ``(N, A)``, which then come with their images.
        seed: of the shuffling and flipping, 0 ... 2**64 - 1.
        flip: mirror each image left to right with probability 1/2, anew in each epoch.
        start: the first batch to yield.
        rank: number of this process.
        world_size: number of processes.
        device: where the batches go.

    Returns:
        an endless iterator of float32 ``(batch_size, 3, H, W)`` in [-1, 1]; with ``labels``,
        pairs of these and int64 ``(batch_size, A)``.

    Raises:
        ValueError: an argument is out of range (at the call, not at the first batch).
    """
    check_kind("images", images, Tensor)
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise ValueError(f"images must be uint8 (N, 3, H, W) with N >= 1, not {described(images)}")
    check_kind("labels", labels, Tensor, type(None))
    if labels is not None and (labels.dim() != 2 or len(labels) != len(images)):
        raise ValueError(f"labels must be ({len(images)}, A), not {described(labels)}")
    check_place(batch_size, seed, start, rank, world_size)
    n, device = len(images), find_device(device)

    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> Tensor:
        """Return the order of an epoch's images, and whether each is mirrored: int64 (2, n)."""
        generator = seeded_generator(seed, epoch)
        index = torch.randperm(n, generator=generator)
        return torch.stack((index, (torch.rand(n, generator=generator) < 0.5).long()))

    def batch(k: int) -> Any:
        first = (k * world_size + rank) * batch_size  # in the stream of all epochs
        epochs = range(first // n, (first + batch_size - 1) // n + 1)
        stream = torch.cat([order(epoch) for epoch in epochs], dim=1)
        index, mirrored = stream[:, first % n : first % n + batch_size]
        x = to_float(images[index.to(images.device)].to(device))
        if flip:
            x = torch.where(mirrored.to(device)[:, None, None, None] > 0, x.flip(-1), x)
        return x if labels is None else (x, labels[index.to(labels.device)].to(device))

    return map(batch, itertools.count(start))


def check_place(batch_size: int, seed: int, start: int, rank: int, world_size: int) -> None:
    """Raise ValueError unless these name a part of a stream of batches."""
    whole_number("batch_size", batch_size, 1)
    whole_number("start", start, 0)
    whole_number("seed", seed, 0, 2**64 - 1)
    whole_number("world_size", world_size, 1)
    if not whole_number("rank", rank, 0) < world_size:
        raise ValueError(f"rank must be in 0 ... world_size - 1, not {rank} of {world_size}")
