"""One place where a chapter decides how large to work."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch

from tigerdiff.checks import check_kind
from tigerdiff.devices import find_device, gpu_name

NOTHING: Mapping[str, Any] = {}


def settings(
    *, cpu: Mapping[str, Any] = NOTHING, gpu: Mapping[str, Any] = NOTHING
) -> SimpleNamespace:
    """Choose the sizes for this machine, those for a GPU if there is one, and say what was chosen.

    Args:
        cpu: name to value, such as ``dict(size=32, steps=300)``: what two CPU cores do in a minute.
        gpu: the same names, what a GPU does in that time. Without names, it says that the page
            needs no GPU.

    Returns:
        The chosen values as attributes, ``device``, a torch.device, and ``machine``, what it is
        called, such as "2 CPU threads".

    Raises:
        ValueError: if the two have not the same names, or one is "device" or "machine".
    """
    check_kind("cpu", cpu, Mapping)
    check_kind("gpu", gpu, Mapping)
    if cpu.keys() != gpu.keys() or {"device", "machine"} & cpu.keys():
        rule = "cpu and gpu must have the same names, and none may be 'device' or 'machine'"
        raise ValueError(f"{rule} (got {', '.join(cpu)} and {', '.join(gpu)})")
    device = find_device()
    chosen = cpu if device.type == "cpu" else gpu
    threads = torch.get_num_threads()
    machine = gpu_name(device) or f"{threads} CPU thread{'s' if threads > 1 else ''}"
    name = machine if gpu_name(device) else f"No GPU, {machine}"
    more = f" (with a GPU: {_in_words(gpu)})" if gpu and chosen is cpu else ""
    print(f"{name}: {_in_words(chosen) or 'this page needs no GPU'}{more}")
    return SimpleNamespace(device=device, machine=machine, **chosen)


def _in_words(sizes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in sizes.items())
