"""How good drawings are: distances between sets of pictures, and whether each shows what was asked.

A *judge*, a small network that comes with the package, looks at the pictures; it was trained on
painted tigers, whose attributes are known. Distances are only comparable between sets of the same
number of pictures of the same size, measured with the same features.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tigerdiff.data.tensors import seeded_generator
from tigerdiff.metrics.inception import inception
from tigerdiff.metrics.judge import checked, shipped_judge
from tigerdiff.tigers.tiger import CHOICES, RANGES, Tiger

Asked = Tiger | Mapping[str, Any]
Features = str | Callable[[Tensor], Tensor]
BATCH = 256
EXACT = "donot_use_mm_for_euclid_dist"  # products of matrices would keep doubles apart
TOLERANCE = 0.1  # of a range's width: a gaze or a tilt so far from what was asked counts as shown


class KernelDistance(NamedTuple):
    """An unbiased estimate, which may fall below 0, and its standard error."""

    distance: float
    standard_error: float


class Neighbours(NamedTuple):
    """For each picture the place of its nearest reference, int64 (N,), and float64 (N,) twice."""

    reference: Tensor
    distance: Tensor
    score: Tensor


def frechet_distance(
    images_a: Tensor, images_b: Tensor, *, features: Features = "judge", extrapolate: bool = False
) -> float:
    """Squared Fréchet distance between Gaussians fitted to the features of two sets of pictures.

    ``|mean_a - mean_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))`` (Heusel et al. 2017, eq. 6). With
    ``features="inception"`` this is the FID, computed with the network of torchmetrics.

    Few pictures make it too large, by about ``c / n`` for n in each set, however equal the
    distributions: between painted tigers of two seeds it is 11 at n = 256, 2.8 at 1024, 0.7 at
    4096. ``extrapolate`` leaves 0.0 ± 0.1 at 1024 (after Chong & Forsyth 2020).

    Args:
        images_a: uint8 (N, 3, S, S), at least 2.
        images_b: uint8 (M, 3, R, R), at least 2; N and M, and S and R, should be equal.
        features: "judge", "inception" (2048 features; needs ``tigerdiff[inception]`` and 95 MB of
            weights, downloaded once), or a function from uint8 images to float (N, D).
        extrapolate: deal both sets into k = 1 ... 5 heaps, average the distances of the heaps for
            each k, and follow the line through these averages to k = 0, where n is infinite. Takes
            at least 10 images of each, wants 5 times the number of features, and may fall below 0.

    Returns:
        The distance, at least 0.

    Raises:
        ValueError: the pictures are not as above, or too few.
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
    """Unbiased squared maximum mean discrepancy between the features of two sets of pictures.

    The kernel is ``(x . y / D + 1)^3`` for D features, as in the kernel inception distance
    (Bińkowski et al. 2018), which ``features="inception"`` makes it. Both sets are dealt at random
    into disjoint subsets (Zaremba et al. 2013). These are independent of each other, hence the
    standard error of their mean is honest, which that of overlapping subsets is not.

    Args:
        images_a: uint8 (N, 3, S, S), at least 2 for each subset.
        images_b: uint8 (M, 3, R, R), likewise.
        features: as in :func:`frechet_distance`.
        subsets: number of subsets, at least 2. More of them make each estimate less exact.
        seed: of the dealing.

    Returns:
        ``(distance, standard_error)``. For equal distributions the distance is 0 on average at any
        number of pictures.

    Raises:
        ValueError: the pictures or ``subsets`` are not as above.
        ImportError, ConnectionError: as :func:`frechet_distance`.
    """
    if subsets < 2:
        raise ValueError(f"subsets must be at least 2, not {subsets}")
    a = image_features(checked(images_a, "images_a", 2 * subsets), features)
    b = image_features(checked(images_b, "images_b", 2 * subsets), features)
    return mean_mmd(a, b, subsets, seed)


