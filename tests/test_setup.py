"""The repository around the package: make, addresses, citations."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import chromium
import pytest
import repository_url
import typer
import yaml
from PIL import Image

import tigerdiff
from tigerdiff.commands.app import app
from tigerdiff.devices import LIMITS

ROOT = Path(__file__).parent.parent
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))


@pytest.fixture
def checkout(tmp_path):
    """The Makefile and what it looks at, without an environment."""
    for name in ("Makefile", "pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def fake_python(folder, body):
    path = folder / "fake-python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def make(folder, *args):
    return subprocess.run(["make", *args], cwd=folder, capture_output=True, text=True, check=False)


def test_a_python_that_is_too_old_or_too_new_is_refused_in_one_sentence(checkout):
    code = 'case "$2" in *version_info*) exit 1;; esac'
    done = make(checkout, "book", f"PYTHON={fake_python(checkout, code)}")
    assert done.returncode != 0
    assert "tigerdiff needs Python 3.10 to 3.13" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_python_without_venv_is_refused_in_one_sentence(checkout):
    code = 'case "$2" in *ensurepip*) exit 1;; esac'
    done = make(checkout, "test", f"PYTHON={fake_python(checkout, code)}")
    assert done.returncode != 0
    assert "python3-venv" in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_ready_environment_is_not_installed_again(checkout):
    ready = checkout / ".venv/.ready"
    ready.parent.mkdir()
    ready.touch()
    newest = max(
        (checkout / name).stat().st_mtime for name in ("pyproject.toml", "requirements.txt")
    )
    os.utime(ready, (newest + 1, newest + 1))
    assert "pip install" not in make(checkout, "-n", "book").stdout
    os.utime(checkout / "pyproject.toml", (newest + 2, newest + 2))
    assert "pip install -r requirements.txt" in make(checkout, "-n", "book").stdout


def test_a_second_call_starts_its_work_at_once(checkout):
    """With the environment ready, the first thing that runs is ruff."""
    ready = checkout / ".venv/.ready"
    ready.parent.mkdir()
    ready.touch()
    lines = make(checkout, "-n", "--no-print-directory", "lint").stdout.splitlines()
    assert lines[0] == ".venv/bin/ruff check ."


def test_threads_never_spin_and_a_laptop_can_be_played(checkout):
    (checkout / "Makefile").write_text(
        (checkout / "Makefile").read_text() + "\nshow:\n\t@env\n", encoding="utf-8"
    )
    clean = {name: value for name, value in os.environ.items() if name not in LIMITS}
    for name in ("OMP_WAIT_POLICY", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "LAPTOP"):
        clean.pop(name, None)  # what the make that runs the tests was given
    for arguments in ([], ["LAPTOP=1"]):
        command = ["make", "show", *arguments]
        shown = subprocess.check_output(command, cwd=checkout, env=clean, text=True)
        found = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        assert found["OMP_WAIT_POLICY"] == "PASSIVE"
        limits = {name: found[name].lower() for name in LIMITS if name in found}
        assert limits == (dict.fromkeys(LIMITS, "avx2") if arguments else {})


def test_clean_leaves_what_git_keeps(checkout):
    """What clean removes is all that git ignores, but for what a reader has made."""
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().split()]
    kept = ["runs", "data", "grading", ".ipynb_checkpoints", ".DS_Store"]
    for name in ("tigerdiff", "tests", "tools", "book", "instructor"):
        (checkout / name).mkdir()
    made = [
        *(name.replace("*", "tigerdiff") for name in ignored if name not in [*kept, "__pycache__"]),
        *("tigerdiff/__pycache__", "tests/__pycache__", "tools/__pycache__", "book/.ruff_cache"),
    ]
    for name in [*made, *kept]:
        (checkout / name).mkdir()
        (checkout / name / "file").touch()
    before = {path.name for path in checkout.iterdir()}
    assert make(checkout, "clean").returncode == 0
    assert [name for name in made if (checkout / name).exists()] == []
    assert {path.name for path in checkout.iterdir()} == before - set(made)


SUDO = ["sudo", "-n"]
PLAYWRIGHT = [sys.executable, "-m", "playwright", "install"]


@pytest.mark.parametrize(
    ("system", "root", "sudo", "apt", "commands"),
    [
        ("debian", True, False, True, [
            ["apt-get", "-qq", "update"],
            ["apt-get", "-qq", "install", "-y", "--no-install-recommends", "chromium"],
        ]),
        ("debian", False, True, True, [
            [*SUDO, "apt-get", "-qq", "update"],
            [*SUDO, "apt-get", "-qq", "install", "-y", "--no-install-recommends", "chromium"],
        ]),
        ("debian", False, False, True, [[*PLAYWRIGHT, "chromium"]]),
        ("ubuntu", True, False, True, [[*PLAYWRIGHT, "--with-deps", "chromium"]]),
        ("ubuntu", False, True, True, [[*PLAYWRIGHT, "--with-deps", "chromium"]]),
        ("ubuntu", False, False, True, [[*PLAYWRIGHT, "chromium"]]),
        ("fedora", True, False, False, [[*PLAYWRIGHT, "chromium"]]),
        ("macos", False, False, False, [[*PLAYWRIGHT, "chromium"]]),
        ("windows", None, None, False, [[*PLAYWRIGHT, "chromium"]]),
    ],
)  # fmt: skip
def test_chromium_is_fetched_as_the_system_allows(
    system, root, sudo, apt, commands, monkeypatch, tmp_path
):
    """The sudo of these machines is there but asks for a password, unless it is allowed."""
    release = tmp_path / "os-release"
    if system in ("debian", "ubuntu", "fedora"):
        release.write_text(f'NAME="{system}"\nID={system}\nID_LIKE=debian\n')
    monkeypatch.setattr(chromium, "OS_RELEASE", release)
    if root is None:
        monkeypatch.delattr(os, "geteuid", raising=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000, raising=False)
    there = {"sudo": sudo is not None, "apt-get": apt}
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if there[name] else None)
    done = []

    def run(command, check):
        if command == [*SUDO, "true"]:
            return subprocess.CompletedProcess(command, 0 if sudo else 1)
        assert check, "a failure must stop the rest"
        done.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    chromium.fetch()
    assert done == commands


def test_continuous_integration_types_make_test():
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_the_repository_has_one_address(tmp_path):
    """Another address in _config.yml, one command, and the old one is gone everywhere."""
    for name in repository_url.FILES:
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "book", tmp_path / "book")
    assert repository_url.main(tmp_path) == [], "run python tools/repository_url.py"

    old = CONFIG["repository"]["url"]
    config = tmp_path / "_config.yml"
    config.write_text(
        config.read_text().replace(f"url: {old}\n", "url: https://github.com/cats/stripes\n")
    )
    changed = repository_url.main(tmp_path)
    assert {"README.md", "CITATION.cff", "pyproject.toml", "_config.yml"} <= set(changed)
    assert any(name.endswith(".ipynb") for name in changed)
    owner, name = repository_url.slug(old)
    for path in (
        p for p in tmp_path.rglob("*") if p.suffix in (".md", ".ipynb", ".yml", ".toml", ".cff")
    ):
        text = path.read_text(encoding="utf-8")
        assert f"{owner}/{name}" not in text, path.name
        assert f"{owner}.github.io" not in text, path.name
    assert repository_url.main(tmp_path) == []


def test_the_readme_has_a_badge_for_every_chapter():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for chapter in (ROOT / "book").glob("*.ipynb"):
        assert f"blob/{CONFIG['sphinx']['config']['plain_notebooks']}/{chapter.name})" in readme


def test_the_readmes_pictures_and_files_exist():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names = re.findall(r"\]\((?!https?:|#)([^)]+)\)", readme) + re.findall(
        r'src="(?!https?:)([^"]+)"', readme
    )
    assert names
    assert [name for name in names if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", ["README.md", "book/api.md", "book/painted_tigers.md",
                                  "book/shipped_model.md"])  # fmt: skip
def test_the_commands_that_a_page_shows_are_understood(page):
    """Parsed by the program's own parser, not run."""
    text = (ROOT / page).read_text(encoding="utf-8")
    shown = re.findall(
        r"^(?:\.venv/bin/)?tigerdiff ((?:render|train|sample|evaluate) .+)$", text, re.M
    )
    assert shown
    commands = typer.main.get_command(app).commands
    for line in shown:
        name, *words = shlex.split(line, comments=True)
        commands[name].make_context(name, words)


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path):
    """The blocks one after the other, in a process of their own."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, re.S)
    assert len(blocks) == 2
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, capture_output=True, text=True,
        check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] in ("a", "an", "the") and "tiger" in done.stdout
    with Image.open(tmp_path / "cub.png") as cub:
        assert cub.size == (256, 256)


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{citation["version"]}"' in project


def test_the_package_page_documents_every_public_name():
    page = (ROOT / "book/api.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"\w+", " ".join(re.findall(r":members: (.*)", page))))
    listed |= {
        name.rpartition(".")[2] for name in re.findall(r"auto(?:class|function|data):: (\S+)", page)
    }
    assert set(tigerdiff.__all__) <= listed


def test_the_module_is_the_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "tigerdiff", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout
    assert "sample" in done.stdout


WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in (ROOT / ".github/workflows").glob("*.yml")
}


def test_workflows_may_read_and_what_may_write_is_named():
    """A pull request from a fork gets no secret: nothing runs with the base's rights."""
    assert set(WORKFLOWS) == {"tests", "book", "weekly", "release"}
    for name, workflow in WORKFLOWS.items():
        triggers = workflow[True]  # YAML reads "on" as true
        assert "pull_request_target" not in triggers and "workflow_run" not in triggers
        assert ("pull_request" in triggers) == (name == "tests")
        assert workflow["permissions"] == {"contents": "read"}
        assert "secrets." not in (ROOT / f".github/workflows/{name}.yml").read_text()
    writing = {
        (name, job): what["permissions"]
        for name, workflow in WORKFLOWS.items()
        for job, what in workflow["jobs"].items()
        if "permissions" in what
    }
    assert writing.keys() == {("book", "publish"), ("book", "notebooks"), ("release", "build")}


