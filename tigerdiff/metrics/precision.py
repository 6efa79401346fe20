"""How much of what is drawn is real, and how much of what is real is drawn."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from tigerdiff.checks import whole_number
from tigerdiff.metrics.distances import EXACT, Features, image_features
from tigerdiff.metrics.judge import BATCH, checked


class PrecisionRecall(NamedTuple):
    """Two shares, each 0 to 1."""

    precision: float
    recall: float


def precision_recall(
    drawn: Tensor, real: Tensor, *, features: Features = "judge", k: int = 3
) -> PrecisionRecall:
    """Measure quality and variety apart (Kynkäänniemi et al. 2019, eq. 1 and 2).

    Each picture of a set is the centre of a ball that reaches to its k-th nearest neighbour there.
    Precision is the share of the drawn pictures that lie in a ball of a real one, recall the share
    of the real pictures that lie in a ball of a drawn one. Both depend on k, the features and the
    numbers of pictures, and are below 1 for two real sets: compare them with that floor.

    Args:
        drawn: uint8 (N, 3, S, S), N > k.
        real: uint8 (M, 3, R, R), M > k; N and M, and S and R, should be equal.
        features: as in :func:`.frechet_distance`.
        k: which neighbour, at least 1.

    Returns:
        ``(precision, recall)``.

    Raises:
        ValueError: the pictures or ``k`` are not as above.
        ImportError, ConnectionError: as :func:`.frechet_distance`.
    """
    whole_number("k", k, 1)
    a = image_features(checked(drawn, "drawn", k + 1), features)
    b = image_features(checked(real, "real", k + 1), features)
    return PrecisionRecall(share_inside(a, b, k), share_inside(b, a, k))


def share_inside(points: Tensor, centres: Tensor, k: int) -> float:
    """Return the share of points (N, D) that a ball around one of the centres (M, D) holds."""
    away = partial(torch.cdist, x2=centres, compute_mode=EXACT)
    # The nearest is the centre itself.
    radius = torch.cat([away(x).kthvalue(k + 1, dim=1).values for x in centres.split(BATCH)])
    held = torch.cat([(away(x) <= radius).any(1) for x in points.split(BATCH)])
    return held.sum().item() / len(points)
