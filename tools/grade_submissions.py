"""Grade every submission of the tests with nbgrader's autograder, one after another, unattended.

python tools/grade_submissions.py              to _build/grading: all of them, more than a hundred
python tools/grade_submissions.py --minutes 5  stops after that; the next call continues

Each is handed in by a student of its own, all with variant 0, as the tests: to each assignment the
solution, solutions written differently, the empty student version and each classic mistake, and to
assignment 2 what does harm. It prints a table with marks, seconds, and the first sentence of each
report, and stops with an error if marks differ from those that the tests ask for.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent
sys.path += [str(ROOT / name) for name in ("instructor/assignments", "tests/instructor")]

from make import course_api, student_version, write_course  # noqa: E402
from nbgrader.api import Gradebook  # noqa: E402
from submitting import NAMES, cases, right, solution, wrong  # noqa: E402
from test_grader import ATTEMPTS  # noqa: E402

HARMED = "02_forward_noising"
HEAD = "import os, shutil, socket, subprocess, sys\nimport torch, tigerdiff as td\n"


def submissions(course: Path) -> Iterator[tuple[str, str, nbformat.NotebookNode, float]]:
    """Assignment, what is handed in, the notebook, and the marks that it must get."""
    for name in NAMES:
        yield name, "solution", solution(name), 20
        for case in cases(name).RIGHT:
            yield name, case, right(name, case), 20
        text = (course / f"release/{name}/{name}.ipynb").read_text(encoding="utf-8")
        yield name, "nothing done", nbformat.reads(student_version(text), as_version=4), 0
        for case, (*_, points, _) in cases(name).WRONG.items():
            yield name, case, wrong(name, case), points
    victim = {"victim": str(course / "gradebook.db"), "folder": str(course), "port": 80}
    victim["source"] = str(course / f"source/{HARMED}/{HARMED}.ipynb")
    for case, (harm, _) in ATTEMPTS.items():
        notebook = solution(HARMED)
        notebook.cells.append(nbformat.v4.new_code_cell(HEAD + harm.format(**victim)))
        yield HARMED, f"harm: {case}", notebook, 20


def grade(course: Path, student: str, name: str, notebook: nbformat.NotebookNode) -> dict:
    """Hand in a notebook and grade it: its marks, its seconds and its report's first sentence."""
    place = course / f"submitted/{student}/{name}/{name}.ipynb"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(nbformat.writes(notebook), encoding="utf-8")
    began = time.perf_counter()
    done = course_api(course / "nbgrader_config.py").autograde(name, student)
    if not done["success"]:
        sys.exit(f"{student}, {name}: {done}")
    seconds = time.perf_counter() - began
    with Gradebook(f"sqlite:///{course}/gradebook.db") as book:
        marks = book.find_submission(name, student).score
    graded = course / f"autograded/{student}/{name}/{name}.ipynb"
    cells = nbformat.read(graded, as_version=4).cells
    errors = [x.evalue for c in cells for x in c.get("outputs", []) if x.output_type == "error"]
    return {"marks": marks, "seconds": seconds, "report": errors[0] if errors else ""}


def main() -> None:
    """Grade what is not graded yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "_build/grading")
    parser.add_argument("--minutes", type=float, default=600)
    options = parser.parse_args()
    course, until = options.folder.resolve(), time.monotonic() + 60 * options.minutes
    course.mkdir(parents=True, exist_ok=True)
    results = course / "results.json"
    if not (course / "zips").exists():
        write_course(course)
    rows = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    for n, (name, what, notebook, points) in enumerate(submissions(course), start=1):
        if f"s{n:03d}" in rows or time.monotonic() > until:
            continue
        row = {"assignment": name, "submission": what, "expected": points}
        rows[f"s{n:03d}"] = row | grade(course, f"s{n:03d}", name, notebook)
        results.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    for row in rows.values():
        print("| {assignment} | {submission} | {marks:g} of 20 |".format(**row), row["report"], "|")
    minutes = sum(row["seconds"] for row in rows.values()) / 60
    print(f"{len(rows)} of {n} graded in {minutes:.1f} minutes")
    if bad := [student for student, row in rows.items() if row["marks"] != row["expected"]]:
        sys.exit(f"Other marks than expected: {', '.join(bad)}")


if __name__ == "__main__":
    main()
