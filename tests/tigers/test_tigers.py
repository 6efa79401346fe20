"""The painted tigers: the same at any size and in any batch, true to their attributes, alive."""

import itertools
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tigerdiff.tigers import looks
from tigerdiff.tigers import paint as painting
from tigerdiff.tigers.captions import caption
from tigerdiff.tigers.paint import paint, paint_tiger, procedural_tigers
from tigerdiff.tigers.painting.backdrops import spark
from tigerdiff.tigers.painting.primitives import (
    almond,
    cover,
    ellipse,
    grid,
    hair,
    noise,
    strokes,
    uniform,
)
from tigerdiff.tigers.tiger import CHOICES, RANGES, Tiger, series


@pytest.fixture(scope="module")
def portrait():
    return paint_tiger(512)


@pytest.fixture(scope="module")
def many():
    return procedural_tigers(600, 32, seed=3)


def shrunk(images, size):
    """Pictures shrunk with antialiasing, in [0, 255]."""
    return F.interpolate(images.float(), (size, size), mode="bilinear", antialias=True)


def differing(image, other):
    """Mean difference of two pictures, in steps of 1/255."""
    return (image.float() - other.float()).abs().mean().item()


# ------------------------------------------------------------------------------------ the series


def test_shape_dtype_and_attributes():
    for size in (16, 33, 64, 200):
        images, attributes = procedural_tigers(3, size)
        assert images.shape == (3, 3, size, size)
        assert images.dtype == torch.uint8
        assert [type(tiger) for tiger in attributes] == [Tiger] * 3


def test_the_tigers_are_those_of_all_versions():
    """A rendered folder, a card and a chapter name tigers by seed and number."""
    with Image.open(Path(__file__).with_name("tigers_of_seed_5.png")) as image:
        grid = torch.from_numpy(np.array(image)).int()
    known = grid.view(3, 64, 8, 64, 3).permute(0, 2, 4, 1, 3).reshape(24, 3, 64, 64)
    assert (procedural_tigers(24, 64, seed=5)[0].int() - known).abs().max() <= 1


@pytest.mark.parametrize("size", [64, 256])
def test_rows_and_parts_that_are_left_out_show_nothing(size, monkeypatch):
    """Each part is painted in its rows only, some rows at a time: that changes no picture."""
    tigers = series(80 if size == 64 else 4, seed=6)
    extremes = {"tilt": (-14.0, 14.0), "scale": (0.68, 1.05), "turn": (-1.0, 1.0)}
    names, values = zip(*extremes.items())
    for numbers in itertools.product(*values):
        for mouth, age in (("roaring", "cub"), ("closed", "adult")):
            tigers.append(Tiger(mouth=mouth, age=age, **dict(zip(names, numbers))))
    monkeypatch.setattr(painting, "PIXELS", 24 * size)
    strips = paint(tigers, size)
    monkeypatch.setattr(painting, "PIXELS", 2**20)
    everywhere = dict.fromkeys(looks.PARTS, (-3.0, 3.0, 0.0))
    monkeypatch.setattr(looks, "PARTS", everywhere)
    assert (paint(tigers, size).int() - strips.int()).abs().max() <= 1


def test_a_tiger_is_the_same_whatever_the_batch(many):
    images, attributes = many
    for n, start in ((1, 0), (7, 0), (5, 123), (41, 400)):
        again, tigers = procedural_tigers(n, 32, seed=3, start=start)
        assert tigers == attributes[start : start + n]
        assert (again.int() - images[start : start + n].int()).abs().max() <= 1


def test_paint_of_the_attributes_is_the_picture(many):
    images, attributes = many
    assert (paint(attributes[7], 32).int() - images[7].int()).abs().max() <= 1
    assert (paint(attributes[90:99], 32).int() - images[90:99].int()).abs().max() <= 1
    rebuilt = [Tiger(**asdict(tiger)) for tiger in attributes[90:99]]
    assert torch.equal(paint(rebuilt, 32), paint(attributes[90:99], 32))


