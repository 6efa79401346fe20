"""Text to image: a pipeline of diffusers, the miniature or a full model, as this machine allows.

The pipeline is all diffusers'; this module decides which weights, how precise, and how to save
memory, and prints its choice. It reads safetensors, never pickles, and runs no code of a model's.
"""

import importlib
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tigerdiff.checks import check_path
from tigerdiff.devices import find_device, gpu_name, has_bfloat16, memory_of
from tigerdiff.pretrained import hub
from tigerdiff.pretrained.load import HUB_ID, WEIGHTS
from tigerdiff.pretrained.pipeline_files import (
    INDEX,
    OPTIONAL,
    REMEDY,
    part_sizes,
    pipeline_files,
    read_pipeline,
)  # fmt: skip
from tigerdiff.training.stored import damage_named

MINI_PATH = WEIGHTS / "mini-sd-tiger"  #: the folder of the miniature, an ordinary pipeline
MINI_64_PATH = WEIGHTS / "mini-sd-tiger-64"  #: the folder of its sister that draws 64 pixels
MINIATURES = {"mini": MINI_PATH, "mini-64": MINI_64_PATH}
GPU = "Runtime > Change runtime type > T4"
FLOAT16_MAX = torch.finfo(torch.float16).max
MAX_BYTES = 64 * 2**30  # of a download: FLUX.1 has 34
WHOLE, TILED, OFFLOADED = "no memory savers", "VAE tiling and slicing", "CPU offload, VAE tiling"


# The model of the Hub that chapter 6 is about, and what it costs in bytes.
FULL = "stable-diffusion-v1-5/stable-diffusion-v1-5"
FULL_REVISION = "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
FULL_LICENCE = "CreativeML Open RAIL-M"
FULL_DOWNLOAD = 2.7e9
FULL_MEMORY = 3.2e9  # of a GPU, at least, with CPU offload


def load_pipeline(name: str | Path = "auto", device: str | torch.device | None = None) -> Any:
    """Load a text-to-image pipeline of diffusers, and print a line on what it is.

    ::

        pipe = load_pipeline()
        image = pipe("a majestic tiger standing in a jungle").images[0]

    On a CUDA GPU the weights are bfloat16, or float16 if it has none or the model is of Stable
    Diffusion 1's kind; elsewhere float32. If memory is short, the autoencoder works in tiles and
    picture by picture; if it is shorter still, parts wait in the CPU's memory for their turn.

    Args:
        name: "auto", Stable Diffusion 1.5 if this machine has a GPU with room and the model has
            been downloaded before, else the miniature and what to do for the full model; "mini",
            the miniature, which is part of tigerdiff and draws 256 pixels; "mini-64", its sister
            of 64 pixels, which takes far less work; a folder that ``save_pretrained``
            wrote; or ``"owner/name"`` or ``"owner/name@revision"`` on the Hugging Face Hub, as
            ``AutoPipelineForText2Image`` takes it (Stable Diffusion 1 to 3, SDXL, FLUX), which is
            downloaded after its size and licence are printed, and checked against the hashes that
            the Hub states. A folder of that name comes first, but for "auto", "mini" and "mini-64":
            write "./mini" for a folder of yours.
        device: where to; None is the GPU if there is one, else the CPU.

    Returns:
        The pipeline, with the safety checker that the model has. If it blackens a picture, a
        printed sentence says so.

    Raises:
        FileNotFoundError, ConnectionError, PermissionError: as :func:`.load_pretrained`.
        MemoryError: it needs more memory than is free.
        ValueError: it is damaged or no pipeline, or there is no such revision or device.
        ImportError: diffusers, transformers or accelerate is missing.
    """
    _imported("diffusers", "transformers", "accelerate", "psutil")
    place = find_device(device)
    if name == "auto":
        return _auto(place)
    shipped = MINIATURES.get(name) if isinstance(name, str) else None
    folder = shipped or check_path("name", name, or_else=" or owner/name on the Hub")
    if shipped or folder.exists():
        return _load(folder, folder.name, place)
    repo_id, _, revision = str(name).partition("@")
    if not isinstance(name, str) or not HUB_ID.fullmatch(repo_id):
        known = 'a folder that save_pretrained wrote, "auto", "mini", "mini-64" or owner/name'
        raise FileNotFoundError(f"{name} does not exist: name {known} on the Hub")
    return _from_hub(repo_id, revision, place)


def memory_needed(weights: float, largest: float, device_type: str) -> dict[str, float]:
    """Estimate the bytes that a model needs with each way to save memory, the fastest way first.

    A rule of thumb: one picture takes about half as much again as the weights, or, if parts wait
    in the CPU's memory, as the largest part. Attention is never sliced: all our torches have SDPA.
    """
    if device_type != "cuda":
        return {WHOLE: 1.2 * weights + 5e8}
    least = {WHOLE: 2 * weights, TILED: 1.6 * weights, OFFLOADED: 1.4 * largest}
    return {saver: size + 5e8 for saver, size in least.items()}


def precision(class_name: str, device_type: str, bfloat16: bool) -> torch.dtype:
    """Return the type of the weights for a pipeline's class on this kind of device."""
    if device_type != "cuda":
        return torch.float32
    return torch.bfloat16 if bfloat16 and class_name != "StableDiffusionPipeline" else torch.float16


