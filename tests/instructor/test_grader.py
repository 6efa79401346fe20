"""nbgrader's autograder with the sandbox: marks, feedback, and submissions that do harm."""

import copy
import re
import socket
import subprocess
import sys
import zipfile
from dataclasses import replace

import grader.execute
import nbformat
import pytest
from grader.execute import LIMITS, plain
from grader.sandbox import Limits, Sandbox, SubmissionError
from grader.variants import VARIANTS, variant_of
from make import course_api, student_version, write_course
from nbgrader.api import Gradebook
from submitting import NAMES, SOURCE, cell, locked, marks, right, solution

pytestmark = pytest.mark.slow
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can refuse files to a cell")
HARMFUL = {  # assignment 2, each in the cell of a task
    "make_alpha_bar": """
def make_alpha_bar(beta):
    while True:
        pass
""",
    "add_noise": """
import os
def add_noise(schedule, x0, t, eps):
    os._exit(0)
""",
    "noise_step": """
td.NoiseSchedule.beta = None  # patches the library, and answers wrongly
def noise_step(schedule, x_prev, t, eps):
    return x_prev
""",
    "snr_db": """
def snr_db(schedule):
    return torch.zeros(10**12)
""",
}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course")
    roster = folder / "ids.txt"
    roster.write_text("# term: autumn\nada\nbob\n", encoding="utf-8-sig")  # as Windows writes it
    return write_course(folder / "grading", roster)


def submit(course, student, assignment, notebook):
    place = course.parent / f"submitted/{student}/{assignment}/{assignment}.ipynb"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(nbformat.writes(notebook))


def autograde(course, student, assignment):
    """The score that nbgrader's own autograder gives."""
    done = course_api(course).autograde(assignment, student)
    assert done["success"], done
    with Gradebook(f"sqlite:///{course.parent}/gradebook.db") as book:
        return book.find_submission(assignment, student).score


def feedback(course, student, assignment):
    done = course_api(course).generate_feedback(assignment, student)
    assert done["success"], done
    return (course.parent / f"feedback/{student}/{assignment}/{assignment}.html").read_text()


@pytest.fixture
def patient(monkeypatch):
    """The limits and the budget of seconds for a machine that is eight times slower."""
    for name in NAMES:
        limits = LIMITS.get(name, Limits())
        times = {what: 8 * getattr(limits, what) for what in ("seconds", "total", "cpu")}
        monkeypatch.setitem(LIMITS, name, replace(limits, **times))
    run = Sandbox.run
    monkeypatch.setattr(Sandbox, "run", lambda self, cell: run(self, cell) / 8)


@pytest.mark.parametrize("assignment", NAMES)
def test_the_autograder_gives_a_solution_full_marks(course, assignment, patient):
    """It is graded with the variant of the student, whatever the notebook says."""
    submit(course, "ada", assignment, solution(assignment))
    assert autograde(course, "ada", assignment) == 20
    if assignment == "07_project":
        points, tigers = (course.parent / "leaderboard.csv").read_text().splitlines()
        assert re.fullmatch(r"ada,points,distance=\S+,right=\S+,calls=20,seconds=[\d.]+", points)
        assert re.fullmatch(r"ada,tigers,distance=\S+,right=\S+,calls=20", tigers)


@pytest.mark.parametrize("assignment", NAMES)
def test_the_student_version_is_plain_and_gets_no_marks(course, assignment):
    text = (course.parent / f"release/{assignment}/{assignment}.ipynb").read_text()
    assert (
        "SOLUTION" not in text
        and "HIDDEN TESTS" not in text
        and "grader" not in text.replace("nbgrader", "")
    )
    notebook = nbformat.reads(student_version(text), as_version=4)
    assert not any("variants" in c.metadata for c in notebook.cells)
    assert marks(assignment, notebook)[0] == 0


