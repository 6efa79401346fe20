"""Measure the shipped text-to-image model: writes bench/results/mini-sd-tiger.json.

python tools/measure_mini_sd.py

Is what was asked for in the picture? Each combination of fur, backdrop, mouth and age is asked for
in words, with several guidance scales, and the judge looks. Beside it how much two drawings of one
prompt differ, as guidance buys accuracy with it; the combinations that training never saw, measured
apart; and what the autoencoder alone keeps. What the file has already, of these weights and as many
drawings, is kept, so that a run that was cut off goes on. The rows go into the model's card too,
where chapter 6 reads them.
"""

import argparse
import hashlib
import itertools
import json
import shlex
import sys
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from tqdm import tqdm
from train_judge import hardware
from train_mini_sd import HELD_OUT, NAME, TARGET

from tigerdiff import caption, procedural_tigers, to_float, to_uint8
from tigerdiff.data.tensors import seeded_generator
from tigerdiff.devices import has_bfloat16
from tigerdiff.metrics.distances import frechet, image_features, judge, mean_mmd
from tigerdiff.tigers.tiger import CHOICES

OUT = Path(__file__).parent.parent / f"bench/results/{NAME}.json"
ASKED = ("fur", "backdrop", "mouth", "age")
SCALES = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
STEPS, BATCH = 20, 40
REFERENCE_SEED = 2_000_000_000
COMBINATIONS = [
    dict(zip(ASKED, words)) for words in itertools.product(*(CHOICES[name] for name in ASKED))
]


