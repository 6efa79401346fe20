"""``python -m bench.memory``: what training and drawing hold on a GPU, as JSON in the last line.

Beside the step of training is what ``tigerdiff train`` announces before it starts.
"""

import gc
import json
import sys
from collections.abc import Callable

import torch

import tigerdiff as td
from bench.networks import our_config
from tigerdiff.devices import find_device
from tigerdiff.training.machine import step_memory


def most_held(function: Callable[[], object]) -> int | None:
    """Return the most bytes of the GPU held while the function runs; None without a GPU."""
    if not torch.cuda.is_available():
        function()
        return None
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    function()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def training(size: int, batch: int) -> dict:
    """Train three steps with AdamW in float32."""
    device = find_device()
    network = our_config(size=size).network()
    announced = step_memory(network, batch)

    def steps() -> None:
        model = network.to(device)
        optimizer, schedule = torch.optim.AdamW(model.parameters()), td.NoiseSchedule.cosine()
        for _ in range(3):
            x0, t = torch.randn(batch, 3, size, size, device=device), torch.full((batch,), 500)
            loss = td.diffusion_loss(model, schedule, x0, t.to(device), torch.randn_like(x0))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    what = f"training step, {size} px, batch {batch}, float32"
    return {"what": what, "announced": announced, "gpu_bytes": most_held(steps)}


def drawing(size: int) -> dict:
    """Draw 16 pictures from a shipped network."""
    model, schedule = td.load_pretrained(f"ddpm-tiger-{size}")
    options = dict(size=size, sampler="ddim", steps=3, progress=False)

    def draw() -> None:
        td.sample(model.to(find_device()), schedule, 16, **options)

    return {"what": f"16 pictures, {size} px, float32", "gpu_bytes": most_held(draw)}


def pipeline() -> dict:
    """Draw four pictures from the miniature."""

    def draw() -> None:
        pipe = td.load_pipeline("mini")
        pipe.set_progress_bar_config(disable=True)
        pipe(["a tiger"] * 4, num_inference_steps=2)

    return {"what": "4 pictures, mini-sd-tiger", "gpu_bytes": most_held(draw)}


if __name__ == "__main__":
    sizes = [(16, 2)] if "--dry" in sys.argv else [(32, 32), (64, 32), (128, 16)]
    rows = [training(*pair) for pair in sizes] + [drawing(32), drawing(64), pipeline()]
    print(json.dumps(rows))
