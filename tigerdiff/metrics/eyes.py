"""Whether both eyes of a drawn tiger match: what distances between sets hardly see."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tigerdiff.metrics.judge import checked
from tigerdiff.metrics.prompts import judge
from tigerdiff.tigers.looks import looks_of
from tigerdiff.tigers.paint import paint
from tigerdiff.tigers.painting.portrait import HEAD_SIZE, childlike, posed
from tigerdiff.tigers.tiger import RANGES, Tiger

CENTRE, HALF_WIDTH, HALF_HEIGHT = (0.23, -0.25), 0.15, 0.11  # of an eye, in units of the head
ROWS, COLUMNS = 22, 30


def eye_difference(images: Tensor) -> Tensor:
    """Measure how much the two eyes of each tiger differ.

    The judge reads pose, gaze, light and fur. From these the painter knows where the eyes are, and
    paints what an equal tiger's eyes look like. Both eyes are cut out upright and the left one is
    mirrored. The measure is the mean of ``|(left - right) - (painted left - painted right)|``: an
    eye in another place or of another colour or sharpness counts; what gaze, turn and light make of
    equal eyes does not, and a squint counts little.

    The floor, of painted tigers, is not 0 because the judge errs a little: 0.06 on average at 64
    pixels, below 0.12 for 19 of 20. With one eye blurred the average is 0.13, with one moved by a
    tenth of half the picture 0.17, with one of another fur's colours 0.19. Larger pictures should
    be shrunk to 64 pixels first: at 256 the judge's errors alone give 0.14.

    Args:
        images: uint8 (N, 3, S, S) of tigers.

    Returns:
        float32 (N,) on the CPU, 0 to 2 in units of the range [0, 1] of a colour.

    Raises:
        ValueError: the pictures are not as above.
    """
    read = judge(checked(images, "images", 1))
    tigers = [_tiger({name: read[name][i] for name in read}) for i in range(len(images))]
    size = min(max(images.shape[-1], 16), 1024)
    at = [_places(tigers, side) for side in (-1, 1)]
    drawn, painted = (
        [F.grid_sample(x.cpu() / 255, places, align_corners=False) for places in at]
        for x in (images, paint(tigers, size))
    )
    return (drawn[0] - drawn[1] - painted[0] + painted[1]).abs().mean((1, 2, 3))


def _tiger(read: dict[str, Any]) -> Tiger:
    """Return the tiger that the judge reads, its numbers within their ranges."""
    for name, (low, high) in RANGES.items():
        read[name] = min(max(float(read[name]), low), high)
    if (read["daytime"] == "night") != (read["backdrop"] == "night"):
        read["daytime"] = "night" if read["backdrop"] == "night" else "dusk"
    return Tiger(**read)


def _places(tigers: list[Tiger], side: int) -> Tensor:
    """Return where an eye is in the pictures, float32 (N, ROWS, COLUMNS, 2), from its inner edge.

    The inverse of the painter's `posed` and `childlike`, by fixed-point steps.
    """
    looks = looks_of(tigers, torch.device("cpu"))
    gx = side * (torch.linspace(-HALF_WIDTH, HALF_WIDTH, COLUMNS) + CENTRE[0])
    gy = (torch.linspace(-HALF_HEIGHT, HALF_HEIGHT, ROWS) + CENTRE[1])[:, None]
    angle, size = looks["tilt"] * (torch.pi / 180), HEAD_SIZE * looks["scale"]
    x, y = (looks[name].expand(-1, ROWS, COLUMNS) for name in ("x", "y"))
    for _ in range(8):
        hx, hy = childlike(posed(looks, (x, y)), looks["cub"])
        dx, dy = size * (gx - hx), size * (gy - hy)
        x, y = x + angle.cos() * dx - angle.sin() * dy, y + angle.sin() * dx + angle.cos() * dy
    return torch.stack((x, y), -1)
