"""The oracles of the design, on the package itself."""

import pytest
from oracles import ORACLES

import tigerdiff


@pytest.mark.parametrize("oracle", ORACLES, ids=lambda oracle: oracle.__name__)
def test_oracle(oracle, core):
    oracle(core)


@pytest.fixture(scope="module")
def core():
    from oracles import load_core

    return load_core()


def test_core_is_the_package(core):
    """The copy that the oracles see is made of the same sources as the package."""
    for name in ("add_noise", "noise_step", "posterior", "to_x0_eps", "ddpm", "ddim", "timesteps"):
        assert getattr(core, name).__code__.co_code == getattr(tigerdiff, name).__code__.co_code
