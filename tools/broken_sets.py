"""Sets of painted tigers that were broken on purpose: what a measure should see."""

import io
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from tigerdiff.tigers.paint import paint, procedural_tigers
from tigerdiff.tigers.tiger import CHOICES, Tiger


def broken_sets(real: Tensor, n: int, size: int, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, images): n fresh tigers of another seed, as they are and broken in turn.

    The last two are made of the real ones that the others will be compared with.
    """
    images, tigers = procedural_tigers(n, size, seed)
    yield "fresh tigers", images
    for name, spoil in SPOILED.items():
        yield name, spoil(images)
    for name, change in CHANGED.items():
        yield name, paint([change(tiger) for tiger in tigers], size)
    yield "64 real ones again and again", real[:64].repeat(-(-n // 64), 1, 1, 1)[:n]
    yield "real ones learned by heart", noised(real.flip(0), 2)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Blur with a Gaussian of so many pixels."""
    return transforms.gaussian_blur(images, [13, 13], [sigma, sigma])


def noised(images: Tensor, deviation: float) -> Tensor:
    """Add white noise, of a deviation in steps of 1/255."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return as_uint8(images + deviation * noise)


def tinted(images: Tensor, amount: float) -> Tensor:
    """Add red and take away blue."""
    return as_uint8(images + amount * torch.tensor([1.0, 0.0, -1.0])[:, None, None])


def faded(images: Tensor, contrast: float) -> Tensor:
    """Fade towards grey, to a share of the contrast."""
    return as_uint8(127.5 + contrast * (images - 127.5))


def mirrored(images: Tensor) -> Tensor:
    """Mirror the right half into the left one: both eyes look outwards or inwards."""
    half = images.shape[-1] // 2
    right = images[..., -half:]
    return torch.cat([right.flip(-1), right], -1)


def shuffled(images: Tensor) -> Tensor:
    """Let the four quarters change places."""
    half = images.shape[-1] // 2
    return images.roll((half, half), (-2, -1))


def coarse(images: Tensor, factor: int) -> Tensor:
    """Shrink the pictures and enlarge them again."""
    size = images.shape[-1]
    small = transforms.resize(images, [size // factor], antialias=True)
    return transforms.resize(small, [size], antialias=True)


def jpeg(images: Tensor, quality: int) -> Tensor:
    """Store the pictures as JPEG and read them again."""

    def copied(image: Tensor) -> Tensor:
        file = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
        return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)

    return torch.stack([copied(image) for image in images])


def as_uint8(images: Tensor) -> Tensor:
    """Round to what a picture can hold."""
    return images.round().clamp(0, 255).to(torch.uint8)


def without(name: str, word: str) -> Callable[[Tiger], Tiger]:
    """Paint those that have the word anew with the words of the others, in turn."""
    others = [x for x in CHOICES[name] if x not in (word, "night")]

    def change(tiger: Tiger) -> Tiger:
        if getattr(tiger, name) != word:
            return tiger
        return replace(tiger, **{name: others[tiger.stripes % len(others)]})

    return change


# Of each kind the weakest first.
SPOILED: dict[str, Callable[[Tensor], Tensor]] = {
    "blurred, sigma 0.5 px": lambda x: blurred(x, 0.5),
    "blurred, sigma 1 px": lambda x: blurred(x, 1.0),
    "blurred, sigma 2 px": lambda x: blurred(x, 2.0),
    "noise of 8/255": lambda x: noised(x, 8),
    "noise of 24/255": lambda x: noised(x, 24),
    "tinted by 10/255": lambda x: tinted(x, 10),
    "tinted by 30/255": lambda x: tinted(x, 30),
    "contrast 80 %": lambda x: faded(x, 0.8),
    "contrast 50 %": lambda x: faded(x, 0.5),
    "JPEG of quality 50": lambda x: jpeg(x, 50),
    "JPEG of quality 10": lambda x: jpeg(x, 10),
    "half the resolution": lambda x: coarse(x, 2),
    "a quarter of the resolution": lambda x: coarse(x, 4),
    "left half mirrored": mirrored,
    "upside down": lambda x: x.flip(-2),
    "quarters shuffled": shuffled,
}
CHANGED: dict[str, Callable[[Tiger], Tiger]] = {
    "no white fur": without("fur", "white"),
    "no snow": without("backdrop", "snow"),
    "no roaring mouth": without("mouth", "roaring"),
    "orange fur only": lambda tiger: replace(tiger, fur="orange"),
    "all look straight ahead": lambda tiger: replace(tiger, gaze_x=0.0, gaze_y=0.0),
}
