"""What a run needs of the machine, checked before its first step."""

from __future__ import annotations

import logging
import os
import shutil
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tigerdiff.devices import find_device, memory_of, precision_on
from tigerdiff.training.config import TrainConfig
from tigerdiff.unet import UNet

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)
HOPELESS = 4  # times the machine's memory: no swapping helps


def make_accelerator(name: str | None) -> Accelerator:
    """Return device, precision and processes: the named device, or what machine and launcher have.

    Raise ImportError if accelerate is missing, and ValueError if there is no such device.
    """
    try:
        from accelerate import Accelerator, InitProcessGroupKwargs
        from accelerate.state import AcceleratorState
    except ImportError:
        raise ImportError('training needs accelerate: pip install "tigerdiff[train]"') from None
    device = find_device(name)
    if device.type == "cuda" and device.index is not None:  # accelerate takes the current card
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            need = "device must have no number where a launcher starts several processes"
            raise ValueError(f"{need}, as each takes its own card: name cuda (got {name!r})")
        torch.cuda.set_device(device)
    before = AcceleratorState._shared_state  # accelerate keeps the first choice of a process
    precision = precision_on(device)
    if before and (before["device"].type, before["_mixed_precision"]) != (device.type, precision):
        AcceleratorState._reset_state(reset_partial_state=True)
    patience = [InitProcessGroupKwargs(timeout=timedelta(hours=2))]  # while one decodes the photos
    cpu = device.type == "cpu"
    return Accelerator(cpu=cpu, mixed_precision=precision, kwargs_handlers=patience)


def check_compiler() -> None:
    """Raise FileNotFoundError unless there is a C++ compiler, which torch.compile needs."""
    names = [os.environ.get("CXX"), "g++", "clang++", "cl"]
    if not any(shutil.which(name) for name in names if name):
        need = "compile needs a C++ compiler, and none of g++, clang++ and cl is on the PATH"
        raise FileNotFoundError(f"{need}: install one, or train without --compile (compile=False)")


def step_memory(network: UNet, batch_size: int) -> int:
    """Return the bytes that a step in float32 holds: weights, moments, and what the gradients need.

    Nothing is computed: the network runs on torch's "meta" device, where tensors have shapes only.
    """
    size: Any = network.config["size"]
    kept: dict[int, torch.UntypedStorage] = {}  # alive, so that no address comes twice

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            kept[storage._cdata] = storage
        return tensor

    with torch.device("meta"), torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        shadow: Any = UNet(**network.config)
        shadow(torch.empty(batch_size, 3, size, size), torch.ones(batch_size))
    weights = sum(weight.nbytes for weight in network.parameters())
    own = 5 * weights  # with their gradients, their average and two moments
    return sum(x.nbytes() for x in kept.values()) + own


def check_room(config: TrainConfig, network: UNet, accelerator: Accelerator) -> None:
    """Log what a step needs; warn if memory, or the disk with all the checkpoints, is too small.

    Raise MemoryError if the memory is far too small.
    """
    need = step_memory(network, config.batch_size // accelerator.num_processes)
    logger.info("A step holds about %s in memory.", in_words(need))
    if need > (there := memory_of(accelerator.device)[1]):
        lack = f"{in_words(need)} are needed and this machine has {in_words(there)}"
        logger.warning("%s: lower batch_size, channels or image_size", lack)
        if need > HOPELESS * there:
            raise MemoryError(f"{lack}: lower batch_size, channels or image_size")
    weights, folders = sum(w.nbytes for w in network.parameters()), config.keep_last + 1
    need, free = 4 * weights * folders, shutil.disk_usage(config.out).free
    if need > free:  # one checkpoint more than are kept, while it is written
        logger.warning(
            "the disk of %s has %s left, and %d checkpoints take %s: make room, or lower keep_last",
            config.out, in_words(free), folders, in_words(need),
        )  # fmt: skip


def in_words(n: int) -> str:
    """Return a number of bytes with its unit."""
    return f"{n / 2**30:.1f} GiB" if n >= 2**30 else f"{n / 2**20:.0f} MiB"
