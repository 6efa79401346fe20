"""Run chapters as Colab or Kaggle would: in an environment of their own packages, alone.

python tools/simulate_colab.py                                every chapter, as in Colab
python tools/simulate_colab.py 02_forward_noising 05_ddim     some pages
python tools/simulate_colab.py --python python3.13            on another Python
python tools/simulate_colab.py --kaggle                       no internet, the wheel attached
python tools/simulate_colab.py --kaggle --bare                no internet and no wheel

The environment is made once, in --folder (about 6 GB with the usual torch): the packages below, at
Colab's versions, which differ from those of the course. Then, for each page: the notebook alone in
an empty folder, its first cell installs the wheel that is built here in place of the repository's
address, every cell runs, and `pip freeze` says that nothing that was there was replaced. Then
what the first cell has added is removed again. Needs pip's index, and for --kaggle Linux.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import chromium
import nbformat
from execute_pages import CELL_SECONDS, ROOT, source_of
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from playwright.sync_api import sync_playwright
from repository_url import slug
from traitlets.config import Config

# What such a machine has before the first cell runs. ipywidgets and IPython are as old as Colab's.
PACKAGES = (
    "torch==2.13.0", "torchvision==0.28.0", "numpy==2.1.3", "pandas==2.2.3", "scipy==1.15.3",
    "matplotlib==3.10.0", "ipywidgets==7.7.1", "ipython==7.34.0", "ipykernel==6.17.1",
    "pillow==11.3.0", "scikit-image==0.25.2", "diffusers==0.36.0", "transformers==4.57.6",
    "accelerate==1.11.0", "huggingface_hub==0.36.0", "safetensors==0.6.2", "tqdm==4.67.1",
    "requests==2.32.5", "psutil==5.9.5", "typer==0.20.0", "platformdirs==4.5.0",
)  # fmt: skip
ADDRESS = re.compile(r"git\+https://github\.com/[\w./-]+")
ATTACHED = "/kaggle/input"
SLIDERS = re.compile(r"\btd\.(timestep_slider|compare_slider|wipe|player)\(")


def run(*command: object, **options: object) -> str:
    """Run a command, and stop with what it says if it fails."""
    own = {k: x for k, x in os.environ.items() if k != "PYTHONPATH"}  # or pip sees this checkout
    options = {"capture_output": True, "text": True, "env": own} | options
    done = subprocess.run([*map(str, command)], check=False, **options)
    if done.returncode:
        sys.exit(f"{command[0]} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def environment(folder: Path, interpreter: str, packages: list[str]) -> Path:
    """Make the environment unless it is there; return its Python."""
    python = folder / "bin/python"
    ready = folder / "packages.json"
    if not ready.exists() or json.loads(ready.read_text()) != packages:
        shutil.rmtree(folder, ignore_errors=True)
        run(interpreter, "-m", "venv", folder)
        run(python, "-m", "pip", "install", "--quiet", "--no-compile", *packages)
        ready.write_text(json.dumps(packages))
    return python


def build_wheel(folder: Path) -> Path:
    """Build the package as it would be published."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "tigerdiff", folder / "source/tigerdiff")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "-w", folder, folder / "source")
    run(sys.executable, "-m", "pip", "wheel", *options)
    (wheel,) = folder.glob("*.whl")
    return wheel


def frozen(python: Path) -> set[str]:
    """Return every distribution with its version."""
    return set(run(python, "-m", "pip", "freeze", "--all").splitlines())


