"""Pictures, downloads and caches, a file at a time: what ``data.py`` builds on."""

import hashlib
import io
import json
import logging
import os
import queue
import stat
import threading
import time
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
MAX_PHOTO_BYTES = 50_000_000
MAX_ARCHIVE_BYTES = 200_000_000
ANSWER_SECONDS = 6.0  # how long a server, or the name look-up before it, may keep us waiting
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
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        grey = (np.asarray(image).astype(np.uint32) + 128) // 257  # 65535 -> 255, rounded
        return Image.fromarray(grey.astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("the range of its 32-bit pixels is not known")
    if image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info:
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
            return ImageCms.profileToProfile(image, source, srgb, outputMode="RGB") or image
        except (ImageCms.PyCMSError, OSError) as error:
            logger.debug("colour profile not used: %s", error)  # the picture is still good
    return image.convert("RGB")


def download(url: str, file: Path, *, max_bytes: int, max_seconds: float) -> None:
    """Streams an address into ``file``, which is worthless if this raises.

    Raises:
        ConnectionError: no network, no answer in time, an error status, or a transfer that broke
            off or takes longer than ``max_seconds``.
        ValueError: it is longer than ``max_bytes``.
    """
    import requests
    from tqdm.auto import tqdm

    # In a thread, because no timeout of requests covers the look-up of the host's name or a server
    # that sends a byte now and then.
    pieces: queue.SimpleQueue[bytes | Exception | None] = queue.SimpleQueue()
    given_up = threading.Event()

    def fetch() -> None:
        agent = {"User-Agent": "tigerdiff"}
        try:
            with requests.get(url, stream=True, timeout=ANSWER_SECONDS, headers=agent) as response:
                response.raise_for_status()
                pieces.put(b"")  # it has answered
                for piece in response.iter_content(1 << 16):
                    pieces.put(piece)
                    if given_up.is_set():
                        return
            pieces.put(None)
        except Exception as error:
            pieces.put(error)

    threading.Thread(target=fetch, daemon=True).start()
    wait, end = ANSWER_SECONDS, time.monotonic() + max_seconds
    try:
        with file.open("wb") as out, tqdm(unit="B", unit_scale=True, delay=1) as bar:
            while (piece := pieces.get(timeout=wait)) is not None:
                if isinstance(piece, Exception):
                    raise piece
                bar.update(out.write(piece))
                if out.tell() > max_bytes:
                    raise ValueError(f"{url} is larger than {max_bytes / 1e6:.0f} MB")
                wait = max(end - time.monotonic(), 0)
        return
    except requests.HTTPError as error:
        reason = f"the server answered {error.response.status_code} {error.response.reason}"
    except (requests.Timeout, queue.Empty):
        reason = "it took too long"
    except requests.RequestException as error:
        reason = f"the connection failed ({type(error).__name__})"
    finally:
        given_up.set()
    raise ConnectionError(f"{url} could not be downloaded: {reason}")


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


def fetched_photo(url: str) -> Path:
    """The cached copy of an address, downloaded if there is none that matches its SHA-256."""
    photo = cache_home() / "photos" / hashlib.sha256(url.encode()).hexdigest()
    digest = photo.with_suffix(".sha256")
    if photo.exists() and digest.exists() and digest.read_text() == sha256(photo):
        return photo
    with replacing(photo) as part:
        download(url, part, max_bytes=MAX_PHOTO_BYTES, max_seconds=60)
        try:
            read_picture(part)  # a web page in place of a picture must not be kept
        except ValueError as error:
            raise ValueError(f"{url} cannot be used: {error}") from error
        with replacing(digest) as digest_part:
            digest_part.write_text(sha256(part))
    return photo


def fetch_archive(url: str, file: Path, md5: str) -> None:
    """Downloads an archive that is known by its MD5.

    Raises:
        ConnectionError: it could not be downloaded; the sentence says where to put it.
        ValueError: what was downloaded is not it.
    """
    from torchvision.datasets.utils import check_integrity

    by_hand = f"put {file.name} into {file.parent} by hand and call again"
    with replacing(file) as part:
        try:
            download(url, part, max_bytes=MAX_ARCHIVE_BYTES, max_seconds=3600)
        except ConnectionError as error:
            raise ConnectionError(f"{error}; {by_hand}") from error
        if not check_integrity(part, md5):
            raise ValueError(f"{url} did not send the known archive (the MD5 differs); {by_hand}")


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


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
        for path in (Path(folder, name) for name in files if not is_litter(name)):
            name = path.relative_to(root).as_posix()
            try:
                info = path.stat()
            except OSError as error:  # a broken link, for one
                refuse(error)
                continue
            if not stat.S_ISREG(info.st_mode):
                skipped[name] = "it is not a regular file"
            elif path.suffix.lower() not in SUFFIXES:
                skipped[name] = f"its suffix is not that of {KINDS}"
            else:
                found[name] = info
    return dict(sorted(found.items())), skipped


def is_litter(name: str) -> bool:
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


def read_cache(path: Path) -> tuple[Tensor, dict[str, str]] | None:
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
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        with replacing(path) as part:
            save_file({"images": images}, part, {"skipped": json.dumps(skipped)})
    except (SafetensorError, OSError) as error:
        logger.warning("the decoded photos could not be kept in %s: %s", path.parent, error)


def cache_home() -> Path:
    import platformdirs

    return platformdirs.user_cache_path("tigerdiff")
