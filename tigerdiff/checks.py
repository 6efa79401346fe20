"""What the formulas demand of their arguments, said in one sentence where it is not met.

Shapes and dtypes are checked everywhere, values only on the CPU: to look at them a GPU would wait.
"""

from __future__ import annotations

import math
import numbers
import operator
from typing import Any

import torch
from torch import Tensor


def check_images(**images: Tensor) -> None:
    """Raise ValueError unless all are float (B, ...) of one shape and dtype, and none is 0..255."""
    (first_name, first), *_ = images.items()
    for name, x in images.items():
        if not isinstance(x, Tensor) or x.dtype not in (torch.float32, torch.float64):
            kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"{name} must be a float32 or float64 tensor (got {kind})")
        if x.dim() < 1 or x.numel() == 0:
            raise ValueError(f"{name} must have shape (B, ...), not empty (got {tuple(x.shape)})")
        if x.shape != first.shape or x.dtype != first.dtype:
            raise ValueError(
                f"{name} must match {first_name}: {tuple(x.shape)} {x.dtype} "
                f"against {tuple(first.shape)} {first.dtype}"
            )
        if name in ("eps", "output") or x.device.type != "cpu":
            continue
        # Noise, latents and a path that has diverged have negative values; bytes have none.
        lowest, highest = (value.item() for value in x.detach().aminmax())
        if name == "x0" and not math.isfinite(highest - lowest):
            raise ValueError("x0 must be finite: it holds NaN or infinity")
        if highest > 16 and lowest >= 0:
            raise ValueError(
                f"{name} must be on the scale of [-1, 1]: scale 0..255 with x / 127.5 - 1"
            )


def whole_number(name: str, value: Any, least: int, most: float = math.inf) -> int:
    """Return the value as an int; raise ValueError unless it is whole and in the range."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if whole and least <= value <= most:
        return operator.index(value)
    extent = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
    raise ValueError(f"{name} must be a whole number {extent} (got {value!r})")


def check_time(table: Tensor, name: str, t: Tensor | int, x: Tensor, lowest: int) -> Tensor:
    """Return t as an index into a schedule's table: shape () or (B,), values lowest ... T.

    Raises:
        ValueError: naming the argument, if it is no whole number, misshapen or out of range.
    """
    if not isinstance(t, Tensor):
        try:
            t = torch.tensor(operator.index(t))
        except TypeError:
            kind = type(t).__name__
            raise ValueError(f"{name} must be an int or an integer tensor (got {kind})") from None
    if t.is_floating_point() or t.is_complex() or t.dtype == torch.bool:
        raise ValueError(f"{name} must be an int or an integer tensor (got {t.dtype})")
    if t.dim() > 0 and t.shape != x.shape[:1]:
        raise ValueError(f"{name} must have shape ({x.shape[0]},) (got {tuple(t.shape)})")
    if t.device.type == "cpu" and not bool(((t >= lowest) & (t < len(table))).all()):
        raise ValueError(f"{name} must be between {lowest} and {len(table) - 1}")
    return t.to(table.device, torch.long)
