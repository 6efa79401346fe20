"""Train the text-to-image model that the package ships, tigerdiff/pretrained/weights/mini-sd-tiger.

python tools/train_mini_sd.py

A latent diffusion model (Rombach et al. 2022) made of diffusers' and transformers' own classes,
small, and saved as an ordinary StableDiffusionPipeline: 256 pixels, 32 x 32 latents. Painted tigers
and their captions alone, without two combinations that are held out, to see whether it composes.
First the autoencoder (mini_autoencoder.py); then tigers are painted and encoded once; then text
encoder and U-Net together, on these latents. What has been trained is in --out: the same command
continues from there, exactly, also after SIGINT and SIGTERM, which end it after a step. It takes a
GPU where there is one, else the CPU: in the background, at low priority,
OMP_NUM_THREADS=1 nice -n 19 python tools/train_mini_sd.py

The autoencoder takes hours. With --autoencoder tigerdiff/pretrained/weights/mini-sd-tiger the one
that is shipped is kept, and only the rest is trained.
"""

import argparse
import json
import math
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from mini_autoencoder import (
    LATENT_CHANNELS,
    SIZE,
    WHOLE_FROM,
    autoencoder_loss,
    examples,
    new_autoencoder,
    psnr,
)
from mini_tokenizer import make_tokenizer
from report import head, weights_sha256
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm, trange
from transformers import CLIPTextModel

from tigerdiff import EMA, caption, paint, seeded_generator, series, to_float
from tigerdiff.data.files import replacing
from tigerdiff.devices import has_bfloat16
from tigerdiff.metrics.judge import shipped_judge
from tigerdiff.tigers.tiger import Tiger
from tigerdiff.training.loop import stratified_times
from tigerdiff.training.run import adamw

NAME = "mini-sd-tiger"
TARGET = Path(__file__).parent.parent / "tigerdiff/pretrained/weights" / NAME
TIGERS = 40_960  # in the pool, before the held out ones are taken away
ENCODED = 20_480  # of those left, whose latents the denoiser learns
SEED = 1_900_000_000  # of the tigers and of the training, far from what anyone looks at
HELD_OUT = ({"fur": "black", "backdrop": "snow"}, {"mouth": "roaring", "backdrop": "water"})
LATENT = SIZE // 8  # numbers along a side of a latent
CHANNELS, BATCH = (64, 128, 192), 32  # of the U-Net
TEXT_ENCODER = TARGET.with_name("mini-sd-tiger-64") / "text_encoder"  # it knows the words already
LEARNING_RATE, SAVE_EVERY = 1e-3, 250  # the rate falls to a hundredth in a straight line
PART = 1024  # tigers that are painted, encoded and written together
DROPPED = 0.1  # share of captions replaced by "", for guidance (Ho & Salimans 2022)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
autocast = partial(torch.autocast, DEVICE.type, torch.bfloat16, enabled=has_bfloat16())


