"""Train the text-to-image model that the package ships, tigerdiff/pretrained/weights/mini-sd-tiger.

python tools/train_mini_sd.py --minutes 120

A latent diffusion model (Rombach et al. 2022) made of diffusers' and transformers' own classes,
small, and saved as an ordinary StableDiffusionPipeline. Painted tigers and their captions alone,
without two combinations that are held out, to see whether it composes. First the autoencoder, then
text encoder and U-Net together, on the latents. What has been trained is in --out; the same command
goes on from there. On a GPU the same command takes minutes.
"""

import argparse
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from mini_tokenizer import make_tokenizer
from report import head
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm, trange
from transformers import CLIPTextConfig, CLIPTextModel

from tigerdiff import EMA, caption, procedural_tigers, to_float
from tigerdiff.data.files import replacing
from tigerdiff.data.tensors import seeded_generator
from tigerdiff.devices import has_bfloat16
from tigerdiff.tigers.tiger import Tiger
from tigerdiff.training.run import adamw

NAME = "mini-sd-tiger"
TARGET = Path(__file__).parent.parent / "tigerdiff/pretrained/weights" / NAME
TIGERS = 40_960  # in the pool, before the held out ones are taken away
SEED = 1_900_000_000  # of the tigers and of the training, far from what anyone looks at
HELD_OUT = ({"fur": "black", "backdrop": "snow"}, {"mouth": "roaring", "backdrop": "water"})
VAE_BATCH, BATCH = 16, 64
DROPPED = 0.1  # share of captions replaced by "", for guidance (Ho & Salimans 2022)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
autocast = partial(torch.autocast, DEVICE.type, torch.bfloat16, enabled=has_bfloat16())


def main() -> None:
    """Paint, train both stages until the steps or the minutes are over, write the pipeline."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs") / NAME)
    parser.add_argument("--vae-steps", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--minutes", type=float, default=math.inf, help="of this call, at most")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * options.minutes
    images, tigers = pool(options.out)
    tokenizer = make_tokenizer(options.out / "tokenizer")
    vae, vae_steps = train_autoencoder(images, options, end)
    if vae_steps < options.vae_steps:
        sys.exit(f"the autoencoder has made {vae_steps} steps: the same command goes on")
    latents, scale = encode(vae, images)
    nets, steps = train_denoiser(latents * scale, tigers, tokenizer, options, end)
    vae.register_to_config(scaling_factor=scale)
    pipeline = StableDiffusionPipeline(
        vae=vae, unet=nets["unet"], text_encoder=nets["text_encoder"], tokenizer=tokenizer,
        scheduler=scheduler(), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    card = {
        "what": "draws painted tigers of 64 x 64 pixels from captions",
        **head("python tools/train_mini_sd.py"),
        "data": "painted",
        "seed": SEED,
        "tigers": len(images),
        "held_out": HELD_OUT,
        "vae_steps": vae_steps,
        "steps": steps,
        "images_seen": {"vae": vae_steps * VAE_BATCH, "unet": steps * BATCH},
    }
    export(pipeline, card)
    print(json.dumps(card, indent=2))


def pool(out: Path) -> tuple[Tensor, list[Tiger]]:
    """The tigers to learn from, uint8 (N, 3, 64, 64): painted once, then read again."""
    path, attributes = out / "tigers.safetensors", out / "tigers.json"
    if not path.exists():
        images, tigers = [], []
        for start in trange(0, TIGERS, 1024, desc="paint"):
            some, their = procedural_tigers(1024, 64, SEED, DEVICE, start=start)
            kept = [k for k, tiger in enumerate(their) if not held_out(tiger)]
            images.append(some[kept].cpu())
            tigers += [asdict(their[k]) for k in kept]
        attributes.write_text(json.dumps(tigers))
        with replacing(path) as part:
            save_file({"images": torch.cat(images)}, part)
    return load_file(path)["images"], [Tiger(**x) for x in json.loads(attributes.read_text())]


def held_out(tiger: Tiger) -> bool:
    """Whether it is of a combination that training must not see."""
    return any(
        all(getattr(tiger, name) == value for name, value in combination.items())
        for combination in HELD_OUT
    )


def train_autoencoder(
    images: Tensor, options: argparse.Namespace, end: float
) -> tuple[AutoencoderKL, int]:
    """To 4 channels at a quarter of the size, and back: L1, edges, and a little KL."""
    torch.manual_seed(SEED)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 96), layers_per_block=1, latent_channels=4, norm_num_groups=8,
        sample_size=64,
    )  # fmt: skip

    def loss(vae: AutoencoderKL, step: int) -> Tensor:
        generator = seeded_generator(SEED, step)
        chosen = torch.randint(len(images), (VAE_BATCH,), generator=generator)
        x = to_float(images[chosen].to(DEVICE))
        with autocast():
            latent = vae.encode(x).latent_dist
        noise = torch.randn(latent.mean.shape, generator=generator).to(x.device)
        with autocast():
            out = vae.decode(latent.mean.float() + latent.std.float() * noise).sample
        out, kl = out.float(), latent.kl().float().mean() / noise[0].numel()
        edges = sum((out.diff(dim=d) - x.diff(dim=d)).abs().mean() for d in (2, 3))
        return (out - x).abs().mean() + edges + 1e-3 * kl

    return fit("vae", vae, loss, options.vae_steps, 100, options, end)


@torch.inference_mode()
def encode(vae: AutoencoderKL, images: Tensor) -> tuple[Tensor, float]:
    """The latents' means (N, 4, 16, 16), and one over their standard deviation."""
    parts = [vae.encode(to_float(x.to(DEVICE))).latent_dist.mean.cpu() for x in images.split(256)]
    latents = torch.cat(parts)
    return latents, 1 / latents.std().item()


