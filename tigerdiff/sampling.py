"""From noise to image: four samplers, each a generator of steps.

How a sampler works::

    for t, t_prev in pairwise(timesteps(schedule, steps)):        # T, ..., 0
        x0, eps = predict(model, schedule, xt, t, clip)           # one call of the network
        yield Step(t, xt, x0, eps)                                # for a slider, a bar or a test
        xt = ...                                                  # the line of the paper
    yield Step(0, xt, xt, torch.zeros_like(xt))

The samplers differ in that one line. In it ``a`` and ``a_prev`` are alpha_bar at t and at t_prev,
Python floats from the schedule's float64 table. A model is any callable ``(xt, t) -> output`` with
xt (B, C, H, W) and t int64 (B,); its attribute ``prediction`` says what the output means ("eps" if
there is none).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from math import expm1, inf, log, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from tigerdiff import checks
from tigerdiff.checks import check_images, check_kind, check_model, real_number
from tigerdiff.diffusion import NoiseSchedule, Prediction, split

Model = Callable[[Tensor, Tensor], Tensor]
Generators = torch.Generator | list[torch.Generator] | None


class Step(NamedTuple):
    """State of a sampler: time t; noisy images xt, predicted x0 and noise eps, each (B, C, H, W).

    Always ``xt = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps``, also where x0 was clipped.
    """

    t: int
    xt: Tensor
    x0: Tensor
    eps: Tensor


def timesteps(schedule: NoiseSchedule, steps: int) -> list[int]:
    """Return steps + 1 evenly spaced times from T down to 0, rounded, for 1 ... T steps.

    Raises:
        ValueError: if steps is not between 1 and T.
    """
    check_kind("schedule", schedule, NoiseSchedule)
    checks.whole_number("steps", steps, 1, schedule.T)
    return torch.linspace(schedule.T, 0, steps + 1, dtype=torch.float64).round().long().tolist()


def prediction_of(model: Model) -> Prediction:
    """Return what a model's output means: its attribute ``prediction``, also through a wrapper."""
    return getattr(getattr(model, "module", model), "prediction", "eps")


def predict(
    model: Model, schedule: NoiseSchedule, xt: Tensor, t: int, clip: bool
) -> tuple[Tensor, Tensor]:
    """Ask the model for x0 and eps at time t.

    Args:
        model: ``(xt, t) -> output``.
        schedule: the noise schedule.
        xt: noisy images (B, C, H, W).
        t: a time 1 ... T.
        clip: clip x0 to [-1, 1] and derive eps from it again, so that the two still make up xt.

    Returns:
        ``(x0, eps)``, shape and dtype of xt.
    """
    a = float(schedule.alpha_bar[t])
    output = model(xt, torch.full((len(xt),), t, device=xt.device))
    checks.check_output(output, xt)
    x0, eps = split(output.to(xt.dtype), xt, sqrt(a), sqrt(1 - a), prediction_of(model))
    if clip:
        x0 = x0.clamp(-1, 1)
        eps = (xt - sqrt(a) * x0) / sqrt(1 - a)
    return x0, eps


