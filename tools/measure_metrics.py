"""Measure the measures: how the distances see broken tigers. Writes book/results/metrics.json.

python tools/measure_metrics.py

The judge's accuracy on fresh painted tigers, the distance between equally real sets at several
sizes (the bias of small samples), and the distances of sets that were broken on purpose. About
3 minutes on 2 CPU cores.
"""

import argparse
from pathlib import Path

import numpy as np
from broken_sets import broken_sets
from picture_sets import summary
from report import head, rounded, write
from torch import Tensor

from tigerdiff.metrics.distances import (
    extrapolated_frechet,
    frechet,
    image_features,
    mean_mmd,
    nearest,
)
from tigerdiff.metrics.prompts import prompt_accuracy
from tigerdiff.tigers.paint import procedural_tigers

TARGET = Path(__file__).parent.parent / "book/results/metrics.json"
SIZES = (64, 128, 256, 512, 1024, 2048, 4096)
TEST_SEED = 2_000_000  # far from the seeds of training; the broken tigers have the next one


def main() -> None:
    """Measure, print a table, write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=2048, help="pictures in each broken set")
    parser.add_argument("--size", type=int, default=64, help="of the pictures, in pixels")
    parser.add_argument("--seed", type=int, default=TEST_SEED)
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args()
    n, size, seed = options.n, options.size, options.seed
    real, tigers = procedural_tigers(max(n, 2 * max(SIZES)), size, seed)
    known = image_features(real)
    result = head("python tools/measure_metrics.py") | {
        "seed": seed,
        "size": size,
        "accuracy": {"n": len(real), **rounded(prompt_accuracy(real, tigers))},
        "real_to_real": [real_to_real(known, k) for k in SIZES],
        "n": n,
        "sets": {},  # by name, each compared with n fresh tigers
    }
    for row in result["real_to_real"]:
        print(row)
    for name, images in broken_sets(real[:n], n, size, seed + 1):
        result["sets"][name] = measured(image_features(images), known[:n])
        print(f"{name:32s}", result["sets"][name], flush=True)
    write(options.out, result)


def real_to_real(known: Tensor, n: int) -> dict:
    """Measure two sets of n fresh tigers: mean and deviation over up to 8 pairs."""
    pairs = list(zip(known.split(n)[0::2], known.split(n)[1::2]))[:8]
    plain = np.array([frechet(a, b) for a, b in pairs])
    straight = np.array([extrapolated_frechet(a, b) for a, b in pairs])
    kernel = np.array([mean_mmd(a, b).distance for a, b in pairs])
    row = {"n": n, "pairs": len(pairs), "frechet": plain.mean(), "extrapolated": straight.mean()}
    row["kernel"] = kernel.mean()
    if len(pairs) > 1:
        row |= {"frechet_std": plain.std(ddof=1), "extrapolated_std": straight.std(ddof=1)}
        row["kernel_std"] = kernel.std(ddof=1)
    return rounded(row)


def measured(found: Tensor, known: Tensor) -> dict:
    """Measure both distances between features, and the share of copies of the known ones."""
    kernel, error = mean_mmd(found, known)
    scores = summary(nearest(found, known).score)
    return rounded(
        {
            "frechet": frechet(found, known),
            "kernel": kernel,
            "kernel_standard_error": error,
            "nearest_score": scores["median_score"],
            "copies": scores["copies"],
        }
    )


if __name__ == "__main__":
    main()
