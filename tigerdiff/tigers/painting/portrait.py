"""Many portraits at once: pose, coat, stripes, light, eyes and mouth.

The tigers come as `looks`: a dict of tensors, numbers (N, 1, 1), colours (3, N, 1, 1) and seeds
(N,), with the names of places and times of day beside them, in lists.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tigerdiff.tigers.painting import backdrops as _backdrops
from tigerdiff.tigers.painting.maps import look_up
from tigerdiff.tigers.painting.primitives import (
    almond,
    bump,
    cover,
    ellipse,
    grid,
    mirrored,
    over,
    rgb,
    smooth,
    turned,
    uniform,
)

if TYPE_CHECKING:
    from tigerdiff.tigers.tiger import Tiger

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
LIGHTS = {  # of the sun or the moon, and of the open sky
    "morning": ((1.12, 1.00, 0.80), (0.42, 0.43, 0.42)),
    "noon": ((1.04, 1.03, 1.00), (0.48, 0.50, 0.53)),
    "dusk": ((1.12, 0.83, 0.61), (0.44, 0.39, 0.42)),
    "night": ((0.66, 0.71, 0.84), (0.25, 0.27, 0.34)),
}
PUPIL = {"noon": 0.021, "morning": 0.025, "dusk": 0.030, "night": 0.038}
DROP, GAPE = (  # of the jaw, and half the width of the open mouth
    {"closed": 0.0, "open": 0.15, "roaring": 0.31},
    {"closed": 0.01, "open": 0.185, "roaring": 0.235},
)
EARS = {  # angle, how far out and down from where they stand up, width
    "forward": (34.0, 0.0, 0.0, 1.0),
    "sideways": (66.0, 0.07, 0.07, 0.85),
    "back": (92.0, 0.06, 0.16, 0.52),
}


def looks_of(tigers: Sequence["Tiger"], device: torch.device) -> dict[str, Any]:
    """What the painters need to know of the tigers, as tensors on the device."""
    ears = [EARS[tiger.ears] for tiger in tigers]
    lights = [LIGHTS[tiger.daytime] for tiger in tigers]
    columns = {
        name: [getattr(tiger, name) for tiger in tigers]
        for name in ("gaze_x", "gaze_y", "turn", "tilt", "x", "y", "scale", "light")
    } | {
        "cub": [tiger.age == "cub" for tiger in tigers],
        "roaring": [tiger.mouth == "roaring" for tiger in tigers],
        "drop": [DROP[tiger.mouth] for tiger in tigers],
        "gape": [GAPE[tiger.mouth] for tiger in tigers],
        "pupil": [PUPIL[tiger.daytime] for tiger in tigers],
        "bold": [BOLD[tiger.fur] for tiger in tigers],
        **dict(zip(("ear_turn", "ear_out", "ear_down", "ear_wide"), zip(*ears))),
    }
    colours = {name: [FURS[tiger.fur][name] for tiger in tigers] for name in FURS["orange"]} | dict(
        zip(("sun", "sky"), zip(*lights))
    )
    on_cpu: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}  # then one copy each
    numbers = torch.tensor(list(columns.values()), **on_cpu).to(device)
    shades = torch.tensor(list(colours.values()), **on_cpu).permute(0, 2, 1).to(device)
    looks: dict[str, Any] = dict(zip(columns, numbers[..., None, None]))
    looks |= dict(zip(colours, shades[..., None, None]))
    for name in ("stripes", "scene"):
        looks[name] = torch.tensor([getattr(tiger, name) for tiger in tigers], device=device)
    for name in ("backdrop", "daytime"):
        looks[name] = [getattr(tiger, name) for tiger in tigers]
    looks["chin"] = looks["y"] + looks["scale"] * (0.74 + 0.9 * looks["drop"])
    # The sun as the head sees it.
    angle = (looks["light"] - looks["tilt"]) * (math.pi / 180)
    return looks | {"sun_x": 0.77 * angle.sin(), "sun_y": -0.77 * angle.cos()}


def portraits(tigers: Sequence["Tiger"], size: int, device: torch.device) -> Tensor:
    """Paint the tigers, float32 (3, N, size, size) in [0, 1)."""
    looks, p = looks_of(tigers, device), grid(size, device=device)
    h = posed(looks, p)
    canvas = p.new_zeros(3, len(tigers), size, size)
    canvas = places(canvas, looks, p, _backdrops.BEHIND, 3)
    canvas = body(canvas, looks, p)
    canvas = ears(canvas, looks, h)
    canvas = head(canvas, looks, h)
    canvas = places(canvas, looks, p, _backdrops.BEFORE, 4).clamp_min(0)
    return canvas / (1 + canvas**8) ** 0.125  # highlights roll off instead of clipping


def places(canvas: Tensor, looks: dict[str, Any], p: Tensor, painters: dict, stream: int) -> Tensor:
    """Each kind of place, painted over the canvas of the tigers that are there."""
    for name, paint in painters.items():
        if which := [i for i, place in enumerate(looks["backdrop"]) if place == name]:
            at = torch.tensor(which, device=p.device)
            names = [looks["daytime"][i] for i in which]
            scene = _backdrops.Scene(names, looks["light"][at], looks["chin"][at])
            random = uniform(looks["scene"][at], stream, 512)
            canvas[:, at] = paint(canvas[:, at], p, random, scene)
    return canvas


def posed(looks: dict[str, Any], p: Tensor) -> Tensor:
    """Coordinates of the head: tilted, and turned by shifting most what is nearest to us."""
    h = turned(p, (looks["x"], looks["y"]), looks["tilt"]) / (0.98 * looks["scale"])
    return torch.stack((h[0] - 0.17 * looks["turn"] * (bump(h, 0, 0.15, 0.45, 0.60) - 0.5), h[1]))


def childlike(h: Tensor, cub: Tensor) -> Tensor:
    """The points of an adult's head that lie where `h` lies in a cub's.

    A cub has a high forehead, a short face and a small muzzle.
    """
    muzzle = cub * bump(h, 0, 0.36, 0.42, 0.34)
    x = h[0] * (1 + 0.22 * muzzle) * (1 - 0.06 * cub)
    y = h[1] + muzzle * (0.24 * (h[1] - 0.30) + 0.05)
    y = y + cub * 0.10 * smooth((y + 0.1) / 0.9) * (y + 0.1)
    return torch.stack((x, y - cub * 0.07 * smooth((0.15 - y) / 0.5)))


def stripes(looks: dict[str, Any], stream: int, found: dict[str, Tensor], x: Tensor) -> Tensor:
    """Ink of the stripes, (N, S, S): waves that run around the face, no two tigers' alike.

    The phase of the waves wanders, so they bend and merge; their width and the gaps that cut
    them into strokes wander too. The two sides of a face are alike, not the same.
    """
    rows = columns = 14
    random = uniform(looks["stripes"], stream, 3 * rows * columns).view(-1, 3, rows, columns)
    lattice = F.interpolate(random * 2 - 1, scale_factor=4, mode="bicubic", align_corners=False)
    side = 0.035 * torch.tanh(4 * x)
    at = torch.stack(((found["across"] + 4 * side) / 7 - 1, 2 * found["along"] - 1 + side), dim=-1)
    inside = 1 - 1 / lattice.shape[-1]  # centre of the outermost cell
    wander = F.grid_sample(lattice, at.clamp(-inside, inside), align_corners=False)
    phase, width, gap = wander.unbind(1)
    wave = torch.cos(2 * math.pi * (found["across"] + 0.55 * phase))
    level = wave + looks["bold"] + 0.35 * width - 1.6 * smooth(1.5 * gap) - 0.05
    level = level - 1.3 * (1 - found["room"])
    return 0.96 * smooth(0.5 + level / (0.5 + 40 / x.shape[-1]))


def lit(looks: dict[str, Any], slope_x: Tensor, slope_y: Tensor) -> Tensor:
    """Light (3, N, S, S) on a slope: the sun's, and the open sky's."""
    facing = 0.64 - slope_x * looks["sun_x"] - slope_y * looks["sun_y"]
    facing = facing * torch.rsqrt(slope_x.square() + slope_y.square() + 1)
    return looks["sun"] * (0.15 + facing).clamp_min(0) + looks["sky"]


def body(canvas: Tensor, looks: dict[str, Any], p: Tensor) -> Tensor:
    """Shoulders and chest; a cub's are small."""
    scale = 0.98 * looks["scale"] * (1 - 0.2 * looks["cub"])
    b = torch.stack((p[0] - 0.75 * looks["x"], p[1] - looks["y"])) / scale
    found = look_up("body", torch.stack((b[0], b[1] + 0.03)))
    coat = over(looks["base"], looks["dark"], found["dark"])
    coat = over(coat, looks["pale"], found["pale"])
    coat = over(coat, looks["ink"], stripes(looks, 2, found, b[0]))
    coat = coat * lit(looks, found["slope_x"], found["slope_y"]) * found["shade"]
    return over(canvas, coat, found["cover"])


