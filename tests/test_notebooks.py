"""The pages as notebooks: stored clean, within their budgets, and in need of the package alone.

``make book CHECK=1`` executes each page once, without a network;
what came out is compared here by nbval, and what it cost with the budget.
"""

import ast
import builtins
import dis
import functools
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import CodeType, SimpleNamespace

import clean_notebooks
import execute_pages
import nbformat
import pytest
import torch
import yaml
from jupyter_cache import get_cache
from nbval.plugin import IPyNbCell, nocolors
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pybtex.database import parse_file
from torch.utils.flop_counter import FlopCounterMode

from tigerdiff import NoiseSchedule, UNet, diffusion_loss
from tigerdiff.devices import LIMITS

ROOT = Path(__file__).parent.parent
ADDRESS = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]
NOTEBOOKS = sorted([*(ROOT / "book").glob("*.ipynb"), *(ROOT / "book/deeper").glob("*.ipynb")])
CHAPTERS = [path for path in NOTEBOOKS if re.match(r"\d\d_", path.name)]
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
every_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


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


def first_code(path):
    return next(c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code")


@every_notebook
def test_the_first_code_cell_installs_the_package_in_colab_only(path):
    first = first_code(path).source
    assert "google.colab" in first
    assert 'find_spec("tigerdiff") is None' in first
    assert first.count("pip") == 1
    # Colab's own torch and numpy stay as they are.
    assert not re.search(r"==|--upgrade|-U\b|torch|numpy", first)


@pytest.mark.parametrize(
    ("place", "wheels", "there", "installed"),
    [
        ("elsewhere", [], False, None),
        ("colab", [], True, None),
        ("colab", [], False, f"tigerdiff[course] @ git+{ADDRESS}"),
        ("kaggle", [], False, f"tigerdiff[course] @ git+{ADDRESS}"),
        # Without internet an extra that is not there would stop the whole installation.
        ("kaggle", ["/kaggle/input/x/tigerdiff-1.whl"], False, "/kaggle/input/x/tigerdiff-1.whl"),
    ],
)
@pytest.mark.parametrize("works", [True, False])
def test_what_the_first_cell_installs(place, wheels, there, installed, works, monkeypatch):
    """And where it cannot, as Kaggle begins without internet, a sentence names the ways out."""
    asked, present = [], there
    if place == "colab":
        monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace())
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    if place == "kaggle":
        monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")

    def pip(what):
        nonlocal present
        asked.append(what)
        present = works

    code = re.sub(r'%pip install -q "\{(\w+)\}"', r"pip(\1)", first_code(NOTEBOOKS[0]).source)
    monkeypatch.setattr("glob.glob", lambda pattern, recursive: wheels)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: present or None)
    if installed and not works:
        with pytest.raises(ImportError, match=r"On Kaggle choose Settings > Turn on internet, or"):
            exec(code, {"pip": pip})
    else:
        exec(code, {"pip": pip})
    assert asked == [installed] * (installed is not None)


def test_a_gpu_is_emptied_after_what_refers_to_itself_is_collected():
    """A pipeline's parts do: without a collection its memory stays taken."""
    cells = [c.source for p in NOTEBOOKS for c in nbformat.read(p, as_version=4).cells]
    emptied = [x.split("empty_cache()")[0] for x in cells if "torch.cuda.empty_cache()" in x]
    assert emptied and all("gc.collect()" in before for before in emptied)


def test_all_notebooks_install_in_the_same_way():
    """And the page, which needs no installation, does not show it."""
    codes = [first_code(path) for path in NOTEBOOKS]
    assert {(c.source, *c.metadata["tags"]) for c in codes} == {(codes[0].source, "remove-cell")}


@functools.cache
def closure(*requirements):
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
    link_distributions(closure(*declared, "nbval", "ipykernel", "pytest"), site)

    home = folder / "home"
    shutil.copytree(ROOT / "tools/kernel", home / ".ipython/profile_default/startup")
    names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "SYSTEMROOT", *LIMITS)
    kept = {name: os.environ[name] for name in names if name in os.environ}
    environment = kept | {
        "PATH": os.pathsep.join([str(python.parent), os.defpath]),
        "PYTHONPATH": str(ROOT / "tools/guard"),
        "TIGERDIFF_CHECK": "1",
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


def imports_of(source, magics=False):
    """Top-level names of the modules that the code imports, wherever it does."""
    if magics:
        source = "\n".join(re.sub(r"^(\s*)[%!].*", r"\1pass", x) for x in source.split("\n"))
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names)


module_owners = functools.cache(importlib.metadata.packages_distributions)


