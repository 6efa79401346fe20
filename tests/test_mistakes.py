"""Without a mistake the sampler of tools/mistakes.py is the package's own; with one it is not."""

import pytest
import torch
from mistakes import MISTAKES, walk

from tigerdiff import NoiseSchedule, ddim, ddpm

SCHEDULE = NoiseSchedule.cosine(100)
XT = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Model:
    """Depends on all it is given."""

    def __init__(self, prediction):
        self.prediction = prediction

    def __call__(self, xt, t):
        return xt.tanh() + 0.3 * torch.cos(t.double() / 9).reshape(-1, 1, 1, 1)


def generator():
    return torch.Generator().manual_seed(1)


def by_hand(sampler, steps, mistake=None, prediction="eps"):
    options = {"sampler": sampler, "steps": steps, "generator": generator(), "mistake": mistake}
    return walk(Model(prediction), SCHEDULE, XT, **options)


@pytest.mark.parametrize("prediction", ["eps", "v"])
@pytest.mark.parametrize("steps", [7, 100])
def test_without_a_mistake_it_is_the_package(steps, prediction):
    *_, last = ddim(Model(prediction), SCHEDULE, XT, steps=steps)
    torch.testing.assert_close(by_hand("ddim", steps, None, prediction), last.xt)
    *_, last = ddpm(Model(prediction), SCHEDULE, XT, steps=steps, generator=generator())
    torch.testing.assert_close(by_hand("ddpm", steps, None, prediction), last.xt)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_changes_the_images(mistake):
    sampler, _ = MISTAKES[mistake]
    found = by_hand(sampler, 20, mistake)
    assert (found - by_hand(sampler, 20)).abs().max() > 0.05
    assert len(MISTAKES) == 10


def test_a_mistake_of_another_sampler_is_refused():
    with pytest.raises(ValueError, match="'no noise' is one of ddpm, not of ddim"):
        by_hand("ddim", 5, "no noise")
