"""How good drawings are: distances between sets of pictures.

They compare features of the pictures, by default those of the *judge*, a small network that comes
with the package. Distances are only comparable between sets of the same number of pictures of the
same size, measured with the same features.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tigerdiff.checks import check_kind, in_short, whole_number
from tigerdiff.data.tensors import seeded_generator
from tigerdiff.metrics.inception import inception
from tigerdiff.metrics.judge import BATCH, checked, shipped_judge

Features = str | Callable[[Tensor], Tensor]
EXACT = "donot_use_mm_for_euclid_dist"  # products of matrices would keep doubles apart


class KernelDistance(NamedTuple):
    """An unbiased estimate, which may fall below 0, and its standard error."""

    distance: float
    standard_error: float


class Neighbours(NamedTuple):
    """Places of the nearest references, int64 (N,); their distances and scores, float64 (N,)."""

    reference: Tensor
    distance: Tensor
    score: Tensor


def frechet_distance(
    images_a: Tensor, images_b: Tensor, *, features: Features = "judge", extrapolate: bool = False
) -> float:
    """Compute the squared Fréchet distance between Gaussians fitted to the features of two sets.

    ``|mean_a - mean_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))`` (Heusel et al. 2017, eq. 6). With
    ``features="inception"`` this is the FID, computed with the network of torchmetrics.

    Few pictures make it too large, by about ``c / n`` for n in each set: between painted tigers of
    two seeds it is 11 at n = 256, 2.8 at 1024, 0.7 at 4096. ``extrapolate`` leaves 0.0 ± 0.1 at
    1024 (after Chong & Forsyth 2020).

    Args:
        images_a: uint8 (N, 3, S, S), at least 2.
        images_b: uint8 (M, 3, R, R), at least 2; N and M, and S and R, should be equal.
        features: "judge", "inception" (2048 features; needs ``tigerdiff[inception]`` and 95 MB of
            weights, downloaded once), or a function from uint8 images to float (N, D).
        extrapolate: split both sets into k = 1 ... 5 parts, average the distances of the parts for
            each k, and follow the line through these averages to k = 0, where n is infinite. Takes
            at least 10 images of each; 5 times the number of features are better.

    Returns:
        The distance, at least 0; an extrapolated one may fall below.

    Raises:
        ValueError: the pictures are not as above, or too few, or a download is damaged.
        ImportError: what Inception needs is not installed.
        ConnectionError: the Inception weights could not be downloaded.
    """
    fewest = 10 if extrapolate else 2
    a = image_features(checked(images_a, "images_a", fewest), features)
    b = image_features(checked(images_b, "images_b", fewest), features)
    return extrapolated_frechet(a, b) if extrapolate else frechet(a, b)


def kernel_distance(
    images_a: Tensor,
    images_b: Tensor,
    *,
    features: Features = "judge",
    subsets: int = 10,
    seed: int = 0,
) -> KernelDistance:
    """Estimate the squared maximum mean discrepancy between the features of two sets, unbiased.

    Gretton et al. 2012, eq. 3, with the kernel ``(x . y / D + 1)^3`` for D features, as in the
    kernel inception distance (Bińkowski et al. 2018), which ``features="inception"`` makes it. Both
    sets are split at random into disjoint subsets, which are independent of each other: the
    standard error of their mean is honest (Zaremba et al. 2013).

    Args:
        images_a: uint8 (N, 3, S, S), at least 2 for each subset.
        images_b: uint8 (M, 3, R, R), the other set.
        features: as in :func:`frechet_distance`, with its errors.
        subsets: number of subsets, at least 2. More of them make each estimate less exact.
        seed: of the split, 0 ... 2**64 - 1.

    Returns:
        ``(distance, standard_error)``. For equal distributions the distance is 0 on average at any
        number of pictures.

    Raises:
        ValueError: the pictures or ``subsets`` are not as above.
    """
    whole_number("subsets", subsets, 2)
    whole_number("seed", seed, 0, 2**64 - 1)
    a = image_features(checked(images_a, "images_a", 2 * subsets), features)
    b = image_features(checked(images_b, "images_b", 2 * subsets), features)
    return mean_mmd(a, b, subsets, seed)


def nearest_neighbours(
    images: Tensor, references: Tensor, *, features: Features = "judge"
) -> Neighbours:
    """Find the reference nearest to each picture, and how near a copy it is.

    A model that has memorised its training pictures draws them again, and every distance
    between distributions takes that for perfect. The score is the distance to the nearest reference
    over the median distance from one reference to the nearest other. A copy scores 0, under noise
    of 4/255 it scores 0.2, as a JPEG of quality 90 0.4. New tigers score about 1, and one in 2,000
    of them below 0.5. (Simplified from the test of Meehan et al. 2020.)

    Args:
        images: uint8 (N, 3, S, S), the pictures in question.
        references: uint8 (M, 3, R, R), at least 2: the training set, with ``references.flip(-1)``
            where training mirrored it.
        features: as in :func:`frechet_distance`, with its errors.

    Returns:
        ``(reference, distance, score)`` for each image, in order.

    Raises:
        ValueError: the pictures are not as above, or most references have an exact double.
    """
    found = image_features(checked(images, "images", 1), features)
    return nearest(found, image_features(checked(references, "references", 2), features))


def crops(images: Tensor, size: int = 64, *, each: int = 8, seed: int = 0) -> Tensor:
    """Cut squares out of each picture, at places that the seed chooses.

    The judge shrinks pictures to 64 pixels. A distance between crops of two sets,
    ``frechet_distance(crops(a), crops(b))``, sees fur, whiskers and the edges of stripes at full
    size (as the patch distance of Chai et al. 2022), but not whether the parts belong together.
    Compare pictures of one size with the same seed. Crops of one picture are alike, so the standard
    error of :func:`kernel_distance` is too small for them.

    Args:
        images: (N, 3, H, W), H and W at least ``size``.
        size: side of the squares in pixels.
        each: squares per picture, at least 1.
        seed: of the places, 0 ... 2**64 - 1.

    Returns:
        (each * N, 3, size, size) of the same type and on the same device.

    Raises:
        ValueError: the pictures are smaller than ``size``, or ``each`` is less than 1.
    """
    check_kind("images", images, Tensor)
    if images.dim() != 4 or not len(images):
        raise ValueError(f"images must have shape (N, 3, H, W) (got {tuple(images.shape)})")
    n, _, height, width = images.shape
    whole_number("size", size, 1, min(height, width))
    whole_number("each", each, 1)
    whole_number("seed", seed, 0, 2**64 - 1)
    random = torch.rand(each * n, 2, generator=seeded_generator(seed))
    room = torch.tensor([height - size + 1, width - size + 1])
    places = (random * room).long().tolist()
    cut = [images[k % n, :, i : i + size, j : j + size] for k, (i, j) in enumerate(places)]
    return torch.stack(cut)


def image_features(images: Tensor, features: Features = "judge") -> Tensor:
    """Return the features of uint8 images that distances compare, float64 (N, D) on the CPU.

    The judge's are 128, whitened: over painted tigers their mean is 0 and their covariance about 1,
    less in directions in which tigers hardly vary. So distances are in units of how tigers differ.

    Raises:
        ValueError: the images are not uint8 (N, 3, S, S), or ``features`` are not as for
            :func:`frechet_distance`, with its other errors.
    """
    checked(images, "images", 1)
    if features == "judge":
        features = shipped_judge(images.device).features
    elif features == "inception":
        features = inception(images.device)
    if isinstance(features, str) or not callable(features):
        known = "'judge', 'inception' or a function"
        raise ValueError(f"features must be {known} (got {in_short(features)})")
    with torch.inference_mode():
        found = torch.cat([features(part).cpu().double() for part in images.split(BATCH)])
    if found.dim() != 2 or len(found) != len(images):
        need = f"features must return (N, D) for {len(images)} images"
        raise ValueError(f"{need} (got {tuple(found.shape)})")
    return found


def frechet(a: Tensor, b: Tensor) -> float:
    """Return `frechet_distance` of float64 features (N, D) and (M, D)."""
    # C = R'R with R from the QR of the centred features, and the trace of (C_a C_b)^(1/2) is the
    # sum of the singular values of R_a R_b': exact where a covariance is singular, as for N < D.
    roots = [torch.linalg.qr((x - x.mean(0)) / (len(x) - 1) ** 0.5, mode="r").R for x in (a, b)]
    cross = torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
    traces = roots[0].square().sum() + roots[1].square().sum()
    return max(((a.mean(0) - b.mean(0)).square().sum() + traces - 2 * cross).item(), 0.0)


def extrapolated_frechet(a: Tensor, b: Tensor) -> float:
    """Return `frechet` for infinite N and M: the line through k = 1 ... 5 parts, at k = 0."""
    parts = range(1, 6)
    averages = [np.mean([frechet(x, y) for x, y in zip(_dealt(a, k), _dealt(b, k))]) for k in parts]
    return float(np.polynomial.Polynomial.fit(parts, averages, 1)(0))


def squared_mmd(a: Tensor, b: Tensor) -> float:
    """Return the unbiased estimate of Gretton et al. 2012, eq. 3, for two sets of features."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def among(x: Tensor) -> Tensor:
        k = kernel(x, x)
        return (k.sum() - k.diagonal().sum()) / (len(x) * (len(x) - 1))

    return (among(a) + among(b) - 2 * kernel(a, b).mean()).item()


