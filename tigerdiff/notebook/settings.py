"""One place where a chapter decides how large to work."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch

from tigerdiff.checks import check_kind
from tigerdiff.devices import find_device


def settings(*, cpu: Mapping[str, Any], gpu: Mapping[str, Any]) -> SimpleNamespace:
    """Choose the sizes for this machine, those for a GPU if there is one, and say what was chosen.

    Args:
        cpu: name to value, such as ``dict(size=32, steps=300)``: what two CPU cores do in a minute.
        gpu: the same names, what a GPU does in that time.

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
    name = f"No GPU, {torch.get_num_threads()} CPU thread(s)"
    if device.type != "cpu":
        name = torch.cuda.get_device_name() if device.type == "cuda" else f"{device.type} GPU"
    print(f"{name}: {', '.join(f'{key} = {value}' for key, value in chosen.items())}")
    return SimpleNamespace(device=device, **chosen)
