"""The Inception features of the published FID, through torchmetrics, when they can be had."""

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tigerdiff.data import downloads, files

URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth"
)
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
MAX_BYTES = 100_000_000


@functools.lru_cache(maxsize=1)
def inception(device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return the network of torchmetrics' FID: uint8 (N, 3, H, W) to (N, 2048)."""
    try:
        import torch_fidelity  # noqa: F401  (torchmetrics needs it and imports without it)
        from torchmetrics.image.fid import NoTrainInceptionV3
    except ImportError as error:
        remedy = 'pip install "tigerdiff[inception]"'
        raise ImportError(f"features='inception' needs {error.name}: {remedy}") from error
    # torch-fidelity unpickles whatever is in its file, so it gets one that we wrote.
    safe: Any = io.BytesIO()  # taken for a path
    torch.save(torch.load(fetched_weights(), map_location="cpu", weights_only=True), safe)
    safe.seek(0)
    return NoTrainInceptionV3("inception-v3-compat", ["2048"], safe).to(device)


def fetched_weights() -> Path:
    """Return the weights in PyTorch's cache, 95 MB; download them unless their SHA-256 is right."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / URL.rpartition("/")[2]
    if file.exists() and downloads.sha256(file) == SHA256:
        return file
    remedy = f"put {file.name} into {file.parent} by hand, or use features='judge'"
    with files.replacing(file) as part:
        try:
            part.write_bytes(downloads.download(URL, max_bytes=MAX_BYTES, max_seconds=1800))
        except ConnectionError as error:
            raise ConnectionError(f"{error}; {remedy}") from error
        if downloads.sha256(part) != SHA256:
            raise ValueError(f"{URL} did not send the known file (the SHA-256 differs); {remedy}")
    return file
