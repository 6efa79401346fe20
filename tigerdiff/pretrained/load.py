"""Trained networks: shipped with the package, in a folder, or on the Hugging Face Hub.

An exported folder has three files, and nothing is ever unpickled: ``model.safetensors``, the
averaged weights in float16; ``config.json``, the arguments of the network and of its schedule;
``card.json``, how it was trained, with the SHA-256 of the weights. The shipped models are such
folders in ``weights/``. huggingface_hub takes longer to import than this whole package, so it is
imported only for a model of the Hub.
"""

import hashlib
import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from tigerdiff.checks import check_kind, check_path, whole_number
from tigerdiff.data.files import replacing
from tigerdiff.diffusion import NoiseSchedule
from tigerdiff.training import checkpoints as runs
from tigerdiff.training.folder import MAY_CHANGE
from tigerdiff.training.stored import damage_named, read_json, set_weights, write_json
from tigerdiff.unet import UNet

FORMAT = 1  # of an exported folder: raise it when an older tigerdiff could not read a newer one
FILES = ("config.json", "card.json", "model.safetensors")
REMEDY = "export, copy or download it anew"
WEIGHTS = Path(__file__).with_name("weights")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def load_pretrained(name: str | Path, *, revision: str | None = None) -> tuple[UNet, NoiseSchedule]:
    """Load a trained network, in float32, on the CPU and in eval mode, and its noise schedule.

    ::

        model, schedule = load_pretrained("ddpm-tiger-64")
        images = sample(model, schedule, 16, size=64, steps=25)

    Args:
        name: a folder that :func:`save_pretrained` or :func:`export_run` wrote; a run's folder or
            a checkpoint, as for :func:`.load_checkpoint`; a shipped model, such as
            "ddpm-tiger-64"; or "owner/name" on the Hugging Face Hub, which is downloaded once
            (safetensors only, at most 2 GiB, checked against the hashes that the Hub states).
            What exists as a folder here is taken for that.
        revision: for a model of the Hub, a branch, a tag or a commit.

    Raises:
        FileNotFoundError: there is no such model, or no complete checkpoint.
        ConnectionError: the Hub cannot be reached, and its cache does not have the model.
        PermissionError: the Hub gives it only to those who are logged in and let in.
        ValueError: it is damaged, or of a newer tigerdiff, or has no such revision.
    """
    folder = find_pretrained(name, revision=revision)
    if not is_exported(folder):
        return runs.load_checkpoint(folder)
    config = read_config(folder)
    try:
        with torch.device("meta"):  # no time for first weights, which are replaced
            model = UNet(**config["network"])
        schedule = runs.make_schedule(config["schedule"], config["T"])
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{folder / 'config.json'} is for a network that tigerdiff {version('tigerdiff')} does "
            f"not know ({error}): use a newer one, pip install --upgrade tigerdiff"
        ) from error
    digest = read_card(folder).get("sha256")
    with damage_named(path := folder / "model.safetensors", REMEDY):
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise ValueError("its SHA-256 is not the one in card.json")
        stored, own = load(data), model.state_dict()
        weights = {name: x.to(own[name].dtype) for name, x in stored.items() if name in own}
        set_weights(model, stored | weights, "config.json", assign=True)
    return model.eval(), schedule


