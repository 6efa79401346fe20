"""Chapter 10's adapter: the page's own cells, against the formula, peft and diffusers."""

import hashlib
import json
import math
from copy import deepcopy

import nbformat
import pytest
import torch
from measure_lora import OUT, PAGE, RANKS, RUNS, page
from peft import LoraConfig
from peft.tuners.lora import Linear as PeftLinear
from safetensors.torch import load_file
from torch import nn
from torch.testing import assert_close
from torchvision.transforms.functional import to_pil_image

from tigerdiff.pretrained.stable_diffusion import FULL


@pytest.fixture(scope="module")
def ft():
    """What the cells about the adapter define, without the miniature."""
    return page("lora", "begin", "merge", torch=torch, nn=nn, deepcopy=deepcopy)


@pytest.fixture(scope="module")
def whole():
    """With the miniature, and the cells that train and save."""
    return page("setup", "lora", "begin", "merge", "learn", "save")


def some_lora(ft, rank=3, alpha=6, seed=0):
    """An adapter that is not at its start, of a layer that is not square; float64."""
    torch.manual_seed(seed)
    layer = ft.LoRA(nn.Linear(7, 5), rank, alpha).double()
    nn.init.normal_(layer.B)
    return layer


def small_network(ft):
    """Two matrices that get an adapter, one of them in a list, and one that gets none."""
    network = nn.Module()
    network.to_q, network.to_out = nn.Linear(6, 4, bias=False), nn.ModuleList([nn.Linear(4, 6)])
    network.other = nn.Linear(6, 6)
    network.forward = lambda x: network.other(network.to_out[0](network.to_q(x).tanh()))
    return network.double().requires_grad_(False)


@pytest.mark.parametrize(("rank", "alpha"), [(1, 1), (2, 8), (5, 3)])
def test_the_adapter_adds_its_product(ft, rank, alpha):
    layer = some_lora(ft, rank, alpha)
    x, W, b = torch.randn(4, 7).double(), layer.linear.weight, layer.linear.bias
    by_hand = torch.stack([W @ v + b + alpha / rank * (layer.B @ (layer.A @ v)) for v in x])
    assert_close(layer(x), by_hand)
    assert not torch.allclose(layer(x), layer.linear(x))


def test_it_starts_as_the_plain_layer_and_can_learn(ft):
    layer, x = ft.LoRA(nn.Linear(7, 5), 2, 4), torch.randn(3, 7)
    assert torch.equal(layer(x), layer.linear(x))
    layer(x).square().sum().backward()
    assert layer.B.grad.norm() > 0 == layer.A.grad.norm()
    assert layer.linear.weight.grad is None and layer.linear.bias.grad is None


def test_the_adapter_is_pefts(ft):
    """The same outputs and gradients from the same matrices."""
    layer = some_lora(ft)
    config = LoraConfig(r=3, lora_alpha=6)
    peer = PeftLinear(deepcopy(layer.linear), "default", config, r=3, lora_alpha=6).double()
    peer.lora_A["default"].weight.data = layer.A.data.clone()
    peer.lora_B["default"].weight.data = layer.B.data.clone()
    x = torch.randn(4, 7).double()
    assert_close(layer(x), peer(x))
    for module in (layer, peer):
        module(x).sin().sum().backward()
    assert_close(layer.A.grad, peer.lora_A["default"].weight.grad)
    assert_close(layer.B.grad, peer.lora_B["default"].weight.grad)


def test_it_starts_with_the_numbers_of_pefts(ft):
    """A with the same bounds as peft's, which are those of a linear layer."""
    torch.manual_seed(0)
    layer = ft.LoRA(nn.Linear(400, 5), 64, 1)
    assert layer.A.abs().max() <= 1 / math.sqrt(400)
    assert layer.A.std().item() == pytest.approx(1 / math.sqrt(3 * 400), rel=0.02)


@pytest.mark.parametrize("strength", [-1.0, 0.0, 0.5, 1.0])
def test_merged_is_unmerged(ft, strength):
    network, x = small_network(ft), torch.randn(3, 6).double()
    ft.add_lora(network, rank=2, alpha=4)
    network.double()
    for _, layer in ft.loras(network):
        nn.init.normal_(layer.B)
    scaled = deepcopy(network)
    scaled.forward = lambda x: scaled.other(scaled.to_out[0](scaled.to_q(x).tanh()))
    for _, layer in ft.loras(scaled):
        layer.factor *= strength
    expected = scaled(x)
    ft.merge(network, strength)
    assert ft.loras(network) == []
    assert_close(network(x), expected)


