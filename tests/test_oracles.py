"""The oracles of the design, on the package itself."""

import types
from importlib import import_module

import pytest
from oracles import MODULES, ORACLES

PACKAGE = types.SimpleNamespace()
for module in MODULES:
    vars(PACKAGE).update(vars(import_module(f"tigerdiff.{module}")))


@pytest.mark.parametrize("oracle", ORACLES, ids=lambda oracle: oracle.__name__)
def test_oracle(oracle):
    oracle(PACKAGE)
