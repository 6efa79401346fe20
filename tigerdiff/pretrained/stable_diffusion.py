"""Text to tiger: a pipeline of diffusers, the miniature or a full model, as this machine allows.

The pipeline is all diffusers'; this module decides which weights, how precise, and how to save
memory, and says so. It reads safetensors, never pickles, and runs no code that comes with a model.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from tigerdiff.pretrained import hub as _hub
from tigerdiff.pretrained.load import HUB_ID, WEIGHTS
from tigerdiff.pretrained.pipeline_files import names_in, part_sizes, pipeline_files, read_pipeline

MINI_PATH = WEIGHTS / "mini-sd-tiger"  #: the folder of the miniature, an ordinary pipeline
GPU = "Runtime > Change runtime type > T4"
MAX_BYTES = 64 * 2**30  # of a download: FLUX.1 has 34
WHOLE, TILED, OFFLOADED = "no memory savers", "VAE tiling and slicing", "CPU offload, VAE tiling"


class FullModel(NamedTuple):
    """A model of the Hub that "auto" takes, and what it costs, in bytes."""

    name: str
    licence: str
    download: float
    gpu_memory: float  # at least, with CPU offload
    revision: str


# What the chapter is about first, also the quickest on Colab's T4; then its forerunner of the same
# architecture, as 1.5 has moved once before; if both are gone SDXL, several times as slow.
FULL = (
    FullModel("stable-diffusion-v1-5/stable-diffusion-v1-5", "CreativeML Open RAIL-M", 2.7e9, 3.2e9,
              "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"),
    FullModel("CompVis/stable-diffusion-v1-4", "CreativeML OpenRAIL-M", 2.7e9, 3.2e9,
              "133a221b8aa7292a167afc5127cb63fb5005638b"),
    FullModel("stabilityai/stable-diffusion-xl-base-1.0", "CreativeML Open RAIL++-M", 7e9, 8e9,
              "462165984030d82259a11f4367a4eed129e94a7b"),
)  # fmt: skip


def load_pipeline(name: str | Path = "auto", device: str | torch.device | None = None) -> Any:
    """A text-to-image pipeline of diffusers, ready to be called, and a line on what it is.

    ::

        pipe = load_pipeline()
        image = pipe("a majestic tiger standing in a jungle").images[0]

    On a GPU the weights are bfloat16, or float16 if it has none or the model is of Stable Diffusion
    1's kind; elsewhere float32. If memory is short, the autoencoder works in tiles and picture by
    picture; if it is shorter still, parts wait in the CPU's memory for their turn.

    Args:
        name: "auto", Stable Diffusion 1.5 on a GPU with room, else the miniature and why; "mini",
            the miniature, which comes with tigerdiff; a folder that ``save_pretrained`` wrote; or
            "owner/name" or "owner/name@revision" on the Hugging Face Hub, as
            ``AutoPipelineForText2Image`` takes it (Stable Diffusion 1 to 3, SDXL, FLUX), checked
            against the hashes that the Hub states. What exists as a folder here comes first.
        device: where to; None is the GPU if there is one, else the CPU.

    Returns:
        The pipeline, with the safety checker that the model has.

    Raises:
        FileNotFoundError, ConnectionError, PermissionError: as :func:`tigerdiff.load_pretrained`.
        MemoryError: it needs more memory than is free.
        ValueError: it is damaged or no pipeline, or there is no such revision or device.
        ImportError: diffusers, transformers or accelerate is missing.
    """
    _imported("diffusers", "transformers", "accelerate", "psutil")
    place = _device(device)
    if name == "auto":
        return _auto(place)
    folder = MINI_PATH if name == "mini" else Path(name).expanduser()
    if name == "mini" or folder.exists():
        return _load(folder, folder.name, place)
    repo_id, _, revision = str(name).partition("@")
    if not isinstance(name, str) or not HUB_ID.fullmatch(repo_id):
        raise FileNotFoundError(
            f'{name} does not exist: name a folder that save_pretrained wrote, "auto", "mini" or '
            "owner/name on the Hub"
        )
    return _from_hub(repo_id, revision, place)


def memory_needed(weights: float, largest: float, device_type: str) -> dict[str, float]:
    """The memory that a model needs with each way to save some, the fastest first; all in bytes.

    A rule of thumb: one picture takes about half as much again as the weights, or, if parts wait
    in the CPU's memory, as the largest part. Attention is never sliced: all our torches have SDPA.
    """
    if device_type != "cuda":
        return {WHOLE: 1.2 * weights + 5e8}
    least = {WHOLE: 2 * weights, TILED: 1.6 * weights, OFFLOADED: 1.4 * largest}
    return {saver: size + 5e8 for saver, size in least.items()}


def precision(class_name: str, device_type: str, bfloat16: bool) -> torch.dtype:
    """The type of the weights, of the pipeline's class and of whether the GPU has bfloat16."""
    if device_type != "cuda":
        return torch.float32
    return torch.bfloat16 if bfloat16 and class_name != "StableDiffusionPipeline" else torch.float16