def main() -> None:
    """Paint, train both stages until the steps or the minutes are over, write the pipeline."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs") / NAME)
    parser.add_argument("--autoencoder", type=Path, help="of this pipeline; default: train one")
    parser.add_argument("--vae-steps", type=int, default=13_600)
    parser.add_argument("--steps", type=int, default=15_000)
    parser.add_argument("--minutes", type=float, default=math.inf, help="of this call, at most")
    parser.add_argument("--compile", action="store_true", help="needs a C++ compiler on a CPU")
    options = parser.parse_args()
    told = options.autoencoder and options.autoencoder / "card.json"
    if told and not (told.exists() and "autoencoder_training" in told.read_text()):
        parser.error(
            f"{told} does not tell of an autoencoder: name a folder that this script wrote"
        )
    options.out.mkdir(parents=True, exist_ok=True)
    stop, end = Event(), time.monotonic() + 60 * options.minutes

    def over() -> bool:
        return stop.is_set() or time.monotonic() > end

    for asked in (signal.SIGINT, signal.SIGTERM):  # each saves what is done
        signal.signal(asked, lambda *_: stop.set())
    tigers = [tiger for tiger in series(TIGERS, SEED) if not held_out(tiger)][:ENCODED]
    tokenizer = make_tokenizer(options.out / "tokenizer")
    vae, about = train_autoencoder(tigers, options, over)
    encoder = weights_sha256((options.autoencoder or options.out / "autoencoder") / "vae")[:8]
    encoded = options.out / f"latents-{encoder}"  # another autoencoder makes other latents
    encoded.mkdir(exist_ok=True)
    latents = encode(vae, tigers, encoded, over)
    scale = 1 / latents.std().item()
    nets, steps = train_denoiser(latents * scale, tigers, tokenizer, options, over)
    vae.register_to_config(scaling_factor=scale)
    pipeline = StableDiffusionPipeline(
        **nets, vae=vae, tokenizer=tokenizer, scheduler=scheduler(), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    card = {
        "what": f"draws painted tigers of {SIZE} x {SIZE} pixels from captions",
        **head("python tools/train_mini_sd.py"),
        "data": "painted",
        "seed": SEED,
        "tigers": len(tigers),
        "held_out": HELD_OUT,
        "autoencoder_training": about,
        "steps": steps,
        "images_seen": {"unet": steps * BATCH},
    }
    export(pipeline, card)
    print(json.dumps(card, indent=2))


def held_out(tiger: Tiger) -> bool:
    """Say whether a tiger is of a combination that training must not see."""
    return any(
        all(getattr(tiger, name) == value for name, value in combination.items())
        for combination in HELD_OUT
    )


def train_autoencoder(
    tigers: list[Tiger], options: argparse.Namespace, over: Callable[[], bool]
) -> tuple[AutoencoderKL, dict]:
    """Train on crops, then on whole pictures, unless it is there; return it and its card."""
    folder = options.autoencoder or options.out / "autoencoder"
    judge = shipped_judge(DEVICE)
    measured = torch.compile(autoencoder_loss) if options.compile else autoencoder_loss

    def loss(vae: nn.Module, step: int) -> Tensor:
        whole = step >= WHOLE_FROM * options.vae_steps
        x = examples(tigers, step, whole, SEED, DEVICE)
        shape = len(x), LATENT_CHANNELS, x.shape[2] // 8, x.shape[3] // 8
        noise = torch.randn(shape, generator=seeded_generator(SEED, step, 1)).to(DEVICE)
        return measured(vae, x, noise, judge if whole else None, autocast)

    if not (folder / "card.json").exists():
        torch.manual_seed(SEED)
        vae = new_autoencoder()
        vae, steps = fit("vae", vae, loss, options.vae_steps, 100, options, over, psnr)
        card = head("python tools/train_mini_sd.py") | {"steps": steps, "psnr": psnr(vae, 64)}
        vae.half().save_pretrained(folder / "vae")
        with replacing(folder / "card.json") as part:
            part.write_text(json.dumps({"autoencoder_training": card}, indent=2) + "\n")
    card = json.loads((folder / "card.json").read_text())["autoencoder_training"]
    vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32)
    return vae.to(DEVICE, memory_format=torch.channels_last).eval().requires_grad_(False), card


@torch.inference_mode()
def encode(vae: AutoencoderKL, tigers: list[Tiger], out: Path, over: Callable[[], bool]) -> Tensor:
    """Return the latents' means (N, C, 32, 32) of all tigers."""
    parts = []
    for start in trange(0, len(tigers), PART, desc="encode"):
        path = out / f"latents-{start:06d}.safetensors"
        if not path.exists():
            means = []
            for first in range(start, min(start + PART, len(tigers)), 16):
                if over():
                    sys.exit(f"{start} tigers are encoded: the same command continues")
                some = tigers[first : min(first + 16, start + PART)]
                with autocast():
                    latent = vae.encode(to_float(paint(some, SIZE, DEVICE))).latent_dist
                means.append(latent.mean.float().cpu())
            with replacing(path) as part:
                save_file({"means": torch.cat(means).contiguous()}, part)
        parts.append(load_file(path)["means"])
    return torch.cat(parts)


