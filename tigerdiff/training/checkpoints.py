"""A run's folder: checkpoints that are whole or not there at all, the log, and grids of samples.

Weights and the optimiser's moments are safetensors, the rest is JSON: nothing is ever unpickled.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

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
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps for each weight
COLUMNS = "step,loss,images_per_second,learning_rate,seconds"


def save_checkpoint(
    out: str | Path,
    model: UNet,
    ema: EMA,
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    config: dict[str, Any],
    images: int,
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
        keep_last: number of checkpoints that stay.

    Returns:
        The checkpoint's folder.
    """
    checkpoints = Path(out) / "checkpoints"
    folder, partial = checkpoints / f"step-{step:06d}", checkpoints / f".partial-{step:06d}"
    if folder in complete_checkpoints(out):
        return folder
    for left_over in checkpoints.glob(".partial-*"):
        shutil.rmtree(left_over)
    partial.mkdir(parents=True)
    moments = {
        f"{name}/{key}": value
        for name, weight in model.named_parameters()
        for key, value in optimizer.state[weight].items()
    }
    weights = (model.state_dict(), ema.model.state_dict(), moments)
    for file, tensors in zip(FILES[:3], weights, strict=True):
        save_file({name: x.cpu().contiguous() for name, x in tensors.items()}, partial / file)
    state = {
        "format": FORMAT,
        "step": step,  # with the seed, all the state that the random numbers have
        "ema_step": ema.step,
        "images": images,
        "network": model.config,
        "config": config,
    }
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


def load_checkpoint(path: str | Path) -> tuple[UNet, NoiseSchedule]:
    """The network with its averaged weights, on the CPU and in eval mode, and its noise schedule.

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
    """The newest complete checkpoint of a run's folder, or ``path`` itself if it is a checkpoint.

    Raises:
        FileNotFoundError: if there is none.
    """
    if not (path := Path(path)).exists():
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
    """The complete checkpoints of a run's folder, oldest first."""
    folders = [
        folder
        for folder in (Path(out) / "checkpoints").glob("step-*")
        if all((folder / file).is_file() for file in FILES)
    ]
    return sorted(folders, key=lambda folder: (len(folder.name), folder.name))


def read_state(folder: Path) -> dict[str, Any]:
    """What a checkpoint's state.json says.

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

    check_picture_name(path)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_image(images / 255, path, nrow=math.ceil(math.sqrt(len(images))))


def check_picture_name(path: str | Path) -> None:
    """Nothing, if a picture can be written under this name.

    Raises:
        ValueError: if its ending names no kind of picture.
    """
    kinds = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
    if Path(path).suffix.lower() not in kinds:
        raise ValueError(f"{path}: out must end in one of {', '.join(kinds)}")


class RunLog:
    """The files that grow with a run: log.txt, the warnings, and log.csv, a line for each step."""

    def __init__(self, out: str | Path) -> None:
        self.out = Path(out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.table: IO[str] | None = None
        path = self.out / "log.txt"  # names photos, which need not be UTF-8
        self.warnings = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
        self.warnings.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logging.getLogger("tigerdiff").addHandler(self.warnings)

    def begin(self, start: int) -> None:
        """Open log.csv without the lines after ``start``, which come again, and half a line."""
        path, kept = self.out / "log.csv", []
        if start and path.exists():
            rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
            kept = [row for row in rows if len(row) == 5 and int(row[0]) <= start]
        self.seconds = float(kept[-1][-1]) if kept else 0.0
        part = path.with_suffix(".part")
        part.write_text("\n".join([COLUMNS, *(",".join(row) for row in kept)]) + "\n")
        os.replace(part, path)
        self.table = path.open("a")

    def write(self, records: Sequence[tuple[int, float, float, float]], seconds: float) -> None:
        """Add (step, loss, images per second, learning rate) of steps that took ``seconds``."""
        assert self.table is not None, "begin() comes first"
        for step, loss, speed, learning_rate in records:
            self.seconds += seconds / len(records)
            row = f"{step},{loss:.6g},{speed:.4g},{learning_rate:.6g},{self.seconds:.3f}\n"
            self.table.write(row)
        self.table.flush()

    def close(self) -> None:
        """Close both files."""
        logging.getLogger("tigerdiff").removeHandler(self.warnings)
        self.warnings.close()
        if self.table:
            self.table.close()


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
    """Make a file or a folder's list of names survive a power cut."""
    if path.is_dir() and os.name == "nt":  # Windows cannot open a folder, and need not
        return
    handle = os.open(path, os.O_RDWR if path.is_file() and os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
