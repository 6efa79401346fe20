"""The chapters as notebooks: stored clean, and each runs alone with nothing but the package."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import clean_notebooks
import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

# Python runs this before anything else: only this machine itself may be reached.
NO_NETWORK = """
import socket

LOCAL = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "", None)


def guarded(function, host_of):
    def call(*args, **kwargs):
        if host_of(args) not in LOCAL:
            raise OSError(f"no network in this test: {host_of(args)!r}")
        return function(*args, **kwargs)

    return call


def of_socket(args):
    return args[1][0] if isinstance(args[1], tuple) else "localhost"


socket.getaddrinfo = guarded(socket.getaddrinfo, lambda args: args[0])
socket.socket.connect = guarded(socket.socket.connect, of_socket)
socket.socket.connect_ex = guarded(socket.socket.connect_ex, of_socket)
"""

# IPython runs this first: sliders are moved to where nothing may have been computed beforehand.
MOVE_SLIDERS = """
from tigerdiff.notebook import widgets as _widgets

build = _widgets.slider_widget


def moved(render, **kwargs):
    values = [value for _, value in kwargs["options"]]
    for value in {values[1], values[len(values) // 2], values[-2]}:
        render(value, None)
    return build(render, **kwargs)


_widgets.slider_widget = moved
"""


def test_there_are_chapters():
    assert NOTEBOOKS


@every_notebook
def test_a_notebook_is_stored_clean(path):
    text = path.read_text(encoding="utf-8")
    assert text == clean_notebooks.cleaned(text), "run python tools/clean_notebooks.py"


def test_cleaning_removes_noise_and_keeps_what_is_compared():
    stream = nbformat.v4.new_output("stream", text="1\n")
    plain = nbformat.v4.new_code_cell("print(1)", outputs=[stream], execution_count=7)
    plain.metadata = {"collapsed": True, "tags": ["hide-input"], "mystnb": {"image": {"alt": "a"}}}
    compared = nbformat.v4.new_code_cell("print(1)", outputs=[stream], execution_count=8)
    compared.metadata = {"tags": ["nbval-check-output"]}
    notebook = nbformat.v4.new_notebook(cells=[plain, compared], metadata={"colab": {"a": 1}})
    once = clean_notebooks.cleaned(nbformat.writes(notebook))
    plain, compared = nbformat.reads(once, as_version=4).cells
    assert (plain.outputs, plain.execution_count) == ([], None)
    assert plain.metadata == {"tags": ["hide-input"], "mystnb": {"image": {"alt": "a"}}}
    assert (compared.outputs, compared.execution_count) == ([stream], None)
    assert "colab" not in once
    assert clean_notebooks.cleaned(once) == once


@every_notebook
def test_the_first_code_cell_installs_the_package_in_colab_only(path):
    cells = nbformat.read(path, as_version=4).cells
    first = next(cell.source for cell in cells if cell.cell_type == "code")
    assert "google.colab" in first
    assert 'find_spec("tigerdiff") is None' in first
    install = re.search(r"%pip install (.*)", first)[1]
    # Colab's own torch and numpy stay as they are.
    assert not re.search(r"==|--upgrade|-U\b|torch|numpy", install)


def test_all_notebooks_install_in_the_same_way():
    firsts = {
        next(c.source for c in nbformat.read(p, as_version=4).cells if c.cell_type == "code")
        for p in NOTEBOOKS
    }
    assert len(firsts) == 1


def closure(requirements):
    """Names of the installed distributions that the requirements need, directly or not."""
    names, queue = set(), [(Requirement(text), "") for text in requirements]
    seen = set()
    while queue:
        requirement, extra = queue.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        names.add(name)
        for wanted in {"", *requirement.extras}:
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                needs = importlib.metadata.distribution(name).requires or []
                queue += [(Requirement(text), wanted) for text in needs]
    return names


def link_distributions(names, target):
    """Give another environment exactly these of our distributions, by links, with no download."""
    owners, files = defaultdict(set), defaultdict(set)
    for distribution in importlib.metadata.distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        for file in distribution.files or []:
            if file.parts[0] not in ("..", "__pycache__"):
                # A folder such as nvidia/ belongs to many distributions: look one level deeper.
                for depth in (1, 2):
                    owners[file.parts[:depth]].add(name)
                files[name].add((Path(distribution.locate_file("")), file.parts))
    for name in sorted(names):
        for site, parts in sorted(files[name]):
            depth = 1 if owners[parts[:1]] <= names else 2
            link = target.joinpath(*parts[:depth])
            if not link.is_symlink():
                link.parent.mkdir(exist_ok=True)
                link.symlink_to(site.joinpath(*parts[:depth]))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The package as it would be published."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "tigerdiff", source / "tigerdiff")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    offline = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *offline, "-w", folder, source], check=True
    )
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def alone(wheel, tmp_path_factory):
    """A fresh environment: the wheel, what its extra "course" needs, and what runs a notebook."""
    folder = tmp_path_factory.mktemp("alone")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    install = ["install", "--quiet", "--no-deps", "--no-index", wheel]
    pip = [sys.executable, "-m", "pip", "--python", python]
    subprocess.run([*pip, *install], check=True)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.check_output([python, "-c", where], text=True).strip())
    (installed,) = importlib.metadata.distributions(name="tigerdiff", path=[str(site)])
    needed = [Requirement(text) for text in installed.requires]
    declared = [str(r) for r in needed if not r.marker or r.marker.evaluate({"extra": "course"})]
    declared = [text.split(";")[0] for text in declared]
    link_distributions(closure([*declared, "nbval", "ipykernel", "pytest"]), site)

    guard = folder / "guard"
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(NO_NETWORK)
    home = folder / "home"
    startup = home / ".ipython/profile_default/startup"
    startup.mkdir(parents=True)
    (startup / "move_sliders.py").write_text(MOVE_SLIDERS)
    kept = {
        name: os.environ[name] for name in ("OMP_NUM_THREADS", "SYSTEMROOT") if name in os.environ
    }
    environment = kept | {
        "PATH": os.pathsep.join([str(python.parent), os.defpath]),
        "PYTHONPATH": str(guard),
        "HOME": str(home),
        "JUPYTER_DATA_DIR": str(home / "jupyter"),
    }

    def run(*args, cwd):
        return subprocess.run(
            [python, *args], cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )

    return run


def test_the_lone_environment_is_what_it_claims(alone, tmp_path):
    code = """
import importlib.metadata, importlib.util, json, tigerdiff, torch, urllib.request
try:
    urllib.request.urlopen("http://example.org", timeout=5)
    reached = "the network"
except OSError as error:
    reached = str(error)
print(json.dumps({
    "reached": reached,
    "tigerdiff": tigerdiff.__file__,
    "absent": [m for m in ("sphinx", "playwright", "torchmetrics")
               if importlib.util.find_spec(m) is None],
    "names": sorted(d.metadata["Name"].lower() for d in importlib.metadata.distributions()),
}))
"""
    done = alone("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert "no network in this test" in seen["reached"]
    assert ROOT not in Path(seen["tigerdiff"]).parents
    assert {"sphinx", "playwright", "torchmetrics"} <= set(seen["absent"])
    assert {"tigerdiff", "torch", "diffusers", "nbval"} <= set(seen["names"])
    assert "jupyter-book" not in seen["names"]


def test_every_file_of_the_package_is_in_the_wheel(alone, tmp_path):
    code = (
        "import tigerdiff, pathlib; root = pathlib.Path(tigerdiff.__file__).parent;"
        "print(*(path.relative_to(root).as_posix() for path in root.rglob('*')))"
    )
    shipped = set(alone("-c", code, cwd=tmp_path).stdout.split())
    package = ROOT / "tigerdiff"
    ours = {path.relative_to(package).as_posix() for path in package.rglob("*")}
    assert {name for name in ours if "__pycache__" not in name} <= shipped


@every_notebook
def test_a_notebook_runs_alone(path, alone, tmp_path):
    shutil.copy(path, tmp_path)
    options = ["--nbval-lax", "--nbval-cell-timeout=300", "-q", "-p", "no:cacheprovider"]
    done = alone("-m", "pytest", *options, path.name, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    cells = nbformat.read(path, as_version=4).cells
    count = sum(cell.cell_type == "code" for cell in cells)
    assert f"{count} passed" in done.stdout
