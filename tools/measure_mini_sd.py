"""Measure a shipped text-to-image model: writes bench/results/NAME.json.

python tools/measure_mini_sd.py NAME

Is what was asked for in the picture? Each combination of fur, backdrop, mouth and age is asked for
in words, with several guidance scales, and the judge looks. Beside it how much two drawings of one
prompt differ, as guidance buys accuracy with it; the combinations that training never saw, measured
apart; and what the autoencoder alone keeps. Distances are of whole pictures, which the judge
shrinks to 64 pixels, and of crops of 64 pixels, which show fur and whiskers at full size; how much
the two eyes differ is measured too, as distances hardly see it. What the file has already, of these
weights and as many drawings, is kept, so that a run that was cut off can be resumed. The rows go
into the model's card too, where chapter 6 reads them.
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from mini_drawings import ASKED, COMBINATIONS, STEPS, drawn, new, shown, shown_of, spread
from mini_references import autoencoder, eyes, one_prompt, references
from report import head, weights_sha256, write
from train_mini_sd import HELD_OUT, NAME, TARGET

from tigerdiff import crops
from tigerdiff.metrics.distances import frechet, image_features, mean_mmd

RESULTS = Path(__file__).parent.parent / "bench/results"
SCALES = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)


def main() -> None:
    """Measure, print, write the JSON file after each row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", default=NAME, help="the folder of its weights")
    parser.add_argument("--each", type=int, default=2, help="drawings of each combination")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--references", type=int, default=2048, help="painted tigers to compare")
    options = parser.parse_args()
    out, folder = RESULTS / f"{options.name}.json", TARGET.with_name(options.name)
    pipe = StableDiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    pipe.to("cuda" if torch.cuda.is_available() else "cpu")
    made = head("python tools/measure_mini_sd.py")
    how = {
        "seed": options.seed,
        "hardware": made["hardware"],
        "torch": made["torch"],
        "sha256": weights_sha256(folder),
        "steps": STEPS,
        "each": options.each,
    }
    before = json.loads(out.read_text()) if out.exists() else {}
    rows = before.get("guidance", []) if {x: before.get(x) for x in how} == how else []
    result = made | how | {"autoencoder": autoencoder(pipe), "guidance": rows}
    size, half = pipe.vae.config.sample_size, options.references // 2
    features, details, result["floor"] = references(2 * half, size)
    result["floor"]["frechet"] = frechet(features[:half], features[half:])
    result["floor"]["kernel"], _ = mean_mmd(features[:half], features[half:])
    result["floor"]["frechet_of_crops"] = frechet(details[:half], details[half:])
    result["one_prompt"] = one_prompt(pipe, options.seed)
    for scale, name in itertools.product(SCALES, ("seen", "held out")):
        row = {"guidance_scale": scale, "combinations": name}
        if any(row.items() <= done.items() for done in rows):
            continue
        wanted = [asked for asked in COMBINATIONS if new(asked) == (name == "held out")]
        wanted *= options.each if name == "seen" else 4 * options.each
        start = time.perf_counter()
        images = drawn(pipe, wanted, scale, options.seed)
        seconds = (time.perf_counter() - start) / len(images)
        found, keys = image_features(images), [tuple(asked.values()) for asked in wanted]
        row |= {"n": len(images), "seconds_per_image": seconds}
        if len(keys) > len(set(keys)):  # with --each 1, a seen combination is drawn once
            row["spread"] = spread(found, keys)
        rows.append(row | shown(images, wanted))
        if name == "seen":
            kernel, error = mean_mmd(found, features)
            rows[-1] |= {"kernel": kernel, "kernel_standard_error": error}
            kernel, _ = mean_mmd(image_features(crops(images, each=1)), details)
            rows[-1] |= {"kernel_of_crops": kernel, "eyes": eyes(images)}
        else:
            rows[-1]["all_of"] = [shown_of(held, images, wanted)["all"] for held in HELD_OUT]
        print(rows[-1], flush=True)
        write(out, result)
    result["together"] = together(rows)
    write(out, result)
    into_card(result, folder / "card.json")


def into_card(result: dict, path: Path) -> None:
    """Write all rows, and how they were measured, into the card beside the weights."""
    card = json.loads(path.read_text())
    parts = "autoencoder", "guidance", "together", "floor", "one_prompt"
    card["measured"] = {name: x for name, x in result.items() if name not in parts}
    card |= {name: result[name] for name in parts}
    write(path, card)


def together(rows: list[dict]) -> list[dict]:
    """Return for each scale the shares over all combinations, each counted once."""
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


if __name__ == "__main__":
    main()