def prompt_accuracy(images: Tensor, attributes: Sequence[Asked]) -> dict[str, float]:
    """The share of the pictures that show what was asked, for each attribute.

    The judge decides, and it errs now and then: on painted tigers themselves it finds the shares
    that ``tigerdiff/judge.json`` records. A number (gaze, tilt ...) counts as shown when the judge
    reads it within a tenth of its range's width.

    Args:
        images: uint8 (N, 3, S, S).
        attributes: what was asked of each image: a :class:`Tiger`, or a dict that names only some
            attributes, such as ``{"fur": "white"}``; then only those are judged.

    Returns:
        The share of right ones, 0 to 1, by attribute, among the images that were asked for it.

    Raises:
        ValueError: the entries are not as many as the images, or one names what tigers lack.
    """
    n, entries = len(checked(images, "images", 1)), len(attributes)
    if n != entries:
        raise ValueError(f"attributes must have an entry for each of {n} images, not {entries}")
    return share_shown(judge(images), [_asked(entry) for entry in attributes])


def nearest_neighbours(
    images: Tensor, references: Tensor, *, features: Features = "judge"
) -> Neighbours:
    """Finds the reference nearest to each picture, and tells copies from new pictures.

    A model that has learned its training pictures by heart draws them again, and every distance
    between distributions calls that perfect. The score is the distance to the nearest reference
    over what is usual among the references themselves: the median distance from one to the nearest
    other. A copy scores 0, under noise of 4/255 it scores 0.2, as a JPEG of quality 90 0.4. New
    tigers score about 1, and one in 2,000 of them below 0.5. (A simple relative of the test of
    Meehan et al. 2020.)

    Args:
        images: uint8 (N, 3, S, S), the pictures in question.
        references: uint8 (M, 3, R, R), at least 2: those that may have been copied, usually the
            training set. Where training mirrored them, add ``references.flip(-1)``.
        features: as in :func:`frechet_distance`.

    Returns:
        ``(reference, distance, score)`` for each image, in order.

    Raises:
        ValueError: the pictures are not as above, or most references have an exact double.
        ImportError, ConnectionError: as :func:`frechet_distance`.
    """
    found = image_features(checked(images, "images", 1), features)
    return nearest(found, image_features(checked(references, "references", 2), features))


def judge(images: Tensor) -> dict[str, Tensor]:
    """What the judge reads off pictures.

    Args:
        images: uint8 (N, 3, S, S).

    Returns:
        By name of CHOICES the probabilities (N, number of words) in the order of the words; by name
        of RANGES the values (N,) in their own units. float32, on the CPU.

    Raises:
        ValueError: the pictures are not as above.
    """
    network = shipped_judge(checked(images, "images", 1).device)
    with torch.inference_mode():
        parts = [network(part) for part in images.split(BATCH)]
    answers = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    for name, (low, high) in RANGES.items():
        answers[name] = low + (high - low) * (answers[name] + 1) / 2
    return answers | {name: answers[name].softmax(1) for name in CHOICES}


def image_features(images: Tensor, features: Features = "judge") -> Tensor:
    """The features that the distances are measured in: uint8 images to float64 (N, D) on the CPU.

    The judge's are 128, whitened: over painted tigers their mean is 0 and their covariance about 1,
    less in directions in which tigers hardly vary. So distances are in units of how tigers differ.

    Raises:
        ValueError: ``features`` is unknown.
        ImportError, ConnectionError: as :func:`frechet_distance`.
    """
    if features == "judge":
        function: Callable[[Tensor], Tensor] = shipped_judge(images.device).features
    elif features == "inception":
        function = inception(images.device)
    elif callable(features):
        function = features
    else:
        raise ValueError(f"features must be 'judge', 'inception' or a function, not {features!r}")
    with torch.inference_mode():
        return torch.cat([function(part).cpu().double() for part in images.split(BATCH)])


def frechet(a: Tensor, b: Tensor) -> float:
    """Squared Fréchet distance between Gaussians fitted to float64 features (N, D) and (M, D)."""
    # C = R'R with R from the QR of the centred features, and the trace of (C_a C_b)^(1/2) is the
    # sum of the singular values of R_a R_b': exact where a covariance is singular, as for N < D.
    roots = [torch.linalg.qr((x - x.mean(0)) / (len(x) - 1) ** 0.5, mode="r").R for x in (a, b)]
    cross = torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
    traces = roots[0].square().sum() + roots[1].square().sum()
    return max(((a.mean(0) - b.mean(0)).square().sum() + traces - 2 * cross).item(), 0.0)