def _auto(device: torch.device) -> Any:
    """The first full model that can be had, else the miniature."""
    first, reasons = FULL[0], []
    for model in FULL if device.type == "cuda" else ():
        try:
            if _place(device)[1] < model.gpu_memory:
                raise _too_large(model.name, device, model.gpu_memory)
            return _from_hub(model.name, "", device)
        except (OSError, ValueError, MemoryError) as error:
            reasons.append(str(error))
    reasons.append(
        f"the full model is slow without a GPU: choose one (in Colab, {GPU}), or have it here "
        f'with load_pipeline("{first.name}"), {_gb(first.download)} to download'
    )
    return _load(MINI_PATH, MINI_PATH.name, device, f"; {reasons[0]}")


def _from_hub(repo_id: str, revision: str, device: torch.device) -> Any:
    known = {model.name: model for model in FULL}.get(repo_id)

    def before(sizes: dict[str, int], licence: str) -> None:
        """Name it, unless it cannot fit even if what is there is twice as precise as needed."""
        parts = dict.fromkeys((name.partition("/")[0] for name in sizes), 0.0)
        for name, size in sizes.items():
            parts[name.partition("/")[0]] += size / 2 if device.type == "cuda" else size
        _saver(repo_id, device, parts)
        total, terms = _gb(sum(sizes.values())), known.licence if known else licence
        print(f"{repo_id}: {total} to download, licence {terms}")

    folder = _hub.fetch(
        repo_id,
        ["model_index.json"],
        more=pipeline_files,
        before=before,
        what=("pipeline of diffusers", "one that its page says diffusers loads"),
        max_bytes=MAX_BYTES,
        revision=revision or (known.revision if known else None),
    )
    return _load(folder, repo_id, device)


def _load(folder: Path, name: str, device: torch.device, why: str = "") -> Any:
    """The pipeline in a folder, whose weights are safetensors and whose code is not run."""
    diffusers = _imported("diffusers")[0]
    files = pipeline_files(folder, names_in(folder))
    bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    dtype = precision(read_pipeline(folder)[0], device.type, bfloat16)
    parts = {part: n * dtype.itemsize for part, n in part_sizes(folder, files).items()}
    saver = _saver(name, device, parts)
    half = any(file.endswith(".safetensors") and ".fp16" in file for file in files)
    options: dict[str, Any] = {"variant": "fp16" if half else None, "use_safetensors": True}
    options["torch_dtype" if diffusers.__version__.startswith("0.") else "dtype"] = dtype
    try:
        with _quiet():
            pipe = diffusers.AutoPipelineForText2Image.from_pretrained(folder, **options)
            for part in pipe.components.values():  # transformers may keep the type that is stored
                if isinstance(part, nn.Module) and part.dtype != dtype:
                    part.to(dtype)
            if saver != WHOLE and hasattr(getattr(pipe, "vae", None), "enable_tiling"):
                pipe.vae.enable_tiling()
                pipe.vae.enable_slicing()
            pipe.enable_model_cpu_offload(device=device) if saver == OFFLOADED else pipe.to(device)
    except torch.OutOfMemoryError:
        raise _too_large(name, device, 2 * sum(parts.values())) from None
    except Exception as error:  # of any kind, as settings are not checked by those who read them
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{name} cannot be loaded by diffusers {diffusers.__version__} ({reason}): name "
            "another model, or try pip install --upgrade diffusers transformers"
        ) from error
    what = f"{_gb(sum(parts.values()))} in {str(dtype).removeprefix('torch.')}, {saver}{why}"
    print(f"{name} on {_place(device)[0]}: {what}")
    return pipe


def _saver(name: str, device: torch.device, parts: dict[str, Any]) -> str:
    """The first saver with which it fits."""
    needed = memory_needed(sum(parts.values()), max(parts.values(), default=0), device.type)
    for saver, size in needed.items():
        if size <= _place(device)[1]:
            return saver
    raise _too_large(name, device, min(needed.values()))


def _too_large(name: str, device: torch.device, needed: float) -> MemoryError:
    place, free = _place(device)
    return MemoryError(
        f"{name} needs {_gb(needed)} of memory on {place}, and {_gb(free)} are free: close what "
        'else uses it, or name a smaller model, such as "mini"'
    )


def _place(device: torch.device) -> tuple[str, float]:
    """What it is called, and how many bytes of its memory are free."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device), torch.cuda.mem_get_info(device)[0]
    return f"the {device.type.upper()}", _imported("psutil")[0].virtual_memory().available


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=device).device
    except (AssertionError, RuntimeError, NotImplementedError, TypeError):
        raise ValueError(
            f"device={str(device)!r} is not here: leave it out, or choose a GPU (in Colab, {GPU})"
        ) from None


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 5e7 else f"{size / 1e6:.1f} MB"


def _imported(*modules: str) -> list[Any]:
    try:
        return [importlib.import_module(module) for module in modules]
    except ImportError as error:
        raise ImportError(
            f"text to image needs diffusers, transformers and accelerate ({error}): "
            "pip install 'tigerdiff[course]'"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Neither warnings nor bars of the libraries while a pipeline is loaded."""
    with warnings.catch_warnings(), ExitStack() as after:
        warnings.simplefilter("ignore")
        for log in _imported("diffusers.utils.logging", "transformers.utils.logging"):
            after.callback(log.set_verbosity, log.get_verbosity())
            if log.is_progress_bar_enabled():
                after.callback(log.enable_progress_bar)
            log.set_verbosity_error()
            log.disable_progress_bar()
        yield
