"""The archive for a room without a network: what is in it, and how it installs."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import offline
import offline_install
import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def checkout(tmp_path):
    """A repository with a file of each kind, and with what make offline makes beforehand."""
    for name in (
        *("Makefile", "book/01_theory.ipynb", "tigerdiff/pretrained/weights/a/model.safetensors"),
        *("tools/offline_install.py", ".gitignore", "_build/html/index.html", "secret.txt"),
        *("_build/html/_static/a.js", "build/course/zips/student.zip", "build/npm/runtime.tgz"),
        *("instructor/quizzes.yml", "instructor/assignments/source/a.ipynb"),  # with solutions
        *("tests/instructor/cases_01_theory.py", "build/course/zips/instructor.zip"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".gitignore").write_text("_build/\nbuild/\nsecret.txt\n")
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_the_archive_has_the_course_the_book_and_the_assignments(checkout):
    planned = offline.plan(checkout)
    assert {inside: path.relative_to(checkout).as_posix() for path, inside in planned} == {
        "course/Makefile": "Makefile",
        "course/.gitignore": ".gitignore",
        "course/book/01_theory.ipynb": "book/01_theory.ipynb",
        "course/tigerdiff/pretrained/weights/a/model.safetensors":
            "tigerdiff/pretrained/weights/a/model.safetensors",
        "course/tools/offline_install.py": "tools/offline_install.py",
        "course/instructor/quizzes.yml": "instructor/quizzes.yml",
        "install.py": "tools/offline_install.py",
        "book/index.html": "_build/html/index.html",
        "book/_static/a.js": "_build/html/_static/a.js",
        "assignments/student.zip": "build/course/zips/student.zip",
        "course/build/npm/runtime.tgz": "build/npm/runtime.tgz",
    }  # fmt: skip


@pytest.mark.parametrize("missing", ["_build/html", "build/course", "build/npm"])
def test_what_is_not_made_is_one_sentence(checkout, missing):
    shutil.rmtree(checkout / missing)
    with pytest.raises(FileNotFoundError, match=r"has no \*.*: run make offline, which makes it$"):
        list(offline.plan(checkout))


def test_the_wheels_are_the_versions_that_are_installed(tmp_path, monkeypatch):
    """But the course is that of the checkout, whatever copy of it is installed."""
    about = tmp_path / "tigerdiff-0.0.1.dist-info/METADATA"
    about.parent.mkdir()
    about.write_text("Metadata-Version: 2.1\nName: tigerdiff\nVersion: 0.0.1\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    lines = offline.constraints().splitlines()
    assert all(re.fullmatch(r"[\w.-]+==\S+", line) for line in lines)
    found = {line.split("==")[0].lower() for line in lines}
    assert {"torch", "nbgrader", "jupyter-book", "pytest", "setuptools"} <= found
    assert "tigerdiff" not in found


@pytest.fixture
def unpacked(tmp_path):
    """An unpacked archive with one small wheel, which nothing else has."""
    (tmp_path / "course").mkdir()
    (tmp_path / "wheels").mkdir()
    shutil.copy(ROOT / "tools/offline_install.py", tmp_path / "install.py")
    (tmp_path / "about.json").write_text(json.dumps(offline_install.machine()))
    (tmp_path / "course/requirements.txt").write_text("stripes-of-a-tiger>=1\n")
    info = "stripes_of_a_tiger-1.0.dist-info"
    with zipfile.ZipFile(tmp_path / "wheels/stripes_of_a_tiger-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("stripes.py", "print('striped')\n")
        name = "Metadata-Version: 2.1\nName: stripes-of-a-tiger\nVersion: 1.0\n"
        wheel.writestr(f"{info}/METADATA", name)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return tmp_path


def install(folder, **more):
    command = [sys.executable, str(folder / "install.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tools/guard"), **more}
    return subprocess.run(
        command, cwd=folder.parent, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_one_command_installs_from_the_wheels_alone(unpacked):
    """Whatever pip is set to; then make installs nothing more."""
    done = install(unpacked, PIP_INDEX_URL="http://127.0.0.1:9", PIP_REQUIRE_VIRTUALENV="1")
    assert done.returncode == 0, done.stderr
    assert str(unpacked / "book/index.html") in done.stdout
    python = unpacked / "course/.venv/bin/python"
    assert subprocess.check_output([python, "-c", "import stripes"], text=True) == "striped\n"
    assert (unpacked / "course/.venv/.ready").exists()
    (unpacked / "wheels/stripes_of_a_tiger-1.0-py3-none-any.whl").unlink()
    shutil.rmtree(unpacked / "course/.venv")
    done = install(unpacked)
    assert done.returncode != 0
    assert "The wheels were not installed" in done.stderr


@pytest.mark.parametrize("key", ["python", "system"])
def test_another_python_or_system_is_one_sentence(unpacked, key):
    about = offline_install.machine() | {key: "2.7"}
    (unpacked / "about.json").write_text(json.dumps(about))
    done = install(unpacked)
    assert done.returncode != 0
    assert done.stderr.startswith("This archive is for Python ") and "2.7" in done.stderr
    assert "Traceback" not in done.stderr and not (unpacked / "course/.venv").exists()
