"""Each assignment: its solutions pass, each classic mistake costs its marks and is named."""

import json
from itertools import combinations

import pytest
from grader.execute import LIMITS
from submitting import NAMES, Timed, cases, marks, right, solution, wrong

WRONG = [(name, case) for name in NAMES for case in cases(name).WRONG]
RIGHT = [(name, case) for name in NAMES for case in cases(name).RIGHT]


def sources(assignment):
    return "".join(cell.source for cell in solution(assignment).cells)


def full(assignment):
    graded = [c.metadata.get("nbgrader", {}) for c in solution(assignment).cells]
    return sum(m["points"] for m in graded if m.get("grade"))


@pytest.mark.parametrize("assignment", NAMES)
def test_there_are_enough_submissions(assignment):
    assert full(assignment) == 20
    assert len(cases(assignment).RIGHT) >= 2
    assert len(cases(assignment).WRONG) >= 6


@pytest.mark.parametrize("variant", [0, 3, 7])
@pytest.mark.parametrize("assignment", NAMES)
def test_the_solution_gets_full_marks_in_every_variant(assignment, variant):
    assert marks(assignment, solution(assignment), variant) == (20, [])


@pytest.mark.parametrize(("assignment", "case"), RIGHT)
def test_a_solution_written_differently_gets_full_marks(assignment, case):
    assert marks(assignment, right(assignment, case)) == (20, [])


@pytest.mark.parametrize(("assignment", "case"), WRONG)
def test_a_classic_mistake_costs_its_marks_and_is_named(assignment, case):
    *_, expected, words = cases(assignment).WRONG[case]
    got, errors = marks(assignment, wrong(assignment, case))
    assert any(words in error for error in errors), errors
    assert got == expected, errors


@pytest.mark.parametrize("assignment", [name for name in NAMES if "own_number(" in sources(name)])
def test_no_two_variants_accept_each_others_number(assignment, monkeypatch):
    asked = []
    monkeypatch.setattr("grader.oracles.own_number", lambda *x, tol=1e-3: asked.append((*x, tol)))
    marks(assignment, solution(assignment))
    for what, got, rights, _, tol in asked:
        assert got == pytest.approx(rights[0])
        for one, other in combinations(rights, 2):
            assert abs(one - other) > 2 * tol * (1 + abs(one)), what
    assert asked


@pytest.mark.parametrize("assignment", [name for name in LIMITS if LIMITS[name].forbidden])
def test_the_student_is_told_what_of_the_library_is_not_there(assignment):
    text = next(cell.source for cell in solution(assignment).cells)
    for name in LIMITS[assignment].forbidden:
        assert f"`td.{name}`" in text


def test_a_training_cell_beyond_its_seconds_costs_a_mark(monkeypatch):
    monkeypatch.setattr(Timed, "seconds", 21.0)
    got, errors = marks("07_project", solution("07_project"))
    assert got == 19 and "seconds of CPU, the budget is 20" in errors[0]


@pytest.mark.parametrize("assignment", NAMES)
def test_the_source_is_stored_clean(assignment):
    for cell in solution(assignment).cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None
        if cell.metadata.get("nbgrader", {}).get("solution"):
            assert "### BEGIN SOLUTION" in cell.source
    assert json.dumps(solution(assignment).metadata).count("python3") == 1
