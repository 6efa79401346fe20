"""Photos in, batches out: each kind of file is made on the fly, and its exact colours checked."""

import contextlib
import hashlib
import io
import itertools
import json
import logging
import multiprocessing
import os
import re
import socket
import struct
import tempfile
import threading
import time
import zlib
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageDraw
from safetensors import safe_open

from tigerdiff.data import downloads as _downloads
from tigerdiff.data import files as _files
from tigerdiff.data import painted
from tigerdiff.data.batches import batches
from tigerdiff.data.painted import painted_batches
from tigerdiff.data.photos import load_folder, load_photo
from tigerdiff.data.tensors import seeded_generator, to_float, to_uint8
from tigerdiff.tigers.paint import paint_tiger, procedural_tigers

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no pipes in folders, fork or pwd")
CACHE_HOME = _files.cache_home
RED, BLUE = (200, 30, 10), (10, 30, 200)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """No test touches the real cache of the person who runs it."""
    home = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(_files, "cache_home", lambda: home)
    return home


@pytest.fixture
def skipped(caplog):
    """Names, with the reasons, that the logger listed since it was last asked."""
    caplog.set_level(logging.WARNING, "tigerdiff")

    def listed(root):
        lines = [record.getMessage() for record in caplog.records]
        caplog.clear()
        pairs = (re.fullmatch(rf"skipped {re.escape(str(root))}/(.+?): (.+)", x) for x in lines)
        return {pair[1]: pair[2] for pair in pairs if pair}

    return listed


def plain(colour=RED, size=(24, 24), mode="RGB"):
    return Image.new(mode, size, colour)


def near(image, colour, tolerance=0):
    """Every pixel of a (3, H, W) image has this colour."""
    difference = image.int() - torch.tensor(colour)[:, None, None]
    return difference.abs().max().item() <= tolerance


