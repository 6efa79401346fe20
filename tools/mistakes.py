"""Ten mistakes that samplers are known for, each one line away from the right one.

``walk(model, schedule, xT, steps=..., mistake=...)`` samples with one of :data:`MISTAKES`, or, with
None, as the package does: ``tests/test_mistakes.py`` proves that, so that nothing but the marked
lines can be what a mistake costs.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from tigerdiff import NoiseSchedule, timesteps, to_x0_eps
from tigerdiff.sampling import Generators, randn_like

# By name: the sampler that it is a mistake in, and what is done.
MISTAKES = {
    "subsampled cumprod": ("ddim", "alpha_bar multiplied up again over the kept steps alone"),
    "beta for alpha_bar": ("ddim", "1 - beta_t where alpha_bar_t belongs"),
    "previous is t - 1": ("ddim", "alpha_bar of t - 1 though the step before is far earlier"),
    "no square root": ("ddim", "alpha_bar instead of its root before x0"),
    "wrong time": ("ddim", "the network gets the time that the step goes to"),
    "clipped to [0, 1]": ("ddim", "x0 clipped as if images were in [0, 1]"),
    "uniform start": ("ddim", "x_T from rand instead of randn"),
    "beta eps": ("ddpm", "1 / sqrt(1 - alpha_bar_t) missing in the mean of the step"),
    "no noise": ("ddpm", "sigma_t z left out"),
    "noise at the end": ("ddpm", "z added in the last step too"),
}


@torch.inference_mode()
def walk(
    model: Callable[[Tensor, Tensor], Tensor],
    schedule: NoiseSchedule,
    xT: Tensor,
    *,
    sampler: str,
    steps: int,
    generator: Generators,
    mistake: str | None = None,
) -> Tensor:
    """Sample with a mistake, or without.

    Args:
        model: ``(xt, t) -> output``, its attribute ``prediction`` says what the output means.
        schedule: the noise schedule.
        xT: standard normal noise (B, C, H, W).
        sampler: "ddim" (eta 0) or "ddpm".
        steps: number of model calls.
        generator: source of the noise, or one for each picture.
        mistake: one of MISTAKES that belongs to the sampler, or None.

    Returns:
        The images (B, C, H, W), in [-1, 1] or wherever the mistake has led.
    """
    if mistake is not None and MISTAKES[mistake][0] != sampler:
        raise ValueError(f"mistake {mistake!r} is one of {MISTAKES[mistake][0]}, not of {sampler}")
    times = timesteps(schedule, steps)
    alpha_bar = {t: schedule.alpha_bar[t].item() for t in range(schedule.T + 1)}
    if mistake == "subsampled cumprod":
        kept = schedule.alpha[times].flip(0).cumprod(0).flip(0)
        alpha_bar = dict(zip(times, kept.tolist()))
    if mistake == "beta for alpha_bar":
        alpha_bar = {t: schedule.alpha[t].item() for t in range(schedule.T + 1)}
    xt = xT
    if mistake == "uniform start":  # the distribution function of a normal makes it uniform
        xt = torch.special.ndtr(xT)
    for t, t_prev in pairwise(times):
        asked = max(t_prev, 1) if mistake == "wrong time" else t
        output = model(xt, torch.full((len(xt),), asked, device=xt.device)).to(xt.dtype)
        # What the output means depends on the true schedule, as in training.
        _, eps = to_x0_eps(schedule, output, xt, t, getattr(model, "prediction", "eps"))
        a = alpha_bar[t]
        a_prev = alpha_bar[t - 1 if mistake == "previous is t - 1" else t_prev]
        signal = a if mistake == "no square root" else a**0.5
        x0 = (xt - (1 - a) ** 0.5 * eps) / max(signal, 1e-8)
        x0 = x0.clamp(0 if mistake == "clipped to [0, 1]" else -1, 1)
        eps = (xt - a**0.5 * x0) / max(1 - a, 1e-8) ** 0.5
        if sampler == "ddim":
            xt = a_prev**0.5 * x0 + (1 - a_prev) ** 0.5 * eps
            continue
        alpha = a / a_prev
        coefficient = 1 - alpha if mistake == "beta eps" else (1 - alpha) / (1 - a) ** 0.5
        xt = (xt - coefficient * eps) / alpha**0.5
        sigma = ((1 - alpha) * (1 - a_prev) / (1 - a)) ** 0.5
        if mistake == "noise at the end" and t_prev == 0:
            sigma = (1 - alpha) ** 0.5  # beta, as the posterior's own variance is 0
        if sigma > 0 and mistake != "no noise":
            xt = xt + sigma * randn_like(xt, generator)
    return xt
