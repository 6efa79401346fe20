"""What every script that measures writes at the head of its results, and how it writes them."""

import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
import sys
from datetime import datetime, timezone
from pathlib import Path

import torch

from tigerdiff.devices import LIMITS, has_bfloat16

PACKAGES = ("tigerdiff", "torch", "torchvision", "diffusers", "denoising-diffusion-pytorch")


def processor() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def hardware() -> str:
    """Return what computes, for a sentence: a GPU's name, or the processor and its threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    limit = ", limited to AVX2" if is_laptop() else ""
    threads = torch.get_num_threads()
    return f"{processor()}, {threads} thread{'s' * (threads > 1)}{limit}"


def is_laptop() -> bool:
    """Say whether the environment limits this machine to AVX2, as LAPTOP=1 does."""
    return any("avx2" in os.environ.get(name, "").lower() for name in LIMITS)


def machine() -> dict:
    """Return hardware, threads and versions."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "laptop": is_laptop(),
        "bfloat16": has_bfloat16(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def version(package: str) -> str | None:
    """Return the installed version, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def head(program: str) -> dict:
    """Say what made a result: the command (``program`` and its options), hardware, torch, date."""
    return {
        "command": shlex.join([*program.split(), *sys.argv[1:]]),
        "hardware": hardware(),
        "torch": torch.__version__,
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def weights_sha256(folder: Path) -> str:
    """Return one hash of all weights below a folder."""
    weights = [path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))]
    return hashlib.sha256(b"".join(weights)).hexdigest()


def rounded(value: object, digits: int = 4) -> object:
    """Round floats to so many significant digits, at any depth of lists and dicts."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {key: rounded(entry, digits) for key, entry in value.items()}
    return [rounded(entry, digits) for entry in value] if isinstance(value, list) else value


def write(path: Path, result: dict, digits: int = 4) -> None:
    """Write a result as JSON, its floats rounded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(rounded(result, digits), indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
