"""The network: a U-Net that is told the time (Ronneberger et al. 2015; Ho et al. 2020, appendix B).

The way down halves the resolution level by level, the way up doubles it, and each block on the way
up also sees what its twin on the way down saw. Last layers start at zero, so that every block
begins as the identity and the whole network begins by answering zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tigerdiff.diffusion import Prediction


class UNet(nn.Module):
    """Predicts the noise (or x0, or v) in an image at a known time.

    Args:
        size: height and width of the training images in pixels; it places the attention.
        channels: channels of the first level, a multiple of 8.
        multipliers: channels of each level, in units of ``channels``.
        blocks: residual blocks per level on the way down (one more on the way up).
        attention: resolutions in pixels at which every block is followed by self-attention.
        dropout: share of activations dropped in training, in [0, 1).
        prediction: what the output means, "eps", "x0" or "v"; samplers and the loss read it.

    Attributes:
        config: the arguments as a JSON-able dict; ``UNet(**config)`` is the same network.
        prediction: see the argument.
        channels: see the argument.
        factor: what height and width of an image must be divisible by.

    Raises:
        ValueError: naming the argument that does not fit the others.
    """

    def __init__(
        self,
        size: int = 32,
        channels: int = 64,
        multipliers: Sequence[int] = (1, 2, 2),
        blocks: int = 2,
        attention: Sequence[int] = (8,),
        dropout: float = 0.0,
        prediction: Prediction = "eps",
    ) -> None:
        super().__init__()
        resolutions = [size // 2**level for level in range(len(multipliers))]
        if not multipliers or min(multipliers) < 1 or blocks < 1:
            raise ValueError("multipliers and blocks must be at least 1 each, one level or more")
        if channels < 8 or channels % 8:
            raise ValueError(f"channels must be a multiple of 8 (got {channels})")
        if size < 1 or size % 2 ** (len(multipliers) - 1):
            raise ValueError(
                f"size must be divisible by {2 ** (len(multipliers) - 1)}, "
                f"once by 2 for each level after the first (got {size})"
            )
        if not set(attention) <= set(resolutions):
            raise ValueError(f"attention must be among the resolutions {resolutions}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1 (got {dropout})")
        if prediction not in ("eps", "x0", "v"):
            raise ValueError(f"prediction must be 'eps', 'x0' or 'v' (got {prediction!r})")
        self.prediction = prediction
        self.channels = channels
        self.factor = 2 ** (len(multipliers) - 1)
        self.config = {
            "size": size,
            "channels": channels,
            "multipliers": list(multipliers),
            "blocks": blocks,
            "attention": list(attention),
            "dropout": dropout,
            "prediction": prediction,
        }
        time_channels = 4 * channels
        self.time = nn.Sequential(
            nn.Linear(channels, time_channels), nn.SiLU(), nn.Linear(time_channels, time_channels)
        )

        def block(inside: int, outside: int, resolution: int) -> Block:
            return Block(inside, outside, time_channels, dropout, resolution in attention)

        width = channels
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList()
        skips = [width]
        for level, resolution in enumerate(resolutions):
            if level > 0:
                self.down.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                skips.append(width)
            for _ in range(blocks):
                self.down.append(block(width, channels * multipliers[level], resolution))
                width = channels * multipliers[level]
                skips.append(width)
        self.middle = nn.ModuleList(
            [Block(width, width, time_channels, dropout, attends) for attends in (True, False)]
        )
        self.up = nn.ModuleList()
        for level in reversed(range(len(resolutions))):
            for _ in range(blocks + 1):
                outside = channels * multipliers[level]
                self.up.append(block(width + skips.pop(), outside, resolutions[level]))
                width = outside
            if level > 0:
                self.up.append(Upsample(width))
        self.head = nn.Sequential(
            group_norm(width), nn.SiLU(), zero(nn.Conv2d(width, 3, 3, padding=1))
        )

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """Predict from images at time t.

        Args:
            xt: noised images (B, 3, H, W); H and W divisible by 2 once per level after the first.
            t: times (B,), integers or floats.

        Returns:
            The prediction, shape of xt.

        Raises:
            ValueError: if a shape does not fit.
        """
        factor = self.factor
        if xt.dim() != 4 or xt.shape[1] != 3 or xt.shape[2] % factor or xt.shape[3] % factor:
            raise ValueError(
                f"xt must have shape (B, 3, H, W) with H and W divisible by {factor} "
                f"(got {tuple(xt.shape)})"
            )
        if t.shape != xt.shape[:1]:
            raise ValueError(f"t must have shape ({xt.shape[0]},) (got {tuple(t.shape)})")
        time = self.time(time_embedding(t, self.channels).to(xt.dtype))
        x = self.stem(xt)
        skips = [x]
        for layer in self.down:
            x = layer(x, time) if isinstance(layer, Block) else layer(x)
            skips.append(x)
        for layer in self.middle:
            x = layer(x, time)
        for layer in self.up:
            if isinstance(layer, Block):
                x = layer(torch.cat([x, skips.pop()], dim=1), time)
            else:
                x = layer(x)
        return self.head(x)


class Block(nn.Module):
    """Residual block: two convolutions with the time as scale and shift between, then attention.

    Maps (B, inside, H, W) and the embedded time (B, time_channels) to (B, outside, H, W).
    """

    def __init__(
        self, inside: int, outside: int, time_channels: int, dropout: float, attends: bool
    ) -> None:
        super().__init__()
        self.enter = nn.Sequential(
            group_norm(inside), nn.SiLU(), nn.Conv2d(inside, outside, 3, padding=1)
        )
        self.time = nn.Sequential(nn.SiLU(), nn.Linear(time_channels, 2 * outside))
        self.norm = group_norm(outside)
        self.leave = nn.Sequential(
            nn.SiLU(), nn.Dropout(dropout), zero(nn.Conv2d(outside, outside, 3, padding=1))
        )
        self.skip = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()
        self.attention = Attention(outside) if attends else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """One block; see the class."""
        scale, shift = self.time(time)[:, :, None, None].chunk(2, dim=1)
        h = self.norm(self.enter(x)) * (1 + scale) + shift
        return self.attention(self.skip(x) + self.leave(h))


class Attention(nn.Module):
    """Self-attention among all pixels (Vaswani et al. 2017); (B, C, H, W) to the same shape."""

    def __init__(self, channels: int, head_channels: int = 32) -> None:
        super().__init__()
        self.heads = max(1, channels // head_channels)
        while channels % self.heads:
            self.heads -= 1
        self.norm = group_norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.leave = zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Add to each pixel what it attends to."""
        B, C, H, W = x.shape
        qkv = self.qkv(self.norm(x)).reshape(B, 3, self.heads, C // self.heads, H * W)
        q, k, v = qkv.transpose(-1, -2).unbind(1)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2)
        return x + self.leave(attended.reshape(B, C, H, W))


class Upsample(nn.Module):
    """Twice the resolution: nearest neighbour, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, 2H, 2W)."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def time_embedding(t: Tensor, channels: int) -> Tensor:
    """Sines and cosines of t at wavelengths from 2 pi to 20000 pi (Vaswani et al. 2017, 3.5).

    Args:
        t: times (B,), integers or floats.
        channels: width of the result, even.

    Returns:
        float32 (B, channels), values in [-1, 1].
    """
    half = torch.arange(channels // 2, device=t.device, dtype=torch.float32)
    angle = t.float()[:, None] * torch.exp(-math.log(10_000) * half / (channels // 2))
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def group_norm(channels: int) -> nn.GroupNorm:
    """Group norm with 32 groups at most and 4 channels or more in each."""
    return nn.GroupNorm(math.gcd(32, channels // 4), channels)


def zero(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with all its weights set to zero."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
