"""The network: a U-Net that knows the time (Ronneberger et al. 2015; Ho et al. 2020, appendix B).

The way down halves the resolution level by level, the way up doubles it, and each block on the way
up also gets the output of its partner on the way down (a skip connection). Most channels and all
attention are where there are few pixels. Last layers start at zero, so that every block begins as
its skip alone (the identity where the channels stay the same) and the whole network answers zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tigerdiff.checks import check_config, check_kind
from tigerdiff.diffusion import Prediction

Layer = TypeVar("Layer", bound=nn.Module)


class UNet(nn.Module):
    """Network that predicts the noise (or x0, or v) in an image at a known time.

    Args:
        size: height and width of the training images in pixels; it places the attention.
        channels: channels of the first level, a multiple of 8.
        multipliers: channels of each level, in units of ``channels``.
        blocks: residual blocks of each level on the way up, and as many on the way down, where the
            very first convolution stands for the first of them.
        attention: resolutions in pixels at which every block is followed by self-attention; if
            there are any, the block in the middle is too.
        dropout: share of activations dropped in training, in [0, 1).
        prediction: what the output means, "eps", "x0" or "v"; samplers and the loss read it.
        classes: what the network can be conditioned on: attribute to the words it may have, such
            as ``{"fur": ["orange", "white"]}``; None or empty for an unconditional network.

    Attributes:
        config: the arguments as a JSON-able dict; ``UNet(**config)`` is the same network.
        factor: what height and width of an image must be divisible by.

    Raises:
        ValueError: naming the argument that does not fit the others.
    """

    def __init__(
        self,
        size: int = 32,
        channels: int = 32,
        multipliers: Sequence[int] = (1, 3, 6),
        blocks: int = 1,
        attention: Sequence[int] = (8,),
        dropout: float = 0.0,
        prediction: Prediction = "v",
        classes: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__()
        check_config(size, channels, multipliers, blocks, attention, dropout, prediction, classes)
        self.classes = {name: list(words) for name, words in (classes or {}).items()}
        self.config: dict[str, Any] = {
            "size": int(size), "channels": int(channels), "multipliers": [*map(int, multipliers)],
            "blocks": int(blocks), "attention": [*map(int, attention)], "dropout": float(dropout),
            "prediction": prediction, "classes": self.classes,
        }  # fmt: skip
        self.channels, self.prediction = channels, prediction
        self.factor = 2 ** (len(multipliers) - 1)
        resolutions = [size >> level for level in range(len(multipliers))]
        hidden = 8 * channels
        self.time = nn.Sequential(
            nn.Linear(2 * channels, hidden), nn.SiLU(), nn.Linear(hidden, hidden)
        )
        # One row for each word, and the first for an attribute that is left open.
        self.attributes = nn.ModuleList(
            zero(nn.Embedding(1 + len(words), hidden)) for words in self.classes.values()
        )
        widths = [channels * m for m in multipliers]
        attends = [resolution in attention for resolution in resolutions]
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            if level > 0:
                self.down.append(nn.Conv2d(widths[level - 1], width, 3, stride=2, padding=1))
            for _ in range(blocks if level > 0 else blocks - 1):
                self.down.append(Block(width, width, hidden, dropout, attends[level]))
        self.middle = Block(width, width, hidden, dropout, any(attends))
        for level, width in reversed(list(enumerate(widths))):
            for _ in range(blocks):
                self.up.append(Block(2 * width, width, hidden, dropout, attends[level]))
            if level > 0:
                wider = nn.Conv2d(width, widths[level - 1], 3, padding=1)
                self.up.append(nn.Sequential(nn.Upsample(scale_factor=2.0), wider))
        self.head = nn.Sequential(
            GroupNorm(width), nn.SiLU(), zero(nn.Conv2d(width, 3, 3, padding=1))
        )

    def forward(self, xt: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """Predict from images at time t, under a condition or without.

        Args:
            xt: noised images (B, 3, H, W); H and W divisible by ``factor``.
            t: times (B,), integers or floats.
            condition: int64 (B, number of attributes), the index of each attribute's word, -1 where
                it is left open; None leaves all open.

        Returns:
            The prediction, shape of xt, in the type of the weights (of autocast, under it).

        Raises:
            ValueError: if a shape does not fit.
        """
        check_kind("xt", xt, Tensor)
        factor = self.factor
        if xt.dim() != 4 or xt.shape[1] != 3 or xt.shape[2] % factor or xt.shape[3] % factor:
            need = f"xt must have shape (B, 3, H, W) with H and W divisible by {factor}"
            raise ValueError(f"{need} (got {tuple(xt.shape)})")
        if not isinstance(t, Tensor) or t.shape != xt.shape[:1]:
            raise ValueError(f"t must have shape ({len(xt)},) (got {getattr(t, 'shape', t)})")
        if condition is None:
            condition = t.new_full((len(t), len(self.classes)), -1, dtype=torch.int64)
        check_kind("condition", condition, Tensor)
        if condition.shape != (len(t), len(self.classes)):
            need = f"({len(t)}, {len(self.classes)}), a column for each of {list(self.classes)}"
            raise ValueError(f"condition must have shape {need} (got {tuple(condition.shape)})")
        own = self.stem.weight.dtype  # it computes in the type of its weights
        time = self.time(time_embedding(t, 2 * self.channels).to(own))
        for embedding, word in zip(self.attributes, condition.unbind(1)):
            time = time + embedding(word + 1)
        time = F.silu(time)
        x = self.stem(xt.to(own))
        skips = [x]
        for layer in self.down:
            x = layer(x, time) if isinstance(layer, Block) else layer(x)
            if isinstance(layer, Block):
                skips.append(x)
        x = self.middle(x, time)
        for layer in self.up:
            if isinstance(layer, Block):
                x = layer(torch.cat([x, skips.pop()], dim=1), time)
            else:
                x = layer(x)
        return self.head(x)

    def condition(self, /, **words: str) -> Tensor:
        """Return one row of ``condition``, int64 (1, number of attributes), from words.

        Args:
            words: attribute to word, such as ``fur="white"``; those left out stay open.

        Raises:
            ValueError: for an attribute or a word that the network does not know.
        """
        if not self.classes:
            raise ValueError("this network is unconditional: it takes no condition")
        if unknown := set(words) - set(self.classes):
            known = ", ".join(self.classes)
            raise ValueError(f"{unknown.pop()!r} is no attribute of this network: use {known}")
        for name, word in words.items():
            if word not in self.classes[name]:
                known = ", ".join(self.classes[name])
                raise ValueError(f"{name} must be one of {known} (got {word!r})")
        row = [its.index(words[n]) if n in words else -1 for n, its in self.classes.items()]
        return torch.tensor([row])


class Block(nn.Module):
    """Residual block: two convolutions with the time as scale and shift between, then attention.

    The scale and shift come from Dhariwal & Nichol 2021 (their "AdaGN"); Ho et al. 2020 add the
    time instead.

    Maps (B, in_channels, H, W) and the embedded time (B, hidden) to (B, out_channels, H, W).
    """

    def __init__(
        self, in_channels: int, out_channels: int, hidden: int, dropout: float, attends: bool
    ):
        super().__init__()
        first = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.enter = nn.Sequential(GroupNorm(in_channels), nn.SiLU(), first)
        self.norm = GroupNorm(out_channels)
        self.time = nn.Linear(hidden, 2 * out_channels)
        last = zero(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.leave = nn.Sequential(nn.SiLU(), nn.Dropout(dropout), last)
        same = in_channels == out_channels
        self.skip = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)
        self.attention = Attention(out_channels) if attends else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Apply the block; see the class."""
        scale, shift = self.time(time)[:, :, None, None].chunk(2, dim=1)
        h = self.norm(self.enter(x)) * (1 + scale) + shift
        return self.attention(self.skip(x) + self.leave(h))


