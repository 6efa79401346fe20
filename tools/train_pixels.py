"""Train a pixel model that the package ships: ddpm-tiger-64 or ddpm-tiger-32.

python tools/train_pixels.py ddpm-tiger-32 --minutes 75

A pool of painted tigers is painted first, then learned, each with the words for its fur, backdrop,
mouth and age. What has been trained is in --out, an ordinary run's folder; the same command goes on
from there, exactly. It takes a GPU where there is one, else the CPU: in the background, at low
priority, OMP_NUM_THREADS=1 nice -n 19 python tools/train_pixels.py ...
"""

import argparse
import json
import time
from pathlib import Path
from threading import Event

import torch
from report import head

from tigerdiff import TrainConfig, export_run, procedural_tigers, train
from tigerdiff.pretrained.load import WEIGHTS
from tigerdiff.tigers.tiger import CHOICES
from tigerdiff.training import checkpoints

# Name: size in pixels, channels, multipliers.
MODELS = {
    "ddpm-tiger-64": (64, 32, (1, 2, 4, 6)),
    "ddpm-tiger-32": (32, 24, (1, 3, 5)),
}
CLASSES = {name: CHOICES[name] for name in ("fur", "backdrop", "mouth", "age")}
TIGERS = 49_152  # in the pool, each seen mirrored as well
SEED = 1_800_000_000  # of the tigers and of the training, far from what anyone looks at


def main() -> None:
    """Paint, train until the steps or the minutes are over, write weights and card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=MODELS)
    parser.add_argument("--out", type=Path, help="the run's folder, default runs/NAME")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of this call, at most")
    parser.add_argument("--compile", action="store_true", help="needs a C++ compiler on the CPU")
    options = parser.parse_args()
    out = options.out or Path("runs") / options.name
    size, channels, multipliers = MODELS[options.name]
    images, labels = pool(size)
    config = TrainConfig(
        data=images,
        labels=labels,
        classes=CLASSES,
        out=out,
        image_size=size,
        channels=channels,
        multipliers=multipliers,
        steps=options.steps,
        batch_size=32,
        learning_rate=1e-3,
        seed=SEED,
        compile=options.compile,
        checkpoint_every=500,
        sample_every=2000,
        keep_last=2,
        resume=bool(checkpoints.complete_checkpoints(out)),
    )
    stop, end = Event(), time.monotonic() + 60 * options.minutes
    for record in train(config, stop):
        if time.monotonic() > end:
            stop.set()
        if record.step % 50 == 0:
            speed = f"{record.images_per_second:.0f} images/s"
            print(f"{record.step:6d}  loss {record.loss:.4f}  {speed}", flush=True)
    print(json.dumps(export(options.name, out), indent=2))


def pool(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Paint the pool: pictures, uint8 (TIGERS, 3, size, size), and labels, int64 (TIGERS, 4)."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images, labels = [], []
    for start in range(0, TIGERS, 1024):
        painted, tigers = procedural_tigers(1024, size, SEED, device, start=start)
        images.append(painted.cpu())
        labels += [[CLASSES[name].index(getattr(t, name)) for name in CLASSES] for t in tigers]
    return torch.cat(images), torch.tensor(labels)


def export(name: str, out: Path) -> dict:
    """Write the newest averaged weights of a run, and their card, into the package."""
    state = checkpoints.read_state(checkpoints.find_checkpoint(out))
    size = MODELS[name][0]
    lines = (out / "log.csv").read_text().splitlines()
    card = {
        "what": f"draws painted tigers of {size} x {size} pixels from noise",
        **head("python tools/train_pixels.py"),
        "data": "painted",
        "seed": SEED,
        "tigers": TIGERS,
        "images": TIGERS,
        "mirrored": True,
        "steps": state["step"],
        "images_seen": state["step"] * state["config"]["batch_size"],
        "training_hours": round(float(lines[-1].split(",")[-1]) / 3600, 2),
    }
    folder = export_run(out, WEIGHTS / name, card)
    return json.loads((folder / "card.json").read_text())


if __name__ == "__main__":
    main()
