"""Painting with arithmetic: coordinates, shapes, masks, noise, hair and light.

Positions run from -1 (left, top) to 1 (right, bottom), so the same numbers draw the same picture at
every size. A shape is a signed distance (negative inside), `cover` turns a distance into an
antialiased mask, and `over` lays a colour on the canvas through that mask. Points are pairs x, y of
tensors (N, R, S) for R rows of N pictures of S pixels; those of an upright grid may be a row
(1, 1, S) and a column (1, R, 1). Distances and masks are (N, R, S), the canvas is (3, N, R, S) in
[0, 1]; a number may as well be a tensor (N, 1, 1), one per picture.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

Number = float | Tensor
Points = tuple[Tensor, Tensor] | Tensor
Colour = tuple[float, float, float]
Lines = Sequence[Sequence[float]]

GOLDEN = -0x61C8864680B583EB  # 2**64 divided by the golden ratio, as int64


def axes(size: int, device: str | torch.device = "cpu") -> tuple[Tensor, Tensor]:
    """Return the centres of the pixels: a row of x (1, 1, size), a column of y (1, size, 1)."""
    axis = (torch.arange(size, dtype=torch.float32, device=device) + 0.5) * (2 / size) - 1
    return axis[None, None], axis[None, :, None]


def grid(size: int, half_width: float = 1.0) -> Tensor:
    """Return the centres of the pixels, (2, 1, size, size), x then y, within +-half_width."""
    return torch.stack(torch.broadcast_tensors(*axes(size))) * half_width


def turned(
    p: Points, centre: tuple[Number, Number], degrees: Number = 0.0, scale: Number = 1.0
) -> tuple[Tensor, Tensor]:
    """Return the points seen from `centre`, with axes turned clockwise, in units of `scale`."""
    x, y = p[0] - centre[0], p[1] - centre[1]
    angle = torch.as_tensor(degrees, dtype=x.dtype, device=x.device) * (math.pi / 180)
    c, s = angle.cos() / scale, angle.sin() / scale
    return torch.addcmul(c * x, s, y), torch.addcmul(c * y, s, x, value=-1)


def mirrored(p: Points) -> tuple[Tensor, Tensor]:
    """Fold the left half of the plane onto the right one."""
    return p[0].abs(), p[1]


def length(x: Tensor, y: Tensor) -> Tensor:
    """Return the length of vectors (x, y); torch.hypot is slower, as it guards against overflow."""
    return torch.addcmul(x * x, y, y).sqrt_()


def unit(v: Tensor) -> Tensor:
    """Scale vectors (2, ...) to length 1."""
    return v / length(v[0], v[1]).clamp_min(1e-4)


def ellipse(p: Points, x: Number, y: Number, rx: Number, ry: Number) -> Tensor:
    """Return the distance to an ellipse around (x, y), exact to first order near the outline."""
    u, v = (p[0] - x) / rx, (p[1] - y) / ry
    k = length(u, v).clamp_min(1e-6)
    return k * (k - 1) / length(u / rx, v / ry).clamp_min(1e-6)


def almond(p: Points, half_length: Number, half_width: Number) -> Tensor:
    """Return the distance to the overlap of two discs (an eye, a leaf) along the x axis."""
    lift = (half_length**2 - half_width**2) / (2 * half_width)
    return length(p[0], p[1].abs() + lift) - (half_width + lift)


def blend(a: Tensor, b: Tensor, seam: float) -> Tensor:
    """Return the union of two shapes, the seam rounded off over the given width."""
    h = (seam - (a - b).abs()).clamp_min(0) / seam
    return torch.minimum(a, b) - h * h * (seam / 4)


def strokes(p: Points, lines: Lines) -> Tensor:
    """Return the distance to the union of curved, tapered strokes.

    Each line is x0, y0, x1, y1, x2, y2, width, lean: a parabola through three points whose half
    width swells to `width` and tapers to both ends; lean > 1 moves the thick part to the far end.
    """
    nearest = torch.ones_like(p[0])
    t = torch.linspace(0, 1, 11, dtype=torch.float32)
    basis = torch.stack(((1 - t) * (1 - 2 * t), 4 * t * (1 - t), t * (2 * t - 1)))
    for *knots, width, lean in lines:
        x, y = (torch.tensor(knots, dtype=torch.float32).view(3, 2, 1) * basis[:, None]).sum(0)
        w = width * torch.sin(math.pi * t**lean).clamp_min(0) ** 0.7
        cx, cy = x.mean(), y.mean()
        reach = torch.hypot(x - cx, y - cy).max() + width + 0.05  # farther pixels need no look
        at = (torch.hypot(p[0] - cx, p[1] - cy) < reach).nonzero(as_tuple=True)
        px, py = p[0][at][:, None] - x[:-1], p[1][at][:, None] - y[:-1]
        dx, dy = x.diff(), y.diff()
        along = ((px * dx + py * dy) / (dx * dx + dy * dy)).clamp(0, 1)
        gap = torch.hypot(px - along * dx, py - along * dy) - w[:-1] - along * w.diff()
        nearest[at] = torch.minimum(nearest[at], gap.amin(1))
    return nearest


def both_sides(lines: Lines, seed: int, amount: float) -> list[list[float]]:
    """Return strokes of the right half and their mirror images, each slightly displaced."""
    random = torch.Generator().manual_seed(seed)
    sides = []
    for sign in (1.0, -1.0):
        for *knots, width, lean in lines:
            shake = torch.randn(6, generator=random, dtype=torch.float32).tolist()
            swell = 1 + 0.15 * torch.randn((), generator=random, dtype=torch.float32).item()
            points = [c * side + amount * s for c, side, s in zip(knots, (sign, 1) * 3, shake)]
            sides.append([*points, width * swell, lean])
    return sides


def smooth(x: Tensor) -> Tensor:
    """Return a smooth step: 0 below 0, 1 above 1."""
    x = x.clamp(0, 1)
    return (x * x).mul_(3 - 2 * x)


def cover(distance: Tensor, soft: Number = 0.0) -> Tensor:
    """Return the mask of a shape: 1 inside, 0 outside, smooth over +-soft (at least a pixel)."""
    pixel = 2 / distance.shape[-1]
    soft = soft.clamp_min(pixel) if isinstance(soft, Tensor) else max(soft, pixel)
    return smooth((distance / (-2 * soft)).add_(0.5))


def bump(p: Points, x: Number, y: Number, rx: Number, ry: Number) -> Tensor:
    """Return a soft hill of height 1: a Gaussian with radii rx, ry."""
    u, v = (p[0] - x) / rx, (p[1] - y) / ry
    if u.shape != v.shape:  # of a row and a column: a product of few exponentials
        return gaussian(u * u) * gaussian(v * v)
    return gaussian(torch.addcmul(u * u, v, v))


def gaussian(square: Tensor) -> Tensor:
    """Return exp(-square), at least 1e-9: smaller numbers take processors ten times as long."""
    return (square * -math.log2(math.e)).clamp_min_(-30).exp2_()


def rgb(canvas: Tensor, colour: Colour) -> Tensor:
    """Return a colour as a tensor (3, 1, 1, 1) that broadcasts over a canvas, on its device."""
    return _rgb(colour, canvas.device)


@lru_cache(maxsize=256)
def _rgb(colour: Colour, device: torch.device) -> Tensor:
    return torch.tensor(colour, dtype=torch.float32, device=device).view(3, 1, 1, 1)


def over(canvas: Tensor, colour: Colour | Tensor, mask: Tensor) -> Tensor:
    """Lay a colour, or another canvas, on the canvas where the mask says so."""
    if not isinstance(colour, Tensor):
        colour = rgb(canvas, colour)
    return torch.lerp(canvas, colour, mask)


def uniform(seeds: Tensor, stream: int, n: int) -> Tensor:
    """Return random numbers in [0, 1), float32 (N, n): row i follows from seed i on every device.

    SplitMix64 (Steele, Lea and Flood 2014) of a counter, for seeds int64 (N,), which give
    unrelated numbers in each stream. int64 products wrap as its unsigned ones do; the masks make
    the arithmetic shifts logical ones.
    """
    start = mixed(mixed(seeds) + stream)[:, None]
    z = mixed(start + torch.arange(1, n + 1, device=seeds.device) * GOLDEN)
    return ((z >> 40) & 0xFFFFFF).float() / 2**24


def mixed(z: Tensor) -> Tensor:
    """Return what SplitMix64's finaliser makes of z: each bit depends on all of z."""
    z = (z ^ ((z >> 30) & 0x3FFFFFFFF)) * -0x40A7B892E31B1A47
    z = (z ^ ((z >> 27) & 0x1FFFFFFFFF)) * -0x6B2FB644ECCEEE15
    return z ^ ((z >> 31) & 0x1FFFFFFFF)


