"""``python -m bench.gpu``: everything that only a GPU can show, in two halves of four minutes.

make gpu                    both halves; HALF=1 or HALF=2: one of them
make gpu DRY=1              the same in a tiny size on a CPU: that it runs, and no figures
python -m bench.gpu_wheels  before: what a machine without a network lacks, as wheels

Half 1: the tests of tests/test_gpu.py, the comparisons with other libraries, memory. Half 2: every
page of the book with the sizes that its settings choose for a GPU. Neither Jupyter nor a network is
needed. Each part is a process of its own with a time limit, and writes gpu-PART.json at its end. A
part that has its file from the same hardware and version of torch is not run again, so a run that
was cut short continues where it stopped (--again runs all). Dry results say "dry" and lie in
_build/gpu-dry, where nothing reads them.
"""

import argparse
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench/results"
DRY = ROOT / "_build/gpu-dry"
WHEELS, SITE = ROOT / "build/gpu-wheels", ROOT / "build/gpu-site"
# The half that a part is in, and the seconds that it may take; of "chapters" those of each page.
LIMITS = {
    "tests": (1, 100),
    "memory": (1, 30),
    "overhead": (1, 30),
    "step": (1, 40),
    "sampling": (1, 40),
    "chapters": (2, 60),
}
HALF_SECONDS = 240
BENCHES = {"overhead", "step", "sampling"}


def install_wheels() -> None:
    """Let the parts import what gpu_wheels has brought, beside what is installed."""
    wheels = sorted(WHEELS.glob("*.whl"))
    if wheels and not (SITE / "diffusers").exists():
        quiet = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--target", str(SITE)]
        subprocess.run(
            [sys.executable, "-m", "pip", "install", *quiet, *map(str, wheels)], check=True
        )
    if not any(importlib.metadata.distributions(name="tigerdiff")):  # runs are signed with it
        about = SITE / "tigerdiff.dist-info/METADATA"
        about.parent.mkdir(parents=True, exist_ok=True)
        about.write_text("Metadata-Version: 2.1\nName: tigerdiff\nVersion: 0+checkout\n")
    paths = [str(ROOT), str(SITE), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)


def python(*arguments: object, seconds: float) -> tuple[str, str]:
    """Run Python; return what it printed and, if it failed or took too long, a sentence."""
    command = [sys.executable, *map(str, arguments)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return "", f"took longer than {seconds:.0f} s"
    last = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
    return done.stdout, last[:400] if done.returncode else ""


def row_of(case: ElementTree.Element) -> dict:
    """Return a test of pytest's report: its seconds and, if it failed, why."""
    why = [wrong.get("message", "")[:400] for wrong in case]
    row = {"name": case.get("name"), "seconds": float(case.get("time", 0)), "passed": not why}
    return row | ({"message": why[0]} if why else {})


def tests(seconds: float, dry: bool) -> dict:
    """Run each test of tests/test_gpu.py; return its seconds, and what failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-q", "--noconftest", "-p", "no:cacheprovider", f"--junitxml={report}"]
        printed, wrong = python("-m", "pytest", *options, "tests/test_gpu.py", seconds=seconds)
        cases = ElementTree.parse(report).iter("testcase") if report.exists() else []
        rows = [row_of(case) for case in cases]
    if not rows:
        return {"error": wrong or printed[-400:], "rows": []}
    failed = [row["name"] for row in rows if not row["passed"]]
    return {"rows": rows, **({"error": f"failed: {', '.join(failed)}"} if failed else {})}


def memory(seconds: float, dry: bool) -> dict:
    """Measure what training and drawing hold, beside what the package says of a step."""
    printed, wrong = python("-m", "bench.memory", *["--dry"] * dry, seconds=seconds)
    return {"error": wrong, "rows": []} if wrong else {"rows": json.loads(printed.splitlines()[-1])}


def compared(part: str, seconds: float, dry: bool) -> dict:
    """Run a part of ``python -m bench``."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--out", folder, *["--quick"] * dry]
        _, wrong = python("-m", "bench", part, *options, seconds=seconds)
        return {"error": wrong, "rows": []} if wrong else json.loads(
            (Path(folder) / f"{part}.json").read_text()
        )  # fmt: skip