def prepare(page: str, place: str, wheel: Path, attached: Path) -> nbformat.NotebookNode:
    """Return the page as a reader copies it, but with the wheel for the repository's address."""
    notebook = nbformat.read(source_of(page), as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    first.source = first.source.replace(ATTACHED, str(attached))
    if place == "colab":
        first.source, n = ADDRESS.subn(wheel.as_uri(), first.source)
        assert n == 1, f"{page}: its first cell installs from no address"
    return notebook


def kernel(folder: Path, python: Path, place: str) -> dict[str, str]:
    """Write the description of the kernel and what it starts with; return its environment."""
    command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    found = {k: x for k, x in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    found["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # or the kernel prints a warning
    found |= {"HOME": str(folder), "JUPYTER_PATH": str(folder), "IPYTHONDIR": str(folder / "ipy")}
    startup = folder / "ipy/profile_default/startup"
    startup.mkdir(parents=True)
    if place == "colab":
        stub = folder / "stub/google/colab"
        stub.mkdir(parents=True)
        (stub / "__init__.py").touch()
        (startup / "colab.py").write_text("import google.colab\n")
        found["PYTHONPATH"] = str(folder / "stub")
    else:  # no internet: a network of its own, in which there is no device
        command = ["unshare", "--map-root-user", "--net", "--", *command]
        found["KAGGLE_KERNEL_RUN_TYPE"] = "Interactive"
    spec = folder / "kernels/hosted"
    spec.mkdir(parents=True)
    text = {"argv": command, "display_name": place, "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(text))
    return found


def execute(notebook: nbformat.NotebookNode, folder: Path, python: Path, place: str) -> None:
    """Run all cells in an empty folder, in a kernel of the environment."""
    own = kernel(folder / "kernel", python, place)
    alone = folder / "alone"
    alone.mkdir()
    os.environ["JUPYTER_PATH"] = own["JUPYTER_PATH"]  # where the kernel's description is looked for
    with tempfile.TemporaryDirectory() as sockets:  # which reach into a network of its own
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
        NotebookClient(
            notebook,
            timeout=CELL_SECONDS,
            startup_timeout=600,
            kernel_name="hosted",
            config=config,
        ).execute(env=own, cwd=str(alone))


def sliders(notebook: nbformat.NotebookNode) -> tuple[int, list[str]]:
    """Count the cells that make something that moves, and return the HTML that they show of it."""
    cells = [c for c in notebook.cells if c.cell_type == "code" and SLIDERS.search(c.source)]
    shown = []
    for cell in cells:
        found = [x.get("data", {}).get("text/html", "") for x in cell.outputs]
        shown += [html for html in found if '<script type="application/json">' in html][:1]
    return len(cells), shown


def moving(shown: list[str]) -> int:
    """Count those that get a handle or a button in a browser, each in a frame of its own."""
    path = chromium.find()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page, n = browser.new_page(), 0
        for html in shown:
            page.set_content(f"<!DOCTYPE html><body>{html}")
            n += page.locator("input[type=range], button").count() > 0
        browser.close()
    return n


def check(page: str, options: argparse.Namespace, python: Path, wheel: Path) -> str | None:
    """Run one page and print a line; return what went wrong."""
    place = "kaggle" if options.kaggle else "colab"
    folder = options.folder / "run"
    shutil.rmtree(folder, ignore_errors=True)
    attached = folder / "input"
    (attached / "tigerdiff-wheel").mkdir(parents=True)
    if options.kaggle and not options.bare:
        shutil.copy(wheel, attached / "tigerdiff-wheel")
    for path in (attached / "tigerdiff-wheel", attached):
        path.chmod(0o555)
    notebook = prepare(page, place, wheel, attached)
    before, began, wrong = frozen(python), time.perf_counter(), None
    try:
        execute(notebook, folder, python, place)
    except CellExecutionError as error:
        wrong = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()[-1]
    seconds = time.perf_counter() - began
    after = frozen(python)
    names = [re.split(r"==| @ ", line)[0] for line in sorted(after - before)]
    if names:
        run(python, "-m", "pip", "uninstall", "--quiet", "-y", *names)
    if gone := before - after:
        wrong = f"replaced: {', '.join(sorted(gone))}"
    made, shown = sliders(notebook)
    n = moving(shown)
    if not wrong and made != n:
        wrong = f"{made - n} of {made} sliders do not move"
    found = f"{n} of {made} sliders move, added {', '.join(names) or 'nothing'}"
    verdict = wrong or "nothing replaced, all cells pass"
    print(f"{page:24s}{seconds:5.0f} s  {found}: {verdict}", flush=True)
    return wrong


def main() -> None:
    """Run what the command line names; stop with an error if a page fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", help="names as in _toc.yml; default: the chapters")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environment")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/colab")
    parser.add_argument("--kaggle", action="store_true", help="no internet, the wheel attached")
    parser.add_argument("--bare", action="store_true", help="with --kaggle: no wheel either")
    parser.add_argument("--package", action="append", default=[], help="such as ipywidgets==8.1.5")
    options = parser.parse_args()
    options.folder = options.folder.resolve()
    chosen = {re.split("==", x)[0]: x for x in (*PACKAGES, *options.package)}
    python = environment(options.folder / "venv", options.python, [*chosen.values()])
    wheel = build_wheel(options.folder / "wheel")
    print(run(python, "-VV").strip(), f"{wheel.stat().st_size / 1e6:.1f} MB in {wheel.name}")
    pages = options.pages or [p.stem for p in sorted((ROOT / "book").glob("[0-9]*.ipynb"))]
    wrong = {page: check(page, options, python, wheel) for page in pages}
    if options.bare:  # the sentence that a reader meets, and no other error
        name = "/".join(slug((ROOT / "pyproject.toml").read_text(encoding="utf-8")))
        sentence = (
            "ImportError: tigerdiff was not installed: is there no internet? On Kaggle choose"
        )
        bad = [p for p, x in wrong.items() if sentence not in str(x) or name not in str(x)]
    else:
        bad = [page for page, x in wrong.items() if x]
    if bad:
        sys.exit(f"These pages failed: {', '.join(bad)}")


if __name__ == "__main__":
    main()
