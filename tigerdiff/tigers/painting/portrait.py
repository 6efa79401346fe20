"""Many portraits at once: pose, coat, stripes, light, eyes and mouth.

The tigers come as `looks`: a dict of tensors, numbers (N, 1, 1) and colours (3, N, 1, 1), and a few
plain values beside them (see ``tigers/looks.py``). Pictures are painted some rows at a time, so
that all that is needed for them fits the caches of a processor, and each part of the head only in
the rows in which it lies.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tigerdiff.tigers.painting.backdrops import PAINTERS, Scene
from tigerdiff.tigers.painting.maps import look_up
from tigerdiff.tigers.painting.primitives import (
    Points,
    almond,
    axes,
    bump,
    cover,
    ellipse,
    field,
    gaussian,
    length,
    mirrored,
    over,
    rgb,
    smooth,
    turned,
    uniform,
)

HEAD_SIZE = 0.98  # of half a picture, at scale 1
# Top, bottom with the mouth closed, and half the width of each part, in units of the head.
PARTS = {
    "head": (-0.95, 0.90, 1.15),
    "ears": (-1.05, -0.10, 1.00),
    "eyes": (-0.52, 0.04, 0.60),
    "muzzle": (0.08, 0.82, 1.15),
    "body": (-0.20, 3.0, 0.00),
}


def portraits(looks: dict[str, Any], size: int, device: torch.device, strip: int) -> Tensor:
    """Paint the tigers, float32 (3, N, size, size) in [0, 1), `strip` rows at a time."""
    x, y = axes(size, device)
    strips = [_strip(looks, (x, y[:, i : i + strip]), i) for i in range(0, size, strip)]
    return torch.cat(strips, dim=2) if len(strips) > 1 else strips[0]


def _strip(looks: dict[str, Any], p: Points, first: int) -> Tensor:
    """Paint the rows p of all pictures, which start with row number `first`."""
    size, n = p[0].shape[-1], p[1].shape[1]
    reach: dict[str, tuple[float, float]] = looks["reach"]
    rows = {name: rows_between(*reach[name], size, first, n) for name in ("body", "ears", "head")}
    top, high = first + rows["head"].start, rows["head"].stop - rows["head"].start
    for name in ("eyes", "muzzle"):  # among the rows of the head
        rows[name] = rows_between(*reach[name], size, top, high)
    canvas = p[0].new_zeros(3, len(looks["backdrop"]), n, size)
    places(canvas, looks, p, first, "behind")
    h = posed(looks, p)
    for name, paint, points in (("body", body, p), ("ears", ears, h), ("head", head, h)):
        if (at := rows[name]).start < at.stop:
            paint(canvas[:, :, at], looks | {"rows": rows}, part_of(points, at))
    places(canvas, looks, p, first, "before")
    canvas.clamp_min_(0)
    eighth = canvas.square().square_().square_()
    return canvas.div_(eighth.add_(1).sqrt_().sqrt_().sqrt_())  # highlights roll off, not clipped


def rows_between(top: float, bottom: float, size: int, first: int, n: int) -> slice:
    """Return those of the n rows from `first` on that have a pixel with top <= y <= bottom."""
    start = math.floor((top + 1) * size / 2) - first
    stop = math.ceil((bottom + 1) * size / 2) + 1 - first
    return slice(min(max(start, 0), n), min(max(stop, 0), n))


def part_of(p: Points, rows: slice) -> Points:
    """Return the points in some rows."""
    x = p[0] if p[0].shape[1] == 1 else p[0][:, rows]
    return x, p[1][:, rows]


def places(canvas: Tensor, looks: dict[str, Any], p: Points, first: int, where: str) -> None:
    """Paint what is "behind" or "before" the tigers over the canvas, place by place."""
    n, size = canvas.shape[2:]
    for name, (paint, top) in PAINTERS[where].items():
        which = [i for i, place in enumerate(looks["backdrop"]) if place == name]
        rows = rows_between(top, 1.0, size, first, n)
        if which and rows.start < n:
            alike = len(which) == canvas.shape[1]
            at = slice(None) if alike else torch.tensor(which, device=canvas.device)
            scene = Scene(looks, where, at, first + rows.start)
            canvas[:, at, rows] = paint(canvas[:, at, rows], part_of(p, rows), scene)


def posed(looks: dict[str, Any], p: Points) -> Points:
    """Return coordinates of the head: tilted, and turned by shifting most what is nearest to us."""
    x, y = turned(p, (looks["x"], looks["y"]), looks["tilt"], HEAD_SIZE * looks["scale"])
    return x - 0.17 * looks["turn"] * (bump((x, y), 0, 0.15, 0.45, 0.60) - 0.5), y


def childlike(h: Points, cub: Tensor) -> Points:
    """Return the points of an adult's head that lie where `h` lies in a cub's.

    A cub has a high forehead, a short face and a small muzzle.
    """
    muzzle = cub * bump(h, 0, 0.36, 0.42, 0.34)
    x = h[0] * (1 + 0.22 * muzzle) * (1 - 0.06 * cub)
    y = h[1] + muzzle * (0.24 * (h[1] - 0.30) + 0.05)
    y = y + cub * 0.10 * smooth((y + 0.1) / 0.9) * (y + 0.1)
    return x, y - cub * 0.07 * smooth((0.15 - y) / 0.5)


def stripe_lattice(seeds: Tensor, stream: int) -> Tensor:
    """Return smooth noise (N, 3, 56, 56), by which the stripes of each seed wander."""
    random = uniform(seeds, stream, 3 * 14 * 14).view(-1, 3, 14, 14)
    return field(random, 56, slice(None))


def stripes(looks: dict[str, Any], lattice: Tensor, found: dict[str, Tensor], x: Tensor) -> Tensor:
    """Return the ink of the stripes, (N, R, S): waves around the face, no two tigers' alike.

    The phase of the waves wanders, so they bend and merge; their width and the gaps that cut
    them into strokes wander too. The two sides of a face are alike, not the same.
    """
    side = 0.035 * torch.tanh(4 * x)
    at = torch.stack(((found["across"] + 4 * side) / 7 - 1, 2 * found["along"] - 1 + side), dim=-1)
    inside = 1 - 1 / lattice.shape[-1]  # centre of the outermost cell
    wander = F.grid_sample(lattice, at.clamp_(-inside, inside), align_corners=False)
    phase, width, gap = wander.unbind(1)
    wave = torch.add(found["across"], phase, alpha=0.55).mul_(2 * math.pi).cos_()
    level = wave.add_(width, alpha=0.35).sub_(smooth(1.5 * gap), alpha=1.6)
    level = level.add_(found["room"], alpha=1.3).add_(looks["bold"] - 1.35)
    return smooth(level.div_(0.5 + 40 / x.shape[-1]).add_(0.5)).mul_(0.96)


def lit(looks: dict[str, Any], slope_x: Tensor, slope_y: Tensor) -> Tensor:
    """Return the light (3, N, R, S) on a slope: the sun's, and the open sky's."""
    facing = 0.64 - slope_x * looks["sun_x"] - slope_y * looks["sun_y"]
    facing = facing * torch.rsqrt(slope_x.square() + slope_y.square() + 1)
    return torch.addcmul(looks["sky"], looks["sun"], (0.15 + facing).clamp_min_(0))


def striped(looks: dict[str, Any], found: dict[str, Tensor], ink: Tensor) -> Tensor:
    """Return the coat, with stripes where there is ink, in its light."""
    coat = over(looks["base"], looks["dark"], found["dark"])
    if "sandy" in found:
        coat.lerp_(looks["sandy"], found["sandy"])
    coat.lerp_(looks["pale"], found["pale"]).lerp_(looks["ink"], ink)
    return coat.mul_(lit(looks, found["slope_x"], found["slope_y"])).mul_(found["shade"])


def body(canvas: Tensor, looks: dict[str, Any], p: Points) -> None:
    """Paint shoulders and chest; a cub's are small."""
    scale = HEAD_SIZE * looks["scale"] * (1 - 0.2 * looks["cub"])
    x, y = (p[0] - 0.75 * looks["x"]) / scale, (p[1] - looks["y"]) / scale
    x, y = torch.broadcast_tensors(x, y)
    found = look_up("body", x, y + 0.03)
    coat = striped(looks, found, stripes(looks, looks["body_stripes"], found, x))
    canvas.lerp_(coat, found["cover"])