def undeclared(modules, *extras):
    """Those of the modules that the package with these extras does not bring."""
    extra = "".join(f"[{name}]" for name in [",".join(extras)] if name)
    known, owners = closure(f"tigerdiff{extra}"), module_owners()
    return {
        name for name in modules if not {canonicalize_name(x) for x in owners.get(name, [])} & known
    }


def test_undeclared_modules_are_found():
    assert undeclared({"torch", "diffusers", "sphinx"}) == {"diffusers", "sphinx"}
    assert undeclared({"torch", "diffusers", "sphinx"}, "course") == {"sphinx"}
    assert imports_of("def f():\n    from a.b import c\nimport d.e, os") == {"a", "d"}


def globals_of(code):
    """Names that a comprehension takes from outside of it."""
    inner = (const for const in code.co_consts if isinstance(const, CodeType))
    own = {x.argval for x in dis.get_instructions(code) if x.opname == "LOAD_GLOBAL"}
    return own.union(*map(globals_of, inner))


def rebound(source):
    """Names that a cell reads and then binds anew: run twice in a row, it starts from its end."""
    known, read, found = set(), set(), set()
    for step in dis.get_instructions(compile(source, "cell", "exec")):
        if step.opname == "LOAD_NAME":
            read |= {step.argval} - known
        elif isinstance(step.argval, CodeType) and step.argval.co_name.endswith(("comp>", "expr>")):
            read |= globals_of(step.argval) - known
        elif step.opname == "STORE_NAME":
            known.add(step.argval)
            found |= {step.argval} & read
    return found, known


def test_a_cell_that_starts_from_its_end_is_found():
    for source in ("y = x\nx = y + 1", "x += 1", "x = [x[k] for k in 'ab']"):
        assert rebound(source)[0] == {"x"}
    assert rebound("x = 1\nx += 1\nfor i in [x]:\n    x = i\ny = [x for x in 'ab']")[0] == set()


