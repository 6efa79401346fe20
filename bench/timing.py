"""Clocks that the parts share: interleaved repetitions, ratios with their spread, the machine."""

import contextlib
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tigerdiff.devices import has_bfloat16

Seconds = dict[str, list[float]]


def interleaved(functions: dict[str, Callable[[], object]], repeats: int) -> Seconds:
    """Seconds of each function, run in turn: A B C A B C ..., after one run of each to warm up.

    Whatever slows the machine for a while thus slows all of them. On a GPU each reading of the
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
    """One row of the table per function; its first is ours, which the ratios are of.

    Args:
        what: what was done.
        seconds: by name, as :func:`interleaved` gives them.
        each: how many steps, images ... one run did; the seconds are divided by it.

    Returns:
        Dicts with median, lowest and highest seconds, and ``ratio``, ours over this one's: the
        median and the quartiles of the ratios of neighbouring runs.
    """
    mine = next(iter(seconds.values()))
    table = []
    for name, runs in seconds.items():
        ratios = [ours / theirs for ours, theirs in zip(mine, runs)]
        low, middle, high = np.percentile(ratios, [25, 50, 75]).tolist()
        table.append({
            "what": what, "name": name, "seconds": statistics.median(runs) / each,
            "lowest": min(runs) / each, "highest": max(runs) / each, "repeats": len(runs),
            "ratio": middle, "ratio_low": low, "ratio_high": high,
        })  # fmt: skip
    return table


def device() -> torch.device:
    """Where the networks run. On a GPU the bench has not been tried yet."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if device().type == "cuda":
        torch.cuda.synchronize()


def autocast(bfloat16: bool) -> contextlib.AbstractContextManager:
    """Mixed precision, or none."""
    return torch.autocast(device().type, torch.bfloat16, enabled=bfloat16)


def machine() -> dict:
    """Hardware, threads and versions, for the head of a result."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":")[1].strip() for line in text.splitlines() if "model name" in line]
    packages = ("tigerdiff", "torch", "torchvision", "diffusers", "denoising-diffusion-pytorch")
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if device().type == "cuda" else None,
        "bfloat16": has_bfloat16(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


def version(package: str) -> str | None:
    """The installed version, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
