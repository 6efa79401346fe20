"""Measure what fine-tuning teaches the small miniature, and what it forgets: chapter 10's tables.

python tools/measure_lora.py

Writes tigerdiff/pretrained/weights/mini-sd-tiger-64/fine_tuning.json, which the chapter reads.
What is measured is the chapter's own code: its cells are executed, so that the page can recompute a
row. Rows that the file has already, of these weights and as many drawings, are kept.
"""

import argparse
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import nbformat
import torch
from report import head, rounded, write

from tigerdiff import MINI_64_PATH, caption, paint, prompt_accuracy, series, to_float

PAGE = Path(__file__).parent.parent / "book/10_fine_tuning.ipynb"
CELLS = ("setup", "tiger", "lora", "begin", "merge", "learn", "measure", "prior", "save")
OUT = MINI_64_PATH / "fine_tuning.json"
HELD_OUT = {"mouth": "roaring", "backdrop": "water"}  # never in the training of the miniature
# What is tried: rank (0: all weights are trained), learning rate, with pictures of other tigers.
RUNS = [
    {"rank": 4, "lr": 2e-3, "prior": True},
    {"rank": 4, "lr": 2e-3, "prior": False},
    {"rank": 4, "lr": 2e-3, "prior": True, "strength": 0.5},  # alpha / r = 2 forgotten
    {"rank": 4, "lr": 1e-5, "prior": True},
    {"rank": 0, "lr": 1e-5, "prior": True},
    {"rank": 0, "lr": 2e-3, "prior": True},
    *({"rank": rank, "lr": 2e-3, "prior": True} for rank in (1, 2, 16)),
]
RANKS = (1, 4, 16)  # for the combination


def page(*names: str, **given: object) -> SimpleNamespace:
    """Execute these cells of the chapter (ft-NAME) with what is given; return what they define."""
    found = dict(given)
    for cell in nbformat.read(PAGE, as_version=4).cells:
        if cell.id.removeprefix("ft-") in names:
            exec(compile(cell.source, f"<{cell.id}>", "exec"), found)
    return SimpleNamespace(**found)


def main() -> None:
    """Measure row by row; write the file after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=16, help="drawings of each kind")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    weights = MINI_64_PATH / "unet/diffusion_pytorch_model.safetensors"
    how = {"seed": 0, "n": options.n, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}
    before = json.loads(options.out.read_text()) if options.out.exists() else {}
    before = before if {name: before.get(name) for name in how} == how else {}
    result = head("python tools/measure_lora.py") | how
    result |= {part: before.get(part, []) for part in ("tiger", "combination")}
    ft = page(*CELLS)
    runs = [("tiger", run) for run in [{"rank": None}, *RUNS]]
    runs += [("combination", {"rank": rank}) for rank in (None, *RANKS)]
    for part, run in runs:
        if any({"strength": 1.0, **run}.items() <= row.items() for row in result[part]):
            continue
        measure = one_tiger if part == "tiger" else combination
        result[part].append({"strength": 1.0, **run} | rounded(measure(ft, options.n, **run)))
        print(part, result[part][-1], flush=True)
        write(options.out, result)


def begun(ft: SimpleNamespace, rank: int | None) -> list[torch.nn.Parameter]:
    """Give the pipeline a fresh U-Net, and return what of it is to be trained."""
    weights = ft.with_lora(rank or 1)
    if rank is None:  # not trained at all
        return []
    if rank == 0:
        ft.merge(ft.pipe.unet)  # B is zero: as it was
        return list(ft.pipe.unet.requires_grad_(True).parameters())
    return weights


def one_tiger(
    ft: SimpleNamespace, n: int, rank: int | None, lr: float = 0.0, prior: bool = False,
    strength: float = 1.0,
) -> dict:  # fmt: skip
    """Learn the blue tiger from its five pictures; measure it, and the others."""
    weights = begun(ft, rank)
    if weights:
        x0, c = ft.encode(ft.pipe, ft.photos), ft.embed(ft.pipe, ft.about(ft.indigo))
        ft.fine_tune(ft.pipe, weights, x0, c, lr=lr, prior=ft.prior if prior else None)
        ft.merge(ft.pipe.unet, strength)
    return ft.measured(ft.pipe, n)[0]


def combination(ft: SimpleNamespace, n: int, rank: int | None) -> dict:
    """Learn to roar in the water from 32 pictures; measure that, and other captions."""
    weights = begun(ft, rank)
    if weights:
        tigers = matching(32, 910)
        words = ft.embed(ft.pipe, [caption(x, seed=k) for k, x in enumerate(tigers)])
        x0 = ft.encode(ft.pipe, to_float(paint(tigers)))
        ft.fine_tune(ft.pipe, weights, x0, words, batch=8)
    asked = matching(n, 911)
    drawn = ft.draw(ft.pipe, [caption(x, seed=k) for k, x in enumerate(asked)])
    shown = prompt_accuracy(drawn, [HELD_OUT] * n)
    return {"roaring": shown["mouth"], "in the water": shown["backdrop"]} | {
        name: x for name, x in ft.measured(ft.pipe, n)[0].items() if "others" in name
    }


def matching(n: int, seed: int) -> list:
    """Return the first n tigers of a series that roar in the water."""
    found = [x for x in series(60 * n, seed) if HELD_OUT.items() <= vars(x).items()]
    return found[:n]


if __name__ == "__main__":
    main()
