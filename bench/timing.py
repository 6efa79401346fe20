"""Clocks that the parts share: interleaved repetitions, ratios with their spread."""

import contextlib
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from tigerdiff.devices import find_device

Seconds = dict[str, list[float]]


def interleaved(functions: dict[str, Callable[[], object]], repeats: int) -> Seconds:
    """Time each function, in turn: A B C A B C ..., after one run of each to warm up.

    What slows the machine for a while thus slows all of them. On a GPU each reading of the
    clock waits for what was launched before.
    """
    seconds: Seconds = {name: [] for name in functions}
    for repeat in range(repeats + 1):
        for name, function in functions.items():
            synchronize()
            begin = time.perf_counter()
            function()
            synchronize()
            if repeat:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def rows(what: str, seconds: Seconds, each: float = 1) -> list[dict]:
    """Return a row of the table per function; the first is ours, which the ratios are of.

    Args:
        what: what was done.
        seconds: by name, as :func:`interleaved` gives them.
        each: how many steps, images ... one run did; the seconds are divided by it.

    Returns:
        Dicts with median, lowest and highest seconds, and ``ratio``, ours over this one's: the
        median and the quartiles of the ratios of neighbouring runs.
    """
    first = next(iter(seconds.values()))
    table = []
    for name, runs in seconds.items():
        ratios = [ours / theirs for ours, theirs in zip(first, runs)]
        low, middle, high = np.percentile(ratios, [25, 50, 75]).tolist()
        table.append({
            "what": what, "name": name, "seconds": statistics.median(runs) / each,
            "lowest": min(runs) / each, "highest": max(runs) / each, "repeats": len(runs),
            "ratio": middle, "ratio_low": low, "ratio_high": high,
        })  # fmt: skip
    return table


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if find_device().type == "cuda":
        torch.cuda.synchronize()


def autocast(bfloat16: bool) -> contextlib.AbstractContextManager:
    """Return a context of mixed precision, or of none."""
    return torch.autocast(find_device().type, torch.bfloat16, enabled=bfloat16)