def save_pretrained(
    model: UNet,
    folder: str | Path,
    *,
    schedule: str = "cosine",
    T: int = 1000,
    card: dict[str, Any] | None = None,
) -> Path:
    """Write a network into a folder, as :func:`load_pretrained` reads it.

    Each file is replaced whole, the card last: its hash shows whether a folder was cut short.

    Args:
        model: the network, as a rule with averaged weights.
        folder: where to; files of those names are replaced.
        schedule: "linear" or "cosine".
        T: number of noising steps.
        card: how it was trained, JSON-able. If its "data" is "painted", its "seed" and its number
            of "images" say which tigers were seen, and ``tigerdiff evaluate`` looks for copies.

    Returns:
        The folder.

    Raises:
        ValueError: a weight is not finite in float16, there is no such schedule, or the card
            cannot be written as JSON.
        FileExistsError: the folder is that of a run.
    """
    check_kind("model", model, UNet)
    check_kind("card", card, dict, type(None))
    T = whole_number("T", T, 1)
    if ((folder := check_path("folder", folder)) / "checkpoints").is_dir():
        raise FileExistsError(f"{folder} holds a run: choose another folder, like exported/tigers")
    runs.make_schedule(schedule, T)  # refuse what could not be read back
    try:
        json.dumps(card)
    except (TypeError, ValueError) as error:
        raise ValueError(f"card must hold numbers, words, lists and dicts: {error}") from None
    tensors = {name: x.detach().cpu().contiguous() for name, x in model.state_dict().items()}
    for name, _ in model.named_parameters():  # buffers keep their precision
        tensors[name] = tensors[name].half()
        if not tensors[name].isfinite().all():
            raise ValueError(f"model: {name} is not finite in float16, so it cannot be exported")
    data = save(tensors)
    with replacing(folder / "model.safetensors") as part:
        part.write_bytes(data)  # with the usual permissions, which save_file does not give
    config = {"format": FORMAT, "network": model.config, "schedule": schedule, "T": T}
    own = {
        "parameters": sum(x.numel() for x in model.parameters()),
        "tigerdiff": version("tigerdiff"),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    write_json(config, folder / "config.json")
    write_json({**(card or {}), **own}, folder / "card.json")
    return folder


def export_run(run: str | Path, folder: str | Path, card: dict[str, Any] | None = None) -> Path:
    """Write the averaged network of a run into a folder, as :func:`load_pretrained` reads it.

    Args:
        run: a run's folder, whose newest checkpoint is taken, or one checkpoint's folder.
        folder: where to; files of those names are replaced.
        card: what its card says besides the run's recipe, such as hardware and measures.

    Returns:
        The folder.

    Raises:
        FileNotFoundError, ValueError: as :func:`.load_checkpoint`.
        FileExistsError, OSError: as :func:`save_pretrained`.
    """
    check_kind("card", card, dict, type(None))
    checkpoint = runs.find_checkpoint(check_path("run", run))
    model, _ = runs.load_checkpoint(checkpoint)
    its = read_config(checkpoint)
    recipe = read_card(checkpoint) | (card or {})
    return save_pretrained(model, folder, schedule=its["schedule"], T=its["T"], card=recipe)


def find_pretrained(name: str | Path, *, revision: str | None = None) -> Path:
    """Return the exported folder or checkpoint of a name as :func:`load_pretrained` takes it."""
    path = check_path("name", name, or_else=" or owner/name on the Hub")
    shipped = sorted(folder.name for folder in WEIGHTS.glob("*") if is_exported(folder))
    from_hub = isinstance(name, str) and HUB_ID.fullmatch(name) and not path.exists()
    if revision is not None and not from_hub:
        raise ValueError(f"revision is only for a model of the Hub (owner/name), not for {name}")
    if path.exists():
        return path if is_exported(path) else runs.find_checkpoint(path)
    if str(name) in shipped:
        return WEIGHTS / name
    if from_hub:
        from tigerdiff.pretrained.hub import fetch

        return fetch(str(name), FILES[0], lambda *_: FILES, revision=revision or "main")
    known = f"a shipped model ({', '.join(shipped) or 'none in this installation'})"
    known = f"a run's folder, like runs/tigers, {known} or owner/name on the Hub"
    raise FileNotFoundError(f"{name} does not exist: name {known}")


def is_exported(folder: Path) -> bool:
    """Say whether it is an exported folder, even if a file is lost; a run has a config.json too."""
    return sum((folder / file).is_file() for file in FILES) > 1


def read_config(folder: Path) -> dict[str, Any]:
    """Return network, schedule and T of an exported folder or a checkpoint."""
    if not is_exported(folder):
        state = runs.read_state(folder)
        return {"network": state["network"]} | {x: state["config"][x] for x in ("schedule", "T")}
    kinds = {"network": dict, "schedule": str, "T": int}
    config = read_json(folder / "config.json", REMEDY, kinds, FORMAT)
    return {name: config[name] for name in kinds}


def read_card(name: str | Path) -> dict[str, Any]:
    """Return how a network was trained and what was measured of it.

    Args:
        name: a shipped model, an exported folder, a run or a model of the Hub, as
            :func:`load_pretrained` takes it.

    Raises:
        FileNotFoundError, ConnectionError, PermissionError: as :func:`load_pretrained`.
        ValueError: it is damaged.
    """
    folder = find_pretrained(name)
    if is_exported(folder):
        return read_json(folder / "card.json", REMEDY, {})
    state = runs.read_state(folder)
    config = state["config"]
    no_recipe = MAY_CHANGE - {"learning_rate", "compile"}  # says nothing of the weights
    return {
        "data": "painted" if config.get("data") == "painted" else "photos",
        "seed": config["seed"],
        "steps": state["step"],
        "images": state["images"],
        "recipe": {name: value for name, value in config.items() if name not in no_recipe},
    }
