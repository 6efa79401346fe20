"""The painted tiger: pictures without end, without a licence, and with known truth.

Tiger i of a seed is drawn from its attributes, and those from (seed, i) alone: the same in any
batch and on any device. The painting itself is in `_portrait`, `_backdrops` and `_maps`.
"""

import numbers
import operator
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, overload

import torch
import torch.nn.functional as F
from torch import Tensor

from tigerdiff.tigers.painting.maps import draw_maps
from tigerdiff.tigers.painting.portrait import portraits
from tigerdiff.tigers.painting.primitives import uniform

CHOICES = {
    "fur": ("orange", "white", "golden", "black"),
    "backdrop": ("jungle", "snow", "savanna", "night", "water"),
    "mouth": ("closed", "open", "roaring"),
    "age": ("cub", "adult"),
    "daytime": ("morning", "noon", "dusk", "night"),
    "ears": ("forward", "sideways", "back"),
}
RANGES = {
    "gaze_x": (-1.0, 1.0),
    "gaze_y": (-1.0, 1.0),
    "turn": (-1.0, 1.0),
    "tilt": (-14.0, 14.0),
    "x": (-0.16, 0.16),
    "y": (-0.08, 0.12),
    "scale": (0.68, 1.05),
    "light": (-70.0, 70.0),
}

painting = threading.Lock()


@dataclass(frozen=True)
class Tiger:
    """All that decides a painted tiger; `Tiger()` is the course's own.

    The picture runs from -1 to 1, from left to right and from top to bottom; left and right are
    the viewer's.

    Args:
        fur: "orange", "white", "golden" or "black".
        backdrop: "jungle", "snow", "savanna", "night" or "water".
        mouth: "closed", "open" or "roaring".
        age: "cub" or "adult".
        daytime: "morning", "noon", "dusk", or "night": that with the backdrop "night" and no other.
        ears: "forward", "sideways" or "back".
        gaze_x: where the eyes look, -1 (left) to 1 (right).
        gaze_y: where the eyes look, -1 (up) to 1 (down).
        turn: of the head, -1 (to the left) to 1 (to the right).
        tilt: of the head in degrees, -14 to 14, clockwise.
        x: middle of the head, -0.16 to 0.16.
        y: middle of the head, -0.08 to 0.12.
        scale: of the tiger, 0.68 to 1.05; 1 fills most of the picture.
        light: where the sun or moon is, -70 (left) to 70 (right) degrees from straight above.
        stripes: seed of the pattern of the stripes, 0 to 2**63 - 1.
        scene: seed of what is in the backdrop, 0 to 2**63 - 1.

    Raises:
        ValueError: naming the attribute that is out of range.
    """

    fur: str = "orange"
    backdrop: str = "jungle"
    mouth: str = "closed"
    age: str = "adult"
    daytime: str = "morning"
    ears: str = "forward"
    gaze_x: float = 0.0
    gaze_y: float = 0.0
    turn: float = 0.3
    tilt: float = -4.0
    x: float = 0.0
    y: float = 0.055
    scale: float = 1.0
    light: float = -40.0
    stripes: int = 27
    scene: int = 27

    def __post_init__(self) -> None:
        for name, words in CHOICES.items():
            if getattr(self, name) not in words:
                listed = ", ".join(map(repr, words))
                raise ValueError(f"{name} must be one of {listed} (got {getattr(self, name)!r})")
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
            if not is_number or not low <= value <= high:
                raise ValueError(
                    f"{name} must be a number from {low:g} to {high:g} (got {value!r})"
                )
            # Equal tigers are the same in every respect: 1 becomes 1.0, and -0.0 becomes 0.0.
            object.__setattr__(self, name, float(value) + 0.0)
        for name in ("stripes", "scene"):
            value = _whole(name, getattr(self, name), 0, 2**63 - 1)
            object.__setattr__(self, name, value)
        if (self.backdrop == "night") != (self.daytime == "night"):
            raise ValueError(
                "daytime must be 'night' with the backdrop 'night' and no other (got "
                f"{self.daytime!r} with {self.backdrop!r})"
            )


def procedural_tigers(
    n: int,
    size: int = 64,
    seed: int = 0,
    device: str | torch.device = "cpu",
    *,
    start: int = 0,
) -> tuple[Tensor, list[Tiger]]:
    """Paint n tigers of an endless series, each with attributes of its own.

    All attributes but the two seeds are uniform, and they are independent, but that a night
    backdrop has the daytime "night" and no other has. No two tigers share a pattern of stripes.

    Args:
        n: how many, at least 1.
        size: width and height in pixels, 16 to 1024.
        seed: of the series, 0 to 2**31 - 1.
        device: where to paint.
        start: number of the first one in the series: `procedural_tigers(8)` and
            `procedural_tigers(4)` with `procedural_tigers(4, start=4)` are the same eight.

    Returns:
        Pictures, uint8 (n, 3, size, size) on the device, and their attributes.

    Raises:
        ValueError: naming the argument that is out of range.
    """
    _checked_size(size)
    tigers = series(n, seed, start=start)
    return paint(tigers, size, device), tigers


