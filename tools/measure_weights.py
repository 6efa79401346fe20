"""Measure the shipped model: writes bench/results/ddpm-tiger-64.json.

python tools/measure_weights.py

How far its drawings are from painted tigers, with each sampler, number of steps and eta; what ten
well-known mistakes in the sampler cost, with the same weights, and what weights cost that were not
averaged; and whether any drawing is a copy of a training picture. About 50 minutes on 2 CPU cores
that compute in bfloat16 (AMX), some three times as long on others with --precision float32. What
the file has already, of these weights and as many drawings, is kept, so that a run that was cut off
goes on. The rows go into the model's card too, where the chapters read them.
"""

import argparse
import inspect
import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mistakes import MISTAKES, walk
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm
from train_judge import hardware

from tigerdiff import NoiseSchedule, load_checkpoint, load_pretrained, procedural_tigers, to_uint8
from tigerdiff.data.tensors import seeded_generator
from tigerdiff.metrics.distances import frechet, image_features, judge, mean_mmd
from tigerdiff.pretrained.load import WEIGHTS
from tigerdiff.sampling import SAMPLERS, ddim
from tigerdiff.tigers.tiger import CHOICES
from tigerdiff.training.checkpoints import find_checkpoint

NAME = "ddpm-tiger-64"
TARGET = Path(__file__).parent.parent / "bench/results/ddpm-tiger-64.json"
REFERENCE_SEED = 2_000_000_000  # of the real tigers; the floor takes the next one
BATCH = 64
FEW = [("ddim", steps) for steps in (100, 50, 25, 10, 5)]
FEW += [("dpm_solver", steps) for steps in (20, 15, 10, 8, 5)]
FEW += [("ddpm", steps) for steps in (100, 50, 25, 10, 5)]
MANY = [("ddim", 250), ("ddpm", 250), ("ddim", 1000), ("ddpm", 1000)]
ETAS = (0.25, 0.5, 0.75, 1.0)  # of DDIM in 25 steps
MISTAKEN = {"ddim": 25, "ddpm": 50}  # steps of the sampler that the mistakes are made in
Model = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    """Measure, print, write the JSON file after each row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=512, help="drawings by each sampler")
    parser.add_argument("--n-many", type=int, default=128, help="drawings in 250 or 1000 steps")
    parser.add_argument(
        "--n-mistakes", type=int, default=256, help="drawings with each mistake or eta"
    )
    parser.add_argument("--run", type=Path, help="the training run, for its weights not averaged")
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args()
    network, schedule = load_pretrained(NAME)
    dtype = getattr(torch, options.precision)
    model = in_precision(network, dtype)
    card = json.loads((WEIGHTS / NAME / "card.json").read_text())
    real = image_features(procedural_tigers(options.n, 64, REFERENCE_SEED)[0])
    other = image_features(procedural_tigers(options.n, 64, REFERENCE_SEED + 1)[0])
    sizes = sorted({options.n, options.n_many, options.n_mistakes})
    how = {
        "seed": options.seed,
        "hardware": hardware(),
        "torch": torch.__version__,
        "weights_sha256": card["sha256"],
        "precision": options.precision,
    }
    before = json.loads(options.out.read_text()) if options.out.exists() else {}
    if {name: before.get(name) for name in how} != how:
        before = {}
    result = {
        "command": shlex.join(["python", "tools/measure_weights.py", *sys.argv[1:]]),
        **how,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "floor": [{"n": n} | distances(other[:n], real[:n]) for n in sizes],
        **{part: before.get(part, []) for part in ("samplers", "etas", "mistakes", "not_averaged")},
        **{part: before[part] for part in ("shares", "copies") if part in before},
    }

    def missing(part: str, told: dict, n: int) -> bool:
        """Whether there is no such row yet; one of another number of drawings is dropped."""
        same = [row for row in result[part] if {name: row[name] for name in told} == told]
        result[part] = [row for row in result[part] if row not in same or row["n"] == n]
        return not any(row["n"] == n for row in same)

    def keep(part: str, told: dict, images: Tensor) -> Tensor:
        features = image_features(images)
        n = len(images)
        result[part].append(told | {"n": n} | distances(features, real[:n]))
        print(result[part][-1], flush=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n")
        return features

    for sampler, steps in [*FEW, *MANY]:
        n = options.n_many if (sampler, steps) in MANY else options.n
        told = {"sampler": sampler, "steps": steps}
        if missing("samplers", told, n):
            images = drawn(model, schedule, n, sampler, steps, options.seed)
            features = keep("samplers", told, images)
            if (sampler, steps) == ("ddim", 100):
                result["shares"] = {"drawn": shares(images)}
                painted = procedural_tigers(options.n, 64, REFERENCE_SEED)[0]
                result["shares"]["real"] = shares(painted)
                result["copies"] = copies(features, other, card)
    for row in result["samplers"]:
        if "repeated" not in row:
            row["repeated"] = repeated(model, schedule, row["sampler"], row["steps"])
    n = options.n_mistakes
    for mistake in [None, *MISTAKES]:
        for sampler, steps in MISTAKEN.items():
            told = {"mistake": mistake, "what": mistake and MISTAKES[mistake][1]}
            told |= {"sampler": sampler, "steps": steps}
            ours = mistake is None or MISTAKES[mistake][0] == sampler
            if ours and missing("mistakes", told, n):
                step = partial(walk, sampler=sampler, mistake=mistake)
                keep("mistakes", told, drawn(model, schedule, n, step, steps, options.seed))
    for eta in ETAS:
        told = {"sampler": "ddim", "steps": MISTAKEN["ddim"], "eta": eta}
        if missing("etas", told, n):
            step = partial(last_of, ddim, eta=eta)
            keep("etas", told, drawn(model, schedule, n, step, told["steps"], options.seed))
    told = {"sampler": "ddpm", "steps": MISTAKEN["ddpm"]}
    if options.run and missing("not_averaged", told, n):
        raw = in_precision(not_averaged(options.run), dtype)
        keep("not_averaged", told, drawn(raw, schedule, n, "ddpm", told["steps"], options.seed))
    result["seconds_per_call"] = {name: seconds(model, schedule, name) for name in SAMPLERS}
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    into_card(result)


def repeated(model: Model, schedule: NoiseSchedule, sampler: str, steps: int) -> float:
    """How far two runs from the same two x_T lie apart at most, each with random numbers anew."""
    xT = torch.randn(2, 3, 64, 64, generator=seeded_generator(0, 0))
    draw = partial(last_of, SAMPLERS[sampler], model, schedule, xT, steps=steps)
    one, other = (draw(generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    return round((one - other).abs().max().item(), 3)


def seconds(model: Model, schedule: NoiseSchedule, sampler: str) -> float:
    """Seconds for one picture and one call of the network, in a batch of 16: median of three."""
    times = []
    for _ in range(4):  # the first warms up
        start = time.perf_counter()
        drawn(model, schedule, 16, sampler, 10, seed=0)
        times.append((time.perf_counter() - start) / 160)
    return float(f"{statistics.median(times[1:]):.4g}")


def into_card(result: dict) -> None:
    """All rows, and how they were measured, into the card beside the weights."""
    path = WEIGHTS / NAME / "card.json"
    card = json.loads(path.read_text())
    names = ("command", "seed", "precision", "hardware", "torch", "date")
    card["measured"] = {name: result[name] for name in names}
    seconds = result["seconds_per_call"]
    rows = {
        f"{row['sampler']} {row['steps']}": row
        | {"seconds_per_image": float(f"{row['steps'] * seconds[row['sampler']]:.3g}")}
        for row in result["samplers"]
    }
    rows |= {f"ddim {row['steps']} eta {row['eta']:g}": row for row in result["etas"]}
    rows |= {f"real to real {row['n']}": row for row in result["floor"]}
    names = ("n", "frechet", "frechet_standard_error", "kernel", "kernel_standard_error")
    card["measures"] = {
        title: {x: row[x] for x in (*names, "repeated", "seconds_per_image") if x in row}
        for title, row in rows.items()
    }
    wrong = {row["mistake"] or f"none, {row['sampler']}": row for row in result["mistakes"]}
    for row in result["not_averaged"]:
        wrong["no EMA"] = row | {"what": "the last weights instead of their moving average"}
    names = ("sampler", "steps", "what", *names)
    card["mistakes"] = {title: {name: row[name] for name in names} for title, row in wrong.items()}
    path.write_text(json.dumps(card, indent=2) + "\n")


def not_averaged(run: Path) -> torch.nn.Module:
    """The weights that the training of the shipped model ended with, before the average."""
    network, _ = load_checkpoint(run)
    network.load_state_dict(load_file(find_checkpoint(run) / "model.safetensors"))
    return network


def in_precision(network: torch.nn.Module, dtype: torch.dtype) -> Model:
    """The network with its convolutions in that precision; the path stays in float32."""
    network.to(memory_format=torch.channels_last)

    def model(xt: Tensor, t: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            return network(xt, t).float()

    model.prediction = network.prediction
    return model


def drawn(
    model: Model, schedule: NoiseSchedule, n: int, sampler: str | Callable, steps: int, seed: int
) -> Tensor:
    """N drawings uint8 (n, 3, 64, 64), the same noise for all samplers."""
    parts = []
    step = partial(last_of, SAMPLERS[sampler]) if isinstance(sampler, str) else sampler
    for first in tqdm(range(0, n, BATCH), desc=f"{sampler} {steps}"[:60], leave=False):
        generator = seeded_generator(seed, first)
        xT = torch.randn(min(BATCH, n - first), 3, 64, 64, generator=generator)
        x = step(model, schedule, xT, steps=steps, generator=generator)
        parts.append(to_uint8(x.nan_to_num()))
    return torch.cat(parts)


@torch.inference_mode()
def last_of(sampler: Callable, *args: Any, generator: torch.Generator, **options: Any) -> Tensor:
    """The images that a sampler ends with."""
    if "generator" in inspect.signature(sampler).parameters:
        options["generator"] = generator
    *_, last = sampler(*args, **options)
    return last.xt


def distances(found: Tensor, known: Tensor) -> dict:
    """Both distances with their standard errors; Fréchet's by drawing the pictures again."""
    kernel, error = mean_mmd(found, known)
    again = torch.Generator().manual_seed(0)
    resampled = [
        frechet(found[torch.randint(len(found), (len(found),), generator=again)], known)
        for _ in range(20)
    ]
    return rounded(
        {
            "frechet": frechet(found, known),
            "frechet_standard_error": torch.tensor(resampled).std().item(),
            "kernel": kernel,
            "kernel_standard_error": error,
        }
    )


