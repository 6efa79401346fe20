"""Measure a shipped model: writes bench/results/NAME.json and the model's card.

python tools/measure_weights.py ddpm-tiger-32

How far its drawings are from painted tigers, with each sampler, number of steps and eta; what the
mistakes of ``mistakes.py`` cost with the same weights, and what weights cost that were not
averaged; whether a drawing is a copy of a training picture; how much the two eyes differ, at 64
pixels; and, for a conditional network, how often the judge sees what was asked for. Rows that the
file has already, of these weights, this seed and as many drawings, are kept: a run that was cut off
can be resumed. Afterwards time_weights.py times the model as on a laptop.
"""

import argparse
import json
from pathlib import Path

import torch
from mistakes import MISTAKES
from picture_sets import all_shown, copies, distances, shares
from report import head, rounded, write
from safetensors.torch import load_file
from weights_rows import drawn, for_card, planned, repeated, timed

from tigerdiff import UNet, load_checkpoint, load_pretrained, procedural_tigers
from tigerdiff.commands.pictures import REFERENCE_SEED
from tigerdiff.devices import find_device, has_bfloat16
from tigerdiff.metrics.distances import image_features
from tigerdiff.metrics.eyes import eye_difference
from tigerdiff.pretrained.load import WEIGHTS
from tigerdiff.training.checkpoints import find_checkpoint

RESULTS = Path(__file__).parent.parent / "bench/results"
EYES_AT = 64  # pixels, the size that the measure of the eyes is made for
PARTS = ("floor", "samplers", "etas", "mistakes", "not_averaged", "guidance", "large")


def main() -> None:
    """Measure row by row; write the results after each, and the card at the end."""
    options = arguments()
    model, schedule = load_pretrained(options.folder)
    model.to(find_device(), memory_format=torch.channels_last)
    card, size = json.loads((options.folder / "card.json").read_text()), model.config["size"]
    how = {"weights_sha256": card["sha256"], "seed": options.seed, "precision": options.precision}
    before = json.loads(options.out.read_text()) if options.out.exists() else {}
    before = before if {name: before.get(name) for name in how} == how else {}
    result = before | head("python tools/measure_weights.py") | how | {"size": size}
    result |= {part: before.get(part, []) for part in PARTS}
    count = max(options.n, options.n_many, options.n_mistakes, options.n_large)
    painted, tigers = procedural_tigers(count, size, REFERENCE_SEED)
    other, _ = procedural_tigers(count, size, REFERENCE_SEED + 1)
    real, fresh = image_features(painted), image_features(other)
    asked = [{name: getattr(tiger, name) for name in model.classes} for tiger in tigers]
    for part, row in planned(options, model):
        if any(row.items() <= known.items() for known in result[part]):
            continue
        n, network = row["n"], last_weights(options.run) if part == "not_averaged" else model
        images = (
            other[:n]
            if part == "floor"
            else drawn(network, schedule, row, asked, options.seed, options.precision)
        )
        features = image_features(images)
        found = distances(features, real[:n])
        if part == "samplers":
            found["repeated"] = repeated(model, schedule, row)
        if size == EYES_AT:
            found["eyes"] = eye_difference(images).mean().item()
        if part == "guidance":
            found |= all_shown(images, asked[:n])
        if part == "mistakes":
            found["what"] = row["mistake"] and MISTAKES[row["mistake"]][1]
        if (row.get("sampler"), row.get("steps"), part) == ("ddim", 100, "samplers"):
            result["shares"] = {"drawn": shares(images), "real": shares(painted[:n])}
            result["copies"] = copies(features, fresh[:n], card, size)
        result[part].append(row | rounded(found))
        print(part, result[part][-1], flush=True)
        write(options.out, result)
    result["timed"] = timed("python tools/measure_weights.py", model, schedule, options.precision)
    write(options.out, result)
    write(options.folder / "card.json", card | for_card(result))


def last_weights(run: Path) -> UNet:
    """Load the weights that a training run ended with, before the average."""
    network, _ = load_checkpoint(run)
    network.load_state_dict(load_file(find_checkpoint(run) / "model.safetensors"))
    return network.to(find_device(), memory_format=torch.channels_last)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="ddpm-tiger-64 or ddpm-tiger-32")
    parser.add_argument("-n", type=int, default=256, help="drawings with each sampler")
    parser.add_argument("--n-many", type=int, default=64, help="drawings in 250 or 1000 steps")
    parser.add_argument("--n-mistakes", type=int, default=128, help="with a mistake, eta or words")
    parser.add_argument("--n-large", type=int, default=0, help="one large set, DDIM in 50 steps")
    parser.add_argument("--run", type=Path, help="the training run, for its weights not averaged")
    parser.add_argument("--precision", choices=("bfloat16", "float32"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="of the weights, if not in the package")
    parser.add_argument("--out", type=Path, help="default: bench/results/NAME.json")
    options = parser.parse_args()
    options.folder = options.folder or WEIGHTS / options.name
    options.out = options.out or RESULTS / f"{options.name}.json"
    options.precision = options.precision or ("bfloat16" if has_bfloat16() else "float32")
    return options


if __name__ == "__main__":
    main()