def ddpm(
    model: Model,
    schedule: NoiseSchedule,
    xT: Tensor,
    *,
    steps: int | None = None,
    generator: Generators = None,
    clip: bool = True,
) -> Iterator[Step]:
    """Sample ancestrally: draw each earlier image from the posterior (Ho et al. 2020, algorithm 2).

    The noise of each step has the posterior's own variance (their equation 7, "beta tilde").

    Args:
        model: ``(xt, t) -> output``, see the module's head.
        schedule: the noise schedule.
        xT: standard normal noise to start from, (B, C, H, W), float32 or float64.
        steps: number of model calls, 1 ... T; None takes every time from T to 1.
        generator: source of the noise, on the CPU or the device of xT; or one for each picture.
        clip: clip the predicted x0 to [-1, 1] at each step.

    Returns:
        An iterator over ``steps + 1`` of :class:`Step`.

    Raises:
        ValueError: if ``steps``, ``generator`` or ``xT`` does not fit.
    """
    check_images(xT=xT)
    check_model("model", model)
    check_generator(generator, xT)
    times = timesteps(schedule, schedule.T if steps is None else steps)

    @torch.no_grad()
    def walk(xt: Tensor) -> Iterator[Step]:
        for t, t_prev in pairwise(times):
            x0, eps = predict(model, schedule, xt, t, clip)
            yield Step(t, xt, x0, eps)
            a, a_prev = schedule.alpha_bar[[t, t_prev]].tolist()
            alpha = a / a_prev
            mean = (
                sqrt(a_prev) * (1 - alpha) / (1 - a) * x0
                + sqrt(alpha) * (1 - a_prev) / (1 - a) * xt
            )
            variance = (1 - alpha) * (1 - a_prev) / (1 - a)
            xt = mean + sqrt(variance) * randn_like(xt, generator) if variance > 0 else mean
        yield Step(0, xt, xt, torch.zeros_like(xt))

    return walk(xT)


def ddim(
    model: Model,
    schedule: NoiseSchedule,
    xT: Tensor,
    *,
    steps: int = 50,
    eta: float = 0.0,
    generator: Generators = None,
    clip: bool = True,
) -> Iterator[Step]:
    """Sample implicitly: same marginals, fewer steps (Song et al. 2021, equations 12 and 16).

    Args:
        model: ``(xt, t) -> output``, see the module's head.
        schedule: the noise schedule.
        xT: standard normal noise to start from, (B, C, H, W), float32 or float64.
        steps: number of model calls, 1 ... T.
        eta: 0 for the deterministic path, 1 for the noise of :func:`ddpm`, or between.
        generator: source of the noise, on the CPU or the device of xT; or one for each picture;
            not used if eta is 0.
        clip: clip the predicted x0 to [-1, 1] at each step.

    Returns:
        An iterator over ``steps + 1`` of :class:`Step`.

    Raises:
        ValueError: if ``steps``, ``eta``, ``generator`` or ``xT`` does not fit.
    """
    check_images(xT=xT)
    check_model("model", model)
    check_generator(generator, xT)
    eta = real_number("eta", eta, "between 0 and 1", lambda value: 0 <= value <= 1)
    times = timesteps(schedule, steps)

    @torch.no_grad()
    def walk(xt: Tensor) -> Iterator[Step]:
        for t, t_prev in pairwise(times):
            x0, eps = predict(model, schedule, xt, t, clip)
            yield Step(t, xt, x0, eps)
            a, a_prev = schedule.alpha_bar[[t, t_prev]].tolist()
            sigma = eta * sqrt((1 - a_prev) / (1 - a) * (1 - a / a_prev))
            xt = sqrt(a_prev) * x0 + sqrt(max(1 - a_prev - sigma**2, 0)) * eps
            if sigma > 0:
                xt = xt + sigma * randn_like(xt, generator)
        yield Step(0, xt, xt, torch.zeros_like(xt))

    return walk(xT)


