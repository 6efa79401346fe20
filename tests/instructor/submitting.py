"""Submissions made from the source of an assignment, and their marks."""

import importlib
from pathlib import Path

import nbformat
from grader.execute import grade
from grader.sandbox import SameProcess

SOURCE = Path(__file__).parents[2] / "instructor/assignments/source"
NAMES = sorted(path.name for path in SOURCE.iterdir())


def cases(assignment):
    """The module with right and wrong submissions to an assignment."""
    return importlib.import_module(f"cases_{assignment}")


def solution(assignment):
    """The notebook with the solutions."""
    return nbformat.read(SOURCE / f"{assignment}/{assignment}.ipynb", as_version=4)


def cell(notebook, name):
    """The cell that nbgrader knows by this name."""
    return next(c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == name)


def right(assignment, name):
    """The solution, written differently."""
    notebook = solution(assignment)
    for where, source in cases(assignment).RIGHT[name].items():
        cell(notebook, where).source = source
    return notebook


def wrong(assignment, name):
    """The solution with one mistake."""
    where, there, put, *_ = cases(assignment).WRONG[name]
    notebook = solution(assignment)
    changed = cell(notebook, where)
    assert there in changed.source, f"{name}: {there!r} is not in the solution"
    changed.source = changed.source.replace(there, put)
    return notebook


def locked(assignment):
    """The source of its tests and given cells, by name, as the gradebook has them."""
    facts = [(c.metadata.get("nbgrader", {}), c.source) for c in solution(assignment).cells]
    return {fact["grade_id"]: source for fact, source in facts if fact.get("locked")}


class Timed(SameProcess):
    """Each cell takes one second: how long it really takes depends on the machine."""

    seconds = 1.0

    def run(self, cell):
        super().run(cell)
        return self.seconds


def marks(assignment, notebook, variant=0):
    """Grade in this process: the marks and the messages of the tests that failed."""
    submission = Timed()
    errors = grade(notebook.cells, locked(assignment), variant, submission)
    tests = [
        (c.metadata["nbgrader"]["points"], error)
        for c, error in zip(notebook.cells, errors)
        if c.metadata.get("nbgrader", {}).get("grade")
    ]
    return sum(points for points, error in tests if not error), [e for _, e in tests if e]
