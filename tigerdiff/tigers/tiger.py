"""The attributes of a painted tiger, and the endless series of tigers that a seed fixes."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch

from tigerdiff.checks import real_number, whole_number
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
    "gaze_x": (-1.0, 1.0), "gaze_y": (-1.0, 1.0), "turn": (-1.0, 1.0), "tilt": (-14.0, 14.0),
    "x": (-0.16, 0.16), "y": (-0.08, 0.12), "scale": (0.68, 1.05), "light": (-70.0, 70.0),
}  # fmt: skip


@dataclass(frozen=True)
class Tiger:
    """All that decides a painted tiger; `Tiger()` is the course's own.

    The picture runs from -1 (left, top) to 1 (right, bottom), left and right are the viewer's.

    Args:
        fur: "orange", "white", "golden" or "black".
        backdrop: "jungle", "snow", "savanna", "night" or "water".
        mouth: "closed", "open" or "roaring".
        age: "cub" or "adult".
        daytime: "morning", "noon", "dusk" or "night"; "night" with the backdrop "night" only.
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
            rule = f"a number from {low:g} to {high:g}"
            value = real_number(name, getattr(self, name), rule, lambda x: low <= x <= high)  # noqa: B023
            # Equal tigers are written the same way: 1 becomes 1.0, and -0.0 becomes 0.0.
            object.__setattr__(self, name, value + 0.0)
        for name in ("stripes", "scene"):
            value = whole_number(name, getattr(self, name), 0, 2**63 - 1)
            object.__setattr__(self, name, value)
        if (self.backdrop == "night") != (self.daytime == "night"):
            need = "daytime must be 'night' with the backdrop 'night' and no other"
            raise ValueError(f"{need} (got {self.daytime!r} with {self.backdrop!r})")


def series(n: int, seed: int = 0, *, start: int = 0) -> list[Tiger]:
    """Draw the attributes of n tigers of an endless series, without painting them.

    All attributes but the two seeds are uniform and independent, except that the backdrop "night"
    and the daytime "night" come together. No two tigers share a pattern of stripes.

    Args:
        n: how many, at least 1.
        seed: of the series, 0 to 2**31 - 1.
        start: number of the first one: `series(8)` is `series(4) + series(4, start=4)`.

    Returns:
        The tigers; tiger i of a seed depends on (seed, i) alone.

    Raises:
        ValueError: naming the argument that is out of range.
    """
    n = whole_number("n", n, 1, 2**32)
    start = whole_number("start", start, 0, 2**32 - n)
    seed = whole_number("seed", seed, 0, 2**31 - 1)
    keys = seed * 2**32 + torch.arange(start, start + n, device="cpu")
    random = uniform(keys, 0, len(fields(Tiger))).tolist()
    return [_drawn(key, iter(row)) for key, row in zip(keys.tolist(), random)]


def _drawn(key: int, random: Iterator[float]) -> Tiger:
    """Return the tiger that numbers in [0, 1) describe."""

    def chosen(words: tuple[str, ...]) -> str:
        return words[int(next(random) * len(words))]

    values: dict[str, Any] = {name: chosen(words) for name, words in CHOICES.items()}
    night = values["backdrop"] == "night"  # else draw anew, without "night"
    values["daytime"] = "night" if night else chosen(CHOICES["daytime"][:-1])
    for name, (low, high) in RANGES.items():
        values[name] = low + (high - low) * next(random)
    return Tiger(**values, stripes=key, scene=key)