def mean_mmd(a: Tensor, b: Tensor, subsets: int = 10, seed: int = 0) -> KernelDistance:
    """Return `kernel_distance` of features (N, D) and (M, D)."""
    pairs = zip(_dealt(a, subsets, seed, 0), _dealt(b, subsets, seed, 1))
    estimates = torch.tensor([squared_mmd(x, y) for x, y in pairs], dtype=torch.float64)
    return KernelDistance(estimates.mean().item(), estimates.std().item() / subsets**0.5)


def nearest(found: Tensor, known: Tensor) -> Neighbours:
    """Return `nearest_neighbours` of features (N, D) among features (M, D)."""

    def nearest_two(x: Tensor) -> list[Tensor]:
        """Return distances and places of the nearest two of ``known``, each (n, 2)."""
        apart = (torch.cdist(part, known, compute_mode=EXACT) for part in x.split(BATCH))
        parts = [part.topk(2, largest=False) for part in apart]
        return [torch.cat(column) for column in zip(*parts)]

    distance, index = (both[:, 0] for both in nearest_two(found))
    usual = nearest_two(known)[0][:, 1].median()  # the nearest reference to each is itself
    if usual <= 1e-4 * known.std(0).norm():
        raise ValueError("most of the references have an exact double: leave the doubles out")
    return Neighbours(index, distance, distance / usual)


def _dealt(features: Tensor, parts: int, *key: int) -> tuple[Tensor, ...]:
    order = torch.randperm(len(features), generator=seeded_generator(*key))
    return features[order].tensor_split(parts)