def copies(features: Tensor, fresh: Tensor, card: dict) -> dict:
    """How far each drawing, and each fresh tiger, is from the nearest training picture.

    Mirrored ones count too, as training saw them. Scores are in units of what is usual for a fresh
    tiger: 1 for a new picture, 0 for a copy.
    """
    best = torch.full((len(features) + len(fresh),), torch.inf, dtype=torch.float64)
    for start in tqdm(range(0, card["tigers"], 2048), desc="neighbours", leave=False):
        count = min(2048, card["tigers"] - start)
        images = procedural_tigers(count, 64, card["seed"], start=start)[0]
        known = image_features(torch.cat([images, images.flip(-1)]))
        best = best.minimum(torch.cdist(torch.cat([features, fresh]), known).amin(1))
    drawn, new = (best / best[len(features) :].median()).split([len(features), len(fresh)])
    return {"among": 2 * card["tigers"]} | {
        name: rounded(
            {
                "median_score": score.median().item(),
                "lowest_score": score.min().item(),
                "copies": (score < 0.5).double().mean().item(),
            }
        )
        for name, score in (("drawn", drawn), ("fresh", new))
    }


def shares(images: Tensor) -> dict:
    """How often the judge finds each word."""
    read = judge(images)
    return {
        name: dict(zip(words, rounded_list(read[name].argmax(1).bincount(minlength=len(words)))))
        for name, words in CHOICES.items()
    }


def rounded_list(counts: Tensor) -> list[float]:
    """Counts as shares, to 4 digits."""
    return [float(f"{x:.4g}") for x in (counts.double() / counts.sum()).tolist()]


def rounded(row: dict) -> dict:
    """Floats to 4 digits."""
    return {name: float(f"{x:.4g}") if isinstance(x, float) else x for name, x in row.items()}


if __name__ == "__main__":
    main()