def test_an_action_is_one_commit_and_its_version_a_comment():
    """A tag may be moved to other code, a commit may not."""
    used: dict[str, set[tuple[str, str]]] = {}
    for name in WORKFLOWS:
        lines = (ROOT / f".github/workflows/{name}.yml").read_text(encoding="utf-8").splitlines()
        for line in (line for line in lines if "uses:" in line):
            pin = re.fullmatch(r".*uses: ([\w./-]+)@([0-9a-f]{40})  ?# (v\d+\.\d+\.\d+)", line)
            assert pin, line
            used.setdefault(pin[1], set()).add((pin[2], pin[3]))
    assert {len(pins) for pins in used.values()} == {1}, used


def test_a_release_states_licences_and_materials_and_attests_where_its_files_come_from():
    steps = WORKFLOWS["release"]["jobs"]["build"]["steps"]
    runs = "\n".join(step.get("run", "") for step in steps)
    wanted = [
        'grep -qx "version = ',
        "python -m build",
        "pip-licenses ",
        "cyclonedx-py environment ",
    ]
    places = [runs.find(command) for command in [*wanted, "gh release create"]]
    assert -1 not in places and places == sorted(places)
    assert "=dist/LICENCES.md" in runs and re.search(r"gh release create .* dist/\*$", runs)
    attested = [step["with"] for step in steps if "actions/attest@" in step.get("uses", "")]
    origin, materials = attested
    assert origin == {"subject-path": "dist/*.whl, dist/*.tar.gz"}
    assert materials["subject-path"] == "dist/*.whl" and materials["sbom-path"] in runs