def test_harm_costs_its_own_marks_alone_and_is_reported(course, monkeypatch):
    name = "02_forward_noising"
    quick = Limits(seconds=3, forbidden=grader.execute.LIMITS[name].forbidden)
    monkeypatch.setitem(grader.execute.LIMITS, name, quick)
    notebook = solution(name)
    for where, source in HARMFUL.items():
        cell(notebook, where).source = source
    tests = [c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade")]
    for c in tests:
        c.source = "pass"  # changed tests are restored
        c.metadata["tags"] = ["look"]  # and run, whatever the metadata say
    forged = nbformat.v4.new_code_cell(f"open({str(course.parent / 'mark')!r}, 'w')")
    forged.metadata["nbgrader"] = {**cell(notebook, "setup").metadata["nbgrader"]}
    forged.metadata["nbgrader"]["grade_id"] = "mine"  # looks like a cell of ours
    notebook.cells[2:2] = [forged, copy.deepcopy(tests[0])]
    submit(course, "bob", name, notebook)
    assert autograde(course, "bob", name) == 2 + 3  # t_half and even_schedule
    assert not (course.parent / "mark").exists()
    page = feedback(course, "bob", name)
    for words in ("no answer within 3 seconds", "ended in the middle", "DefaultCPUAllocator"):
        assert words in page
    assert "compare(" not in page, "the feedback must not show the hidden tests"


def test_what_the_library_has_may_not_be_handed_in(course):
    name = "02_forward_noising"
    notebook = solution(name)
    cell(notebook, "add_noise").source = "from tigerdiff.diffusion import add_noise"
    submit(course, "cleo", name, notebook)
    assert autograde(course, "cleo", name) == 15
    assert "write it yourself: td.add_noise" in feedback(course, "cleo", name)


@pytest.fixture(scope="module")
def sandbox():
    sandbox = Sandbox(Limits(seconds=30, total=200, output=100_000))
    sandbox.run("import os, shutil, socket, subprocess, sys\nimport torch, tigerdiff as td")
    yield sandbox
    sandbox.close()


ATTEMPTS = {
    "raise": ("raise ValueError('no idea')", "no idea .line 1 of the cell"),
    "exit": ("sys.exit(3)", "SystemExit"),
    "fork": ("while True: os.fork()", "starts or ends a process"),
    "program": ("subprocess.run(['true'])", "starts a process"),
    "shell": ("os.system('true')", "starts or ends a process"),
    "network": ("socket.create_connection(('127.0.0.1', {port}))", "uses the network"),
    "memory": ("hoard = [bytearray(10**8) for _ in range(1000)]", "MemoryError"),
    "output": ("while True: print('x' * 10_000)", "printed more than 100,000 characters"),
    "disk": ("open('big', 'wb').write(bytes(10**8))", "File too large"),
    "delete": ("os.remove({victim!r})", "Permission denied"),
    "delete all": ("shutil.rmtree({folder!r})", "Permission denied"),
    "overwrite": ("open({victim!r}, 'w')", "Permission denied"),
    "solutions": ("open({source!r}).read()", "Permission denied"),
    "patch on disk": ("open(td.__file__, 'a')", "Permission denied"),
}


@linux
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_harm_is_refused_and_named(sandbox, attempt, tmp_path):
    victim = tmp_path / "grades.db"
    victim.write_text("20")
    with socket.create_server(("127.0.0.1", 0)) as server:
        cell, words = ATTEMPTS[attempt]
        cell = cell.format(
            victim=str(victim), folder=str(tmp_path), port=server.getsockname()[1],
            source=str(SOURCE / "02_forward_noising/02_forward_noising.ipynb"),
        )  # fmt: skip
        with pytest.raises(SubmissionError, match=words):
            sandbox.run(cell)
    assert victim.read_text() == "20"
    sandbox.run("1 + 1")  # the process lives on


def test_an_empty_task_is_named(sandbox):
    with pytest.raises(SubmissionError, match="this task is not done yet .line 2 of the cell"):
        sandbox.run("# mine\nraise NotImplementedError")


def test_the_seconds_of_a_cell_are_counted_where_it_cannot_change_them(sandbox):
    sandbox.run("import time\nhonest, time.process_time = time.process_time, lambda: 0.0")
    assert sandbox.run("began = honest()\nwhile honest() < began + 0.5: pass") >= 0.4
    assert sandbox.run("time.sleep(0.5)") < 0.3


def test_a_notebooks_display_is_there(sandbox):
    sandbox.run("assert callable(display)")


def test_values_cross_as_data_and_functions_as_calls(sandbox):
    sandbox.run(
        "def twice(f, x):\n    return {'y': f(f(x)), 'of': (x, [1.5, None])}\n"
        "class Trick:\n    def __reduce__(self): return (print, ('unpickled',))\n"
        "trick = Trick()"
    )
    import torch

    x = torch.arange(3.0)
    got = sandbox.get("twice")(lambda v: v + 1, x)
    assert torch.equal(got["y"], x + 2)
    assert got["of"][1] == [1.5, None]
    with pytest.raises(SubmissionError, match="Trick cannot be handed in"):
        sandbox.get("trick")
    with pytest.raises(NameError, match="absent is not defined"):
        sandbox.get("absent")


@linux
def test_the_sandbox_says_what_it_protects(sandbox):
    assert set(sandbox.protected) == {"network and processes", "files"}
    assert sandbox.protected["files"]


def test_every_student_has_a_variant_and_a_zip(course):
    roster = course.parent / "roster.txt"
    assert {variant_of(f"s{i}", None) for i in range(9)} == {0}
    for student in ("ada", "bob"):
        variant = variant_of(student, roster)
        assert 1 <= variant < VARIANTS
        with zipfile.ZipFile(course.parent / f"zips/{student}.zip") as archive:
            assert set(archive.namelist()) == {f"{name}.ipynb" for name in NAMES}
            for name in NAMES:
                text = archive.read(f"{name}.ipynb").decode()
                notebook = nbformat.reads(text, as_version=4)
                assert f"VARIANT = {variant}" in cell(notebook, "setup").source.splitlines()


@pytest.mark.parametrize("packed", [True, False])
def test_downloads_are_collected(course, packed):
    student, name = f"download-{packed}", NAMES[0]
    archive = course.parent / f"downloaded/{name}/archive"
    archive.mkdir(parents=True, exist_ok=True)
    text = (course.parent / f"release/{name}/{name}.ipynb").read_text(encoding="utf-8")
    if packed:
        with zipfile.ZipFile(archive / "all.zip", "w") as file:
            file.writestr(f"{student}/{name}.ipynb", text)
    else:
        (archive / student).mkdir()
        (archive / f"{student}/{name}.ipynb").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "nbgrader", "zip_collect", "--force", name]
    subprocess.run(command, cwd=course.parent, check=True, capture_output=True)
    assert (course.parent / f"submitted/{student}/{name}/{name}.ipynb").read_text() == text


def test_what_only_a_notebook_understands_is_left_out_and_nothing_else():
    assert plain("%pip install a\nx = 1\nif x:\n    !ls") == "pass\nx = 1\nif x:\n    pass"
    python = "t = (1000 - 7\n     % 3)\nprint(t\n      != 1)"
    assert plain(python) == python


def test_a_copied_number_is_recognised():
    name = "02_forward_noising"
    notebook = solution(name)
    cell(notebook, "t_half").source = "t_half = 100"
    _, errors = marks(name, notebook, variant=3)
    assert any("is right for variant 0, not for yours (3)" in error for error in errors), errors


def test_solutions_written_differently_pass_the_sandbox(patient):
    """Arguments and answers survive the way between the processes."""
    from grader.execute import grade

    name = "02_forward_noising"
    notebook = right(name, "with numpy and logarithms")
    submission = Sandbox(grader.execute.LIMITS[name])
    try:
        assert [e for e in grade(notebook.cells, locked(name), 2, submission) if e] == []
    finally:
        submission.close()