def _auto(device: torch.device) -> Any:
    """Load the full model if it fits and is here already, else the miniature; download nothing."""
    why = (
        f"the full model is slow without a GPU: choose one (in Colab, {GPU}), or have it here "
        f'with load_pipeline("{FULL}"), {_gb(FULL_DOWNLOAD)}, licence {FULL_LICENCE}'
    )
    if device.type == "cuda":
        try:
            if _place(device)[1] < FULL_MEMORY:
                raise _too_large(FULL, device, FULL_MEMORY)
            return _from_hub(FULL, "", device, download=False)
        except (OSError, ValueError, MemoryError) as error:
            why = str(error)
    folder = MINIATURES["mini"]
    return _load(folder, folder.name, device, f"; {why}")


def _from_hub(repo_id: str, revision: str, device: torch.device, download: bool = True) -> Any:
    def before(sizes: dict[str, int], licence: str) -> None:
        """Print the cost; raise MemoryError if it cannot fit, even in half precision."""
        parts = dict.fromkeys((name.partition("/")[0] for name in sizes), 0.0)
        for name, size in sizes.items():
            parts[name.partition("/")[0]] += size / 2 if device.type == "cuda" else size
        _saver(repo_id, device, parts)
        cost = f"{_gb(sum(sizes.values()))}, licence {licence}"
        if not download:
            raise ValueError(f'the full model is load_pipeline("{repo_id}"), a download of {cost}')
        print(f"{repo_id}: a download of {cost}")

    revision = revision or (FULL_REVISION if repo_id == FULL else "main")
    folder = hub.fetch(
        repo_id, INDEX, pipeline_files, before=before, max_bytes=MAX_BYTES, revision=revision
    )
    return _load(folder, repo_id, device)


def _load(folder: Path, name: str, device: torch.device, why: str = "") -> Any:
    """Load the pipeline in a folder: its weights are safetensors, and its code is not run."""
    diffusers = _imported("diffusers")[0]
    files = pipeline_files(folder, hub.names_in(folder))
    kind, listed = read_pipeline(folder)
    dtype = precision(kind, device.type, device.type == "cuda" and has_bfloat16())
    parts = {part: n * dtype.itemsize for part, n in part_sizes(folder, files).items()}
    saver = _saver(name, device, parts)
    half = any(file.endswith(".safetensors") and ".fp16" in file for file in files)
    options: dict[str, Any] = {"variant": "fp16" if half else None, "use_safetensors": True}
    options["torch_dtype" if diffusers.__version__.startswith("0.") else "dtype"] = dtype
    absent = [part for part in OPTIONAL.intersection(listed) if not (folder / part).is_dir()]
    try:
        with _quiet():
            options |= dict.fromkeys(absent)
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
    except Exception as error:  # of any kind: the libraries do not check a model's settings
        reason = str(error).partition("\n")[0]
        failed = f"{name} cannot be loaded by diffusers {diffusers.__version__} ({reason})"
        remedy = "name another model, or try pip install --upgrade diffusers transformers"
        raise ValueError(f"{failed}: {remedy}") from error
    networks = {name: x for name, x in pipe.components.items() if isinstance(x, nn.Module)}
    for part, network in networks.items():
        with damage_named(folder / part, REMEDY):
            if not all(x.abs().max() <= FLOAT16_MAX for x in network.parameters()):  # nor is NaN
                raise ValueError("it has weights that are not finite in float16")
    if getattr(pipe, "safety_checker", None) is not None:
        pipe.safety_checker.register_forward_hook(_announce_black)
    missing = "".join(f", without its {part.replace('_', ' ')}" for part in sorted(absent))
    what = f"{_gb(sum(parts.values()))} in {str(dtype).removeprefix('torch.')}, {saver}"
    print(f"{name} loaded to {_place(device)[0]}: {what}{missing}{why}")
    return pipe


def _announce_black(checker: nn.Module, inputs: Any, outputs: Any) -> None:
    """Say which pictures the safety checker has replaced by black ones."""
    if black := [str(k) for k, unsafe in enumerate(outputs[1]) if unsafe]:
        print(
            f"picture {', '.join(black)} is black: the model's safety checker took it for unsafe, "
            "sometimes wrongly. Try another seed or other words."
        )


def _saver(name: str, device: torch.device, parts: dict[str, Any]) -> str:
    """Return the first way to save memory with which the parts fit, or raise MemoryError."""
    needed = memory_needed(sum(parts.values()), max(parts.values(), default=0), device.type)
    for saver, size in needed.items():
        if size <= _place(device)[1]:
            return saver
    raise _too_large(name, device, min(needed.values()))


def _too_large(name: str, device: torch.device, needed: float) -> MemoryError:
    place, free = _place(device)
    return MemoryError(
        f"{name} needs {_gb(needed)} of memory on {place}, and {_gb(free)} are free: close "
        'other programs that use it, or name a smaller model, such as "mini"'
    )


def _place(device: torch.device) -> tuple[str, float]:
    """Return what a device is called, and how many bytes of its memory are free."""
    return gpu_name(device) or "the CPU", memory_of(device)[0]


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 5e7 else f"{size / 1e6:.1f} MB"


def _imported(*modules: str) -> list[Any]:
    try:
        return [importlib.import_module(module) for module in modules]
    except ImportError as error:
        raise ImportError(
            f"text to image needs diffusers, transformers and accelerate ({error}): "
            'pip install "tigerdiff[course]"'
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings and progress bars of the libraries while a pipeline is loaded."""
    with warnings.catch_warnings(), ExitStack() as after:
        warnings.simplefilter("ignore")
        for log in _imported("diffusers.utils.logging", "transformers.utils.logging"):
            after.callback(log.set_verbosity, log.get_verbosity())
            if log.is_progress_bar_enabled():
                after.callback(log.enable_progress_bar)
            log.set_verbosity_error()
            log.disable_progress_bar()
        yield
