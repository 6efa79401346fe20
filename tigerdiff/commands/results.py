"""The measures of ``tigerdiff evaluate``, and their table and file."""

import functools
import json
import os
import platform
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tigerdiff.commands.pictures import Pictures, check_enough
from tigerdiff.commands.shell import check_place
from tigerdiff.devices import gpu_name
from tigerdiff.metrics.distances import frechet, image_features, mean_mmd, nearest
from tigerdiff.metrics.judge import checked
from tigerdiff.metrics.prompts import judge, share_shown
from tigerdiff.tigers.tiger import CHOICES

COPY = 0.5  # a nearest neighbour's score below which a picture counts as a copy; new ones have 1


def measure(
    pictures: Pictures, reference: Pictures, floor: Pictures | None, training: Pictures | None
) -> dict[str, Any]:
    """Measure pictures, and real ones as the floor, against a reference.

    The floor, as many other real pictures, shows how small a distance can be. Copies are looked for
    among the training pictures, or in the reference if those are not known. The results are ready
    for JSON. Raise ValueError if there are fewer than 20 pictures.
    """
    for x in (pictures, reference):
        check_enough(x)
    known = training or reference
    sets = {"pictures": pictures} | ({"floor": floor} if floor else {})
    named = sets | {"reference": reference, "nearest_among": known}
    results: dict[str, Any] = {
        "sources": {
            name: f"{x.source}: {len(x.images)} of {x.images.shape[2]} x {x.images.shape[3]} pixels"
            for name, x in named.items()
        }
    }
    checked(known.images, "training pictures", 2)
    features = {name: image_features(x.images) for name, x in named.items()}
    for name, x in sets.items():
        found = features[name]
        distance, error = mean_mmd(found, features["reference"])
        score = nearest(found, features["nearest_among"]).score
        read = judge(x.images)
        results[name] = {
            "frechet_distance": frechet(found, features["reference"]),
            "kernel_distance": {"distance": distance, "standard_error": error},
            "nearest_neighbours": {
                "median_score": score.median().item(),
                "copies": (score < COPY).double().mean().item(),
            },
            "shares": {
                name: {word: read[name].count(word) / len(x.images) for word in words}
                for name, words in CHOICES.items()
            },
            "prompt_accuracy": share_shown(read, [vars(t) for t in x.tigers]) if x.tigers else None,
        }
    return results


def provenance(command: str, seed: int, device: torch.device) -> dict[str, Any]:
    """Return the command that gives the results again, and the machine and device it ran on."""
    return {
        "command": command,
        "seed": seed,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "hardware": gpu_name(device) or f"CPU, {os.cpu_count()} cores",
        "machine": platform.machine(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("tigerdiff", "torch", "numpy")},
        },
    }


def check_out(out: Path, command: str) -> None:
    """Raise OSError unless the place is free, or holds results of the same command."""
    check_place(out)
    try:
        same = json.loads(out.read_text(encoding="utf-8"))["command"] == command
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if out.exists() and not same:
        raise FileExistsError(f"{out} exists and holds no such results: choose another --out")


def table(results: dict[str, Any]) -> str:
    """Return the results as a table in plain text."""
    columns = [name for name in ("pictures", "floor") if name in results]
    sources = [f"{name.replace('_', ' ')}: {text}" for name, text in results["sources"].items()]
    lines = [*sources, "", " " * 26 + "".join(f"{name:>10}" for name in columns)]

    def row(title: str, form: str, *path: str) -> None:
        cells = []
        for name in columns:
            value = functools.reduce(lambda at, key: at and at[key], path, results[name])
            cells.append("" if value is None else format(value, form))
        lines.append(f"{title:26}" + "".join(f"{cell:>10}" for cell in cells))

    row("Frechet distance", ".3f", "frechet_distance")
    row("kernel distance", ".4f", "kernel_distance", "distance")
    row("  standard error", ".4f", "kernel_distance", "standard_error")
    row("score of nearest neighbour", ".2f", "nearest_neighbours", "median_score")
    row("  copies", ".1%", "nearest_neighbours", "copies")
    for name in results["pictures"]["prompt_accuracy"] or ():
        row(f"{name} as asked", ".1%", "prompt_accuracy", name)
    lines += ["", "What is in them: " + " / ".join(columns)]
    for name, words in CHOICES.items():
        shares = [[results[column]["shares"][name][word] for column in columns] for word in words]
        pairs = (" / ".join(f"{share:.0%}" for share in each) for each in shares)
        lines.append(f"{name:10}" + ", ".join(f"{w} {t}" for w, t in zip(words, pairs)))
    return "\n".join(lines)
