r"""Time the shipped pixel models, as on a laptop: writes bench/results/NAME.json and the cards.

ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 \
    python tools/time_weights.py

The seconds that the book quotes come from it; all else stays as measure_weights.py measured it.
"""

import json
from pathlib import Path

import torch
from measure_weights import RESULTS
from report import write
from train_pixels import MODELS
from weights_rows import how_timed, timed

from tigerdiff import load_pretrained
from tigerdiff.devices import find_device, has_bfloat16
from tigerdiff.pretrained.load import WEIGHTS


def time_model(folder: Path, path: Path) -> None:
    """Time a model with each sampler; write its results and its card anew."""
    card, result = (json.loads(p.read_text()) for p in (folder / "card.json", path))
    if result["weights_sha256"] != card["sha256"]:
        raise SystemExit(f"{path} is of other weights: run tools/measure_weights.py {folder.name}")
    model, schedule = load_pretrained(folder)
    model.to(find_device(), memory_format=torch.channels_last)
    precision = "bfloat16" if has_bfloat16() else "float32"
    result["timed"] = timed("python tools/time_weights.py", model, schedule, precision)
    write(path, result)
    for title, row in card["measures"].items():
        if "seconds_per_image" in row:
            sampler, steps = title.split()
            row["seconds_per_image"] = int(steps) * result["timed"]["seconds_per_call"][sampler]
    write(folder / "card.json", card | {"timed": how_timed(result)})


if __name__ == "__main__":
    for name in MODELS:
        time_model(WEIGHTS / name, RESULTS / f"{name}.json")
