"""What is asked of the text-to-image model, how it draws it, and how often it is right."""

import itertools
from dataclasses import replace

import torch
from diffusers import StableDiffusionPipeline
from picture_sets import all_shown
from torch import Tensor
from tqdm import tqdm
from train_mini_sd import HELD_OUT

from tigerdiff import caption, procedural_tigers, seeded_generator, to_uint8
from tigerdiff.commands.pictures import REFERENCE_SEED
from tigerdiff.devices import has_bfloat16
from tigerdiff.tigers.tiger import CHOICES, Tiger

ASKED = ("fur", "backdrop", "mouth", "age")
STEPS, BATCH = 20, 40
COMBINATIONS = [
    dict(zip(ASKED, words)) for words in itertools.product(*(CHOICES[name] for name in ASKED))
]


def new(asked: dict) -> bool:
    """Say whether training saw no tiger of this combination."""
    return any(combination.items() <= asked.items() for combination in HELD_OUT)


def prompt(asked: dict, k: int) -> str:
    """Return words for a combination, as those that training saw; the k-th wording."""
    (tiger,) = procedural_tigers(1, 16, REFERENCE_SEED + 2, start=k)[1]
    return caption(as_asked(tiger, asked), seed=k)


def as_asked(tiger: Tiger, asked: dict) -> Tiger:
    """Give a tiger a combination's attributes, and a time of day that its backdrop has."""
    daytime = tiger.daytime if tiger.daytime != "night" else "noon"
    daytime = "night" if asked["backdrop"] == "night" else daytime
    return replace(tiger, **asked, daytime=daytime)


@torch.inference_mode()
def drawn(
    pipe: StableDiffusionPipeline, wanted: list[dict], guidance_scale: float, seed: int,
    same_words: bool = False,
) -> Tensor:  # fmt: skip
    """Draw one picture for each, uint8 (N, 3, S, S); the same noise for each guidance scale."""
    parts = []
    autocast = torch.autocast(pipe.device.type, torch.bfloat16, enabled=has_bfloat16())
    for start in tqdm(range(0, len(wanted), BATCH), desc=f"guidance {guidance_scale}", leave=False):
        some = wanted[start : start + BATCH]
        config = pipe.unet.config
        shape = len(some), config.in_channels, config.sample_size, config.sample_size
        noise = torch.randn(shape, generator=seeded_generator(seed, start))
        with autocast:
            x = pipe(
                [prompt(asked, 0 if same_words else start + k) for k, asked in enumerate(some)],
                latents=noise,
                guidance_scale=guidance_scale, num_inference_steps=STEPS, output_type="pt",
            ).images  # fmt: skip
        parts.append(to_uint8(x.float() * 2 - 1).cpu())
    return torch.cat(parts)


def shown(images: Tensor, wanted: list[dict]) -> dict:
    """Return the share of the pictures that show what was asked, by attribute and in "all"."""
    return all_shown(images, [{name: x[name] for name in ASKED} for x in wanted])


def shown_of(combination: dict, images: Tensor, wanted: list[dict]) -> dict:
    """Return `shown` of those drawings that were asked for this combination."""
    chosen = [k for k, asked in enumerate(wanted) if combination.items() <= asked.items()]
    return shown(images[chosen], [wanted[k] for k in chosen])


def spread(features: Tensor, kinds: list[tuple]) -> float:
    """Return the mean distance between two pictures of one kind, in the judge's features."""
    total, pairs = 0.0, 0
    for kind in set(kinds):
        same = features[[k for k, other in enumerate(kinds) if other == kind]]
        total += torch.pdist(same).sum().item()
        pairs += len(same) * (len(same) - 1) // 2
    return total / pairs
