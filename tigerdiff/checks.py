"""Checks of arguments: an error says in one sentence what is wrong.

Shapes and dtypes are checked everywhere, values only on the CPU: reading them would stop a GPU.
"""

from __future__ import annotations

import math
import numbers
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def check_kind(name: str, value: Any, *kinds: type) -> None:
    """Raise ValueError, naming the argument, unless the value is of one of the types."""
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        words = " or ".join("None" if x is type(None) else x.__name__ for x in kinds)
        raise ValueError(f"{name} must be {words} (got {in_short(value)})")


def real_number(name: str, value: Any, rule: str, fits: Callable[[Any], bool]) -> float:
    """Return the value as a float; raise ValueError unless it is real and fits the rule."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not fits(value):
        raise ValueError(f"{name} must be {rule} (got {in_short(value)})")
    return float(value)


def fraction(name: str, value: Any) -> float:
    """Return the value as a float; raise ValueError unless it is at least 0 and below 1."""
    return real_number(name, value, "at least 0 and below 1", lambda x: 0 <= x < 1)


def check_path(name: str, value: Any, *, or_else: str = "") -> Path:
    """Return a path with ~ expanded; raise ValueError, naming the argument, unless it is one.

    ``or_else`` is what the argument may also be, for the sentence on an address.
    """
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise ValueError(f"{name} must be a path, not empty (got {in_short(value)})")
    if "://" in os.fspath(value):
        raise ValueError(f"{name} must be a path{or_else}, not an address (got {value})")
    try:
        return Path(value).expanduser()
    except RuntimeError:  # of a user who is not known here
        need = f"{name} must be in a home folder that is known here (got {value})"
        raise ValueError(f"{need}: write the whole path") from None


def check_model(name: str, value: Any) -> None:
    """Raise ValueError, naming the argument, unless the value can be called, as a network is."""
    if not callable(value):
        raise ValueError(f"{name} must be a network or a function (got {in_short(value)})")


def check_output(output: Any, xt: Tensor) -> None:
    """Raise ValueError unless a network has returned a tensor of the shape of its input."""
    got = getattr(output, "shape", type(output).__name__)
    if got != xt.shape:
        need = f"model must return a tensor of the shape of xt, {tuple(xt.shape)}"
        raise ValueError(f"{need} (got {got if isinstance(got, str) else tuple(got)})")


def in_short(value: Any) -> str:
    """Return a value as Python writes it, or its type where that would be long."""
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else type(value).__name__


def check_images(**images: Tensor) -> None:
    """Raise ValueError unless all are float (B, ...), not empty, of one shape and dtype.

    On the CPU also if one is on the scale 0..255, or x0 is not finite.
    """
    import torch
    from torch import Tensor

    (first_name, first), *_ = images.items()
    for name, x in images.items():
        if not isinstance(x, Tensor) or x.dtype not in (torch.float32, torch.float64):
            kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"{name} must be a float32 or float64 tensor (got {kind})")
        if x.dim() < 1 or x.numel() == 0:
            raise ValueError(f"{name} must have shape (B, ...), not empty (got {tuple(x.shape)})")
        if x.shape != first.shape or x.dtype != first.dtype:
            ours, its = f"{tuple(x.shape)} {x.dtype}", f"{tuple(first.shape)} {first.dtype}"
            raise ValueError(f"{name} must match {first_name}: {ours} against {its}")
        if name in ("eps", "output", "u") or x.device.type != "cpu":
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
    raise ValueError(f"{name} must be a whole number {extent} (got {in_short(value)})")


def check_time(schedule: Any, name: str, t: Tensor | int, x: Tensor, lowest: int) -> Tensor:
    """Return t as an index into a schedule's tables: shape () or (B,), values lowest ... T.

    Raises:
        ValueError: naming the argument, if it is no whole number, misshapen or out of range.
    """
    import torch
    from torch import Tensor

    table = getattr(schedule, "alpha_bar", None)
    if not isinstance(table, Tensor):
        made = "a NoiseSchedule, such as make_schedule('cosine', 1000)"
        raise ValueError(f"schedule must be {made} (got {in_short(schedule)})")
    if not isinstance(t, Tensor):
        try:
            t = torch.tensor(max(-1, min(operator.index(t), len(table))))  # none is too large
        except TypeError:
            kind = type(t).__name__
            raise ValueError(f"{name} must be an int or an integer tensor (got {kind})") from None
    if t.is_floating_point() or t.is_complex() or t.dtype == torch.bool:
        raise ValueError(f"{name} must be an int or an integer tensor (got {t.dtype})")
    if t.dim() > 0 and t.shape != x.shape[:1]:
        raise ValueError(f"{name} must have shape ({x.shape[0]},) (got {tuple(t.shape)})")
    index = t.to(table.device, torch.long)
    known = t if t.device.type == "cpu" else index
    if known.device.type == "cpu" and not bool(((known >= lowest) & (known < len(table))).all()):
        raise ValueError(f"{name} must be between {lowest} and {len(table) - 1}")
    return index


def check_config(
    size: int, channels: int, multipliers: Sequence[int], blocks: int, attention: Sequence[int],
    dropout: float, prediction: str, classes: Mapping[str, Sequence[str]] | None,
) -> None:  # fmt: skip
    """Raise ValueError, naming the argument, unless these arguments of a network fit together."""
    whole_number("size", size, 1)
    whole_number("channels", channels, 0)
    whole_number("blocks", blocks, 1)
    for name, values in (("multipliers", multipliers), ("attention", attention)):
        check_kind(name, values, list, tuple)
        for value in values:
            whole_number(f"each of {name}", value, 1)
    fraction("dropout", dropout)
    check_kind("classes", classes, Mapping, type(None))
    for name, words in (classes or {}).items():
        check_kind(f"classes[{name!r}]", words, list, tuple)
        if not words or any(type(x) is not str for x in words) or len({*words}) < len(words):
            raise ValueError(f"classes[{name!r}] must be different words (got {in_short(words)})")
    if not multipliers:
        raise ValueError("multipliers must hold at least one number")
    if channels < 8 or channels % 8:
        raise ValueError(f"channels must be a multiple of 8 (got {channels})")
    factor = 2 ** (len(multipliers) - 1)
    if size % factor:
        rule = f"divisible by {factor}, once by 2 for each level after the first"
        raise ValueError(f"size must be {rule} (got {size})")
    resolutions = [size >> level for level in range(len(multipliers))]
    if not set(attention) <= set(resolutions):
        raise ValueError(f"attention must be among the resolutions {resolutions}")
    if prediction not in ("eps", "x0", "v"):
        raise ValueError(f"prediction must be 'eps', 'x0' or 'v' (got {prediction!r})")