def ears(canvas: Tensor, looks: dict[str, Any], h: Points) -> None:
    """Paint both ears, at the angle of their mood."""
    cub = looks["cub"]
    x, y = 0.46 + looks["ear_out"] + 0.05 * cub, -0.69 + looks["ear_down"] + 0.08 * cub
    e = turned(mirrored(h), (x, y), looks["ear_turn"], 1 + 0.12 * cub)
    found = look_up("ear", e[0] / looks["ear_wide"], e[1])
    hollow = found["hollow"] * (0.85 + 0.15 * found["fur"])
    coat = over(0.95 * looks["pale"], 0.5 * looks["dark"], hollow)
    for colour, mask in (("pale", "pale"), ("base", "coat"), ("rim", "rim")):
        coat.lerp_(looks[colour], found[mask])
    outwards = 0.35 * h[0].sign()
    light = lit(looks, outwards, torch.zeros_like(outwards)) * (0.90 + 0.11 * found["fur"])
    canvas.lerp_(coat.mul_(light), found["cover"])


def head(canvas: Tensor, looks: dict[str, Any], h: Points) -> None:
    """Paint coat, stripes and light, then mouth, eyes, nose and whiskers."""
    rows, g = looks["rows"], childlike(h, looks["cub"]) if looks["any_cub"] else h
    x, y = g
    lip = fall = torch.zeros(())
    if looks["any_open"]:
        # The jaw falls: what is below the lips is looked up higher, and between is the mouth.
        lip = 0.462 + 0.075 * (1 - gaussian((x / 0.10).square()))
        fall = looks["drop"] * gaussian((x / 0.36).square().square())
        y = torch.minimum(y, lip) + (y - lip - fall).clamp_min(0)
    found = look_up("head", x, y)
    coat = striped(looks, found, stripes(looks, looks["head_stripes"], found, h[0]))
    sunny = found["edge"] * (h[0] * looks["sun_x"] + h[1] * looks["sun_y"]).clamp_(0, 1)
    coat.addcmul_(sunny, rgb(canvas, (0.40, 0.34, 0.25)) * looks["sun"] * looks["pale"])
    tone = 0.6 * looks["sun"] + looks["sky"]
    if (at := rows["eyes"]).start < at.stop:
        eyes(coat[:, :, at], looks, part_of(g, at), tone)
    if muzzle := (at := rows["muzzle"]).start < at.stop:
        small = look_up("face", x[:, at], y[:, at])
        face = coat[:, :, at].lerp_(0.6 * looks["ink"], small["lips"])
        if looks["any_open"]:
            mouth(face, looks, part_of(g, at), lip[:, at], fall[:, at], tone)
        face.lerp_(looks["nose"] * small["tone"] * tone, small["nose"])
        face.lerp_(looks["ink"], small["dots"])
    canvas.lerp_(coat, found["cover"])
    if muzzle:
        canvas[:, :, at].lerp_(tone * rgb(canvas, (1.0, 0.97, 0.92)), 0.75 * small["whiskers"])


