"""Part "import": fresh processes."""

import subprocess
import sys
from argparse import Namespace
from pathlib import Path

from bench.networks import DIFFUSERS, LIBRARIES, LUCIDRAINS, OURS
from bench.timing import rows

ROOT = Path(__file__).parent.parent
STATEMENTS = {
    OURS: "from tigerdiff import NoiseSchedule, UNet, ddim",
    DIFFUSERS: "from diffusers import DDIMScheduler, UNet2DModel",
    LUCIDRAINS: "from denoising_diffusion_pytorch import GaussianDiffusion, Unet",
}
CODE = """
import time, torch
begin = time.perf_counter()
{}
print(time.perf_counter() - begin)
"""


def imports(options: Namespace) -> dict:
    """Time importing each library in a fresh process that has imported torch already."""
    seconds: dict[str, list[float]] = {name: [] for name in LIBRARIES}
    for _ in range(options.processes):
        for name in LIBRARIES:
            command = [sys.executable, "-c", CODE.format(STATEMENTS[name])]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
            seconds[name].append(float(done.stdout))
    return {"statements": STATEMENTS, "rows": rows("import beyond torch", seconds)}
