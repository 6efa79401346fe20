"""Train the model that the package ships, tigerdiff/weights/ddpm-tiger-64.

python tools/train_weights.py --minutes 75

Painted tigers alone: a pool of them is painted first (two minutes), then learned. What has been
trained is in --out, an ordinary run's folder; the same command goes on from there, exactly. On a
GPU the same command is some fifty times faster: give it more --steps.
"""

import argparse
import json
import shlex
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from threading import Event

import torch
from train_judge import hardware

from tigerdiff import TrainConfig, procedural_tigers, runs, train
from tigerdiff.pretrained import WEIGHTS, export_run

NAME = "ddpm-tiger-64"
TIGERS = 49_152  # in the pool, each seen mirrored as well
SEED = 1_800_000_000  # of the tigers and of the training, far from what anyone looks at


def main() -> None:
    """Paint, train until the steps or the minutes are over, write weights and card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs") / NAME)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of this call, at most")
    parser.add_argument("--compile", action="store_true", help="needs a C++ compiler on the CPU")
    options = parser.parse_args()
    config = TrainConfig(
        data=tigers(),
        out=options.out,
        image_size=64,
        steps=options.steps,
        batch_size=32,
        learning_rate=1e-3,
        seed=SEED,
        compile=options.compile,
        checkpoint_every=500,
        sample_every=1000,
        keep_last=2,
        resume=bool(runs.complete_checkpoints(options.out)),
    )
    stop, end = Event(), time.monotonic() + 60 * options.minutes
    for record in train(config, stop):
        if time.monotonic() > end:
            stop.set()
        if record.step % 50 == 0:
            speed = f"{record.images_per_second:.0f} images/s"
            print(f"{record.step:6d}  loss {record.loss:.4f}  {speed}", flush=True)
    print(json.dumps(export(options.out), indent=2))


def tigers() -> torch.Tensor:
    """The pool, uint8 (TIGERS, 3, 64, 64)."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parts = [
        procedural_tigers(1024, 64, SEED, device, start=start)[0].cpu()
        for start in range(0, TIGERS, 1024)
    ]
    return torch.cat(parts)


def export(out: Path) -> dict:
    """Write the newest averaged weights of a run, and their card, into the package."""
    state = runs.read_state(runs.find_checkpoint(out))
    lines = (out / "log.csv").read_text().splitlines()
    cuda = torch.cuda.is_available()
    card = {
        "what": "draws painted tigers of 64 x 64 pixels from noise",
        "command": shlex.join(["python", "tools/train_weights.py", *sys.argv[1:]]),
        "data": "painted",
        "seed": SEED,
        "tigers": TIGERS,
        "images": TIGERS,
        "mirrored": True,
        "steps": state["step"],
        "images_seen": state["step"] * state["config"]["batch_size"],
        "training_hours": round(float(lines[-1].split(",")[-1]) / 3600, 2),
        "hardware": torch.cuda.get_device_name() if cuda else hardware(),
        "torch": torch.__version__,
        "date": datetime.now(timezone.utc).date().isoformat(),
    }
    folder = export_run(out, WEIGHTS / NAME, card)
    return json.loads((folder / "card.json").read_text())


if __name__ == "__main__":
    main()
