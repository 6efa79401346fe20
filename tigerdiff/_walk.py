"""The walk that all samplers share: ask the model, yield a step, compose the image before.

All of it is linear, so that each walk reads its coefficients once, in float64, off the formulas of
``diffusion``; a step is a few products and sums, with no check and nothing for a GPU to wait for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from tigerdiff.diffusion import NoiseSchedule, Prediction, to_x0_eps

Model = Callable[[Tensor, Tensor], Tensor]
Belief = Callable[[int, Tensor], tuple[Tensor, Tensor]]
Back = Callable[[int, Tensor, Tensor, Tensor], Tensor]


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


def prediction_of(model: Model) -> Prediction:
    """What a model's output means: its attribute ``prediction``, found through wrappers too."""
    return getattr(getattr(model, "module", model), "prediction", "eps")


@torch.no_grad()
def walk(believe: Belief, xt: Tensor, times: list[int], back: Back) -> Iterator[Step]:
    """From times[0] to 0: ask the model, yield, and let ``back`` compose the image before."""
    for k, t in enumerate(times[:-1]):
        x0, eps = believe(k, xt)
        yield Step(t, xt, x0, eps)
        xt = back(k, xt, x0, eps)
    yield Step(0, xt, xt, torch.zeros_like(xt))


def belief(
    model: Model, schedule: NoiseSchedule, xT: Tensor, times: list[int], clip: bool
) -> Belief:
    """A function (k, xt) -> (x0, eps): what the model believes at times[k]."""
    t = torch.tensor(times[:-1])
    # All at once, as a GPU would wait for a copy in each step.
    told = t.to(xT.device)[:, None].repeat(1, len(xT)).unbind()
    prediction = prediction_of(model)
    to_x0 = weights(lambda y, xt: to_x0_eps(schedule, y, xt, t, prediction)[0], steps=len(t))
    to_eps = weights(lambda x0, xt: to_x0_eps(schedule, x0, xt, t, "x0")[1], steps=len(t))

    def believe(k: int, xt: Tensor) -> tuple[Tensor, Tensor]:
        output = model(xt, told[k]).to(xt.dtype)
        x0 = mix(to_x0[k], output, xt)
        if clip:
            x0.clamp_(-1, 1)
        return x0, mix(to_eps[k], x0, xt)  # the eps that fits to this x0

    return believe


def weights(formula: Callable[[Tensor, Tensor], Tensor], steps: int) -> list[list[float]]:
    """The two weights of a linear formula for each step: what it makes of (1, 0) and of (0, 1)."""
    one, zero = torch.ones(steps, dtype=torch.float64), torch.zeros(steps, dtype=torch.float64)
    return torch.stack([formula(one, zero), formula(zero, one)], 1).tolist()


def mix(weight: list[float], x: Tensor, y: Tensor) -> Tensor:
    """``weight[0] x + weight[1] y``, with one new tensor instead of three."""
    return (x * weight[0]).add_(y, alpha=weight[1])


def randn_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise, drawn where the generator lives and in no layout but the plain one."""
    device = generator.device if generator is not None else x.device
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=device).to(x.device)
