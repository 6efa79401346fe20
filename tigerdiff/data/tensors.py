"""Bytes to floats and back, and generators of random numbers that a key fixes."""

import numpy as np
import torch
from torch import Tensor

from tigerdiff.checks import check_kind, whole_number
from tigerdiff.devices import find_device


def seeded_generator(*key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Make a generator whose stream is fixed by ``key``; keys that differ give unrelated streams.

    Args:
        key: whole numbers in 0 ... 2**64 - 1, for example ``(seed, rank, step)``.
        device: device of the generator.

    Raises:
        ValueError: a number of the key is out of range, or there is no such device.
    """
    key = tuple(whole_number("each of key", part, 0, 2**64 - 1) for part in key)
    # SeedSequence pads with zeros and splits long numbers: length and fixed width keep (1,), (1, 0)
    # and (2**32, ...) apart.
    words = [word for part in key for word in (part & 0xFFFFFFFF, part >> 32)]
    state = np.random.SeedSequence([len(key), *words]).generate_state(1, np.uint64)
    return torch.Generator(find_device(device)).manual_seed(int(state[0]))


def to_float(images: Tensor) -> Tensor:
    """Map uint8 images, any shape, to float32 in [-1, 1].

    Raises:
        ValueError: ``images`` is not uint8.
    """
    check_kind("images", images, Tensor)
    if images.dtype != torch.uint8:
        raise ValueError(f"images must be uint8, not {described(images)}")
    return images.float() / 127.5 - 1


def to_uint8(x: Tensor) -> Tensor:
    """Map float images, any shape, from [-1, 1] to uint8: rounded, and clamped outside the range.

    Raises:
        ValueError: ``x`` is not floating point, or holds NaN.
    """
    check_kind("x", x, Tensor)
    if not x.is_floating_point():
        raise ValueError(f"x must be float in [-1, 1], not {described(x)}")
    if x.isnan().any():
        raise ValueError("x holds NaN, which is no colour: the model that made it has diverged")
    return ((x.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def described(x: Tensor) -> str:
    """Return dtype and shape of a tensor in words, for messages."""
    return f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}"
