"""The maps of a tiger: what all tigers share, drawn once with its fur and looked up ever after.

A map says, for each point of the head (an ear, the body) in its own coordinates, how pale or dark
the coat is, how the relief slopes, where stripes have room, and so on; colours, stripes, light and
pose come later. Fur is noise smeared along the direction in which the hair grows; it also
displaces the points at which outlines and stripes are looked up, which makes their edges hairy.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from tigerdiff.tigers.painting.primitives import (
    blend,
    both_sides,
    bump,
    cover,
    ellipse,
    fbm,
    grid,
    hair,
    mirrored,
    smooth,
    strokes,
    turned,
    unit,
)

# Strokes of the right half of the head: x0 y0  x1 y1  x2 y2  half width  lean
WHISKERS = [
    (0.200, 0.275, 0.500, 0.190, 0.840, 0.260, 0.0036, 0.45),
    (0.220, 0.305, 0.540, 0.260, 0.900, 0.400, 0.0040, 0.45),
    (0.230, 0.335, 0.540, 0.330, 0.840, 0.530, 0.0040, 0.45),
    (0.220, 0.365, 0.480, 0.400, 0.730, 0.640, 0.0036, 0.45),
    (0.190, 0.385, 0.400, 0.450, 0.560, 0.680, 0.0034, 0.45),
    (0.230, 0.290, 0.470, 0.210, 0.710, 0.200, 0.0030, 0.45),
]
LIPS = [(-0.010, 0.447, 0.110, 0.527, 0.245, 0.520, 0.018, 1.10)]
PHILTRUM = [(0.000, 0.295, 0.000, 0.375, 0.000, 0.460, 0.010, 1.00)]
NOSTRIL = [(0.040, 0.267, 0.085, 0.258, 0.132, 0.220, 0.016, 0.90)]
ROOTS = [
    (x, y, x + 0.004, y + 0.002, x + 0.01, y + 0.004, 0.006, 1.0)
    for x, y in ((0.11 + 0.04 * j, 0.33 + 0.038 * i + 0.01 * j) for i in range(3) for j in range(4))
]


@lru_cache(maxsize=8)
def fine_maps(part: str, resolution: int) -> tuple[tuple[str, ...], Tensor]:
    """Return the names of the maps of a part, and the maps as drawn, (1, channels, R, R)."""
    draw, reach, centre = MAPS[part]
    with torch.device("cpu"):  # whatever the caller's default
        p = grid(resolution, reach)
        drawn = draw(torch.stack((p[0], p[1] + centre)))
        return tuple(drawn), torch.stack([x.expand(p[0].shape) for x in drawn.values()], 1)


@lru_cache(maxsize=16)
def maps(part: str, size: int, device: str) -> tuple[tuple[str, ...], Tensor]:
    """Return names and maps (channels, R, R) of a part as pictures of `size` pixels need them."""
    resolution = round((0.4 if part == "ear" else 1.25) * size)
    names, fine = fine_maps(part, max(256 if part == "ear" else 640, resolution))
    if fine.shape[-1] > resolution:
        fine = F.interpolate(fine, resolution, mode="bilinear", antialias=True)
    return names, fine[0].to(device)


def look_up(part: str, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Return the maps of a part at points (N, R, S): name -> (N, R, S), 0 outside the maps."""
    names, table = maps(part, x.shape[-1], str(x.device))
    _, reach, centre = MAPS[part]
    at = torch.stack((x, y - centre), -1) / reach
    found = F.grid_sample(table.expand(len(at), *table.shape), at, align_corners=False)
    return dict(zip(names, found.unbind(1)))


def head(p: Tensor) -> dict[str, Tensor]:
    """Draw the maps of skull, ruff, muzzle and chin."""
    m = mirrored(p)
    from_nose = torch.stack((p[0], p[1] - 0.18))
    growth = unit(from_nose + 0.10 * torch.stack((fbm(p, 6, 74), fbm(p, 6, 84))))
    locks = hair(p, growth, 0.12, 50, 72)
    fine = hair(p, growth, 0.06, 140, 71)
    # Hair is short by the nose, long on the cheeks and short again on the forehead.
    long = cover(0.42 - torch.hypot(from_nose[0], from_nose[1]), 0.3)
    long = long * (0.35 + 0.65 * cover(-0.15 - p[1], 0.35))
    fur = fine + 0.5 * locks
    q = p + (0.003 + 0.009 * long) * (fine + locks) * growth

    cheek = ellipse(turned(m, (0.375, 0.09), 20), 0, 0, 0.30, 0.42)
    skull = blend(ellipse(p, 0, -0.30, 0.50, 0.51), cheek, 0.25)
    outline = blend(skull, ellipse(p, 0, 0.49, 0.21, 0.215), 0.15)
    shape = outline + 0.010 + (0.004 + 0.018 * long) * (0.8 * locks + fine)
    pads = ellipse(turned(m, (0.148, 0.378), 20), 0, 0, 0.190, 0.138)
    return {
        "cover": cover(shape, 0.013),
        **_colours(p, q, pads, fur),
        "shade": _shade(p, outline, pads, fur, long),
        **_relief(p, pads),
        "edge": cover(-0.02 - outline, 0.07),
        **_stripes(p, q, pads),
    }