def test_seeds_and_numbers_give_other_tigers(many):
    images, attributes = many
    others, _ = procedural_tigers(600, 32, seed=4)
    assert (images.float() - others.float()).abs().mean((1, 2, 3)).min() > 8
    assert len({tiger.stripes for tiger in attributes}) == 600


def test_painting_leaves_the_global_random_state_alone_and_ignores_it(many):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    images, _ = procedural_tigers(4, 32, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert (images.int() - many[0][:4].int()).abs().max() <= 1


def test_attributes_are_uniform_and_independent():
    keys = torch.arange(20_000)
    u = uniform(keys, 0, 16)
    assert u.min() >= 0 and u.max() < 1
    assert (u.mean(0) - 0.5).abs().max() < 5 * (1 / 12 / 20_000) ** 0.5
    assert (u.T.corrcoef() - torch.eye(16)).abs().max() < 5 / 20_000**0.5
    follows = torch.stack((u[:-1, 0], u[1:, 0])).corrcoef()[0, 1]
    assert follows.abs() < 5 / 20_000**0.5
    other = torch.stack((u[:, 0], uniform(keys, 1, 1)[:, 0])).corrcoef()[0, 1]
    assert other.abs() < 5 / 20_000**0.5
    bins = torch.histc(u[:, 3], 64, 0, 1)
    assert ((bins - 20_000 / 64).square() / (20_000 / 64)).sum() < 63 + 5 * (2 * 63) ** 0.5


def test_every_attribute_takes_all_its_values_equally_often():
    tigers = series(2000, seed=11)
    for name, words in CHOICES.items():
        if name == "daytime":
            continue
        for word in words:
            count, p = sum(getattr(tiger, name) == word for tiger in tigers), 1 / len(words)
            assert abs(count - 2000 * p) < 5 * (2000 * p * (1 - p)) ** 0.5, (name, word)
    for name, (low, high) in RANGES.items():
        values = torch.tensor([getattr(tiger, name) for tiger in tigers])
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
    by_day = [t.daytime for t in tigers if t.backdrop != "night"]
    assert {t.daytime for t in tigers if t.backdrop == "night"} == {"night"}
    assert all(abs(by_day.count(w) / len(by_day) - 1 / 3) < 0.06 for w in CHOICES["daytime"][:3])


def test_random_numbers_are_those_of_splitmix64():
    def reference(z):
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    seeds = [0, 1, 2**40 + 17, 2**63 - 1]
    ours = uniform(torch.tensor(seeds), 5, 9)
    for row, seed in zip(ours.tolist(), seeds):
        start = reference((reference(seed) + 5) % 2**64)
        counter = [(start + i * 0x9E3779B97F4A7C15) % 2**64 for i in range(1, 10)]
        assert row == [(reference(z) >> 40) / 2**24 for z in counter]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"turn": 1}, {"turn": 1.0}),
        ({"gaze_x": -0.0}, {"gaze_x": 0.0}),
        ({"turn": np.float64(0.3)}, {"turn": 0.3}),
        ({"stripes": np.int64(5)}, {"stripes": 5}),
    ],
)
def test_equal_tigers_have_equal_captions_and_files(one, other):
    one, other = Tiger(**one), Tiger(**other)
    assert one == other and repr(one) == repr(other)
    assert [caption(one, seed) for seed in range(20)] == [
        caption(other, seed) for seed in range(20)
    ]


