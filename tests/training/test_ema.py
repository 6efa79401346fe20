"""The averaged weights; their closed form is in test_oracles."""

import pytest
import torch

from tigerdiff import EMA


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0])
def test_decay_out_of_range(decay):
    with pytest.raises(ValueError, match="^decay must be at least 0 and below 1"):
        EMA(torch.nn.Linear(1, 1), decay)


def test_buffers_are_copied_and_the_model_untouched():
    model = torch.nn.BatchNorm1d(2)
    ema = EMA(model, 0.9)
    model(torch.randn(8, 2) + 5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ema.update(model)
    assert torch.equal(ema.model.running_mean, model.running_mean)
    assert ema.model.running_mean is not model.running_mean
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training and model.weight.requires_grad


def test_constant_weights_are_their_own_average():
    model = torch.nn.Linear(3, 3)
    ema = EMA(model)
    for _ in range(100):
        ema.update(model)
    torch.testing.assert_close(ema.model.weight, model.weight)
