"""Write one archive from which a machine without a network installs the course.

make offline                      all that is needed, then this script
python tools/offline.py [FOLDER]  default: build/offline

The archive, tigerdiff-VERSION-SYSTEM-PYTHON.tar, is for machines with this Python and system:

install.py    ``python3 install.py`` installs from wheels/ into course/.venv
wheels/       everything in requirements.txt, at the versions that are installed here
course/       the repository: the package with its weights, notebooks, tests, Makefile
book/         the built book; index.html opens from the disk
assignments/  the graded assignments, for students

The usual torch for Linux needs NVIDIA's libraries, 3 GB. Where the environment has the CPU build
(make offline PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu), so has the archive.
"""

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import offline_install

ROOT = Path(__file__).parent.parent


def plan(root: Path = ROOT) -> Iterator[tuple[Path, str]]:
    """Return each file of the archive but the wheels, and its name there.

    Students unpack it, so the assignments' solutions and hidden tests are left out.

    Raises:
        FileNotFoundError: the book, the assignments or the packages of its page are not made.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if not name.startswith(("instructor/assignments/", "tests/instructor/")):
            yield root / name, f"course/{name}"
    yield root / "tools/offline_install.py", "install.py"
    for folder, pattern, target in (
        (root / "_build/html", "**/*", "book"),
        (root / "build/course/zips", "*.zip", "assignments"),
        (root / "build/npm", "*.tgz", "course/build/npm"),
    ):
        files = sorted(path for path in folder.glob(pattern) if path.is_file())
        if not files:
            raise FileNotFoundError(f"{folder} has no {pattern}: run make offline, which makes it")
        for path in files:
            if path.name == "instructor.zip":
                continue
            yield path, f"{target}/{path.relative_to(folder).as_posix()}"


def constraints() -> str:
    """Return the installed distributions, each at its version, as pip reads them."""
    command = [sys.executable, "-m", "pip", "freeze", "--all", "--exclude-editable"]
    lines = subprocess.check_output(command, text=True).splitlines()
    others = [x for x in lines if not x.startswith("tigerdiff==")]  # an old one, not editable
    return "".join(f"{line}\n" for line in others if "==" in line and " @ " not in line)


def collect_wheels(folder: Path) -> None:
    """Download, or build where there is only a source, a wheel of everything required."""
    with tempfile.TemporaryDirectory() as own:
        pinned = Path(own) / "constraints.txt"
        pinned.write_text(constraints(), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-cache-dir"]
        options = ["-c", str(pinned), "-w", str(folder), "-r", "requirements.txt"]
        subprocess.run([*command, *options], cwd=ROOT, check=True)


def write(folder: Path, wheels: Path, files: list[tuple[Path, str]]) -> Path:
    """Write the archive, not compressed, because wheels are compressed."""
    about = offline_install.machine()
    (version,) = (
        line.split('"')[1]
        for line in (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
        if line.startswith("version = ")
    )
    name = f"tigerdiff-{version}-{about['system'].replace(' ', '-')}-py{about['python']}".lower()
    folder.mkdir(parents=True, exist_ok=True)
    (wheels / "about.json").write_text(json.dumps(about))
    with tarfile.open(folder / f"{name}.tar", "w") as tar:
        tar.add(wheels / "about.json", f"{name}/about.json")
        for path, inside in files:
            tar.add(path, f"{name}/{inside}")
        for path in sorted(wheels.glob("*.whl")):
            tar.add(path, f"{name}/wheels/{path.name}")
            path.unlink()  # the disk need not hold them twice
    return folder / f"{name}.tar"


def main() -> None:
    """Write the archive and say how large its parts are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build/offline")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    files = list(plan())
    with tempfile.TemporaryDirectory(dir=folder) as own:
        wheels = Path(own)
        collect_wheels(wheels)
        large = {path.name: path.stat().st_size for path in wheels.glob("*.whl")}
        archive = write(folder, wheels, files)
    nvidia = sum(size for name, size in large.items() if name.startswith(("nvidia", "triton")))
    sizes = {"wheels": sum(large.values()), "of these for GPUs": nvidia}
    sizes["the rest"] = sum(path.stat().st_size for path, _ in files)
    print(f"{archive}: {archive.stat().st_size / 1e9:.2f} GB, {len(large)} wheels")
    print(", ".join(f"{name} {size / 1e9:.2f} GB" for name, size in sizes.items()))
    print(
        f"Where there is no network: tar xf {archive.name}, then python3 install.py in its folder"
    )


if __name__ == "__main__":
    main()
