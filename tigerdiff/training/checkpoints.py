"""Checkpoints that are whole or not there at all, and grids of samples.

Weights and the optimiser's moments are safetensors, the rest is JSON: nothing is ever unpickled.
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tigerdiff.diffusion import NoiseSchedule, make_schedule
from tigerdiff.training.ema import EMA
from tigerdiff.unet import UNet

FORMAT = 1  # of a checkpoint: raise it when an older tigerdiff could not read a newer one
FILES = ("model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json")
STATE = {"step": int, "ema_step": int, "images": int, "network": dict, "config": dict}
NO_FOLDERS = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}  # a disk that syncs files only
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps for each weight


def save_checkpoint(
    out: str | Path,
    model: UNet,
    ema: EMA,
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    config: dict[str, Any],
    images: int,
    content: str | None = None,
    scaler: dict[str, Any] | None = None,
    keep_last: int = 3,
) -> Path:
    """Write ``out/checkpoints/step-000500``, then drop all but the newest few.

    The folder gets its name only when all of it is on disk, so a kill or a power cut never leaves
    half a checkpoint, nor takes the one before. A step whose checkpoint is complete is left as it
    is: putting another in its place would leave a moment with none.

    Args:
        out: the run's folder.
        model: the network in training.
        ema: its average.
        optimizer: AdamW over ``model.parameters()``.
        step: number of steps done.
        config: JSON-able arguments of the run, with at least "schedule", "T" and "seed".
        images: number of images that it is trained on.
        content: a hash of these images, None for painted tigers.
        scaler: state of the gradient scaler, where it trains in float16.
        keep_last: number of checkpoints that stay.

    Returns:
        The checkpoint's folder.

    Raises:
        OSError: if it cannot be written; the one before is kept, and nothing of this one.
    """
    checkpoints = Path(out).expanduser() / "checkpoints"
    folder, partial = checkpoints / f"step-{step:06d}", checkpoints / f".partial-{step:06d}"
    if folder in complete_checkpoints(out):
        return folder
    for left_over in checkpoints.glob(".partial-*"):
        shutil.rmtree(left_over)
    moments = {
        f"{name}/{key}": value
        for name, weight in model.named_parameters()
        for key, value in optimizer.state[weight].items()
    }
    state = {
        "format": FORMAT,
        "step": step,  # with the seed, all the state that the random numbers have
        "ema_step": ema.step,
        "images": images,
        "content": content,
        "scaler": scaler,
        "network": model.config,
        "config": config,
    }
    with _nothing_left(partial):
        partial.mkdir(parents=True)
        weights = (model.state_dict(), ema.model.state_dict(), moments)
        for file, tensors in zip(FILES[:3], weights, strict=True):
            save_file({name: x.cpu().contiguous() for name, x in tensors.items()}, partial / file)
        (partial / "state.json").write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
        for path in (*partial.iterdir(), partial):
            _to_disk(path)
        if folder.exists():  # without all of its files
            shutil.rmtree(folder)
        os.replace(partial, folder)
        _to_disk(checkpoints)
    for old in complete_checkpoints(out)[:-keep_last]:
        shutil.rmtree(old)
    return folder


@contextmanager
def _nothing_left(partial: Path) -> Iterator[None]:
    """Remove what was written if it could not be finished, and say so in one sentence."""
    try:
        yield
    except (OSError, SafetensorError) as error:  # safetensors has an error of its own for a disk
        shutil.rmtree(partial, ignore_errors=True)
        there = complete_checkpoints(partial.parent.parent)
        raise OSError(
            f"the checkpoint {partial.parent / partial.name.replace('.partial', 'step')} cannot be "
            f"written ({getattr(error, 'strerror', None) or error}): "
            f"{there[-1].name if there else 'no other'} is kept; make room, then go on with "
            "--resume (resume=True)"
        ) from error


def load_checkpoint(path: str | Path) -> tuple[UNet, NoiseSchedule]:
    """Return the averaged network, on the CPU and in eval mode, and its noise schedule.

    Args:
        path: a run's folder, whose newest complete checkpoint is taken, or one checkpoint's folder.

    Raises:
        FileNotFoundError: if there is no complete checkpoint.
        ValueError: if it is damaged, or written by a newer tigerdiff.
    """
    folder = find_checkpoint(path)
    state = read_state(folder)
    try:
        model = UNet(**state["network"])
        schedule = make_schedule(state["config"]["schedule"], state["config"]["T"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(_damaged(folder / "state.json", error)) from error
    _load_weights(model, folder / "ema.safetensors")
    return model.eval(), schedule


def restore(
    folder: Path, model: UNet, ema: EMA, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Put a checkpoint's whole state into a model, its average and its optimiser, in place.

    Returns:
        What its state.json says.

    Raises:
        ValueError: if the checkpoint is damaged.
    """
    state = read_state(folder)
    _load_weights(model, folder / "model.safetensors")
    _load_weights(ema.model, folder / "ema.safetensors")
    ema.step = state["ema_step"]
    path = folder / "optimizer.safetensors"
    moments = _read_tensors(path)
    for name, weight in model.named_parameters():
        for moment in MOMENTS:
            value = moments.get(f"{name}/{moment}")
            if value is None or value.shape != (() if moment == "step" else weight.shape):
                raise ValueError(_damaged(path, f"its {name}/{moment} is missing or misshapen"))
            if moment != "step":  # in the weight's memory layout, as AdamW made it
                value = torch.empty_like(weight, requires_grad=False).copy_(value)
            optimizer.state[weight][moment] = value.to(weight.device)
    return state


