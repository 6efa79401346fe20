"""Precision and recall, against points whose balls are known and loops over all pairs."""

import math

import pytest
import torch

from tigerdiff.metrics.precision import precision_recall, share_inside
from tigerdiff.tigers.paint import procedural_tigers


def line(*places):
    return torch.tensor(places, dtype=torch.float64)[:, None]


def normal(n, seed, deviation=1.0, size=3):
    generator = torch.Generator().manual_seed(seed)
    return deviation * torch.randn(n, size, generator=generator, dtype=torch.float64)


def share_by_loops(points, centres, k):
    """The definition, word for word: sort, take the k-th, compare."""
    points, centres = points.tolist(), centres.tolist()
    held = 0
    for point in points:
        for i, centre in enumerate(centres):
            others = sorted(math.dist(centre, x) for j, x in enumerate(centres) if j != i)
            if math.dist(point, centre) <= others[k - 1]:
                held += 1
                break
    return held / len(points)


def test_points_on_a_line_whose_balls_are_known():
    centres = line(0, 1, 3, 7)  # nearest others at 1, 1, 2, 4; second nearest at 3, 2, 3, 6
    points = line(-1.5, -1, 2.5, 5, 6, 11, 11.5, 13)
    # k = 1: [-1, 1], [0, 2], [1, 5], [3, 11] hold all from -1 to 11
    assert share_inside(points, centres, 1) == 5 / 8
    # k = 2: [-3, 3], [-1, 3], [0, 6], [1, 13] hold all
    assert share_inside(points, centres, 2) == 1
    assert share_inside(centres, line(20, 21), 1) == 0


@pytest.mark.parametrize("k", [1, 3, 5])
def test_precision_is_a_loop_over_pairs(k):
    points, centres = normal(300, 1), normal(40, 2, 0.7)  # more points than one part holds
    found = share_inside(points, centres, k)
    assert found == share_by_loops(points, centres, k)
    assert 0.1 < found < 0.99


def test_a_narrow_set_is_precise_and_a_wide_one_has_recall():
    images = [torch.zeros(200, 3, 1, 1, dtype=torch.uint8)] * 2
    sets = {}
    for name, deviation in (("narrow", 0.3), ("wide", 3.0)):
        parts = iter([normal(200, 4, deviation), normal(200, 5)])
        sets[name] = precision_recall(*images, features=lambda _, p=parts: next(p))
    assert sets["narrow"].precision > 0.8 > 0.4 > sets["narrow"].recall
    assert sets["wide"].recall > 0.95 > 0.5 > sets["wide"].precision


def test_of_tigers_without_white_fur_only_the_recall_is_low():
    images, tigers = procedural_tigers(512, 32, seed=41)
    real, fresh = images.split(256)
    orange = fresh[[x.fur == "orange" for x in tigers[256:]]].repeat(4, 1, 1, 1)
    floor, narrow = precision_recall(fresh, real), precision_recall(orange, real, k=3)
    assert min(floor) > 0.6
    assert narrow.recall < 0.6 * floor.recall


def test_precision_recall_refuses_what_it_cannot_measure():
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match="k must be a whole number of at least 1"):
        precision_recall(images, images, k=0)
    with pytest.raises(ValueError, match="real must be uint8 .* with N >= 4, not uint8"):
        precision_recall(images, images[:3])
