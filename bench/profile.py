"""Part "profile": where the time of our steps goes, by kind of operation.

It explains the distance from the limit: a step that did nothing but convolutions would be as near
to the peak as "convolutions" says; all else moves memory and computes next to nothing.
"""

from argparse import Namespace
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from bench.networks import OURS, counts
from bench.step import steps
from tigerdiff.devices import has_bfloat16

STEPS = 5  # that are profiled together
KINDS = {
    "convolutions": ("convolution",),
    "group norm": ("group_norm",),
    "SiLU": ("silu",),
    "attention and linear layers": ("bmm", "mm", "addmm", "softmax"),
    "optimiser and average of the weights": ("adam", "foreach", "norm"),
}


def run(options: Namespace) -> dict:
    """Profile training and sampling steps at each size, after two to warm up."""
    table, rates = [], []
    for size in options.sizes:
        flops = counts(OURS, size)
        for bfloat16 in [False, True] if has_bfloat16() else [False]:
            pair = steps(OURS, size, options.batch, True, bfloat16)
            for kind, key, step in zip(
                ("training", "sampling"), ("training_flops", "forward_flops"), pair
            ):
                step()
                step()
                spent = shares(step, STEPS)
                precision = "bfloat16" if bfloat16 else "float32"
                what = f"share of our {kind} step, {size} px, {precision}"
                total = sum(spent.values())
                table += [
                    {"what": what, "name": name, "seconds": seconds, "ratio": None,
                     "share": seconds / total}
                    for name, seconds in spent.items()
                ]  # fmt: skip
                rate = flops[key] * options.batch * STEPS / spent["convolutions"] / 1e9
                rates.append({"what": what, "gflops_of_convolutions": rate})
    return {"batch": options.batch, "convolutions": rates, "rows": table}


def shares(step: Callable[[], object], repeats: int) -> dict[str, float]:
    """Return the seconds of so many steps in each kind of operation, without their children."""
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        for _ in range(repeats):
            step()
    spent = dict.fromkeys([*KINDS, "all else"], 0.0)
    for event in profiler.key_averages():
        seconds = (event.self_cpu_time_total + getattr(event, "self_device_time_total", 0)) / 1e6
        names = (kind for kind, words in KINDS.items() if any(w in event.key for w in words))
        spent[next(names, "all else")] += seconds
    return spent
