"""Install the course from the wheels beside this file, without a network.

python3 install.py

It needs the Python and the system that about.json names, and writes into course/.venv alone.
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def machine():
    """Return Python's version and the system, as in about.json."""
    system = f"{platform.system()} {platform.machine()}"
    return {"python": "{}.{}".format(*sys.version_info[:2]), "system": system}


def main():
    """Make the environment and install into it; any trouble is one sentence."""
    wanted, here = json.loads((HERE / "about.json").read_text()), machine()
    if wanted != here:
        sys.exit(
            "This archive is for Python {python} on {system}".format(**wanted)
            + ", and this is Python {python} on {system}: ".format(**here)
            + "run install.py with that Python, or type make offline on a machine like this one."
        )
    course = HERE / "course"
    made = subprocess.call([sys.executable, "-m", "venv", str(course / ".venv")])
    if made != 0:
        sys.exit("Python cannot make virtual environments: install its venv module first.")
    windows = os.name == "nt"
    python = course / ".venv" / ("Scripts/python.exe" if windows else "bin/python")
    # No setting of this machine may send pip to an index.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    clean["PIP_CONFIG_FILE"] = os.devnull
    options = ["--no-index", "--find-links", str(HERE / "wheels"), "-r", "requirements.txt"]
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if subprocess.call([*command, *options], cwd=str(course), env=clean) != 0:
        sys.exit("The wheels were not installed, for the reason that pip gives above.")
    (course / ".venv/.ready").touch()  # make installs nothing more
    print("Installed. The book to read:  {}".format(HERE / "book/index.html"))
    print(f"The notebooks:  cd {course} && .venv/bin/jupyter lab book")
    print("To build the book: make book there. To run the tests: make quick.")


if __name__ == "__main__":
    main()