def series(n: int, seed: int = 0, *, start: int = 0) -> list[Tiger]:
    """The attributes of :func:`procedural_tigers`, without the pictures; same arguments."""
    n = _whole("n", n, 1, 2**32)
    start = _whole("start", start, 0, 2**32 - n)
    seed = _whole("seed", seed, 0, 2**31 - 1)
    keys = seed * 2**32 + torch.arange(start, start + n, device="cpu")
    random = uniform(keys, 0, len(fields(Tiger))).tolist()
    return [_drawn(key, row) for key, row in zip(keys.tolist(), random)]


def _drawn(key: int, random: list[float]) -> Tiger:
    """The tiger that 16 numbers in [0, 1) stand for."""
    numbers = iter(random)
    words: dict[str, Any] = {
        name: choice[int(next(numbers) * len(choice))] for name, choice in CHOICES.items()
    }
    if words["backdrop"] == "night":
        words["daytime"] = "night"
    else:
        day = CHOICES["daytime"][:-1]
        words["daytime"] = day[int(next(numbers) * len(day))]
    reals: dict[str, Any] = {
        name: low + (high - low) * next(numbers) for name, (low, high) in RANGES.items()
    }
    return Tiger(**words, **reals, stripes=key, scene=key)


@overload
def paint(attributes: Tiger, size: int = 64, device: str | torch.device = "cpu") -> Tensor: ...
@overload
def paint(
    attributes: Sequence[Tiger], size: int = 64, device: str | torch.device = "cpu"
) -> Tensor: ...
def paint(
    attributes: Tiger | Sequence[Tiger], size: int = 64, device: str | torch.device = "cpu"
) -> Tensor:
    """Paint one tiger, or several.

    Edges are antialiased and fine fur fades where pixels cannot hold it, so a tiger is the same
    at every size.

    Args:
        attributes: a Tiger, or a sequence of them.
        size: width and height in pixels, 16 to 1024.
        device: where to paint; devices differ by rounding, 1/255 at most.

    Returns:
        uint8 (3, size, size) for one tiger, (n, 3, size, size) for a sequence; RGB.

    Raises:
        ValueError: if size is out of range, or attributes are not Tigers.
    """
    size, device = _checked_size(size), torch.empty(0, device=device).device
    if isinstance(attributes, Tiger):
        return paint([attributes], size, device)[0]
    tigers = list(attributes)
    n = len(tigers)
    if not tigers or not all(isinstance(tiger, Tiger) for tiger in tigers):
        raise ValueError("attributes must be a Tiger or a sequence of at least one")
    factor = -(-64 // size)  # below 64 pixels a stripe is finer than a pixel: paint large, average
    area = (factor * size) ** 2

    @torch.no_grad()
    def painted(some: list[Tiger]) -> Tensor:
        canvas = portraits(some, factor * size, device).transpose(0, 1)
        return (F.avg_pool2d(canvas, factor) * 255).round().to(torch.uint8)

    with painting:  # one call at a time, for the number of threads is the whole program's
        draw_maps(factor * size, str(device))
        threads = torch.get_num_threads() if device.type == "cpu" else 1
        # As many at once as the caches of a CPU hold, or as keep a GPU busy.
        most, least = (2**17, 2**15) if device.type == "cpu" else (2**22, 2**22)
        together = max(1, min(most // area, max(least // area, -(-n // threads))))
        parts = [tigers[i : i + together] for i in range(0, n, together)]
        if threads == 1 or len(parts) == 1:
            return torch.cat([painted(part) for part in parts])
        # A thread paints some tigers, rather than all threads each line of one: they need not wait
        # for one another, which on a busy machine takes most of the time.
        try:
            with ThreadPoolExecutor(threads, "", torch.set_num_threads, (1,)) as pool:
                return torch.cat(list(pool.map(painted, parts)))
        finally:
            torch.set_num_threads(threads)  # in threads yet to come, whoever starts them


def paint_tiger(size: int = 512) -> Tensor:
    """The course's own tiger, `Tiger()`: a portrait in the jungle, the same at every size.

    Args:
        size: Width and height in pixels, 16 to 1024.

    Returns:
        uint8 tensor (3, size, size), RGB.

    Raises:
        ValueError: If size is not a whole number from 16 to 1024.
    """
    return paint(Tiger(), size)


def _checked_size(size: int) -> int:
    return _whole("size", size, 16, 1024)


def _whole(name: str, value: int, least: int, most: int) -> int:
    """The value as an int, if it is a whole number in the range."""
    try:
        if isinstance(value, bool) or not least <= operator.index(value) <= most:
            raise TypeError
    except TypeError:
        raise ValueError(
            f"{name} must be a whole number from {least} to {most}, got {value!r}"
        ) from None
    return operator.index(value)
