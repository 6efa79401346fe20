"""Make what the page "Draw in your browser" loads, before the book is built.

python tools/live_assets.py

Writes build/live/live, which Sphinx copies into the site: live.js and live.css from book/live; the
networks (tools/export_onnx.py) and what runs them (tools/fetch_onnxruntime.py) in parts of base64
inside scripts, as a page that is read from disk may load nothing else. Without npm the page is
built too, and says that it has no networks.
"""

import base64
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import export_onnx
import fetch_onnxruntime

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "book/live"
FOLDER = ROOT / "build/live/live"
MEASURED = ROOT / "bench/results/live.json"
IN_WORKER = ("samplers.js", "worker.js")
IN_PAGE = (
    "samplers.js", "engine.js", "parts.js", "device.js", "noise.js", "compare.js", "photo.js",
    "words.js", "points.js", "plane.js", "measured.js", "mount.js",
)  # fmt: skip
PART_BYTES = 750_000  # a million characters of base64


def runtime_files(packages: dict[str, Path]) -> Iterator[tuple[str, Path]]:
    """Return the files that run the networks, by the names that the worker knows."""
    onnxruntime = packages["onnxruntime-web"] / "dist"
    yield "runtime.wasm", onnxruntime / "ort.wasm.bundle.min.mjs"
    yield "code.wasm", onnxruntime / "ort-wasm-simd-threaded.wasm"
    yield "runtime.webgpu", onnxruntime / "ort.webgpu.bundle.min.mjs"
    yield "code.webgpu", onnxruntime / "ort-wasm-simd-threaded.asyncify.wasm"
    yield "gifenc", packages["gifenc"] / "dist/gifenc.esm.js"


def write_parts(name: str, source: Path, folder: Path) -> dict[str, Any]:
    """Write a file in parts, each a script with its base64; return what the page reads."""
    data = source.read_bytes()
    version = hashlib.sha256(data).hexdigest()[:8]  # in the name, so that no cache is out of date
    pieces = [data[k : k + PART_BYTES] for k in range(0, len(data), PART_BYTES)]
    files = []
    for k, piece in enumerate(pieces):
        files.append(f"{name}.{version}.{k}.js")
        text = base64.b64encode(piece).decode()
        call = f'tigerdiffPart("{name}", {k}, {len(pieces)}, "{text}");\n'
        (folder / files[-1]).write_text(call, encoding="ascii")
    return {"bytes": len(data), "parts": files}


def write_networks(folder: Path, packages: dict[str, Path]) -> dict[str, Any]:
    """Write all that is loaded when a button is pressed; return the manifest."""
    for name, package in packages.items():
        for licence in package.glob("LICENSE*"):
            shutil.copy(licence, folder / f"{name}.LICENSE.txt")
    files = {name: write_parts(name, path, folder) for name, path in runtime_files(packages)}
    models = []
    for target in export_onnx.export_all():
        about = json.loads((target / "model.json").read_text(encoding="utf-8"))
        models.append(about)
        for part in about["parts"]:
            name = f"{about['name']}.{part}"
            files[name] = write_parts(name, target / f"{part}.onnx", folder)
    return {"models": models, "files": files}


def script(manifest: dict[str, Any]) -> str:
    """Return live.js: what the build knows, then the page's sources, in a scope of their own."""
    worker, page = (
        "\n".join((SOURCES / name).read_text(encoding="utf-8") for name in names)
        for names in (IN_WORKER, IN_PAGE)
    )
    return f"""(() => {{
if (window.tigerdiffLive) return; // a page may hold the script twice
const BASE = document.currentScript.src.replace(/[^/]*$/, "");
const MANIFEST = {json.dumps(manifest)};
const WORKER = {json.dumps(worker)};
{page}}})();
"""


def main(folder: Path = FOLDER) -> None:
    """Write everything anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    manifest: dict[str, Any] = {"models": [], "files": {}}
    try:
        packages = fetch_onnxruntime.fetch()
    except (ConnectionError, ValueError) as error:
        print(f"The page live is built without the networks: {error}")
    else:
        manifest = write_networks(folder, packages)
    manifest["measured"] = json.loads(MEASURED.read_text(encoding="utf-8"))
    (folder / "live.js").write_text(script(manifest), encoding="utf-8")
    shutil.copy(SOURCES / "live.css", folder)


if __name__ == "__main__":
    main()
