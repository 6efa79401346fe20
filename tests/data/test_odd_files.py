"""Damaged and odd files, made at random: none crashes, good ones are loaded, bad ones are named.

A few hundred examples; ODD_FILES=2000 tries as many.
"""

import io
import os
import re
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tigerdiff.data import files as _files
from tigerdiff.data.photos import load_photo, read_folder

EXAMPLES = int(os.environ.get("ODD_FILES", 300))
KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MODES = ("RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "I;16", "I", "F", "YCbCr")
ENDINGS = (".jpg", ".png", ".webp", ".gif", ".bmp", ".tif", ".JPEG", ".txt", "")
names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), max_size=20)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(_files, "cache_home", lambda: home)


@st.composite
def stored(draw):
    """Bytes of a picture in any format and mode, with any orientation, some with frames."""
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    mode, kind = draw(st.sampled_from(MODES)), draw(st.sampled_from(KINDS))
    levels = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, (height, width, 3))
    image = Image.fromarray(levels.astype(np.uint8))
    image = (
        Image.fromarray(levels[..., 0].astype(np.uint16))
        if mode == "I;16"
        else (image.convert("L").convert(mode) if mode in ("I", "F", "LA") else image.convert(mode))
    )
    options = {}
    if draw(st.booleans()):
        exif = Image.Exif()
        exif[0x0112] = draw(st.integers(0, 12))
        lies = draw(st.binary(max_size=20))
        options["exif"] = draw(st.sampled_from([exif.tobytes(), b"Exif\0\0" + lies, lies]))
    if kind in ("GIF", "WEBP", "TIFF") and draw(st.booleans()):
        options |= {"save_all": True, "append_images": [image] * draw(st.integers(1, 3))}
    file = io.BytesIO()
    try:
        image.save(file, kind, **options)
    except Exception:  # the format has no such mode, or its writer reads the false EXIF
        file = io.BytesIO()
        Image.new("RGB", (width, height)).save(file, "PNG")  # no such mode in this format
    return file.getvalue()


@st.composite
def damaged(draw):
    """Bytes of a picture, then cut, flipped, doubled, or replaced by noise."""
    content = bytearray(draw(stored()))
    how = draw(st.sampled_from(["whole", "cut", "flip", "insert", "noise", "header"]))
    at = draw(st.integers(0, len(content) - 1))
    if how == "cut":
        del content[at:]
    elif how == "flip":
        for place in draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
            content[place] ^= draw(st.integers(1, 255))
    elif how == "insert":
        content[at:at] = draw(st.binary(max_size=30))
    elif how == "noise":
        content = draw(st.binary(max_size=200))
    elif how == "header":  # sizes and lengths that lie
        content[: min(64, len(content))] = content[:8] + draw(st.binary(min_size=56, max_size=56))
    return bytes(content)


quick = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES == 300, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@contextmanager
def at_most_a_gibibyte():
    """See that this process's memory does not grow by more, where the system tells: Linux."""
    process = Path("/proc/self")
    if not (process / "clear_refs").exists():
        yield
        return
    (process / "clear_refs").write_text("5")  # the peak is counted from now on

    def peak():
        return int(re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())[1])

    before = peak()
    try:
        yield
    finally:
        assert peak() - before < 2**20


@quick
@given(damaged(), st.sampled_from(ENDINGS))
def test_a_damaged_picture_is_loaded_or_named(content, ending):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{ending}"
        path.write_bytes(content)
        try:
            with at_most_a_gibibyte():
                photo = load_photo(path, 16)
        except ValueError as error:
            photo, said = None, str(error)
        if photo is None:
            assert said.startswith(f"{path} cannot be used: ") and "\n" not in said.strip()
        else:
            assert photo.shape == (3, 16, 16) and photo.dtype == torch.uint8


@settings(quick, max_examples=EXAMPLES // 10)
@given(st.dictionaries(names, st.tuples(st.one_of(stored(), damaged()), st.sampled_from(ENDINGS)),
                       max_size=8), st.data())  # fmt: skip
def test_a_folder_of_odd_files_loads_what_is_good_and_names_the_rest(files, data):
    with tempfile.TemporaryDirectory() as folder:
        root, good = Path(folder), {}
        Image.new("RGB", (9, 9), (200, 30, 10)).save(root / "good.png")
        for name, (content, ending) in files.items():
            path = root / (name + ending)
            if name in ("", ".", "..") or len(os.fsencode(path.name)) > 200 or path.exists():
                continue
            path.write_bytes(content)
            if not _files.is_litter(path.name) and ending.lower() in _files.SUFFIXES:
                try:
                    good[path.name] = load_photo(path, 8)
                except ValueError:
                    good[path.name] = None
        odd = data.draw(st.sampled_from(["none", "loop", "broken link", "pipe", "folder"]))
        if odd == "loop":
            (root / "loop.png").symlink_to(root, target_is_directory=True)
        elif odd == "broken link":
            (root / "link.png").symlink_to(root / "nowhere")
        elif odd == "pipe":
            os.mkfifo(root / "pipe.png")
        elif odd == "folder":
            (root / "folder.png").mkdir()
        for _ in range(2):  # decoded, then from the cache
            images, loaded = read_folder(root, 8, progress=False)
            assert len(images) == len(loaded) and "good.png" in loaded
            assert set(loaded) == {name for name, x in good.items() if x is not None} | {"good.png"}
            for image, name in zip(images, loaded):
                assert name == "good.png" or torch.equal(image, good[name])
