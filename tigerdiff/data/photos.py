"""Photos from folders, files and addresses, as uint8 ``(N, 3, S, S)``."""

import os
import re
from pathlib import Path

from PIL import Image
from torch import Tensor

from tigerdiff.checks import check_path, whole_number
from tigerdiff.data import downloads, files
from tigerdiff.tigers.paint import paint_tiger

PathLike = str | os.PathLike[str]
TABLES = {"metadata.csv", "metadata.jsonl", "captions.csv"}  # lie beside pictures, describe them


def load_folder(
    path: PathLike, size: int, *, cache_dir: PathLike | None = None, progress: bool = True
) -> Tensor:
    """Load every photo of a folder, at any depth, as a square of ``size`` pixels, sorted by name.

    The short side is resized with antialiasing, then the centre is cropped. EXIF orientation and
    colour profiles are applied, transparency is put over white. The logger ``tigerdiff`` names
    files that cannot be used, with the reason, and warns of pictures that are smaller than ``size``
    and enlarged. Hidden files, what file managers leave behind and tables of captions are
    skipped. The result is cached under a key made of the files' names and contents and ``size``: a
    second call decodes nothing. The cache may be deleted at any time.

    Args:
        path: the folder.
        size: side of the squares in pixels.
        cache_dir: folder of the cache; the user's cache directory when None.
        progress: show a bar while decoding.

    Returns:
        uint8 ``(N, 3, size, size)``.

    Raises:
        ValueError: ``size`` is not a whole number of at least 1.
        FileNotFoundError: the folder does not exist, or no file in it can be used.
        NotADirectoryError: ``path`` is a file.
    """
    return read_folder(path, size, cache_dir=cache_dir, progress=progress)[0]


def read_folder(
    path: PathLike, size: int, *, cache_dir: PathLike | None = None, progress: bool = True
) -> tuple[Tensor, list[str]]:
    """Load a folder as :func:`load_folder` does; return the names of the pictures too."""
    size = whole_number("size", size, 1)
    root = check_path("path", path)
    need = f"path must be a folder of {files.KINDS} files"
    if not root.exists():
        raise FileNotFoundError(f"{root} does not exist: {need}")
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is not a folder: {need} (load_photo reads a single one)")
    names, others = files.find_pictures(root)
    skipped = {name: reason for name, reason in others.items() if Path(name).name not in TABLES}
    place = None if cache_dir is None else check_path("cache_dir", cache_dir)
    cached = files.cache_file(place, size, root, names)
    if loaded := files.read_cache(cached):
        images, damaged, enlarged = loaded
    else:
        images, errors, enlarged = files.decode_all(root, names, size, progress)
        damaged = {name: getattr(e, "strerror", None) or str(e) for name, e in errors.items()}
        # An OSError comes from the disk, not from the picture: it may be gone the next time.
        if len(images) and not any(isinstance(error, OSError) for error in errors.values()):
            files.write_cache(cached, images, skipped=damaged, enlarged=enlarged)
    skipped |= damaged
    for name, reason in sorted(skipped.items()):
        files.logger.warning("skipped %s: %s", root / name, reason)
    if enlarged:
        what = f"{len(enlarged)} of {len(images)} pictures are smaller than {size} pixels"
        some = ", ".join(f"{name} ({pixels})" for name, pixels in list(enlarged.items())[:3])
        some += ", ..." * (len(enlarged) > 3)
        files.logger.warning("%s: %s and were enlarged: %s", root, what, some)
    if not len(images):
        what = f"{files.KINDS} files ({' '.join(files.SUFFIXES)})"
        looked = f"looked at any depth for {what} and skipped {len(skipped)} other or damaged ones"
        raise FileNotFoundError(f"{root} holds no usable picture: {looked}")
    return images, [name for name in names if name not in damaged]


def load_photo(source: PathLike | None = None, size: int | None = None) -> Tensor:
    """Load one photo from a file or an address, or the course's painted tiger.

    A download is bounded in time and in bytes, and kept in the cache once it decodes as a picture.

    Args:
        source: a path, an http(s) address, or None for :func:`.paint_tiger`.
        size: resize the short side to this and crop the centre square; None keeps the picture, and
            paints the tiger at 512 pixels.

    Returns:
        uint8 ``(3, H, W)``; ``(3, size, size)`` when ``size`` is given.

    Raises:
        ValueError: ``size`` is bad, or what was found is not a picture that can be used.
        FileNotFoundError: there is no such file.
        IsADirectoryError: ``source`` is a folder.
        ConnectionError: the address could not be downloaded.
    """
    size = None if size is None else whole_number("size", size, 1)
    if source is None:
        painted = paint_tiger(min(max(size or 512, 16), 1024))
        if size in (None, painted.shape[-1]):
            return painted
        image = Image.fromarray(painted.permute(1, 2, 0).numpy())
        return files.to_tensor(files.square(image, size))
    if scheme := re.match(r"(\w{2,})://", str(source)):
        if scheme[1].lower() not in ("http", "https"):
            raise ValueError(f"{source}: source must be a path or an http(s) address")
        return _read(downloads.fetched_photo(str(source)), size, source)
    file = check_path("source", source)
    if file.is_dir():
        raise IsADirectoryError(f"{file} is a folder: load_folder reads all its pictures")
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist: source must be a picture or an address")
    return _read(file, size, source)


def _read(file: Path, size: int | None, source: PathLike) -> Tensor:
    try:
        pixels, (width, height) = files.read_picture(file, size)
    except ValueError as error:
        raise ValueError(f"{source} cannot be used: {error}") from error
    if size and min(width, height) < size:
        what = f"has {width} x {height} pixels and was enlarged to {size} x {size}"
        files.logger.warning("%s %s", source, what)
    return pixels