@every_notebook
def test_each_cell_can_be_run_again(path):
    """In a row, and after the last one: no name of Python's own is taken either."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            again, bound = rebound(re.sub(r"^(\s*)%.*", r"\1pass", cell.source, flags=re.M))
            assert not again, cell.source
            assert not bound & set(dir(builtins)), cell.source
            assert not re.search("mkdtemp|rmtree", cell.source), "TemporaryDirectory cleans up"


@every_notebook
def test_a_notebook_imports_only_what_the_course_brings(path):
    """So the one build, where everything is installed, proves that it runs anywhere."""
    cells = nbformat.read(path, as_version=4).cells
    codes = [cell.source for cell in cells if cell.cell_type == "code"]
    modules = set().union(*(imports_of(code, magics=True) for code in codes))
    assert undeclared(modules, "course") == set()


def test_the_package_imports_only_what_it_declares():
    for path in (ROOT / "tigerdiff").rglob("*.py"):
        extras = ["course", *["inception"] * (path.stem == "inception")]
        assert undeclared(imports_of(path.read_text(encoding="utf-8")), *extras) == set(), path


def test_a_chapter_runs_alone(alone, tmp_path):
    """One chapter, in an environment with nothing but the wheel and what it declares."""
    path = ROOT / "book/02_forward_noising.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:  # nbval compares outputs only of cells that say they were run
        if cell.get("outputs"):
            cell.execution_count = 1
    nbformat.write(notebook, tmp_path / path.name)
    options = ["--nbval-lax", "--nbval-cell-timeout=1800", "-q", "-p", "no:cacheprovider"]
    done = alone("-m", "pytest", *options, path.name, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    count = sum(cell.cell_type == "code" for cell in notebook.cells)
    assert f"{count} passed" in done.stdout


def words(text):
    """How many words a reader reads: no formulas, options of directives, addresses or labels."""
    text = re.sub(r"\$\$.*?\$\$|```\{math\}.*?```", " ", text, flags=re.DOTALL)
    text = re.sub(r"^\s*(:[\w-]+:.*|```.*|:::.*|\(.*\)=)$", " ", text, flags=re.MULTILINE)
    text = re.sub(r"\$[^$]*\$|\]\([^)]*\)|\{[\w:]+\}`[^`]*`|<[^>]*>", " ", text)
    return len(re.findall(r"[A-Za-z][\w’'-]*", text))


def test_every_link_has_words():
    """Jupyter-book fills in the title of a page; Colab shows nothing."""
    for path in NOTEBOOKS:
        cells = [c.source for c in nbformat.read(path, 4).cells if c.cell_type == "markdown"]
        assert not re.search(r"(?<!!)\[\]\(", "\n".join(cells)), path


def test_words_are_those_that_are_read():
    text = "(label)=\n# A head\n\n$$\nx_t = 1\n$$ (eq)\n\nOf $x$ [a link](https://x.org/path).\n"
    assert words(text + "```{note}\n:class: tip\nDon't.\n```") == 7


@every_chapter
def test_a_chapter_can_be_read_in_an_hour(path):
    """At most 3,000 words and 80 cells before its exercises, in part two 2,500 and 60."""
    most_words, most_cells = (3000, 80) if path.name < "07" else (2500, 60)
    cells = nbformat.read(path, as_version=4).cells
    heads = [bool(re.search(r"^#+ .*exercises", c.source, re.I | re.M)) for c in cells]
    before = cells[: heads.index(True)]
    assert len(before) <= most_cells
    assert sum(words(c.source) for c in before if c.cell_type == "markdown") <= most_words


def test_each_source_that_is_cited_is_listed():
    listed = set(parse_file(ROOT / "book/references.bib").entries)
    cited = [
        key.strip()
        for page in [*(ROOT / "book").rglob("*.md"), *NOTEBOOKS]
        for keys in re.findall(r"{cite:[a-z]+}`([^`]+)`", page.read_text(encoding="utf-8"))
        for key in keys.split(",")
    ]
    assert len(cited) > 50 and set(cited) <= listed


@every_chapter
def test_what_checks_a_formula_is_there(path):
    """Each name in the column "Checked by" is a test or an oracle."""
    sources = [file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("*.py")]
    known = set(re.findall(r"^def (\w+)\(", "\n".join(sources), flags=re.MULTILINE))
    pages = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    for rows in re.findall(
        r"^\|.*Checked by \|\n\|[-|]+\n((?:\|.*\n)+)", pages, flags=re.MULTILINE
    ):
        names = re.findall(r"`(\w+)`(?=[^|]*\|$)", rows, flags=re.MULTILINE)
        assert names
        assert {name for name in names if not {name, f"test_{name}"} & known} == set()


@every_notebook
def test_a_cell_that_is_not_folded_is_short(path):
    """At most 30 lines, so that a formula is not lost among lines that draw or check."""
    folded = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
    cells = nbformat.read(path, as_version=4).cells
    codes = [
        c for c in cells if c.cell_type == "code" and not folded & {*c.metadata.get("tags", [])}
    ]
    long = {c.source.splitlines()[0]: n for c in codes if (n := c.source.count("\n") + 1) > 30}
    assert long == {}


def test_no_line_of_code_is_wider_than_its_box():
    """At most 88 characters, in notebooks and in Markdown pages, whose code ruff does not see."""
    long = [
        (path.name, line)
        for path in sorted((ROOT / "book").rglob("*.*"))
        if path.suffix in (".md", ".ipynb") and (page := execute_pages.read_page(path))
        for cell in page.cells
        if cell.cell_type == "code"
        for line in cell.source.splitlines()
        if len(line) > 88 and "%pip" not in line
    ]
    assert long == []


@pytest.fixture(scope="session")
def executed(built_book):
    """Each page with code as it was executed for the book: name to notebook."""
    cache = get_cache(str(execute_pages.CACHE))
    listed = execute_pages.listed_pages(yaml.safe_load((ROOT / "_toc.yml").read_text()))
    sources = {page: execute_pages.read_page(execute_pages.source_of(page)) for page in listed}
    found = {page: cache.match_cache_notebook(x).pk for page, x in sources.items() if x}
    assert len(cache.list_cache_records()) == len(found), "jupyter-book executed a page again"
    return {page: cache.get_cache_bundle(pk).nb for page, pk in found.items()}


@pytest.fixture
def compared(request):
    """Gives a function that returns what nbval says of (reference, outputs): "" if equal."""
    cell = IPyNbCell.__new__(IPyNbCell)  # without a kernel
    skipped = ("metadata", "traceback", "execution_count", "output_type", "name")
    cell.parent = SimpleNamespace(skip_compare=skipped, sanitize_patterns={})
    cell.session, cell.config, cell.path = request.session, request.config, ROOT
    cell.colors = nocolors

    def compare(reference, outputs):
        cell.compare_outputs(outputs, reference)
        return "\n".join(cell.comparison_traceback)

    return compare


def test_nbval_sees_another_output(compared):
    one, other = (nbformat.v4.new_output("stream", text=text) for text in ("1\n", "2\n"))
    assert compared([one], [one]) == ""
    assert "1" in compared([one], [other])
    assert "Missing output" in compared([one], [])


def test_outputs_that_are_exact_came_out_again(executed, compared):
    """Cells tagged nbval-check-output, each against the output that the notebook stores."""
    count = 0
    for path in NOTEBOOKS:
        page = path.relative_to(ROOT / "book").with_suffix("").as_posix()
        if page not in executed:
            continue
        stored = nbformat.read(path, as_version=4).cells
        codes = [cell for cell in stored if cell.cell_type == "code"]
        ran = [cell for cell in executed[page].cells if cell.cell_type == "code"]
        for reference, cell in zip(codes, ran, strict=True):
            assert reference.source == cell.source
            if "nbval-check-output" in reference.metadata.get("tags", []):
                assert compared(reference.outputs, cell.outputs) == "", (page, cell.source)
                count += 1
    assert count, "no cell of the book is tagged nbval-check-output"


def test_every_page_is_within_its_budget(executed):
    """5 TFLOP, which does not depend on the machine, and 3 GB; the seconds are never judged."""
    pages = json.loads((execute_pages.BUILD / "pages.json").read_text())["pages"]
    assert pages.keys() == executed.keys()
    over = {page: cost for page, cost in pages.items() if cost["tflop"] > 5}
    assert over == {}
    assert {page: cost for page, cost in pages.items() if (cost["peak_gb"] or 0) > 3} == {}
    assert pages["04_ddpm_from_scratch"]["tflop"] > 0.05, "it trains a network"


def test_pages_leave_nothing_in_the_home_folder_but_caches_and_no_temporary_file(executed):
    left = json.loads((execute_pages.BUILD / "pages.json").read_text())["left"]
    assert {"ipython", "temporary"} <= set(left)
    own = {"ipython", "temporary"}
    caches = {".cache", ".config", ".ipython", ".jupyter", ".local"}
    # torch caches what it compiles; diffusers imports onnxruntime, which marks its session.
    known = {name for name in left if name == ".ses" or name.startswith("torchinductor_")}
    assert set(left) - known <= own | caches


def run_in_kernel(source, folder, **variables):
    """Execute one cell as a page of the book is; returns the notebook, its cost and its stderr."""
    path = folder / "page.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]), path)
    code = (
        "import json, sys, execute_pages; from pathlib import Path;"
        "page, cost = execute_pages.execute(Path(sys.argv[1]), Path(sys.argv[2]), check=True);"
        "print(json.dumps([page.cells[0].outputs, cost]))"
    )
    paths = os.pathsep.join([str(ROOT / "tools"), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": paths} | variables
    command = [sys.executable, "-c", code, str(path), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    outputs, cost = json.loads(done.stdout.splitlines()[-1])
    return outputs, cost, done.stderr


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="LAPTOP=1 limits x86 processors"
)
def test_the_laptop_and_its_patient_threads_take_hold_in_a_kernel(tmp_path):
    """What `make LAPTOP=1` exports, seen by torch and by OpenMP in the kernel of a page."""
    printed = subprocess.run(
        ["make", "-pn", "LAPTOP=1", "lint"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    names = {"OMP_WAIT_POLICY", *LIMITS}
    found = {name: re.search(rf"^{name} :?= (.*)$", printed, re.M)[1] for name in names}
    source = """