def eyes(coat: Tensor, looks: dict[str, Any], g: Points, tone: Tensor) -> None:
    """Paint dark rim, iris with a ring, round pupil, shadow of the lid, catchlight."""
    cub, side = looks["cub"], g[0].sign()
    wide = 1 - 0.28 * looks["roaring"] + 0.10 * cub
    at = (0.230 + 0.005 * cub, -0.25)
    e = turned(mirrored(g), at, -15 + 6 * cub, 1.12 + 0.26 * cub)
    lids = torch.maximum(almond(e, 0.096, 0.060 * wide), -0.042 * wide - e[1])
    inner = almond(turned(e, (-0.085, 0.035), 118), 0.085, 0.022)  # from its corner to the nose
    outer = almond(turned(e, (0.105, -0.005), 12), 0.07, 0.014)
    rim = torch.minimum(torch.minimum(lids - 0.021, inner), outer)
    coat.lerp_(looks["ink"], 0.95 * cover(rim, 0.012))
    look = (e[0] - side * 0.036 * looks["gaze_x"], e[1] - 0.027 * looks["gaze_y"])
    r = length(look[0], look[1] + 0.002)
    iris = over(looks["iris"], 0.45 * looks["iris"] + 0.55, 0.55 * bump(look, 0, 0.028, 0.05, 0.03))
    iris = over(iris, looks["ring"], cover(0.056 - r, 0.014)) * (0.35 + 0.65 * tone)
    eye = over(rgb(coat, (0.65, 0.63, 0.59)) * tone, iris, cover(r - 0.067, 0.006))
    eye = over(eye, (0.015, 0.012, 0.012), cover(r - looks["pupil"], 0.006))
    eye = over(eye, (0.02, 0.015, 0.015), 0.6 * cover(e[1] + 0.040 * wide, 0.025))
    coat.lerp_(eye, cover(lids, 0.006))
    spark = length(e[0] - side * 0.018 * looks["light"].sign(), e[1] + 0.020) - 0.0145
    coat.lerp_(rgb(coat, (1.0, 1.0, 1.0)), 0.95 * cover(spark, 0.004))


