"""``python -m bench [part ...]``: measure, write bench/results/PART.json, print a table.

Without parts: all of them. Start it on a machine that does nothing else. "step" holds the distance
from the machine's own limit too.
"""

import argparse
import os
import time
from pathlib import Path

if __name__ == "__main__":
    os.environ["TQDM_DISABLE"] = "1"  # before the peers are imported: their bars cost time

import torch

from bench import images, processes, profile, quality, sampling, step
from bench.networks import LIBRARIES, LUCIDRAINS
from tools.report import head, machine, write

PARTS = {
    "step": step.run,
    "profile": profile.run,
    "sampling": sampling.run,
    "overhead": sampling.overhead,
    "add_noise": images.noise,
    "folder": images.folder,
    "import": processes.imports,
    "quality": quality.run,
}
RESULTS = Path(__file__).parent / "results"
# Tiny networks and few repetitions, for the tests: the figures mean nothing.
QUICK = dict(
    sizes=[16], batch=2, repeats=2, many=2, processes=1, photos=8, pictures=2, ddim_steps=2,
    ddpm_steps=2, budget=0.2, points=2, pool=64, drawn=20, quality_size=16,
)  # fmt: skip


def main() -> None:
    """Run the parts and print what was found."""
    options = arguments()
    if options.threads:
        torch.set_num_threads(options.threads)
    if LUCIDRAINS not in LIBRARIES:
        print(f"{LUCIDRAINS} is left out, as it is not installed: make bench installs it")
    found = []
    for part in options.parts:
        print(f"--- {part}", flush=True)
        torch.manual_seed(options.seed)
        begin = time.perf_counter()
        measured = PARTS[part](options)
        result = {
            "part": part,
            **head("python -m bench"),
            "seed": options.seed,
            "quick": options.quick,
            "took_seconds": time.perf_counter() - begin,
            **machine(),
            **measured,
        }
        write(options.out / f"{part}.json", result, digits=5)
        found += result["rows"]
    print("\n" + table(found))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="tiny, for the tests")
    parser.add_argument("--out", type=Path, help="folder of the JSON files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of torch; as many as it takes by itself")
    for name, kind, default, text in (
        ("sizes", int, [32, 64], "of the images, in pixels"),
        ("thresholds", float, [100.0, 50.0, 25.0], "Fréchet distances to be reached"),
    ):
        parser.add_argument(f"--{name}", type=kind, nargs="+", default=default, help=text)
    for name, default, text in (
        ("batch", 32, "images per step"),
        ("repeats", 7, "of each step, and of a pass through a folder"),
        ("many", 15, "repetitions of what is quick"),
        ("processes", 7, "fresh ones per import"),
        ("photos", 300, "in the folder"),
        ("pictures", 16, "drawn in sampling"),
        ("ddim-steps", 50, "of each drawing"),
        ("ddpm-steps", 20, "that stand for the 1000 of DDPM"),
        ("points", 4, "of each curve of quality, each at twice the time of the one before"),
        ("pool", 8192, "painted tigers to train on"),
        ("drawn", 512, "pictures drawn at each point"),
        ("quality-size", 32, "of the images in quality, in pixels"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=text)
    parser.add_argument(
        "--budget", type=float, default=200, help="seconds of training for each library"
    )
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}: there are {[*PARTS]}")
    options.parts = options.parts or [*PARTS]
    options.out = options.out or (Path("_build/bench") if options.quick else RESULTS)
    if options.quick:
        vars(options).update(QUICK)
    return options


def table(found: list[dict]) -> str:
    """Return the rows as text."""
    lines = [f"{'':44s}{'':44s}{'seconds':>10s}  {'ours / this':20s} achieved"]
    what = None
    for row in found:
        reached = row["seconds"] is not None
        seconds = f"{row['seconds']:.3g}" if reached else f"> {row['within']:.3g}"
        ratio = f"{row['ratio']:.3g}" if row["ratio"] else ""
        if "ratio_low" in row:
            ratio += f" ({row['ratio_low']:.3g} to {row['ratio_high']:.3g})"
        more = ""
        if "gflops" in row:
            more = f"{row['gflops']:.0f} GFLOP/s, {row['share_of_peak']:.0%} of a convolution"
        if "share" in row:
            more = f"{row['share']:.0%}"
        if "images_per_second" in row:
            more = f"{row['images_per_second']:.0f} images/s"
        head = row["what"] if row["what"] != what else ""
        what = row["what"]
        lines.append(f"{head:44s}{row['name']:44s}{seconds:>10s}  {ratio:20s} {more}".rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    main()
