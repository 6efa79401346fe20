"""Count the floating point operations of a page and its memory: runs as its kernel starts.

Counted are the convolutions and linear layers of networks and their attention, by what they cost:
two operations for each weight and each place where it is used, and as many again for each gradient
that a backward pass can ask for. ``torch.utils.flop_counter`` counts the same within a few percent,
but a page takes two to four times as long; this costs a microsecond or two for each layer.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def counting(forward: Callable[[nn.Module, Tensor], Tensor], counted: dict[str, int]) -> Callable:
    """Wrap the forward pass of a kind of layer: add what it computes, or will on the way back."""

    def counted_forward(layer: nn.Module, x: Tensor) -> Tensor:
        output = forward(layer, x)
        if not output.is_meta:
            weight, passes = layer.weight, 1
            if output.requires_grad:
                passes += weight.requires_grad + x.requires_grad
            counted["flops"] += 2 * passes * weight.numel() * (output.numel() // len(weight))
        return output

    return counted_forward


def counting_attention(attention: Callable[..., Tensor], counted: dict[str, int]) -> Callable:
    """Wrap attention: add its two products; the way back computes five."""

    def counted_attention(query: Tensor, key: Tensor, value: Tensor, *args, **kwargs) -> Tensor:
        output = attention(query, key, value, *args, **kwargs)
        if not output.is_meta:
            product = 2 * query.numel() * key.shape[-2]
            counted["flops"] += product * (7 if output.requires_grad else 2)
        return output

    return counted_attention


def peak_memory() -> int | None:
    """Return the most bytes that this process has held, if the system says so."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def writing(counted: dict[str, int], memory: Callable[[], int | None]) -> Callable[..., None]:
    """Return what writes, after each cell, what was counted until then."""

    def write(*_: object) -> None:
        text = json.dumps({**counted, "bytes": memory()})
        Path(os.environ["TIGERDIFF_METER"]).write_text(text)

    return write


if "TIGERDIFF_METER" in os.environ:
    # Everything is bound here: a page may use the same names for its own things.
    total = {"flops": 0}
    for kind in LAYERS:
        kind.forward = counting(kind.forward, total)
    F.scaled_dot_product_attention = counting_attention(F.scaled_dot_product_attention, total)
    get_ipython().events.register("post_run_cell", writing(total, peak_memory))  # noqa: F821
