"""From noise to image: samplers as generators of steps.

A sampler yields where it is and what the model believes there; a slider, a progress bar and a test
all consume the same steps. A model is any callable ``(xt, t) -> output`` with xt (B, C, H, W) and
t int64 (B,); its attribute ``prediction`` says what the output means and is "eps" if there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from tigerdiff.data import to_uint8
from tigerdiff.diffusion import (
    NoiseSchedule,
    Prediction,
    _check_images,
    posterior,
    to_x0_eps,
)

Model = Callable[[Tensor, Tensor], Tensor]


class Step(NamedTuple):
    """One moment of a trajectory.

    Attributes:
        t: the time, T for the first step and 0 for the last.
        xt: the images at time t, (B, C, H, W).
        x0: what the model believes the clean images are, same shape.
        eps: what it believes the noise is, same shape; zero at t = 0.
    """

    t: int
    xt: Tensor
    x0: Tensor
    eps: Tensor


def timesteps(schedule: NoiseSchedule, n: int) -> list[int]:
    """N + 1 evenly spaced times from T down to 0, rounded; right for any n, divisor of T or not.

    Raises:
        ValueError: if n is not between 1 and T.
    """
    if isinstance(n, bool) or not hasattr(n, "__index__") or not 1 <= n <= schedule.T:
        raise ValueError(f"steps must be a whole number between 1 and {schedule.T} (got {n!r})")
    return torch.linspace(schedule.T, 0, n + 1, dtype=torch.float64).round().long().tolist()


def ddpm(
    model: Model,
    schedule: NoiseSchedule,
    xT: Tensor,
    *,
    steps: int | None = None,
    generator: torch.Generator | None = None,
    clip: bool = True,
) -> Iterator[Step]:
    """Ancestral sampling: draw each earlier image from the posterior (Ho et al. 2020, algorithm 2).

    The noise of each step has the posterior's own variance (their equation 7, "beta tilde").

    Args:
        model: ``(xt, t) -> output``, see the module's head.
        schedule: the noise schedule.
        xT: standard normal noise to start from, (B, C, H, W), float32 or float64.
        steps: number of model calls, 1 ... T; None takes every time from T to 1.
        generator: source of the noise, on the CPU or the device of xT.
        clip: clip the believed x0 to [-1, 1] at each step.

    Returns:
        An iterator over ``steps + 1`` of :class:`Step`.

    Raises:
        ValueError: if ``steps`` or ``xT`` does not fit.
    """
    _check_images(xT=xT)

    def back(x0: Tensor, eps: Tensor, xt: Tensor, t: int, t_prev: int) -> Tensor:
        mean, variance = posterior(schedule, x0, xt, t, t_prev)
        return mean + variance.sqrt() * _randn_like(xt, generator) if t_prev > 0 else mean

    times = timesteps(schedule, schedule.T if steps is None else steps)
    return _walk(model, schedule, xT, times, clip, back)


def ddim(
    model: Model,
    schedule: NoiseSchedule,
    xT: Tensor,
    *,
    steps: int = 50,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
    clip: bool = True,
) -> Iterator[Step]:
    """Implicit sampling: same marginals, fewer steps (Song et al. 2021, equations 12 and 16).

    ``x_prev = sqrt(ab_prev) x0 + sqrt(1 - ab_prev - sigma^2) eps + sigma z``, ab being alpha_bar.

    Args:
        model: ``(xt, t) -> output``, see the module's head.
        schedule: the noise schedule.
        xT: standard normal noise to start from, (B, C, H, W), float32 or float64.
        steps: number of model calls, 1 ... T.
        eta: 0 for the deterministic path, 1 for the noise of :func:`ddpm`, or between.
        generator: source of the noise, on the CPU or the device of xT; not used when eta is 0.
        clip: clip the believed x0 to [-1, 1] at each step; eps is then derived from it anew.

    Returns:
        An iterator over ``steps + 1`` of :class:`Step`.

    Raises:
        ValueError: if ``steps``, ``eta`` or ``xT`` does not fit.
    """
    _check_images(xT=xT)
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be between 0 and 1 (got {eta})")

    def back(x0: Tensor, eps: Tensor, xt: Tensor, t: int, t_prev: int) -> Tensor:
        alpha_bar, alpha_bar_prev = schedule.alpha_bar[[t, t_prev]].tolist()
        variance = (1 - alpha_bar_prev) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_prev)
        sigma = eta * variance**0.5
        x_prev = alpha_bar_prev**0.5 * x0 + max(1 - alpha_bar_prev - sigma**2, 0.0) ** 0.5 * eps
        return x_prev + sigma * _randn_like(xt, generator) if sigma > 0 else x_prev

    return _walk(model, schedule, xT, timesteps(schedule, steps), clip, back)


def prediction_of(model: Model) -> Prediction:
    """What a model's output means: its attribute ``prediction``, found through wrappers too."""
    return getattr(getattr(model, "module", model), "prediction", "eps")