def test_what_the_caller_has_set_changes_no_picture():
    code = """
import sys, torch, tigerdiff
def check(name):
    picture = tigerdiff.procedural_tigers(3, 64, 2)[0]
    assert (picture.int() - first.int()).abs().max() <= 1, name
first = tigerdiff.procedural_tigers(3, 64, 2)[0]
for context in (torch.autocast("cpu", torch.bfloat16), torch.inference_mode()):
    with context:
        check(context)
for change in (
    lambda: torch.set_num_threads(1),
    lambda: torch.set_float32_matmul_precision("medium"),
    lambda: torch.set_default_dtype(torch.float64),
):
    change()
    check(change)
torch.set_default_device("meta")
picture = tigerdiff.procedural_tigers(3, 64, 2)[0]
torch.set_default_device("cpu")
assert torch.equal(picture, first)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_painting_from_many_threads_leaves_the_number_of_threads_alone(many):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with ThreadPoolExecutor(4) as pool:
            batches = list(
                pool.map(lambda i: procedural_tigers(40, 32, 3, start=40 * i)[0], range(8))
            )
        assert (torch.cat(batches).int() - many[0][:320].int()).abs().max() <= 1
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_threads_paint_in_inference_mode_too():
    """The mode holds in the caller's thread alone, so threads may not fill a tensor made in it."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected, _ = procedural_tigers(6, 256, seed=4)
        with torch.inference_mode():
            found, _ = procedural_tigers(6, 256, seed=4)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found, expected) and not found.is_inference()


# --------------------------------------------------------------------------------------- the size


def test_the_same_tiger_at_every_size():
    _, tigers = procedural_tigers(6, 16, seed=21)
    large = shrunk(paint(tigers, 512), 16)
    moved = [replace(tiger, x=tiger.x + (0.06 if tiger.x < 0 else -0.06)) for tiger in tigers]
    for size in (16, 48, 64, 100, 256):
        assert differing(shrunk(paint(tigers, size), 16), large) < 4
        assert differing(shrunk(paint(moved, size), 16), large) > 5  # 3 % of the width is seen


def test_sizes_from_16_to_1024_and_no_others():
    assert paint_tiger().shape == (3, 512, 512)
    assert paint_tiger(1024).shape == (3, 1024, 1024)
    for size in (-1, 0, 15, 1025, 64.0, "64", None, True):
        for call in (paint_tiger, lambda s: paint(Tiger(), s), lambda s: procedural_tigers(1, s)):
            with pytest.raises(ValueError, match="size must be a whole number from 16 to 1024"):
                call(size)


def test_a_mask_keeps_its_area_at_every_size():
    for size in (32, 256):
        area = cover(ellipse(grid(size), 0.1, -0.05, 0.5, 0.3)).mean() * 4
        assert area.item() == pytest.approx(math.pi * 0.5 * 0.3, rel=0.01)


def test_a_point_of_light_keeps_its_sum_at_every_size():
    at = torch.tensor([[[0.1]], [[0.2]], [[0.01]]])[:, None]
    sums = [spark(grid(size), *at).sum().item() / size**2 for size in (16, 64, 512)]
    assert sums[0] == pytest.approx(sums[2], rel=0.15)
    assert sums[1] == pytest.approx(sums[2], rel=0.05)


# ---------------------------------------------------------------------------------- what one sees


def changed(**attributes):
    """Where the course's tiger changes when its attributes do, as mean steps (16, 16) of 1/255."""
    base = Tiger(fur="orange", daytime="noon", scale=0.9, turn=0.0, tilt=0.0)
    other = replace(base, **attributes)
    return (shrunk(paint([base, other], 64), 16).diff(dim=0)).abs().mean((0, 1))


SEEN = [
    *({"fur": word} for word in CHOICES["fur"][1:]),
    *({"backdrop": word} for word in ("snow", "savanna", "water")),
    {"backdrop": "night", "daytime": "night"},
    *({"mouth": word} for word in CHOICES["mouth"][1:]),
    *({"ears": word} for word in CHOICES["ears"][1:]),
    {"age": "cub"}, {"daytime": "morning"}, {"daytime": "dusk"}, {"gaze_x": -1.0},
    {"gaze_x": 1.0}, {"turn": 1.0}, {"tilt": -14.0}, {"x": 0.16}, {"y": -0.08}, {"scale": 0.68},
    {"light": 70.0}, {"stripes": 4}, {"scene": 4},
]  # fmt: skip


def test_each_attribute_can_be_seen():
    for attributes in SEEN:
        assert changed(**attributes).max() > 3.5, attributes