def field(random: Tensor, size: int, rows: slice) -> Tensor:
    """Return smooth noise, about [-1, 1]: rows of a picture, enlarged from numbers (..., k, l)."""
    down, across = (enlarging(k, size, str(random.device)) for k in random.shape[-2:])
    return (down[rows] @ (random.double() * 2 - 1) @ across.T).float()


@lru_cache(maxsize=64)
def enlarging(k: int, size: int, device: str) -> Tensor:
    """Return the matrix (size, k) that enlarges k numbers to `size` by bicubic interpolation.

    In float64, which neither autocast nor a lower precision of matrix products changes.
    """
    units = torch.eye(k, dtype=torch.float64, device=device)[None, :, :, None]
    return F.interpolate(units, (size, 1), mode="bicubic", align_corners=False)[0, :, :, 0].T


def noise(p: Tensor, frequency: float, seed: int) -> Tensor:
    """Return value noise in [-1, 1]: random numbers on a fixed lattice, interpolated."""
    n = int(2.6 * frequency) + 2
    random = torch.Generator().manual_seed(seed)
    lattice = torch.rand(1, 1, n, n, generator=random, dtype=torch.float32) * 2 - 1
    if frequency < 30:  # large cells would show the creases of linear interpolation
        lattice = F.interpolate(lattice, scale_factor=6, mode="bicubic")
    at = p.permute(1, 2, 3, 0) / 1.3
    return F.grid_sample(lattice, at, padding_mode="reflection", align_corners=False)[:, 0]


def fbm(p: Tensor, frequency: float, seed: int, octaves: int = 2) -> Tensor:
    """Return fractal noise: octaves of value noise, each twice as fine and half as strong."""
    parts = [noise(p, frequency * 2**i, seed + i) * 0.5**i for i in range(octaves)]
    return torch.stack(parts).sum(0)


def hair(p: Tensor, growth: Tensor, length: float, frequency: float, seed: int) -> Tensor:
    """Return hair, about [-1, 1]: noise averaged along the direction of growth.

    Line integral convolution with straight lines (Cabral and Leedom 1993).
    """
    steps = round(1.5 * length * frequency)
    shifts = [length * (i / (steps - 1) - 0.5) for i in range(steps)]
    parts = [noise(p + shift * growth, frequency, seed) for shift in shifts]
    return torch.stack(parts).sum(0) / len(parts) ** 0.5
