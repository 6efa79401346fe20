"""Find arguments that give the peers' networks our parameters and FLOPs; write matched.json.

python -m bench.match [size ...]

To be run again when our network changes: a test compares the file with the networks. A minute or
two for each size.
"""

import argparse
import itertools
import json
import math
from collections.abc import Iterator

import torch
from torch import nn

from bench.networks import BUILDERS, DIFFUSERS, LUCIDRAINS, MATCHED, OURS, SIZES, counted

TOLERANCE = 0.05  # where the search is content; the test allows twice that
GROWTH = (1.0, 1.5, 2.0, 3.0, 4.0)  # of the widths from one level to the next
LAYERS = nn.Conv2d, nn.Linear
KNOWN: dict[tuple, dict[str, int]] = {}  # so that nothing is counted twice
PLACES: dict[tuple, tuple[dict[str, int], int]] = {}


def main() -> None:
    """Search at each size, print and write the arguments with their counts."""
    parser = argparse.ArgumentParser(prog="python -m bench.match", description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES)
    result = json.loads(MATCHED.read_text()) if MATCHED.exists() else {}
    for size in parser.parse_args().sizes:
        goal = exactly(OURS, size, {})
        rows = {OURS: {"arguments": {}, **goal}}
        for library in (DIFFUSERS, LUCIDRAINS):
            found = search(library, size, goal)
            rows[library] = {"arguments": found, **exactly(library, size, found)}
        result[str(size)] = rows
        MATCHED.write_text(json.dumps(result, indent=1) + "\n")
        for library, row in rows.items():
            shares = [row[key] / goal[key] for key in ("parameters", "forward_flops")]
            print(size, library, row, "of ours: {:.3f} {:.3f}".format(*shares), flush=True)


def search(library: str, size: int, goal: dict[str, int]) -> dict:
    """Search from regular shapes, the best first, to the best neighbour, while that is better."""
    to_8_px = max(2, int(math.log2(size / 8)) + 1)  # levels
    shapes = []
    for levels, growth in itertools.product((to_8_px, to_8_px + 1), GROWTH):
        width = 32.0
        for _ in range(3):  # FLOPs grow like the square of the width
            shape = regular(library, levels, width, growth)
            shapes.append(shape)
            flops = count(library, size, shape)["forward_flops"]
            width *= math.sqrt(goal["forward_flops"] / flops)

    def far(shape: dict) -> float:
        return distance(count(library, size, shape), goal)

    ends = []
    for here in sorted(shapes, key=far)[:8]:
        while far(here) > TOLERANCE:
            near = min(neighbours(library, here), key=far)
            if far(near) >= far(here):
                break
            here = near
        ends.append(here)
        if far(here) <= TOLERANCE:
            break
    return min(ends, key=far)


def regular(library: str, levels: int, width: float, growth: float) -> dict:
    """Return widths that grow evenly from level to level."""
    if library == DIFFUSERS:
        return {
            "widths": [max(1, round(width * growth**k / 8)) * 8 for k in range(levels)],
            "layers": 2,
        }
    return {
        "dim": max(3, round(width / 4)) * 4,
        "multipliers": [round(growth**k) for k in range(levels)],
    }


def neighbours(library: str, here: dict) -> Iterator[dict]:
    """Return the shapes with one or two widths changed by the least that there is."""
    name, step = ("widths", 8) if library == DIFFUSERS else ("multipliers", 1)
    shapes = [here]
    if library == LUCIDRAINS:
        shapes += [{**here, "dim": here["dim"] + change} for change in (-4, 4)]
    for shape, changes in itertools.product(
        shapes, itertools.product((-step, 0, step), repeat=len(here[name]))
    ):
        values = [value + change for value, change in zip(here[name], changes)]
        if sum(map(bool, changes)) <= 2 and values == sorted(values) and values[0] >= step:
            yield {**shape, name: values}


def distance(counts: dict[str, int], goal: dict[str, int]) -> float:
    """Return how far two networks are apart: parameters and FLOPs, as logarithms of ratios."""
    return math.hypot(
        *(math.log(counts[key] / goal[key]) for key in ("parameters", "forward_flops"))
    )


def exactly(library: str, size: int, arguments: dict) -> dict[str, int]:
    """Count parameters and FLOPs of a library's network with these arguments."""
    with torch.device("meta"):
        return counted(BUILDERS[library](size, **arguments), size)


def count(library: str, size: int, arguments: dict) -> dict[str, int]:
    """Count them within a percent or so, ten times as fast: weights times the places of their use.

    What is not in a layer's weights, the products within attention, is taken from the first
    network that was counted with the same layers.
    """
    key = library, size, json.dumps(arguments)
    if key in KNOWN:
        return KNOWN[key]
    with torch.device("meta"):
        model = BUILDERS[library](size, **arguments)
    layers = {name: x for name, x in model.named_modules() if isinstance(x, LAYERS)}
    if (kind := (library, size, *layers)) not in PLACES:
        places: dict[str, int] = {}
        for name, layer in layers.items():
            layer.register_forward_hook(
                lambda layer, _, y, name=name: places.update({name: y.numel() // len(layer.weight)})
            )
        exact = counted(model, size, training=False)["forward_flops"]
        PLACES[kind] = places, exact - weighted(layers, places)
    places, rest = PLACES[kind]
    parameters = sum(weight.numel() for weight in model.parameters())
    flops = weighted(layers, places) + rest
    KNOWN[key] = {"parameters": parameters, "forward_flops": flops}
    return KNOWN[key]


def weighted(layers: dict[str, nn.Module], places: dict[str, int]) -> int:
    """Return the FLOPs of the layers: two for each weight and place."""
    return sum(2 * layer.weight.numel() * places[name] for name, layer in layers.items())


if __name__ == "__main__":
    main()
