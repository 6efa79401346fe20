"""Painting tigers: the same picture in any batch and on any device."""

import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.nn.functional as F
from torch import Tensor

from tigerdiff.checks import whole_number
from tigerdiff.devices import find_device
from tigerdiff.tigers.looks import looks_of
from tigerdiff.tigers.painting.maps import MAPS, maps
from tigerdiff.tigers.painting.portrait import portraits
from tigerdiff.tigers.tiger import Tiger, series

PIXELS = 2**17  # painted at a time: few enough for the caches of a CPU
GPU_PIXELS = 2**22  # what keeps a GPU busy
ALIKE = ("backdrop", "mouth", "age")  # tigers painted together share these where they can
_painting = threading.Lock()


def procedural_tigers(
    n: int, size: int = 64, seed: int = 0, device: str | torch.device = "cpu", *, start: int = 0
) -> tuple[Tensor, list[Tiger]]:
    """Paint n tigers of an endless series, each with its own attributes.

    Args:
        n: how many, at least 1.
        size: width and height in pixels, 16 to 1024.
        seed: of the series, 0 to 2**31 - 1.
        device: where to paint.
        start: number of the first one in the series, as in :func:`.series`.

    Returns:
        Pictures, uint8 (n, 3, size, size) on the device, and their attributes.

    Raises:
        ValueError: naming the argument that is out of range.
    """
    tigers = series(n, seed, start=start)
    return paint(tigers, size, device), tigers


def paint(
    attributes: Tiger | Sequence[Tiger], size: int = 64, device: str | torch.device = "cpu"
) -> Tensor:
    """Paint one tiger, or several.

    Edges are antialiased and fine fur fades where pixels cannot hold it, so that a tiger is the
    same at every size.

    Args:
        attributes: a Tiger, or a sequence of them.
        size: width and height in pixels, 16 to 1024.
        device: where to: CUDA paints itself, for other GPUs the CPU does; the two differ by
            rounding, 1/255 at most.

    Returns:
        uint8 (3, size, size) for one tiger, (n, 3, size, size) for a sequence; RGB.

    Raises:
        ValueError: if size is out of range, attributes are not Tigers or there is no such device.
    """
    size, device = whole_number("size", size, 16, 1024), find_device(device)
    if device.type not in ("cpu", "cuda"):  # such as Apple's MPS, which has no float64
        return paint(attributes, size).to(device)
    if isinstance(attributes, Tiger):
        return paint([attributes], size, device)[0]
    tigers = list(attributes) if isinstance(attributes, Sequence) else []
    if not tigers or not all(isinstance(tiger, Tiger) for tiger in tigers):
        raise ValueError("attributes must be a Tiger or a sequence of at least one")
    factor = math.ceil(64 / size)  # below 64 pixels stripes are too fine: paint large, average
    with torch.inference_mode(False):  # a caller's mode, which does not hold in other threads
        pictures = torch.empty(len(tigers), 3, size, size, dtype=torch.uint8, device=device)
    order = sorted(range(len(tigers)), key=lambda i: [getattr(tigers[i], x) for x in ALIKE])
    large, pixels = factor * size, PIXELS if device.type == "cpu" else GPU_PIXELS
    together = max(1, pixels // large**2)
    strip = math.ceil(large / math.ceil(large**2 / pixels)) if together == 1 else large
    parts = [order[i : i + together] for i in range(0, len(order), together)]

    def paint_part(part: list[int]) -> None:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            looks = looks_of([tigers[i] for i in part], device)
            canvas = portraits(looks, large, device, strip)
            if factor > 1:
                canvas = F.avg_pool2d(canvas, factor)
            pictures[part] = (canvas * 255).round_().to(torch.uint8).transpose(0, 1)

    with _painting:  # one call at a time: the number of threads belongs to the whole program
        for name in MAPS:  # drawn before threads race for them
            maps(name, large, str(device))
        threads = torch.get_num_threads() if device.type == "cpu" else 1
        if threads == 1 or len(parts) == 1:
            for part in parts:
                paint_part(part)
            return pictures
        # Each thread paints its own tigers. Threads that share one picture wait for one another,
        # which takes most of the time on a busy machine.
        try:
            with ThreadPoolExecutor(threads, "", torch.set_num_threads, (1,)) as pool:
                list(pool.map(paint_part, parts))
        finally:
            torch.set_num_threads(threads)  # for threads that start later
    return pictures


def paint_tiger(size: int = 512) -> Tensor:
    """Paint the course's own tiger, `Tiger()`, a portrait in the jungle, as :func:`paint` does.

    Args:
        size: width and height in pixels, 16 ... 1024.

    Returns:
        uint8 (3, size, size), RGB.

    Raises:
        ValueError: if size is out of range.
    """
    return paint(Tiger(), size)
