"""Files: pictures that are decoded as a viewer would show them, folders of them, and caches."""

import errno
import functools
import hashlib
import io
import json
import logging
import os
import stat
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageChops, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

KINDS = "JPEG, PNG, WebP, GIF, BMP or TIFF"
WHITE_IS = 262  # the tag PhotometricInterpretation of a TIFF: 0 where white is 0
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # no other parser sees a file
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 100_000_000  # a picture that claims more is taken for a decompression bomb
CACHE_FORMAT = 4  # raise it when the same files would give other pixels
TURNS = dict(zip(range(2, 9), map(Image.Transpose, (0, 3, 1, 5, 4, 6, 2))))  # of EXIF's orientation
THREADS = min(16, os.cpu_count() or 1)
LITTER = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini"}  # and hidden files

logger = logging.getLogger("tigerdiff")


def read_picture(path: Path, size: int | None = None) -> tuple[Tensor, tuple[int, int]]:
    """Decode a picture as a viewer would show it: upright, in sRGB, over white.

    Args:
        path: a picture; its content decides, not its name.
        size: resize the short side to this and crop the centre square; None keeps the picture.

    Returns:
        uint8 ``(3, H, W)``, and the width and height that are stored in the file.

    Raises:
        ValueError: its content cannot be used; the message is a clause that says why.
        OSError: the file cannot be read.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            stored = image.size
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            if size:
                image.draft(None, (2 * size, 2 * size))  # JPEG: decode no finer than is needed
            profile = image.info.get("icc_profile")
            image.load()  # turns a TIFF by itself
            turn = turn_of(image)
            flat = flatten(image)
            if turn is not None:
                flat = flat.transpose(turn)
            return to_tensor(to_srgb(square(flat, size) if size else flat, profile)), stored
    except MemoryError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(f"it has more than {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        empty = path.stat().st_size == 0
        raise ValueError("it is empty" if empty else f"its content is not {KINDS}") from None
    except Exception as error:  # Pillow raises nearly anything on a damaged file
        if isinstance(error, OSError) and error.errno:
            raise
        raise ValueError(f"it cannot be decoded: {error or type(error).__name__}") from error


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """Return how to turn a picture upright; None if it is, or if its EXIF is damaged."""
    with suppress(Exception):  # Pillow raises nearly anything on damaged EXIF; the pixels are sound
        while image.info.get("exif", b"").startswith(2 * b"Exif\0\0"):  # as some cameras write
            image.info["exif"] = image.info["exif"][6:]
            image.getexif().load(image.info["exif"])  # an older Pillow has read it already
        return TURNS.get(image.getexif()[0x0112])
    return None


def flatten(image: Image.Image) -> Image.Image:
    """Convert any mode to 8-bit L, RGB or CMYK, with transparency over white."""
    key = image.info.get("transparency")  # the one level or colour of a PNG that is transparent
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        levels = np.asarray(image).astype(np.uint32)
        grey = ((levels + 128) // 257).astype(np.uint8)  # 65535 -> 255, rounded
        if getattr(image, "tag_v2", {}).get(WHITE_IS) == 0:  # Pillow inverts 8 bits, but not 16
            grey = 255 - grey
        if key is not None:
            grey[levels == key] = 255
        return Image.fromarray(grey)
    if image.mode in ("I", "F"):
        raise ValueError("the range of its 32-bit pixels is not known")
    if isinstance(key, tuple) and max(key) > 255:  # of 16-bit colour, which Pillow reads as 8-bit
        image.info["transparency"] = tuple(level >> 8 for level in key)
    if image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or key is not None:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    if image.mode == "CMYK" and image.format in ("JPEG", "MPO") and "adobe" not in image.info:
        return ImageChops.invert(image)  # Pillow takes every CMYK JPEG for one of Adobe's
    return image if image.mode in ("L", "CMYK") else image.convert("RGB")


def to_tensor(image: Image.Image) -> Tensor:
    """Return the pixels of an RGB picture as uint8 (3, H, W)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def square(image: Image.Image, size: int) -> Image.Image:
    """Resize the short side to ``size``, antialiased, and crop the centre."""
    return ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Apply an embedded colour profile, if it is there and sound."""
    if profile:
        try:
            source, srgb = io.BytesIO(profile), ImageCms.createProfile("sRGB")
            return ImageCms.buildTransform(source, srgb, image.mode, "RGB").apply(image)
        except (ImageCms.PyCMSError, OSError) as error:
            logger.debug("colour profile not used: %s", error)  # the picture is still good
    return image.convert("RGB")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path`` that takes its place only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield part
        os.replace(part, path)
    except OSError as error:  # a failed write names no file
        if error.errno == errno.ENOSPC and not error.filename:
            error.filename = str(path)
        raise
    finally:
        part.unlink(missing_ok=True)


def find_pictures(root: Path) -> tuple[list[str], dict[str, str]]:
    """Find the pictures below ``root`` by suffix, sorted, and other files, each with the reason."""
    found: list[str] = []
    skipped: dict[str, str] = {}
    seen: set[str] = set()

    def refuse(error: OSError) -> None:
        name = Path(error.filename).relative_to(root).as_posix()
        skipped[name] = f"it cannot be read ({error.strerror})"

    for folder, folders, files in os.walk(root, followlinks=True, onerror=refuse):
        if (real := os.path.realpath(folder)) in seen:  # a link upwards would never end
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not is_litter(name))
        below = Path(folder).relative_to(root).as_posix() + "/"
        for file in (file for file in files if not is_litter(file)):
            name = (below + file).removeprefix("./")  # strings: a Path for each file costs more
            try:
                mode = os.stat(os.path.join(folder, file)).st_mode
            except OSError as error:  # a broken link, for one
                refuse(error)
                continue
            if not stat.S_ISREG(mode):
                skipped[name] = "it is not a regular file"
            elif not file.lower().endswith(SUFFIXES):
                skipped[name] = f"its suffix is not that of {KINDS}"
            else:
                found.append(name)
    return sorted(found), skipped


def is_litter(name: str) -> bool:
    """Say whether a file was left by the system, not put there by a person."""
    return name.startswith(".") or name.lower() in LITTER


def decode_all(
    root: Path, names: list[str], size: int, progress: bool
) -> tuple[Tensor, dict[str, Exception], dict[str, str]]:
    """Decode in parallel, as many files at a time as there are processors.

    Returns:
        uint8 (n, 3, size, size), in the order of the names without those that failed; the errors
        by name; and the stored size of each picture that was enlarged, by name.
    """
    from tqdm.auto import tqdm

    def attempt(name: str) -> tuple[Tensor, tuple[int, int]] | Exception:
        try:
            return read_picture(root / name, size)
        except (ValueError, OSError) as error:
            return error

    images = torch.empty(len(names), 3, size, size, dtype=torch.uint8)
    errors: dict[str, Exception] = {}
    enlarged: dict[str, str] = {}
    Image.init()  # all plugins, before threads race for them
    with ThreadPoolExecutor(THREADS) as pool, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # they name no file, our reasons do
        results = pool.map(attempt, names)
        bar = tqdm(results, "photos", len(names), unit="file", disable=not progress)
        for done, (name, result) in enumerate(zip(names, bar, strict=True)):
            if isinstance(result, Exception):
                errors[name] = result
                continue
            images[done - len(errors)], (width, height) = result
            if min(width, height) < size:
                enlarged[name] = f"{width} x {height}"
    return images[: len(names) - len(errors)], errors, enlarged


def cache_file(folder: Path | None, size: int, root: Path, names: list[str]) -> Path:
    """Return where these files, with these contents, are kept at this size."""
    with ThreadPoolExecutor(THREADS) as pool:
        digests = list(pool.map(_digest, (root / name for name in names)))
    stamps = json.dumps([CACHE_FORMAT, size, *zip(names, digests)])
    key = hashlib.sha256(stamps.encode("utf-8", "surrogatepass")).hexdigest()
    return (folder or cache_home() / "folders") / f"{key}.safetensors"


def _digest(path: Path) -> str:
    try:
        return hashed(path, hashlib.blake2b(digest_size=32))
    except OSError as error:  # decoding it will name it
        return str(error)


def hashed(path: Path, digest: Any) -> str:
    """Return what a hash of hashlib makes of a file, in hexadecimal."""
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def read_cache(path: Path) -> tuple[Tensor, dict[str, str], dict[str, str]] | None:
    """Return cached pictures, damaged and enlarged files by name; None without a sound cache."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            notes = json.loads(file.metadata()["notes"])
            return file.get_tensor("images"), notes["skipped"], notes["enlarged"]
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        logger.warning("%s is damaged, so the photos are decoded again: %s", path, error)
        return None


def write_cache(path: Path, images: Tensor, **notes: dict[str, str]) -> None:
    """Keep pictures and notes about their files; log a warning if that fails."""
    from safetensors import SafetensorError
    from safetensors.torch import save

    try:
        with replacing(path) as part:
            part.write_bytes(save({"images": images}, {"notes": json.dumps(notes)}))
    except (SafetensorError, OSError) as error:
        logger.warning("the decoded photos could not be kept in %s: %s", path.parent, error)


def cache_home() -> Path:
    """Return the folder of all caches; one in the temporary folder where the user has none."""
    import platformdirs

    with suppress(KeyError, OSError, RuntimeError):  # no HOME and no passwd entry, or no right
        folder = platformdirs.user_cache_path("tigerdiff").expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    return _temporary_cache()


@functools.lru_cache(maxsize=1)
def _temporary_cache() -> Path:
    """Return a folder of this user's own in the temporary folder, and say so once."""
    folder = Path(tempfile.gettempdir()) / f"tigerdiff-{getattr(os, 'getuid', int)()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        folder = Path(tempfile.mkdtemp(prefix="tigerdiff-"))
    logger.warning("there is no cache folder to write to in the home folder: using %s", folder)
    return folder