def extrapolated_frechet(a: Tensor, b: Tensor) -> float:
    """`frechet` for infinite N and M: the line through k = 1 ... 5 heaps, at k = 0."""
    heaps = range(1, 6)
    averages = [np.mean([frechet(x, y) for x, y in zip(_dealt(a, k), _dealt(b, k))]) for k in heaps]
    return float(np.polynomial.Polynomial.fit(heaps, averages, 1)(0))


def squared_mmd(a: Tensor, b: Tensor) -> float:
    """The unbiased estimate of Gretton et al. 2012, eq. 3, for features (N, D) and (M, D)."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def among(x: Tensor) -> Tensor:
        k = kernel(x, x)
        return (k.sum() - k.diagonal().sum()) / (len(x) * (len(x) - 1))

    return (among(a) + among(b) - 2 * kernel(a, b).mean()).item()


def mean_mmd(a: Tensor, b: Tensor, subsets: int = 10, seed: int = 0) -> KernelDistance:
    """`kernel_distance` of features (N, D) and (M, D)."""
    pairs = zip(_dealt(a, subsets, seed, 0), _dealt(b, subsets, seed, 1))
    estimates = torch.tensor([squared_mmd(x, y) for x, y in pairs], dtype=torch.float64)
    return KernelDistance(estimates.mean().item(), estimates.std().item() / subsets**0.5)


def nearest(found: Tensor, known: Tensor) -> Neighbours:
    """`nearest_neighbours` of features (N, D) among features (M, D)."""
    distance, index = _nearest(found, known)
    usual = _nearest(known, known, itself=False)[0].median()
    if usual <= 1e-4 * known.std(0).norm():
        raise ValueError("most of the references have an exact double: leave the doubles out")
    return Neighbours(index, distance, distance / usual)


def share_shown(answers: dict[str, Tensor], asked: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The share of the answers of :func:`judge` that agree with what was asked, by attribute."""
    shares = {}
    for name in [*CHOICES, *RANGES]:
        if rows := [i for i, entry in enumerate(asked) if name in entry]:
            answer, wanted = answers[name][rows], [asked[i][name] for i in rows]
            if name in CHOICES:
                right = answer.argmax(1) == torch.tensor([CHOICES[name].index(x) for x in wanted])
            else:
                low, high = RANGES[name]
                right = (answer - torch.tensor(wanted)).abs() <= TOLERANCE * (high - low)
            shares[name] = right.double().mean().item()
    return shares


def _nearest(found: Tensor, known: Tensor, itself: bool = True) -> tuple[Tensor, Tensor]:
    """Distance and index of the nearest of ``known``, which may leave out the one in its place."""
    parts = []
    for start in range(0, len(found), BATCH):
        part = torch.cdist(found[start : start + BATCH], known, compute_mode=EXACT)
        if not itself:
            part.diagonal(start).fill_(torch.inf)
        parts.append(part.min(1))
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


def _dealt(features: Tensor, heaps: int, *key: int) -> tuple[Tensor, ...]:
    order = torch.randperm(len(features), generator=seeded_generator(*key))
    return features[order].tensor_split(heaps)


def _asked(entry: Asked) -> Mapping[str, Any]:
    """What a tiger or a dict asks for, checked."""
    if isinstance(entry, Tiger):
        return {name: x for name, x in asdict(entry).items() if name in CHOICES or name in RANGES}
    for name, value in entry.items():
        if name not in CHOICES and name not in RANGES:
            names = ", ".join([*CHOICES, *RANGES])
            raise ValueError(f"attributes name {name!r}, which cannot be judged: there are {names}")
        if name in CHOICES and value not in CHOICES[name]:
            words = ", ".join(CHOICES[name])
            raise ValueError(f"attributes ask for {name} {value!r}: it must be one of {words}")
    return entry
