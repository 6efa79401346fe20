"""Parts "sampling" and "overhead": whole sampling, and what a sampler costs beside its network."""

from argparse import Namespace
from collections.abc import Callable

import torch
from torch import Tensor

import tigerdiff
from bench.networks import DIFFUSERS, LIBRARIES, OURS, network
from bench.samplers import draw
from bench.timing import autocast, interleaved, rows
from tigerdiff import NoiseSchedule
from tigerdiff.devices import find_device, has_bfloat16


def run(options: Namespace) -> dict:
    """Time 16 pictures with 50 steps of DDIM, and 1000 of DDPM (where measured over fewer)."""
    result: dict = {"pictures": options.pictures, "ddpm_steps_run": options.ddpm_steps, "rows": []}
    result["ddpm"] = f"seconds of 1000 steps: those of {options.ddpm_steps} steps, scaled up"
    for size in options.sizes:
        networks = {
            library: network(library, size).to(find_device()).eval() for library in LIBRARIES
        }
        networks[OURS] = networks[OURS].to(memory_format=torch.channels_last)
        for sampler, steps, whole in (
            ("ddim", options.ddim_steps, options.ddim_steps),
            ("ddpm", options.ddpm_steps, 1000),
        ):
            for bfloat16 in [False, True] if has_bfloat16() else [False]:
                dtype = ", bfloat16" if bfloat16 else ""
                functions = {
                    name + dtype: _drawing(name, networks[name], size, steps, sampler, bfloat16,
                                           options.pictures)
                    for name in LIBRARIES
                }  # fmt: skip
                seconds = interleaved(functions, max(2, options.repeats // 2))
                what = f"{options.pictures} pictures, {sampler} {whole}, {size} px"
                result["rows"] += rows(what, seconds, each=steps / whole)
    return result


def _drawing(
    library: str,
    model: torch.nn.Module,
    size: int,
    steps: int,
    sampler: str,
    bfloat16: bool,
    n: int,
) -> Callable[[], Tensor]:
    def drawing() -> Tensor:
        with autocast(bfloat16):
            return draw(library, model, n, size, steps, sampler)

    return drawing


def overhead(options: Namespace) -> dict:
    """Time a step with a model that costs nothing, on (16, 3, 32, 32) float32.

    What a library does once per drawing (tables, timesteps) is included, for all.
    """
    from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

    xT = torch.randn(16, 3, 32, 32, device=find_device())
    output = torch.randn_like(xT)
    result: dict = {"shape": list(xT.shape), "rows": []}
    schedule = NoiseSchedule.linear()

    def free(xt: Tensor, t: Tensor) -> Tensor:
        return output

    for sampler, scheduler, steps in (
        ("ddim", DDIMScheduler(), 50),
        ("ddpm", DDPMScheduler(), 1000),
        ("dpm_solver", DPMSolverMultistepScheduler(beta_end=0.02, beta_start=0.0001), 20),
    ):

        def ours(sampler: str = sampler, steps: int = steps) -> None:
            for _ in getattr(tigerdiff, sampler)(free, schedule, xT, steps=steps):
                pass

        @torch.no_grad()
        def theirs(scheduler: object = scheduler, steps: int = steps) -> None:
            scheduler.set_timesteps(steps)
            x = xT
            for t in scheduler.timesteps:
                x = scheduler.step(free(x, t), t, x).prev_sample

        seconds = interleaved({OURS: ours, DIFFUSERS: theirs}, options.many)
        result["rows"] += rows(f"step of {sampler} without a network", seconds, each=steps)
    return result
