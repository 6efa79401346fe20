"""Train the judge on painted tigers: tigerdiff/metrics/judge.safetensors and its card judge.json.

python tools/train_judge.py

Nothing is downloaded. About 20 minutes on 2 CPU cores; the same command on the same machine gives
the same weights.
"""

import argparse
import copy
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from report import head
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader, IterableDataset

from tigerdiff.data.downloads import sha256
from tigerdiff.metrics.judge import SIZE, WEIGHTS, Judge
from tigerdiff.tigers.paint import procedural_tigers
from tigerdiff.tigers.tiger import CHOICES, RANGES, Tiger
from tigerdiff.training.ema import EMA

CHUNK = 2048  # tigers painted at a time; each is shown twice, among those of the next chunk too
Batch = tuple[Tensor, Tensor, Tensor]  # images, choices, ranges
RIDGE = 0.1  # of the variance of a feature: what varies less hardly counts in a distance
TEST_SEED = 1_000_000  # of the fresh tigers that the card's figures come from


def main() -> None:
    """Train, fold the normalisation away, write the weights and the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seed", type=int, default=1_900_000_000)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="the .safetensors file")
    options = parser.parse_args()
    started = time.monotonic()
    made = head("python tools/train_judge.py")
    judge = folded(trained(options.steps, options.batch, options.seed), options.seed)
    card = {
        "what": "reads the attributes of painted tigers; its features measure distances",
        "seed": options.seed,
        "steps": options.steps,
        "pictures_seen": options.steps * options.batch,
        "tigers_seen": CHUNK * (1 + -(-options.steps * options.batch // (2 * CHUNK))),
        "parameters": sum(weights.numel() for weights in judge.parameters()),
        **made,
    }
    weights = {name: x.half().contiguous() for name, x in judge.state_dict().items()}
    save_file(weights, options.out, {name: str(value) for name, value in card.items()})
    judge.load_state_dict(weights)  # what is measured is what is shipped
    card |= {
        "minutes": round((time.monotonic() - started) / 60, 1),
        "sha256": sha256(options.out),
        "bytes": options.out.stat().st_size,
        "tested": [tested(judge, size, 4096) for size in (SIZE, SIZE // 2)],
    }
    options.out.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
    print(json.dumps(card, indent=2))


def trained(steps: int, batch: int, seed: int) -> Judge:
    """Train; return the averaged weights, in eval mode, with their normalisation."""
    torch.manual_seed(seed)
    judge = Judge(nn.BatchNorm2d).to(memory_format=torch.channels_last)
    ema = EMA(judge, 0.995)
    optimizer = torch.optim.AdamW(judge.parameters(), weight_decay=0.02)
    schedule = OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps, pct_start=0.15)
    stream = batches(batch, seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - 1))  # the painter beside has one
    started = time.monotonic()
    for step in range(1, steps + 1):
        images, choices, ranges = next(stream)
        answers = judge(images)
        loss = loss_of(answers, choices, ranges)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        ema.update(judge)
        if step % 50 == 0 or step == steps:
            figures = " ".join(
                f"{name} {100 * (answers[name].argmax(1) == y).double().mean():.0f}"
                for name, y in zip(CHOICES, choices.T)
            )
            seconds = time.monotonic() - started
            print(f"{step:5d}  {seconds:5.0f} s  loss {loss:.3f}  % {figures}", flush=True)
    # Weights were averaged, the statistics of the normalisation were not: measure those anew.
    update_bn((next(stream)[0] for _ in range(20)), ema.model)
    torch.set_num_threads(threads)
    return ema.model


class Chunks(IterableDataset):
    """Fresh tigers without end, CHUNK at a time, with their labels; painted in a process beside."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __iter__(self) -> Iterator[Batch]:
        """Yield images uint8 (CHUNK, 3, SIZE, SIZE), and `labels`."""
        for start in itertools.count(0, CHUNK):
            images, tigers = procedural_tigers(CHUNK, SIZE, self.seed, start=start)
            yield images, *labels(tigers)


