"""The three networks that are compared: as many parameters and FLOPs in each, at each size.

Ours is what ``TrainConfig`` gives at that size. The arguments that make the others equal to it are
in ``matched.json``, which ``python -m bench.match`` writes.
"""

import importlib.util
import json
import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tigerdiff import TrainConfig

OURS, DIFFUSERS, LUCIDRAINS = "tigerdiff", "diffusers", "denoising-diffusion-pytorch"
LIBRARIES = [OURS, DIFFUSERS]
if importlib.util.find_spec("denoising_diffusion_pytorch"):  # the tests run without it too
    LIBRARIES.append(LUCIDRAINS)
MATCHED = Path(__file__).parent / "matched.json"
SIZES = (16, 32, 64)  # 16 is for --quick


def our_config(
    data: object = "painted", out: str = "unused", size: int = 32, **more: object
) -> TrainConfig:
    """Return our defaults at a size; all that the bench knows of our arguments is here."""
    if size == 16:  # for the tests alone: a small network
        more = {"channels": 16, **more}
    return TrainConfig(data=data, out=out, image_size=size, **more)


def ours(size: int) -> nn.Module:
    """Return our network at a size."""
    return our_config(size=size).network()


def diffusers_unet(size: int, widths: list[int], layers: int) -> nn.Module:
    """Return ``UNet2DModel`` with attention at 8 px and in the middle, as documented."""
    from diffusers import UNet2DModel

    attends = [size >> level == 8 for level in range(len(widths))]
    return UNet2DModel(
        sample_size=size,
        in_channels=3,
        out_channels=3,
        layers_per_block=layers,
        block_out_channels=widths,
        down_block_types=[("Attn" if a else "") + "DownBlock2D" for a in attends],
        up_block_types=[("Attn" if a else "") + "UpBlock2D" for a in reversed(attends)],
        norm_num_groups=math.gcd(32, *widths),  # its default, 32, where the widths allow it
    )


def lucidrains_unet(size: int, dim: int, multipliers: list[int]) -> nn.Module:
    """Return denoising-diffusion-pytorch's ``Unet``: linear attention above, full at the bottom."""
    from denoising_diffusion_pytorch import Unet

    return Unet(dim=dim, dim_mults=tuple(multipliers))


BUILDERS = {OURS: ours, DIFFUSERS: diffusers_unet, LUCIDRAINS: lucidrains_unet}


def matched(size: int) -> dict[str, dict]:
    """Return by library the arguments of its network at this size, and its counts."""
    return json.loads(MATCHED.read_text())[str(size)]


def network(library: str, size: int) -> nn.Module:
    """Return a fresh network of a library at a size."""
    return BUILDERS[library](size, **matched(size)[library]["arguments"])


def answer(model: nn.Module, xt: Tensor, t: Tensor) -> Tensor:
    """Return what a network of any library predicts."""
    output = model(xt, t)
    return output if isinstance(output, Tensor) else output.sample


def counted(model: nn.Module, size: int, training: bool = True) -> dict[str, int]:
    """Count parameters, and FLOPs per image of a forward pass and of forward and backward."""
    xt, t = torch.empty(1, 3, size, size, device="meta"), torch.ones(1, device="meta")
    model = model.to("meta")  # shapes alone: nothing is computed
    with FlopCounterMode(display=False) as forward:
        loss = answer(model, xt, t).square().mean()
    counts = {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "forward_flops": forward.get_total_flops(),
    }
    if training:
        with FlopCounterMode(display=False) as backward:
            loss.backward()
        counts["training_flops"] = counts["forward_flops"] + backward.get_total_flops()
    return counts


def counts(library: str, size: int) -> dict[str, int]:
    """Return :func:`counted` of a library's network, built now."""
    with torch.device("meta"):
        return counted(network(library, size), size)