SAMPLERS: dict[str, Callable[..., Iterator[Step]]] = {"ddpm": ddpm, "ddim": ddim}


def sample(
    model: torch.nn.Module,
    schedule: NoiseSchedule,
    n: int,
    *,
    size: int,
    sampler: str = "ddim",
    steps: int = 50,
    seed: int = 0,
    progress: bool = True,
) -> Tensor:
    """Draw n pictures. Dropout is off while it runs; the model's own mode is restored after.

    Args:
        model: a network that predicts from (xt, t), see the module's head.
        schedule: the noise schedule that it was trained with.
        n: number of pictures, at least 1.
        size: their height and width in pixels.
        sampler: "ddim" or "ddpm".
        steps: number of model calls, 1 ... T.
        seed: 0 ... 2**64 - 1; the same seed gives the same pictures on the same machine.
        progress: show a progress bar.

    Returns:
        uint8 (n, 3, size, size) on the CPU.

    Raises:
        ValueError: naming the argument that is out of range.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)} (got {sampler!r})")
    for name, value, lowest in (("n", n, 1), ("size", size, 1), ("seed", seed, 0)):
        if not hasattr(value, "__index__") or not lowest <= value < 2**64:
            raise ValueError(f"{name} must be a whole number of at least {lowest} (got {value!r})")
    # All noise is drawn on the CPU, so that a seed means the same tigers on every device.
    generator = torch.Generator().manual_seed(seed)
    device = next(model.parameters(), torch.zeros(())).device
    xT = torch.randn(n, 3, size, size, generator=generator).to(device)
    training = model.training
    model.eval()
    try:
        walk = SAMPLERS[sampler](model, schedule, xT, steps=steps, generator=generator)
        for step in tqdm(walk, total=steps + 1, desc=sampler, disable=not progress, leave=False):
            images = step.xt
    finally:
        model.train(training)
    return to_uint8(images).cpu()


@torch.no_grad()
def _walk(
    model: Model,
    schedule: NoiseSchedule,
    xt: Tensor,
    times: list[int],
    clip: bool,
    back: Callable[[Tensor, Tensor, Tensor, int, int], Tensor],
) -> Iterator[Step]:
    """From times[0] to 0: ask the model, yield, and let ``back`` compose the image before."""
    for t, t_prev in pairwise(times):
        output = model(xt, torch.full((len(xt),), t, device=xt.device)).to(xt.dtype)
        x0, eps = to_x0_eps(schedule, output, xt, t, prediction_of(model))
        if clip:  # and let eps fit to the clipped x0
            x0, eps = to_x0_eps(schedule, x0.clamp(-1, 1), xt, t, "x0")
        yield Step(t, xt, x0, eps)
        xt = back(x0, eps, xt, t, t_prev)
    yield Step(0, xt, xt, torch.zeros_like(xt))


def _randn_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    device = generator.device if generator is not None else x.device
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=device).to(x.device)
