"""The painted tiger: the same animal at every size, and one that looks like a tiger."""

import math

import pytest
import torch
import torch.nn.functional as F

from tigerdiff._painting import almond, cover, ellipse, grid, hair, lit, noise, strokes
from tigerdiff.tigers import paint_tiger


@pytest.fixture(scope="module")
def tiger():
    return paint_tiger(512)


def shrunk(image, size):
    """The picture shrunk to size with antialiasing, in [0, 255]."""
    return F.interpolate(image[None].float(), (size, size), mode="bilinear", antialias=True)[0]


@pytest.mark.parametrize("size", [16, 33, 64])
def test_shape_and_dtype(size):
    image = paint_tiger(size)
    assert image.shape == (3, size, size)
    assert image.dtype == torch.uint8


def test_default_size_is_512_and_painting_is_deterministic(tiger):
    torch.manual_seed(1)
    assert torch.equal(paint_tiger(), tiger)


def test_painting_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    paint_tiger(16)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("size", [16, 64, 256])
def test_a_small_tiger_is_the_large_one_averaged(tiger, size):
    large = F.avg_pool2d(tiger.float(), 512 // size)
    assert (paint_tiger(size) - large).abs().max() <= 1


@pytest.mark.parametrize("size", [48, 100, 200, 384, 640])
def test_same_tiger_at_sizes_that_do_not_divide(tiger, size):
    small, large = shrunk(paint_tiger(size), 24), shrunk(tiger, 24)
    assert (small - large).abs().max() < 12
    moved = shrunk(tiger.roll(16, dims=2), 24)
    assert (moved - large).abs().max() > 60  # a shift by 3 % of the width would not pass


@pytest.mark.parametrize("size", [-1, 0, 15, 1025, 64.0, "64", None])
def test_a_wrong_size_is_named(size):
    with pytest.raises(ValueError, match="size must be a whole number from 16 to 1024"):
        paint_tiger(size)


def test_tiger_colours(tiger):
    r, g, b = tiger.float()
    orange = (r > 170) & (r - b > 90) & (g > 60) & (g < 0.75 * r)
    black = torch.stack((r, g, b)).amax(0) < 50
    white = torch.stack((r, g, b)).amin(0) > 170
    jungle = (g > r + 8) & (g > b + 8)
    shares = {"orange": orange, "black": black, "white": white, "jungle": jungle}
    floors = {"orange": 0.12, "black": 0.05, "white": 0.04, "jungle": 0.2}
    for name, floor in floors.items():
        assert shares[name].float().mean() > floor, name


def test_nothing_is_clipped_flat_and_contrast_is_full(tiger):
    grey = tiger.float().mean(0)
    assert (tiger == 255).all(0).float().mean() < 0.001
    assert grey.quantile(0.01) < 25
    assert grey.quantile(0.99) > 190


def test_stripes_are_sharp_on_the_face_and_the_backdrop_is_out_of_focus(tiger):
    grey = tiger.float().mean(0)
    detail = grey.diff(dim=1).abs()
    face, backdrop = detail[180:340, 140:380], detail[20:180, 420:]
    assert face.mean() > 8 * backdrop.mean()


def test_the_two_sides_of_the_face_differ(tiger):
    face = tiger.float()[:, 60:400, 90:430]
    assert (face - face.flip(2)).abs().mean() > 10


def test_cover_antialiases_to_the_true_area():
    for size in (32, 256):
        area = cover(ellipse(grid(size), 0.1, -0.05, 0.5, 0.3)).mean() * 4
        assert area.item() == pytest.approx(math.pi * 0.5 * 0.3, rel=0.01)


def test_distances_are_zero_on_the_outline():
    tips = torch.tensor([[0.3, -0.3, 0.0, 0.0], [0.0, 0.0, 0.1, -0.1]]).view(2, 1, 4)
    torch.testing.assert_close(almond(tips, 0.3, 0.1), torch.zeros(1, 4), atol=1e-6, rtol=0)


def test_a_stroke_passes_through_its_points_and_tapers():
    line = [(-0.5, 0.0, 0.0, 0.2, 0.5, 0.0, 0.05, 1.0)]
    at = torch.tensor([[-0.5, 0.0, 0.5, 0.0], [0.0, 0.2, 0.0, 0.5]]).view(2, 1, 4)
    start, middle, end, outside = strokes(at, line)[0].tolist()
    assert start == pytest.approx(0, abs=1e-3)
    assert middle == pytest.approx(-0.05, abs=1e-3)
    assert end == pytest.approx(0, abs=1e-3)
    assert outside > 0.2


def test_noise_is_the_same_at_the_same_place_whatever_the_size():
    fine, coarse = noise(grid(99), 5, 1), noise(grid(33), 5, 1)
    torch.testing.assert_close(fine[1::3, 1::3], coarse)
    assert coarse.std() > 0.2


def test_hair_runs_along_its_direction():
    p = grid(128)
    along_x = torch.stack((torch.ones(128, 128), torch.zeros(128, 128)))
    strands = hair(p, along_x, 0.2, 40, 3)
    assert strands.diff(dim=0).abs().mean() > 3 * strands.diff(dim=1).abs().mean()


def test_light_comes_from_the_upper_left():
    x, y = grid(64)
    assert (lit(0.5 * (x + y)) > lit(-0.5 * (x + y))).all()
