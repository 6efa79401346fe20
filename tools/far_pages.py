"""Run pages as on a GPU, played by the CPU, and name the cells that would fail there.

    python tools/far_pages.py [PAGE ...]

Networks lie on the device of tests/far_device.py. Its convolutions answer with noise, which is
quick, and assertions are left out: where tensors lie and what type they have is judged, no number.
"""

import ast
import importlib
import os
import pkgutil
import re
import sys
import tempfile
import traceback
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import nbformat
import torch

import tigerdiff as td

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from far_device import FAR, Away, far_device  # noqa: E402

PIPELINES = {"06_stable_diffusion", "10_fine_tuning", "deeper/inside_stable_diffusion"}


class rough_device(far_device):
    """The far device, whose convolutions of pictures answer with noise."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.__name__.partition(".")[0]
        away = [isinstance(x, Away) for x in args if isinstance(x, torch.Tensor)]
        if name == "convolution" and all(away) and args[0].dim() == 4 and not args[6]:
            x, weight, _, stride, padding, dilation = args[:6]
            reach = [dilation[i] * (weight.shape[2 + i] - 1) for i in range(2)]
            sides = [
                (x.shape[2 + i] + 2 * padding[i] - reach[i] - 1) // stride[i] + 1 for i in range(2)
            ]
            return Away(x.held.new_empty(len(x), len(weight), *sides).normal_(0, 0.1))
        if name == "convolution_backward" and all(away):
            shapes = args[1].shape, args[2].shape, args[3]
            wanted = zip(shapes, args[-1], strict=True)
            return tuple(Away(torch.full(tuple(s), 1e-3)) if need else None for s, need in wanted)
        return super().__torch_dispatch__(operation, types, args, kwargs)


@contextmanager
def played():
    """Let the package find the far device, with the settings of a CPU, which are quick."""
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(td.__path__, "tigerdiff.")
        if not found.name.endswith("__main__")
    ]
    find = importlib.import_module("tigerdiff.devices").find_device
    seeded = td.seeded_generator

    def found(name=None):
        return FAR if name is None else find(name)

    def on_cpu(*key, device="cpu"):
        return seeded(*key)

    with ExitStack() as stack:
        for module in modules:
            for name, own, other in (
                ("find_device", find, found), ("seeded_generator", seeded, on_cpu),
            ):  # fmt: skip
                if getattr(module, name, None) is own:
                    stack.enter_context(mock.patch.object(module, name, other))
        stack.enter_context(
            mock.patch.object(
                td,
                "settings",
                lambda cpu=None, gpu=None: SimpleNamespace(
                    device=FAR, machine="a played GPU", **(cpu or {})
                ),
            )
        )
        stack.enter_context(mock.patch.object(td, "seeded_generator", on_cpu))
        stack.enter_context(mock.patch("IPython.display.display"))  # whose handle is updated
        yield


class WithoutAssertions(ast.NodeTransformer):
    """Return a cell without its assertions."""

    def visit_Assert(self, node):
        """Leave out ``assert``."""
        return ast.copy_location(ast.Pass(), node)

    def visit_Call(self, node):
        """Leave out ``assert_close``."""
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "assert_close":
            return ast.copy_location(ast.Constant(None), node)
        return node


def faults(path):
    """Run a page; return a sentence for each cell that fails."""
    names, said, cells = {"__name__": "__main__"}, [], nbformat.read(path, as_version=4).cells
    with tempfile.TemporaryDirectory() as empty, ExitStack() as stack:
        stack.callback(os.chdir, os.getcwd())
        os.chdir(empty)
        stack.enter_context(played())
        stack.enter_context(rough_device())
        for i, cell in enumerate(cells):
            if cell.cell_type != "code":
                continue
            source = re.sub(r"^(\s*)[%!].*", r"\1pass", cell.source, flags=re.M)  # of IPython
            tree = WithoutAssertions().visit(ast.parse(source))
            try:
                exec(compile(tree, f"cell {i}", "exec"), names)
            except Exception as error:
                lines = [f.lineno for f in traceback.extract_tb(error.__traceback__)
                         if f.filename == f"cell {i}"]  # fmt: skip
                line = cell.source.splitlines()[lines[-1] - 1].strip() if lines else ""
                said.append(f"cell {i}: {type(error).__name__}: {error} | {line}")
    return said


def main():
    """Run what the command line names, by default all pages but those of pipelines."""
    warnings.filterwarnings("ignore")
    os.environ["TQDM_DISABLE"] = "1"
    book = ROOT / "book"
    every = [p.relative_to(book).with_suffix("").as_posix() for p in sorted(book.rglob("*.ipynb"))]
    pages = sys.argv[1:] or [page for page in every if page not in PIPELINES]
    said = [f"{page}, {line}" for page in pages for line in faults(book / f"{page}.ipynb")]
    print("\n".join(said) or f"{len(pages)} pages run there")
    sys.exit(bool(said))


if __name__ == "__main__":
    main()