def test_workflows_meet_the_oldest_and_the_newest_dependencies_and_publish_the_book():
    (oldest,) = (s["run"] for s in WORKFLOWS["tests"]["jobs"]["oldest"]["steps"] if "-e" in str(s))
    assert "--resolution lowest-direct" in oldest
    weekly, book = WORKFLOWS["weekly"], WORKFLOWS["book"]
    ((cron,),) = (timing.values() for timing in weekly[True]["schedule"])
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", cron)
    newest = weekly["jobs"]["newest"]["steps"]
    (whole,) = (step for step in newest if step.get("run") == "make test")
    tests = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/test_*.py"))
    chances = dict(re.findall(r'os\.environ\.get\("([A-Z_]+)", (\d+)\)', tests))
    assert len(chances) == 4
    for name, usual in chances.items():
        assert whole["env"][name] > int(usual)
    assert not any("cache" in step.get("with", {}) for step in newest)  # the newest, not the kept
    assert book[True]["push"] == {"branches": ["main"]}
    assert [s["uses"].partition("@")[0] for s in book["jobs"]["publish"]["steps"]] == [
        "actions/deploy-pages"
    ]
    copies = "\n".join(step.get("run", "") for step in book["jobs"]["notebooks"]["steps"])
    (branch,) = re.findall(r'git push --force "https://\S+" ([\w-]+)$', copies, re.MULTILINE)
    place = CONFIG["sphinx"]["config"]["plain_notebooks"]
    assert place == branch or "/" in place, "a frozen version has them in a folder of its tag"
    assert "python tools/plain_notebooks.py plain\n" in copies


def test_workflows_run_what_exists_on_every_python_that_is_supported():
    matrix = WORKFLOWS["tests"]["jobs"]["package"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.10", "3.11", "3.12", "3.13"]
    assert {name.partition("-")[0] for name in matrix["system"]} == {"ubuntu", "macos", "windows"}
    steps = [
        step.get("run", "")
        for workflow in WORKFLOWS.values()
        for job in workflow["jobs"].values()
        for step in job["steps"]
    ]
    targets = {name for run in steps for name in re.findall(r"\bmake (\w+)", run)}
    assert targets == {"test", "book"}
    extras = {name for run in steps for name in re.findall(r"\[([\w,]+)\]", run)}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(f"\n{name} = [" in project for text in extras for name in text.split(","))
