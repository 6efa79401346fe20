"""The rows that ``measure_weights.py`` measures: what they are, how they are drawn, their card."""

import argparse
import statistics
import time
from collections.abc import Iterator

import torch
from mistakes import MISTAKES, walk
from report import head
from torch import Tensor

from tigerdiff import NoiseSchedule, UNet, guided, seeded_generator, to_uint8
from tigerdiff.sampling import SAMPLERS, randn_like

BATCH = 16
FEW = {"ddim": (100, 50, 25, 10, 5), "dpm_solver": (20, 15, 10, 8, 5), "ddpm": (100, 50, 25, 10, 5)}
MANY = {"ddim": (250, 1000), "ddpm": (250, 1000)}
ETAS = (0.25, 0.5, 0.75, 1.0)  # of DDIM in 25 steps
MISTAKEN = {"ddim": 25, "ddpm": 50}  # steps of the sampler that the mistakes are made in
LARGE = 50  # steps of DDIM for the one large set
SCALES = (1.0, 2.0, 3.0)  # of guidance, with DDIM in 25 steps
FIGURES = ("n", "frechet", "frechet_standard_error", "kernel", "kernel_standard_error")


def planned(options: argparse.Namespace, model: UNet) -> Iterator[tuple[str, dict]]:
    """Yield (part, what to draw with) for each row."""
    for n in sorted({options.n, options.n_many, options.n_mistakes, options.n_large} - {0}):
        yield "floor", {"n": n}
    for name, numbers in FEW.items():
        for steps in numbers:
            yield "samplers", {"n": options.n, "sampler": name, "steps": steps}
    few = {"n": options.n_mistakes, "sampler": "ddim", "steps": MISTAKEN["ddim"]}
    right = [(None, name) for name in MISTAKEN]
    for mistake, name in [*right, *((wrong, name) for wrong, (name, _) in MISTAKES.items())]:
        yield "mistakes", few | {"sampler": name, "steps": MISTAKEN[name], "mistake": mistake}
    for eta in ETAS:
        yield "etas", few | {"eta": eta}
    for scale in SCALES if model.classes else ():
        yield "guidance", few | {"guidance_scale": scale}
    if options.run:
        yield "not_averaged", few | {"sampler": "ddpm", "steps": MISTAKEN["ddpm"]}
    if options.n_large:
        yield "large", {"n": options.n_large, "sampler": "ddim", "steps": LARGE}
    for name, numbers in MANY.items():
        for steps in numbers:
            yield "samplers", {"n": options.n_many, "sampler": name, "steps": steps}


def drawn(
    model: UNet, schedule: NoiseSchedule, row: dict, asked: list[dict], seed: int, dtype: str
) -> Tensor:
    """Draw as a row says: uint8 (n, 3, S, S), the same noise for all rows.

    With "guidance_scale" the i-th picture is asked for the words of ``asked[i]``.
    """
    parts = []
    for first in range(0, row["n"], BATCH):
        indices = range(first, min(row["n"], first + BATCH))
        each = [seeded_generator(seed, i) for i in indices]
        network = model
        if "guidance_scale" in row:
            words = torch.cat([model.condition(**asked[i]) for i in indices])
            network = guided(model, words, row["guidance_scale"])
        device = next(model.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, dtype == "bfloat16"):
            x = last_of(network, schedule, start(model, each), row, each)
        parts.append(to_uint8(x.float().nan_to_num()).cpu())
    return torch.cat(parts)


def start(model: UNet, each: list[torch.Generator]) -> Tensor:
    """Draw x_T, a picture from each generator."""
    size = model.config["size"]
    xT = randn_like(torch.empty(len(each), 3, size, size), each)
    return xT.to(next(model.parameters()).device, memory_format=torch.channels_last)


@torch.inference_mode()
def last_of(
    model: UNet, schedule: NoiseSchedule, xT: Tensor, row: dict, each: list[torch.Generator]
) -> Tensor:
    """Return the images that the sampler of a row ends with, or the sampler with a mistake."""
    options = {name: row[name] for name in ("steps", "eta") if name in row}
    if "mistake" in row:
        options |= {name: row[name] for name in ("sampler", "mistake")}
        return walk(model, schedule, xT, generator=each, **options)
    if row["sampler"] == "ddpm" or "eta" in row:
        options["generator"] = each
    *_, last = SAMPLERS[row["sampler"]](model, schedule, xT, **options)
    return last.xt


def repeated(model: UNet, schedule: NoiseSchedule, row: dict) -> float:
    """Return how far two pictures are apart that have x_T in common and no other noise."""
    xT = start(model, [seeded_generator(0, 0)])
    one, other = (last_of(model, schedule, xT, row, [seeded_generator(seed)]) for seed in (1, 2))
    return round((one - other).abs().max().item(), 3)


def seconds(model: UNet, schedule: NoiseSchedule, sampler: str, dtype: str) -> float:
    """Time one picture and one call of the network, in a batch of 16: median of three."""
    times = []
    for _ in range(4):  # the first warms up
        began = time.perf_counter()
        drawn(model, schedule, {"n": 16, "sampler": sampler, "steps": 10}, [], 0, dtype)
        times.append((time.perf_counter() - began) / 160)
    return statistics.median(times[1:])


def timed(program: str, model: UNet, schedule: NoiseSchedule, dtype: str) -> dict:
    """Time one call of the network, for one picture, with each sampler; say where."""
    calls = {name: seconds(model, schedule, name, dtype) for name in SAMPLERS}
    return head(program) | {"precision": dtype, "seconds_per_call": calls}


def how_timed(result: dict) -> dict:
    """Return what the card says of the timing: command, precision, hardware, torch and date."""
    return {name: x for name, x in result["timed"].items() if name != "seconds_per_call"}


def for_card(result: dict) -> dict:
    """Return the entries of the card: all rows by title, and how they were measured and timed."""
    calls = result["timed"]["seconds_per_call"]
    rows = {
        f"{row['sampler']} {row['steps']}": row
        | {"seconds_per_image": row["steps"] * calls[row["sampler"]]}
        for row in result["samplers"]
    }
    rows |= {f"ddim {row['steps']} eta {row['eta']:g}": row for row in result["etas"]}
    rows |= {f"guidance {row['guidance_scale']:g}": row for row in result["guidance"]}
    rows |= {f"ddim {row['steps']}, {row['n']} pictures": row for row in result["large"]}
    rows |= {f"real to real {row['n']}": row for row in result["floor"]}
    wrong = {row["mistake"] or f"none, {row['sampler']}": row for row in result["mistakes"]}
    for row in result["not_averaged"]:
        wrong["no EMA"] = row | {"what": "the last weights instead of their moving average"}
    made = ("command", "seed", "precision", "hardware", "torch", "date")
    names = ("sampler", "steps", "what", *FIGURES)
    titles = ("sampler", "steps", "eta", "guidance_scale")
    return {
        "measured": {name: result[name] for name in made},
        "timed": how_timed(result),
        "measures": {
            title: {name: x for name, x in row.items() if name not in titles}
            for title, row in rows.items()
        },
        "mistakes": {title: {name: row[name] for name in names} for title, row in wrong.items()},
    }
