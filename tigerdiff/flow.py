"""Flow matching: straight lines from image to noise, and the velocity along them.

Time goes from 0 (clean) to 1 (noise), as in Esser et al. 2024; in Lipman et al. 2023 and Liu et al.
2023 it is 1 - t, and their velocity is minus ours. A velocity field is ``(xt, t) -> u``, t (B,).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor

from tigerdiff.checks import check_images, check_kind, check_model, check_output, in_short
from tigerdiff.diffusion import NoiseSchedule, per_picture, to_x0_eps
from tigerdiff.sampling import Model, prediction_of


def straight_line(x0: Tensor, t: Tensor | float, eps: Tensor) -> tuple[Tensor, Tensor]:
    """Go the share t of the way from image to noise (Esser et al. 2024, equation 13).

    Args:
        x0: clean images (B, ...), float32 or float64, in [-1, 1].
        t: times 0 ... 1, a number or a float tensor (B,).
        eps: the noise at the other end, shape and dtype of x0.

    Returns:
        ``(xt, u)``, the point ``(1 - t) x0 + t eps`` and its velocity ``eps - x0``, shape of x0.

    Raises:
        ValueError: naming the argument that has a wrong shape, dtype or range.
    """
    check_images(x0=x0, eps=eps)
    t = _checked_time(t, x0)
    return (1 - t) * x0 + t * eps, eps - x0


def line_ends(u: Tensor, xt: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return ``(x0, eps)``, the ends of the line that passes xt with velocity u.

    For the best u, ``-eps / t`` is the score. Arguments and errors: see :func:`straight_line`.
    """
    check_images(xt=xt, u=u)
    t = _checked_time(t, xt)
    return xt - t * u, xt + (1 - t) * u


def flow_loss(model: Model, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """Compute the mean squared error of the velocity: flow matching (Lipman et al. 2023, eq. 9).

    The model is a velocity field, such as ``lambda xt, t: unet(xt, 1000 * t)``; t is (B,). The rest
    is as in :func:`straight_line`. Returns a scalar.
    """
    check_model("model", model)
    xt, u = straight_line(x0, t, eps)
    output = model(xt, t)
    check_output(output, xt)
    return F.mse_loss(output.to(u.dtype), u)


def integrate(
    field: Model, xt: Tensor, times: Sequence[float], *, method: str = "euler"
) -> Iterator[tuple[float, Tensor]]:
    """Follow a velocity field from xt (B, ...): to images if the times fall from 1 to 0.

    The method "euler" asks the field once a step, "midpoint" and "heun" twice. Heun's step to time
    0 is Euler's: no network knows a velocity there (Karras et al. 2022, algorithm 1). Returns an
    iterator over ``(t, xt)`` at all times; raises ValueError, naming the argument that is wrong.
    """
    check_images(xt=xt)
    check_model("field", field)
    if method not in ("euler", "midpoint", "heun"):
        raise ValueError(f"method must be euler, midpoint or heun (got {method!r})")
    check_kind("times", times, list, tuple, Tensor)
    values = times.tolist() if isinstance(times, Tensor) else times
    if len(values) < 2 or not all(isinstance(t, Real) and 0 <= t <= 1 for t in values):
        raise ValueError("times must be two or more numbers between 0 (clean) and 1 (noise)")

    @torch.no_grad()
    def walk(xt: Tensor) -> Iterator[tuple[float, Tensor]]:
        for t, t_next in pairwise(map(float, values)):
            yield t, xt
            h, u = t_next - t, field(xt, xt.new_full(xt.shape[:1], t))
            check_output(u, xt)
            if method == "midpoint":
                u = field(xt + h / 2 * u, xt.new_full(xt.shape[:1], t + h / 2))
            if method == "heun" and t_next > 0:
                u = (u + field(xt + h * u, xt.new_full(xt.shape[:1], t_next))) / 2
            xt = xt + h * u
        yield t_next, xt

    return walk(xt)


def flow_time(schedule: NoiseSchedule) -> Tensor:
    """Return the line's time of equal signal-to-noise ratio for each time of a schedule.

    Float64 (T+1,), from 0 to below 1; raises ValueError if it is no schedule.
    """
    check_kind("schedule", schedule, NoiseSchedule)
    signal, noise = schedule.alpha_bar.sqrt(), (1 - schedule.alpha_bar).sqrt()
    return noise / (signal + noise)


def as_flow(model: Model, schedule: NoiseSchedule, *, clip: bool = True) -> Model:
    """Turn a diffusion network, trained with this schedule, into a velocity field.

    On the line xt is smaller by ``hypot(1 - t, t)``; the network is asked at the nearest time that
    it knows. With ``clip`` its x0 is clipped to [-1, 1] as in the samplers, and Euler's method at
    the times ``flow_time(schedule)[timesteps(schedule, n)]`` takes exactly the steps of ``ddim``.
    Raises ValueError, naming the argument that is of a wrong kind.
    """
    check_model("model", model)
    table = flow_time(schedule)[1:].cpu()

    def field(xt: Tensor, t: Tensor) -> Tensor:
        k = 1 + (t.cpu().double()[:, None] - table).abs().argmin(dim=1).to(xt.device)
        t = _checked_time(t, xt)
        t = t.masked_fill(t == 0, table[0].item())  # at 0 there is no noise to divide by
        x = xt / torch.hypot(1 - t, t)
        x0, _ = to_x0_eps(schedule, model(x, k).to(x.dtype), x, k, prediction_of(model))
        return (xt - (x0.clamp(-1, 1) if clip else x0)) / t

    return field


def _checked_time(t: Tensor | float, x: Tensor) -> Tensor:
    """Return t as (B, 1, ...), to multiply x; raise ValueError unless it fits.

    Its values, 0 ... 1, are read on the CPU only: a GPU would have to wait for it.
    """
    if not isinstance(t, (Real, Tensor)):
        raise ValueError(f"t must be a number or a tensor (got {in_short(t)})")
    t = torch.as_tensor(t, dtype=x.dtype)
    outside = t.device.type == "cpu" and not bool(((t >= 0) & (t <= 1)).all())
    if t.shape not in ((), x.shape[:1]) or outside:
        raise ValueError(f"t must be a number or ({len(x)},), between 0 (clean) and 1 (noise)")
    return per_picture(t, x)