import json, socket, torch
from tigerdiff import has_bfloat16
try:
    socket.create_connection(("example.org", 80))
except OSError as error:
    refused = str(error)
print(json.dumps([torch.backends.cpu.get_cpu_capability(), has_bfloat16(), refused]))
"""
    outputs, _, stderr = run_in_kernel(source, tmp_path, OMP_DISPLAY_ENV="TRUE", **found)
    capability, bfloat16, refused = json.loads(outputs[0]["text"])
    assert (capability, bfloat16) == ("AVX2", False)
    assert "no network in this test" in refused
    seen = stderr + "".join(output.get("text", "") for output in outputs)
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in seen


def test_a_pages_operations_are_counted(tmp_path):
    """Drawing and training, as torch's own slow counter counts them; nothing on meta tensors."""
    source = """
import time
import torch
from tigerdiff import NoiseSchedule, UNet, diffusion_loss
counted, attention, total = "names", "of", "the page"
torch.manual_seed(0)
model, x = UNet(16, channels=16), torch.zeros(2, 3, 16, 16)
t = torch.tensor([1, 500])
with torch.no_grad():
    model(x, t)
diffusion_loss(model, NoiseSchedule.cosine(), x, t, x).backward()
with torch.device("meta"):
    UNet(16, channels=16)(torch.zeros(64, 3, 16, 16), torch.zeros(64))
print("one", flush=True)
time.sleep(0.5)
print("two")
"""
    outputs, cost, _ = run_in_kernel(source, tmp_path)
    assert [output["text"] for output in outputs] == ["one\ntwo\n"], "lines came in parts"
    model, x = UNet(16, channels=16), torch.zeros(2, 3, 16, 16)
    t = torch.tensor([1, 500])
    with FlopCounterMode(display=False) as counter:
        with torch.no_grad():
            model(x, t)
        diffusion_loss(model, NoiseSchedule.cosine(), x, t, x).backward()
    assert cost["tflop"] * 1e12 == pytest.approx(counter.get_total_flops(), rel=0.05)
    assert 0.1 < cost["peak_gb"] < 3
