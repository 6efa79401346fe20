"""Measure what a few hundred photos teach a small network: the curves of chapter 4.

python tools/measure_photos.py data/tigers

Writes tigerdiff/pretrained/weights/ddpm-tiger-32/photos.json. Every tenth photo is held out; the
network of ddpm-tiger-32 learns the others from scratch. At some steps the averaged weights are
measured: their loss on photos that they have seen and on those held out, at the same times and with
the same noise, and how many of their drawings are copies of photos. The run is kept in --out; the
same command continues it; other photos need another folder.
"""

import argparse
import json
from pathlib import Path

import torch
from report import head, write
from torch import Tensor, nn
from train_pixels import MODELS

from tigerdiff import (
    NoiseSchedule,
    TrainConfig,
    diffusion_loss,
    load_checkpoint,
    load_folder,
    sample,
    seeded_generator,
    to_float,
    train,
)
from tigerdiff.pretrained.load import WEIGHTS
from tigerdiff.training import checkpoints
from tigerdiff.training.examples import content_of
from tigerdiff.training.loop import stratified_times

SIZE, CHANNELS, MULTIPLIERS = MODELS["ddpm-tiger-32"]
AT = (250, 500, 1000, 2000, 4000)  # steps after which the weights are measured
TIMES = 16  # per photo, for the loss
SEED = 1_820_000_000
RESULTS = WEIGHTS / "ddpm-tiger-32/photos.json"


def main() -> None:
    """Train from one measurement to the next; write the results after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="a folder of photos")
    parser.add_argument("-n", type=int, default=256, help="drawings")
    parser.add_argument("--out", type=Path, default=Path("runs/photos"), help="the run's folder")
    parser.add_argument("--result", type=Path, default=RESULTS)
    options = parser.parse_args()
    photos = load_folder(options.data, SIZE)
    if len(photos) < 10:
        parser.error(f"{options.data} holds {len(photos)} photos: at least 10 are needed")
    held_out = torch.arange(len(photos)) % 10 == 9
    seen, new = photos[~held_out], photos[held_out]
    before = json.loads(options.result.read_text()) if options.result.exists() else {}
    how = {
        "seed": SEED,
        "n": options.n,
        "times": TIMES,
        "seen": len(seen),
        "held_out": len(new),
        "batch_size": 32,
        "photos_sha256": content_of(photos),
    }
    rows = before.get("rows", []) if {name: before.get(name) for name in how} == how else []
    for steps in AT[len(rows) :]:
        learn(seen, steps, options.out)
        network, schedule = load_checkpoint(options.out)
        drawn = sample(network, schedule, options.n, size=SIZE, steps=50, seed=SEED)
        rows.append(
            {
                "steps": steps,
                "loss_seen": loss(network, schedule, seen[:: len(seen) // len(new)][: len(new)]),
                "loss_held_out": loss(network, schedule, new),
                "copies": copies(drawn, seen),
            }
        )
        print(rows[-1], flush=True)
        write(options.result, head("python tools/measure_photos.py") | how | {"rows": rows})


def learn(photos: Tensor, steps: int, out: Path) -> None:
    """Train until so many steps are done; a run that has done some goes on."""
    config = TrainConfig(
        data=photos, out=out, image_size=SIZE, channels=CHANNELS, multipliers=MULTIPLIERS,
        steps=steps, batch_size=32, seed=SEED, checkpoint_every=250, sample_every=0, keep_last=1,
        resume=bool(checkpoints.complete_checkpoints(out)),
    )  # fmt: skip
    for _ in train(config):
        pass


@torch.inference_mode()
def loss(network: nn.Module, schedule: NoiseSchedule, photos: Tensor) -> float:
    """Return the mean loss of photos, uint8 (N, 3, S, S), each at the same TIMES times."""
    t = stratified_times(schedule.T, TIMES, seeded_generator(SEED))
    eps = torch.randn(TIMES, *photos.shape[1:], generator=seeded_generator(SEED, 1))
    each = [diffusion_loss(network, schedule, to_float(x).expand_as(eps), t, eps) for x in photos]
    return torch.stack(each).mean().item()


def copies(pictures: Tensor, seen: Tensor) -> float:
    """Return the share of pictures that are copies of seen photos, all uint8 (N, 3, S, S).

    A copy is less than a third as far from its nearest photo, mirrored or not, as from the second
    (Gu et al. 2025).
    """
    x, y = to_float(pictures).flatten(1), to_float(seen).flatten(1)
    mirrored = to_float(seen.flip(-1)).flatten(1)
    first, second = torch.cdist(x, y).minimum(torch.cdist(x, mirrored)).sort().values[:, :2].T
    return (first < second / 3).double().mean().item()


if __name__ == "__main__":
    main()
