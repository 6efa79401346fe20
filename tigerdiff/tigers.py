"""The painted tiger: a portrait drawn with nothing but arithmetic on a grid of coordinates.

Layers go on the canvas back to front: jungle, body, ears, head, eyes, nose and mouth, whiskers,
near leaves. Fur is noise smeared along the direction in which the hair grows; it also displaces
the coordinates in which stripes and outlines are drawn, which makes their edges hairy. The head
has a relief, and the light falls on that. The tools are those of `_painting`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from tigerdiff._painting import (
    almond,
    blend,
    both_sides,
    bump,
    cover,
    ellipse,
    fbm,
    fbm2,
    grid,
    hair,
    lit,
    mirrored,
    noise,
    over,
    rgb,
    strokes,
    turned,
    unit,
)

ORANGE, RUST, SAND = (0.87, 0.47, 0.13), (0.66, 0.29, 0.07), (0.95, 0.70, 0.38)
WHITE, CREAM, BARK = (0.97, 0.93, 0.86), (0.96, 0.86, 0.70), (0.30, 0.16, 0.09)
INK, PINK, AMBER = (0.055, 0.04, 0.035), (0.80, 0.47, 0.42), (0.78, 0.50, 0.10)

# Strokes of the right half of the head (or body): x0 y0  x1 y1  x2 y2  half width  lean
FACE_STRIPES = [
    # forehead: pairs of arcs that spring from the midline
    (0.020, -0.770, 0.090, -0.790, 0.180, -0.755, 0.015, 0.80),
    (0.012, -0.670, 0.110, -0.715, 0.240, -0.665, 0.024, 0.80),
    (0.012, -0.560, 0.120, -0.615, 0.255, -0.540, 0.028, 0.80),
    (0.030, -0.455, 0.085, -0.510, 0.150, -0.490, 0.018, 0.90),
    (0.000, -0.760, 0.008, -0.620, 0.000, -0.460, 0.015, 0.80),
    (0.045, -0.410, 0.058, -0.360, 0.050, -0.290, 0.009, 0.80),
    (0.095, -0.400, 0.105, -0.360, 0.100, -0.320, 0.007, 0.80),
    # above the eye and the temple
    (0.115, -0.345, 0.140, -0.425, 0.215, -0.460, 0.017, 0.70),
    (0.160, -0.345, 0.235, -0.390, 0.330, -0.345, 0.018, 1.00),
    (0.270, -0.535, 0.325, -0.475, 0.345, -0.395, 0.019, 0.90),
    (0.285, -0.690, 0.365, -0.610, 0.400, -0.510, 0.024, 0.90),
    (0.405, -0.470, 0.435, -0.360, 0.410, -0.250, 0.022, 0.90),
    # cheek: arcs around the eye, longer and thicker outwards
    (0.375, -0.210, 0.400, -0.130, 0.365, -0.050, 0.016, 0.90),
    (0.485, -0.430, 0.515, -0.200, 0.445, 0.000, 0.029, 1.00),
    (0.440, 0.045, 0.390, 0.090, 0.320, 0.090, 0.015, 0.80),
    (0.575, -0.340, 0.610, -0.050, 0.490, 0.170, 0.037, 1.10),
    (0.480, 0.200, 0.430, 0.260, 0.350, 0.270, 0.017, 0.80),
    (0.680, -0.050, 0.655, 0.180, 0.500, 0.340, 0.037, 0.90),
    (0.640, 0.330, 0.550, 0.460, 0.410, 0.500, 0.027, 0.80),
]
BODY_STRIPES = [
    (0.660, 0.220, 0.780, 0.500, 0.640, 0.860, 0.038, 0.90),
    (0.880, 0.250, 0.950, 0.600, 0.800, 1.050, 0.045, 0.90),
    (0.500, 0.500, 0.500, 0.740, 0.270, 0.900, 0.030, 0.90),
    (1.040, 0.420, 1.060, 0.750, 0.980, 1.100, 0.045, 0.90),
    (0.480, 0.860, 0.380, 0.980, 0.180, 1.040, 0.028, 0.90),
]
WHISKERS = [
    (0.200, 0.275, 0.500, 0.190, 0.840, 0.260, 0.0036, 0.45),
    (0.220, 0.305, 0.540, 0.260, 0.900, 0.400, 0.0040, 0.45),
    (0.230, 0.335, 0.540, 0.330, 0.840, 0.530, 0.0040, 0.45),
    (0.220, 0.365, 0.480, 0.400, 0.730, 0.640, 0.0036, 0.45),
    (0.190, 0.385, 0.400, 0.450, 0.560, 0.680, 0.0034, 0.45),
    (0.230, 0.290, 0.470, 0.210, 0.710, 0.200, 0.0030, 0.45),
]
EYE_LINES = [  # from the inner corner towards the nose, and the tail of the outer corner
    (0.160, -0.245, 0.126, -0.205, 0.112, -0.110, 0.021, 0.55),
    (0.300, -0.285, 0.340, -0.305, 0.380, -0.300, 0.011, 0.60),
]
LIPS = [(-0.010, 0.447, 0.110, 0.527, 0.245, 0.520, 0.018, 1.10)]
PHILTRUM = [(0.000, 0.295, 0.000, 0.375, 0.000, 0.460, 0.010, 1.00)]
NOSTRIL = [(0.040, 0.267, 0.085, 0.258, 0.132, 0.220, 0.016, 0.90)]
NEAR_LEAVES = [  # x, y, angle in degrees, half length, half width, blur
    (-0.95, 0.98, -50, 0.60, 0.10, 0.050),
    (-0.65, 1.06, -25, 0.45, 0.09, 0.060),
    (-1.02, 0.70, -75, 0.45, 0.07, 0.045),
    (0.98, 1.02, 58, 0.52, 0.10, 0.055),
    (0.74, 1.10, 28, 0.42, 0.08, 0.060),
]


def paint_tiger(size: int = 512) -> Tensor:
    """The course's own tiger: a portrait in the jungle, the same at every size.

    Small pictures are painted at about 512 pixels and averaged down.

    Args:
        size: Width and height in pixels, 16 to 1024.

    Returns:
        uint8 tensor (3, size, size), RGB.

    Raises:
        ValueError: If size is not a whole number from 16 to 1024.
    """
    if not isinstance(size, int) or not 16 <= size <= 1024:
        raise ValueError(f"size must be a whole number from 16 to 1024, got {size!r}")
    factor = max(1, round(512 / size))
    p = grid(size * factor)
    h = posed(p, centre=(0.0, 0.055), scale=0.98, tilt=-4.0, turn=0.09)
    canvas = jungle(size * factor)
    for layer, points in ((body, p), (ears, h), (head, h), (eyes, h), (mouth, h), (whiskers, h)):
        canvas = layer(canvas, points)
    canvas = near_leaves(canvas, p).clamp_min(0)
    canvas = canvas / (1 + canvas**8) ** 0.125  # highlights roll off instead of clipping
    return (F.avg_pool2d(canvas[None], factor)[0] * 255).round().to(torch.uint8)


def posed(p: Tensor, centre: tuple[float, float], scale: float, tilt: float, turn: float) -> Tensor:
    """Coordinates of the head: tilted, and turned by shifting most what is nearest to us."""
    h = turned(p, centre, tilt) / scale
    return torch.stack((h[0] + turn * (bump(h, 0, 0.15, 0.45, 0.60) - 0.5), h[1]))


def jungle(size: int, seed: int = 5) -> Tensor:
    """The backdrop: sun through leaves, so far out of focus that half the pixels suffice."""
    p = grid(size // 2)
    sun = bump(p, -0.80, -0.95, 0.90, 1.10) + 0.4 * bump(p, 0.95, -0.75, 0.50, 0.80)
    canvas = rgb((0.03, 0.08, 0.05)).expand(3, *sun.shape)
    canvas = over(canvas, (0.17, 0.31, 0.13), (0.45 + 0.54 * fbm(p, 2.2, seed, 3)).clamp(0, 1))
    canvas = over(canvas, (0.80, 0.80, 0.40), 0.75 * sun)
    glow = sun.new_tensor([0.45, 0.42, 0.15]).view(3, 1, 1) * sun
    random = torch.Generator().manual_seed(seed)
    leaves = torch.rand(48, 6, generator=random).tolist()
    for i, (x, y, angle, big, bright, _) in enumerate(leaves):  # sharper the nearer they are
        near = i / len(leaves)
        lean = 55 * (angle - 0.5) + (60 if x < 0.5 else 120)
        q = turned(p, (2.6 * x - 1.3, 2.6 * y - 1.3), lean)
        shape = almond(q, 0.28 + 0.25 * big, 0.035 + 0.05 * big)
        leaf = rgb((0.03, 0.11 + 0.12 * bright, 0.04)) + (0.35 + 0.65 * bright) * glow
        canvas = over(canvas, leaf, (0.45 + 0.3 * near) * cover(shape, 0.085 - 0.06 * near))
    for x, y, _, big, bright, warm in torch.rand(48, 6, generator=random).tolist():
        disc = torch.hypot(p[0] - (2.6 * x - 1.3), p[1] - (2.6 * y - 1.3))
        disc = disc - (0.025 + 0.07 * big * warm)  # a point of light, spread by the lens
        ring = 0.65 + 0.35 * torch.exp(-((disc + 0.014) / 0.014).square())
        strength = (0.05 + 0.45 * sun) * (0.4 + 0.6 * bright) * ring
        canvas = over(canvas, (0.95, 0.95, 0.55 + 0.2 * warm), strength * cover(disc, 0.012))
    return F.interpolate(canvas[None], size, mode="bilinear", align_corners=False)[0]


def body(canvas: Tensor, p: Tensor) -> Tensor:
    """Shoulders and white chest, in the shadow of the head."""
    growth = unit(torch.stack((0.5 * p[0] + 0.12 * fbm(p, 6, 23), torch.full_like(p[0], 0.6))))
    locks = hair(p, growth, 0.14, 45, 22)
    fur = hair(p, growth, 0.06, 120, 21) + 0.6 * locks
    q = p + 0.016 * locks * growth
    side = mirrored(q)
    shape = blend(ellipse(side, 0.40, 1.0, 0.66, 0.66), ellipse(q, 0, 0.6, 0.62, 0.6), 0.2)
    coat = over(rgb(ORANGE), RUST, bump(side, 0.95, 1.0, 0.3, 0.6))
    coat = over(coat, WHITE, cover(0.55 - bump(q, 0, 0.8, 0.42, 0.6) - 0.06 * fur, 0.35))
    stripes = strokes(q + 0.025 * fbm2(p, 4, 31), both_sides(BODY_STRIPES, 3, 0.03))
    coat = over(coat, INK, 0.93 * cover(stripes + 0.012 * noise(p, 9, 51), 0.014))
    shoulders = bump(p, 0.45, 1.0, 0.5, 0.7) + bump(p, -0.45, 1.0, 0.5, 0.7)
    light = lit(0.5 * shoulders + 0.25 * bump(p, 0, 0.8, 0.3, 0.6))
    shadow = 1 - 0.72 * bump(p, 0.08, 0.42, 0.66, 0.42)
    return over(canvas, coat * light * shadow * (0.88 + 0.13 * fur), cover(shape, 0.010))


def ears(canvas: Tensor, h: Tensor) -> Tensor:
    """Round ears: the rim of the dark back, the pale hairy hollow, the fur at the root."""
    e = turned(mirrored(h), (0.46, -0.69), 34)
    growth = unit(torch.stack((e[0], e[1] - 0.26)))
    fur = hair(e, growth, 0.09, 75, 61)
    e = e + 0.012 * fur * growth
    canvas = over(canvas, INK, cover(ellipse(e, 0, 0, 0.172, 0.205), 0.010))
    coat = over(rgb(CREAM), BARK, 0.95 * bump(e, 0.015, 0.06, 0.085, 0.13))
    coat = over(coat, WHITE, (1.8 * fur - 0.2).clamp(0, 0.9) * bump(e, -0.06, 0.1, 0.13, 0.16))
    coat = over(coat, ORANGE, cover(0.07 - e[1], 0.07) * cover(0.02 - e[0], 0.1))
    coat = coat * rgb((1.0, 0.95, 0.86)) * (0.98 - 0.13 * h[0].sign())
    return over(canvas, coat, cover(ellipse(e, -0.008, 0.036, 0.148, 0.188), 0.020))


def head(canvas: Tensor, h: Tensor) -> Tensor:
    """Skull, ruff, muzzle and chin: coat, stripes, then light on their relief."""
    m = mirrored(h)
    from_nose = torch.stack((h[0], h[1] - 0.18))
    growth = unit(from_nose + 0.10 * fbm2(h, 6, 74))
    locks = hair(h, growth, 0.12, 50, 72)
    fine = hair(h, growth, 0.06, 140, 71)
    # Hair is short by the nose, long on the cheeks and short again on the forehead.
    long = cover(0.42 - torch.hypot(from_nose[0], from_nose[1]), 0.3)
    long = long * (0.35 + 0.65 * cover(-0.15 - h[1], 0.35))
    fur = fine + 0.5 * locks
    q = h + (0.003 + 0.009 * long) * (fine + locks) * growth
    s = mirrored(q)

    cheek = ellipse(turned(m, (0.375, 0.09), 20), 0, 0, 0.30, 0.42)
    skull = blend(ellipse(h, 0, -0.30, 0.50, 0.51), cheek, 0.25)
    smooth = blend(skull, ellipse(h, 0, 0.49, 0.21, 0.215), 0.15)
    shape = smooth + 0.010 + (0.004 + 0.018 * long) * (0.8 * locks + fine)
    pads = ellipse(turned(m, (0.148, 0.378), 20), 0, 0, 0.190, 0.138)
    chin = ellipse(h, 0, 0.570, 0.120, 0.100)

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
    coat = over(over(rgb(ORANGE), RUST, dark), SAND, sandy) * (1 + 0.10 * fbm(h, 7, 77, 3))
    coat = over(coat, WHITE, cover(0.5 - pale - 0.06 * fbm(h, 5, 81) - 0.07 * fur, 0.26))
    stripes = strokes(q + 0.022 * fbm2(h, 4, 91), both_sides(FACE_STRIPES, 4, 0.010))
    coat = over(coat, INK, 0.95 * cover(stripes + 0.006 * noise(h, 14, 99), 0.009))

    relief = (
        0.60 * bump(h, 0, -0.15, 0.60, 0.65)  # skull
        + 0.11 * bump(h, 0, 0.00, 0.15, 0.36)  # bridge of the nose
        + 0.14 * bump(h, 0, 0.30, 0.30, 0.30)  # muzzle
        + 0.065 * cover(pads, 0.085)
        + 0.045 * cover(chin, 0.07)
        + 0.08 * bump(m, 0.46, 0.10, 0.20, 0.30)  # cheek
        + 0.05 * bump(m, 0.20, -0.42, 0.13, 0.10)  # brow
        - 0.05 * bump(m, 0.235, -0.24, 0.10, 0.07)  # socket
    )
    light = lit(relief) * (0.93 + (0.05 + 0.07 * long) * fur)
    light = light * (1 + 0.22 * cover(pads + 0.02, 0.08))
    # Ambient occlusion: under the lips, around the pads, above the throat, at the far edge.
    light = light * (1 - 0.45 * bump(m, 0.10, 0.525, 0.19, 0.05) * cover(-pads, 0.02))
    around = torch.exp(-((pads - 0.015) / 0.03).square())
    light = light * (1 - 0.22 * around * cover(0.3 - h[1], 0.12))
    light = light * (1 - 0.3 * bump(h, 0.02, 0.72, 0.3, 0.06) - 0.2 * bump(m, 0.24, 0.6, 0.08, 0.1))
    light = light * (1 - cover(-0.05 - smooth, 0.13) * (0.16 + 0.20 * cover(-h[0], 0.5)))
    sunny_edge = cover(-0.02 - smooth, 0.07) * (-0.9 * h[0] - 0.4 * h[1]).clamp(0, 1)
    coat = coat * light + 0.45 * sunny_edge * rgb((1.0, 0.85, 0.55))
    return over(canvas, coat, cover(shape, 0.013))


def eyes(canvas: Tensor, h: Tensor) -> Tensor:
    """Amber eyes: dark rim, iris with rays, round pupil, shadow of the lid, catchlight."""
    for side in (1.0, -1.0):
        m = torch.stack((side * h[0], h[1]))
        e = turned(m, (0.228, -0.25), -15)
        lids = torch.maximum(almond(e, 0.092, 0.054), -0.038 - e[1])
        rim = torch.minimum(lids - 0.020, strokes(m, EYE_LINES))
        canvas = over(canvas, INK, 0.95 * cover(rim, 0.012))
        c = turned(m, (0.226, -0.253))
        r = torch.hypot(c[0], c[1])
        iris = over(rgb(AMBER), (0.98, 0.84, 0.40), bump(c, 0, 0.02, 0.05, 0.035))
        iris = over(iris, (0.36, 0.18, 0.03), cover(0.050 - r, 0.016))
        iris = iris * (1 + 0.16 * noise(0.9 * unit(c), 8, 5))
        iris = over(iris, INK, cover(torch.minimum(r - 0.022, 0.064 - r), 0.005))
        iris = over(iris, INK, 0.65 * cover(c[1] + 0.030, 0.025))
        canvas = over(canvas, iris, cover(lids, 0.005))
        spark = torch.hypot(c[0] + side * 0.020, c[1] + 0.019) - 0.012
        canvas = over(canvas, (1.0, 1.0, 1.0), 0.95 * cover(spark, 0.004))
    return canvas


def mouth(canvas: Tensor, h: Tensor) -> Tensor:
    """Nose leather, nostrils, lips, and the dark roots of the whiskers."""
    m = mirrored(h)
    lips = torch.minimum(strokes(h, PHILTRUM), strokes(m, LIPS))
    canvas = over(canvas, INK, 0.92 * cover(lips, 0.008))
    pad = blend(ellipse(m, 0.058, 0.215, 0.076, 0.034), ellipse(h, 0, 0.260, 0.050, 0.062), 0.10)
    canvas = over(canvas, INK, 0.75 * cover(pad - 0.008, 0.014))
    nose = over(rgb(PINK), BARK, 0.8 * cover(0.273 - h[1] - 0.1 * m[0], 0.05))
    nose = over(nose, (0.22, 0.10, 0.08), 0.6 * cover(-0.016 - pad, 0.016))
    nose = over(nose, (1.0, 0.82, 0.76), 0.55 * bump(h, -0.03, 0.207, 0.05, 0.012))
    canvas = over(canvas, nose, cover(pad, 0.008))
    canvas = over(canvas, INK, cover(strokes(m, NOSTRIL), 0.008))
    roots = [
        (0.11 + 0.04 * j, 0.33 + 0.038 * i + 0.01 * j, 0.006) for i in range(3) for j in range(4)
    ]
    dots = [(x, y, x + 0.004, y + 0.002, x + 0.01, y + 0.004, w, 1.0) for x, y, w in roots]
    return over(canvas, INK, 0.65 * cover(strokes(h, both_sides(dots, 9, 0.0)), 0.006))


def whiskers(canvas: Tensor, h: Tensor) -> Tensor:
    """White whiskers, bent down by their weight."""
    return over(canvas, (1.0, 0.97, 0.92), 0.8 * cover(strokes(h, both_sides(WHISKERS, 7, 0.015))))


def near_leaves(canvas: Tensor, p: Tensor) -> Tensor:
    """A few leaves between us and the tiger, too near to be sharp."""
    for x, y, angle, length, width, blur in NEAR_LEAVES:
        q = turned(p, (x, y), angle)
        leaf = over(rgb((0.07, 0.17, 0.05)), (0.30, 0.44, 0.12), bump(q, 0, -width, length, width))
        canvas = over(canvas, leaf, 0.9 * cover(almond(q, length, width), blur))
    return canvas
