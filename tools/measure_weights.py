"""Measure the shipped model: writes bench/results/ddpm-tiger-64.json.

python tools/measure_weights.py

How far its drawings are from painted tigers, with each sampler and number of steps; what ten
well-known mistakes in the sampler cost, with the same weights; and whether any drawing is a copy of
a training picture. About 20 minutes on 2 CPU cores that compute in bfloat16 (AMX), some three times
as long on others with --precision float32.
"""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import torch
from mistakes import MISTAKES, walk
from torch import Tensor
from tqdm import tqdm
from train_judge import hardware

from tigerdiff import NoiseSchedule, load_pretrained, procedural_tigers, to_uint8
from tigerdiff.data import seeded_generator
from tigerdiff.metrics import frechet, image_features, judge, mean_mmd
from tigerdiff.pretrained import WEIGHTS
from tigerdiff.sampling import SAMPLERS
from tigerdiff.tigers import CHOICES

NAME = "ddpm-tiger-64"
TARGET = Path(__file__).parent.parent / "bench/results/ddpm-tiger-64.json"
REFERENCE_SEED = 2_000_000_000  # of the real tigers; the floor takes the next one
BATCH = 64
FEW = [("ddim", steps) for steps in (100, 50, 25, 10, 5)]
FEW += [("dpm_solver", steps) for steps in (20, 15, 10, 8, 5)]
MISTAKEN = {"ddim": 25, "ddpm": 50}  # steps of the sampler that the mistakes are made in
Model = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    """Measure, print, write the JSON file after each row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=512, help="drawings by each sampler")
    parser.add_argument("--n-ddpm", type=int, default=128, help="drawings by DDPM in 1000 steps")
    parser.add_argument("--n-mistakes", type=int, default=256, help="drawings with each mistake")
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args()
    network, schedule = load_pretrained(NAME)
    network.to(memory_format=torch.channels_last)
    dtype = getattr(torch, options.precision)
    model = in_precision(network, dtype)
    card = json.loads((WEIGHTS / NAME / "card.json").read_text())
    real = image_features(procedural_tigers(options.n, 64, REFERENCE_SEED)[0])
    other = image_features(procedural_tigers(options.n, 64, REFERENCE_SEED + 1)[0])
    sizes = sorted({options.n, options.n_ddpm, options.n_mistakes})
    result = {
        "command": shlex.join(["python", "tools/measure_weights.py", *sys.argv[1:]]),
        "seed": options.seed,
        "hardware": hardware(),
        "torch": torch.__version__,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "weights_sha256": card["sha256"],
        "precision": options.precision,
        "floor": [{"n": n} | distances(other[:n], real[:n]) for n in sizes],
        "samplers": [],
        "mistakes": [],
    }

    def keep() -> None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n")

    def row(part: str, told: dict, images: Tensor, seconds: float) -> Tensor:
        features = image_features(images)
        n = len(images)
        figures = {"n": n, "seconds": seconds, "seconds_per_image": seconds / n}
        result[part].append(told | rounded(figures) | distances(features, real[:n]))
        print(result[part][-1], flush=True)
        keep()
        return features

    for sampler, steps in [*FEW, ("ddpm", 1000)]:
        n = options.n_ddpm if sampler == "ddpm" else options.n
        images, seconds = drawn(model, schedule, n, sampler, steps, options.seed)
        features = row("samplers", {"sampler": sampler, "steps": steps}, images, seconds)
        if (sampler, steps) == ("ddim", 100):
            result["shares"] = {"drawn": shares(images)}
            result["shares"]["real"] = shares(procedural_tigers(options.n, 64, REFERENCE_SEED)[0])
            result["copies"] = copies(features, other, card)
            keep()
    for mistake in [None, *MISTAKES]:
        for sampler, steps in MISTAKEN.items():
            if mistake is None or MISTAKES[mistake][0] == sampler:
                images, seconds = drawn(
                    model, schedule, options.n_mistakes, sampler, steps, options.seed, mistake, True
                )
                told = {"mistake": mistake, "what": mistake and MISTAKES[mistake][1]}
                row("mistakes", told | {"sampler": sampler, "steps": steps}, images, seconds)
    into_card(result)


def into_card(result: dict) -> None:
    """The distances by sampler and steps, and the floors, into the card beside the weights."""
    path = WEIGHTS / NAME / "card.json"
    card = json.loads(path.read_text())
    names = ("n", "frechet", "frechet_standard_error", "kernel", "kernel_standard_error")
    rows = {f"{row['sampler']} {row['steps']}": row for row in result["samplers"]}
    rows |= {f"real to real {row['n']}": row for row in result["floor"]}
    card["measures"] = {title: {name: row[name] for name in names} for title, row in rows.items()}
    path.write_text(json.dumps(card, indent=2) + "\n")


def in_precision(network: torch.nn.Module, dtype: torch.dtype) -> Model:
    """The network with its convolutions in that precision; the path stays in float32."""

    def model(xt: Tensor, t: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            return network(xt, t).float()

    model.prediction = network.prediction
    return model


def drawn(
    model: Model, schedule: NoiseSchedule, n: int, sampler: str, steps: int, seed: int,
    mistake: str | None = None, ours_to_mistake: bool = False,
) -> tuple[Tensor, float]:  # fmt: skip
    """N drawings uint8 (n, 3, 64, 64), the same noise for all samplers, and the seconds."""
    parts, start = [], time.perf_counter()
    for first in tqdm(range(0, n, BATCH), desc=f"{sampler} {steps} {mistake or ''}", leave=False):
        generator = seeded_generator(seed, first)
        xT = torch.randn(min(BATCH, n - first), 3, 64, 64, generator=generator)
        if ours_to_mistake:
            x = walk(
                model, schedule, xT, sampler=sampler, steps=steps, generator=generator,
                mistake=mistake,
            )  # fmt: skip
        else:
            options = {"generator": generator} if sampler == "ddpm" else {}
            with torch.inference_mode():
                *_, last = SAMPLERS[sampler](model, schedule, xT, steps=steps, **options)
            x = last.xt
        parts.append(to_uint8(x.nan_to_num()))
    return torch.cat(parts), time.perf_counter() - start


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
