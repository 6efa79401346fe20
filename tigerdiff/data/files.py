"""Pictures and caches, a file at a time: what ``data.py`` builds on."""

import hashlib
import io
import json
import logging
import os
import stat
import uuid
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageChops, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

KINDS = "JPEG, PNG, WebP, GIF, BMP or TIFF"
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # no other parser sees a file
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 100_000_000  # a picture that claims more is taken for a decompression bomb
CACHE_FORMAT = 2  # raise it when the same files would give other pixels
LITTER = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini"}  # and hidden files

logger = logging.getLogger("tigerdiff")


def read_picture(path: Path, size: int | None = None) -> np.ndarray:
    """Decodes a picture as a viewer would show it: upright, in sRGB, over white.

    Args:
        path: a picture; its content decides, not its name.
        size: resize the short side to this and crop the centre square; None keeps the picture.

    Returns:
        uint8 ``(H, W, 3)``.

    Raises:
        ValueError: its content cannot be used; the message is a clause that says why.
        OSError: the file cannot be read.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            if size:
                image.draft(None, (2 * size, 2 * size))  # JPEG: decode no finer than is needed
            profile = image.info.get("icc_profile")
            ImageOps.exif_transpose(image, in_place=True)
            flat = flatten(image)
            return np.array(to_srgb(square(flat, size) if size else flat, profile))
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


def flatten(image: Image.Image) -> Image.Image:
    """Brings any mode to 8-bit L, RGB or CMYK, with transparency over white."""
    key = image.info.get("transparency")  # the one level or colour of a PNG that is transparent
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        levels = np.asarray(image).astype(np.uint32)
        grey = ((levels + 128) // 257).astype(np.uint8)  # 65535 -> 255, rounded
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


def square(image: Image.Image, size: int) -> Image.Image:
    """Resizes the short side to ``size``, antialiased, and crops the centre."""
    return ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Applies an embedded colour profile, if it is there and sound."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            srgb = ImageCms.createProfile("sRGB")
            return ImageCms.buildTransform(source, srgb, image.mode, "RGB").apply(image)
        except (ImageCms.PyCMSError, OSError) as error:
            logger.debug("colour profile not used: %s", error)  # the picture is still good
    return image.convert("RGB")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside ``path`` that takes its place only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def find_pictures(root: Path) -> tuple[dict[str, os.stat_result], dict[str, str]]:
    """Finds the pictures below ``root`` by suffix, and what is none, with the reason."""
    found: dict[str, os.stat_result] = {}
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
                info = os.stat(os.path.join(folder, file))
            except OSError as error:  # a broken link, for one
                refuse(error)
                continue
            if not stat.S_ISREG(info.st_mode):
                skipped[name] = "it is not a regular file"
            elif os.path.splitext(file)[1].lower() not in SUFFIXES:
                skipped[name] = f"its suffix is not that of {KINDS}"
            else:
                found[name] = info
    return dict(sorted(found.items())), skipped


def is_litter(name: str) -> bool:
    """Say whether a file was left by the system, not put there by a person."""
    return name.startswith(".") or name.lower() in LITTER


def decode_all(
    root: Path, names: list[str], size: int, progress: bool
) -> tuple[Tensor, dict[str, Exception]]:
    """Decodes in parallel to uint8 (n, 3, size, size), n without the errors, which are named."""
    from tqdm.auto import tqdm

    def attempt(name: str) -> np.ndarray | Exception:
        try:
            return read_picture(root / name, size)
        except (ValueError, OSError) as error:
            return error

    images = torch.empty(len(names), 3, size, size, dtype=torch.uint8)
    errors: dict[str, Exception] = {}
    Image.init()  # all plugins, before threads race for them
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # they name no file, our reasons do
        results = tqdm(
            pool.map(attempt, names), "photos", len(names), unit="file", disable=not progress
        )
        for done, (name, result) in enumerate(zip(names, results, strict=True)):
            if isinstance(result, Exception):
                errors[name] = result
            else:
                images[done - len(errors)] = torch.from_numpy(result).permute(2, 0, 1)
    return images[: len(names) - len(errors)], errors


def cache_file(folder: Path | None, size: int, files: dict[str, os.stat_result]) -> Path:
    """Where these files, in this state, are kept at this size."""
    stamps = [(name, info.st_size, info.st_mtime_ns) for name, info in files.items()]
    key = hashlib.sha256(json.dumps([CACHE_FORMAT, size, stamps]).encode()).hexdigest()
    return (folder or cache_home() / "folders") / f"{key}.safetensors"


def read_cache(path: Path) -> tuple[Tensor, dict[str, str]] | None:
    """Return the cached pictures and the names of damaged files, None without a cache."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            return file.get_tensor("images"), json.loads(file.metadata()["skipped"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        logger.warning("%s is damaged, so the photos are decoded again: %s", path, error)
        return None


def write_cache(path: Path, images: Tensor, skipped: dict[str, str]) -> None:
    """Keep pictures and the names of damaged files; say so in the log where that fails."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        with replacing(path) as part:
            save_file({"images": images}, part, {"skipped": json.dumps(skipped)})
    except (SafetensorError, OSError) as error:
        logger.warning("the decoded photos could not be kept in %s: %s", path.parent, error)


def cache_home() -> Path:
    """Return the folder of all caches."""
    import platformdirs

    return platformdirs.user_cache_path("tigerdiff")