def _colours(p: Tensor, q: Tensor, pads: Tensor, fur: Tensor) -> dict[str, Tensor]:
    """Return how dark, sandy and pale the coat is at points q, which the fur displaces."""
    s = mirrored(q)
    dark = 0.7 * bump(q, 0, -0.02, 0.15, 0.42) + 0.4 * bump(q, 0, -0.75, 0.40, 0.20)
    sandy = 0.8 * bump(s, 0.47, -0.15, 0.20, 0.40) + 0.25 * bump(s, 0.17, -0.05, 0.05, 0.20)
    pale = (
        1.3 * bump(s, 0.21, -0.425, 0.085, 0.11)  # above the eye
        + 1.0 * bump(s, 0.27, -0.155, 0.11, 0.04)  # below the eye
        + 1.2 * bump(s, 0.54, 0.22, 0.22, 0.30)  # cheek
        + 0.9 * bump(s, 0.58, -0.20, 0.10, 0.25)  # ruff
        + 1.2 * cover(pads - 0.01, 0.06)
        + 1.5 * bump(s, 0, 0.62, 0.50, 0.19)  # throat
    )
    pale = cover(0.5 - pale - 0.06 * fbm(p, 5, 81) - 0.07 * fur, 0.26)
    return {"dark": dark, "sandy": sandy, "pale": pale}


def _shade(p: Tensor, outline: Tensor, pads: Tensor, fur: Tensor, long: Tensor) -> Tensor:
    """Return the ambient occlusion: under the lips, around the pads, at throat and edge."""
    m = mirrored(p)
    shade = (0.93 + (0.05 + 0.07 * long) * fur) * (1 + 0.22 * cover(pads + 0.02, 0.08))
    shade = shade * (1 - 0.45 * bump(m, 0.10, 0.525, 0.19, 0.05) * cover(-pads, 0.02))
    around = torch.exp(-((pads - 0.015) / 0.03).square())
    shade = shade * (1 - 0.22 * around * cover(0.3 - p[1], 0.12))
    shade = shade * (1 - 0.3 * bump(p, 0.02, 0.72, 0.3, 0.06) - 0.2 * bump(m, 0.24, 0.6, 0.08, 0.1))
    shade = shade * (1 - 0.2 * cover(-0.05 - outline, 0.13))
    return shade * (1 + 0.05 * fbm(p, 7, 77, 3))


def _relief(p: Tensor, pads: Tensor) -> dict[str, Tensor]:
    """Return the slopes of the face."""
    m, chin = mirrored(p), ellipse(p, 0, 0.570, 0.120, 0.100)
    relief = (
        0.60 * bump(p, 0, -0.15, 0.60, 0.65)  # skull
        + 0.11 * bump(p, 0, 0.00, 0.15, 0.36)  # bridge of the nose
        + 0.14 * bump(p, 0, 0.30, 0.30, 0.30)  # muzzle
        + 0.065 * cover(pads, 0.085)
        + 0.045 * cover(chin, 0.07)
        + 0.08 * bump(m, 0.46, 0.10, 0.20, 0.30)  # cheek
        + 0.05 * bump(m, 0.20, -0.42, 0.13, 0.10)  # brow
        - 0.05 * bump(m, 0.235, -0.24, 0.10, 0.07)  # socket
    )
    return slopes(relief, p)


def _stripes(p: Tensor, q: Tensor, pads: Tensor) -> dict[str, Tensor]:
    """Return coordinates of the stripes: `across` counts them outwards, `along` follows each."""
    s = mirrored(q)
    across = torch.hypot(1.02 * s[0], 0.92 * (s[1] + 0.04)) / 0.128
    room = (
        1.1 * smooth((across - 2.4) / 1.2)
        - 1.5 * bump(s, 0.225, -0.255, 0.17, 0.10)  # eyes
        - 0.8 * bump(s, 0.16, 0.0, 0.16, 0.30)  # between eye and muzzle
        - 1.6 * cover(pads - 0.03, 0.05)
        - 1.5 * bump(s, 0, 0.66, 0.36, 0.22)  # throat
    )
    along = torch.atan2(s[0], -(s[1] + 0.04)) / torch.pi
    return {"across": across + 0.12 * fbm(p, 5, 33), "along": along, "room": room}