def test_eyes_look_up_and_down():
    down, up = paint([replace(Tiger(), gaze_y=1.0), replace(Tiger(), gaze_y=-1.0)], 256).int()
    assert (down - up).abs()[:, 85:125, 70:175].float().mean() > 2
    assert (down - up)[:, 140:].abs().max() == 0


def test_an_attribute_changes_what_it_is_about_and_nothing_else():
    backdrop = changed(backdrop="snow")
    assert backdrop[0].min() > 30 and backdrop[5:9, 6:10].max() < 4
    mouth = changed(mouth="roaring")
    assert mouth[11:15, 6:10].mean() > 25 and mouth[0:4].max() < 2
    fur = changed(fur="white")
    assert fur[6:10, 6:10].mean() > 20 and fur[0, :3].max() == 0
    gaze = changed(gaze_x=1.0)
    assert gaze.argmax() // 16 in (5, 6, 7) and gaze[9:].max() == 0
    stripes = changed(stripes=4)
    assert stripes[2].max() > 8 and stripes[:, 0].max() < stripes.max() / 2


def test_left_and_right_are_the_viewers():
    def centre(where):
        return (where * torch.linspace(-1, 1, 64)).sum() / where.sum()

    base = Tiger(turn=0.0, tilt=0.0, backdrop="snow", daytime="noon", fur="orange")

    def middle(colour_is, **attributes):
        r, g, b = paint(replace(base, **attributes), 64).float()
        return centre(colour_is(r, g, b).float())

    def orange(r, g, b):
        return (r - b > 80) & (r > g)

    def pink(r, g, b):
        return (r - g > 50) & ((g - b).abs() < 25)

    assert middle(orange, x=0.16) - middle(orange, x=-0.16) > 0.15
    assert middle(pink, turn=1.0) - middle(pink, turn=-1.0) > 0.1
    bright = [paint(replace(base, light=light), 64).float().mean(0) for light in (-70.0, 70.0)]
    assert (bright[1] - bright[0])[20:40, 36:48].mean() > 5
    assert (bright[1] - bright[0])[20:40, 16:28].mean() < -5


def test_stripes_are_those_of_one_tiger_only():
    tigers = [replace(Tiger(), stripes=i) for i in range(20)]
    faces = paint(tigers, 64)[:, :, 8:48, 12:52].float()
    distances = torch.pdist(faces.flatten(1)) / faces[0].numel() ** 0.5
    assert distances.min() > 12


def test_two_sides_of_a_face_are_alike_and_not_the_same(portrait):
    plain = replace(Tiger(), turn=0.0, tilt=0.0, x=0.0, light=0.0)
    tigers = [replace(plain, stripes=i) for i in range(30)]
    faces = paint(tigers, 64)[:, :, 8:48, 8:56].float()
    own = (faces - faces.flip(3)).abs().mean()
    others = (faces - faces.flip(3).roll(1, 0)).abs().mean()
    assert 4 < own < 0.75 * others


def test_the_courses_tiger_is_orange_black_and_white_in_green(portrait):
    r, g, b = portrait.float()
    shares = {
        "orange": ((r > 170) & (r - b > 90) & (g > 60) & (g < 0.75 * r), 0.12),
        "black": (torch.stack((r, g, b)).amax(0) < 50, 0.05),
        "white": (torch.stack((r, g, b)).amin(0) > 160, 0.04),
        "jungle": ((g > r + 8) & (g > b + 8), 0.2),
    }
    for name, (where, least) in shares.items():
        assert where.float().mean() > least, name


def test_nothing_is_clipped_flat_and_contrast_is_full(portrait, many):
    assert (portrait == 255).all(0).float().mean() < 0.001
    assert (many[0] == 255).all(1).float().mean() < 0.002
    grey = portrait.float().mean(0)
    assert grey.quantile(0.01) < 30
    assert grey.quantile(0.99) > 180
    spread = many[0].float().flatten(1)
    assert (spread.quantile(0.98, 1) - spread.quantile(0.02, 1)).min() > 60  # also at night