class Attention(nn.Module):
    """Self-attention among all pixels (Vaswani et al. 2017); (B, C, H, W) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = math.gcd(channels, max(1, channels // 32))  # of about 32 channels each
        self.norm = GroupNorm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.leave = zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Add to each pixel what it attends to."""
        B, C, H, W = x.shape
        qkv = self.qkv(self.norm(x)).permute(0, 2, 3, 1).reshape(B, H * W, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, H W, channels of a head)
        # Written out, as on a CPU in bfloat16 torch's fused attention is 4 times slower backwards.
        weight = (q * q.shape[-1] ** -0.5 @ k.mT).softmax(dim=-1).to(v.dtype)
        attended = (weight @ v).transpose(1, 2).reshape(B, H, W, C).permute(0, 3, 1, 2)
        return x + self.leave(attended)


class GroupNorm(nn.GroupNorm):
    """Group norm (Wu & He 2018) in float32; 32 groups at most, with 4 channels or more each."""

    def __init__(self, channels: int) -> None:
        super().__init__(math.gcd(32, channels // 4), channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise in float32: torch's backward pass in bfloat16 is slower and less exact."""
        wide = torch.promote_types(x.dtype, torch.float32)
        scale, shift = self.weight.to(wide), self.bias.to(wide)
        return F.group_norm(x.to(wide), self.num_groups, scale, shift, self.eps).to(x.dtype)


def time_embedding(t: Tensor, channels: int) -> Tensor:
    """Embed t (B,) as sines and cosines, wavelengths 2 pi to 20000 pi (Vaswani et al. 2017, 3.5).

    Returns float32 (B, channels), channels even, values in [-1, 1].
    """
    half = torch.arange(channels // 2, device=t.device, dtype=torch.float32)
    angle = t.float()[:, None] * torch.exp(-math.log(10_000) * half / (channels // 2))
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def zero(layer: Layer) -> Layer:
    """Return the layer with weights and bias set to zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
