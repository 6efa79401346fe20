"""The judge: a small network that reads a painted tiger's attributes off a picture.

Its last features are what the distances of `metrics` are measured in. They join the grain of the
picture and the strength of the answers of early and middle filters to an embedding of the whole: an
embedding alone would be blind to what does not change a tiger's attributes, such as blur and noise.
Trained by ``python tools/train_judge.py``; the card ``judge.json`` beside the weights says how.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from tigerdiff.checks import check_kind
from tigerdiff.data.tensors import described, to_float
from tigerdiff.tigers.tiger import CHOICES, RANGES

SIZE = 64  # pixels; other sizes are resized
BATCH = 256  # pictures at a time
GRAIN, EARLY, MIDDLE, LATE = 3, 24, 48, 53  # features from each depth
FEATURES = GRAIN + EARLY + MIDDLE + LATE  # 128
WEIGHTS = Path(__file__).with_name("judge.safetensors")


class Judge(nn.Module):
    """Seven convolutions, the last over the whole picture: 19 million multiplications.

    Args:
        norm: the layer between a convolution and its SiLU, given the channels; batch
            normalisation in training, which is then folded into the convolutions.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self, norm: Callable[[int], nn.Module] = lambda channels: nn.Identity()) -> None:
        super().__init__()

        def block(in_channels: int, out_channels: int, size: int, stride: int) -> nn.Sequential:
            padding = size // 2 if size % 2 else 0
            conv = nn.Conv2d(in_channels, out_channels, size, stride, padding)
            return nn.Sequential(conv, norm(out_channels), nn.SiLU())

        self.early = block(3, EARLY, 5, 2)
        self.middle = nn.Sequential(block(EARLY, MIDDLE, 3, 2), block(MIDDLE, MIDDLE, 3, 1))
        wide = block(MIDDLE, 96, 3, 2), block(96, 96, 3, 1)
        self.late = nn.Sequential(*wide, block(96, 128, 3, 2), block(128, LATE, 4, 4))
        # Measured on painted tigers after training: all directions of the features count alike in
        # a distance, but for those in which tigers hardly vary.
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("whitening", torch.eye(FEATURES))
        self.heads = nn.Linear(FEATURES, sum(map(len, CHOICES.values())) + len(RANGES))

    def features(self, images: Tensor) -> Tensor:
        """Return whitened features (N, 128) of pictures (N, 3, H, W), uint8 or float in [-1, 1]."""
        x = images if images.is_floating_point() else to_float(images)
        if x.shape[-2:] != (SIZE, SIZE):
            shrinks = max(x.shape[-2:]) > SIZE  # else the same, and gradients work on older MPS
            x = F.interpolate(x, (SIZE, SIZE), mode="bilinear", antialias=shrinks)
        early = self.early(x)
        middle = self.middle(early)
        late = self.late(middle).flatten(1)
        joined = torch.cat([grain(x), strength(early), strength(middle), late], 1)
        return (joined - self.mean) @ self.whitening

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return what `read` makes of the features of pictures (N, 3, H, W)."""
        return self.read(self.features(images))

    def read(self, features: Tensor) -> dict[str, Tensor]:
        """Return logits (N, choices) by name of CHOICES, (N,) from -1 to 1 by name of RANGES."""
        widths = [len(words) for words in CHOICES.values()] + [1] * len(RANGES)
        parts = self.heads(features).split(widths, 1)
        answers = dict(zip([*CHOICES, *RANGES], parts, strict=True))
        return {name: x.squeeze(1) if name in RANGES else x for name, x in answers.items()}


def grain(x: Tensor) -> Tensor:
    """Measure how rough each colour is; below 0.1 counts little. (N, 3, H, W) to (N, 3)."""
    second = torch.tensor([-0.5, 1.0, -0.5], device=x.device)
    kernel = torch.outer(second, second).expand(3, 1, 3, 3)
    return (F.conv2d(x, kernel, groups=3).square() + 0.01).sqrt().mean((2, 3))


def strength(maps: Tensor) -> Tensor:
    """Return the root mean square over the picture: (N, C, H, W) to (N, C)."""
    return (maps.square().mean((2, 3)) + 1e-6).sqrt()


@functools.lru_cache(maxsize=2)
def shipped_judge(device: torch.device) -> Judge:
    """Return the trained judge of the package: stored in float16, computing in float32."""
    if not WEIGHTS.exists():
        raise FileNotFoundError(f"{WEIGHTS} is missing: install tigerdiff anew")
    with torch.inference_mode(False):  # it is kept for later calls, which may want gradients
        judge = Judge()
        judge.load_state_dict(load_file(WEIGHTS))
        return judge.eval().requires_grad_(False).to(device)


def checked(images: Tensor, name: str, fewest: int) -> Tensor:
    """Return the pictures; raise ValueError unless the judge can look at them."""
    check_kind(name, images, Tensor)
    shape = images.shape
    square = len(shape) == 4 and shape[1] == 3 and shape[2] == shape[3] > 0
    if images.dtype != torch.uint8 or not square or len(images) < fewest:
        need = f"uint8 (N, 3, S, S) with N >= {fewest}"
        raise ValueError(f"{name} must be {need}, not {described(images)}")
    return images
