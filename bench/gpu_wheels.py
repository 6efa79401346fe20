"""``python -m bench.gpu_wheels``: fetch what `make gpu` needs on a machine without a network.

That machine has Python 3.12, torch and what usually goes with it (torchvision, transformers,
accelerate, matplotlib, scikit-image, pytest). What is missing there comes as wheels into
build/gpu-wheels, and bench/gpu.py installs them beside what is there, without their needs.
"""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "build/gpu-wheels"
PYTHON = "3.12"
# diffusers with its own needs, the peer with its own, and small ones that images leave out.
NAMES = (
    *("diffusers>=0.31", "peft>=0.13", "importlib_metadata<9", "zipp", "platformdirs"),
    *("lazy_loader", "psutil"),
    *("denoising-diffusion-pytorch>=2.3", "ema-pytorch", "pytorch-fid", "einops"),
)
LARGEST = 60e6


def main() -> None:
    """Download them, and stop if they are more than 60 MB together."""
    systems = [f"manylinux_2_{n}_x86_64" for n in (28, 27, 17, 12)] + ["manylinux2014_x86_64"]
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--python-version", PYTHON]
    options += ["--implementation", "cp", "-d", str(FOLDER)]
    options += [word for system in systems for word in ("--platform", system)]
    for wheel in FOLDER.glob("*.whl"):  # two versions of one would stop the installation
        wheel.unlink()
    subprocess.run([sys.executable, "-m", "pip", "download", *options, *NAMES], check=True)
    sizes = {path.name: path.stat().st_size for path in sorted(FOLDER.glob("*.whl"))}
    print(f"{len(sizes)} wheels, {sum(sizes.values()) / 1e6:.1f} MB, in {FOLDER}")
    if sum(sizes.values()) > LARGEST:
        sys.exit("together the wheels are too large: shorten NAMES")


if __name__ == "__main__":
    main()
