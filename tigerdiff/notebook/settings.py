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
        The chosen values as attributes, and ``device``, a torch.device.

    Raises:
        ValueError: if the two have not the same names, or one is "device".
    """
    check_kind("cpu", cpu, Mapping)
    check_kind("gpu", gpu, Mapping)
    if cpu.keys() != gpu.keys() or "device" in cpu:
        got = f"(got {', '.join(cpu)} and {', '.join(gpu)})"
        raise ValueError(f"cpu and gpu must have the same names, and none may be 'device' {got}")
    device = find_device()
    chosen = cpu if device.type == "cpu" else gpu
    name = gpu_name(device) or f"No GPU, {torch.get_num_threads()} CPU thread(s)"
    more = f" (with a GPU: {_in_words(gpu)})" if gpu and chosen is cpu else ""
    print(f"{name}: {_in_words(chosen) or 'this page needs no GPU'}{more}")
    return SimpleNamespace(device=device, **chosen)


def _in_words(sizes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in sizes.items())