def batches(batch: int, seed: int) -> Iterator[Batch]:
    """Yield batches of fresh tigers; a quarter of each are coarse, as 32-pixel pictures are."""
    order = torch.Generator().manual_seed(seed)
    for chunks in itertools.pairwise(DataLoader(Chunks(seed), batch_size=None, num_workers=1)):
        images, choices, ranges = map(torch.cat, zip(*chunks))
        for rows in torch.randperm(len(images), generator=order).split(batch):
            x = images[rows].contiguous(memory_format=torch.channels_last)
            x[: batch // 4] = coarse(x[: batch // 4])
            yield x, choices[rows], ranges[rows]


def coarse(images: Tensor) -> Tensor:
    """Return the pictures as half their size shows them."""
    half = F.interpolate(images.float(), scale_factor=0.5, mode="bilinear", antialias=True)
    return F.interpolate(half.round(), scale_factor=2, mode="bilinear").round().to(torch.uint8)


def labels(tigers: list[Tiger]) -> tuple[Tensor, Tensor]:
    """Return the truth: number of each choice (N, 6), each range mapped to -1 ... 1 (N, 8)."""
    choices = [
        [words.index(getattr(tiger, name)) for name, words in CHOICES.items()] for tiger in tigers
    ]
    ranges = [
        [
            (getattr(tiger, name) - low) / (high - low) * 2 - 1
            for name, (low, high) in RANGES.items()
        ]
        for tiger in tigers
    ]
    return torch.tensor(choices), torch.tensor(ranges)


def loss_of(answers: dict[str, Tensor], choices: Tensor, ranges: Tensor) -> Tensor:
    """Return the sum of the choices' cross entropy and the ranges' squared errors."""
    wrong = [F.cross_entropy(answers[name], y) for name, y in zip(CHOICES, choices.T)]
    far = [F.mse_loss(answers[name], y) for name, y in zip(RANGES, ranges.T)]
    return sum(wrong) + 2 * sum(far)


@torch.no_grad()
def folded(judge: Judge, seed: int) -> Judge:
    """Return the same function without normalisation, in float16's values, features whitened."""
    judge = copy.deepcopy(judge)
    for block in judge.modules():
        if isinstance(block, nn.Sequential) and isinstance(block[0], nn.Conv2d):
            block[0], block[1] = fuse_conv_bn_eval(block[0], block[1]), nn.Identity()
    plain = Judge().eval().requires_grad_(False)
    plain.load_state_dict({name: x.half().float() for name, x in judge.state_dict().items()})
    images, _ = procedural_tigers(4 * CHUNK, SIZE, seed)
    features = torch.cat([plain.features(part) for part in images.split(256)]).double()
    std = features.std(0)
    variances, axes = torch.linalg.eigh(torch.corrcoef(features.T))
    root = (variances + RIDGE).sqrt()
    plain.mean.copy_(features.mean(0))
    plain.whitening.copy_((axes / root) @ axes.T / std[:, None])
    # The heads learned to read features as they came.
    plain.heads.bias += plain.heads.weight @ plain.mean
    plain.heads.weight.copy_(plain.heads.weight.double() * std @ (axes * root) @ axes.T)
    return plain


@torch.no_grad()
def tested(judge: Judge, size: int, n: int) -> dict:
    """Return shares of right choices, and root mean square errors of ranges in their own units."""
    images, tigers = procedural_tigers(n, size, TEST_SEED)
    choices, ranges = labels(tigers)
    parts = [judge(part) for part in images.split(256)]
    answers = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return {
        "size": size,
        "n": n,
        "seed": TEST_SEED,
        "accuracy": {
            name: round((answers[name].argmax(1) == y).double().mean().item(), 4)
            for name, y in zip(CHOICES, choices.T)
        },
        "rms_error": {
            name: round((high - low) / 2 * F.mse_loss(answers[name], y).sqrt().item(), 4)
            for (name, (low, high)), y in zip(RANGES.items(), ranges.T)
        },
    }


if __name__ == "__main__":
    main()
