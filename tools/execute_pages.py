"""Execute every page of the book once; jupyter-book then renders what came out.

python tools/execute_pages.py             all pages of _toc.yml
python tools/execute_pages.py 05_ddim     some of them
python tools/execute_pages.py --check     no network

Notebooks run in an empty folder, as a reader would run a copy; Markdown pages run in their own, as
they read the results beside the book. The outputs go into jupyter-book's cache, and what each page
cost into _build/pages.json, which the status page shows.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import datetime, timezone
from pathlib import Path

import nbformat
import yaml
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from myst_nb.core.config import NbParserConfig
from myst_nb.core.read import create_nb_reader
from myst_parser.config.main import MdParserConfig
from nbclient import NotebookClient
from report import machine

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "_build"
CACHE = BUILD / ".jupyter_cache"
STATUS = "status"  # shows what the others cost, so it comes last
CELL_SECONDS = 1800  # slow is better than dead
CORES = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
AT_ONCE = min(4, CORES)


def listed_pages(toc: dict) -> list[str]:
    """Return the names of the pages in a table of contents, in its order."""
    names = [toc[key] for key in ("root", "file") if key in toc]
    for part in ("parts", "chapters", "sections"):
        for entry in toc.get(part, []):
            names += listed_pages(entry)
    return names


def source_of(page: str) -> Path:
    """Return the file of a page."""
    notebook = ROOT / f"book/{page}.ipynb"
    return notebook if notebook.exists() else ROOT / f"book/{page}.md"


def read_page(path: Path) -> nbformat.NotebookNode | None:
    """Return a page as jupyter-book reads it, or None where it has no code."""
    text = path.read_text(encoding="utf-8")
    reader = create_nb_reader(str(path), MdParserConfig(), NbParserConfig(), text)
    if reader is None:
        return None
    notebook = reader.read(text)
    return notebook if any(cell.cell_type == "code" for cell in notebook.cells) else None


def kernel_environment(folder: Path, meter: Path, check: bool) -> dict[str, str]:
    """Return the variables of a kernel: threads that do not spin, startup files, the guard.

    The limits of LAPTOP=1 come from the Makefile, with the rest of the environment.
    """
    startup = folder / "ipython/profile_default/startup"
    if not startup.exists():
        shutil.copytree(ROOT / "tools/kernel", startup)
    threads = CORES // AT_ONCE
    found = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"} | os.environ
    found |= {"IPYTHONDIR": str(folder / "ipython"), "TIGERDIFF_METER": str(meter)}
    if check:
        paths = [str(ROOT / "tools/guard"), *filter(None, [os.environ.get("PYTHONPATH")])]
        found |= {"TIGERDIFF_CHECK": "1", "PYTHONPATH": os.pathsep.join(paths)}
        found |= {"HOME": str(folder), "TMPDIR": str(temporary_files(folder))}
    return found


def temporary_files(folder: Path) -> Path:
    """Return the folder for the temporary files of all kernels, which a page that ends empties."""
    place = folder / "temporary"
    place.mkdir(exist_ok=True)
    return place


def execute(path: Path, folder: Path, check: bool = False) -> tuple[nbformat.NotebookNode, dict]:
    """Run a page in a kernel of its own; return it with outputs, and what it cost."""
    notebook = read_page(path)
    with tempfile.TemporaryDirectory(dir=folder) as own:
        meter = Path(own) / "meter.json"
        empty = Path(own) / "page"
        empty.mkdir()
        client = NotebookClient(
            notebook,
            timeout=CELL_SECONDS,
            startup_timeout=600,
            iopub_timeout=60,
            raise_on_iopub_timeout=True,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,  # on a busy machine one cell's lines come in several parts
            extra_arguments=["--IPKernelApp.log_level=40"],
        )
        began = time.perf_counter()
        cwd = empty if path.suffix == ".ipynb" else path.parent
        client.execute(env=kernel_environment(folder, meter, check), cwd=str(cwd))
        seconds = time.perf_counter() - began
        spent = json.loads(meter.read_text())
    cost = {"seconds": round(seconds, 1), "tflop": spent["flops"] / 1e12}
    cost["peak_gb"] = spent["bytes"] and round(spent["bytes"] / 1e9, 2)
    return notebook, cost


def execute_all(pages: list[str], check: bool) -> list[str]:
    """Execute pages, several at a time, and keep what they print; return those that failed."""
    cache = get_cache(str(CACHE))
    record = BUILD / "pages.json"
    result = json.loads(record.read_text()) if record.exists() else {"pages": {}}
    result |= {**machine(), "pages_at_once": AT_ONCE, "check": check}
    result["threads"] = int(kernel_environment(CACHE, CACHE, False)["OMP_NUM_THREADS"])
    failed = []
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(AT_ONCE) as pool:  # the home
        folder = Path(name)
        kernel_environment(folder, folder, check)
        largest = sorted(pages, key=lambda page: -source_of(page).stat().st_size)
        running = {pool.submit(execute, source_of(page), folder, check): page for page in largest}
        for future in as_completed(running):
            page = running[future]
            if error := future.exception():
                failed.append(page)
                print(f"{page:32s} failed\n{error}", file=sys.stderr, flush=True)
                continue
            notebook, cost = future.result()
            bundle = CacheBundleIn(notebook, str(source_of(page)), data={"cost": cost})
            cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
            date = datetime.now(timezone.utc).isoformat(timespec="seconds")
            file = source_of(page).relative_to(ROOT / "book").as_posix()
            result["pages"][page] = {"file": file, **cost, "date": date}
            record.write_text(json.dumps(result, indent=1) + "\n")
            spent = f"{cost['seconds']:7.1f} s{cost['tflop']:9.3f} TFLOP"
            memory = f"{cost['peak_gb']:6.2f} GB" if cost["peak_gb"] else ""
            print(f"{page:32s}{spent}{memory}", flush=True)
        left = [x.name for x in [*folder.iterdir(), *temporary_files(folder).iterdir()]]
        result["left"] = sorted({*result.get("left", ()), *left})
    record.write_text(json.dumps(result, indent=1) + "\n")
    return failed


def main() -> None:
    """Execute what the command line names; stop with an error if a page fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", help="names as in _toc.yml; default: all")
    parser.add_argument("--check", action="store_true", help="no network")
    options = parser.parse_args()
    listed = listed_pages(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8")))
    if unknown := set(options.pages) - set(listed):
        parser.error(f"_toc.yml has no page {', '.join(sorted(unknown))}")
    if not options.pages:  # results of an older package or page must not stay
        shutil.rmtree(CACHE, ignore_errors=True)
        (BUILD / "pages.json").unlink(missing_ok=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    pages = [page for page in options.pages or listed if read_page(source_of(page))]
    began = time.perf_counter()
    failed = execute_all([page for page in pages if page != STATUS], options.check)
    if STATUS in pages and not failed:
        failed = execute_all([STATUS], options.check)
    print(f"{len(pages)} pages in {time.perf_counter() - began:.0f} s")
    if failed:
        sys.exit(f"These pages failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
