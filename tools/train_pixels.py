"""Train a pixel model that the package ships: ddpm-tiger-64 or ddpm-tiger-32.

python tools/train_pixels.py ddpm-tiger-32 --minutes 75

A pool of painted tigers is painted first, then learned, each with the words for its fur, backdrop,
mouth and age. What has been trained is in --out, an ordinary run's folder; the same command
continues from there, exactly. It takes a GPU where there is one, else the CPU: in the background,
at low priority, OMP_NUM_THREADS=1 nice -n 19 python tools/train_pixels.py ...; on all of two quiet
cores, OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 tools/train_pixels.py ..., which takes the same
steps and is a third faster than one process with two threads.

--start-from takes the averaged weights of a shipped model, by its name, or of another run, by its
folder. If they know no words, the rows of the words begin at zero, so that the network begins by
drawing what it draws today. The learning rate falls to 0 in a straight line until --steps.
"""

import argparse
import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from threading import Event

import torch
from report import head

from tigerdiff import (
    EMA,
    TrainConfig,
    export_run,
    load_checkpoint,
    load_pretrained,
    procedural_tigers,
    read_card,
    train,
)
from tigerdiff.pretrained.load import WEIGHTS
from tigerdiff.tigers.tiger import CHOICES
from tigerdiff.training import checkpoints
from tigerdiff.training.run import adamw

# Name: size in pixels, channels, multipliers.
MODELS = {
    "ddpm-tiger-64": (64, 32, (1, 2, 4, 6)),
    "ddpm-tiger-32": (32, 24, (1, 3, 5)),
}
CLASSES = {name: CHOICES[name] for name in ("fur", "backdrop", "mouth", "age")}
TIGERS = 49_152  # in the pool, each seen mirrored as well
SEED = 1_800_000_000  # of the tigers and of the training, far from the seeds that the course shows


class FallingRate(TrainConfig):
    """A run whose learning rate falls, beside the warm-up, in a straight line towards 0."""

    def learning_rate_at(self, step: int) -> float:
        """Return the rate of a step from 1."""
        return super().learning_rate_at(step) * (1 - (step - 1) / self.steps)


def main() -> None:
    """Paint, train until the steps or the minutes are over, write weights and card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=MODELS)
    parser.add_argument("--out", type=Path, help="the run's folder, default runs/NAME")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of this call, at most")
    parser.add_argument(
        "--condition-dropout", type=float, default=0.1, help="share of labels that are left out"
    )
    parser.add_argument("--start-from", help="a shipped model's name or another run's folder")
    parser.add_argument("--compile", action="store_true", help="needs a C++ compiler on the CPU")
    options = parser.parse_args()
    out = options.out or Path("runs") / options.name
    size, channels, multipliers = MODELS[options.name]
    images, labels = pool(size)
    config = FallingRate(
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
        condition_dropout=options.condition_dropout,
        compile=options.compile,
        checkpoint_every=500,
        sample_every=2000,
        keep_last=2,
    )
    first = os.environ.get("RANK", "0") == "0"  # of several processes this one writes and prints
    while options.start_from and not checkpoints.complete_checkpoints(out):
        start_warm(options.start_from, config) if first else time.sleep(1)
    config = replace(config, resume=bool(checkpoints.complete_checkpoints(out)))
    stop, end = Event(), time.monotonic() + 60 * options.minutes
    for asked in (signal.SIGINT, signal.SIGTERM):  # each saves what is done
        signal.signal(asked, lambda *_: stop.set())
    for record in train(config, stop):
        if time.monotonic() > end:
            stop.set()
        if first and record.step % 50 == 0:
            speed = f"{record.images_per_second:.0f} images/s"
            print(f"{record.step:6d}  loss {record.loss:.4f}  {speed}", flush=True)
    if first:
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


def start_warm(source: str, config: TrainConfig) -> None:
    """Write checkpoint 0: the averaged weights of another model or run, the optimiser as new."""
    if Path(source).is_dir():
        weights, seen = load_checkpoint(source)[0], trained(Path(source))
    else:
        weights, seen = load_pretrained(source)[0], read_card(source)
    network = config.network()
    try:
        missing, unexpected = network.load_state_dict(weights.state_dict(), strict=False)
    except RuntimeError:  # of other shapes
        missing, unexpected = [], ["all"]
    if unexpected or any(not key.startswith("attributes.") for key in missing):
        raise SystemExit(f"--start-from: {source} is another network")
    optimizer = adamw(network, config.learning_rate)
    for weight in network.parameters():
        moments = {name: torch.zeros_like(weight) for name in ("exp_avg", "exp_avg_sq")}
        optimizer.state[weight] = {"step": torch.zeros(()), **moments}
    average = EMA(network, config.ema_decay)
    average.step = seen["steps"]
    before = {name: seen[name] for name in ("steps", "images_seen", "training_hours")}
    recipe = seen.get("recipe", {})
    first = {
        "steps": seen["steps"],
        "learning_rate": 2 * [recipe.get("learning_rate")],  # it stayed the same then
        "condition_dropout": recipe.get("condition_dropout"),
    }
    before["stages"] = seen.get("stages", [first])
    if "measures" in seen:  # of a shipped model: how good it was, and what made it
        made = {name: seen[name] for name in ("command", "hardware", "date")}
        good = seen["measures"]["ddim 50"]
        made |= {name: good[name] for name in ("n", "frechet", "frechet_standard_error")}
        before["stages"][-1] |= made
    Path(config.out).mkdir(parents=True, exist_ok=True)
    (Path(config.out) / "before.json").write_text(json.dumps(before) + "\n")
    checkpoints.save_checkpoint(
        config.out, network, average, optimizer, step=0, config=config.to_json(), images=TIGERS
    )


def trained(out: Path) -> dict:
    """Count a run's steps, pictures and hours, with those of the weights it was started from.

    In "stages" each run has its own steps, first and last learning rate, and dropout of the
    condition; None: it knew no words.
    """
    state = checkpoints.read_state(checkpoints.find_checkpoint(out))
    seconds = float((out / "log.csv").read_text().splitlines()[-1].split(",")[-1])
    path = out / "before.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    dropout = state["config"]["condition_dropout"] if state["network"].get("classes") else None
    rate = state["config"]["learning_rate"]
    stage = {
        "steps": state["step"],
        "learning_rate": [rate, rate * (1 - (state["step"] - 1) / state["config"]["steps"])],
        "condition_dropout": dropout,
    }
    return {
        "steps": before.get("steps", 0) + state["step"],
        "images_seen": before.get("images_seen", 0) + state["step"] * state["config"]["batch_size"],
        "training_hours": round(before.get("training_hours", 0) + seconds / 3600, 2),
        "stages": [*before.get("stages", []), stage],
    }


def export(name: str, out: Path) -> dict:
    """Write the newest averaged weights of a run, and their card, into the package."""
    card = {
        "what": f"draws painted tigers of {MODELS[name][0]} x {MODELS[name][0]} pixels from noise",
        **head("python tools/train_pixels.py"),
        "data": "painted",
        "seed": SEED,
        "tigers": TIGERS,
        "images": TIGERS,
        "mirrored": True,
        **trained(out),
    }
    folder = export_run(out, WEIGHTS / name, card)
    return json.loads((folder / "card.json").read_text())


if __name__ == "__main__":
    main()
