"""The autoencoder of mini-sd-tiger: 256 pixels to latents of 32 x 32 and back, learned on tigers.

First on crops, which are cheap and unlike each other, by L1, edges and a little KL; then on whole
pictures, whose normalisation is that of use, with the features of the judge as well (a perceptual
loss, Johnson et al. 2016), looked at in tiles of 64 pixels at full size.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from tigerdiff import crops, paint, seeded_generator, series, to_float
from tigerdiff.metrics.judge import Judge
from tigerdiff.tigers.tiger import Tiger

SIZE, CROP, TILE = 256, 128, 64  # pixels of a tiger, of a crop, of what the judge looks at
CROPS, WHOLE = 2, 1  # crops in a batch, each of another tiger; whole pictures afterwards
WHOLE_FROM = 0.74  # the share of the steps after which pictures are whole and features count
WEIGHTS = {"l1": 1.0, "edges": 1.0, "kl": 3e-4, "features": 0.02}  # of the loss's terms
CHANNELS, LATENT_CHANNELS = (32, 64, 96, 128), 8
VALIDATION_SEED = 1_950_000_000  # of tigers that training does not see


def new_autoencoder() -> AutoencoderKL:
    """Return the network, untrained: three halvings, no attention."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=CHANNELS, layers_per_block=1, latent_channels=LATENT_CHANNELS,
        norm_num_groups=8, sample_size=SIZE, mid_block_add_attention=False,
    )  # fmt: skip


def examples(
    tigers: list[Tiger], step: int, whole: bool, seed: int, device: str | torch.device = "cpu"
) -> Tensor:
    """Paint the batch of a step, float (B, 3, S, S); everything of it comes from (seed, step)."""
    count = WHOLE if whole else CROPS
    chosen = torch.randint(len(tigers), (count,), generator=seeded_generator(seed, step))
    images = paint([tigers[k] for k in chosen.tolist()], SIZE, device)
    x = to_float(images if whole else crops(images, CROP, each=1, seed=step))
    return x.contiguous(memory_format=torch.channels_last)


def autoencoder_loss(
    vae: AutoencoderKL,
    x: Tensor,
    noise: Tensor,
    judge: Judge | None,
    autocast: Callable[[], AbstractContextManager],
    weights: Mapping[str, float] = WEIGHTS,
) -> Tensor:
    """Return the weighted sum of the terms; features only where a judge is given."""
    terms = loss_terms(vae, x, noise, judge, autocast)
    return sum(weights[name] * term for name, term in terms.items())


def loss_terms(
    vae: AutoencoderKL,
    x: Tensor,
    noise: Tensor,
    judge: Judge | None,
    autocast: Callable[[], AbstractContextManager],
) -> dict[str, Tensor]:
    """Return L1, L1 of the edges, KL, and the mean squared error of the features of the judge."""
    with autocast():
        latent = vae.encode(x).latent_dist
    z = latent.mean.float() + latent.std.float() * noise
    with autocast():
        out = vae.decode(z).sample
    out = out.float()
    terms = {
        "l1": (out - x).abs().mean(),
        "edges": sum((out.diff(dim=d) - x.diff(dim=d)).abs().mean() for d in (2, 3)),
        "kl": latent.kl().float().mean() / noise[0].numel(),
    }
    if judge is not None:
        terms["features"] = F.mse_loss(judge.features(tiles(out)), judge.features(tiles(x)))
    return terms


def tiles(x: Tensor) -> Tensor:
    """Cut pictures (N, 3, S, S) into squares (N * (S // TILE)^2, 3, TILE, TILE)."""
    x = x.unfold(2, TILE, TILE).unfold(3, TILE, TILE)
    return x.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, TILE, TILE)


@torch.inference_mode()
def psnr(vae: AutoencoderKL, count: int = 8) -> float:
    """Return the mean over tigers that training does not see, in dB, of values in [-1, 1]."""
    device = next(vae.parameters()).device
    found = []
    for tiger in series(count, VALIDATION_SEED):
        x = to_float(paint([tiger], SIZE, device))
        back = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
        found.append(10 * torch.log10(4 / (back - x).square().mean()))
    return torch.stack(found).mean().item()
