"""Part "step": one training step, one sampling step, and the machine's own peak.

All in one interleaved run, so that the achieved FLOPs per second are compared with what the same
machine gave a bare convolution in the same minutes.
"""

from argparse import Namespace
from collections.abc import Callable

import torch
from torch import nn

from bench.networks import LIBRARIES, OURS, answer, counts, network
from bench.timing import autocast, interleaved, rows
from bench.trainers import trainer
from tigerdiff.devices import find_device, has_bfloat16

MATRICES = 2048  # rows and columns of the product
CONVOLUTIONS = ((64, 32), (128, 32), (128, 16), (256, 16), (256, 8))  # channels, pixels
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def run(options: Namespace) -> dict:
    """Time the steps at each size."""
    result: dict = {"batch": options.batch, "sizes": {}, "rows": [], "peaks": []}
    for size in options.sizes:
        counted = {library: counts(library, size) for library in LIBRARIES}
        result["sizes"][size] = counted
        training, sampling = {}, {}
        for name, library, *setting in variants():
            training[name], sampling[name] = steps(library, size, options.batch, *setting)
        peaks = {"training": {}, "sampling": {}}
        for dtype in DTYPES if has_bfloat16() else ["float32"]:
            for key, functions in limits(dtype, options.batch).items():
                peaks[key] |= functions
        for what, functions in (("training", training), ("sampling", sampling)):
            bare = {name: function for name, (function, _) in peaks[what].items()}
            seconds = interleaved(functions | bare, options.repeats)
            best: dict[str, float] = {}
            for row in rows("peak", {name: seconds.pop(name) for name in bare}):
                dtype, rate = row["name"].split()[0], peaks[what][row["name"]][1] / row["seconds"]
                if "convolution" in row["name"]:
                    best[dtype] = max(best.get(dtype, 0), rate)
                result["peaks"].append(
                    {"what": what, "size": size, "name": row["name"], "gflops": rate / 1e9}
                )
            result["rows"] += described(f"{what} step, {size} px", what, seconds, counted, best,
                                        options.batch)  # fmt: skip
    return result


def variants() -> list[tuple[str, str, bool, bool]]:
    """Return name, library, channels_last, bfloat16 of what is timed, ours first of each."""
    table = []
    for bfloat16 in [False, True] if has_bfloat16() else [False]:
        suffix = ", bfloat16" if bfloat16 else ""
        table += [
            (OURS + suffix, OURS, True, bfloat16),
            *((name + suffix, name, False, bfloat16) for name in LIBRARIES[1:]),
            *((f"{name}, channels_last{suffix}", name, True, bfloat16) for name in LIBRARIES[1:]),
        ]
    return table


def described(
    what: str, kind: str, seconds: dict, counted: dict, best: dict[str, float], batch: int
) -> list[dict]:
    """Return rows with what was achieved; the ratios are to ours in the same precision."""
    table = []
    flops = {"training": "training_flops", "sampling": "forward_flops"}[kind]
    for dtype in best:
        group = {
            n: runs for n, runs in seconds.items() if ("bfloat16" in n) == (dtype != "float32")
        }
        for row in rows(what, group):
            rate = counted[row["name"].split(",")[0]][flops] * batch / row["seconds"]
            row |= {"dtype": dtype, "gflops": rate / 1e9, "share_of_peak": rate / best[dtype]}
            table.append(row)
    return table


def steps(
    library: str, size: int, batch: int, channels_last: bool, bfloat16: bool
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return a training step and a sampling step of a library, each with a network of its own."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    learns = network(library, size).to(find_device(), memory_format=layout).train()
    draws = network(library, size).to(find_device(), memory_format=layout).eval()
    x = torch.rand(batch, 3, size, size, device=find_device()).mul(2).sub(1)
    x = x.contiguous(memory_format=layout)
    t = torch.full((batch,), 500, device=find_device())
    step = trainer(library, learns, size, bfloat16).step

    def sampling() -> None:
        with torch.inference_mode(), autocast(bfloat16):
            answer(draws, x, t)

    return lambda: step(x), sampling


def limits(dtype: str, batch: int) -> dict[str, dict[str, tuple[Callable[[], object], int]]]:
    """Return bare 3x3 convolutions (channels_last) and a product of matrices, with their FLOPs.

    Under "training" with their backward passes, under "sampling" forward alone.
    """
    there = {"device": find_device(), "dtype": DTYPES[dtype]}
    found: dict = {"training": {}, "sampling": {}}
    for channels, pixels in CONVOLUTIONS:
        conv = nn.Conv2d(channels, channels, 3, padding=1, **there)
        conv = conv.to(memory_format=torch.channels_last)
        x = torch.randn(batch, channels, pixels, pixels, **there)
        x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
        flops = 2 * 9 * channels**2 * pixels**2 * batch
        name = f"{dtype} convolution, {channels} channels, {pixels} px"
        found["sampling"][name] = torch.inference_mode()(lambda c=conv, x=x: c(x)), flops
        found["training"][name] = lambda c=conv, x=x: _train(c, x), 3 * flops
    n = MATRICES
    a, b = torch.randn(n, n, **there), torch.randn(n, n, **there)
    for kind in found.values():
        kind[f"{dtype} matrices, {n} x {n}"] = lambda a=a, b=b: a @ b, 2 * n**3
    return found


def _train(conv: nn.Module, x: torch.Tensor) -> None:
    """Run forward and backward, to the input too."""
    y = conv(x)
    torch.autograd.grad(y, [x, *conv.parameters()], torch.ones_like(y))
