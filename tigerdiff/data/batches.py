"""Batches of pictures without end, each a pure function of a seed and its number."""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from tigerdiff.data.tensors import described, seeded_generator, to_float


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
    """Yield shuffled batches for ever; batch k is a pure function of the arguments and k.

    Each epoch is a fresh permutation, and epochs follow each other without a gap: nothing is
    dropped, any ``batch_size`` works, and ``start=k`` continues exactly where k batches ended.
    In each step the ranks take neighbouring parts of that one stream, so that the ranks together
    see what one process with ``world_size`` times the batch would.

    Args:
        images: uint8 ``(N, 3, H, W)``.
        batch_size: images per batch and process.
        labels: int64 ``(N, A)``, which then come with their images.
        seed: of the shuffling and flipping.
        flip: mirror each image left to right with probability 1/2, anew in each epoch.
        start: the first batch to yield.
        rank: number of this process.
        world_size: number of processes.
        device: where the batches go.

    Returns:
        an endless iterator of float32 ``(batch_size, 3, H, W)`` in [-1, 1]; with ``labels`` of
        pairs, that and int64 ``(batch_size, A)``.

    Raises:
        ValueError: an argument is out of range (at the call, not at the first batch).
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise ValueError(f"images must be uint8 (N, 3, H, W) with N >= 1, not {described(images)}")
    if labels is not None and (labels.dim() != 2 or len(labels) != len(images)):
        raise ValueError(f"labels must be ({len(images)}, A), not {described(labels)}")
    check_place(batch_size, seed, start, rank, world_size)
    n = len(images)
    order = functools.lru_cache(maxsize=2)(lambda epoch: _epoch_order(n, seed, epoch))

    def batch(k: int) -> Any:
        first = (k * world_size + rank) * batch_size  # in the stream of all epochs
        end = first + batch_size
        parts = []
        for epoch in range(first // n, (end - 1) // n + 1):
            places = slice(max(first - epoch * n, 0), end - epoch * n)
            parts.append([column[places] for column in order(epoch)])
        index, mirrored = (torch.cat(column) for column in zip(*parts, strict=True))
        x = to_float(images[index.to(images.device)].to(device))
        mirrored = mirrored.to(device)[:, None, None, None]
        x = torch.where(mirrored, x.flip(-1), x) if flip else x
        return x if labels is None else (x, labels[index.to(labels.device)].to(device))

    return map(batch, itertools.count(start))


def check_place(batch_size: int, seed: int, start: int, rank: int, world_size: int) -> None:
    """Raise ValueError unless these name a part of a stream of batches."""
    if batch_size < 1 or start < 0 or seed < 0:
        got = f"not {batch_size}, {start} and {seed}"
        raise ValueError(f"batch_size must be at least 1, start and seed at least 0, {got}")
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must be in 0 ... world_size - 1, not {rank} of {world_size}")


def _epoch_order(n: int, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
    """Return one epoch's permutation, int64 (n,), and which of it is mirrored, bool (n,)."""
    generator = seeded_generator(seed, epoch)
    return torch.randperm(n, generator=generator), torch.rand(n, generator=generator) < 0.5
