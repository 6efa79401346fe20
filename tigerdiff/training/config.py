"""What decides a training run, with defaults that suit the image size."""

from __future__ import annotations

import json
import logging
import math
import numbers
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tigerdiff.data.painted import check_painted
from tigerdiff.data.photos import load_folder
from tigerdiff.diffusion import Prediction
from tigerdiff.unet import UNet

# Of the levels from the image's own size down to 8 pixels or so: one level, two, three ...
MULTIPLIERS = ((4,), (2, 4), (1, 3, 6), (1, 2, 4, 6), (1, 1, 2, 4, 6), (1, 1, 1, 2, 4, 6))

logger = logging.getLogger(__name__)

# The least that each whole number may be.
LEAST = {
    "image_size": 1,
    "steps": 1,
    "batch_size": 1,
    "warmup_steps": 0,
    "T": 1,
    "blocks": 1,
    "seed": 0,
    "checkpoint_every": 1,
    "sample_every": 0,
    "keep_last": 1,
}
MAY_CHANGE = {
    *("data", "out", "steps", "compile", "checkpoint_every", "sample_every", "keep_last", "resume")
}


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run.

    Args:
        data: a folder of photos at any depth, images as a uint8 tensor (N, 3, S, S), or the word
            "painted" for painted tigers, each of them new ("./painted" is a folder of that name).
        out: the run's own folder, for checkpoints, samples and logs.
        image_size: height and width in pixels that the network is trained at.
        steps: number of optimiser steps, counted from the very start of the run.
        batch_size: images per step, over all processes together.
        learning_rate: of AdamW, after the warm-up.
        warmup_steps: steps over which the learning rate rises from 0.
        schedule: noise schedule, "linear" or "cosine".
        T: number of noising steps.
        prediction: what the network predicts, "eps", "x0" or "v".
        channels: of the network's first level.
        multipliers: channels of each level in units of ``channels``; None: down to 8 px or so.
        blocks: residual blocks per level.
        attention: resolutions in pixels with self-attention; None: the last level's.
        dropout: share of activations dropped while training, 0 ... 1.
        ema_decay: of the averaged weights that samples are drawn with.
        gradient_clip: largest norm of the gradient.
        compile: compile the network first (``torch.compile``): a minute or two, then faster steps.
        seed: the same seed gives the same run; 0 ... 2**64 - 1, or 2**31 - 1 for painted tigers.
        checkpoint_every: steps from one checkpoint to the next.
        sample_every: steps from one grid of 16 samples to the next; 0 draws none.
        keep_last: number of checkpoints that are kept.
        resume: go on from the newest checkpoint in ``out``.
        classes: attribute to words that the network is conditioned on; None: unconditional.
        labels: int64 (N, number of attributes), each image's words as indices into ``classes``.
        condition_dropout: share of the steps' labels that are left out, of each attribute alone and
            of all together (Ho & Salimans 2022, algorithm 1), 0 ... 1.

    Raises:
        ValueError: naming the argument that is out of range, or of the wrong kind.
        NotADirectoryError: if ``out`` is a file, or lies below one.
    """

    data: str | Path | Tensor
    out: str | Path
    image_size: int = 32
    steps: int = 10_000
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    schedule: str = "cosine"
    T: int = 1000
    prediction: Prediction = "v"
    channels: int = 32
    multipliers: Sequence[int] | None = None
    blocks: int = 1
    attention: Sequence[int] | None = None
    dropout: float = 0.0
    ema_decay: float = 0.9995
    gradient_clip: float = 1.0
    compile: bool = False
    seed: int = 0
    checkpoint_every: int = 500
    sample_every: int = 1000
    keep_last: int = 3
    resume: bool = False
    classes: Mapping[str, Sequence[str]] | None = None
    labels: Tensor | None = None
    condition_dropout: float = 0.1

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            object.__setattr__(self, name, _whole(name, getattr(self, name), least))
        if self.seed >= 2**64:
            raise ValueError(f"seed must be below 2**64 (got {self.seed})")
        object.__setattr__(self, "channels", _whole("channels", self.channels, 8))
        for name in ("multipliers", "attention"):
            if (values := getattr(self, name)) is not None:
                if not isinstance(values, Sequence) or isinstance(values, str):
                    raise ValueError(f"{name} must be a list of whole numbers (got {values!r})")
                whole = tuple(_whole(f"each of {name}", value, 1) for value in values)
                object.__setattr__(self, name, whole)
        for name in ("learning_rate", "gradient_clip", "dropout", "ema_decay", "condition_dropout"):
            object.__setattr__(self, name, _real(name, getattr(self, name)))
        for name in ("learning_rate", "gradient_clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0 and finite (got {getattr(self, name)})")
        for name in ("dropout", "ema_decay", "condition_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be at least 0 and below 1 (got {getattr(self, name)})"
                )
        if self.prediction not in ("eps", "x0", "v"):
            raise ValueError(f"prediction must be 'eps', 'x0' or 'v' (got {self.prediction!r})")
        if self.schedule not in ("linear", "cosine"):
            raise ValueError(f"schedule must be 'linear' or 'cosine' (got {self.schedule!r})")
        if self.painted:
            check_painted("image_size", self.image_size, self.seed)
        _check_out(None if self.painted else self.data, Path(self.out))

    @property
    def painted(self) -> bool:
        """Whether it trains on painted tigers, each of them new."""
        return isinstance(self.data, str) and self.data == "painted"

    def network(self) -> UNet:
        """A fresh network of this configuration; the same seed gives the same weights."""
        levels = 1
        while self.image_size % 2**levels == 0 and self.image_size >> levels >= 8 and levels < 6:
            levels += 1
        multipliers = self.multipliers or MULTIPLIERS[levels - 1]
        lowest = self.image_size >> (len(multipliers) - 1)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)  # leaves those of the GPUs alone
            return UNet(
                size=self.image_size,
                channels=self.channels,
                multipliers=multipliers,
                blocks=self.blocks,
                attention=(lowest,) if self.attention is None else self.attention,
                dropout=self.dropout,
                prediction=self.prediction,
                classes=self.classes,
            )

    def images(self, progress: bool = True) -> Tensor | None:
        """The images to train on, uint8 (N, 3, image_size, image_size), or None if ``painted``.

        Raises:
            ValueError: if ``data`` is a tensor of another shape or dtype.
            FileNotFoundError: if ``data`` is no folder, or holds no photo that can be used.
        """
        if self.painted:
            if Path("painted").is_dir():
                logger.warning("painted tigers are used; the folder painted would be ./painted")
            return None
        if not isinstance(self.data, Tensor):
            return load_folder(self.data, self.image_size, progress=progress)
        wanted = (3, self.image_size, self.image_size)
        if self.data.dtype != torch.uint8 or tuple(self.data.shape[1:]) != wanted:
            raise ValueError(
                f"data must be uint8 (N, 3, {self.image_size}, {self.image_size}) as image_size "
                f"says (got {tuple(self.data.shape)} {self.data.dtype})"
            )
        return self.data

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step: rises evenly over the warm-up, then stays."""
        return self.learning_rate * min(1.0, step / max(1, self.warmup_steps))

    def check_same_run(self, network: UNet, state: dict[str, Any]) -> None:
        """Nothing, if a checkpoint with this ``state`` can be gone on with.

        Raises:
            ValueError: naming what it was trained with that is another now.
        """
        now = self.to_json()
        pairs = [(name, now.get(name), then) for name, then in state["config"].items()]
        for name in sorted(state["network"].keys() | network.config):
            pairs.append((f"network {name}", network.config.get(name), state["network"].get(name)))
        for name, ours, then in pairs:
            if name not in MAY_CHANGE and ours != then:
                raise ValueError(
                    f"{name} is {ours!r} but the run in {self.out} has {then!r}: "
                    f"resume with the same {name}, or start a new run in another folder"
                )

    def to_json(self) -> dict[str, Any]:
        """The arguments as a JSON-able dict; a tensor of images is named by its shape."""
        data = self.data
        described = f"tensor {tuple(data.shape)}" if isinstance(data, Tensor) else str(data)
        if described == "painted" and not self.painted:  # a Path, which drops its "./"
            described = "./painted"
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values |= {"data": described, "out": str(self.out)}
        del values["labels"]
        return json.loads(json.dumps(values))  # tuples become lists here, not only after reading


def _whole(name: str, value: Any, least: int) -> int:
    """The value as an int, if it is a whole number (also one of NumPy's) of at least ``least``."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least} (got {value!r})")
    return operator.index(value)


def _real(name: str, value: Any) -> float:
    """The value as a float, if it is a number."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise ValueError(f"{name} must be a number (got {value!r})")
    return float(value)


def _check_out(data: str | Path | Tensor | None, out: Path) -> None:
    """Nothing, if ``out`` can be a folder and its pictures would not turn into photos of data."""
    samples = (out / "samples").resolve()
    there = [path for path in (samples, *samples.parents) if path.exists()]
    if not there[0].is_dir():
        raise NotADirectoryError(
            f"out must be a folder, and {there[0]} is a file: choose another out, like runs/tigers"
        )
    if data is None or isinstance(data, Tensor):
        return
    photos = Path(data).expanduser()
    if photos.exists() and any(path.samefile(photos) for path in there):
        raise ValueError(
            f"out ({out}) must not be in data ({data}), whose photos its pictures would join: "
            "choose another out, like runs/tigers"
        )
