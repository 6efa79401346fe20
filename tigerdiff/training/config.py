"""What decides a training run, with defaults that suit the image size."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tigerdiff.checks import check_kind, check_path, fraction, real_number, whole_number

if TYPE_CHECKING:
    from torch import Tensor

    from tigerdiff.diffusion import Prediction
    from tigerdiff.unet import UNet

# Of the levels from the image's own size down to 8 pixels or so: one level, two, three ...
MULTIPLIERS = (
    (4,), (2, 4), (1, 3, 6), (1, 2, 4, 6), (1, 1, 2, 4, 6), (1, 1, 1, 2, 4, 6),
    (1, 1, 1, 1, 2, 4, 6),
)  # fmt: skip
PAINTED_CLASSES = ("fur", "backdrop", "mouth", "age")  # what a picture of 32 pixels shows
LEAST = {  # that each whole number may be
    "image_size": 1, "channels": 8, "steps": 1, "batch_size": 1, "warmup_steps": 0, "T": 1,
    "blocks": 1, "seed": 0, "checkpoint_every": 1, "sample_every": 0, "keep_last": 1,
}  # fmt: skip
MOST_LEVELS = 7
LARGEST_ATTENTION = 16  # pixels a side: the memory of attention grows with their fourth power


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run.

    Args:
        data: a folder of photos, at any depth, or the word "painted": an endless stream of tigers
            ("./painted" is a folder of that name); in Python also images, uint8 (N, 3, S, S).
        out: the run's own folder, such as runs/tigers, for checkpoints, samples and logs.
        image_size: height and width of the images in pixels; 16 ... 1024 of painted tigers.
        steps: steps of training, counted from the very start of the run.
        batch_size: images per step, over all processes together.
        learning_rate: of the optimiser AdamW, reached after the warm-up.
        warmup_steps: steps over which the learning rate rises from 0.
        schedule: how noise grows with time, "linear" or "cosine".
        T: number of noising steps.
        prediction: what the network predicts, "eps", "x0" or "v".
        channels: channels of the network's first level, a multiple of 8.
        multipliers: channels of each level in units of ``channels``; None: down to 8 px or so.
        blocks: residual blocks per level.
        attention: resolutions in pixels with self-attention; None: the last level's.
        dropout: share of activations dropped while training, at least 0 and below 1.
        ema_decay: decay of the averaged weights that samples are drawn with.
        gradient_clip: largest norm of the gradient.
        compile: compile the network first: a minute or two, then faster steps.
        seed: the same seed gives the same run; below 2**64, or 2**31 for painted tigers.
        checkpoint_every: steps from one checkpoint to the next.
        sample_every: steps from one grid of 16 samples to the next; 0 draws none.
        keep_last: number of checkpoints that are kept.
        resume: continue from the newest checkpoint in ``out``.
        conditional: train a network that can be asked for attributes: of painted tigers fur,
            backdrop, mouth and age; of a folder the columns of its metadata.csv that hold
            2 to 50 different words, none of them a number. A cell may be empty.
        classes: attribute to words that the network is conditioned on; None: unconditional.
        labels: int64 (N, number of attributes), each image's words as indices into ``classes``, -1
            where a word is not known.
        condition_dropout: share of the steps' labels that are left out, of each attribute alone and
            of all together (Ho & Salimans 2022, algorithm 1), at least 0 and below 1.
        flip: mirror each photo with probability 1/2, anew each time; switch this off where
            attributes tell left from right. Painted tigers are never mirrored.
        device: where to train, "cpu", "cuda" or "mps"; None: a GPU if there is one.

    Raises:
        ValueError: naming the argument that is out of range, or of the wrong kind.
        NotADirectoryError: if ``out`` is a file, or lies below one.
        PermissionError: if its checkpoints or samples cannot be written to.
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
    conditional: bool = False
    classes: Mapping[str, Sequence[str]] | None = None
    labels: Tensor | None = None
    condition_dropout: float = 0.1
    flip: bool = True
    device: str | None = None

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        for name, least in LEAST.items():
            put(name, whole_number(name, getattr(self, name), least))
        if self.seed >= 2**64:
            raise ValueError(f"seed must be below 2**64 (got {self.seed})")
        for name in ("multipliers", "attention"):
            if (values := getattr(self, name)) is not None:
                if not isinstance(values, Sequence) or isinstance(values, str):
                    raise ValueError(f"{name} must be a list of whole numbers (got {values!r})")
                put(name, tuple(whole_number(f"each of {name}", value, 1) for value in values))
        for name in ("learning_rate", "gradient_clip"):
            rule = "above 0 and finite"
            put(name, real_number(name, getattr(self, name), rule, lambda x: 0 < x < math.inf))
        for name in ("dropout", "ema_decay", "condition_dropout"):
            put(name, fraction(name, getattr(self, name)))
        if self.prediction not in ("eps", "x0", "v"):
            raise ValueError(f"prediction must be 'eps', 'x0' or 'v' (got {self.prediction!r})")
        if self.schedule not in ("linear", "cosine"):
            raise ValueError(f"schedule must be 'linear' or 'cosine' (got {self.schedule!r})")
        if isinstance(self.data, (str, Path)) and not self.painted:
            put("data", check_path("data", self.data))
        put("out", check_path("out", self.out))
        if self.painted:
            from tigerdiff.data.painted import check_painted

            check_painted("image_size", self.image_size, self.seed)
        check_out(self.data if isinstance(self.data, Path) else None, Path(self.out))
        if self.multipliers is None and self.attention is None:
            check_size(self.image_size)
        check_kind("flip", self.flip, bool)
        put("classes", self._classes())

    def _classes(self) -> Mapping[str, Sequence[str]] | None:
        """Return the attributes and their words, which ``conditional`` reads from the data."""
        if self.conditional and self.painted:
            from tigerdiff.tigers.tiger import CHOICES

            return {name: CHOICES[name] for name in PAINTED_CLASSES}
        if self.conditional and isinstance(self.data, Path):
            from tigerdiff.data.tables import read_classes

            return read_classes(self.data)
        if bool(self.classes) != (self.labels is not None):
            raise ValueError("classes and labels go together: give both or none")
        is_tensor = not isinstance(self.data, (str, Path))
        if is_tensor and self.conditional and not self.classes:
            raise ValueError("conditional=True reads a folder: with a tensor give classes, labels")
        if bool(self.classes) != is_tensor and (self.classes or self.conditional):
            need = "data must be a tensor where classes and labels are given"
            raise ValueError(f"{need}: conditional=True finds those of a folder or of tigers")
        if self.classes:
            check_labels(self.labels, self.data, self.classes)
        return self.classes

    @property
    def painted(self) -> bool:
        """Whether it trains on painted tigers, each of them new."""
        return isinstance(self.data, str) and self.data == "painted"

    def network(self) -> UNet:
        """Return a fresh network of this configuration; the same seed gives the same weights."""
        import torch

        from tigerdiff.unet import UNet

        multipliers = self.multipliers or MULTIPLIERS[levels(self.image_size) - 1]
        lowest = self.image_size >> (len(multipliers) - 1)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)  # leaves those of the GPUs alone
            return UNet(
                size=self.image_size, channels=self.channels, multipliers=multipliers,
                blocks=self.blocks, dropout=self.dropout, prediction=self.prediction,
                attention=(lowest,) if self.attention is None else self.attention,
                classes=self.classes,
            )  # fmt: skip

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step: it rises evenly over the warm-up, then stays."""
        return self.learning_rate * min(1.0, step / max(1, self.warmup_steps))

    def to_json(self) -> dict[str, Any]:
        """Return the arguments as a JSON-able dict, with absolute paths.

        Images as a tensor are named by its shape, and labels are left out.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if isinstance(self.data, Path):
            values["data"] = os.path.abspath(self.data)
        elif not isinstance(self.data, str):
            values["data"] = f"tensor {tuple(self.data.shape)}"
        values["out"] = os.path.abspath(self.out)
        del values["labels"]
        return json.loads(json.dumps(values))  # tuples become lists here, not only after reading


def check_labels(labels: Any, images: Any, classes: Mapping[str, Sequence[str]]) -> None:
    """Raise ValueError unless labels are int64 (N, attributes), each a word's place or -1."""
    import torch

    if not isinstance(images, torch.Tensor) or images.dim() == 0 or len(images) == 0:
        return  # which training refuses
    shape = (len(images), len(classes))
    kind = (labels.dtype, tuple(labels.shape)) if isinstance(labels, torch.Tensor) else None
    if kind != (torch.int64, shape):
        got = f"{kind[0]} {kind[1]}" if kind else type(labels).__name__
        need = f"labels must be int64 of shape {shape}: a row for each image"
        raise ValueError(f"{need} and a column for each of classes (got {got})")
    for column, (name, words) in zip(labels.unbind(1), classes.items()):
        low, high = int(column.min()), int(column.max())
        if not -1 <= low <= high < len(words):
            need = f"labels of {name} must be from 0 to {len(words) - 1}, or -1 where unknown"
            raise ValueError(f"{need} (got {low} to {high})")


