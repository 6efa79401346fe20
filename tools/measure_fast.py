"""Measure a few-step model against its teacher: writes its results file and the model's card.

python tools/measure_fast.py ddpm-tiger-32-fast --run runs/ddpm-tiger-32-fast

All rows start from the same noise and use DDIM: the teacher in 1 to 50 steps, the student of each
round in its own number of steps, and the shipped one in numbers that it was not trained for. Rows
that the file has already are kept: a run that was cut off can be resumed.
"""

import argparse
import json
from pathlib import Path

from picture_sets import distances
from report import head, rounded, write
from weights_rows import drawn

from tigerdiff import load_pretrained, procedural_tigers, read_card
from tigerdiff.commands.pictures import REFERENCE_SEED
from tigerdiff.devices import has_bfloat16
from tigerdiff.metrics.distances import image_features
from tigerdiff.pretrained.load import WEIGHTS

RESULTS = Path(__file__).parent.parent / "book/results"
TEACHER_STEPS = (1, 2, 4, 8, 50)
STUDENTS = (8, 4, 2, 1)
OFF_GRID = (2, 8)  # of the shipped student


def main() -> None:
    """Measure row by row; write the results after each, and the card at the end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=("ddpm-tiger-32-fast", "ddpm-tiger-64-fast"))
    parser.add_argument("--run", type=Path, required=True, help="folder of tools/train_fast.py")
    parser.add_argument("-n", type=int, default=2048, help="drawings in each row")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    out, folder = RESULTS / f"{options.name}.json", WEIGHTS / options.name
    card, (model, schedule) = read_card(options.name), load_pretrained(options.name)
    size, seed, shipped = model.config["size"], options.seed, card["sampler_steps"]
    how = {"weights_sha256": card["sha256"], "seed": seed, "n": options.n, "size": size}
    before = json.loads(out.read_text()) if out.exists() else {}
    rows = before["rows"] if {name: before.get(name) for name in how} == how else {}
    painted, _ = procedural_tigers(options.n, size, REFERENCE_SEED)
    real = image_features(painted)
    dtype = "bfloat16" if has_bfloat16() else "float32"
    result = head("python tools/measure_fast.py") | how | {"precision": dtype, "rows": rows}
    teacher = card["distilled_from"]
    planned = {f"teacher {k}": (teacher, k) for k in TEACHER_STEPS}
    planned |= {f"student {k}": (options.run / f"student-{k}", k) for k in STUDENTS}
    planned |= {f"student {shipped} in {k}": (options.name, k) for k in OFF_GRID}
    for title, (name, steps) in planned.items():
        if title not in rows:
            network, _ = load_pretrained(name)
            how_drawn = {"n": options.n, "sampler": "ddim", "steps": steps}
            found = image_features(drawn(network, schedule, how_drawn, [], seed, dtype))
            rows[title] = {"steps": steps} | rounded(distances(found, real))
            print(title, rows[title], flush=True)
            write(out, result)
    if "painted" not in rows:
        other, _ = procedural_tigers(options.n, size, REFERENCE_SEED + 1)
        rows["painted"] = rounded(distances(image_features(other), real))
    write(out, result)
    names = ("command", "seed", "n", "precision", "hardware", "torch", "date")
    measured = {"measured": {name: result[name] for name in names}, "measures": rows}
    write(folder / "card.json", card | measured)


if __name__ == "__main__":
    main()
