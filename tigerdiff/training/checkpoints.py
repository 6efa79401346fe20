"""Checkpoints that are whole or not there at all, and grids of samples.

Weights and the optimiser's moments are safetensors, the rest is JSON: nothing is ever unpickled.
"""

import errno
import io
import json
import math
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from tigerdiff.checks import check_kind, check_path, whole_number
from tigerdiff.data.files import replacing
from tigerdiff.diffusion import NoiseSchedule, make_schedule
from tigerdiff.training.ema import EMA
from tigerdiff.training.stored import damage_named, read_json, set_weights
from tigerdiff.unet import UNet

FORMAT = 1  # of a checkpoint: raise it when an older tigerdiff could not read a newer one
REMEDY = "delete its folder to go back to the checkpoint before it"
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
    """Write ``out/checkpoints/step-000500``, then drop all but the newest few; return the folder.

    The folder gets its name only when all of it is on disk, so a kill or a power cut never leaves
    half a checkpoint, nor takes the one before. A step whose checkpoint is complete is left as it
    is: replacing it would leave a moment without any.

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

    Raises:
        ValueError: naming the argument that is not as above.
        OSError: if it cannot be written; the one before is kept, and nothing of this one.
    """
    out = check_path("out", out)
    for name, value, kind in (("model", model, UNet), ("ema", ema, EMA), ("config", config, dict)):
        check_kind(name, value, kind)
    if missing := {"schedule", "T", "seed"} - config.keys():
        raise ValueError(f"config must have {', '.join(sorted(missing))}")
    whole_number("step", step, 0)
    whole_number("keep_last", keep_last, 1)
    checkpoints = out / "checkpoints"
    folder, partial = checkpoints / f"step-{step:06d}", checkpoints / f".partial-{step:06d}"
    if folder in complete_checkpoints(out):
        return folder
    for left_over in (*checkpoints.glob(".partial-*"), folder):  # halves of checkpoints
        shutil.rmtree(left_over, ignore_errors=True)
    named = model.named_parameters()
    moments = {f"{n}/{key}": x for n, w in named for key, x in optimizer.state[w].items()}
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
    try:
        partial.mkdir(parents=True)
        weights = (model.state_dict(), ema.model.state_dict(), moments)
        for file, tensors in zip(FILES[:3], weights, strict=True):
            tensors = {name: x.cpu().contiguous() for name, x in tensors.items()}
            (partial / file).write_bytes(save(tensors))  # save_file hides it from other users
        (partial / "state.json").write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
        for path in (*partial.iterdir(), partial):
            _to_disk(path)
        os.replace(partial, folder)
        _to_disk(checkpoints)
    except (OSError, SafetensorError) as error:  # safetensors has an error of its own for a disk
        shutil.rmtree(partial, ignore_errors=True)
        failed = f"cannot be written ({getattr(error, 'strerror', None) or error})"
        raise OSError(f"the checkpoint {folder} {failed}: {what_is_kept(out)}") from error
    for old in complete_checkpoints(out)[:-keep_last]:
        if old.is_symlink() or not os.access(old, os.W_OK):  # its owner keeps it
            continue
        gone = checkpoints / f".partial-{old.name}"  # a kill in mid-deletion leaves no half of it
        os.replace(old, gone)
        shutil.rmtree(gone, ignore_errors=True)
    return folder


def what_is_kept(out: str | Path) -> str:
    """Say which checkpoint a run on a full disk has, and how to resume."""
    there = complete_checkpoints(out)
    kept = there[-1].name if there else "nothing"
    then = "continue with --resume (resume=True)" if there else "start again without --resume"
    return f"{kept} is kept; make room (or get the right to write there), then {then}"


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
    with damage_named(folder / "state.json", REMEDY):
        model = UNet(**state["network"])
        schedule = make_schedule(state["config"]["schedule"], state["config"]["T"])
    with damage_named(path := folder / "ema.safetensors", REMEDY):
        set_weights(model, load(path.read_bytes()), "state.json")
    return model.eval(), schedule


def restore(
    folder: Path, model: UNet, ema: EMA, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Put a checkpoint's whole state into a model, its average and its optimiser, in place.

    Return what its state.json says. Raise ValueError if the checkpoint is damaged.
    """
    state = read_state(folder)
    for network, file in ((model, FILES[0]), (ema.model, FILES[1])):
        with damage_named(path := folder / file, REMEDY):
            set_weights(network, load(path.read_bytes()), "state.json")
    ema.step = state["ema_step"]
    with damage_named(path := folder / FILES[2], REMEDY):
        moments = load(path.read_bytes())  # load_file keeps the file open, so Windows keeps it too
        for name, weight in model.named_parameters():
            for moment in MOMENTS:
                value = moments.get(f"{name}/{moment}")
                if value is None or value.shape != (() if moment == "step" else weight.shape):
                    raise ValueError(f"its {name}/{moment} is missing or misshapen")
                if moment != "step":  # in the weight's memory layout, as AdamW made it
                    value = torch.empty_like(weight, requires_grad=False).copy_(value)
                optimizer.state[weight][moment] = value.to(weight.device)
    return state


def find_checkpoint(path: str | Path) -> Path:
    """Return the newest complete checkpoint of a run's folder, or ``path`` if it is a checkpoint.

    Raise FileNotFoundError if there is none.
    """
    path = check_path("path", path)
    missing = [file for file in FILES if not (path / file).is_file()]
    if found := [*complete_checkpoints(path), *([] if missing else [path])]:
        return found[-1]
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: name a run's folder, like runs/tigers")
    if len(missing) < len(FILES):
        raise FileNotFoundError(f"{path} is not a complete checkpoint: {missing[0]} is missing")
    raise FileNotFoundError(f"{path} holds no complete checkpoint: name another run's folder")


def complete_checkpoints(out: str | Path) -> list[Path]:
    """Return the complete checkpoints of a run's folder, oldest first."""
    folders = [
        folder
        for folder in (check_path("out", out) / "checkpoints").glob("step-*")
        if re.fullmatch(r"step-\d+", folder.name)  # no copy, such as "step-000500 copy"
        and all((folder / file).is_file() for file in FILES)
    ]
    return sorted(folders, key=lambda folder: (len(folder.name), folder.name))


def read_state(folder: Path) -> dict[str, Any]:
    """Return what a checkpoint's state.json says; raise ValueError if it is damaged."""
    return read_json(folder / "state.json", REMEDY, STATE, FORMAT)


def save_grid(images: Tensor, path: Path) -> None:
    """Write uint8 images (N, 3, S, S) as one picture, as near to a square as it gets."""
    from torchvision.utils import save_image

    kind, picture = Image.registered_extensions()[path.suffix.lower()], io.BytesIO()
    save_image(images / 255, picture, kind, nrow=math.ceil(math.sqrt(len(images))))
    with replacing(path) as part:  # Pillow by itself does not notice a full disk
        part.write_bytes(picture.getvalue())


def check_picture_name(path: str | Path) -> Path:
    """Return the path with ~ expanded; raise ValueError if its ending names no kind of picture."""
    kinds = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
    path = check_path("out", path)
    if path.suffix.lower() not in kinds:
        raise ValueError(f"{path}: out must end in one of {', '.join(kinds)}")
    return path


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
