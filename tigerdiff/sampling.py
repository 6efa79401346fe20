"""From noise to image: samplers as generators of steps.

A sampler yields where it is and what the model believes there; a slider, a progress bar and a test
all consume the same steps. A model is any callable ``(xt, t) -> output`` with xt (B, C, H, W) and
t int64 (B,); its attribute ``prediction`` says what the output means and is "eps" if there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from tigerdiff._walk import (
    Model,
    Step,
    Weights,
    belief,
    mix,
    randn_like,
    walk,
    weights,
    without_eps,
)
from tigerdiff._walk import prediction_of as prediction_of  # training asks the same question
from tigerdiff.data import to_uint8
from tigerdiff.diffusion import NoiseSchedule, _check_images, posterior


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
    times = timesteps(schedule, schedule.T if steps is None else steps)
    t, t_prev = torch.tensor(times[:-1]), torch.tensor(times[1:])
    mean = weights(lambda x0, xt: posterior(schedule, x0, xt, t, t_prev)[0], steps=len(t))
    nothing = torch.zeros(len(t), dtype=torch.float64)
    std = posterior(schedule, nothing, nothing, t, t_prev)[1].sqrt().tolist()

    def back(k: int, step: Step) -> Tensor:
        x_prev = mix(mean[k], step.x0, step.xt)
        if std[k] > 0:
            x_prev.add_(randn_like(x_prev, generator), alpha=std[k])
        return x_prev

    return walk(belief(model, schedule, xT, times, clip), xT, times, back)


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
    times = timesteps(schedule, steps)
    mean, sigma = _ddim_weights(schedule, tuple(times), eta)

    def back(k: int, step: Step) -> Tensor:
        x_prev = mix(mean[k], step.x0, step.xt)
        if sigma[k] > 0:
            x_prev.add_(randn_like(x_prev, generator), alpha=sigma[k])
        return x_prev

    return walk(belief(model, schedule, xT, times, clip), xT, times, back)


@lru_cache(maxsize=64)
def _ddim_weights(
    schedule: NoiseSchedule, times: tuple[int, ...], eta: float
) -> tuple[Weights, list[float]]:
    """For each step of ddim how much of x0 and xt, and of new noise, makes the image before."""
    alpha_bar = schedule.alpha_bar[list(times)].cpu()
    now, prev = alpha_bar[:-1], alpha_bar[1:]
    variance = eta**2 * (1 - prev) / (1 - now) * (1 - now / prev)
    direction = (1 - prev - variance).clamp(min=0).sqrt()
    return without_eps(schedule, times, prev.sqrt(), direction), variance.sqrt().tolist()


def dpm_solver(
    model: Model, schedule: NoiseSchedule, xT: Tensor, *, steps: int = 20, clip: bool = True
) -> Iterator[Step]:
    """DPM-Solver++(2M): second order from the x0 of two neighbouring times, one call each.

    Lu et al. 2022b, algorithm 2: ``x_prev = alpha_prev x0 + sigma_prev eps + alpha_prev (1 - e^-h)
    (x0 - x0_before) / (2 r)``, the step of :func:`ddim` and a correction, which the first and the
    last step lack. Here alpha = sqrt(alpha_bar), sigma = sqrt(1 - alpha_bar), h is the step in
    log(alpha / sigma), x0_before the belief one step before, and r that step's h by this one's.

    Args:
        model: ``(xt, t) -> output``, see the module's head.
        schedule: the noise schedule.
        xT: standard normal noise to start from, (B, C, H, W), float32 or float64.
        steps: number of model calls, 1 ... T.
        clip: clip the believed x0 to [-1, 1] at each step.

    Returns:
        An iterator over ``steps + 1`` of :class:`Step`.

    Raises:
        ValueError: if ``steps`` or ``xT`` does not fit.
    """
    _check_images(xT=xT)
    times = timesteps(schedule, steps)
    alpha_bar = schedule.alpha_bar[times].cpu()
    alpha, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    euler = without_eps(schedule, tuple(times), alpha[1:], sigma[1:])
    h = (alpha / sigma).log().diff()  # the last is infinite
    r = h[:-2] / h[1:-1]
    correction = [0.0, *(alpha[2:-1] * -torch.expm1(-h[1:-1]) / (2 * r)).tolist(), 0.0]
    x0_before = xT  # of no weight in the first step

    def back(k: int, step: Step) -> Tensor:
        nonlocal x0_before
        x_prev = mix(euler[k], step.x0, step.xt)
        if correction[k] != 0:
            x_prev.add_(step.x0 - x0_before, alpha=correction[k])
        x0_before = step.x0
        return x_prev

    return walk(belief(model, schedule, xT, times, clip), xT, times, back)


def heun(
    model: Model, schedule: NoiseSchedule, xT: Tensor, *, steps: int = 50, clip: bool = True
) -> Iterator[Step]:
    """Heun's method on the probability flow: a step of Euler, then the mean of both slopes.

    Karras et al. 2022, algorithm 1, in ``y = xt / sqrt(alpha_bar)`` and ``s = sqrt(1 / alpha_bar -
    1)``. There the flow is ``dy / ds = eps`` (their equations 1 and 3), and a step of Euler is one
    of :func:`ddim`. A corrected step takes two calls and two of the ``steps`` equal parts of the
    time. One part is left to Euler alone: the last, as in the paper; the first, in which s may
    fall a thousandfold; and the second if ``steps`` is odd.

    Args:
        model: ``(xt, t) -> output``, see the module's head.
        schedule: the noise schedule.
        xT: standard normal noise to start from, (B, C, H, W), float32 or float64.
        steps: number of model calls, 1 ... T.
        clip: clip the believed x0 to [-1, 1] at each call; eps is then derived from it anew.

    Returns:
        An iterator over :class:`Step`, one for each end of a step: about half as many as calls.

    Raises:
        ValueError: if ``steps`` or ``xT`` does not fit.
    """
    _check_images(xT=xT)
    parts = timesteps(schedule, steps)
    ends = sorted({0, 1, *range(steps - 1, 0, -2), steps})
    times = [parts[end] for end in ends]
    alpha_bar = schedule.alpha_bar[times].cpu()
    alpha, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    euler = without_eps(schedule, tuple(times), alpha[1:], sigma[1:])
    correction = (alpha[1:] * (sigma / alpha).diff() / 2).tolist()
    corrected = [end - start == 2 for start, end in pairwise(ends)]
    believe = belief(model, schedule, xT, times, clip)

    def back(k: int, step: Step) -> Tensor:
        x_prev = mix(euler[k], step.x0, step.xt)
        if corrected[k]:
            slope = believe(k + 1, x_prev).eps - step.eps
            x_prev = x_prev.add(slope, alpha=correction[k])
        return x_prev

    return walk(believe, xT, times, back)


SAMPLERS: dict[str, Callable[..., Iterator[Step]]] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "dpm_solver": dpm_solver,
    "heun": heun,
}


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
        sampler: "ddim", "ddpm", "dpm_solver" or "heun".
        steps: number of model calls, 1 ... T.
        seed: 0 ... 2**64 - 1; the same seed gives the same pictures on the same machine.
        progress: show a progress bar.

    Returns:
        uint8 (n, 3, size, size) on the CPU.

    Raises:
        ValueError: naming the argument that is out of range.
    """
    from tqdm.auto import tqdm

    if sampler not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)} (got {sampler!r})")
    for name, value, lowest in (("n", n, 1), ("size", size, 1), ("seed", seed, 0)):
        if not hasattr(value, "__index__") or not lowest <= value < 2**64:
            raise ValueError(f"{name} must be a whole number of at least {lowest} (got {value!r})")
    # All noise is drawn on the CPU, so that a seed means the same tigers on every device.
    generator = torch.Generator().manual_seed(seed)
    device = next(model.parameters(), torch.zeros(())).device
    xT = torch.randn(n, 3, size, size, generator=generator)
    xT = xT.to(device, memory_format=torch.channels_last)  # all convolutions follow, and are faster
    noise = {"generator": generator} if sampler == "ddpm" else {}
    training = model.training
    model.eval()
    try:
        path = SAMPLERS[sampler](model, schedule, xT, steps=steps, **noise)
        bar = tqdm(total=schedule.T, desc=sampler, disable=not progress, leave=False)
        with bar, torch.inference_mode():
            for step in path:
                bar.update(schedule.T - step.t - bar.n)
    finally:
        model.train(training)
    return to_uint8(step.xt).cpu()
