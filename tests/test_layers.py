"""The package's order: floors point downwards only, nothing imports in a circle, sizes are kept."""

import ast
import importlib
import io
import json
import subprocess
import sys
import tokenize
from pathlib import Path

import tigerdiff

PACKAGE = Path(tigerdiff.__file__).parent
FLOORS = [
    {"checks", "diffusion", "unet", "devices", "tigers.painting"},
    {"sampling", "drawing", "flow", "data", "tigers", "metrics"},
    {"training", "pretrained", "notebook"},
    {"cli", "commands"},
]
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if not path.stem.startswith("__")
}
HEAVY = {"torch", "matplotlib", "ipywidgets", "diffusers", "accelerate", "torchvision", "IPython"}
HEAVY |= {"huggingface_hub", "httpx", "requests", "transformers"}
LONG_FILES = 300
LONG_FUNCTIONS = 60
CODE = 5500  # lines of the whole package that are no docstring, comment or blank line
CORE = 850  # lines of all kinds in the three core files


def imports(source):
    """The package's modules that the source imports, anywhere but for the type checker."""
    tree, names = ast.parse(source), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = "tigerdiff" if node.level else ""
            module = ".".join(filter(None, [package, node.module]))
            names |= {f"{module}.{alias.name}" for alias in node.names}
    ours = [name.removeprefix("tigerdiff.") for name in names if name.startswith("tigerdiff")]
    return {longest_module(name) for name in ours}


def longest_module(name):
    """The module that a dotted name is in, or "tigerdiff" for the top."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or "tigerdiff"


def module_part(module):
    """The file at the top or the folder that a module is in; the painter is a folder of its own."""
    if module.startswith("tigers.painting"):
        return "tigers.painting"
    return module.partition(".")[0]


def without_leaves(graph):
    """What is left of a graph when all that is in no circle has gone."""
    while leaves := {name for name, used in graph.items() if not used & set(graph)}:
        graph = {name: used for name, used in graph.items() if name not in leaves}
    return graph


GRAPH = {m: imports(path.read_text(encoding="utf-8")) - {m} for m, path in MODULES.items()}


def test_the_reader_of_imports_sees_every_form():
    source = """
import torch
import tigerdiff.cli
from tigerdiff.unet import UNet
from tigerdiff import sampling, add_noise
if TYPE_CHECKING:
    from tigerdiff.diffusion import Prediction
def later():
    from .training import ema
    from tigerdiff.notebook.show import show_images
"""
    seen = {"cli", "unet", "sampling", "training.ema", "notebook.show", "tigerdiff"}
    assert imports(source) == seen


def test_floors_point_downwards():
    floor = {name: level for level, names in enumerate(FLOORS) for name in names}
    wrong = []
    for module, used in GRAPH.items():
        assert "tigerdiff" not in used, f"{module}: import the module that owns the name"
        wrong += [
            (module, other)
            for other in used
            if floor[module_part(other)] > floor[module_part(module)]
        ]
    assert not wrong


def test_nothing_imports_in_a_circle():
    assert not without_leaves(GRAPH)
    parts = {module_part(module): set() for module in MODULES}
    for module, used in GRAPH.items():
        parts[module_part(module)] |= {module_part(other) for other in used}
    assert not without_leaves({name: used - {name} for name, used in parts.items()})


def test_no_module_is_private():
    assert not [m for m in MODULES if any(p.startswith("_") for p in m.split("."))]


def test_files_and_functions_are_short():
    long = []
    for module, path in MODULES.items():
        source = path.read_text(encoding="utf-8")
        if (n := len(source.splitlines())) > LONG_FILES:
            long.append(f"{module}: {n} lines")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                doc = ast.get_docstring(node, clean=False)
                lines = node.end_lineno - node.lineno + 1 - len((doc or "").splitlines())
                if lines > LONG_FUNCTIONS:
                    long.append(f"{module}.{node.name}: {lines} lines")
    assert not long


def code_lines(source):
    """How many lines of a source hold code: no docstring, comment or blank line."""
    docs, lines = set(), set()
    for node in ast.walk(ast.parse(source)):
        documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        if documented and ast.get_docstring(node, clean=False) is not None:
            docs |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent | {tokenize.ENDMARKER}:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docs)


def test_lines_of_code_are_counted():
    source = (
        '"""Head,\nof two lines."""\n\nx = (\n    1,  # one\n\n)  # end\n# alone\ny = """\n\n"""\n'
    )
    assert code_lines(source) == 3 + 3


def test_the_package_is_small():
    sources = {module: path.read_text(encoding="utf-8") for module, path in MODULES.items()}
    assert sum(map(code_lines, sources.values())) <= CODE
    core = ("diffusion", "sampling", "unet")
    assert sum(len(sources[module].splitlines()) for module in core) <= CORE


def test_import_is_cheap():
    code = "import json, sys, tigerdiff; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(out.stdout)}
    assert "tigerdiff" in loaded
    assert not loaded & HEAVY


def test_threads_do_not_spin_when_the_package_is_imported_first():
    code = "import tigerdiff, torch, os; print(os.environ['OMP_WAIT_POLICY'])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "PASSIVE"


def test_every_public_name_is_its_owners_own():
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    for node in stub.body:
        owner = importlib.import_module(f"tigerdiff.{node.module}")
        for alias in node.names:
            value = getattr(tigerdiff, alias.name)
            assert value is getattr(owner, alias.name)
            if callable(value):
                assert value.__module__ == owner.__name__, alias.name