def dpm_solver(
    model: Model, schedule: NoiseSchedule, xT: Tensor, *, steps: int = 20, clip: bool = True
) -> Iterator[Step]:
    """Sample by DPM-Solver++(2M): second order from the x0 of two neighbouring times.

    Lu et al. 2022b, algorithm 2, with one call per step. Here alpha = sqrt(alpha_bar), sigma =
    sqrt(1 - alpha_bar), and h is the step in lambda = log(alpha / sigma). The first and the last
    step are of first order. Arguments, steps and errors are those of :func:`ddim` with eta = 0.
    """
    check_images(xT=xT)
    check_model("model", model)
    times = timesteps(schedule, steps)

    @torch.no_grad()
    def walk(xt: Tensor) -> Iterator[Step]:
        x0_before, h_before = xT, inf
        for t, t_prev in pairwise(times):
            x0, eps = predict(model, schedule, xt, t, clip)
            yield Step(t, xt, x0, eps)
            a, a_prev = schedule.alpha_bar[[t, t_prev]].tolist()
            sigma, sigma_prev = sqrt(1 - a), sqrt(1 - a_prev)
            h = log(sqrt(a_prev) / sigma_prev) - log(sqrt(a) / sigma) if t_prev > 0 else inf
            D = x0
            if t < schedule.T and t_prev > 0:
                r = h_before / h
                D = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * x0_before
            xt = sigma_prev / sigma * xt - sqrt(a_prev) * expm1(-h) * D
            x0_before, h_before = x0, h
        yield Step(0, xt, xt, torch.zeros_like(xt))

    return walk(xT)


def heun(
    model: Model, schedule: NoiseSchedule, xT: Tensor, *, steps: int = 50, clip: bool = True
) -> Iterator[Step]:
    """Sample by Heun's method on the probability flow: Euler's step, then the mean of both slopes.

    Karras et al. 2022, algorithm 1, in ``y = xt / sqrt(alpha_bar)`` and ``s = sqrt(1 / alpha_bar -
    1)``. There the flow is ``dy / ds = eps`` (their equations 1 and 3), and a step of Euler is one
    of :func:`ddim`. A corrected step takes two calls and two of the ``steps`` equal parts of the
    time. Single parts are left to Euler alone: the last, as in the paper; the first, in which s may
    fall a thousandfold; and the second if ``steps`` is odd.

    Arguments and errors are those of :func:`ddim` with eta = 0, and ``steps`` counts the calls; the
    iterator has a :class:`Step` for each end of a step, about half as many as calls.
    """
    check_images(xT=xT)
    check_model("model", model)
    parts = timesteps(schedule, steps)
    ends = sorted({0, 1, *range(steps - 1, 0, -2), steps})

    @torch.no_grad()
    def walk(xt: Tensor) -> Iterator[Step]:
        for end, end_prev in pairwise(ends):
            t, t_prev = parts[end], parts[end_prev]
            x0, eps = predict(model, schedule, xt, t, clip)
            yield Step(t, xt, x0, eps)
            a, a_prev = schedule.alpha_bar[[t, t_prev]].tolist()
            xt = sqrt(a_prev) * x0 + sqrt(1 - a_prev) * eps
            if end_prev - end == 2:
                _, eps_prev = predict(model, schedule, xt, t_prev, clip)
                s, s_prev = sqrt(1 / a - 1), sqrt(1 / a_prev - 1)
                xt = xt + sqrt(a_prev) * (s_prev - s) * (eps_prev - eps) / 2
        yield Step(0, xt, xt, torch.zeros_like(xt))

    return walk(xT)


SAMPLERS: dict[str, Callable[..., Iterator[Step]]] = {
    walk.__name__: walk for walk in (ddpm, ddim, dpm_solver, heun)
}


def check_generator(generator: Generators, xT: Tensor) -> None:
    """Raise ValueError unless it is one source of noise, or a list with one for each picture."""
    if isinstance(generator, list) and (n := len(generator)) != len(xT):
        raise ValueError(f"generator must be one, or a list of {len(xT)} (got a list of {n})")
    for each in generator if isinstance(generator, list) else [generator]:
        check_kind("generator", each, torch.Generator, type(None))


def randn_like(x: Tensor, generator: Generators) -> Tensor:
    """Draw standard normal noise of the shape of x, on the generator's device, and move it to x's.

    With a list of generators, one for each picture, picture i takes its noise from the i-th.
    """
    if isinstance(generator, list):
        return torch.cat([randn_like(x[i : i + 1], g) for i, g in enumerate(generator)])
    device = generator.device if generator is not None else x.device
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=device).to(x.device)
