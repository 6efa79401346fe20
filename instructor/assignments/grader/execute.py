"""nbgrader's step "execute", in two processes instead of one kernel.

The student's cells run in a sandbox. The tests, hidden ones too, run here; where they name
something of the student's they get plain data, or a function that runs over there. So no
submission can read a test, change one, or change the library that a test compares with.
"""

from __future__ import annotations

import ast
import builtins
from pathlib import Path
from typing import Any

from nbformat.v4 import new_output
from nbgrader.api import Gradebook
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import is_grade
from traitlets import Unicode

from grader.sandbox import Limits, SameProcess, Sandbox, SubmissionError
from grader.variants import variant_of, with_variant

# What is different from the defaults, by assignment.
LIMITS: dict[str, Limits] = {
    "02_forward_noising": Limits(forbidden=("add_noise", "noise_step", "to_x0_eps")),
    "04_ddpm": Limits(forbidden=("posterior", "ddpm", "diffusion_loss")),
    "05_ddim": Limits(forbidden=("ddim", "timesteps", "to_x0_eps")),
    "06_stable_diffusion": Limits(forbidden=("guided",)),
    "07_project": Limits(seconds=40, total=180, cpu=150),
}


def grade(
    cells: list,
    ours: dict[str, str],
    variant: int,
    submission: Sandbox | SameProcess,
    student: str = "",
    leaderboard: Path | None = None,
) -> list[str | None]:
    """Run the cells of a submission and write what came out into them.

    Args:
        cells: of the notebook. Their metadata may be forged: what runs here is in ``ours``.
        ours: the source of the tests and of the given cells, by their names.
        variant: of this student.
        submission: where the student's cells run.
        student: the id, for the leaderboard.
        leaderboard: a file to which the project's tests append their lines.

    Returns:
        For each cell the error, or None.
    """
    space: dict[str, Any] = {"__name__": "tests", "STUDENT": student, "LEADERBOARD": leaderboard}
    space["SECONDS"] = {}  # of CPU, by the name of the cell
    errors: list[str | None] = []
    for cell in cells:
        errors.append(None)
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        look = "look" in cell.metadata.get("tags", []) and name not in ours
        if cell.cell_type != "code" or look:
            continue
        source = plain(with_variant(ours.get(name, cell.source), variant))
        cell.outputs = []
        if name in ours and not is_grade(cell):  # if it fails, the assignment is broken
            exec(compile(source, "<given>", "exec"), space)
        try:
            if name in ours and is_grade(cell):
                test(source, space, submission)
            else:
                took = submission.run(source)
                space["SECONDS"][name] = space["SECONDS"].get(name, 0) + took
        except (SubmissionError, NameError, AssertionError) as error:
            errors[-1] = str(error) or "a test fails: see its cell"
        except Exception as error:  # an answer of a wrong kind breaks the test that uses it
            errors[-1] = f"the test cannot use the answer ({type(error).__name__}: {error})"
        if submission.printed:
            cell.outputs.append(new_output("stream", name="stdout", text=submission.printed))
            submission.printed = ""
        if errors[-1]:
            text = errors[-1]
            cell.outputs.append(
                new_output("error", ename="AssertionError", evalue=text, traceback=[text])
            )
    return errors


def test(source: str, space: dict[str, Any], submission: Sandbox | SameProcess) -> None:
    """Run a test cell here, with what it names of the student's fetched."""
    code = ast.parse(source)
    names = [node for node in ast.walk(code) if isinstance(node, ast.Name)]
    bound = {node.id for node in names if isinstance(node.ctx, ast.Store)} | set(space)
    bound |= {node.arg for node in ast.walk(code) if isinstance(node, ast.arg)}
    bound |= {node.name for node in ast.walk(code) if isinstance(node, ast.FunctionDef)}
    bound |= {
        (alias.asname or alias.name).partition(".")[0]
        for node in ast.walk(code)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    asked = {node.id for node in names} - bound - set(dir(builtins))
    answers = {name: submission.get(name) for name in sorted(asked)}
    exec(compile(code, "<test>", "exec"), {**space, **answers})


def plain(source: str) -> str:
    """The source, or if it is no Python, the source without its lines that begin with % or !."""
    try:
        ast.parse(source)
        return source
    except SyntaxError:
        lines = []
    for line in source.splitlines():
        code = line.lstrip()
        magic = code.startswith(("%", "!"))
        lines.append(line[: len(line) - len(code)] + "pass" if magic else line)
    return "\n".join(lines)


class SandboxedExecute(NbGraderPreprocessor):
    """Takes the place of nbgrader's Execute in ``c.Autograde.autograde_preprocessors``."""

    roster = Unicode("", help="text file with one student's id in each line").tag(config=True)
    leaderboard = Unicode("", help="file that gets lines for each project").tag(config=True)

    def preprocess(self, nb, resources):
        """Grade one notebook; nothing in it can stop the ones that follow."""
        facts = resources["nbgrader"]
        limits = LIMITS.get(facts["assignment"], Limits())
        roster = Path(self.roster) if self.roster else None
        variant = variant_of(facts["student"], roster)
        if variant == 0 and roster and roster.exists():
            self.log.warning(
                "%s is not in the roster, so variant 0 is expected: name the folder in submitted/ "
                "exactly as the roster does, and grade again with --force", facts["student"],
            )  # fmt: skip
        with Gradebook(facts["db_url"]) as book:
            cells = book.find_notebook(facts["notebook"], facts["assignment"]).source_cells
            ours = {cell.name: cell.source for cell in cells if cell.locked}
        submission = Sandbox(limits)
        try:
            board = Path(self.leaderboard) if self.leaderboard else None
            grade(nb.cells, ours, variant, submission, facts["student"], board)
        finally:
            submission.close()
        if weak := [what for what, there in submission.protected.items() if not there]:
            self.log.warning("this machine cannot keep apart: %s", ", ".join(weak))
        return nb, resources


class ForgetForged(NbGraderPreprocessor):
    """Comes first: a cell that the gradebook does not know, or a copy, is the student's own."""

    def preprocess(self, nb, resources):
        """Take nbgrader's metadata from such cells; of copies the last one counts."""
        facts = resources["nbgrader"]
        with Gradebook(facts["db_url"]) as book:
            cells = book.find_notebook(facts["notebook"], facts["assignment"]).source_cells
            known = {cell.name for cell in cells}
        for cell in reversed(nb.cells):
            name = cell.metadata.get("nbgrader", {}).get("grade_id")
            if name not in known:
                cell.metadata.pop("nbgrader", None)
            known.discard(name)
        return nb, resources