def ears(canvas: Tensor, looks: dict[str, Any], h: Tensor) -> Tensor:
    """Both ears, at the angle of their mood."""
    cub = looks["cub"]
    x, y = 0.46 + looks["ear_out"] + 0.05 * cub, -0.69 + looks["ear_down"] + 0.08 * cub
    e = turned(mirrored(h), (x, y), looks["ear_turn"]) / (1 + 0.12 * cub)
    found = look_up("ear", torch.stack((e[0] / looks["ear_wide"], e[1])))
    hollow = found["hollow"] * (0.85 + 0.15 * found["fur"])
    coat = over(0.95 * looks["pale"], 0.5 * looks["dark"], hollow)
    coat = over(coat, looks["pale"], found["pale"])
    coat = over(coat, looks["base"], found["coat"])
    coat = over(coat, looks["rim"], found["rim"])
    outwards = 0.35 * h[0].sign()
    light = lit(looks, outwards, torch.zeros_like(outwards)) * (0.90 + 0.11 * found["fur"])
    return over(canvas, coat * light, found["cover"])


def head(canvas: Tensor, looks: dict[str, Any], h: Tensor) -> Tensor:
    """Coat, stripes and light, then mouth, eyes, nose and whiskers."""
    g = childlike(h, looks["cub"])
    # The jaw falls: what is below the lips is looked up higher, and in between is the mouth.
    lip = 0.462 + 0.075 * (1 - torch.exp(-(g[0] / 0.10).square()))
    fall = looks["drop"] * torch.exp(-((g[0] / 0.36) ** 4))
    y = torch.where(g[1] > lip, lip + (g[1] - lip - fall).clamp_min(0), g[1])
    found = look_up("head", torch.stack((g[0], y)))
    coat = over(looks["base"], looks["dark"], found["dark"])
    coat = over(coat, looks["sandy"], found["sandy"])
    coat = over(coat, looks["pale"], found["pale"])
    coat = over(coat, looks["ink"], stripes(looks, 1, found, h[0]))
    coat = coat * lit(looks, found["slope_x"], found["slope_y"]) * found["shade"]
    sunny = found["edge"] * (h[0] * looks["sun_x"] + h[1] * looks["sun_y"]).clamp(0, 1)
    rim = rgb((0.40, 0.34, 0.25), h.device) * looks["sun"] * looks["pale"]
    coat = coat + sunny * rim
    tone = 0.6 * looks["sun"] + looks["sky"]
    coat = over(coat, 0.6 * looks["ink"], found["lips"])
    coat = mouth(coat, looks, g, lip, fall, tone)
    coat = eyes(coat, looks, g, tone)
    coat = over(coat, looks["nose"] * found["tone"] * tone, found["nose"])
    coat = over(coat, looks["ink"], found["dots"])
    canvas = over(canvas, coat, found["cover"])
    return over(canvas, tone * rgb((1.0, 0.97, 0.92), h.device), 0.75 * found["whiskers"])


