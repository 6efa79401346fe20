"""Where a tiger may be: jungle, snow, savanna, night and water, each at its times of day.

Each place has a painter for what lies behind the tiger and one for what is nearer to us. They get
random numbers of the scene's own, (N, 512) in [0, 1), and tints (3, N, 1, 1) of the time of day.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from tigerdiff.tigers.painting.primitives import (
    almond,
    bump,
    cover,
    ellipse,
    field,
    over,
    rgb,
    smooth,
    turned,
)

# Top of the sky, sky at the horizon, what the light does to the colours of the ground.
TIMES = {
    "morning": ((0.60, 0.74, 0.86), (1.00, 0.90, 0.72), (1.00, 0.94, 0.80)),
    "noon": ((0.22, 0.50, 0.88), (0.70, 0.86, 0.97), (1.00, 1.00, 1.00)),
    "dusk": ((0.33, 0.24, 0.50), (1.00, 0.55, 0.30), (0.90, 0.62, 0.54)),
    "night": ((0.015, 0.025, 0.085), (0.10, 0.15, 0.32), (0.34, 0.42, 0.66)),
}


class Scene:
    """What a painter must know: colours of the time of day, where sun and chin of the tiger are.

    Colours are (3, N, 1, 1), positions (N, 1, 1).
    """

    def __init__(self, names: list[str], light: Tensor, chin: Tensor) -> None:
        zenith, horizon, tint = zip(*(TIMES[name] for name in names))
        self.zenith, self.horizon, self.tint = (
            torch.tensor(colours, dtype=torch.float32, device=light.device).T[..., None, None]
            for colours in (zenith, horizon, tint)
        )
        self.chin = chin
        self.sun_x = torch.sin(light * (math.pi / 180))


def numbers(random: Tensor, first: int, n: int, each: int) -> Iterator[Tensor]:
    """Groups of `each` random numbers (each, N, 1, 1), n of them, from column `first` on."""
    for i in range(n):
        yield random[:, first + i * each : first + (i + 1) * each].T[..., None, None]


def lattice(random: Tensor, first: int, rows: int, columns: int) -> Tensor:
    """A lattice (N, rows, columns) of the random numbers, to make a field of."""
    return random[:, first : first + rows * columns].view(-1, rows, columns)


def spark(p: Tensor, x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    """A point of light, which keeps its sum where it is smaller than a pixel."""
    wide = radius.square() + 0.35 * (2 / p.shape[-1]) ** 2
    row, column = p[0][:, :1], p[1][:, :, :1]  # of a grid: the exponential is a product
    across, down = (row - x).square() / wide, (column - y).square() / wide
    return torch.exp(-across) * torch.exp(-down) * (radius.square() / wide)


def jungle(canvas: Tensor, p: Tensor, random: Tensor, scene: Scene) -> Tensor:
    """Sun through leaves, out of focus."""
    size = p.shape[-1]
    haze = 0.5 + 0.35 * field(lattice(random, 0, 5, 5), size)
    haze = haze + 0.20 * field(lattice(random, 25, 11, 11), size)
    sun = bump(p, 0.85 * scene.sun_x, -0.95, 0.95, 0.95)
    sun = sun + 0.35 * bump(p, -0.95 * scene.sun_x, -0.70, 0.45, 0.70)
    canvas = over(rgb((0.03, 0.085, 0.05), p.device), (0.16, 0.31, 0.12), haze.clamp(0, 1))
    glow = rgb((0.78, 0.86, 0.48), p.device) * (0.55 + 0.45 * scene.horizon)
    canvas = over(canvas, glow, 0.72 * sun.clamp(0, 1))
    for i, (x, y, angle, big, bright, _) in enumerate(numbers(random, 150, 15, 6)):
        near = i / 15  # sharper the nearer they are
        q = turned(p, (2.5 * x - 1.25, 2.5 * y - 1.25), torch.where(x < 0.5, 35, 95) + 55 * angle)
        leaf = rgb((0.05, 0.13, 0.04), p.device) * (0.5 + 1.4 * bright) + glow * sun * (
            0.2 + 0.3 * bright
        )
        shape = almond(q, 0.30 + 0.30 * big, 0.045 + 0.05 * big)
        canvas = over(canvas, leaf, (0.50 + 0.3 * near) * cover(shape, 0.085 - 0.06 * near))
    for x, y, big, warm in numbers(random, 250, 7, 4):  # points of light, spread by the lens
        shape = torch.hypot(p[0] - 2.2 * x + 1.1, p[1] - 1.6 * y + 1.1) - 0.03 - 0.05 * big
        canvas = over(canvas, glow, (0.06 + 0.30 * sun) * (0.4 + warm) * cover(shape, 0.012))
    return canvas * (0.25 + 0.75 * scene.tint)


def snow(canvas: Tensor, p: Tensor, random: Tensor, scene: Scene) -> Tensor:
    """Firs under snow at the edge of a white field."""
    size = p.shape[-1]
    (sky_line, slope), *_ = numbers(random, 0, 1, 2)
    veil = rgb((0.86, 0.90, 0.95), p.device)
    canvas = over(
        torch.lerp(scene.zenith, veil, 0.45),
        torch.lerp(scene.horizon, veil, 0.40),
        smooth(0.5 * p[1] + 0.75),
    )
    ground = 0.02 + 0.25 * sky_line + 0.10 * (slope - 0.5) * p[0]
    for i, (x, big, wide, dark) in enumerate(numbers(random, 10, 9, 4)):
        near = i / 9
        x, top = (2.4 * (i * 0.382 % 1) - 1.2) + 0.3 * x, ground - 0.30 - 0.55 * big - 0.25 * near
        down, aside = p[1] - top, (p[0] - x).abs()
        tier = (down * (9 - 3 * big) - 1.6 * aside + wide) % 1  # boughs hang outwards
        fir = torch.maximum(
            aside - (0.16 + 0.10 * wide) * down * (0.72 + 0.5 * tier), p[1] - ground - 0.04
        )
        green = rgb((0.13, 0.23, 0.22), p.device) * (0.7 + 0.5 * dark)
        tree = over(green, veil, 0.22 + 0.62 * smooth(1.25 - 1.9 * tier))
        tree = torch.lerp(tree * scene.tint, scene.horizon, 0.40 - 0.28 * near)
        canvas = over(canvas, tree, cover(fir, 0.030 - 0.012 * near))
    drifts = 0.5 + 0.5 * field(lattice(random, 60, 9, 4), size)
    white = over(rgb((0.72, 0.80, 0.91), p.device), (0.97, 0.98, 1.0), drifts.clamp(0, 1))
    white = white * (0.30 + 0.70 * scene.tint) * (1.0 - 0.10 * smooth(p[1]))
    return over(canvas, white, cover(ground + 0.02 * drifts - p[1], 0.025))


def snow_front(canvas: Tensor, p: Tensor, random: Tensor, scene: Scene) -> Tensor:
    """Flakes between us and the tiger."""
    for x, y, big in numbers(random, 0, 22, 3):
        size = 0.008 + 0.026 * big**3
        flake = spark(p, 2.2 * x - 1.1, 2.2 * y - 1.1, size) * (0.95 - 0.4 * big)
        canvas = over(canvas, 0.35 + 0.65 * scene.tint, flake)
    return canvas


def savanna(canvas: Tensor, p: Tensor, random: Tensor, scene: Scene) -> Tensor:
    """Dry grass to the horizon, hills and acacias."""
    size = p.shape[-1]
    (sky_line, hill), *_ = numbers(random, 0, 1, 2)
    horizon = -0.16 + 0.22 * sky_line
    canvas = over(scene.zenith, scene.horizon, smooth((p[1] + 1.1) / (1.1 + horizon)))
    sun = bump(p, 0.9 * scene.sun_x, horizon - 0.45, 0.30, 0.30)
    canvas = over(canvas, (1.0, 0.97, 0.84), 0.6 * sun)
    ridge = horizon - 0.05 - 0.11 * torch.sin(2.1 * p[0] + 6.3 * hill).clamp_min(-0.3)
    far = torch.lerp(scene.horizon, rgb((0.46, 0.47, 0.44), p.device) * scene.tint, 0.5)
    canvas = over(canvas, far, cover(ridge - p[1], 0.03))
    for i, (x, big, flat, lean) in enumerate(numbers(random, 5, 3, 4)):
        x, big = (0.9 * i - 0.9 + 0.6 * (x - 0.5)), 0.6 + 0.7 * big
        top = horizon - 0.33 * big
        crown = ellipse(p, x, top, 0.34 * big, (0.065 + 0.03 * flat) * big)
        crown = torch.minimum(
            crown, ellipse(p, x + 0.15 * (lean - 0.5), top - 0.05 * big, 0.20 * big, 0.06 * big)
        )
        stem = (p[0] - x - 0.3 * (lean - 0.5) * (p[1] - horizon)).abs() - 0.016 * big
        stem = torch.maximum(torch.maximum(stem, top - p[1]), p[1] - horizon - 0.05)
        tree = torch.lerp(rgb((0.24, 0.27, 0.10), p.device) * scene.tint, scene.horizon, 0.18)
        canvas = over(canvas, tree, 0.95 * cover(torch.minimum(crown, stem), 0.022))
    depth = smooth((p[1] - horizon) / (1 - horizon))
    straw = field(lattice(random, 30, 6, 40), size) * (0.25 + 0.75 * depth)
    patch = field(lattice(random, 270, 6, 3), size)
    grass = over(rgb((0.80, 0.66, 0.36), p.device), (0.62, 0.45, 0.16), depth * 0.8 + 0.25 * patch)
    grass = grass * (1 + 0.24 * straw) * scene.tint
    ragged = 0.03 * field(lattice(random, 300, 2, 48), size)
    return over(canvas, grass, cover(horizon + ragged - p[1], 0.02))


def savanna_front(canvas: Tensor, p: Tensor, random: Tensor, scene: Scene) -> Tensor:
    """Blades of grass before the tiger."""
    for i, (x, high, bend, thick, pale) in enumerate(numbers(random, 0, 16, 5)):
        x, top = 2.3 * (i * 0.618 % 1) - 1.15 + 0.15 * x, 0.93 - 0.42 * high
        up = ((1.05 - p[1]) / (1.05 - top)).clamp(0, 1.2)
        blade = (p[0] - x - 0.35 * (bend - 0.5) * up.square()).abs() - (0.010 + 0.014 * thick) * (
            1 - up
        )
        straw = over(rgb((0.60, 0.43, 0.14), p.device), (0.95, 0.83, 0.50), pale) * scene.tint
        canvas = over(
            canvas,
            straw * (0.55 + 0.45 * up),
            0.92 * cover(blade + 0.3 * (up - 1).clamp_min(0), 0.010),
        )
    return canvas


def night(canvas: Tensor, p: Tensor, random: Tensor, scene: Scene) -> Tensor:
    """A moon, stars, and the black line of the woods."""
    size = p.shape[-1]
    (x, y, big, cloud), *_ = numbers(random, 0, 1, 4)
    canvas = over(scene.zenith, scene.horizon, smooth(0.42 * p[1] + 0.45))
    milky = field(lattice(random, 10, 5, 5), size)
    canvas = canvas + rgb((0.05, 0.06, 0.10), p.device) * (milky + 0.2 * cloud).clamp_min(0)
    for star_x, star_y, bright in numbers(random, 40, 34, 3):
        star = spark(p, 2.2 * star_x - 1.1, 1.7 * star_y - 1.1, 0.007 + 0.010 * bright**4)
        canvas = canvas + (0.45 + 0.75 * bright) * star * rgb((1.0, 0.97, 0.88), p.device)
    moon_x, moon_y, radius = (
        0.9 * scene.sun_x * (0.9 + 0.1 * x),
        -0.82 + 0.25 * y,
        0.10 + 0.06 * big,
    )
    d = torch.hypot(p[0] - moon_x, p[1] - moon_y)
    canvas = canvas + rgb((0.34, 0.40, 0.52), p.device) * torch.exp(-d / (2.2 * radius))
    seas = 0.92 - 0.14 * (0.5 + field(lattice(random, 150, 12, 12), size)).clamp(0, 1)
    canvas = over(canvas, rgb((1.0, 0.97, 0.86), p.device) * seas, cover(d - radius, 0.012))
    for k, shade, base in ((7, 0.55, 0.02), (14, 0.25, 0.22)):
        line = base + 0.16 * field(lattice(random, 300 + k, 2, k), size)
        line = line + 0.05 * field(lattice(random, 350, 2, 3 * k), size)
        canvas = over(canvas, scene.horizon * shade * 0.6, cover(line - p[1], 0.02))
    return canvas


def night_front(canvas: Tensor, p: Tensor, random: Tensor, scene: Scene) -> Tensor:
    """Fireflies."""
    for x, y, big in numbers(random, 0, 7, 3):
        x = torch.where(x < 0.5, x - 0.98, x + 0.02) * 1.0
        x, y = x.sign() * (1 - 0.42 * x.abs()), 1.1 * y - 0.1
        glow = 0.35 * spark(p, x, y, 0.05 + 0.03 * big) + 0.9 * spark(p, x, y, 0.012 + 0.008 * big)
        canvas = canvas + glow * rgb((0.95, 0.95, 0.35), p.device)
    return canvas


def ripples(p: Tensor, random: Tensor, horizon: Tensor | float) -> Tensor:
    """Waves in perspective, (N, S, S) in about [-1, 1]: finer and flatter towards the horizon."""
    depth = (p[1] - horizon).clamp_min(0) + 0.10
    (a, b, c, d), *_ = numbers(random, 0, 1, 4)
    sway = field(lattice(random, 4, 10, 6), p.shape[-1])
    wave = torch.sin(
        9 / depth.sqrt() * 2.1 + 5.5 * p[0] / depth.sqrt() * (a - 0.5) + 2.8 * sway + 6.3 * b
    )
    fine = torch.sin(
        23 / depth.sqrt() + 9.0 * p[0] / depth.sqrt() * (c - 0.5) - 3.4 * sway + 6.3 * d
    )
    return 0.6 * wave + 0.4 * fine


def water(canvas: Tensor, p: Tensor, random: Tensor, scene: Scene) -> Tensor:
    """A lake with a wooded shore."""
    size = p.shape[-1]
    (sky_line,), *_ = numbers(random, 500, 1, 1)
    horizon = -0.48 + 0.25 * sky_line
    canvas = over(scene.zenith, scene.horizon, smooth((p[1] + 1.1) / (1.1 + horizon)))
    woods = horizon - 0.16 + 0.09 * field(lattice(random, 100, 2, 9), size)
    woods = woods + 0.035 * field(lattice(random, 120, 2, 26), size)
    trees = rgb((0.13, 0.24, 0.15), p.device) * scene.tint
    canvas = over(canvas, torch.lerp(trees, scene.horizon, 0.22), cover(woods - p[1], 0.025))
    depth = smooth((p[1] - horizon) / (1 - horizon))
    blue = over(rgb((0.13, 0.47, 0.60), p.device), (0.03, 0.24, 0.40), depth) * (
        0.35 + 0.65 * scene.tint
    )
    wave = ripples(p, random, horizon)
    blue = over(blue, torch.lerp(scene.zenith, scene.horizon, 0.4), 0.34 * smooth(wave * 0.8 + 0.1))
    blue = over(blue, trees * 0.8, 0.7 * cover(p[1] - horizon - 0.14, 0.12))
    glint = bump(p, 0.75 * scene.sun_x, 0.4, 0.28, 1.2) * smooth(2.5 * wave - 1.2)
    blue = over(blue, 0.4 + 0.6 * scene.horizon, 0.75 * glint)
    return over(canvas, blue, cover(horizon - p[1], 0.012))


def water_front(canvas: Tensor, p: Tensor, random: Tensor, scene: Scene) -> Tensor:
    """The surface in which the tiger swims."""
    wave = ripples(p, random, 0.2)
    level = scene.chin.clamp(0.66, 0.86) + 0.020 * wave + 0.05 * (p[0].square())
    under = cover(level - p[1], 0.012)
    blue = over(rgb((0.10, 0.40, 0.52), p.device), (0.02, 0.20, 0.34), smooth((p[1] - 0.6) / 0.5))
    blue = blue * (0.35 + 0.65 * scene.tint)
    blue = over(blue, torch.lerp(scene.zenith, scene.horizon, 0.4), 0.42 * smooth(0.8 * wave))
    mixed = torch.lerp(blue, canvas * blue * 2.2, 0.45)
    canvas = over(canvas, mixed, 0.92 * under)
    foam = torch.exp(-((p[1] - level - 0.012) / 0.020).square()) * bump(p, 0, 0.7, 0.75, 0.3)
    return over(canvas, 0.25 + 0.70 * scene.tint, 0.55 * foam * (0.6 + 0.4 * wave))


def jungle_front(canvas: Tensor, p: Tensor, random: Tensor, scene: Scene) -> Tensor:
    """Leaves too near to be sharp, in the lower corners."""
    for i, (x, y, angle, big, wide) in enumerate(numbers(random, 0, 6, 5)):
        side = 1 if i % 2 else -1
        q = turned(p, (side * (0.70 + 0.35 * x), 0.78 + 0.36 * y), side * (25 + 55 * angle))
        long, thick = 0.38 + 0.25 * big, 0.07 + 0.05 * wide
        leaf = over(
            rgb((0.06, 0.16, 0.05), p.device), (0.28, 0.43, 0.12), bump(q, 0, -thick, long, thick)
        )
        leaf = leaf * (0.3 + 0.7 * scene.tint)
        canvas = over(canvas, leaf, 0.92 * cover(almond(q, long, thick), 0.03 + 0.03 * big))
    return canvas


BEHIND = {"jungle": jungle, "snow": snow, "savanna": savanna, "night": night, "water": water}
BEFORE = {
    "jungle": jungle_front,
    "snow": snow_front,
    "savanna": savanna_front,
    "night": night_front,
    "water": water_front,
}
