"""tigerdiff: diffusion models on one tiger, small, exact and readable."""

from tigerdiff.diffusion import NoiseSchedule, add_noise, noise_step, posterior, to_x0_eps
from tigerdiff.ema import EMA
from tigerdiff.sampling import Step, ddim, ddpm, sample, timesteps
from tigerdiff.unet import UNet

__all__ = [
    "EMA",
    "NoiseSchedule",
    "Step",
    "UNet",
    "add_noise",
    "ddim",
    "ddpm",
    "noise_step",
    "posterior",
    "sample",
    "timesteps",
    "to_x0_eps",
]
