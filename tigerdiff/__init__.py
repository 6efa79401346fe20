"""tigerdiff: diffusion models on one tiger, small, exact and readable.

Every public name is listed in ``__init__.pyi`` and imported when it is first used.
"""

import os

import lazy_loader

# Two OpenMP threads that spin while they wait lose tenfold as soon as another program runs. The
# setting counts only before torch loads OpenMP, and costs nothing on a quiet machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