def quadrants(size=(64, 64)):
    """Four colours, so that any turn or mirroring shows."""
    image = plain((255, 0, 0), size)
    draw, (w, h) = ImageDraw.Draw(image), size
    draw.rectangle((w // 2, 0, w, h // 2 - 1), fill=(0, 255, 0))
    draw.rectangle((0, h // 2, w // 2 - 1, h), fill=(0, 0, 255))
    draw.rectangle((w // 2, h // 2, w, h), fill=(255, 255, 0))
    return image


def png(width, height, depth, pixels, *, gray=False, transparent=None):
    """A PNG made by hand; width and height are what it claims."""

    def chunk(kind, body):
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    kind = 0 if gray else 2
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    if transparent is not None:
        header += chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent))
    body = chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")


# ---------------------------------------------------------------- finding


def test_every_kind_of_file_at_any_depth_in_the_order_of_names(tmp_path, skipped):
    suffixes = {
        "a.jpg": "JPEG", "b.JPEG": "JPEG", "c.png": "PNG", "d.WebP": "WEBP", "e.gif": "GIF",
        "f.bmp": "BMP", "g.tif": "TIFF", "h.TIFF": "TIFF", "i.jfif": "JPEG", "j.jpe": "JPEG",
    }  # fmt: skip
    for i, (name, kind) in enumerate(reversed(suffixes.items())):
        file = tmp_path / ("/".join(["deep"] * (i % 4)) or ".") / name
        file.parent.mkdir(parents=True, exist_ok=True)
        shade = 20 * (ord(name[0]) - ord("a"))
        plain((shade, shade, shade)).save(file, kind, **({"lossless": True} if i == 6 else {}))
    images = load_folder(tmp_path, 8, progress=False)
    assert images.dtype == torch.uint8 and images.shape == (10, 3, 8, 8)
    assert images.is_contiguous() and not skipped(tmp_path)
    names = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.*"))
    for image, name in zip(images, names, strict=True):
        assert near(image, (20 * (ord(name.split("/")[-1][0]) - ord("a")),) * 3, 2), name


@pytest.mark.parametrize("layout", ["data/tigers/{}.jpg", "{}/x.jpg", "{}.jpg"])
def test_layouts(tmp_path, layout):
    for name in ("one", "two", "three"):
        file = tmp_path / layout.format(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        plain().save(file)
    assert len(load_folder(str(tmp_path), 8, progress=False)) == 3


def test_tables_of_captions_are_passed_over_at_any_depth(tmp_path, skipped):
    (tmp_path / "more").mkdir()
    plain().save(tmp_path / "more" / "tiger.png")
    for name in ("metadata.csv", "captions.csv", "more/metadata.jsonl", "more/other.csv"):
        (tmp_path / name).write_text("file_name,text\n")
    assert len(load_folder(tmp_path, 16, progress=False)) == 1
    assert list(skipped(tmp_path)) == ["more/other.csv"]


def test_litter_is_passed_over_and_other_files_are_named(tmp_path, skipped):
    plain().save(tmp_path / "tiger.jpg")
    for name in (".DS_Store", "._tiger.jpg", "Thumbs.db", "desktop.ini", ".git/a.jpg",
                 "__MACOSX/._tiger.jpg", "__MACOSX/tiger.jpg"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"litter")
    (tmp_path / "notes.txt").write_text("about tigers")
    (tmp_path / "sub.jpg").mkdir()
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert len(load_folder(tmp_path, 8, progress=False)) == 1
    reasons = skipped(tmp_path)
    assert set(reasons) == {"notes.txt", "broken.jpg"}
    assert "suffix" in reasons["notes.txt"] and "No such file" in reasons["broken.jpg"]


@posix
def test_a_pipe_is_named(tmp_path, skipped):
    plain().save(tmp_path / "tiger.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")  # opening it would wait for ever
    assert len(load_folder(tmp_path, 8, progress=False)) == 1
    assert "regular file" in skipped(tmp_path)["pipe.jpg"]


def test_a_folder_below_a_hidden_one_is_fine(tmp_path):
    root = tmp_path / ".hidden" / "tigers"
    root.mkdir(parents=True)
    plain().save(root / "a.jpg")
    assert len(load_folder(root, 8, progress=False)) == 1


def test_linked_folders_are_followed_once(tmp_path):
    root, other = tmp_path / "root", tmp_path / "other"
    root.mkdir(), other.mkdir()
    plain().save(root / "a.jpg"), plain().save(other / "b.jpg")
    (root / "linked").symlink_to(other, target_is_directory=True)
    (root / "loop").symlink_to(root, target_is_directory=True)
    (other / "back").symlink_to(root, target_is_directory=True)
    assert len(load_folder(root, 8, progress=False)) == 2


def test_unreadable_folder_is_named(tmp_path, monkeypatch, skipped):
    plain().save(tmp_path / "a.jpg")
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert len(load_folder(tmp_path, 8, progress=False)) == 1
    assert skipped(tmp_path) == {"locked": "it cannot be read (Permission denied)"}


# ---------------------------------------------------------------- what is skipped


def test_damaged_files_are_skipped_and_named_on_every_load(tmp_path, skipped, recwarn):
    plain().save(tmp_path / "good.jpg")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for name in ("cut.jpg", "cut.png", "cut.webp", "cut.gif", "cut.bmp", "cut.tif"):
        noise.save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "page.jpg").write_text("<!doctype html><title>not found</title>")
    (tmp_path / "noise.png").write_bytes(np.random.default_rng(1).bytes(5000))
    (tmp_path / "eps.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (tmp_path / "bomb.png").write_bytes(png(60_000, 60_000, 8, bytes(1000)))
    (tmp_path / "big.png").write_bytes(
        png(10_001, 10_000, 8, bytes(1000))
    )  # Pillow would only warn
    for _ in range(2):
        assert near(load_folder(tmp_path, 8, progress=False)[0], RED, 2)
        reasons = skipped(tmp_path)
        assert len(reasons) == 12 and "good.jpg" not in reasons
        assert reasons["empty.jpg"] == "it is empty"
        for name in ("page.jpg", "noise.png", "eps.jpg"):
            assert reasons[name] == "its content is not JPEG, PNG, WebP, GIF, BMP or TIFF"
        assert reasons["bomb.png"] == reasons["big.png"] == "it has more than 100,000,000 pixels"
        assert "truncated" in reasons["cut.jpg"]
        assert all(reasons[f"cut.{x}"] for x in ("png", "webp", "gif", "bmp", "tif"))
    assert not recwarn.list, "our lines name the file; Pillow's warnings would not"


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    plain(size=(50, 41)).save(tmp_path / "big.png")
    plain(size=(50, 40)).save(tmp_path / "fits.png")
    monkeypatch.setattr(_files, "MAX_PIXELS", 2000)
    assert load_photo(tmp_path / "fits.png").shape == (3, 40, 50)

    def decoded(self):
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    with pytest.raises(ValueError, match=r"big\.png cannot be used: it has more than 2,000 pixels"):
        load_photo(tmp_path / "big.png")


def test_content_decides_not_the_name(tmp_path, skipped):
    plain().save(tmp_path / "png.jpg", "PNG")
    plain().save(tmp_path / "jpg.png", "JPEG")
    images = load_folder(tmp_path, 8, progress=False)
    assert len(images) == 2 and near(images[0], RED, 2) and near(images[1], RED)
    assert not skipped(tmp_path)


def test_nothing_usable_says_what_was_looked_for(tmp_path, skipped):
    (tmp_path / "page.jpg").write_text("<html>")
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(FileNotFoundError) as caught:
        load_folder(tmp_path, 8, progress=False)
    message = str(caught.value)
    assert str(tmp_path) in message and "JPEG, PNG, WebP, GIF, BMP or TIFF" in message
    assert ".jpg" in message and "skipped 2" in message and "\n" not in message
    assert set(skipped(tmp_path)) == {"page.jpg", "notes.txt"}


def test_empty_folder_missing_folder_and_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no usable picture"):
        load_folder(tmp_path, 8, progress=False)
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist.*JPEG"):
        load_folder(tmp_path / "nowhere", 8)
    plain().save(tmp_path / "a.jpg")
    with pytest.raises(NotADirectoryError, match=r"a\.jpg is not a folder.*load_photo"):
        load_folder(tmp_path / "a.jpg", 8)


@pytest.mark.parametrize("size", [0, -3, 2.5, "64", None, True])
def test_bad_size(tmp_path, size):
    plain().save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="size must be a whole number of at least 1"):
        load_folder(tmp_path, size)
    if size is not None:
        with pytest.raises(ValueError, match="size must be a whole number of at least 1"):
            load_photo(tmp_path / "a.jpg", size)


def test_numpy_size(tmp_path):
    plain().save(tmp_path / "a.jpg")
    assert load_folder(tmp_path, np.int64(8), progress=False).shape == (1, 3, 8, 8)


def test_running_out_of_memory_is_no_fault_of_the_picture(tmp_path, monkeypatch):
    plain().save(tmp_path / "a.jpg")

    def exhausted(image):
        raise MemoryError

    monkeypatch.setattr(_files, "flatten", exhausted)
    with pytest.raises(MemoryError):
        load_folder(tmp_path, 8, progress=False)


# ---------------------------------------------------------------- how pictures come out


def over_white(colour, alpha):
    return tuple(round((c * alpha + 255 * (255 - alpha)) / 255) for c in colour)


def palette_with_transparency(kind):
    image = plain(0, mode="P")
    image.putpalette([*RED, *BLUE])
    image.paste(1, (12, 0, 24, 24))  # right half blue
    return image, {"transparency": 1 if kind == "GIF" else bytes([255, 128])}


def test_grayscale_and_bilevel(tmp_path):
    plain(77, mode="L").save(tmp_path / "l.png")
    plain(77, mode="L").save(tmp_path / "l.jpg")
    plain(1, mode="1").save(tmp_path / "one.png")
    assert near(load_photo(tmp_path / "l.png"), (77, 77, 77))
    assert near(load_photo(tmp_path / "l.jpg", 8), (77, 77, 77))
    assert near(load_photo(tmp_path / "one.png"), (255, 255, 255))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("alpha", [0, 100, 255])
def test_rgba_over_white(tmp_path, kind, alpha):
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    plain((*RED, alpha), mode="RGBA").save(tmp_path / "a.png", kind, **options)
    assert near(load_photo(tmp_path / "a.png"), over_white(RED, alpha), 1)
    assert near(load_photo(tmp_path / "a.png", 8), over_white(RED, alpha), 1)


def test_transparent_black_does_not_bleed_into_an_edge(tmp_path):
    image = plain((0, 0, 0, 0), (64, 64), "RGBA")
    image.paste((255, 255, 255, 255), (0, 0, 33, 64))
    image.save(tmp_path / "a.png")
    assert near(load_photo(tmp_path / "a.png", 8), (255, 255, 255))


def test_la_over_white(tmp_path):
    plain((40, 100), mode="LA").save(tmp_path / "la.png")
    assert near(load_photo(tmp_path / "la.png"), over_white((40,) * 3, 100), 1)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_transparency(tmp_path, kind):
    image, options = palette_with_transparency(kind)
    image.save(tmp_path / "p.png", kind, **options)
    photo = load_photo(tmp_path / "p.png")
    assert near(photo[..., :12], RED)
    assert near(photo[..., 12:], (255, 255, 255) if kind == "GIF" else over_white(BLUE, 128), 1)


def test_palette_without_transparency(tmp_path):
    image, _ = palette_with_transparency("PNG")
    image.save(tmp_path / "p.png")
    assert near(load_photo(tmp_path / "p.png")[..., 12:], BLUE)


def test_transparent_colour_of_an_rgb_png(tmp_path):
    image = plain()
    image.paste(BLUE, (12, 0, 24, 24))
    image.save(tmp_path / "a.png", transparency=BLUE)
    photo = load_photo(tmp_path / "a.png")
    assert near(photo[..., :12], RED) and near(photo[..., 12:], (255, 255, 255))


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_first_frame(tmp_path, kind):
    frames = [plain(colour) for colour in (RED, BLUE, (0, 255, 0))]
    frames[0].save(tmp_path / "a.gif", kind, save_all=True, append_images=frames[1:])
    assert near(load_photo(tmp_path / "a.gif"), RED, 4)


def without_adobe_marker(jpeg):
    at = jpeg.index(b"\xff\xee")
    return jpeg[:at] + jpeg[at + 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0] :]


def test_cmyk(tmp_path):
    orange = plain((0, 128, 255, 0), mode="CMYK")
    orange.save(tmp_path / "adobe.jpg", quality=95)
    orange.save(tmp_path / "a.tif")
    jpeg = (tmp_path / "adobe.jpg").read_bytes()
    assert b"Adobe" in jpeg
    # Without Adobe's marker the stored numbers mean what they say: the same bytes, complemented.
    (tmp_path / "plain.jpg").write_bytes(without_adobe_marker(jpeg))
    for name in ("adobe.jpg", "a.tif"):
        assert near(load_photo(tmp_path / name), (255, 127, 0), 3), name
        assert near(load_photo(tmp_path / name, 8), (255, 127, 0), 3), name
    inverted = orange.point(lambda v: 255 - v).convert("RGB").getpixel((0, 0))
    assert near(load_photo(tmp_path / "plain.jpg"), inverted, 3)


@pytest.mark.parametrize("value", [0, 1, 128, 129, 256, 386, 12345, 32768, 64000, 65407, 65535])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit_gray_is_scaled_and_rounded(tmp_path, value, name):
    Image.fromarray(np.full((9, 9), value, np.uint16)).save(tmp_path / name)
    assert near(load_photo(tmp_path / name), (round(value / 257),) * 3)


def test_a_16_bit_tiff_whose_white_is_zero_is_no_negative(tmp_path):
    levels = np.array([[0, 12345, 65535]], np.uint16)
    for white_is, expected in ((1, [0, 48, 255]), (0, [255, 207, 0])):
        Image.fromarray(levels).save(tmp_path / "a.tif", tiffinfo={262: white_is})
        assert load_photo(tmp_path / "a.tif")[0].tolist() == [expected]


def test_a_doubled_exif_header_is_read(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    body = exif.tobytes()
    doubled = b"Exif\0\0" * 2 + body.removeprefix(b"Exif\0\0")
    plain(size=(30, 20)).save(tmp_path / "a.jpg", exif=doubled)
    assert b"Exif\0\0" * 2 in (tmp_path / "a.jpg").read_bytes()
    assert load_photo(tmp_path / "a.jpg").shape == (3, 30, 20)


def test_16_bit_big_endian_tiff(tmp_path):
    image = Image.fromarray(np.full((9, 9), 12345, ">u2"))
    assert image.mode == "I;16B"
    image.save(tmp_path / "a.tif")
    assert near(load_photo(tmp_path / "a.tif", 4), (48, 48, 48))


def test_16_bit_colour_png(tmp_path):
    row = b"\0" + struct.pack(">HHH", 65535, 32896, 257) * 4
    (tmp_path / "a.png").write_bytes(png(4, 4, 16, row * 4))
    assert near(load_photo(tmp_path / "a.png"), (255, 128, 1))


@pytest.mark.parametrize(("depth", "code"), [(8, "B"), (16, "H")])
def test_transparent_level_of_a_gray_png(tmp_path, depth, code):
    level, other = (77, 78) if depth == 8 else (20000, 20001)
    row = b"\0" + struct.pack(f">4{code}", level, level, other, other)
    body = png(4, 4, depth, row * 4, gray=True, transparent=[level])
    (tmp_path / "a.png").write_bytes(body)
    photo = load_photo(tmp_path / "a.png")
    assert near(photo[..., :2], (255, 255, 255)), "the transparent level shows the white behind"
    assert near(photo[..., 2:], (78, 78, 78)), "its neighbour stays"
    (tmp_path / "b.png").write_bytes(png(4, 4, depth, row * 4, gray=True, transparent=[0]))
    assert near(load_photo(tmp_path / "b.png"), (78, 78, 78), 1)


def test_transparent_colour_of_a_16_bit_png(tmp_path):
    clear, seen = (0x8040, 0x4080, 0x00FF), (0x4000, 0x8000, 0xFF00)
    row = b"\0" + struct.pack(">12H", *clear, *clear, *seen, *seen)
    (tmp_path / "a.png").write_bytes(png(4, 4, 16, row * 4, transparent=clear))
    photo = load_photo(tmp_path / "a.png")
    assert near(photo[..., :2], (255, 255, 255)) and near(photo[..., 2:], (64, 128, 255))


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bit_pixels_are_refused_rather_than_clipped(tmp_path, dtype):
    Image.fromarray(np.full((9, 9), 1000, dtype)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif cannot be used.*range.*not known"):
        load_photo(tmp_path / "a.tif")


TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,  # stored turned by this, so that the viewer turns it back
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_exif_orientation_comes_out_upright(tmp_path, kind, orientation):
    upright = quadrants((96, 64))
    turn = TURNS[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    stored.save(tmp_path / "a.jpg", kind, exif=exif, **options)
    photo = load_photo(tmp_path / "a.jpg")
    assert photo.shape == (3, 64, 96)
    expected = torch.from_numpy(np.array(upright)).permute(2, 0, 1).int()
    assert (photo.int() - expected).abs().float().mean() < 1
    small = load_folder(tmp_path, 16, progress=False)[0]
    for corner, colour in zip(
        (small[:, :6, :6], small[:, :6, -6:], small[:, -6:, :6], small[:, -6:, -6:]),
        ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)),
        strict=True,
    ):
        assert near(corner, colour, 12)


def test_nonsense_in_exif_does_not_cost_the_picture(tmp_path):
    plain().save(tmp_path / "a.jpg", exif=b"Exif\0\0" + bytes(range(64)))
    exif = Image.Exif()
    exif[0x0112] = 99
    plain().save(tmp_path / "b.jpg", exif=exif)
    assert len(load_folder(tmp_path, 8, progress=False)) == 2


def test_a_picture_with_one_wrong_tag_is_still_turned(tmp_path):
    """The tag is of a type with which Pillow cannot write the EXIF anew."""
    entries = b"\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00"
    entries += b"\x1b\x01\x07\x00\x01\x00\x00\x00\x41\x00\x00\x00"  # YResolution as bytes
    block = b"Exif\0\0II*\x00\x08\x00\x00\x00\x02\x00" + entries + bytes(4)
    two = Image.new("RGB", (32, 32))
    two.paste((255, 255, 255), (0, 0, 16, 32))  # left half white
    two.save(tmp_path / "a.jpg", exif=block)
    (found,) = load_folder(tmp_path, 32, progress=False)
    assert found[:, 4].float().mean() > 200 and found[:, 28].float().mean() < 50, "top half white"


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize("size", [(1200, 600), (600, 1200), (601, 400)])
def test_a_circle_stays_round_and_in_the_centre(tmp_path, name, size):
    image = plain((255, 255, 255), size)
    (w, h), radius = size, 0.3 * min(size)
    box = (w / 2 - radius, h / 2 - radius, w / 2 + radius, h / 2 + radius)
    ImageDraw.Draw(image).ellipse(box, fill=(0, 0, 0))
    image.save(tmp_path / name)
    ink = 1 - load_folder(tmp_path, 64, progress=False)[0].float().mean(0) / 255
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    assert abs((ink * x).sum() / ink.sum() - 31.5) < 0.3
    assert abs((ink * y).sum() / ink.sum() - 31.5) < 0.3
    assert ink.sum().item() == pytest.approx(np.pi * (0.3 * 64) ** 2, rel=0.02)
    wide, high = (ink.sum(0) > 0.5).sum(), (ink.sum(1) > 0.5).sum()
    assert abs(wide - high) <= 1


def test_resizing_is_antialiased(tmp_path):
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255  # without antialiasing this gives black, white or moire
    Image.fromarray(stripes).save(tmp_path / "a.png")
    assert near(load_photo(tmp_path / "a.png", 37), (127, 127, 127), 5)


def test_a_large_jpeg_is_decoded_small_and_looks_the_same(tmp_path):
    y, x = np.mgrid[:1600, :2400]
    waves = np.stack([np.sin(x / 90), np.cos(y / 70), np.sin((x + y) / 110)], -1) * 100 + 128
    Image.fromarray(waves.astype(np.uint8)).save(tmp_path / "a.jpg", quality=95)
    Image.open(tmp_path / "a.jpg").save(tmp_path / "a.png", compress_level=1)
    drafted, exact = (load_photo(tmp_path / name, 64).float() for name in ("a.jpg", "a.png"))
    assert (drafted - exact).abs().mean() < 1.5


def test_small_and_thin_pictures_are_enlarged_with_a_warning(tmp_path, caplog):
    plain(size=(1, 4000)).save(tmp_path / "dot.png")
    plain(size=(3, 500)).save(tmp_path / "thin.png")
    plain(size=(16, 16)).save(tmp_path / "whole.png")
    for _ in range(2):  # also from the cache
        images = load_folder(tmp_path, 16, progress=False)
        assert images.shape == (3, 3, 16, 16) and near(images[0], RED) and near(images[1], RED)
        said = f"{tmp_path}: 2 of 3 pictures are smaller than 16 pixels and were enlarged: "
        assert caplog.messages == [said + "dot.png (1 x 4000), thin.png (3 x 500)"]
        caplog.clear()
    load_photo(tmp_path / "whole.png", 16)
    assert not caplog.messages
    load_photo(tmp_path / "dot.png", 16)
    assert caplog.messages[0].endswith("dot.png has 1 x 4000 pixels and was enlarged to 16 x 16")


def test_colour_profiles_are_applied(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain().save(tmp_path / "srgb.png", icc_profile=profile)
    assert near(load_photo(tmp_path / "srgb.png"), RED, 1)
    plain().save(tmp_path / "broken.png", icc_profile=b"not a profile")
    assert near(load_photo(tmp_path / "broken.png"), RED)
    # Red and green exchange their primaries, so a picture with this profile must change colour.
    swapped = profile.replace(b"rXYZ", b"tEMP").replace(b"gXYZ", b"rXYZ").replace(b"tEMP", b"gXYZ")
    plain().save(tmp_path / "swapped.png", icc_profile=swapped)
    red, green, blue = load_photo(tmp_path / "swapped.png")[:, 0, 0].tolist()
    assert abs(green - RED[0]) < 8 and abs(red - RED[1]) < 8 and abs(blue - RED[2]) < 8


def test_load_photo_keeps_the_size_unless_asked(tmp_path):
    quadrants((40, 30)).save(tmp_path / "a.png")
    whole = load_photo(tmp_path / "a.png")
    assert whole.dtype == torch.uint8 and whole.shape == (3, 30, 40) and whole.is_contiguous()
    assert load_photo(str(tmp_path / "a.png"), 12).shape == (3, 12, 12)


def test_load_photo_says_what_is_wrong(tmp_path):
    (tmp_path / "page.jpg").write_text("<html>")
    with pytest.raises(ValueError, match=r"page\.jpg cannot be used: its content is not JPEG"):
        load_photo(tmp_path / "page.jpg")
    with pytest.raises(FileNotFoundError, match=r"none\.jpg does not exist"):
        load_photo(tmp_path / "none.jpg")
    with pytest.raises(IsADirectoryError, match="load_folder"):
        load_photo(tmp_path)
    for address in ("ftp://host/a.jpg", "file:///a.jpg"):
        with pytest.raises(ValueError, match=r"path or an http\(s\) address"):
            load_photo(address)


# ---------------------------------------------------------------- the cache of a folder


@pytest.fixture
def decoded(monkeypatch):
    """Names decoded so far."""
    names, read = [], _files.read_picture

    def counted(path, size=None):
        names.append(path.name)
        return read(path, size)

    monkeypatch.setattr(_files, "read_picture", counted)
    return names


def test_a_second_load_decodes_nothing_and_a_change_decodes_again(tmp_path, cache, decoded):
    for i in range(3):
        plain((i, i, i)).save(tmp_path / f"{i}.png")
    first = load_folder(tmp_path, 8, progress=False)
    assert len(decoded) == 3
    assert load_folder(tmp_path, 8, progress=False).equal(first) and len(decoded) == 3
    load_folder(tmp_path, 9, progress=False)
    assert len(decoded) == 6, "another size is another entry"
    (tmp_path / "notes.txt").write_text("not a picture")
    load_folder(tmp_path, 8, progress=False)
    assert len(decoded) == 6, "what is not a picture is not part of the key"

    plain((9, 9, 9)).save(tmp_path / "1.png")
    assert near(load_folder(tmp_path, 8, progress=False)[1], (9, 9, 9)) and len(decoded) == 9
    (tmp_path / "1.png").rename(tmp_path / "7.png")
    assert near(load_folder(tmp_path, 8, progress=False)[2], (9, 9, 9)) and len(decoded) == 12
    (tmp_path / "0.png").unlink()
    assert len(load_folder(tmp_path, 8, progress=False)) == 2 and len(decoded) == 14
    assert not list(cache.rglob("*.part"))


def test_a_moved_folder_is_still_in_the_cache(tmp_path, decoded):
    (tmp_path / "old").mkdir()
    plain().save(tmp_path / "old" / "a.png")
    load_folder(tmp_path / "old", 8, progress=False)
    (tmp_path / "old").rename(tmp_path / "new")
    load_folder(tmp_path / "new", 8, progress=False)
    assert len(decoded) == 1


def test_the_cache_knows_contents_where_names_sizes_and_times_are_equal(tmp_path):
    for size in (24, 1200):  # a few bytes, and a few megabytes
        for folder, colour in (("red", RED), ("blue", BLUE)):
            (tmp_path / folder).mkdir(exist_ok=True)
            plain(colour, size=(size, size)).save(tmp_path / folder / "a.bmp")
            os.utime(tmp_path / folder / "a.bmp", ns=(0, 0))
        for folder, colour in (("red", RED), ("blue", BLUE), ("red", RED)):
            assert near(load_folder(tmp_path / folder, 8, progress=False)[0], colour)


def load_levels(folder):
    levels = load_folder(folder, 8, cache_dir=folder / ".cache", progress=False)[:, 0, 0, 0]
    assert levels.tolist() == list(range(30))


@posix
def test_two_processes_fill_one_cache(tmp_path):
    for i in range(30):
        plain((i, i, i)).save(tmp_path / f"{i:02d}.png")
    fork = multiprocessing.get_context("fork")  # as quick as a process starts
    processes = [fork.Process(target=load_levels, args=[tmp_path]) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert len(list((tmp_path / ".cache").iterdir())) == 1


@posix
@pytest.mark.parametrize("home", [None, "/proc/nowhere"])
def test_without_a_home_to_write_to_the_cache_is_in_the_temporary_folder(
    tmp_path, monkeypatch, home, caplog
):
    def none(*_):
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", none)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    if home:
        monkeypatch.setenv("HOME", home)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(_files, "cache_home", CACHE_HOME)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tmp").mkdir()
    _files._temporary_cache.cache_clear()
    (tmp_path / "photos").mkdir()
    plain().save(tmp_path / "photos" / "a.png")
    for _ in range(2):
        load_folder(tmp_path / "photos", 8, progress=False)
    assert [f"using {tmp_path / 'tmp'}" in line for line in caplog.messages] == [True]
    assert list((tmp_path / "tmp").glob("*/folders/*.safetensors"))
    assert not (tmp_path / "~").exists()
    _files._temporary_cache.cache_clear()


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    plain().save(tmp_path / "photos" / "a.png")
    load_folder("~/photos", 8, cache_dir="~/kept", progress=False)
    assert load_photo("~/photos/a.png").shape == (3, 24, 24)
    assert list((tmp_path / "kept").iterdir()) and not (tmp_path / "~").exists()


def test_cache_dir_and_its_contents(tmp_path, cache):
    photos, place = tmp_path / "photos", tmp_path / "deep" / "cache"
    photos.mkdir()
    plain().save(photos / "a.png")
    (photos / "b.png").touch()
    images = load_folder(photos, 8, cache_dir=place, progress=False)
    (entry,) = place.iterdir()
    with safe_open(entry, framework="pt") as file:
        assert file.get_tensor("images").equal(images)
        assert json.loads(file.metadata()["notes"]) == {
            "skipped": {"b.png": "it is empty"},
            "enlarged": {},
        }
    assert not list(cache.iterdir())
    load_folder(photos, 8, progress=False)
    assert len(list((cache / "folders").iterdir())) == 1


def test_a_damaged_cache_is_replaced(tmp_path, cache, decoded, caplog):
    plain().save(tmp_path / "a.png")
    first = load_folder(tmp_path, 8, progress=False)
    (entry,) = (cache / "folders").iterdir()
    entry.write_bytes(entry.read_bytes()[:50])
    assert load_folder(tmp_path, 8, progress=False).equal(first) and len(decoded) == 2
    assert "is damaged, so the photos are decoded again" in caplog.text
    load_folder(tmp_path, 8, progress=False)
    assert len(decoded) == 2


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path, caplog):
    (tmp_path / "photos").mkdir()
    plain().save(tmp_path / "photos" / "a.png")
    (tmp_path / "file").touch()
    images = load_folder(tmp_path / "photos", 8, cache_dir=tmp_path / "file", progress=False)
    assert len(images) == 1 and "could not be kept" in caplog.text


def test_a_fault_of_the_disk_is_not_remembered(tmp_path, monkeypatch, skipped):
    for name in ("a.png", "b.png"):
        plain().save(tmp_path / name)
    read = _files.read_picture

    def failing(path, size=None):
        if path.name == "b.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, size)

    with monkeypatch.context() as patch:
        patch.setattr(_files, "read_picture", failing)
        assert len(load_folder(tmp_path, 8, progress=False)) == 1
    assert skipped(tmp_path) == {"b.png": "Permission denied"}
    assert len(load_folder(tmp_path, 8, progress=False)) == 2 and not skipped(tmp_path)


def test_interrupted_writing_leaves_nothing(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")

    def interrupted():
        with _files.replacing(target) as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_progress_bar(tmp_path, capsys):
    plain().save(tmp_path / "a.png")
    load_folder(tmp_path, 8, progress=False)
    assert capsys.readouterr().err == ""
    load_folder(tmp_path, 9)
    assert "photos" in capsys.readouterr().err


# ---------------------------------------------------------------- addresses


class Site(BaseHTTPRequestHandler):
    """Answers with what the test has put under a path: (status, headers, body chunks)."""

    def do_GET(self):
        self.server.asked.append(self.path)
        status, headers, chunks = self.server.pages.get(self.path, (404, {}, [b"nothing here"]))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client may hang up on purpose
            for chunk in chunks:
                self.wfile.write(chunk)

    def log_message(self, *_):
        pass


@pytest.fixture
def site():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.daemon_threads, server.pages, server.asked = True, {}, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown(), server.server_close(), thread.join()


def encoded(image, kind="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def nothing_kept(cache):
    return not [p for p in cache.rglob("*") if p.is_file()]


def test_an_address_is_downloaded_once(site, cache):
    site.pages["/a?size=1"] = (200, {}, [encoded(plain(size=(30, 20)))])
    photo = load_photo(f"{site.url}/a?size=1")
    assert photo.shape == (3, 20, 30) and near(photo, RED)
    assert load_photo(f"{site.url}/a?size=1", 8).shape == (3, 8, 8)
    assert site.asked == ["/a?size=1"]
    kept = sorted((cache / "photos").iterdir())
    assert kept[1].suffix == ".sha256" and len(kept) == 2
    assert kept[1].read_text() == hashlib.sha256(kept[0].read_bytes()).hexdigest()


def test_a_damaged_or_half_recorded_copy_is_fetched_again(site, cache):
    site.pages["/a"] = (200, {}, [encoded(plain())])
    load_photo(f"{site.url}/a")
    photo, digest = sorted((cache / "photos").iterdir())
    photo.write_bytes(encoded(plain(BLUE)))  # still a picture, but not the one that was fetched
    assert near(load_photo(f"{site.url}/a"), RED) and len(site.asked) == 2
    digest.unlink()
    assert near(load_photo(f"{site.url}/a"), RED) and len(site.asked) == 3


def test_a_redirect_from_outside_into_a_private_network_is_refused(site, monkeypatch):
    site.pages["/a"] = (302, {"Location": "http://localhost:1/secret"}, [])
    look_up = socket.getaddrinfo

    def outside(host, *arguments, **options):
        if host == "tiger.test" and _private:
            return [(2, 1, 6, "", ("8.8.8.8", 80))]
        return look_up("127.0.0.1" if host == "tiger.test" else host, *arguments, **options)

    _private, is_private = [], _downloads._is_private

    def asked(url):
        _private.append(url)
        try:
            return is_private(url)
        finally:
            _private.pop()

    monkeypatch.setattr(socket, "getaddrinfo", outside)
    monkeypatch.setattr(_downloads, "_is_private", asked)
    with pytest.raises(ConnectionError, match="it redirects to http://localhost:1/secret"):
        load_photo(f"http://tiger.test:{site.server_port}/a")


def test_redirects_are_followed(site):
    site.pages["/old"] = (302, {"Location": "/new"}, [])
    site.pages["/new"] = (200, {}, [encoded(plain())])
    assert near(load_photo(f"{site.url}/old"), RED)


@pytest.mark.parametrize(
    ("page", "error", "message"),
    [
        ((404, {}, [b"gone"]), ConnectionError, "the server answered 404 Not Found"),
        ((500, {}, [b"oops"]), ConnectionError, "the server answered 500"),
        ((200, {}, [b"<html>log in</html>"]), ValueError, "content is not JPEG"),
        ((200, {}, []), ValueError, "it is empty"),
        ((302, {"Location": "ftp://elsewhere/a"}, []), ConnectionError, "it redirects to ftp:"),
        ((302, {"Location": "file:///etc/hosts"}, []), ConnectionError, "it redirects to file:"),
        ((302, {"Location": "/a"}, []), ConnectionError, "connection failed"),
        ((200, {"Content-Length": "90000"}, [b"half"]), ConnectionError, "connection failed"),
        ((200, {}, [encoded(quadrants())[:-60]]), ValueError, "cannot be decoded"),
        (
            (200, {}, [png(60_000, 60_000, 8, bytes(1000))]),
            ValueError,
            "more than 100,000,000 pixels",
        ),
        ((200, {}, itertools.repeat(bytes(1 << 16))), ValueError, "is larger than 1 MB"),
    ],
)
def test_what_is_not_a_picture_never_enters_the_cache(
    site, cache, monkeypatch, page, error, message
):
    monkeypatch.setattr(_downloads, "MAX_PHOTO_BYTES", 1_000_000)
    site.pages["/a"] = page
    with pytest.raises(error, match=message) as caught:
        load_photo(f"{site.url}/a")
    assert site.url in str(caught.value) and "\n" not in str(caught.value)
    assert nothing_kept(cache)


def dripping():
    while True:
        time.sleep(0.05)
        yield b"x"


def test_a_server_that_drips_for_ever_is_given_up(site, tmp_path):
    site.pages["/slow"] = (200, {}, dripping())
    with pytest.raises(ConnectionError, match="it took too long"):
        _downloads.download(f"{site.url}/slow", max_bytes=100, max_seconds=0.3)


def test_a_server_that_never_answers_is_given_up(monkeypatch, cache):
    monkeypatch.setattr(_downloads, "ANSWER_SECONDS", 0.3)
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, pytest.raises(ConnectionError, match="it took too long"):
        load_photo(f"http://127.0.0.1:{silent.getsockname()[1]}/a.jpg")
    assert nothing_kept(cache)


def test_a_name_look_up_that_hangs_is_given_up(monkeypatch, cache):
    release = threading.Event()
    monkeypatch.setattr(_downloads, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait() and [])
    with pytest.raises(ConnectionError, match="it took too long"):
        load_photo("http://tiger.invalid/a.jpg")
    release.set()


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_no_network(cache):
    with pytest.raises(ConnectionError, match=r"could not be downloaded: the connection failed"):
        load_photo(f"http://127.0.0.1:{closed_port()}/a.jpg")
    assert nothing_kept(cache)


# ---------------------------------------------------------------- the course's tiger


def test_without_a_source_the_tiger_is_painted_and_nothing_is_asked_or_said(
    monkeypatch, capsys, cache
):
    monkeypatch.setattr(socket, "getaddrinfo", None)  # any look-up would fail
    assert load_photo().equal(paint_tiger(512)) and load_photo(size=64).equal(paint_tiger(64))
    small = load_photo(size=8)
    mean = torch.nn.functional.avg_pool2d(paint_tiger(16).float(), 2)
    assert small.shape == (3, 8, 8) and (small.float() - mean).abs().mean() < 8
    assert capsys.readouterr().out == "" and nothing_kept(cache)


# ---------------------------------------------------------------- batches


def numbered(n):
    """Image i is i in red on its left half and 0 elsewhere: number and mirroring can be read."""
    images = torch.zeros(n, 3, 4, 4, dtype=torch.uint8)
    images[:, 0, :, :2] = torch.arange(1, n + 1, dtype=torch.uint8)[:, None, None]
    return images


def numbers(batch):
    return (to_uint8(batch)[:, 0].flatten(1).max(1).values.int() - 1).tolist()


def take(n, *args, **kwargs):
    return list(itertools.islice(batches(*args, **kwargs), n))


def test_batches_are_floats_in_range(tmp_path):
    images = torch.arange(256, dtype=torch.uint8).repeat(3, 1).view(1, 3, 16, 16)
    (batch,) = take(1, images, 1, flip=False)
    assert batch.dtype == torch.float32 and batch.shape == (1, 3, 16, 16)
    assert batch.min() == -1 and batch.max() == 1 and to_uint8(batch).equal(images)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10, 11, 20, 37])
def test_epochs_are_permutations_without_a_gap(batch_size):
    n = 10
    stream = [
        i for batch in take(-(-50 // batch_size), numbered(n), batch_size) for i in numbers(batch)
    ]
    epochs = [tuple(stream[i : i + n]) for i in range(0, 50, n)]
    assert all(sorted(epoch) == list(range(n)) for epoch in epochs)
    assert len(set(epochs)) == 5, "each epoch has an order of its own"
    whole = [i for batch in take(50, numbered(n), 1) for i in numbers(batch)]
    assert stream[:50] == whole, "the batch size does not change the stream"


@pytest.mark.parametrize("start", [1, 3, 9, 1000])
def test_resume_is_exact(start):
    images = numbered(10)
    straight = take(start + 4, images, 7, seed=3)[start:]
    for a, b in zip(straight, take(4, images, 7, seed=3, start=start), strict=True):
        assert a.equal(b)


def test_batches_are_pure():
    images = numbered(20)
    first = take(5, images, 8, seed=1)
    torch.manual_seed(99)
    np.random.seed(99)
    two = batches(images, 8, seed=1)
    interleaved = [next(two) for _ in range(5) if next(batches(images, 8, seed=2)) is not None]
    state = torch.get_rng_state()
    assert all(a.equal(b) for a, b in zip(first, interleaved, strict=True))
    take(3, images, 8)
    assert torch.get_rng_state().equal(state), "the global generator is left alone"
    assert images.equal(numbered(20)), "the images are left alone"
    assert not all(a.equal(b) for a, b in zip(first, take(5, images, 8, seed=2), strict=True))


def test_ranks_share_each_epoch_without_overlap():
    images, world = numbered(24), 3
    by_rank = [take(8, images, 4, seed=5, rank=r, world_size=world) for r in range(world)]
    alone = take(8, images, 12, seed=5)
    for k in range(8):
        assert torch.cat([by_rank[r][k] for r in range(world)]).equal(alone[k])
    seen = Counter(i for k in range(2) for r in range(world) for i in numbers(by_rank[r][k]))
    assert seen == Counter(range(24)), "two steps of three ranks are one epoch"


def test_flips():
    images = numbered(50)
    stream = torch.cat(take(40, images, 50, seed=2))
    flipped = to_uint8(stream)[:, 0, 0, 0] == 0
    assert abs(flipped.float().mean().item() - 0.5) < 0.04
    per_image = Counter(n for n, f in zip(numbers(stream), flipped.tolist(), strict=True) if f)
    assert all(5 < per_image[i] < 35 for i in range(50)), "drawn anew for each image and epoch"
    left, right = to_uint8(stream)[:, 0, :, :2], to_uint8(stream)[:, 0, :, 2:]
    assert ((left == 0).all((1, 2)) ^ (right == 0).all((1, 2))).all(), "mirrored, not turned"
    unflipped = torch.cat(take(40, images, 50, seed=2, flip=False))
    assert (to_uint8(unflipped)[:, 0, :, 2:] == 0).all()
    assert numbers(unflipped) == numbers(stream), "flipping does not change the order"


def test_one_image_fills_any_batch():
    (batch,) = take(1, numbered(1), 64)
    assert batch.shape == (64, 3, 4, 4) and set(numbers(batch)) == {0}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"images": torch.zeros(2, 3, 4, 4)}, "images"),
        ({"images": torch.zeros(2, 1, 4, 4, dtype=torch.uint8)}, "images"),
        ({"images": torch.zeros(3, 4, 4, dtype=torch.uint8)}, "images"),
        ({"images": torch.zeros(0, 3, 4, 4, dtype=torch.uint8)}, "images"),
        ({"batch_size": 0}, "batch_size"),
        ({"start": -1}, "start"),
        ({"seed": -1}, "seed"),
        ({"rank": 2, "world_size": 2}, "rank"),
        ({"rank": -1}, "rank"),
        ({"world_size": 0}, "world_size"),
    ],
)
def test_bad_arguments_of_batches_fail_at_the_call(change, name):
    with pytest.raises(ValueError, match=name):
        batches(**({"images": numbered(4), "batch_size": 2} | change))


# ---------------------------------------------------------------- painted batches


def take_painted(n, *args, **kwargs):
    return list(itertools.islice(painted_batches(*args, **kwargs), n))


def test_painted_batches_are_the_tigers_in_order_and_never_again():
    stream = torch.cat(take_painted(4, 16, 3, seed=2))
    assert stream.dtype == torch.float32 and stream.min() >= -1 and stream.max() <= 1
    assert to_uint8(stream).equal(procedural_tigers(12, 16, 2)[0])
    assert len({image.numpy().tobytes() for image in stream}) == 12
    assert not stream.equal(torch.cat(take_painted(4, 16, 3, seed=3)))


def test_painted_batches_resume_exactly_and_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    straight = take_painted(6, 16, 2, seed=1)[4:]
    for a, b in zip(straight, take_painted(2, 16, 2, seed=1, start=4), strict=True):
        assert a.equal(b)
    assert torch.get_rng_state().equal(state)


def test_batches_painted_together_are_those_painted_alone(monkeypatch):
    alone = take_painted(7, 16, 2, seed=1, start=1, rank=1, world_size=2)
    monkeypatch.setattr(painted, "AT_ONCE", {"cpu": 6})
    together = take_painted(7, 16, 2, seed=1, start=1, rank=1, world_size=2)
    for a, b in zip(alone, together, strict=True):
        assert (a - b).abs().max() <= 1.01 / 127.5


def test_ranks_share_the_painted_stream_without_overlap():
    by_rank = [take_painted(2, 16, 2, rank=rank, world_size=3) for rank in range(3)]
    alone = take_painted(2, 16, 6)
    for k in range(2):
        assert torch.cat([batches_[k] for batches_ in by_rank]).equal(alone[k])


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"size": 15}, "size"),
        ({"size": 1025}, "size"),
        ({"seed": 2**31}, "seed"),
        ({"batch_size": 0}, "batch_size"),
        ({"start": -1}, "start"),
        ({"rank": 2, "world_size": 2}, "rank"),
    ],
)
def test_bad_arguments_of_painted_batches_fail_at_the_call(change, name):
    with pytest.raises(ValueError, match=name):
        painted_batches(**({"size": 16, "batch_size": 2} | change))


