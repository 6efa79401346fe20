"""What the scripts that measure say of a set of pictures: distances, copies, words."""

import torch
from torch import Tensor

from tigerdiff import procedural_tigers
from tigerdiff.commands.results import COPY
from tigerdiff.metrics.distances import frechet, image_features, mean_mmd
from tigerdiff.metrics.prompts import judge
from tigerdiff.tigers.tiger import CHOICES


def distances(found: Tensor, known: Tensor) -> dict:
    """Return both distances between features, with their standard errors.

    The error of the Fréchet distance comes from drawing the pictures again with replacement.
    """
    kernel, error = mean_mmd(found, known)
    again = torch.Generator().manual_seed(0)
    resampled = [
        frechet(found[torch.randint(len(found), (len(found),), generator=again)], known)
        for _ in range(20)
    ]
    return {
        "frechet": frechet(found, known),
        "frechet_standard_error": torch.tensor(resampled).std().item(),
        "kernel": kernel,
        "kernel_standard_error": error,
    }


def copies(drawn: Tensor, fresh: Tensor, card: dict, size: int) -> dict:
    """Compare features of drawings, and of fresh tigers, with the nearest picture of the training.

    Mirrored ones count too, as training saw them. Scores are in units of what is usual for a fresh
    tiger: 1 for a new picture, 0 for a copy.
    """
    both = torch.cat([drawn, fresh])
    best = torch.full((len(both),), torch.inf, dtype=torch.float64)
    for start in range(0, card["tigers"], 2048):
        count = min(2048, card["tigers"] - start)
        images = procedural_tigers(count, size, card["seed"], start=start)[0]
        known = image_features(torch.cat([images, images.flip(-1)]))
        best = best.minimum(torch.cdist(both, known).amin(1))
    scores = (best / best[len(drawn) :].median()).split([len(drawn), len(fresh)])
    return {"among": 2 * card["tigers"]} | dict(zip(("drawn", "fresh"), map(summary, scores)))


def summary(score: Tensor) -> dict:
    """Summarise the scores of the nearest neighbours of many pictures (N,)."""
    return {
        "median_score": score.median().item(),
        "lowest_score": score.min().item(),
        "copies": (score < COPY).double().mean().item(),
    }


def shares(images: Tensor) -> dict:
    """Count how often the judge sees each word, as shares of the pictures."""
    read = judge(images)
    return {
        name: {word: read[name].count(word) / len(images) for word in words}
        for name, words in CHOICES.items()
    }


def all_shown(images: Tensor, asked: list[dict]) -> dict:
    """Return the share of the pictures that show what was asked, by attribute and in "all"."""
    read = judge(images)
    right = {
        name: torch.tensor([word == x[name] for word, x in zip(read[name], asked)])
        for name in asked[0]
    }
    right["all"] = torch.stack([*right.values()]).all(0)
    return {name: x.double().mean().item() for name, x in right.items()}