def train_denoiser(
    latents: Tensor, tigers: list[Tiger], tokenizer: Callable,
    options: argparse.Namespace, end: float,
) -> tuple[nn.ModuleDict, int]:  # fmt: skip
    """Text encoder and U-Net, from nothing, by the loss of v (Salimans & Ho 2022)."""
    torch.manual_seed(SEED + 1)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=512, num_hidden_layers=3,
        num_attention_heads=4, max_position_embeddings=tokenizer.model_max_length,
        projection_dim=128, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=16, layers_per_block=1, block_out_channels=(64, 96, 160),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=128, attention_head_dim=4, norm_num_groups=16,
    )  # fmt: skip
    unet.set_attn_processor(AttnProcessor())  # written out, faster in bfloat16 on a CPU
    nets = nn.ModuleDict({"unet": unet, "text_encoder": CLIPTextModel(text)})
    noising = scheduler()

    def loss(nets: nn.ModuleDict, step: int) -> Tensor:
        generator = seeded_generator(SEED + 1, step)
        chosen = torch.randint(len(latents), (BATCH,), generator=generator)
        told = torch.rand(BATCH, generator=generator) >= DROPPED
        words = [
            caption(tigers[k], seed=step) if tell else ""
            for k, tell in zip(chosen.tolist(), told.tolist())
        ]
        x0 = latents[chosen]
        eps = torch.randn(x0.shape, generator=generator)
        t = torch.randint(noising.config.num_train_timesteps, (BATCH,), generator=generator)
        xt, v = noising.add_noise(x0, eps, t), noising.get_velocity(x0, eps, t)
        tokens = tokenizer(words, padding="max_length", truncation=True, return_tensors="pt")
        with autocast():
            states = nets["text_encoder"](tokens.input_ids.to(DEVICE))[0]
            out = nets["unet"](xt.to(DEVICE), t.to(DEVICE), states).sample
        return F.mse_loss(out.float(), v.to(DEVICE))

    return fit("denoiser", nets, loss, options.steps, 200, options, end)


def scheduler() -> DDIMScheduler:
    """Of training and drawing: cosine, v; its x0 is not clipped, as latents have no bounds."""
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", clip_sample=False,
        set_alpha_to_one=True, timestep_spacing="trailing", steps_offset=1,
    )  # fmt: skip


def fit(
    name: str, network: nn.Module, loss: Callable[[nn.Module, int], Tensor], steps: int,
    warmup: int, options: argparse.Namespace, end: float,
) -> tuple[nn.Module, int]:  # fmt: skip
    """The averaged network after the steps, or after the time, and the number of steps made."""
    path = options.out / f"{name}.safetensors"
    network.to(DEVICE, memory_format=torch.channels_last)
    ema, optimizer = EMA(network, 0.999), adamw(network, 1e-3)
    if path.exists():
        restore(path, network, ema, optimizer)
    bar = tqdm(range(ema.step, steps), name, steps, initial=ema.step, mininterval=30)
    for step in bar:
        optimizer.param_groups[0]["lr"] = 1e-3 * min(1, (step + 1) / warmup)
        value = loss(network, step)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        ema.update(network)
        bar.set_postfix(loss=f"{value.item():.4f}", refresh=False)
        over = time.monotonic() > end
        if over or ema.step == steps or ema.step % 250 == 0:
            store(path, network, ema, optimizer)
        if over:
            break
    return ema.model, ema.step


def store(path: Path, network: nn.Module, ema: EMA, optimizer: torch.optim.Optimizer) -> None:
    """Everything that going on exactly takes, in one file that appears whole."""
    tensors = {f"network {name}": x for name, x in network.state_dict().items()}
    tensors |= {f"ema {name}": x for name, x in ema.model.state_dict().items()}
    for k, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer {k} {name}": x for name, x in moments.items()}
    with replacing(path) as part:
        save_file(
            {name: x.contiguous() for name, x in tensors.items()}, part, {"step": str(ema.step)}
        )


def restore(path: Path, network: nn.Module, ema: EMA, optimizer: torch.optim.Optimizer) -> None:
    """What `store` wrote, into place."""
    with safe_open(path, "pt") as file:
        ema.step = int(file.metadata()["step"])
    parts: dict = {"network": {}, "ema": {}, "optimizer": defaultdict(dict)}
    for title, x in load_file(path).items():
        part, name = title.split(" ", 1)
        if part == "optimizer":
            k, name = name.split()
            parts[part][int(k)][name] = x
        else:
            parts[part][name] = x
    network.load_state_dict(parts["network"])
    ema.model.load_state_dict(parts["ema"])
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": parts["optimizer"], "param_groups": groups})


def export(pipeline: StableDiffusionPipeline, card: dict) -> None:
    """The pipeline in float16, and its card, into the package, in the form that all can read.

    transformers 4 wants the tokenizer's two files. It and 5.0 to 5.5 want the text encoder's
    names to begin with text_model, without which they would make up the weights.
    """
    pipeline.to(dtype=torch.float16).save_pretrained(TARGET)
    make_tokenizer(TARGET / "tokenizer")
    path = TARGET / "text_encoder/model.safetensors"
    weights = {f"text_model.{x.removeprefix('text_model.')}": w for x, w in load_file(path).items()}
    save_file(weights, path, {"format": "pt"})
    # What it computes in is decided by who loads it, not by how it was stored.
    path = TARGET / "text_encoder/config.json"
    config = json.loads(path.read_text())
    config = {k: "float32" if k in ("dtype", "torch_dtype") else x for k, x in config.items()}
    path.write_text(json.dumps(config, indent=2) + "\n")
    (TARGET / "card.json").write_text(json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    main()