def chapters(seconds: float, pages: list[str], until: float, before: list[dict]) -> dict:
    """Run every page with code, one after another, but those that ran before.

    Those for which no time is left are named, and come first the next time.
    """
    rows = {row["page"]: row for row in before if "error" not in row}
    for page in (x for x in pages if x not in rows):
        left = until - time.monotonic()
        if left > 5:
            printed, wrong = python("-m", "bench.chapters", page, seconds=min(seconds, left))
        else:
            printed, wrong = "", "no time was left: run it again"
        rows[page] = (
            {"page": page, "error": wrong} if wrong else json.loads(printed.splitlines()[-1])
        )
        print(f"  {page:32s}{wrong or format(rows[page]['seconds'], '6.1f') + ' s'}", flush=True)
    failed = [page for page, row in rows.items() if "error" in row]
    return {
        "rows": [*rows.values()],
        **({"error": f"failed: {', '.join(failed)}"} if failed else {}),
    }


def found_before(path: Path, here: dict) -> dict | None:
    """Return a part's result from this hardware, torch and size, if there is one."""
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return found if here.items() <= found.items() else None


def main() -> None:
    """Run the parts that are missing; stop with an error if one failed."""
    options = arguments()
    install_wheels()
    code = "import json; from tools.report import head; print(json.dumps(head('make gpu')))"
    printed, wrong = python("-c", code, seconds=60)
    if wrong:
        sys.exit(f"this machine cannot import the course: {wrong}; see python -m bench.gpu_wheels")
    about = json.loads(printed.splitlines()[-1]) | {"command": "make gpu", "dry": options.dry}
    same = {key: about[key] for key in ("hardware", "torch", "dry")}
    if not options.dry and has_no_gpu():
        sys.exit("there is no GPU here: make gpu DRY=1 shows that everything runs")
    failed = []
    for half in options.halves:
        until = time.monotonic() + (3600 if options.dry else HALF_SECONDS)
        for part in (x for x in options.parts if LIMITS[x][0] == half):
            path = options.out / f"gpu-{part}.json"
            before = None if options.again else found_before(path, same)
            if before and finished(before, options.pages):
                print(f"{part}: done before", flush=True)
                continue
            began, limit = time.monotonic(), LIMITS[part][1] * (20 if options.dry else 1)
            limit = min(limit, max(5, until - time.monotonic()))
            result = run_part(part, limit, until, options, before or {"rows": []})
            result = about | result | {"part": part, **same, "command": "make gpu"}
            result["took_seconds"] = round(time.monotonic() - began, 1)
            options.out.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            print(f"{part}: {result['took_seconds']} s, {result.get('error', 'done')}", flush=True)
            failed += [part] * ("error" in result)
    if failed:
        sys.exit(f"These parts failed: {', '.join(failed)}")


def finished(before: dict, pages: list[str]) -> bool:
    """Say whether an earlier result leaves nothing to do: no error and, of chapters, no page."""
    ran = {row["page"] for row in before["rows"] if "page" in row}
    return "error" not in before and (before["part"] != "chapters" or ran >= set(pages))


def run_part(
    part: str, limit: float, until: float, options: argparse.Namespace, before: dict
) -> dict:
    """Run one part, in processes of its own."""
    if part == "chapters":
        return chapters(limit, options.pages, until, before["rows"])
    if part in BENCHES:
        return compared(part, limit, options.dry)
    return {"tests": tests, "memory": memory}[part](limit, options.dry)


def has_no_gpu() -> bool:
    """Say whether torch finds none, asked in a process of its own."""
    code = "import torch; raise SystemExit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", code], check=False).returncode != 0


def listed_pages() -> list[str]:
    """Return the notebooks of the book, in the order of its table of contents."""
    found = re.findall(r"file: (\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return [page for page in found if (ROOT / f"book/{page}.ipynb").exists()]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--half", type=int, choices=(1, 2), help="default: both")
    parser.add_argument("--dry", action="store_true", help="a tiny size on the CPU")
    parser.add_argument("--again", action="store_true", help="also what is done")
    parser.add_argument("--parts", nargs="+", choices=[*LIMITS], default=[*LIMITS])
    parser.add_argument("--pages", nargs="+", default=listed_pages(), help="of the chapters")
    parser.add_argument("--out", type=Path, help="folder of the JSON files")
    options = parser.parse_args()
    options.halves = [options.half] if options.half else [1, 2]
    options.out = options.out or (DRY if options.dry else RESULTS)
    if options.dry:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    return options


if __name__ == "__main__":
    main()
