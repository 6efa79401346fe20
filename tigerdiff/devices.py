"""What this machine computes on: the accelerator, and whether it is fast in bfloat16."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import torch

LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")


def find_device(name: str | torch.device | None = None) -> torch.device:
    """Return the device called ``name``, or the best one that is there.

    Args:
        name: such as "cpu", "cuda", "cuda:0" or "mps"; None: CUDA or Apple's MPS where there is
            one, else the CPU.

    Raises:
        ValueError: if this machine has no such device; it names those that there are.
    """
    there_is_one = torch.accelerator.is_available()
    here = torch.accelerator.current_accelerator() if there_is_one else None
    if name is None:
        return here if here and computes(here) else torch.device("cpu")
    there = ["cpu"]
    if here:
        there += [here.type, *(f"{here.type}:{k}" for k in range(torch.accelerator.device_count()))]
    known = isinstance(name, torch.device) or (isinstance(name, str) and "meta" not in name)
    if known and (str(name) in there or str(name).partition(":")[0] in ("cpu", "meta")):
        with contextlib.suppress(RuntimeError):  # what follows the colon may be no number
            return torch.device(name)
    listed = ", ".join(there)
    raise ValueError(f"device must be one that this machine has: {listed} (got {name!r})")


def computes(device: torch.device) -> bool:
    """Say whether torch is built for a device: it finds older cards too."""
    try:
        torch.ones(1, device=f"{device.type}:{os.environ.get('LOCAL_RANK', 0)}")
    except RuntimeError as error:
        return "no kernel image" not in str(error)
    return True


def has_bfloat16(device: torch.device | str | None = None) -> bool:
    """Say whether bfloat16 is faster than float32 here: on most GPUs, and on CPUs with AMX.

    A CPU that the environment limits to AVX2 (``ATEN_CPU_CAPABILITY=avx2`` and the like) counts
    as one without. With AVX-512 BF16 alone, training in bfloat16 was slower than in float32 (1.6
    times on a Xeon); where bfloat16 is emulated it is many times slower.

    Args:
        device: None: the best that is there.

    Raises:
        ValueError: if this machine has no device of this name.
    """
    if not isinstance(device, torch.device):
        device = find_device(device)
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or any("avx2" in os.environ.get(name, "").lower() for name in LIMITS):
        return False
    return getattr(torch.cpu, "_is_amx_tile_supported", bool)()  # not in the oldest torch


def gpu_name(device: torch.device) -> str | None:
    """Return what a GPU is called, None for the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return None if device.type == "cpu" else f"{device.type} GPU"


def memory_of(device: torch.device) -> tuple[int, int]:
    """Return the bytes of memory that are free on a device, and that it has in all."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)
    import psutil  # a dependency of accelerate

    memory = psutil.virtual_memory()
    # A container has a limit, which psutil cannot see.
    with contextlib.suppress(OSError, ValueError, KeyError):
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / f"memory.{x}").read_text()) for x in ("max", "current"))
        lines = (group / "memory.stat").read_text().splitlines()
        used -= int(dict(map(str.split, lines))["inactive_file"])  # given back when it is needed
        return min(memory.available, limit - used), min(memory.total, limit)
    return memory.available, memory.total


def precision_on(device: torch.device) -> str:
    """Return how accelerate trains on a device: "bf16", "fp16" on CUDA without it, or "no"."""
    if has_bfloat16(device):
        return "bf16"
    return "fp16" if device.type == "cuda" else "no"