# ---------------------------------------------------------------- generators and colours


def draw(*key):
    return tuple(torch.randn(4, generator=seeded_generator(*key)).tolist())


def test_seeded_generator_is_a_function_of_its_key():
    assert draw(1, 2, 3) == draw(1, 2, 3)
    keys = [(), (0,), (0, 0), (0, 0, 0, 0, 0), (1,), (1, 0), (0, 1), (1, 2), (2, 1), (0, 1, 1)]
    keys += [(2**32,), (2**32, 1), (1, 2**32), (2**64 - 1,), *((0, i) for i in range(2, 200))]
    assert len({draw(*key) for key in keys}) == len(keys)
    assert seeded_generator(3).device.type == "cpu"


@pytest.mark.parametrize("key", [(-1,), (0, 2**64)])
def test_bad_key(key):
    with pytest.raises(ValueError, match="each of key must be a whole number from 0 to"):
        seeded_generator(*key)


def test_neighbouring_keys_are_unrelated():
    noise = torch.stack([torch.randn(4000, generator=seeded_generator(0, i)) for i in range(12)])
    assert (torch.corrcoef(noise) - torch.eye(12)).abs().max() < 0.07


def test_all_256_levels_survive():
    levels = torch.arange(256, dtype=torch.uint8)
    for dtype in (torch.float32, torch.float64):
        assert to_uint8(to_float(levels).to(dtype)).equal(levels)
    x = to_float(levels)
    assert x.dtype == torch.float32 and x[0] == -1 and x[255] == 1
    assert x.add(x.flip(0)).abs().max() < 1e-6, "symmetric about zero"


def test_to_uint8_rounds_and_clamps():
    step = 2 / 255
    x = torch.tensor([-1 + 0.49 * step, -1 + 0.51 * step, -5, 5, -float("inf"), float("inf")])
    assert to_uint8(x).tolist() == [0, 1, 0, 255, 0, 255]
    assert to_uint8(torch.ones(2, dtype=torch.bfloat16)).tolist() == [255, 255]


def test_wrong_types_are_named():
    with pytest.raises(ValueError, match="images must be uint8, not float32"):
        to_float(torch.zeros(2))
    with pytest.raises(ValueError, match=r"x must be float in \[-1, 1\], not uint8 \(2,\)"):
        to_uint8(torch.zeros(2, dtype=torch.uint8))
    with pytest.raises(ValueError, match="NaN"):
        to_uint8(torch.tensor([0.0, float("nan")]))


@pytest.mark.parametrize("device", ["cpu"] + ["cuda"] * torch.cuda.is_available())
def test_batches_on_every_device_of_this_machine(device):
    images = numbered(10)
    for place in (images, images.to(device)):
        (batch,) = take(1, place, 7, device=device)
        assert batch.device.type == device and batch.cpu().equal(take(1, images, 7)[0])
