"""What the text-to-image model is compared with: painted tigers, one prompt, its autoencoder."""

import torch
from diffusers import StableDiffusionPipeline
from mini_drawings import ASKED, as_asked, drawn, shown, spread
from torch import Tensor
from torchvision.transforms.functional import resize

from tigerdiff import crops, paint, procedural_tigers, series, to_float, to_uint8
from tigerdiff.commands.pictures import REFERENCE_SEED
from tigerdiff.metrics.distances import frechet, image_features
from tigerdiff.metrics.eyes import eye_difference

PART = 128  # tigers that are painted and looked at together


def references(count: int, size: int) -> tuple[Tensor, Tensor, dict]:
    """Return features of painted tigers, of a crop of each, and what the judge reads on them."""
    features, details, right, kinds = [], [], [], []
    for start in range(0, count, PART):
        images, tigers = procedural_tigers(
            min(PART, count - start), size, REFERENCE_SEED, start=start
        )
        features.append(image_features(images))
        details.append(image_features(crops(images, each=1, seed=start)))
        right.append(shown(images, [vars(x) for x in tigers]))
        kinds += [tuple(getattr(tiger, name) for name in ASKED) for tiger in tigers]
    counts = torch.tensor([len(x) for x in features], dtype=torch.float64)
    read = {
        name: (counts @ counts.new_tensor([row[name] for row in right])).item() / count
        for name in right[0]
    }
    whole = torch.cat(features)
    unlike = eyes(procedural_tigers(PART, size, REFERENCE_SEED)[0])
    floor = {"n": count // 2, "size": size, "spread": spread(whole, kinds), "eyes": unlike, **read}
    return whole, torch.cat(details), floor


def eyes(images: Tensor) -> float:
    """Return how much the two eyes differ on average, at 64 pixels, for which the judge is made."""
    return eye_difference(resize(images, [64, 64], antialias=True)).mean().item()


def one_prompt(pipe: StableDiffusionPipeline, seed: int, count: int = 8) -> dict:
    """Return how much drawings of one prompt differ, and painted tigers of the same words."""
    asked = {"fur": "orange", "backdrop": "jungle", "mouth": "closed", "age": "adult"}
    images = drawn(pipe, [asked] * count, 3.0, seed, same_words=True)
    size = images.shape[-1]
    painted = paint([as_asked(tiger, asked) for tiger in series(count, REFERENCE_SEED)], size)
    drawings, truth = (spread(image_features(x), [0] * count) for x in (images, painted))
    return {"n": count, "guidance_scale": 3.0, "spread": drawings, "spread_of_painted": truth}


@torch.inference_mode()
def autoencoder(pipe: StableDiffusionPipeline, count: int = 256) -> dict:
    """Return what comes back of tigers that are only encoded and decoded."""
    known, back, decibels, tigers = [], [], [], []
    for start in range(0, count, 16):
        images, some = procedural_tigers(
            min(16, count - start), pipe.vae.config.sample_size, REFERENCE_SEED, start=start
        )
        x0 = to_float(images).to(pipe.device)
        x = pipe.vae.decode(pipe.vae.encode(x0).latent_dist.mean).sample.clamp(-1, 1)
        decibels.append(10 * torch.log10(4 / (x - x0).square().mean((1, 2, 3))))
        known.append(images)
        back.append(to_uint8(x).cpu())
        tigers += [vars(tiger) for tiger in some]
    images, found = torch.cat(known), torch.cat(back)
    details = [image_features(crops(x, each=1)) for x in (found, images)]
    return {
        "n": count,
        "psnr": torch.cat(decibels).mean().item(),
        "frechet_to_the_same": frechet(image_features(found), image_features(images)),
        "frechet_of_crops_to_the_same": frechet(*details),
        "eyes": eyes(found),
        **shown(found, tigers),
    }
