"""Write the assignments: what students get, and the folder that nbgrader grades in.

python instructor/assignments/make.py [FOLDER] [--roster ids.txt]

FOLDER (default: grading) becomes a course of nbgrader: source/ with the solutions, release/ with
what students get, gradebook.db, nbgrader_config.py. Grades that are there stay. zips/ holds
student.zip and instructor.zip, and with a roster one zip for each student, whose variant differs.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import zipfile
from pathlib import Path

import nbformat

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from grader.variants import variant_of, with_variant  # noqa: E402

CONFIG = '''"""Written by instructor/assignments/make.py: each submission is graded in a sandbox."""

import os
import sys

os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]  # alembic
sys.path.insert(0, {here!r})
from grader.execute import ForgetForged, SandboxedExecute
from nbconvert.preprocessors import ClearMetadataPreprocessor, CSSHTMLHeaderPreprocessor
from nbgrader import preprocessors as steps

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "tigerdiff"
c.CourseDirectory.root = {root!r}
c.OverwriteCells.add_missing_cells = True
c.FileNameCollectorPlugin.named_regexp = r".*/(?P<student_id>[^/]+)/(?P<file_id>[^/]+)"
c.SandboxedExecute.roster = {roster!r}
c.SandboxedExecute.leaderboard = {root!r} + "/leaderboard.csv"
c.Autograde.sanitize_preprocessors = [
    ForgetForged, steps.ClearOutput, steps.DeduplicateIds, steps.OverwriteKernelspec,
    steps.OverwriteCells, steps.CheckCellMetadata,
]
c.Autograde.autograde_preprocessors = [
    SandboxedExecute, steps.IgnorePattern, ClearMetadataPreprocessor, steps.LimitOutput,
    steps.SaveAutoGrades, steps.AssignLatePenalties, steps.CheckCellMetadata,
]
c.ClearMetadataPreprocessor.enabled = False
c.GenerateFeedback.preprocessors = [
    steps.GetGrades, steps.ClearHiddenTests, CSSHTMLHeaderPreprocessor,
]
'''


def write_course(folder: Path, roster: Path | None = None) -> Path:
    """Make or renew the course's folder and its zips; grades and submissions stay.

    Returns:
        Its configuration.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(HERE / "source", folder / "source", dirs_exist_ok=True)
    names = folder / "roster.txt"
    if roster is not None:
        shutil.copyfile(roster, names)
    config = folder / "nbgrader_config.py"
    config.write_text(
        CONFIG.format(here=str(HERE), root=str(folder), roster=str(names)), encoding="utf-8"
    )
    api = course_api(config)
    assignments = sorted(path.name for path in (folder / "source").iterdir())
    for assignment in assignments:
        done = api.generate_assignment(assignment)
        if not done["success"]:
            raise RuntimeError(f"{assignment}: {done.get('log')} {done['error']}")
    write_zips(folder, assignments)
    return config


def course_api(config: Path):
    """nbgrader's programming interface for a course."""
    from nbgrader.apps import NbGraderAPI
    from nbgrader.coursedir import CourseDirectory
    from traitlets.config import PyFileConfigLoader

    settings = PyFileConfigLoader(config.name, str(config.parent)).load_config()
    return NbGraderAPI(CourseDirectory(config=settings), config=settings)


def student_version(text: str, variant: int = 0) -> str:
    """A released notebook (JSON text) as a student gets it: with the variant's line."""
    notebook = nbformat.reads(text, as_version=4)
    for cell in notebook.cells:
        if texts := cell.metadata.pop("variants", None):  # what to read differs by variant
            cell.source = texts[variant]
        cell.source = with_variant(cell.source, variant)
    return nbformat.writes(notebook) + "\n"


def write_zips(folder: Path, assignments: list[str]) -> None:
    """Pack the notebooks for the students, one zip for each name of the roster, and the source."""
    roster, zips = folder / "roster.txt", folder / "zips"
    zips.mkdir(exist_ok=True)
    lines = roster.read_text(encoding="utf-8-sig").split("\n") if roster.exists() else []
    students = [line.strip() for line in lines]
    for student in ["student", *(s for s in students if s and not s.startswith("#"))]:
        variant = 0 if student == "student" else variant_of(student, roster)
        with zipfile.ZipFile(zips / f"{student}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name in assignments:
                text = (folder / f"release/{name}/{name}.ipynb").read_text(encoding="utf-8")
                archive.writestr(f"{name}.ipynb", student_version(text, variant))
    with zipfile.ZipFile(zips / "instructor.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in assignments:
            archive.write(folder / f"source/{name}/{name}.ipynb", f"{name}.ipynb")


def main() -> None:
    """Read the arguments, write the course and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("grading"))
    parser.add_argument("--roster", type=Path, help="text file with one student's id in each line")
    given = parser.parse_args()
    write_course(given.folder, given.roster)
    print(f"wrote {given.folder}: hand out zips/, grade with nbgrader autograde in that folder")


if __name__ == "__main__":
    main()
