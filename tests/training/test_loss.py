"""The loss against its formulas; times and left-out labels against what they are drawn for."""

import copy

import pytest
import torch

from tigerdiff.diffusion import make_schedule
from tigerdiff.training.loop import (
    diffusion_loss,
    drop_condition,
    share_dropout,
    stratified_times,
)

SIZE = 16


class Answer(torch.nn.Module):
    """A network that always gives the same answer, and remembers what it was asked."""

    def __init__(self, answer, prediction="eps"):
        super().__init__()
        self.answer, self.prediction = answer, prediction

    def forward(self, xt, t, *condition):
        self.xt, self.condition = xt, condition
        return self.answer


@pytest.fixture
def noised():
    generator = torch.Generator().manual_seed(1)
    x0 = torch.rand(64, 3, SIZE, SIZE, generator=generator) * 2 - 1
    return x0, stratified_times(100, 64, generator), torch.randn(x0.shape, generator=generator)


def target(prediction, schedule, x0, t, eps):
    """What is to be predicted, in float64 and image by image."""
    a = [schedule.alpha_bar[k].item() for k in t.tolist()]
    if prediction == "v":
        rows = [ak**0.5 * e - (1 - ak) ** 0.5 * x for ak, x, e in zip(a, x0.double(), eps.double())]
        return torch.stack(rows)
    return {"eps": eps, "x0": x0}[prediction].double()


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_loss_is_the_mean_square_distance_from_the_formula(name, noised):
    schedule = make_schedule(name, 100)
    x0 = noised[0]
    for prediction in ("eps", "x0", "v"):
        truth = target(prediction, schedule, *noised)
        exact = diffusion_loss(Answer(truth.float(), prediction), schedule, *noised)
        assert exact.item() < 1e-12
        off = diffusion_loss(Answer(torch.full_like(x0, 0.3), prediction), schedule, *noised)
        assert off.item() == pytest.approx((truth - 0.3).square().mean().item(), rel=1e-5)
    loss = diffusion_loss(Answer(torch.zeros_like(x0)), schedule, *noised)
    assert loss.item() == pytest.approx(1, abs=0.02)


def test_loss_sees_the_prediction_behind_a_wrapper_and_rejects_an_unknown_one(noised):
    class Wrapper(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.module = Answer(noised[0], "x0")

        def forward(self, xt, t):
            return self.module(xt, t)

    schedule = make_schedule("cosine", 100)
    assert diffusion_loss(Wrapper(), schedule, *noised).item() == 0
    with pytest.raises(ValueError, match="prediction must be"):
        diffusion_loss(Answer(noised[0], "score"), schedule, *noised)


def test_the_network_is_told_its_condition(noised):
    schedule, model = make_schedule("cosine", 100), Answer(torch.zeros_like(noised[0]))
    condition = torch.arange(128).reshape(64, 2)
    diffusion_loss(model, schedule, *noised, condition)
    assert len(model.condition) == 1 and torch.equal(model.condition[0], condition)
    diffusion_loss(model, schedule, *noised)
    assert model.condition == ()


def test_noise_and_loss_stay_float32_under_autocast(noised):
    schedule, x0 = make_schedule("cosine", 100), noised[0]
    model = Answer(torch.zeros_like(x0).bfloat16())
    plain = diffusion_loss(model, schedule, *noised)
    xt = model.xt
    with torch.autocast("cpu", torch.bfloat16):
        loss = diffusion_loss(model, schedule, *noised)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, plain)
    assert torch.equal(model.xt, xt)


def test_a_processs_part_loses_what_the_whole_batch_does():
    """Each dropout layer draws once, so that the second one's numbers are the same too."""
    x = torch.ones(6, 8, 4, 4).to(memory_format=torch.channels_last)
    whole = torch.nn.Sequential(torch.nn.Dropout(0.3), torch.nn.Dropout(0.5))
    torch.manual_seed(3)
    expected = whole(x)
    for part in (slice(0, 3), slice(3, 6)):
        shared = copy.deepcopy(whole)
        share_dropout(shared, part, 6)
        torch.manual_seed(3)
        assert torch.equal(shared(x[part]), expected[part])


def test_times_fill_all_parts_evenly():
    for T, n in [(1000, 64), (1000, 7), (10, 64), (1, 3)]:
        t = stratified_times(T, n, torch.Generator().manual_seed(3))
        assert t.dtype == torch.int64
        assert 1 <= t.min() <= t.max() <= T
        # As many times at or below each t as its share of 1 ... T asks for, give or take one.
        for k in range(0, T + 1, max(1, T // 50)):
            assert abs(int((t <= k).sum()) - n * k / T) < 1 + 1e-9


def test_each_time_is_equally_likely_at_each_place():
    T, n, draws = 5, 3, 4000
    generator = torch.Generator().manual_seed(4)
    t = torch.stack([stratified_times(T, n, generator) for _ in range(draws)])
    for place in t.unbind(1):
        share = torch.bincount(place, minlength=T + 1)[1:] / draws
        assert (share - 1 / T).abs().max() < 5 * (0.2 * 0.8 / draws) ** 0.5


def test_labels_are_left_out_one_by_one_and_all_together():
    condition = torch.tensor([[3, 1, 0], [0, 2, 5], [1, 1, 1]])
    u = torch.tensor([[0.09, 0.5, 0.5, 0.5], [0.5, 0.5, 0.0, 0.5], [0.1, 0.1, 0.11, 0.99]])
    left = drop_condition(condition, 0.1, u)
    assert left.tolist() == [[-1, -1, -1], [0, -1, 5], [1, 1, 1]]
    assert torch.equal(drop_condition(condition, 0.0, u), condition)
    assert (drop_condition(condition, 1.0, u) == -1).all()
