"""Pictures from a trained network: with any sampler, and under a condition with guidance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import cast

import torch
from torch import Tensor

from tigerdiff.checks import check_kind, check_model, real_number, whole_number
from tigerdiff.data.tensors import seeded_generator, to_uint8
from tigerdiff.diffusion import NoiseSchedule
from tigerdiff.sampling import SAMPLERS, Model, prediction_of, randn_like
from tigerdiff.unet import UNet

TOGETHER = 16  # pictures drawn at a time: more are slower on a CPU


def guided(model: Callable[..., Tensor], condition: Tensor, guidance_scale: float = 1.0) -> Model:
    """Return a model for the samplers that knows its condition (Ho & Salimans 2022, equation 6).

    With ``guidance_scale`` w its output is ``model(none) + w (model(condition) - model(none))``:
    1 is the conditional network alone, 0 the unconditional one. Their w is ours minus one. At
    a given xt each of eps, x0 and v is an affine function of the others, and the weights w and
    1 - w add up to 1: so w means the same for all three.

    Args:
        model: a conditional network ``(xt, t, condition) -> output``.
        condition: int64 (B, number of attributes), -1 where an attribute is left open.
        guidance_scale: how far to go beyond the unconditional prediction, any finite number.

    Returns:
        A model ``(xt, t) -> output``, shape of xt.

    Raises:
        ValueError: naming the argument that is not as above.
    """
    check_model("model", model)
    check_kind("condition", condition, Tensor)
    real_number("guidance_scale", guidance_scale, "a finite number", isfinite)

    def output(xt: Tensor, t: Tensor) -> Tensor:
        with_condition = model(xt, t, condition.to(xt.device))
        if guidance_scale == 1:
            return with_condition
        without = model(xt, t)
        return without + guidance_scale * (with_condition - without)

    output.prediction = prediction_of(model)  # type: ignore[attr-defined]
    return output


def sample(
    model: torch.nn.Module,
    schedule: NoiseSchedule,
    n: int,
    *,
    size: int,
    sampler: str = "ddim",
    steps: int = 50,
    seed: int = 0,
    condition: Mapping[str, str] | None = None,
    guidance_scale: float = 1.0,
    progress: bool = True,
) -> Tensor:
    """Draw n pictures. Dropout is off while it runs; the model's own mode is restored after.

    All noise of picture i comes from (seed, i), whatever n is, and is drawn on the CPU, so that a
    seed means the same pictures on every device.

    Args:
        model: a network that predicts from (xt, t), as for :func:`.ddim`.
        schedule: the noise schedule that it was trained with.
        n: number of pictures, at least 1.
        size: their height and width in pixels.
        sampler: "ddim", "ddpm", "dpm_solver" or "heun".
        steps: number of model calls, 1 ... T.
        seed: 0 ... 2**64 - 1; the same seed gives the same pictures on the same machine.
        condition: attribute to word, such as ``{"fur": "white"}``, for a conditional network; what
            is not named is left open.
        guidance_scale: of the condition, see :func:`guided`; without one it must be 1.
        progress: show a progress bar.

    Returns:
        uint8 (n, 3, size, size) on the CPU.

    Raises:
        ValueError: naming the argument that is out of range.
    """
    from tqdm.auto import tqdm

    if not isinstance(sampler, str) or sampler not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)} (got {sampler!r})")
    check_kind("model", model, torch.nn.Module)
    check_kind("schedule", schedule, NoiseSchedule)
    real_number("guidance_scale", guidance_scale, "a finite number", isfinite)
    check_kind("condition", condition, Mapping, type(None))
    if guidance_scale != 1 and not condition:
        raise ValueError("guidance_scale has an effect only with a condition: give one, or leave 1")
    whole_number("n", n, 1)
    whole_number("size", size, 1)
    whole_number("seed", seed, 0, 2**64 - 1)
    if isinstance(model, UNet) and size % model.factor:
        raise ValueError(f"size must be divisible by {model.factor} for this network (got {size})")
    if condition and (
        not hasattr(model, "condition") or any(type(x) is not str for x in condition)
    ):
        raise ValueError("condition must be attribute to word, of a network trained with classes")
    row = cast(UNet, model).condition(**condition) if condition else None
    device = next(model.parameters(), torch.zeros(())).device
    training, pictures = model.training, []
    bar = tqdm(
        total=-(-n // TOGETHER) * schedule.T, desc=sampler, disable=not progress, leave=False
    )
    model.eval()
    try:
        with bar, torch.inference_mode():
            for first in range(0, n, TOGETHER):
                each = [seeded_generator(seed, i) for i in range(first, min(n, first + TOGETHER))]
                xT = randn_like(torch.empty(len(each), 3, size, size), each)
                xT = xT.to(device, memory_format=torch.channels_last)  # convolutions are faster
                noise = {"generator": each} if sampler == "ddpm" else {}
                asked: Model = model
                if row is not None:
                    asked = guided(model, row.repeat(len(each), 1), guidance_scale)
                for step in SAMPLERS[sampler](asked, schedule, xT, steps=steps, **noise):
                    bar.update(first // TOGETHER * schedule.T + schedule.T - step.t - bar.n)
                pictures.append(to_uint8(step.xt).cpu())
    finally:
        model.train(training)
    return torch.cat(pictures)