def find_checkpoint(path: str | Path) -> Path:
    """Return the newest complete checkpoint of a run's folder, or ``path`` if it is a checkpoint.

    Raises:
        FileNotFoundError: if there is none.
    """
    if not (path := Path(path).expanduser()).exists():
        raise FileNotFoundError(f"{path} does not exist: name a run's folder, like runs/tigers")
    missing = [file for file in FILES if not (path / file).is_file()]
    if not missing:
        return path
    if found := complete_checkpoints(path):
        return found[-1]
    if len(missing) < len(FILES):
        raise FileNotFoundError(f"{path} is not a complete checkpoint: {missing[0]} is missing")
    raise FileNotFoundError(f"{path} holds no complete checkpoint (checkpoints/step-...)")


def complete_checkpoints(out: str | Path) -> list[Path]:
    """Return the complete checkpoints of a run's folder, oldest first."""
    folders = [
        folder
        for folder in (Path(out).expanduser() / "checkpoints").glob("step-*")
        if all((folder / file).is_file() for file in FILES)
    ]
    return sorted(folders, key=lambda folder: (len(folder.name), folder.name))


def read_state(folder: Path) -> dict[str, Any]:
    """Return what a checkpoint's state.json says.

    Raises:
        ValueError: if it is damaged, or written by a newer tigerdiff.
    """
    path = folder / "state.json"
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        version = state["format"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(_damaged(path, error)) from error
    if version != FORMAT:
        raise ValueError(
            f"{folder} has checkpoint format {version} and this tigerdiff reads format {FORMAT}: "
            "use the tigerdiff that wrote it, or a newer one"
        )
    if wrong := [name for name, kind in STATE.items() if not isinstance(state.get(name), kind)]:
        raise ValueError(_damaged(path, f"its {wrong[0]} is missing or not what it should be"))
    return state


def save_grid(images: Tensor, path: str | Path) -> None:
    """Write uint8 images (N, 3, S, S) as one picture, as near to a square as it gets.

    Raises:
        ValueError: if the path's ending names no kind of picture.
    """
    from torchvision.utils import save_image

    path = check_picture_name(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(images / 255, path, nrow=math.ceil(math.sqrt(len(images))))


def check_picture_name(path: str | Path) -> Path:
    """Return the path, with ~ expanded, under which a picture can be written.

    Raises:
        ValueError: if its ending names no kind of picture.
    """
    kinds = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
    if Path(path).suffix.lower() not in kinds:
        raise ValueError(f"{path}: out must end in one of {', '.join(kinds)}")
    return Path(path).expanduser()


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(_damaged(path, error)) from error


def _load_weights(model: nn.Module, path: Path) -> None:
    try:
        model.load_state_dict(_read_tensors(path))
    except RuntimeError as error:  # which lists every weight, on a line each
        raise ValueError(_damaged(path, "it is not of the network in state.json")) from error


def _damaged(path: Path, error: Exception | str) -> str:
    return f"{path} is damaged ({error}): delete its folder to go back to the checkpoint before it"


def _to_disk(path: Path) -> None:
    """Make a file or a folder's list of names survive a power cut, as far as the disk can."""
    folder = path.is_dir()
    if folder and os.name == "nt":  # Windows cannot open a folder, and need not
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # network shares and shared folders of virtual machines cannot
        if not folder or error.errno not in NO_FOLDERS:
            raise
    finally:
        os.close(handle)