def levels(size: int) -> int:
    """Return how many resolutions the network has by default: from ``size`` to 8 ... 16 pixels."""
    most = MOST_LEVELS - (size >> (MOST_LEVELS - 2) <= LARGEST_ATTENTION)  # the last one if needed
    n = 1
    while n < most and size % 2**n == 0 and size >> n >= 8:
        n += 1
    return n


def check_size(size: int) -> None:
    """Raise ValueError, with the nearest sizes that work, if attention would be on large maps."""

    def works(size: int) -> bool:
        return size >> (levels(size) - 1) <= LARGEST_ATTENTION

    if not works(size):
        larger = range(size, LARGEST_ATTENTION << (MOST_LEVELS - 1))
        nearest = [next(filter(works, range(min(size, 1024), 0, -1))), *filter(works, larger)][:2]
        need = f"cannot be halved down to 8 ... {LARGEST_ATTENTION} pixels, for attention"
        raise ValueError(f"image_size {size} {need}: use {' or '.join(map(str, nearest))}")


def check_out(photos: Path | None, out: Path) -> None:
    """Raise unless ``out`` can be a folder whose pictures do not become photos to train on."""
    samples = (out / "samples").resolve()
    there = [path for path in (samples, *samples.parents) if path.exists()]
    if there and not there[0].is_dir():
        raise NotADirectoryError(f"out must be a folder, and {there[0]} is a file: choose another")
    for place in (out / "checkpoints", out / "samples"):  # now, not after the first 500 steps
        if place.exists() and not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
            raise PermissionError(f"{place} must be a folder to write to: choose another out")
    if photos and photos.exists() and any(path.samefile(photos) for path in there):
        remedy = "choose another out, or its samples become photos to train on"
        raise ValueError(f"out ({out}) must not be in data ({photos}): {remedy}")
