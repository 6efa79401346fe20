"""``python -m bench.chapters PAGE``: run the code of a page as plain Python, without Jupyter.

The page's own settings decide how large it works: on a GPU as readers see it there. What a cell
would show is made, and not shown. The last line printed is a JSON object with what it cost.
"""

import ast
import json
import linecache
import os
import sys
import tempfile
import time
import types
from pathlib import Path

PAGES = Path(__file__).parent.parent / "book"


def code_of(path: Path) -> list[str]:
    """Return the code cells of a page but the first, which installs."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"][1:]


def shown(value: object) -> None:
    """Make what a notebook would show."""
    for name in ("_repr_mimebundle_", "_repr_html_"):
        if callable(make := getattr(value, name, None)):
            make()
            return


def display(*values: object, **options: object) -> types.SimpleNamespace:
    """Make what ``IPython.display.display`` would show; what it returns can be updated."""
    for value in values:
        shown(value)
    return types.SimpleNamespace(update=shown)


def without_ipython() -> None:
    """Let ``IPython.display`` be imported where there is no IPython, and work where it is."""
    try:
        import IPython.display

        IPython.display.display = display
    except ImportError:
        module = types.ModuleType("IPython.display")
        module.display = display
        module.HTML = module.Image = module.Markdown = str
        package = types.ModuleType("IPython")
        package.display = module
        sys.modules |= {"IPython": package, "IPython.display": module}


def run_cell(code: str, name: str, names: dict) -> None:
    """Run the code of a cell, and show the value of its last line as a notebook does."""
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    tree = ast.parse(code, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), names)
    if last is not None:
        shown(eval(compile(ast.Expression(last.value), name, "eval"), names))


def run(page: str) -> dict:
    """Run a page in an empty folder; return its seconds, and the GPU's memory that it held."""
    import torch

    without_ipython()
    names = {"__name__": "page"}
    codes = code_of(PAGES / f"{page}.ipynb")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as empty:
        os.chdir(empty)
        for number, code in enumerate(codes, 2):
            run_cell(code, f"{page}, code cell {number}", names)
        os.chdir(PAGES)
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    most = torch.cuda.max_memory_allocated() if gpu else None
    return {"page": page, "cells": len(codes), "seconds": seconds, "gpu_bytes": most}


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1])))
