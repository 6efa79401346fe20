"""Where a tiger may be: jungle, snow, savanna, night and water, each at its times of day.

Each place has a painter for what lies behind the tiger and one for what is nearer to us. They get
the canvas (3, N, R, S), a grid p of points (a row and a column), and a `Scene`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from tigerdiff.tigers.painting.primitives import (
    Points,
    almond,
    bump,
    cover,
    ellipse,
    field,
    gaussian,
    length,
    over,
    rgb,
    smooth,
    turned,
)


class Scene:
    """What the painter of a place gets of the looks of the tigers ``at`` that are there.

    Colours are (3, N, 1, 1), positions (N, 1, 1), random numbers (N, 512) in [0, 1), those named
    "behind" or "before"; ``first`` is the number of the first row that is painted.
    """

    def __init__(self, looks: dict[str, Any], random: str, at: slice | Tensor, first: int) -> None:
        self.zenith, self.horizon = looks["zenith"][:, at], looks["horizon"][:, at]
        self.tint, self.chin = looks["tint"][:, at], looks["chin"][at]
        self.sun_x, self.random, self.first = looks["light_x"][at], looks[random][at], first

    def numbers(self, first: int, n: int, each: int) -> Iterator[Tensor]:
        """Yield n groups of `each` random numbers (each, N, 1, 1), from column `first` on."""
        for i in range(first, first + n * each, each):
            yield self.random[:, i : i + each].T[..., None, None]

    def field(self, p: Points, first: int, rows: int, columns: int) -> Tensor:
        """Return smooth noise at the points, from rows x columns random numbers from `first` on."""
        lattice = self.random[:, first : first + rows * columns].view(-1, rows, columns)
        painted = slice(self.first, self.first + p[1].shape[1])
        return field(lattice, p[0].shape[-1], painted)


def spark(p: Points, x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    """Return a point of light, which keeps its sum where it is smaller than a pixel."""
    wide = radius.square() + 0.35 * (2 / p[0].shape[-1]) ** 2
    across, down = (p[0] - x).square() / wide, (p[1] - y).square() / wide
    return gaussian(across) * gaussian(down) * (radius.square() / wide)


def jungle(canvas: Tensor, p: Points, scene: Scene) -> Tensor:
    """Paint sun through leaves, out of focus."""
    haze = 0.5 + 0.35 * scene.field(p, 0, 5, 5) + 0.20 * scene.field(p, 25, 11, 11)
    sun = bump(p, 0.85 * scene.sun_x, -0.95, 0.95, 0.95)
    sun = sun + 0.35 * bump(p, -0.95 * scene.sun_x, -0.70, 0.45, 0.70)
    canvas = over(rgb(canvas, (0.03, 0.085, 0.05)), (0.16, 0.31, 0.12), haze.clamp(0, 1))
    glow = rgb(canvas, (0.78, 0.86, 0.48)) * (0.55 + 0.45 * scene.horizon)
    canvas = over(canvas, glow, 0.72 * sun.clamp(0, 1))
    beam = glow * sun
    for i, (x, y, angle, big, bright, _) in enumerate(scene.numbers(150, 15, 6)):
        near = i / 15  # sharper the nearer they are
        q = turned(p, (2.5 * x - 1.25, 2.5 * y - 1.25), torch.where(x < 0.5, 35, 95) + 55 * angle)
        leaf = rgb(canvas, (0.05, 0.13, 0.04)) * (0.5 + 1.4 * bright) + beam * (0.2 + 0.3 * bright)
        shape = almond(q, 0.30 + 0.30 * big, 0.045 + 0.05 * big)
        canvas.lerp_(leaf, (0.50 + 0.3 * near) * cover(shape, 0.085 - 0.06 * near))
    sparkle = 0.06 + 0.30 * sun
    for x, y, big, warm in scene.numbers(250, 7, 4):  # points of light, spread by the lens
        shape = length(p[0] - 2.2 * x + 1.1, p[1] - 1.6 * y + 1.1) - 0.03 - 0.05 * big
        canvas.lerp_(glow, sparkle * (0.4 + warm) * cover(shape, 0.012))
    return canvas.mul_(0.25 + 0.75 * scene.tint)


def snow(canvas: Tensor, p: Points, scene: Scene) -> Tensor:
    """Paint firs under snow at the edge of a white field."""
    (sky_line, slope), *_ = scene.numbers(0, 1, 2)
    veil = rgb(canvas, (0.86, 0.90, 0.95))
    zenith, horizon = torch.lerp(scene.zenith, veil, 0.45), torch.lerp(scene.horizon, veil, 0.40)
    canvas = over(zenith, horizon, smooth(0.5 * p[1] + 0.75))
    ground = 0.02 + 0.25 * sky_line + 0.10 * (slope - 0.5) * p[0]
    for i, (x, big, wide, dark) in enumerate(scene.numbers(10, 9, 4)):
        near = i / 9
        x, top = (2.4 * (i * 0.382 % 1) - 1.2) + 0.3 * x, ground - 0.30 - 0.55 * big - 0.25 * near
        down, aside = p[1] - top, (p[0] - x).abs()
        tier = (down * (9 - 3 * big) - 1.6 * aside + wide) % 1  # boughs hang outwards
        cone = aside - (0.16 + 0.10 * wide) * down * (0.72 + 0.5 * tier)
        fir = torch.maximum(cone, p[1] - ground - 0.04)
        green, haze = rgb(canvas, (0.13, 0.23, 0.22)) * (0.7 + 0.5 * dark), 0.40 - 0.28 * near
        green, white = (torch.lerp(x * scene.tint, scene.horizon, haze) for x in (green, veil))
        tree = over(green, white, 0.22 + 0.62 * smooth(1.25 - 1.9 * tier))
        canvas = over(canvas, tree, cover(fir, 0.030 - 0.012 * near))
    drifts = 0.5 + 0.5 * scene.field(p, 60, 9, 4)
    white = over(rgb(canvas, (0.72, 0.80, 0.91)), (0.97, 0.98, 1.0), drifts.clamp(0, 1))
    white = white * (0.30 + 0.70 * scene.tint) * (1.0 - 0.10 * smooth(p[1]))
    return over(canvas, white, cover(ground + 0.02 * drifts - p[1], 0.025))


def snow_front(canvas: Tensor, p: Points, scene: Scene) -> Tensor:
    """Paint flakes between us and the tiger."""
    for x, y, big in scene.numbers(0, 22, 3):
        size = 0.008 + 0.026 * big**3
        flake = spark(p, 2.2 * x - 1.1, 2.2 * y - 1.1, size) * (0.95 - 0.4 * big)
        canvas = over(canvas, 0.35 + 0.65 * scene.tint, flake)
    return canvas


def savanna(canvas: Tensor, p: Points, scene: Scene) -> Tensor:
    """Paint dry grass to the horizon, hills and acacias."""
    (sky_line, hill), *_ = scene.numbers(0, 1, 2)
    horizon = -0.16 + 0.22 * sky_line
    canvas = over(scene.zenith, scene.horizon, smooth((p[1] + 1.1) / (1.1 + horizon)))
    sun = bump(p, 0.9 * scene.sun_x, horizon - 0.45, 0.30, 0.30)
    canvas = over(canvas, (1.0, 0.97, 0.84), 0.6 * sun)
    ridge = horizon - 0.05 - 0.11 * torch.sin(2.1 * p[0] + 6.3 * hill).clamp_min(-0.3)
    far = torch.lerp(scene.horizon, rgb(canvas, (0.46, 0.47, 0.44)) * scene.tint, 0.5)
    canvas = over(canvas, far, cover(ridge - p[1], 0.03))
    for i, (x, big, flat, lean) in enumerate(scene.numbers(5, 3, 4)):
        x, big = (0.9 * i - 0.9 + 0.6 * (x - 0.5)), 0.6 + 0.7 * big
        top = horizon - 0.33 * big
        crown = ellipse(p, x, top, 0.34 * big, (0.065 + 0.03 * flat) * big)
        tip = ellipse(p, x + 0.15 * (lean - 0.5), top - 0.05 * big, 0.20 * big, 0.06 * big)
        stem = (p[0] - x - 0.3 * (lean - 0.5) * (p[1] - horizon)).abs() - 0.016 * big
        stem = torch.maximum(torch.maximum(stem, top - p[1]), p[1] - horizon - 0.05)
        tree = torch.lerp(rgb(canvas, (0.24, 0.27, 0.10)) * scene.tint, scene.horizon, 0.18)
        acacia = torch.minimum(torch.minimum(crown, tip), stem)
        canvas = over(canvas, tree, 0.95 * cover(acacia, 0.022))
    depth = smooth((p[1] - horizon) / (1 - horizon))
    straw = scene.field(p, 30, 6, 40) * (0.25 + 0.75 * depth)
    patch = scene.field(p, 270, 6, 3)
    grass = over(rgb(canvas, (0.80, 0.66, 0.36)), (0.62, 0.45, 0.16), depth * 0.8 + 0.25 * patch)
    grass = grass * (1 + 0.24 * straw) * scene.tint
    ragged = 0.03 * scene.field(p, 300, 2, 48)
    return over(canvas, grass, cover(horizon + ragged - p[1], 0.02))


def savanna_front(canvas: Tensor, p: Points, scene: Scene) -> Tensor:
    """Paint blades of grass before the tiger."""
    for i, (x, high, bend, thick, pale) in enumerate(scene.numbers(0, 16, 5)):
        x, top = 2.3 * (i * 0.618 % 1) - 1.15 + 0.15 * x, 0.93 - 0.42 * high
        up = ((1.05 - p[1]) / (1.05 - top)).clamp(0, 1.2)
        blade = (p[0] - x - 0.35 * (bend - 0.5) * up.square()).abs()
        blade = blade - (0.010 + 0.014 * thick) * (1 - up) + 0.3 * (up - 1).clamp_min(0)
        straw = over(rgb(canvas, (0.60, 0.43, 0.14)), (0.95, 0.83, 0.50), pale) * scene.tint
        canvas = over(canvas, straw * (0.55 + 0.45 * up), 0.92 * cover(blade, 0.010))
    return canvas


def night(canvas: Tensor, p: Points, scene: Scene) -> Tensor:
    """Paint a moon, stars, and the black line of the woods."""
    (x, y, big, cloud), *_ = scene.numbers(0, 1, 4)
    canvas = over(scene.zenith, scene.horizon, smooth(0.42 * p[1] + 0.45))
    milky = scene.field(p, 10, 5, 5)
    canvas = canvas + rgb(canvas, (0.05, 0.06, 0.10)) * (milky + 0.2 * cloud).clamp_min(0)
    for star_x, star_y, bright in scene.numbers(40, 34, 3):
        star = spark(p, 2.2 * star_x - 1.1, 1.7 * star_y - 1.1, 0.007 + 0.010 * bright**4)
        canvas = canvas + (0.45 + 0.75 * bright) * star * rgb(canvas, (1.0, 0.97, 0.88))
    radius = 0.10 + 0.06 * big
    d = length(p[0] - 0.9 * scene.sun_x * (0.9 + 0.1 * x), p[1] - (-0.82 + 0.25 * y))
    canvas = canvas + rgb(canvas, (0.34, 0.40, 0.52)) * gaussian(d / (2.2 * radius))
    seas = 0.92 - 0.14 * (0.5 + scene.field(p, 150, 12, 12)).clamp(0, 1)
    canvas = over(canvas, rgb(canvas, (1.0, 0.97, 0.86)) * seas, cover(d - radius, 0.012))
    for k, shade, base in ((7, 0.55, 0.02), (14, 0.25, 0.22)):
        line = base + 0.16 * scene.field(p, 300 + k, 2, k) + 0.05 * scene.field(p, 350, 2, 3 * k)
        canvas = over(canvas, scene.horizon * shade * 0.6, cover(line - p[1], 0.02))
    return canvas


def night_front(canvas: Tensor, p: Points, scene: Scene) -> Tensor:
    """Paint fireflies."""
    for x, y, big in scene.numbers(0, 7, 3):
        x = torch.where(x < 0.5, x - 0.98, x + 0.02)
        x, y = x.sign() * (1 - 0.42 * x.abs()), 1.1 * y - 0.1
        glow = 0.35 * spark(p, x, y, 0.05 + 0.03 * big) + 0.9 * spark(p, x, y, 0.012 + 0.008 * big)
        canvas = canvas + glow * rgb(canvas, (0.95, 0.95, 0.35))
    return canvas


def ripples(p: Points, scene: Scene, horizon: Tensor | float) -> Tensor:
    """Return waves in perspective, (N, R, S) in about [-1, 1]: finer towards the horizon."""
    depth = (p[1] - horizon).clamp_min(0) + 0.10
    (a, b, c, d), *_ = scene.numbers(0, 1, 4)
    sway = scene.field(p, 4, 10, 6)
    wave = 9 / depth.sqrt() * 2.1 + 5.5 * p[0] / depth.sqrt() * (a - 0.5) + 2.8 * sway + 6.3 * b
    fine = 23 / depth.sqrt() + 9.0 * p[0] / depth.sqrt() * (c - 0.5) - 3.4 * sway + 6.3 * d
    return 0.6 * torch.sin(wave) + 0.4 * torch.sin(fine)


def water(canvas: Tensor, p: Points, scene: Scene) -> Tensor:
    """Paint a lake with a wooded shore."""
    (sky_line,), *_ = scene.numbers(500, 1, 1)
    horizon = -0.48 + 0.25 * sky_line
    canvas = over(scene.zenith, scene.horizon, smooth((p[1] + 1.1) / (1.1 + horizon)))
    woods = horizon - 0.16 + 0.09 * scene.field(p, 100, 2, 9) + 0.035 * scene.field(p, 120, 2, 26)
    trees = rgb(canvas, (0.13, 0.24, 0.15)) * scene.tint
    canvas = over(canvas, torch.lerp(trees, scene.horizon, 0.22), cover(woods - p[1], 0.025))
    depth = smooth((p[1] - horizon) / (1 - horizon))
    blue = over(rgb(canvas, (0.13, 0.47, 0.60)), (0.03, 0.24, 0.40), depth)
    blue = blue * (0.35 + 0.65 * scene.tint)
    wave = ripples(p, scene, horizon)
    blue = over(blue, torch.lerp(scene.zenith, scene.horizon, 0.4), 0.34 * smooth(wave * 0.8 + 0.1))
    blue = over(blue, trees * 0.8, 0.7 * cover((p[1] - horizon - 0.14).expand_as(wave), 0.12))
    glint = bump(p, 0.75 * scene.sun_x, 0.4, 0.28, 1.2) * smooth(2.5 * wave - 1.2)
    blue = over(blue, 0.4 + 0.6 * scene.horizon, 0.75 * glint)
    return over(canvas, blue, cover((horizon - p[1]).expand_as(wave), 0.012))


def water_front(canvas: Tensor, p: Points, scene: Scene) -> Tensor:
    """Paint the surface in which the tiger swims."""
    wave = ripples(p, scene, 0.2)
    level = scene.chin.clamp(0.66, 0.86) + 0.020 * wave + 0.05 * (p[0].square())
    under = cover(level - p[1], 0.012)
    blue = over(rgb(canvas, (0.10, 0.40, 0.52)), (0.02, 0.20, 0.34), smooth((p[1] - 0.6) / 0.5))
    blue = blue * (0.35 + 0.65 * scene.tint)
    blue = over(blue, torch.lerp(scene.zenith, scene.horizon, 0.4), 0.42 * smooth(0.8 * wave))
    mixed = torch.lerp(blue, canvas * blue * 2.2, 0.45)
    canvas = over(canvas, mixed, 0.92 * under)
    foam = gaussian(((p[1] - level - 0.012) / 0.020).square()) * bump(p, 0, 0.7, 0.75, 0.3)
    return over(canvas, 0.25 + 0.70 * scene.tint, 0.55 * foam * (0.6 + 0.4 * wave))


def jungle_front(canvas: Tensor, p: Points, scene: Scene) -> Tensor:
    """Paint leaves too near to be sharp, in the lower corners."""
    for i, (x, y, angle, big, wide) in enumerate(scene.numbers(0, 6, 5)):
        side = 1 if i % 2 else -1
        q = turned(p, (side * (0.70 + 0.35 * x), 0.78 + 0.36 * y), side * (25 + 55 * angle))
        long, thick = 0.38 + 0.25 * big, 0.07 + 0.05 * wide
        sheen = bump(q, 0, -thick, long, thick)
        leaf = over(rgb(canvas, (0.06, 0.16, 0.05)), (0.28, 0.43, 0.12), sheen)
        leaf = leaf * (0.3 + 0.7 * scene.tint)
        canvas = over(canvas, leaf, 0.92 * cover(almond(q, long, thick), 0.03 + 0.03 * big))
    return canvas


# The painters, and the y from which on they paint.
PAINTERS: dict[str, dict[str, tuple[Callable[[Tensor, Points, Scene], Tensor], float]]] = {
    "behind": {f.__name__: (f, -1.0) for f in (jungle, snow, savanna, night, water)},
    "before": {
        "jungle": (jungle_front, 0.1), "snow": (snow_front, -1.0), "savanna": (savanna_front, 0.43),
        "night": (night_front, -1.0), "water": (water_front, 0.5),
    },
}  # fmt: skip