def eyes(coat: Tensor, looks: dict[str, Any], g: Tensor, tone: Tensor) -> Tensor:
    """Dark rim, iris with a ring, round pupil, shadow of the lid, catchlight."""
    cub, side = looks["cub"], g[0].sign()
    wide = 1 - 0.28 * looks["roaring"] + 0.10 * cub
    e = turned(mirrored(g), (0.230 + 0.005 * cub, -0.25), -15 + 6 * cub) / (1.12 + 0.26 * cub)
    lids = torch.maximum(almond(e, 0.096, 0.060 * wide), -0.042 * wide - e[1])
    inner = almond(turned(e, (-0.085, 0.035), 118), 0.085, 0.022)  # from its corner to the nose
    outer = almond(turned(e, (0.105, -0.005), 12), 0.07, 0.014)
    rim = torch.minimum(torch.minimum(lids - 0.021, inner), outer)
    coat = over(coat, looks["ink"], 0.95 * cover(rim, 0.012))
    look = torch.stack((e[0] - side * 0.036 * looks["gaze_x"], e[1] - 0.027 * looks["gaze_y"]))
    r = torch.hypot(look[0], look[1] + 0.002)
    iris = over(looks["iris"], 0.45 * looks["iris"] + 0.55, 0.55 * bump(look, 0, 0.028, 0.05, 0.03))
    iris = over(iris, looks["ring"], cover(0.056 - r, 0.014)) * (0.35 + 0.65 * tone)
    eye = over(rgb((0.65, 0.63, 0.59), g.device) * tone, iris, cover(r - 0.067, 0.006))
    eye = over(eye, (0.015, 0.012, 0.012), cover(r - looks["pupil"], 0.006))
    eye = over(eye, (0.02, 0.015, 0.015), 0.6 * cover(e[1] + 0.040 * wide, 0.025))
    coat = over(coat, eye, cover(lids, 0.006))
    spark = torch.hypot(e[0] - side * 0.018 * looks["light"].sign(), e[1] + 0.020) - 0.0145
    return over(coat, (1.0, 1.0, 1.0), 0.95 * cover(spark, 0.004))