def mouth(
    coat: Tensor, looks: dict[str, Any], g: Points, lip: Tensor, fall: Tensor, tone: Tensor
) -> None:
    """Paint what an open mouth shows: the cavity, the tongue, the teeth."""
    m, y, drop = mirrored(g), g[1], looks["drop"]
    floor = 0.53 + drop
    inside = torch.maximum(lip - 0.005 - y, y - (lip + fall + 0.004))
    oval = ellipse(g, 0, 0.50 + 0.5 * drop, 1.04 * looks["gape"], 0.5 * drop + 0.055)
    inside = torch.maximum(torch.maximum(inside, m[0] - looks["gape"]), oval)
    red = rgb(coat, (0.36, 0.07, 0.07))
    red = over(red, (0.10, 0.015, 0.02), bump(g, 0, 0.50 + 0.35 * drop, 0.13, 0.12))
    tongue = ellipse(g, 0, floor - 0.01, 0.115 + 0.02 * looks["roaring"], 0.45 * drop + 0.01)
    furrow = 0.8 * bump(g, 0, floor, 0.018, 0.6) + 0.4 * cover(-0.03 - tongue, 0.03)
    pink = over(rgb(coat, (0.84, 0.42, 0.42)), (0.55, 0.20, 0.22), furrow)
    red = over(red, pink, cover(tongue, 0.012))
    long = 0.34 * drop + 0.03
    upper = almond(turned(m, (0.128, 0.545), 84), 1.15 * long, 0.030)
    lower = almond(turned(m, (0.098, floor - 0.006), 96), 0.85 * long, 0.026)
    row = (m[0] - 0.05 * torch.floor(m[0] / 0.05) - 0.025).abs() - 0.019
    row = torch.maximum(torch.maximum(row, (y - floor + 0.015).abs() - 0.022), m[0] - 0.075)
    teeth = torch.minimum(torch.minimum(upper, lower), row)
    red = over(red, (1.0, 0.96, 0.84), cover(teeth, 0.006)) * (0.25 + 0.75 * tone)
    is_open = (drop > 0).float()
    coat.lerp_(0.5 * looks["ink"], is_open * 0.8 * cover(inside - 0.022, 0.012))
    coat.lerp_(red, is_open * cover(inside, 0.008))
