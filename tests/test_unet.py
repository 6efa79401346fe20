"""The network's shapes, errors, memory format and compilation."""

import json

import numpy as np
import pytest
import torch

from tigerdiff import UNet

TINY = dict(size=16, channels=16, multipliers=(1, 2), blocks=1, attention=(8,))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = UNet(**TINY)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"size": 64, "attention": (16, 32), "multipliers": (1, 2, 3)},
        {"size": 16, "multipliers": (1, 1, 2, 3), "attention": (2, 16), "blocks": 3},
        {"size": 7, "multipliers": (2,), "attention": (7,), "channels": 24, "blocks": 2},
        {"attention": (), "prediction": "eps", "dropout": 0.1, "channels": 8},
    ],
)
def test_shapes_zero_start_and_config(options):
    model = UNet(**options)
    size = model.config["size"]
    out = model(torch.randn(2, 3, size, size), torch.tensor([1, 1000]))
    assert out.shape == (2, 3, size, size) and not out.any()
    assert model.prediction == options.get("prediction", "v")
    copied = UNet(**json.loads(json.dumps(model.config)))
    copied.load_state_dict(model.state_dict())
    assert copied.config == model.config


def test_other_sizes_and_rectangles(model):
    assert model(torch.randn(1, 3, 8, 24), torch.tensor([3])).shape == (1, 3, 8, 24)


def test_each_picture_on_its_own(model):
    """The output of a picture does not depend on its neighbours in the batch."""
    xt, t = torch.randn(3, 3, 16, 16), torch.tensor([1, 500, 1000])
    for i in range(3):
        alone = model(xt[i : i + 1], t[i : i + 1])
        torch.testing.assert_close(alone, model(xt, t)[i : i + 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 1, 16, 16), (2, 3, 15, 16), (2, 3, 16, 7)])
def test_images_that_do_not_fit(model, shape):
    with pytest.raises(ValueError, match=r"^xt must have shape \(B, 3, H, W\).*divisible by 2"):
        model(torch.zeros(shape), torch.zeros(2))


@pytest.mark.parametrize("shape", [(), (1,), (2, 1)])
def test_times_that_do_not_fit(model, shape):
    with pytest.raises(ValueError, match=r"^t must have shape \(2,\)"):
        model(torch.zeros(2, 3, 16, 16), torch.zeros(shape))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 12}, "channels must be a multiple of 8"),
        ({"channels": 0}, "channels must be a multiple of 8"),
        ({"size": 30}, "size must be divisible by 4"),
        ({"attention": (5,)}, r"attention must be among the resolutions \[32, 16, 8\]"),
        ({"multipliers": ()}, "multipliers must hold at least one number"),
        ({"multipliers": (1, 0)}, "each of multipliers must be a whole number of at least 1"),
        ({"blocks": 0}, "blocks must be a whole number of at least 1"),
        ({"prediction": "noise"}, "prediction must be"),
    ],
)
def test_arguments_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        UNet(**options)


def test_the_config_of_numpy_numbers_can_be_written_as_json():
    numbers = {"size": np.int64(16), "channels": np.int32(8), "dropout": np.float32(0.5)}
    network = UNet(**numbers, multipliers=np.array([1, 2]).tolist(), attention=(np.int64(8),))
    assert UNet(**json.loads(json.dumps(network.config))).config == network.config


def test_dropout_only_in_training():
    torch.manual_seed(0)
    model = UNet(**TINY, dropout=0.5)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    xt, t = torch.randn(1, 3, 16, 16), torch.tensor([5])
    assert not torch.equal(model(xt, t), model(xt, t))
    model.eval()
    assert torch.equal(model(xt, t), model(xt, t))


def test_channels_last(model):
    xt, t = torch.randn(2, 3, 16, 16), torch.tensor([5, 900])
    expected = model(xt, t)
    last = UNet(**TINY).eval().to(memory_format=torch.channels_last)
    last.load_state_dict(model.state_dict())
    out = last(xt.to(memory_format=torch.channels_last), t)
    assert out.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)


def test_compiles_without_graph_breaks(model):
    """fullgraph raises at the first break; the gradient is traced as well."""
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    xt, t = torch.randn(2, 3, 16, 16, requires_grad=True), torch.tensor([5, 900])
    torch.testing.assert_close(compiled(xt, t), model(xt, t), rtol=1e-4, atol=1e-4)
    compiled(xt, t).sum().backward()
    assert xt.grad is not None
    assert compiled.prediction == "v"


def test_gradient_reaches_every_weight(model):
    model.zero_grad()
    model(torch.randn(2, 3, 16, 16), torch.tensor([5, 900])).square().sum().backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


def test_double_precision(model):
    copied = UNet(**TINY).double().eval()
    copied.load_state_dict(model.state_dict())
    xt, t = torch.randn(1, 3, 16, 16), torch.tensor([77])
    torch.testing.assert_close(copied(xt.double(), t).float(), model(xt, t), rtol=1e-3, atol=1e-3)
