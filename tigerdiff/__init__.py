"""tigerdiff: diffusion models on one tiger, small, exact and readable."""

import importlib
from typing import TYPE_CHECKING, Any

from tigerdiff._settings import settings
from tigerdiff.config import TrainConfig
from tigerdiff.data import (
    batches,
    cifar100_tigers,
    load_folder,
    load_photo,
    seeded_generator,
    to_float,
    to_uint8,
)
from tigerdiff.diffusion import NoiseSchedule, add_noise, noise_step, posterior, to_x0_eps
from tigerdiff.ema import EMA
from tigerdiff.painted import painted_batches, read_tigers, render_folder
from tigerdiff.pretrained import export_run, load_pretrained, save_pretrained
from tigerdiff.runs import load_checkpoint, save_checkpoint
from tigerdiff.sampling import Step, ddim, ddpm, dpm_solver, heun, sample, timesteps
from tigerdiff.tigers import Tiger, caption, paint, paint_tiger, procedural_tigers
from tigerdiff.training import TrainStep, diffusion_loss, train
from tigerdiff.unet import UNet

if TYPE_CHECKING:
    from tigerdiff.hub import HubUNet
    from tigerdiff.metrics import (
        KernelDistance,
        Neighbours,
        frechet_distance,
        judge,
        kernel_distance,
        nearest_neighbours,
        prompt_accuracy,
    )
    from tigerdiff.plots import plot_curves, plot_histograms, plot_points
    from tigerdiff.stable_diffusion import MINI_PATH, load_pipeline
    from tigerdiff.viewers import compare_slider, show_images, timestep_slider

__all__ = [
    "EMA",
    "MINI_PATH",
    "HubUNet",
    "KernelDistance",
    "Neighbours",
    "NoiseSchedule",
    "Step",
    "Tiger",
    "TrainConfig",
    "TrainStep",
    "UNet",
    "add_noise",
    "batches",
    "caption",
    "cifar100_tigers",
    "compare_slider",
    "ddim",
    "ddpm",
    "diffusion_loss",
    "dpm_solver",
    "export_run",
    "frechet_distance",
    "heun",
    "judge",
    "kernel_distance",
    "load_checkpoint",
    "load_folder",
    "load_photo",
    "load_pipeline",
    "load_pretrained",
    "nearest_neighbours",
    "noise_step",
    "paint",
    "paint_tiger",
    "painted_batches",
    "plot_curves",
    "plot_histograms",
    "plot_points",
    "posterior",
    "procedural_tigers",
    "prompt_accuracy",
    "read_tigers",
    "render_folder",
    "sample",
    "save_checkpoint",
    "save_pretrained",
    "seeded_generator",
    "settings",
    "show_images",
    "timestep_slider",
    "timesteps",
    "to_float",
    "to_uint8",
    "to_x0_eps",
    "train",
]


# Read on first use, as training and drawing need none of it: by module, what is public in it.
LATER = {
    "hub": ("HubUNet",),
    "metrics": (
        "KernelDistance",
        "Neighbours",
        "frechet_distance",
        "judge",
        "kernel_distance",
        "nearest_neighbours",
        "prompt_accuracy",
    ),
    "plots": ("plot_curves", "plot_histograms", "plot_points"),
    "stable_diffusion": ("MINI_PATH", "load_pipeline"),
    "viewers": ("compare_slider", "show_images", "timestep_slider"),
}


def __getattr__(name: str) -> Any:
    """A public name of one of the modules that are read on first use."""
    for module, names in LATER.items():
        if name in names:
            return getattr(importlib.import_module(f"tigerdiff.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """All public names, those not read yet too."""
    return sorted({*globals(), *__all__})
