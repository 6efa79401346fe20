"""Everything about files: photos in, batches out.

Pictures are uint8 ``(N, 3, S, S)`` at rest and float32 in [-1, 1] in the network. What is skipped
is named, one warning each, by the logger ``tigerdiff``.
"""

import operator
import os
import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tigerdiff.data import downloads as _downloads
from tigerdiff.data import files as _files
from tigerdiff.tigers.paint import paint_tiger

TABLES = {"metadata.csv", "metadata.jsonl", "captions.csv"}  # lie beside pictures, and tell of them
DEFAULT_PHOTO = "https://images.pexels.com/photos/145939/pexels-photo-145939.jpeg"


def load_folder(
    path: str | os.PathLike[str],
    size: int,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Tensor:
    """Loads every photo of a folder as a square of ``size`` pixels, in the order of their names.

    Looks at any depth, so ``data/tigers/*.jpg`` and ImageFolder's ``root/class/*.jpg`` both work.
    The short side is resized with antialiasing, then the centre is cropped: a circle stays round.
    EXIF orientation and colour profiles are applied, transparency is put over white. Files that
    cannot be used are skipped and named, with the reason, by the logger ``tigerdiff``; hidden
    files, what file managers leave behind and tables of captions are passed over.

    The result is cached under a key made of the files' names, sizes and times and ``size``, so
    that a second call decodes nothing. The cache may be deleted at any time.

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
    size = _checked_size(size)
    root = Path(path).expanduser()
    need = f"path must be a folder of {_files.KINDS} files"
    if not root.exists():
        raise FileNotFoundError(f"{root} does not exist: {need}")
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is not a folder: {need} (load_photo reads a single one)")
    files, others = _files.find_pictures(root)
    skipped = {name: reason for name, reason in others.items() if Path(name).name not in TABLES}
    cached = _files.cache_file(Path(cache_dir) if cache_dir else None, size, files)
    if loaded := _files.read_cache(cached):
        images, damaged = loaded
    else:
        images, errors = _files.decode_all(root, list(files), size, progress)
        damaged = {name: getattr(e, "strerror", None) or str(e) for name, e in errors.items()}
        # An OSError comes from the disk, not from the picture: it may be gone the next time.
        if len(images) and not any(isinstance(error, OSError) for error in errors.values()):
            _files.write_cache(cached, images, damaged)
    skipped |= damaged
    for name, reason in sorted(skipped.items()):
        _files.logger.warning("skipped %s: %s", root / name, reason)
    if not len(images):
        raise FileNotFoundError(
            f"{root} holds no usable picture: looked at any depth for {_files.KINDS} files "
            f"({' '.join(_files.SUFFIXES)}) and skipped {len(skipped)} other or damaged ones"
        )
    return images


def load_photo(source: str | os.PathLike[str] | None = None, size: int | None = None) -> Tensor:
    """Loads one photo from a file or an address, or the course's default tiger.

    A download is bounded in time and in bytes, must decode as a picture before it enters the
    cache, and is kept there with its SHA-256; a copy that no longer matches is fetched again.
    The hash guards the copy on this disk. It cannot vouch for what the server sent the first time.

    The default tiger is Pexels photo 145939 when it is cached or there is a network, and
    :func:`tigerdiff.paint_tiger` otherwise; one printed line says which.

    Args:
        source: a path, an http(s) address, or None for the default tiger.
        size: resize the short side to this and crop the centre square; None keeps the picture.

    Returns:
        uint8 ``(3, H, W)``; ``(3, size, size)`` when ``size`` is given.

    Raises:
        ValueError: ``size`` is bad, or what was found is not a picture that can be used.
        FileNotFoundError: there is no such file.
        IsADirectoryError: ``source`` is a folder.
        ConnectionError: the address could not be downloaded.
    """
    size = None if size is None else _checked_size(size)
    if source is None:
        return _default_tiger(size)
    if scheme := re.match(r"(\w{2,})://", str(source)):
        if scheme[1].lower() not in ("http", "https"):
            raise ValueError(f"{source}: source must be a path or an http(s) address")
        return _photo_tensor(_downloads.fetched_photo(str(source)), size, source)
    file = Path(source).expanduser()
    if file.is_dir():
        raise IsADirectoryError(f"{file} is a folder: load_folder reads all its pictures")
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist: source must be a picture or an address")
    return _photo_tensor(file, size, source)


def _photo_tensor(file: Path, size: int | None, source: str | os.PathLike[str]) -> Tensor:
    try:
        return torch.from_numpy(_files.read_picture(file, size)).permute(2, 0, 1).contiguous()
    except ValueError as error:
        raise ValueError(f"{source} cannot be used: {error}") from error


def _default_tiger(size: int | None) -> Tensor:
    try:
        tiger = _photo_tensor(_downloads.fetched_photo(DEFAULT_PHOTO), size, DEFAULT_PHOTO)
        print(f"This tiger is Pexels photo 145939, {DEFAULT_PHOTO}")
        return tiger
    except (OSError, ValueError) as error:
        print(f"This tiger is painted by tigerdiff.paint_tiger; no photo:\n{error}")
    tiger = paint_tiger(512)
    if size is None:
        return tiger
    image = _files.square(Image.fromarray(tiger.permute(1, 2, 0).numpy()), size)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _checked_size(size: int) -> int:
    try:
        if isinstance(size, bool) or operator.index(size) < 1:
            raise TypeError
    except TypeError:
        raise ValueError(f"size must be a whole number of at least 1, not {size!r}") from None
    return operator.index(size)
