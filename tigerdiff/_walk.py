"""The walk that all samplers share: ask the model, yield a step, compose the image before.

All of it is linear, so that the coefficients are read once, in float64, off the formulas of
``diffusion``; a step is a few products and sums, with no check and nothing for a GPU to wait for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
from torch import Tensor

from tigerdiff.diffusion import NoiseSchedule, Prediction, to_x0_eps

Model = Callable[[Tensor, Tensor], Tensor]
Weights = list[list[float]]  # of x0 and xt, or of two others, for each step


class Step:
    """One moment of a trajectory; it can be unpacked: ``t, xt, x0, eps = step``.

    Attributes:
        t: the time, T for the first step and 0 for the last.
        xt: the images at time t, (B, C, H, W).
        x0: what the model believes the clean images are, same shape.
    """

    __slots__ = ("_weight", "t", "x0", "xt")

    def __init__(self, t: int, xt: Tensor, x0: Tensor, weight: list[float]) -> None:
        self.t, self.xt, self.x0, self._weight = t, xt, x0, weight

    @property
    def eps(self) -> Tensor:
        """What it believes the noise is, same shape; zero at t = 0. Computed when it is asked for.

        It is derived from x0, so that the two fit together also where x0 was clipped.
        """
        return mix(self._weight, self.x0, self.xt)

    def __iter__(self) -> Iterator[int | Tensor]:
        return iter((self.t, self.xt, self.x0, self.eps))


def prediction_of(model: Model) -> Prediction:
    """What a model's output means: its attribute ``prediction``, found through wrappers too."""
    return getattr(getattr(model, "module", model), "prediction", "eps")


@torch.no_grad()
def walk(
    believe: Callable[[int, Tensor], Step], xt: Tensor, times: list[int],
    back: Callable[[int, Step], Tensor],
) -> Iterator[Step]:  # fmt: skip
    """From times[0] to 0: ask the model, yield, and let ``back`` compose the image before."""
    for k in range(len(times) - 1):
        step = believe(k, xt)
        yield step
        xt = back(k, step)
    yield Step(0, xt, xt, [0.0, 0.0])


def belief(
    model: Model, schedule: NoiseSchedule, xT: Tensor, times: list[int], clip: bool
) -> Callable[[int, Tensor], Step]:
    """A function (k, xt) -> the step that stands at times[k]."""
    # All at once, as a GPU would wait for a copy in each step.
    told = torch.tensor(times[:-1], device=xT.device)[:, None].repeat(1, len(xT)).unbind()
    to_x0 = x0_weights(schedule, tuple(times), prediction_of(model))
    to_eps = eps_weights(schedule, tuple(times))

    def believe(k: int, xt: Tensor) -> Step:
        output = model(xt, told[k])
        if output.dtype != xt.dtype:  # of a network in half precision
            output = output.to(xt.dtype)
        x0 = mix(to_x0[k], output, xt)
        if clip:
            x0.clamp_(-1, 1)
        return Step(times[k], xt, x0, to_eps[k])

    return believe


@lru_cache(maxsize=64)
def x0_weights(schedule: NoiseSchedule, times: tuple[int, ...], prediction: Prediction) -> Weights:
    """What x0 is made of at each time but the last: so much of the model's output, of xt."""
    t = torch.tensor(times[:-1])
    return weights(lambda y, xt: to_x0_eps(schedule, y, xt, t, prediction)[0], len(t))


@lru_cache(maxsize=64)
def eps_weights(schedule: NoiseSchedule, times: tuple[int, ...]) -> Weights:
    """What eps is made of at each time but the last: so much of x0, of xt."""
    t = torch.tensor(times[:-1])
    return weights(lambda x0, xt: to_x0_eps(schedule, x0, xt, t, "x0")[1], len(t))


def weights(formula: Callable[[Tensor, Tensor], Tensor], steps: int) -> Weights:
    """The two weights of a linear formula for each step: what it makes of (1, 0) and of (0, 1)."""
    one, zero = torch.ones(steps, dtype=torch.float64), torch.zeros(steps, dtype=torch.float64)
    return torch.stack([formula(one, zero), formula(zero, one)], 1).tolist()


def without_eps(
    schedule: NoiseSchedule, times: tuple[int, ...], of_x0: Tensor, of_eps: Tensor
) -> Weights:
    """The weights of x0 and xt that make the same as these of x0 and eps."""
    x0, xt = torch.tensor(eps_weights(schedule, times), dtype=torch.float64).unbind(1)
    return torch.stack([of_x0 + of_eps * x0, of_eps * xt], 1).tolist()


def mix(weight: list[float], x: Tensor, y: Tensor) -> Tensor:
    """``weight[0] x + weight[1] y``, with one new tensor instead of three."""
    return (x * weight[0]).add_(y, alpha=weight[1])


def randn_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise, drawn where the generator lives and in no layout but the plain one."""
    device = generator.device if generator is not None else x.device
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=device).to(x.device)