def main() -> None:
    """Measure, print, write the JSON file after each row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=2, help="drawings of each combination")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    pipe = StableDiffusionPipeline.from_pretrained(TARGET)
    pipe.set_progress_bar_config(disable=True)
    pipe.to("cuda" if torch.cuda.is_available() else "cpu")
    how = {
        "seed": options.seed,
        "hardware": hardware(),
        "torch": torch.__version__,
        "sha256": hashlib.sha256(
            b"".join(path.read_bytes() for path in sorted(TARGET.rglob("*.safetensors")))
        ).hexdigest(),
        "steps": STEPS,
        "each": options.each,
    }
    before = json.loads(options.out.read_text()) if options.out.exists() else {}
    rows = before.get("guidance", []) if {x: before.get(x) for x in how} == how else []
    result = {
        "command": shlex.join(["python", "tools/measure_mini_sd.py", *sys.argv[1:]]),
        **how,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "autoencoder": autoencoder(pipe),
        "guidance": rows,
    }
    real, tigers = procedural_tigers(2048, 64, REFERENCE_SEED)
    features = image_features(real)
    kinds = [tuple(getattr(tiger, name) for name in ASKED) for tiger in tigers]
    result["floor"] = {"n": 1024, "frechet": frechet(features[:1024], features[1024:])}
    result["floor"] |= {"spread": spread(features, kinds)} | shown(real, [vars(x) for x in tigers])
    result["floor"]["kernel"], _ = mean_mmd(features[:1024], features[1024:])
    for scale, name in itertools.product(SCALES, ("seen", "held out")):
        told = {"guidance_scale": scale, "combinations": name}
        if any(told.items() <= row.items() for row in rows):
            continue
        wanted = [asked for asked in COMBINATIONS if new(asked) == (name == "held out")]
        wanted *= options.each if name == "seen" else 4 * options.each
        start = time.perf_counter()
        images = drawn(pipe, wanted, scale, options.seed)
        seconds = (time.perf_counter() - start) / len(images)
        found, keys = image_features(images), [tuple(asked.values()) for asked in wanted]
        told |= {"n": len(images), "seconds_per_image": seconds, "spread": spread(found, keys)}
        rows.append(told | shown(images, wanted))
        if name == "seen":
            kernel, error = mean_mmd(found, features)
            rows[-1] |= {"kernel": kernel, "kernel_standard_error": error}
        else:
            rows[-1]["all_of"] = [shown_of(held, images, wanted)["all"] for held in HELD_OUT]
        print(rows[-1], flush=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n")
    result["together"] = together(rows)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    into_card(result)


def into_card(result: dict) -> None:
    """All rows, and how they were measured, into the card beside the weights."""
    path = TARGET / "card.json"
    card = json.loads(path.read_text())
    parts = "autoencoder", "guidance", "together", "floor"
    card["measured"] = {name: x for name, x in result.items() if name not in parts}
    card |= {name: result[name] for name in parts}
    path.write_text(json.dumps(card, indent=2) + "\n")


def new(asked: dict) -> bool:
    """Whether training saw no tiger of this combination."""
    return any(combination.items() <= asked.items() for combination in HELD_OUT)


def prompt(asked: dict, k: int) -> str:
    """Words for a combination, as those that training saw; the k-th wording."""
    (tiger,) = procedural_tigers(1, 16, REFERENCE_SEED + 2, start=k)[1]
    daytime = tiger.daytime if tiger.daytime != "night" else "noon"
    daytime = "night" if asked["backdrop"] == "night" else daytime
    return caption(replace(tiger, **asked, daytime=daytime), seed=k)


@torch.inference_mode()
def drawn(
    pipe: StableDiffusionPipeline, wanted: list[dict], guidance_scale: float, seed: int
) -> Tensor:
    """One drawing for each, uint8 (N, 3, 64, 64); the same noise for each guidance scale."""
    parts = []
    autocast = torch.autocast(pipe.device.type, torch.bfloat16, enabled=has_bfloat16())
    for start in tqdm(range(0, len(wanted), BATCH), desc=f"guidance {guidance_scale}", leave=False):
        some = wanted[start : start + BATCH]
        noise = torch.randn(len(some), 4, 16, 16, generator=seeded_generator(seed, start))
        with autocast:
            x = pipe(
                [prompt(asked, start + k) for k, asked in enumerate(some)], latents=noise,
                guidance_scale=guidance_scale, num_inference_steps=STEPS, output_type="pt",
            ).images  # fmt: skip
        parts.append(to_uint8(x.float() * 2 - 1).cpu())
    return torch.cat(parts)


def shown(images: Tensor, wanted: list[dict]) -> dict:
    """The share of the pictures in which the judge finds what was asked, and all of it at once."""
    read = judge(images)
    right = {
        name: read[name].argmax(1) == torch.tensor([CHOICES[name].index(x[name]) for x in wanted])
        for name in ASKED
    }
    every = torch.stack(list(right.values())).all(0)
    return {name: x.double().mean().item() for name, x in {**right, "all": every}.items()}


def shown_of(combination: dict, images: Tensor, wanted: list[dict]) -> dict:
    """As `shown`, of the drawings alone that were asked for this combination."""
    chosen = [k for k, asked in enumerate(wanted) if combination.items() <= asked.items()]
    return shown(images[chosen], [wanted[k] for k in chosen])


def together(rows: list[dict]) -> list[dict]:
    """For each scale the shares over all combinations, each combination counted once."""
    weights = {
        "seen": sum(not new(x) for x in COMBINATIONS),
        "held out": sum(map(new, COMBINATIONS)),
    }
    return [
        {"guidance_scale": scale}
        | {
            name: sum(
                weights[row["combinations"]] * row[name] / len(COMBINATIONS)
                for row in rows
                if row["guidance_scale"] == scale
            )
            for name in (*ASKED, "all")
        }
        for scale in SCALES
    ]


def spread(features: Tensor, kinds: list[tuple]) -> float:
    """Mean distance between two pictures of one kind, in the judge's features."""
    total, pairs = 0.0, 0
    for kind in set(kinds):
        same = features[[k for k, other in enumerate(kinds) if other == kind]]
        total += torch.pdist(same).sum().item()
        pairs += len(same) * (len(same) - 1) // 2
    return total / pairs


@torch.inference_mode()
def autoencoder(pipe: StableDiffusionPipeline) -> dict:
    """What comes back of tigers that are only encoded and decoded."""
    images, tigers = procedural_tigers(256, 64, REFERENCE_SEED)
    x0 = to_float(images).to(pipe.device)
    back = pipe.vae.decode(pipe.vae.encode(x0).latent_dist.mean).sample.clamp(-1, 1)
    error = (back - x0).square().mean((1, 2, 3))
    found, known = image_features(to_uint8(back).cpu()), image_features(images)
    return {
        "n": 256,
        "psnr": (10 * torch.log10(4 / error)).mean().item(),
        "frechet_to_the_same": frechet(found, known),
        **shown(to_uint8(back).cpu(), [vars(x) for x in tigers]),
    }


if __name__ == "__main__":
    main()
