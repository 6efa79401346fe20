"""The mathematics of diffusion: a schedule and six pure functions over tensors.

Time runs as in the papers: t = 0 is the clean image, t = 1 ... T are noised ones, and
``alpha_bar[0] == 1``, so that no step is a special case. Tables stay in float64; a coefficient is
gathered first and cast to the image's dtype last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from tigerdiff.checks import check_images, check_time, whole_number
from tigerdiff.devices import find_device

Prediction = Literal["eps", "x0", "v"]


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """A noise schedule: how much of the image is left at each time.

    Args:
        alpha_bar: float64 tensor (T+1,), strictly falling from exactly 1 and staying above 0.
            ``alpha_bar[t]`` is the share of the image's variance that is left at time t, in
            Ho et al. 2020 written as the product of all alphas up to t.

    Raises:
        ValueError: if ``alpha_bar`` is not such a tensor.
    """

    alpha_bar: Tensor

    def __post_init__(self) -> None:
        table = self.alpha_bar
        if not isinstance(table, Tensor) or table.dtype != torch.float64 or table.dim() != 1:
            raise ValueError("alpha_bar must be a float64 tensor of shape (T+1,)")
        if len(table) < 2 or table[0] != 1:
            raise ValueError("alpha_bar must start at exactly 1 (the clean image) and have T >= 1")
        if not (bool((table[1:] < table[:-1]).all()) and bool(table[-1] > 0)):
            raise ValueError("alpha_bar must fall strictly and stay above 0")

    @classmethod
    def linear(cls, T: int = 1000) -> NoiseSchedule:
        """Let beta rise evenly from 0.0001 to 0.02 (Ho et al. 2020, section 4), times 1000 / T.

        The factor keeps the noise at time T about the same for every T.

        Raises:
            ValueError: if T is below 21, where the scaled beta would reach 1.
        """
        if whole_number("T", T, 1) < 21:
            raise ValueError(f"T must be at least 21 for a linear schedule (got {T}): use cosine")
        beta = torch.linspace(1e-4, 0.02, T, dtype=torch.float64) * (1000 / T)
        return cls(_alpha_bar(beta))

    @classmethod
    def cosine(cls, T: int = 1000) -> NoiseSchedule:
        """Let alpha_bar follow a squared cosine (Nichol & Dhariwal 2021, eq. 17), beta <= 0.999.

        Raises:
            ValueError: if T is below 1.
        """
        whole_number("T", T, 1)
        t = torch.arange(T + 1, dtype=torch.float64) / T
        f = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
        return cls(_alpha_bar((1 - f[1:] / f[:-1]).clamp(max=0.999)))

    @property
    def T(self) -> int:
        """Number of noising steps."""
        return len(self.alpha_bar) - 1

    @cached_property
    def alpha(self) -> Tensor:
        """float64 (T+1,): the share of variance that step t keeps; ``alpha[0] == 1``."""
        previous = torch.cat([self.alpha_bar[:1], self.alpha_bar[:-1]])
        return self.alpha_bar / previous

    @cached_property
    def beta(self) -> Tensor:
        """float64 (T+1,): variance of the noise that step t adds; ``beta[0] == 0``."""
        return 1 - self.alpha

    @cached_property
    def snr(self) -> Tensor:
        """float64 (T+1,): signal-to-noise ratio alpha_bar / (1 - alpha_bar), infinite at t = 0."""
        return self.alpha_bar / (1 - self.alpha_bar)

    def to(self, device: torch.device | str) -> NoiseSchedule:
        """Return the schedule with its table on ``device``; raise ValueError if it is not there.

        Only CUDA gets it: other devices, such as Apple's MPS, may lack float64. For them the table
        stays on the CPU, and each coefficient is cast to the images' dtype there and then moved.
        """
        there = find_device(device)
        return NoiseSchedule(self.alpha_bar.to(there if there.type == "cuda" else "cpu"))


def make_schedule(name: str, T: int) -> NoiseSchedule:
    """Return the noise schedule called "linear" or "cosine".

    Raises:
        ValueError: for another name, or a T below 21 (linear) or 1 (cosine).
    """
    if name not in ("linear", "cosine"):
        raise ValueError(f"schedule must be 'linear' or 'cosine' (got {name!r})")
    return NoiseSchedule.linear(T) if name == "linear" else NoiseSchedule.cosine(T)


def add_noise(schedule: NoiseSchedule, x0: Tensor, t: Tensor | int, eps: Tensor) -> Tensor:
    """Jump from the clean image to time t (Ho et al. 2020, equation 4).

    ``xt = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps``

    Args:
        schedule: the noise schedule.
        x0: clean images (B, ...), float32 or float64, in [-1, 1]; latents may leave that range.
        t: times 0 ... T, an int or an integer tensor (B,).
        eps: standard normal noise, shape and dtype of x0.

    Returns:
        Noised images, shape and dtype of x0.

    Raises:
        ValueError: naming the argument that has a wrong shape, dtype or range.
    """
    check_images(x0=x0, eps=eps)
    t = check_time(schedule, "t", t, x0, lowest=0)
    alpha_bar = schedule.alpha_bar[t]
    return per_picture(alpha_bar.sqrt(), x0) * x0 + per_picture((1 - alpha_bar).sqrt(), x0) * eps


def noise_step(schedule: NoiseSchedule, x_prev: Tensor, t: Tensor | int, eps: Tensor) -> Tensor:
    """Add the noise of one step, from t - 1 to t (Ho et al. 2020, equation 2).

    ``xt = sqrt(1 - beta_t) x_prev + sqrt(beta_t) eps``

    Args:
        schedule: the noise schedule.
        x_prev: images at time t - 1, (B, ...), float32 or float64, on the scale of [-1, 1].
        t: times 1 ... T, an int or an integer tensor (B,).
        eps: standard normal noise, shape and dtype of x_prev.

    Returns:
        Images at time t, shape and dtype of x_prev.

    Raises:
        ValueError: naming the argument that has a wrong shape, dtype or range.
    """
    check_images(x_prev=x_prev, eps=eps)
    t = check_time(schedule, "t", t, x_prev, lowest=1)
    beta = schedule.beta[t]
    return per_picture((1 - beta).sqrt(), x_prev) * x_prev + per_picture(beta.sqrt(), x_prev) * eps


def to_x0_eps(
    schedule: NoiseSchedule,
    output: Tensor,
    xt: Tensor,
    t: Tensor | int,
    prediction: Prediction = "eps",
) -> tuple[Tensor, Tensor]:
    """Turn a network's output into the image and the noise that it implies.

    The two always satisfy ``xt = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps``.

    Args:
        schedule: the noise schedule.
        output: what the network returned, (B, ...).
        xt: noised images, shape and dtype of output, float32 or float64.
        t: times 1 ... T, an int or an integer tensor (B,).
        prediction: what ``output`` means: ``"eps"`` the noise (Ho et al. 2020, equation 15),
            ``"x0"`` the clean image, or ``"v"``, that is
            ``sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x0`` (Salimans & Ho 2022, section 4).

    Returns:
        ``(x0, eps)``, not clipped, shape and dtype of xt.

    Raises:
        ValueError: naming the argument that has a wrong shape, dtype, range or name.
    """
    check_images(xt=xt, output=output)
    t = check_time(schedule, "t", t, xt, lowest=1)
    alpha_bar = schedule.alpha_bar[t]
    signal, noise = per_picture(alpha_bar.sqrt(), xt), per_picture((1 - alpha_bar).sqrt(), xt)
    return split(output, xt, signal, noise, prediction)


def split(
    output: Tensor, xt: Tensor, signal: Tensor | float, noise: Tensor | float, prediction: str
) -> tuple[Tensor, Tensor]:
    """Compute :func:`to_x0_eps` unchecked, from sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t).

    The two may be floats, or tensors that broadcast against xt.
    """
    if prediction == "eps":
        return (xt - noise * output) / signal, output
    if prediction == "x0":
        return output, (xt - signal * output) / noise
    if prediction == "v":
        return signal * xt - noise * output, noise * xt + signal * output
    raise ValueError(f"prediction must be 'eps', 'x0' or 'v' (got {prediction!r})")


def to_target(
    schedule: NoiseSchedule,
    x0: Tensor,
    eps: Tensor,
    t: Tensor | int,
    prediction: Prediction = "eps",
) -> Tensor:
    """Compute what a network should answer at time t; :func:`to_x0_eps` is the way back.

    Args:
        schedule: the noise schedule.
        x0: clean images in [-1, 1], or latents; (B, ...), float32 or float64.
        eps: the noise that was added, shape and dtype of x0.
        t: times 1 ... T, an int or an integer tensor (B,).
        prediction: ``"eps"`` the noise (Ho et al. 2020, equation 14), ``"x0"`` the clean image, or
            ``"v"``: ``sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x0`` (Salimans & Ho 2022,
            section 4).

    Returns:
        The target, shape and dtype of x0.

    Raises:
        ValueError: naming the argument that has a wrong shape, dtype, range or name.
    """
    check_images(x0=x0, eps=eps)
    t = check_time(schedule, "t", t, x0, lowest=1)
    if prediction == "eps":
        return eps
    if prediction == "x0":
        return x0
    if prediction == "v":
        alpha_bar = schedule.alpha_bar[t]
        signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        return per_picture(signal, x0) * eps - per_picture(noise, x0) * x0
    raise ValueError(f"prediction must be 'eps', 'x0' or 'v' (got {prediction!r})")


def posterior(
    schedule: NoiseSchedule, x0: Tensor, xt: Tensor, t: Tensor | int, t_prev: Tensor | int
) -> tuple[Tensor, Tensor]:
    """Compute mean and variance of x at the earlier time t_prev, given x0 and xt: a Gaussian.

    Ho et al. 2020, equations 6 and 7, for any gap t - t_prev (Kingma et al. 2021, appendix A.2).

    Args:
        schedule: the noise schedule.
        x0: clean images or a model's prediction of them, (B, ...), float32 or float64, in [-1, 1].
        xt: noised images, shape and dtype of x0.
        t: times 1 ... T, an int or an integer tensor (B,).
        t_prev: earlier times 0 ... t - 1, an int or an integer tensor (B,).

    Returns:
        ``(mean, variance)``; mean has shape and dtype of xt, variance broadcasts against it
        (B, 1, ...). At ``t_prev = 0`` the mean is x0 and the variance 0.

    Raises:
        ValueError: naming the argument that has a wrong shape, dtype or range.
    """
    check_images(x0=x0, xt=xt)
    t = check_time(schedule, "t", t, xt, lowest=1)
    t_prev = check_time(schedule, "t_prev", t_prev, xt, lowest=0)
    if t.device.type == "cpu" and not bool((t_prev < t).all()):
        raise ValueError("t_prev must be earlier than t")
    alpha_bar, alpha_bar_prev = schedule.alpha_bar[t], schedule.alpha_bar[t_prev]
    alpha = alpha_bar / alpha_bar_prev
    from_x0 = alpha_bar_prev.sqrt() * (1 - alpha) / (1 - alpha_bar)
    from_xt = alpha.sqrt() * (1 - alpha_bar_prev) / (1 - alpha_bar)
    variance = (1 - alpha) * (1 - alpha_bar_prev) / (1 - alpha_bar)
    return per_picture(from_x0, xt) * x0 + per_picture(from_xt, xt) * xt, per_picture(variance, xt)


def _alpha_bar(beta: Tensor) -> Tensor:
    """Return the table of a schedule whose step t adds noise of variance ``beta[t - 1]``."""
    return torch.cat([beta.new_ones(1), torch.cumprod(1 - beta, dim=0)])


def per_picture(coefficient: Tensor, x: Tensor) -> Tensor:
    """Return float64 (B,) or () as (B, 1, ...) in dtype and on device of x, to multiply x."""
    return coefficient.to(x.dtype).to(x.device).reshape(-1, *[1] * (x.dim() - 1))
