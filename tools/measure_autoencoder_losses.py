"""Measure what the terms of the autoencoder's loss bring: writes bench/results/autoencoder.json.

python tools/measure_autoencoder_losses.py

The shipped autoencoder of mini-sd-tiger is trained on for some steps on whole pictures: with its
loss as it is, and without one of the terms. Each begins with the same weights and sees the
same tigers. Then tigers that none has seen are encoded and decoded.
"""

import argparse
import copy
from pathlib import Path
from types import SimpleNamespace

import torch
from diffusers import AutoencoderKL
from measure_mini_sd import RESULTS
from mini_autoencoder import WEIGHTS, autoencoder_loss, examples
from mini_references import autoencoder
from report import head, write
from tqdm import trange
from train_mini_sd import DEVICE, TARGET, autocast

from tigerdiff import seeded_generator, series
from tigerdiff.metrics.judge import shipped_judge
from tigerdiff.training.run import adamw

LEFT_OUT = ((), ("features",), ("edges",))
SEED = 1_960_000_000  # of tigers that neither training nor measuring has
LEARNING_RATE = 1e-4  # it falls to zero in a straight line


def main() -> None:
    """Measure the autoencoder as it is and after each training; print and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=150, help="of each training")
    parser.add_argument("--n", type=int, default=256, help="tigers to encode and decode")
    parser.add_argument("--out", type=Path, default=RESULTS / "autoencoder.json")
    options = parser.parse_args()
    vae = AutoencoderKL.from_pretrained(TARGET / "vae", torch_dtype=torch.float32).to(DEVICE)
    shipped = {"left_out": None, **kept_by(vae, options.n)}
    result = head("python tools/measure_autoencoder_losses.py") | {
        "seed": SEED, "steps": options.steps, "rows": [shipped],
    }  # fmt: skip
    for left_out in LEFT_OUT:
        trained = train(copy.deepcopy(vae), left_out, options.steps)
        result["rows"].append({"left_out": list(left_out), **kept_by(trained, options.n)})
        print(result["rows"][-1])
        write(options.out, result)


def kept_by(vae: AutoencoderKL, count: int) -> dict:
    """Return what an autoencoder keeps of so many tigers."""
    return autoencoder(SimpleNamespace(vae=vae.eval(), device=DEVICE), count)


def train(vae: AutoencoderKL, left_out: tuple[str, ...], steps: int) -> AutoencoderKL:
    """Go on with the loss without these terms; every training sees the same pictures and noise."""
    vae.train().to(memory_format=torch.channels_last)
    optimizer, judge = adamw(vae, LEARNING_RATE), shipped_judge(DEVICE)
    tigers = series(steps, SEED)
    weights = {name: 0.0 if name in left_out else weight for name, weight in WEIGHTS.items()}
    for step in trange(steps, desc=f"left out: {left_out}"):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / steps)
        x = examples(tigers, step, True, SEED, DEVICE)
        shape = len(x), vae.config.latent_channels, x.shape[2] // 8, x.shape[3] // 8
        noise = torch.randn(shape, generator=seeded_generator(SEED, step, 1)).to(DEVICE)
        loss = autoencoder_loss(vae, x, noise, judge, autocast, weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return vae


if __name__ == "__main__":
    main()