def face(p: Tensor) -> dict[str, Tensor]:
    """Draw the maps of lips, nose, whiskers and the dots that they grow from."""
    m = mirrored(p)
    lips = 0.92 * cover(torch.minimum(strokes(p, PHILTRUM), strokes(m, LIPS)), 0.008)
    leather = blend(ellipse(m, 0.058, 0.215, 0.076, 0.034), ellipse(p, 0, 0.26, 0.05, 0.062), 0.10)
    tone = 1 - 0.45 * cover(0.273 - p[1] - 0.1 * m[0], 0.05)
    shine = bump(p, -0.03, 0.207, 0.05, 0.012)
    tone = tone * (1 - 0.5 * cover(-0.016 - leather, 0.016)) + 0.3 * shine
    return {
        "lips": torch.maximum(lips, 0.75 * cover(leather - 0.008, 0.014)),
        "dots": 0.65 * cover(strokes(p, both_sides(ROOTS, 9, 0.0)), 0.006),
        "nose": cover(leather, 0.008),
        "tone": tone * (1 - 0.95 * cover(strokes(m, NOSTRIL), 0.008)),
        "whiskers": 0.8 * cover(strokes(p, both_sides(WHISKERS, 7, 0.015))),
    }


def body(p: Tensor) -> dict[str, Tensor]:
    """Draw the maps of shoulders and pale chest, in the shadow of the head."""
    growth = unit(torch.stack((0.5 * p[0] + 0.12 * fbm(p, 6, 23), torch.full_like(p[0], 0.6))))
    locks = hair(p, growth, 0.14, 45, 22)
    fur = hair(p, growth, 0.06, 120, 21) + 0.6 * locks
    q = p + 0.016 * locks * growth
    q = torch.stack((q[0], q[1].clamp_max(1.0)))  # legs go straight down
    s = mirrored(q)
    shape = blend(ellipse(s, 0.40, 1.0, 0.66, 0.66), ellipse(q, 0, 0.6, 0.62, 0.6), 0.2)
    shoulders = bump(p, 0.45, 1.0, 0.5, 0.7) + bump(p, -0.45, 1.0, 0.5, 0.7)
    shadow = 1 - 0.72 * bump(p, 0.08, 0.42, 0.66, 0.42)
    across = torch.hypot(0.9 * s[0], 0.65 * (s[1] - 0.55)) / 0.17
    chest = bump(q, 0, 0.8, 0.42, 0.6)
    return {
        "cover": cover(shape, 0.010),
        "pale": cover(0.55 - chest - 0.06 * fur, 0.35),
        "dark": bump(s, 0.95, 1.0, 0.3, 0.6),
        "shade": shadow * (0.88 + 0.13 * fur),
        **slopes(0.5 * shoulders + 0.25 * bump(p, 0, 0.8, 0.3, 0.6), p),
        "across": across + 0.2 * fbm(p, 3, 34),
        "along": torch.atan2(s[0], s[1] - 0.2) / torch.pi,
        "room": 1.05 - 1.3 * bump(s, 0, 0.8, 0.25, 0.7),
    }


def ear(e: Tensor) -> dict[str, Tensor]:
    """Draw the maps of a round ear: rim of the dark back, pale hairy hollow, fur at the root."""
    growth = unit(torch.stack((e[0], e[1] - 0.26)))
    fur = hair(e, growth, 0.09, 75, 61)
    e = e + 0.012 * fur * growth
    return {
        "cover": cover(ellipse(e, 0, 0, 0.172, 0.205), 0.010),
        "rim": 1 - cover(ellipse(e, -0.008, 0.036, 0.148, 0.188), 0.020),
        "hollow": 0.95 * bump(e, 0.015, 0.06, 0.085, 0.13),
        "pale": (1.8 * fur - 0.2).clamp(0, 0.9) * bump(e, -0.06, 0.1, 0.13, 0.16),
        "coat": cover(0.07 - e[1], 0.07) * cover(0.02 - e[0], 0.1),
        "fur": fur,
    }


def slopes(height: Tensor, p: Tensor) -> dict[str, Tensor]:
    """Return the slope of a relief along x and y."""
    spacing = (p[0, 0, 0, 1] - p[0, 0, 0, 0]).item()
    slope_y, slope_x = torch.gradient(height, spacing=spacing, dim=(1, 2))
    return {"slope_x": slope_x, "slope_y": slope_y}


# What draws the maps of each part, half their width in its own units, and the y of their middle.
MAPS = {
    "head": (head, 1.3, 0.0),
    "face": (face, 1.3, 0.0),
    "body": (body, 1.3, 0.6),
    "ear": (ear, 0.36, 0.0),
}
