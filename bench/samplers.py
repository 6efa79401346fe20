"""Whole sampling with each library's own code: uint8 pictures from a network."""

import torch
from torch import Tensor, nn

import tigerdiff
from bench.networks import DIFFUSERS, LUCIDRAINS, OURS
from tigerdiff import NoiseSchedule, to_uint8
from tigerdiff.devices import find_device


def draw(
    library: str, network: nn.Module, n: int, size: int, steps: int, sampler: str = "ddim"
) -> Tensor:
    """Draw n pictures, uint8 (n, 3, size, size), with "ddim" or "ddpm" of a library.

    denoising-diffusion-pytorch has no DDPM of fewer steps than T: there T is ``steps``.
    """
    network.eval()
    if library == OURS:
        return our_draw(network, NoiseSchedule.linear(), n, size, steps, sampler)
    if library == DIFFUSERS:
        return diffusers_draw(network, n, size, steps, sampler)
    assert library == LUCIDRAINS
    return lucidrains_draw(network, n, size, steps, sampler)


def our_draw(
    network: nn.Module,
    schedule: NoiseSchedule,
    n: int,
    size: int,
    steps: int,
    sampler: str = "ddim",
) -> Tensor:
    """Draw with ``tigerdiff.ddim`` or ``tigerdiff.ddpm``."""
    xT = torch.randn(n, 3, size, size, device=find_device())
    xT = xT.contiguous(memory_format=torch.channels_last)
    for step in getattr(tigerdiff, sampler)(network, schedule, xT, steps=steps):
        images = step.xt
    return to_uint8(images).cpu()


def diffusers_draw(network: nn.Module, n: int, size: int, steps: int, sampler: str) -> Tensor:
    """Draw with ``DDIMPipeline`` or ``DDPMPipeline``."""
    from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler

    pipeline = (
        DDIMPipeline(network, DDIMScheduler())
        if sampler == "ddim"
        else DDPMPipeline(network, DDPMScheduler())
    )
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(batch_size=n, num_inference_steps=steps, output_type="np").images
    return torch.from_numpy(images * 255).round().to(torch.uint8).permute(0, 3, 1, 2)


def lucidrains_draw(network: nn.Module, n: int, size: int, steps: int, sampler: str) -> Tensor:
    """Draw with ``GaussianDiffusion.sample``."""
    from denoising_diffusion_pytorch import GaussianDiffusion

    if sampler == "ddim":
        diffusion = GaussianDiffusion(network, image_size=size, sampling_timesteps=steps)
    else:
        diffusion = GaussianDiffusion(network, image_size=size, timesteps=steps)
    images = diffusion.to(find_device()).sample(batch_size=n)
    return (images * 255).round().clamp(0, 255).to(torch.uint8).cpu()