def mouth(
    coat: Tensor, looks: dict[str, Any], g: Tensor, lip: Tensor, fall: Tensor, tone: Tensor
) -> Tensor:
    """What an open mouth shows: the cavity, the tongue, the teeth."""
    m, y, drop = mirrored(g), g[1], looks["drop"]
    floor = 0.53 + drop
    inside = torch.maximum(lip - 0.005 - y, y - (lip + fall + 0.004))
    oval = ellipse(g, 0, 0.50 + 0.5 * drop, 1.04 * looks["gape"], 0.5 * drop + 0.055)
    inside = torch.maximum(torch.maximum(inside, m[0] - looks["gape"]), oval)
    red = rgb((0.36, 0.07, 0.07), g.device)
    red = over(red, (0.10, 0.015, 0.02), bump(g, 0, 0.50 + 0.35 * drop, 0.13, 0.12))
    tongue = ellipse(g, 0, floor - 0.01, 0.115 + 0.02 * looks["roaring"], 0.45 * drop + 0.01)
    furrow = 0.8 * bump(g, 0, floor, 0.018, 0.6) + 0.4 * cover(-0.03 - tongue, 0.03)
    pink = over(rgb((0.84, 0.42, 0.42), g.device), (0.55, 0.20, 0.22), furrow)
    red = over(red, pink, cover(tongue, 0.012))
    long = 0.34 * drop + 0.03
    upper = almond(turned(m, (0.128, 0.545), 84), 1.15 * long, 0.030)
    lower = almond(turned(m, (0.098, floor - 0.006), 96), 0.85 * long, 0.026)
    row = (m[0] - 0.05 * torch.floor(m[0] / 0.05) - 0.025).abs() - 0.019
    row = torch.maximum(torch.maximum(row, (y - floor + 0.015).abs() - 0.022), m[0] - 0.075)
    teeth = torch.minimum(torch.minimum(upper, lower), row)
    red = over(red, (1.0, 0.96, 0.84), cover(teeth, 0.006)) * (0.25 + 0.75 * tone)
    is_open = (drop > 0).float()
    coat = over(coat, 0.5 * looks["ink"], is_open * 0.8 * cover(inside - 0.022, 0.012))
    return over(coat, red, is_open * cover(inside, 0.008))