def test_only_the_adapters_are_trained(ft):
    network = small_network(ft)
    before = deepcopy(network.state_dict())
    weights = ft.add_lora(network, rank=2, alpha=4)
    assert [name for name, _ in ft.loras(network)] == ["to_q", "to_out.0"]
    assert ft.count(weights) == 2 * (6 + 4) * 2
    network.double()
    network(torch.randn(3, 6).double()).sum().backward()
    reached = {name for name, p in network.named_parameters() if p.grad is not None}
    assert {name.rpartition(".")[2] for name in reached} == {"A", "B"}
    assert_close(network.to_q.linear.weight, before["to_q.weight"])


def test_what_was_measured_is_of_these_weights_and_complete():
    result = json.loads(OUT.read_text())
    weights = OUT.parent / "unet/diffusion_pytorch_model.safetensors"
    assert result["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    for run in RUNS:
        assert any(run.items() <= row.items() for row in result["tiger"]), run
    assert [row["rank"] for row in result["combination"]] == [None, *RANKS]


@pytest.mark.slow
def test_diffusers_reads_the_file(whole, tmp_path):
    """The file of an adapter with alpha / r = 2, loaded into a fresh pipeline: the same output."""
    whole.with_lora(rank=2, alpha=4)
    torch.manual_seed(1)
    for _, layer in whole.loras(whole.pipe.unet):
        nn.init.normal_(layer.B, std=0.05)
    path = tmp_path / "adapter.safetensors"
    whole.save_lora(whole.pipe.unet, path)
    assert len(load_file(path)) == 2 * len(whole.loras(whole.pipe.unet))
    other = deepcopy(whole.pipe)
    other.unet = deepcopy(whole.plain)
    other.load_lora_weights(tmp_path, weight_name=path.name)
    x, t = torch.randn(1, 4, 16, 16), torch.tensor([300])
    c = whole.embed(whole.pipe, ["a quiet adult white tiger in the snow at noon"])
    with torch.no_grad():
        ours, theirs, old = (u(x, t, c).sample for u in (whole.pipe.unet, other.unet, whole.plain))
    assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert (ours - old).abs().max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_lowers_the_loss(whole, dtype):
    """Also where the frozen weights are in half precision, as the full model's on a GPU."""
    weights = whole.with_lora(rank=2, alpha=4)
    x0 = torch.randn(1, 4, 16, 16, generator=whole.seeded(0))
    t, eps = torch.tensor([500]), torch.randn(1, 4, 16, 16, generator=whole.seeded(1))
    c = whole.embed(whole.pipe, ["a q tiger"]).to(dtype)
    for name, p in whole.pipe.unet.named_parameters():
        if not name.endswith((".A", ".B")):
            p.data = p.data.to(dtype)
    model, schedule = whole.as_model(whole.pipe), whole.schedule_of(whole.pipe)
    with torch.no_grad():
        before = whole.td.diffusion_loss(model, schedule, x0, t, eps, c)
    whole.fine_tune(whole.pipe, weights, x0, c, steps=4, batch=1, lr=5e-3)
    with torch.no_grad():
        after = whole.td.diffusion_loss(model, schedule, x0, t, eps, c)
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in weights)
    assert after < before


@pytest.mark.slow
def test_the_cell_for_the_full_model_learns_from_a_folder_of_photos(whole, tmp_path, monkeypatch):
    """The page's cell, with smaller pictures and fewer steps; the miniature plays the model."""
    (cell,) = (x for x in nbformat.read(PAGE, as_version=4).cells if x.id == "ft-full")
    source = cell.source
    for asked, here in {
        "torch.cuda.is_available() and ": "",
        "folder, 512": "folder, 64",
        "range(8)": "range(1)",
        "prompts * 8": "prompts",
        "steps=400": "steps=3",
        'output_type="pt"': 'output_type="pt", num_inference_steps=2',
    }.items():
        assert asked in source
        source = source.replace(asked, here)
    loaded, known = [], whole.td.load_pipeline

    def load(name):
        loaded.append(name)
        return known("mini-64", "cpu")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(whole.td, "load_pipeline", load)
    (tmp_path / "my_photos").mkdir()
    for k, photo in enumerate(whole.td.procedural_tigers(3, 96, seed=4)[0]):
        to_pil_image(photo).save(tmp_path / f"my_photos/{k}.jpg")
    found = dict(vars(whole))
    exec(compile(source, "<ft-full>", "exec"), found)
    assert loaded == [FULL]
    assert found["picture"].shape == (1, 3, 64, 64)
    trained = load_file(tmp_path / "my_lora.safetensors")
    assert max(x.abs().max() for name, x in trained.items() if "lora_B" in name) > 0
