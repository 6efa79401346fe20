"""One training step of each library, with its own loss, optimiser and average of the weights.

The peers' are what their documentation runs, without what only logs or feeds: diffusers'
``train_unconditional.py`` with the arguments of its README, and ``Trainer`` with those of the
README of denoising-diffusion-pytorch. Images come in as float32 (B, 3, S, S) in [-1, 1].
"""

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.networks import DIFFUSERS, LUCIDRAINS, OURS, our_config
from bench.timing import autocast
from tigerdiff import EMA, diffusion_loss
from tigerdiff.devices import find_device
from tigerdiff.diffusion import make_schedule
from tigerdiff.training.run import adamw


class Trainer(NamedTuple):
    """``step(x0)`` trains on a batch; ``averaged()`` is what pictures are drawn with."""

    step: Callable[[Tensor], None]
    averaged: Callable[[], nn.Module]


def our_trainer(network: nn.Module, bfloat16: bool = False) -> Trainer:
    """Return ``tigerdiff.train``'s step with its defaults; used where only time matters."""
    config = our_config()
    schedule = make_schedule(config.schedule, config.T).to(find_device())
    ema = EMA(network, config.ema_decay)
    optimizer = adamw(network, config.learning_rate)

    def step(x0: Tensor) -> None:
        t = torch.randint(1, config.T + 1, x0.shape[:1], device=x0.device)
        optimizer.zero_grad()
        with autocast(bfloat16):
            loss = diffusion_loss(network, schedule, x0, t, torch.randn_like(x0))
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
        optimizer.step()
        ema.update(network)

    return Trainer(step, lambda: ema.model)


def diffusers_trainer(network: nn.Module, bfloat16: bool = False, total: int = 10_000) -> Trainer:
    """Return DDPM, eps, AdamW at 1e-4 with 500 steps of warm-up and a cosine to the end, EMA."""
    from diffusers import DDPMScheduler
    from diffusers.optimization import get_cosine_schedule_with_warmup
    from diffusers.training_utils import EMAModel

    scheduler = DDPMScheduler(num_train_timesteps=1000)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8
    )
    rate = get_cosine_schedule_with_warmup(optimizer, min(500, total // 2), total)
    ema = EMAModel(
        network.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75
    )

    def step(x0: Tensor) -> None:
        noise = torch.randn(x0.shape, device=x0.device)
        t = torch.randint(0, 1000, x0.shape[:1], device=x0.device)
        with autocast(bfloat16):
            output = network(scheduler.add_noise(x0, noise, t), t, return_dict=False)[0]
        F.mse_loss(output.float(), noise).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rate.step()
        optimizer.zero_grad()
        ema.step(network.parameters())

    def averaged() -> nn.Module:
        average = copy.deepcopy(network)
        ema.copy_to(average.parameters())
        return average

    return Trainer(step, averaged)


def lucidrains_trainer(
    network: nn.Module, size: int, bfloat16: bool = False, parts: int = 1
) -> Trainer:
    """Return pred_v, sigmoid schedule, Adam at 8e-5, EMA of 0.995 each 10 steps.

    The batch is cut into ``parts`` whose gradients are added up (``gradient_accumulate_every``).
    """
    from denoising_diffusion_pytorch import GaussianDiffusion
    from ema_pytorch import EMA as Average

    diffusion = GaussianDiffusion(network, image_size=size, sampling_timesteps=50).to(find_device())
    optimizer = torch.optim.Adam(diffusion.parameters(), lr=8e-5, betas=(0.9, 0.99))
    ema = Average(diffusion, beta=0.995, update_every=10)

    def step(x0: Tensor) -> None:
        for part in x0.chunk(parts):
            with autocast(bfloat16):
                loss = diffusion((part + 1) / 2) / parts  # it wants [0, 1] and scales itself
            loss.backward()
        nn.utils.clip_grad_norm_(diffusion.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.update()

    return Trainer(step, lambda: ema.ema_model.model)


def trainer(library: str, network: nn.Module, size: int, bfloat16: bool = False) -> Trainer:
    """Return the trainer of a library by name."""
    if library == OURS:
        return our_trainer(network, bfloat16)
    if library == DIFFUSERS:
        return diffusers_trainer(network, bfloat16)
    assert library == LUCIDRAINS
    return lucidrains_trainer(network, size, bfloat16)
