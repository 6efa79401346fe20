"""Measure what a few hundred photos teach a small network: the curves of chapter 4.

python tools/measure_photos.py data/tigers

Writes tigerdiff/pretrained/weights/ddpm-tiger-32/photos.json. Every tenth photo is held out; the
network of ddpm-tiger-32 learns the others from scratch. At some steps the averaged weights are
measured: their loss on photos that they have seen and on those held out, at the same times and with
the same noise, and whether their drawings lie nearer to seen photos. The run is kept in --out; the
same command continues it.
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
    held_out = torch.arange(len(photos)) % 10 == 9
    seen, new = photos[~held_out], photos[held_out]
    before = json.loads(options.result.read_text()) if options.result.exists() else {}
    how = {"seed": SEED, "n": options.n, "seen": len(seen), "held_out": len(new), "batch_size": 32}
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
                "nearer_to_seen": nearer(drawn, seen, new),
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


def nearer(drawn: Tensor, seen: Tensor, new: Tensor) -> float:
    """Return the share of drawings whose nearest photo is a seen one, of as many seen as new.

    0.5 for drawings that lie no nearer to the photos of the training than to others; 1 for copies
    (the test of Meehan et al. 2020, in pixels). Mirrored photos count too, as training saw them.
    """

    def distance(photos: Tensor) -> Tensor:
        both = torch.cat([photos, photos.flip(-1)])
        return torch.cdist(to_float(drawn).flatten(1), to_float(both).flatten(1)).amin(1)

    groups = seen[: len(seen) // len(new) * len(new)].split(len(new))
    other = distance(new)
    return torch.stack([(distance(g) < other).double().mean() for g in groups]).mean().item()


if __name__ == "__main__":
    main()
