r"""Time what is shipped, as on a laptop: writes bench/results/NAME.json and the cards.

ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 \
    python tools/time_weights.py

The seconds that the book quotes come from it; all else stays as it was measured. The pixel models
are timed per call, the text-to-image models for one picture and for 16, in 20 guided steps.
"""

import json
import time
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from measure_weights import RESULTS
from report import head, rounded, write
from train_pixels import MODELS
from weights_rows import how_timed, timed

from tigerdiff import MINI_64_PATH, MINI_PATH, load_pretrained
from tigerdiff.devices import find_device, has_bfloat16
from tigerdiff.pretrained.load import WEIGHTS

STEPS = 20  # of the text-to-image models


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


def time_pipeline(folder: Path) -> None:
    """Time a text-to-image model after loading; write its card anew."""
    pipe = StableDiffusionPipeline.from_pretrained(folder).to(find_device())
    pipe.set_progress_bar_config(disable=True)
    seconds = {}
    for count in (1, 16):
        times = []
        for _ in range(3 if count == 1 else 1):
            began = time.perf_counter()
            pipe(["a white tiger"] * count, num_inference_steps=STEPS, guidance_scale=3.0)
            times.append(time.perf_counter() - began)
        seconds[str(count)] = min(times)
    card = json.loads((folder / "card.json").read_text())
    made = head("python tools/time_weights.py") | {"steps": STEPS, "seconds": seconds}
    write(folder / "card.json", card | {"timed": rounded(made)}, digits=17)  # all else as it is


if __name__ == "__main__":
    for name in MODELS:
        time_model(WEIGHTS / name, RESULTS / f"{name}.json")
    for folder in (MINI_PATH, MINI_64_PATH):
        time_pipeline(folder)
