"""The package's order: layers point downwards only, and importing it is cheap."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import tigerdiff

PACKAGE = Path(tigerdiff.__file__).parent
LAYERS = [
    {"diffusion", "unet", "ema", "data", "_files", "_downloads", "_settings"}
    | {"tigers", "_painting", "_maps", "_backdrops", "_portrait", "_captions", "painted"},
    {"sampling", "_walk", "metrics", "_judge", "_inception"},
    {"training", "config", "runs"},
    {"stable_diffusion", "viewers", "_slider", "_widgets", "_pictures", "plots"}
    | {"pretrained", "hub", "_hub", "_pipeline_files", "_evaluation"},
    {"cli", "_commands"},
]
LEVEL = {module: level for level, layer in enumerate(LAYERS) for module in layer}
MODULES = sorted(p.stem for p in PACKAGE.glob("*.py") if not p.stem.startswith("__"))
HEAVY = {"matplotlib", "ipywidgets", "diffusers", "accelerate", "torchvision", "IPython"}
HEAVY |= {"huggingface_hub", "httpx", "requests", "transformers"}


def imports(source):
    """The package's modules that the source imports anywhere, or "tigerdiff" for the top."""
    names = set()
    tree = ast.parse(source)
    for node in ast.walk(tree):  # what is there for the type checker only is not imported
        if isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = "tigerdiff" if node.level else ""
            module = ".".join(filter(None, [package, node.module]))
            names |= {f"{module}.{alias.name}" for alias in node.names}
    ours = [name.split(".") for name in names if name.split(".")[0] == "tigerdiff"]
    return {parts[1] if len(parts) > 1 and parts[1] in LEVEL else "tigerdiff" for parts in ours}


def test_the_reader_of_imports_sees_every_form():
    source = """
import torch
import tigerdiff.cli
from tigerdiff.unet import UNet
from tigerdiff import data, add_noise
if TYPE_CHECKING:
    from tigerdiff.unet import Block
    from tigerdiff.runs import RunLog
def later():
    from . import ema
    from .viewers import show_images
"""
    assert imports(source) == {"cli", "unet", "data", "ema", "viewers", "tigerdiff"}


def test_every_module_has_a_layer():
    assert set(MODULES) <= set(LEVEL)


@pytest.mark.parametrize("module", MODULES)
def test_layers_point_downwards(module):
    used = imports((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    assert "tigerdiff" not in used, "import the module that owns the name"
    upwards = {name for name in used if LEVEL[name] > LEVEL[module]}
    assert not upwards


def test_no_module_imports_itself_in_a_circle():
    graph = {m: imports((PACKAGE / f"{m}.py").read_text(encoding="utf-8")) for m in MODULES}
    while leaves := {module for module, used in graph.items() if not used & set(graph)}:
        graph = {module: used for module, used in graph.items() if module not in leaves}
    assert not graph


def test_import_is_cheap():
    code = "import json, sys, tigerdiff; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(out.stdout)}
    assert "tigerdiff" in loaded
    assert not loaded & HEAVY
    later = {f"tigerdiff.{module}" for module in tigerdiff.LATER}
    assert not later & set(json.loads(out.stdout))


@pytest.mark.parametrize("name", sorted(tigerdiff.__all__))
def test_a_public_name_is_the_owners_own(name):
    later = {public: module for module, names in tigerdiff.LATER.items() for public in names}
    value = getattr(tigerdiff, name)
    owner = f"tigerdiff.{later[name]}" if isinstance(value, Path) else value.__module__
    assert owner.startswith("tigerdiff.")
    assert getattr(importlib.import_module(owner), name) is getattr(tigerdiff, name)


@pytest.mark.parametrize("module", MODULES)
def test_what_a_module_declares_public_is_public(module):
    declared = set(getattr(importlib.import_module(f"tigerdiff.{module}"), "__all__", ()))
    assert declared <= set(tigerdiff.__all__)
