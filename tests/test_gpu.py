"""What only a GPU can show: it agrees with the CPU, trains in half precision, gives memory back.

``make gpu`` runs these, alone, on a machine with a GPU. ``make gpu DRY=1`` runs them on the CPU,
which proves nothing but that they run.
"""

import gc
import math
import weakref

import pytest
import torch

import tigerdiff as td
from tigerdiff.devices import find_device
from tigerdiff.training import machine

pytestmark = pytest.mark.gpu

DEVICE = find_device()
CUDA = DEVICE.type == "cuda"
SIZE, CPU = 32, torch.device("cpu")


@pytest.fixture(autouse=True)
def _float32_is_float32():
    """TF32 keeps ten bits: what is compared with the CPU does without it."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
    torch.set_float32_matmul_precision(before)


def on(device, name="ddpm-tiger-32"):
    model, schedule = td.load_pretrained(name)
    return model.to(device).requires_grad_(False), schedule


def levels_apart(a, b):
    """The largest difference of two pictures, in levels of 255."""
    return (a.cpu().int() - b.cpu().int()).abs().max().item()


def inputs(n, device):
    xt = torch.randn(n, 3, SIZE, SIZE, generator=td.seeded_generator(0))
    return xt.to(device), torch.linspace(1, 999, n).round().long().to(device)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm_solver", "heun"])
def test_a_seed_draws_the_same_pictures_on_both(sampler):
    options = dict(size=SIZE, sampler=sampler, steps=20, seed=3, progress=False)
    drawn = [td.sample(*on(device), 4, **options) for device in (CPU, DEVICE)]
    assert levels_apart(*drawn) <= 1
    assert drawn[0].float().std() > 20


def test_a_guided_drawing_is_the_same_on_both():
    options = dict(size=SIZE, sampler="dpm_solver", steps=10, condition={"fur": "white"})
    options |= dict(guidance_scale=3.0, progress=False)
    drawn = [td.sample(*on(device), 4, **options) for device in (CPU, DEVICE)]
    assert levels_apart(*drawn) <= 1


def test_the_painter_paints_the_same_on_both():
    painted = [td.procedural_tigers(16, 64, seed=5, device=device)[0] for device in (CPU, DEVICE)]
    assert levels_apart(*painted) <= 1


PRECISIONS = ["no", "bf16", *["fp16"] * CUDA]  # float16 needs the scaler of a GPU


@pytest.mark.parametrize("precision", PRECISIONS)
def test_training_learns_in_every_precision(precision, tmp_path, monkeypatch):
    """The loss halves; in the few steps on a CPU it falls by a fifth."""
    monkeypatch.setattr(machine, "precision_on", lambda device: precision)
    images = td.procedural_tigers(256, SIZE, seed=7)[0]
    steps = 200 if CUDA else 30
    config = td.TrainConfig(
        data=images, out=tmp_path, image_size=SIZE, steps=steps, batch_size=16, channels=16,
        learning_rate=1e-3, warmup_steps=5, sample_every=0, checkpoint_every=steps,
    )  # fmt: skip
    losses = [step.loss for step in td.train(config)]
    assert all(map(math.isfinite, losses))
    first, last = (sum(x) / len(x) for x in (losses[:5], losses[-10:]))
    assert last < (0.5 if CUDA else 0.8) * first
    model, _ = td.load_pretrained(tmp_path)
    assert all(weight.isfinite().all() for weight in model.parameters())


def recorded(function, *static):
    """A CUDA graph of a call, or on a CPU the call itself; takes new inputs by copying them."""
    if not CUDA:
        return function
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # kernels are chosen before the recording
        for _ in range(3):
            function(*static)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = function(*static)

    def replay(*fresh):
        for old, new in zip(static, fresh):
            old.copy_(new)
        graph.replay()
        return output.clone()

    return replay


def test_a_cuda_graph_replays_the_network():
    """No step of a forward pass waits for the CPU, or makes a tensor there."""
    model, _ = on(DEVICE)
    xt, t = inputs(4, DEVICE)
    with torch.no_grad():
        replay = recorded(model, torch.zeros_like(xt), torch.ones_like(t))
        torch.testing.assert_close(replay(xt, t), model(xt, t), atol=1e-4, rtol=1e-4)
        other = replay(xt.flip(0), t)
        torch.testing.assert_close(other, model(xt.flip(0), t), atol=1e-4, rtol=1e-4)


def test_the_compiled_network_is_the_network():
    model, _ = on(DEVICE)
    compiled = torch.compile(model, backend="inductor" if CUDA else "aot_eager")
    xt, t = inputs(4, DEVICE)
    with torch.no_grad():
        torch.testing.assert_close(compiled(xt, t), model(xt, t), atol=1e-3, rtol=1e-3)


def test_half_precision_draws_nearly_the_same_pictures():
    """Under autocast, as a T4 (float16) or a newer card (bfloat16) draws."""
    model, schedule = on(DEVICE)
    options = dict(size=SIZE, sampler="ddim", steps=20, seed=3, progress=False)
    full = td.sample(model, schedule, 4, **options).float()
    for dtype in (torch.bfloat16, *[torch.float16] * CUDA):
        with torch.autocast(DEVICE.type, dtype):
            half = td.sample(model, schedule, 4, **options).float()
        assert (half - full).abs().mean() < 4, dtype


def test_a_pipeline_that_is_deleted_gives_its_memory_back():
    def held():
        return torch.cuda.memory_allocated() if CUDA else 0

    gc.collect()
    before = held()
    pipe = td.load_pipeline("mini")
    pipe.set_progress_bar_config(disable=True)
    pipe("a tiger in the snow", num_inference_steps=2)
    parts = [weakref.ref(part) for part in (pipe.unet, pipe.vae, pipe.text_encoder)]
    assert held() > before or not CUDA
    del pipe
    gc.collect()
    assert [part() for part in parts] == [None] * 3
    assert held() <= before + 2**20