def train_denoiser(
    latents: Tensor, tigers: list[Tiger], tokenizer: Callable,
    options: argparse.Namespace, over: Callable[[], bool],
) -> tuple[nn.ModuleDict, int]:  # fmt: skip
    """Train U-Net and text encoder by the loss of v (Salimans & Ho 2022)."""
    torch.manual_seed(SEED + 1)
    text_encoder = CLIPTextModel.from_pretrained(TEXT_ENCODER).float()
    unet = UNet2DConditionModel(
        sample_size=LATENT, in_channels=LATENT_CHANNELS, out_channels=LATENT_CHANNELS,
        layers_per_block=1, block_out_channels=CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=text_encoder.config.hidden_size, attention_head_dim=4,
        norm_num_groups=16,
    )  # fmt: skip
    unet.set_attn_processor(AttnProcessor())  # written out, faster in bfloat16 on a CPU
    nets = nn.ModuleDict({"unet": unet, "text_encoder": text_encoder})
    noising = scheduler()

    def predicted(nets: nn.ModuleDict, xt: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        with autocast():
            return nets["unet"](xt, t, nets["text_encoder"](ids)[0]).sample.float()

    predict = torch.compile(predicted) if options.compile else predicted

    def loss(nets: nn.ModuleDict, step: int) -> Tensor:
        generator = seeded_generator(SEED + 1, step)
        chosen = torch.randint(len(latents), (BATCH,), generator=generator)
        captioned = torch.rand(BATCH, generator=generator) >= DROPPED
        words = [
            caption(tigers[k], seed=step) if wanted else ""
            for k, wanted in zip(chosen.tolist(), captioned.tolist())
        ]
        x0 = latents[chosen]
        eps = torch.randn(x0.shape, generator=generator)
        t = stratified_times(noising.config.num_train_timesteps, BATCH, generator) - 1
        xt, v = noising.add_noise(x0, eps, t), noising.get_velocity(x0, eps, t)
        tokens = tokenizer(words, padding="max_length", truncation=True, return_tensors="pt")
        out = predict(nets, xt.to(DEVICE), t.to(DEVICE), tokens.input_ids.to(DEVICE))
        return F.mse_loss(out, v.to(DEVICE))

    return fit("denoiser", nets, loss, options.steps, 200, options, over)


def scheduler() -> DDIMScheduler:
    """Return the scheduler of training and drawing: cosine, v, x0 of latents not clipped."""
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", clip_sample=False,
        set_alpha_to_one=True, timestep_spacing="trailing", steps_offset=1,
    )  # fmt: skip


def fit(
    name: str, network: nn.Module, loss: Callable[[nn.Module, int], Tensor], steps: int,
    warmup: int, options: argparse.Namespace, over: Callable[[], bool],
    measure: Callable[[nn.Module], float] | None = None,
) -> tuple[nn.Module, int]:  # fmt: skip
    """Train; return the averaged network and the steps made; exit, all saved, when it is over."""
    path = options.out / f"{name}.safetensors"
    network.to(DEVICE, memory_format=torch.channels_last)
    ema, optimizer = EMA(network, 0.999), adamw(network, LEARNING_RATE)
    if path.exists():
        restore(path, network, ema, optimizer)
    progress = tqdm(range(ema.step, steps), name, total=steps, initial=ema.step, mininterval=30)
    for step in progress:
        rate = min(1, (step + 1) / warmup) * max(0.01, 1 - step / steps)
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * rate
        value = loss(network, step)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        ema.update(network)
        progress.set_postfix(loss=f"{value.item():.4f}", refresh=False)
        stopped = over()
        if stopped or ema.step == steps or ema.step % SAVE_EVERY == 0:
            store(path, network, ema, optimizer)
            if measure:
                print(f"{name} {ema.step}: {measure(ema.model):.2f} dB", flush=True)
        if stopped and ema.step < steps:
            sys.exit(f"{name} has made {ema.step} steps: the same command continues")
    return ema.model, ema.step


def store(path: Path, network: nn.Module, ema: EMA, optimizer: torch.optim.Optimizer) -> None:
    """Write all that an exact resume takes, in one file that appears whole."""
    tensors = {f"network {name}": x for name, x in network.state_dict().items()}
    tensors |= {f"ema {name}": x for name, x in ema.model.state_dict().items()}
    for k, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer {k} {name}": x for name, x in moments.items()}
    with replacing(path) as part:
        save_file(
            {name: x.contiguous() for name, x in tensors.items()}, part, {"step": str(ema.step)}
        )


def restore(path: Path, network: nn.Module, ema: EMA, optimizer: torch.optim.Optimizer) -> None:
    """Put what `store` wrote into place."""
    with safe_open(path, "pt") as file:
        ema.step = int(file.metadata()["step"])
    parts: dict[str, dict] = defaultdict(dict)
    for title, x in load_file(path).items():
        part, name = title.split(" ", 1)
        parts[part][name] = x
    network.load_state_dict(parts["network"])
    ema.model.load_state_dict(parts["ema"])
    for k, weight in enumerate(network.parameters()):
        for name in ("step", "exp_avg", "exp_avg_sq"):
            value = parts["optimizer"][f"{k} {name}"]
            if name != "step":  # in the weight's memory layout, as AdamW made it
                value = torch.empty_like(weight, requires_grad=False).copy_(value)
            optimizer.state[weight][name] = value.to(weight.device, copy=True)  # not the file's


def export(pipeline: StableDiffusionPipeline, card: dict) -> None:
    """Write the pipeline in float16, and its card, into the package, for every transformers.

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
