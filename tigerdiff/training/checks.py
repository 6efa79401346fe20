"""What a run's arguments must be, said in one sentence where they are not."""

from __future__ import annotations

import math
import numbers
import operator
from pathlib import Path
from typing import TYPE_CHECKING, Any

RUINED = 10.0  # a loss far above 1, which is what answering 0 gets: the weights are of no use

if TYPE_CHECKING:
    from tigerdiff.training.config import TrainConfig
    from tigerdiff.unet import UNet

MOST_LEVELS = 7
LARGEST_ATTENTION = 16  # pixels a side: the memory of attention grows with their fourth power
MAY_CHANGE = {  # when a run is resumed
    *("data", "out", "steps", "learning_rate", "compile", "checkpoint_every", "sample_every"),
    *("keep_last", "resume", "conditional", "device"),
}


def levels(size: int) -> int:
    """Return how many resolutions the network has by default: from ``size`` to 8 ... 16 pixels."""
    n = 1
    while n < MOST_LEVELS and size % 2**n == 0 and size >> n >= 8:
        if n >= 6 and size >> (n - 1) <= LARGEST_ATTENTION:
            break
        n += 1
    return n


def check_size(size: int) -> None:
    """Raise ValueError, with the nearest sizes that work, if attention would be on large maps."""

    def works(size: int) -> bool:
        return size >> (levels(size) - 1) <= LARGEST_ATTENTION

    if works(size):
        return
    below = next(filter(works, range(size, 0, -1)))
    above = next(filter(works, range(size, LARGEST_ATTENTION << (MOST_LEVELS - 1))), None)
    nearest = f"{below} or {above}" if above else f"{below}"
    raise ValueError(
        f"image_size {size} cannot be halved down to 8 ... {LARGEST_ATTENTION} pixels, where "
        f"attention is affordable: use {nearest}"
    )


def whole_number(name: str, value: Any, least: int) -> int:
    """Return the value as an int, if it is a whole number of at least ``least``, NumPy's too."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least} (got {value!r})")
    return operator.index(value)


def real_number(name: str, value: Any, *, positive: bool = False) -> float:
    """Return the value as a float, if it is above 0 and finite (``positive``), or in [0, 1)."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise ValueError(f"{name} must be a number (got {value!r})")
    value = float(value)
    if positive and not 0 < value < math.inf:
        raise ValueError(f"{name} must be above 0 and finite (got {value})")
    if not positive and not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and below 1 (got {value})")
    return value


def check_out(photos: Path | None, out: Path) -> None:
    """Raise unless ``out`` can be a folder whose pictures do not become photos to train on."""
    samples = (out / "samples").resolve()
    there = [path for path in (samples, *samples.parents) if path.exists()]
    if not there[0].is_dir():
        raise NotADirectoryError(
            f"out must be a folder, and {there[0]} is a file: choose another out, like runs/tigers"
        )
    if photos and photos.exists() and any(path.samefile(photos) for path in there):
        raise ValueError(
            f"out ({out}) must not be in data ({photos}), whose photos its pictures would join: "
            "choose another out, like runs/tigers"
        )


def check_same_run(config: TrainConfig, network: UNet, state: dict[str, Any]) -> None:
    """Raise ValueError, naming the argument, unless a checkpoint of this state can be resumed."""
    now = config.to_json()
    pairs = [(name, now.get(name), then) for name, then in state["config"].items()]
    for name in sorted(state["network"].keys() | network.config):
        pairs.append((f"network {name}", network.config.get(name), state["network"].get(name)))
    for name, ours, then in pairs:
        if name not in MAY_CHANGE and (ours or None) != (then or None):  # no classes: {} or None
            raise ValueError(
                f"{name} is {ours!r} but the run in {config.out} has {then!r}: "
                f"resume with the same {name}, or start a new run in another folder"
            )


def starting_point(config: TrainConfig, network: UNet) -> tuple[Path | None, int]:
    """Return the checkpoint to go on from and its step, or (None, 0).

    Raises:
        FileExistsError: if there is a run, and none is to be resumed.
        FileNotFoundError, ValueError: if there is nothing to resume, or another run.
    """
    from tigerdiff.training import checkpoints

    if not config.resume:
        if there := checkpoints.complete_checkpoints(config.out):
            raise FileExistsError(
                f"{config.out} holds a run already ({there[-1].name}): go on with --resume "
                "(resume=True), or choose another out"
            )
        return None, 0
    folder = checkpoints.find_checkpoint(config.out)
    state = checkpoints.read_state(folder)
    check_same_run(config, network, state)
    return folder, state["step"]


def advice_on_divergence(config: TrainConfig, step: int, saved_loss: float) -> str:
    """Return the sentence on a loss or gradient that is no longer finite.

    Args:
        config: of the run.
        step: at which it is so.
        saved_loss: at the newest checkpoint; where it is large that one is ruined too.
    """
    from tigerdiff.training.checkpoints import complete_checkpoints

    there = complete_checkpoints(config.out)
    lower = f"a lower learning rate than {config.learning_rate:g} (--learning-rate)"
    remedy = f"start again in another folder, with {lower}"
    if there and saved_loss < RUINED:
        remedy = f"go on from {there[-1].name} with --resume (resume=True) and {lower}"
    return f"the loss or its gradient is no longer finite at step {step}: {remedy}"
