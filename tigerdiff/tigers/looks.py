"""What the attributes of tigers mean for the painter: colours, angles, sizes, random numbers."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from tigerdiff.tigers.painting.portrait import HEAD_SIZE, PARTS, stripe_lattice
from tigerdiff.tigers.painting.primitives import uniform
from tigerdiff.tigers.tiger import RANGES, Tiger

FURS = {
    "orange": {
        "base": (0.87, 0.46, 0.12), "dark": (0.66, 0.29, 0.07), "sandy": (0.95, 0.69, 0.37),
        "pale": (0.97, 0.93, 0.86), "ink": (0.055, 0.04, 0.035), "rim": (0.06, 0.045, 0.04),
        "iris": (0.86, 0.60, 0.14), "ring": (0.36, 0.18, 0.03), "nose": (0.80, 0.47, 0.42),
    },
    "white": {
        "base": (0.88, 0.87, 0.86), "dark": (0.70, 0.67, 0.66), "sandy": (0.92, 0.90, 0.88),
        "pale": (0.99, 0.98, 0.97), "ink": (0.13, 0.11, 0.11), "rim": (0.14, 0.12, 0.12),
        "iris": (0.42, 0.70, 0.93), "ring": (0.10, 0.25, 0.45), "nose": (0.86, 0.56, 0.54),
    },
    "golden": {
        "base": (0.93, 0.75, 0.44), "dark": (0.82, 0.56, 0.26), "sandy": (0.97, 0.87, 0.66),
        "pale": (1.00, 0.96, 0.88), "ink": (0.56, 0.28, 0.11), "rim": (0.45, 0.24, 0.11),
        "iris": (0.72, 0.62, 0.20), "ring": (0.35, 0.24, 0.06), "nose": (0.86, 0.56, 0.48),
    },
    "black": {
        "base": (0.215, 0.17, 0.15), "dark": (0.12, 0.09, 0.08), "sandy": (0.33, 0.25, 0.19),
        "pale": (0.44, 0.37, 0.31), "ink": (0.02, 0.016, 0.02), "rim": (0.03, 0.025, 0.03),
        "iris": (0.80, 0.86, 0.24), "ring": (0.25, 0.32, 0.04), "nose": (0.34, 0.23, 0.22),
    },
}  # fmt: skip
BOLD = {"orange": 0.0, "white": -0.05, "golden": -0.05, "black": 0.35}  # width of the stripes
# Light of the sun or the moon and of the open sky on the tiger; top of the sky, sky at the horizon,
# what the light does to the colours of the ground.
DAYTIMES = {
    "morning": {
        "sun": (1.12, 1.00, 0.80), "sky": (0.42, 0.43, 0.42), "zenith": (0.60, 0.74, 0.86),
        "horizon": (1.00, 0.90, 0.72), "tint": (1.00, 0.94, 0.80),
    },
    "noon": {
        "sun": (1.04, 1.03, 1.00), "sky": (0.48, 0.50, 0.53), "zenith": (0.22, 0.50, 0.88),
        "horizon": (0.70, 0.86, 0.97), "tint": (1.00, 1.00, 1.00),
    },
    "dusk": {
        "sun": (1.12, 0.83, 0.61), "sky": (0.44, 0.39, 0.42), "zenith": (0.33, 0.24, 0.50),
        "horizon": (1.00, 0.55, 0.30), "tint": (0.90, 0.62, 0.54),
    },
    "night": {
        "sun": (0.66, 0.71, 0.84), "sky": (0.25, 0.27, 0.34), "zenith": (0.015, 0.025, 0.085),
        "horizon": (0.10, 0.15, 0.32), "tint": (0.34, 0.42, 0.66),
    },
}  # fmt: skip
PUPIL = {"noon": 0.021, "morning": 0.025, "dusk": 0.030, "night": 0.038}
DROP = {"closed": 0.0, "open": 0.15, "roaring": 0.31}  # of the jaw
GAPE = {"closed": 0.01, "open": 0.185, "roaring": 0.235}  # half the width of the open mouth
EARS = {  # angle, how far out and down from upright, width
    "forward": (34.0, 0.0, 0.0, 1.0),
    "sideways": (66.0, 0.07, 0.07, 0.85),
    "back": (92.0, 0.06, 0.16, 0.52),
}
SUN_X, SUN_Y = 0.77, -0.77


def looks_of(tigers: Sequence[Tiger], device: torch.device) -> dict[str, Any]:
    """Return what the painter needs to know of the tigers, by name.

    Numbers (N, 1, 1) and colours (3, N, 1, 1) on the device, the names of the backdrops in a list,
    whether any tiger is a cub or opens its mouth, random numbers (N, 512) of the scene and lattices
    of the stripes, and for each part of the head the y between which it lies in all the pictures.
    """
    ears = [EARS[tiger.ears] for tiger in tigers]
    columns = {name: [getattr(tiger, name) for tiger in tigers] for name in RANGES} | {
        "cub": [tiger.age == "cub" for tiger in tigers],
        "roaring": [tiger.mouth == "roaring" for tiger in tigers],
        "drop": [DROP[tiger.mouth] for tiger in tigers],
        "gape": [GAPE[tiger.mouth] for tiger in tigers],
        "pupil": [PUPIL[tiger.daytime] for tiger in tigers],
        "bold": [BOLD[tiger.fur] for tiger in tigers],
        "light_x": [math.sin(math.radians(tiger.light)) for tiger in tigers],
        # The sun as the head sees it.
        "sun_x": [SUN_X * math.sin(math.radians(tiger.light - tiger.tilt)) for tiger in tigers],
        "sun_y": [SUN_Y * math.cos(math.radians(tiger.light - tiger.tilt)) for tiger in tigers],
        "chin": [t.y + t.scale * (0.74 + 0.9 * DROP[t.mouth]) for t in tigers],
        **dict(zip(("ear_turn", "ear_out", "ear_down", "ear_wide"), zip(*ears))),
    }
    each = [FURS[tiger.fur] | DAYTIMES[tiger.daytime] for tiger in tigers]
    colours = {name: [colour[name] for colour in each] for name in each[0]}
    on_cpu: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}  # then one copy each
    numbers = torch.tensor(list(columns.values()), **on_cpu).to(device)
    shades = torch.tensor(list(colours.values()), **on_cpu).permute(0, 2, 1).to(device)
    looks: dict[str, Any] = dict(zip(columns, numbers[..., None, None]))
    looks |= dict(zip(colours, shades[..., None, None]))
    looks["backdrop"] = [tiger.backdrop for tiger in tigers]
    looks["any_cub"] = any(tiger.age == "cub" for tiger in tigers)
    looks["any_open"] = any(tiger.mouth != "closed" for tiger in tigers)
    looks["reach"] = {name: _reach(tigers, extent) for name, extent in PARTS.items()}
    stripes = torch.tensor([tiger.stripes for tiger in tigers], device=device)
    scene = torch.tensor([tiger.scene for tiger in tigers], device=device)
    looks["head_stripes"], looks["body_stripes"] = (stripe_lattice(stripes, i) for i in (1, 2))
    looks["behind"], looks["before"] = (uniform(scene, i, 512) for i in (3, 4))
    return looks


def _reach(tigers: Sequence[Tiger], extent: tuple[float, float, float]) -> tuple[float, float]:
    """Return between which y of the pictures a part of the head lies, whatever the tiger's pose."""
    (top, bottom, half_width), edges = extent, []
    for tiger in tigers:
        angle, size = math.radians(tiger.tilt), HEAD_SIZE * tiger.scale
        aside = half_width * abs(math.sin(angle))
        down = DROP[tiger.mouth] if bottom > 0.3 else 0.0
        edges.append(tiger.y + size * (top * math.cos(angle) - aside))
        edges.append(tiger.y + size * ((bottom + down) * math.cos(angle) + aside))
    return min(edges), max(edges)