def test_fur_is_sharp_and_the_jungle_out_of_focus(portrait):
    grey = portrait.float().mean(0)
    detail = grey.diff(dim=1).abs()
    assert detail[180:340, 140:380].mean() > 5 * detail[20:180, 430:].mean()


# ------------------------------------------------------------------------------- the wrong inputs


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({"fur": "blue"}, "fur must be one of 'orange', 'white', 'golden', 'black'"),
        ({"mouth": None}, "mouth must be one of"),
        ({"turn": 1.5}, "turn must be a number from -1 to 1"),
        ({"scale": float("nan")}, "scale must be a number from 0.68 to 1.05"),
        ({"tilt": "much"}, "tilt must be a number from -14 to 14"),
        ({"gaze_x": True}, "gaze_x must be a number from -1 to 1"),
        ({"stripes": -1}, "stripes must be a whole number"),
        ({"scene": 1.0}, "scene must be a whole number"),
        ({"backdrop": "night"}, "daytime must be 'night' with the backdrop 'night' and no other"),
        ({"daytime": "night"}, "daytime must be 'night' with the backdrop 'night' and no other"),
    ],
)
def test_a_wrong_attribute_is_named(attributes, named):
    with pytest.raises(ValueError, match=named):
        Tiger(**attributes)


def test_wrong_arguments_are_named():
    for arguments, named in (
        ({"n": 0}, "n must be"),
        ({"n": 2, "seed": -1}, "seed must be a whole number from 0 to 2147483647"),
        ({"n": 2, "start": 2**32}, "start must be"),
    ):
        with pytest.raises(ValueError, match=named):
            procedural_tigers(**arguments)
    for attributes in ([], ["orange"], [Tiger(), None]):
        with pytest.raises(ValueError, match="attributes must be a Tiger or a sequence"):
            paint(attributes)


def test_the_docstring_names_each_attribute_with_its_values():
    for field in fields(Tiger):
        assert f"{field.name}: " in Tiger.__doc__
    for words in CHOICES.values():
        assert all(f'"{word}"' in Tiger.__doc__ for word in words)
    for low, high in RANGES.values():
        assert f"{low:g}" in Tiger.__doc__ and f"{high:g}" in Tiger.__doc__


# --------------------------------------------------------------------------------------- the tools


def test_distances_are_zero_on_the_outline():
    tips = torch.tensor([[0.3, -0.3, 0.0, 0.0], [0.0, 0.0, 0.1, -0.1]]).view(2, 1, 1, 4)
    torch.testing.assert_close(almond(tips, 0.3, 0.1), torch.zeros(1, 1, 4), atol=1e-6, rtol=0)


def test_a_stroke_passes_through_its_points_and_tapers():
    line = [(-0.5, 0.0, 0.0, 0.2, 0.5, 0.0, 0.05, 1.0)]
    at = torch.tensor([[-0.5, 0.0, 0.5, 0.0], [0.0, 0.2, 0.0, 0.5]]).view(2, 1, 1, 4)
    start, middle, end, outside = strokes(at, line)[0, 0].tolist()
    assert start == pytest.approx(0, abs=1e-3)
    assert middle == pytest.approx(-0.05, abs=1e-3)
    assert end == pytest.approx(0, abs=1e-3)
    assert outside > 0.2


def test_noise_is_the_same_at_the_same_place_whatever_the_size():
    fine, coarse = noise(grid(99), 5, 1)[0], noise(grid(33), 5, 1)[0]
    torch.testing.assert_close(fine[1::3, 1::3], coarse)
    assert coarse.std() > 0.2


def test_hair_runs_along_its_direction():
    p = grid(128)
    along_x = torch.stack((torch.ones(1, 128, 128), torch.zeros(1, 128, 128)))
    strands = hair(p, along_x, 0.2, 40, 3)[0]
    assert strands.diff(dim=0).abs().mean() > 3 * strands.diff(dim=1).abs().mean()
