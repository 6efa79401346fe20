"""Everything about files: photos in, batches out.

Pictures are uint8 ``(N, 3, S, S)`` at rest and float32 in [-1, 1] in the network. What is skipped
is named, one warning each, by the logger ``tigerdiff``.
"""

import functools
import itertools
import operator
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tigerdiff import _downloads, _files
from tigerdiff.tigers import paint_tiger

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


def cifar100_tigers(root: str | os.PathLike[str], *, train: bool = True) -> Tensor:
    """Loads the tigers of CIFAR-100: 500 for training or 100 for testing.

    Args:
        root: folder of the data set, as torchvision keeps it; downloaded there (169 MB) if missing.
        train: the training split, or the test split.

    Returns:
        uint8 ``(N, 3, 32, 32)``.

    Raises:
        ConnectionError: the archive could not be downloaded; the sentence says where to put it.
        ValueError: what was downloaded is not the archive (its MD5 differs).
    """
    from torchvision.datasets import CIFAR100
    from torchvision.datasets.utils import check_integrity

    folder = Path(root).expanduser()
    # torchvision unpickles these files, but only after each has matched the MD5 it is known by.
    try:
        dataset = CIFAR100(folder, train=train)
    except RuntimeError:  # not unpacked yet
        archive = folder / CIFAR100.filename
        if not check_integrity(archive, CIFAR100.tgz_md5):
            _downloads.fetch_archive(CIFAR100.url, archive, CIFAR100.tgz_md5)
        dataset = CIFAR100(folder, train=train, download=True)
    tigers = np.asarray(dataset.targets) == dataset.class_to_idx["tiger"]
    return torch.from_numpy(dataset.data[tigers]).permute(0, 3, 1, 2).contiguous()


def batches(
    images: Tensor,
    batch_size: int,
    *,
    seed: int = 0,
    flip: bool = True,
    start: int = 0,
    rank: int = 0,
    world_size: int = 1,
    device: torch.device | str = "cpu",
) -> Iterator[Tensor]:
    """Yields shuffled batches for ever; batch k is a pure function of the arguments and k.

    Each epoch is a fresh permutation, and epochs follow each other without a gap: nothing is
    dropped, any ``batch_size`` works, and ``start=k`` continues exactly where k batches ended.
    In each step the ranks take neighbouring parts of that one stream, so that the ranks together
    see what one process with ``world_size`` times the batch would.

    Args:
        images: uint8 ``(N, 3, H, W)``.
        batch_size: images per batch and process.
        seed: of the shuffling and flipping.
        flip: mirror each image left to right with probability 1/2, anew in each epoch.
        start: the first batch to yield.
        rank: number of this process.
        world_size: number of processes.
        device: where the batches go.

    Returns:
        an endless iterator of float32 ``(batch_size, 3, H, W)`` in [-1, 1].

    Raises:
        ValueError: an argument is out of range (at the call, not at the first batch).
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise ValueError(f"images must be uint8 (N, 3, H, W) with N >= 1, not {_described(images)}")
    check_place(batch_size, seed, start, rank, world_size)
    n = len(images)
    order = functools.lru_cache(maxsize=2)(lambda epoch: _epoch_order(n, seed, epoch))

    def batch(k: int) -> Tensor:
        first = (k * world_size + rank) * batch_size  # in the stream of all epochs
        end = first + batch_size
        parts = []
        for epoch in range(first // n, (end - 1) // n + 1):
            places = slice(max(first - epoch * n, 0), end - epoch * n)
            parts.append([column[places] for column in order(epoch)])
        index, mirrored = (torch.cat(column) for column in zip(*parts, strict=True))
        x = to_float(images[index.to(images.device)].to(device))
        mirrored = mirrored.to(device)[:, None, None, None]
        return torch.where(mirrored, x.flip(-1), x) if flip else x

    return map(batch, itertools.count(start))


def check_place(batch_size: int, seed: int, start: int, rank: int, world_size: int) -> None:
    """Nothing, if these say which part of which stream of batches is wanted."""
    if batch_size < 1 or start < 0 or seed < 0:
        got = f"not {batch_size}, {start} and {seed}"
        raise ValueError(f"batch_size must be at least 1, start and seed at least 0, {got}")
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must be in 0 ... world_size - 1, not {rank} of {world_size}")


def seeded_generator(*key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Makes a generator whose stream is fixed by ``key``; keys that differ give unrelated streams.

    Args:
        key: whole numbers in 0 ... 2**64 - 1, for example ``(seed, rank, step)``.
        device: device of the generator.

    Raises:
        ValueError: a number of the key is out of range.
    """
    if not all(0 <= part < 2**64 for part in key):
        raise ValueError(f"key must be whole numbers in 0 ... 2**64 - 1, not {key}")
    # SeedSequence pads with zeros and splits long numbers: length and fixed width keep (1,), (1, 0)
    # and (2**32, ...) apart.
    words = [word for part in key for word in (part & 0xFFFFFFFF, part >> 32)]
    state = np.random.SeedSequence([len(key), *words]).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0]))


def to_float(images: Tensor) -> Tensor:
    """Maps uint8 images, any shape, to float32 in [-1, 1].

    Raises:
        ValueError: ``images`` is not uint8.
    """
    if images.dtype != torch.uint8:
        raise ValueError(f"images must be uint8, not {_described(images)}")
    return images.float() / 127.5 - 1


def to_uint8(x: Tensor) -> Tensor:
    """Maps float images, any shape, from [-1, 1] to uint8: rounded, and clamped outside the range.

    Raises:
        ValueError: ``x`` is not floating point, or holds NaN.
    """
    if not x.is_floating_point():
        raise ValueError(f"x must be float in [-1, 1], not {_described(x)}")
    if x.isnan().any():
        raise ValueError("x holds NaN, which is no colour: the model that made it has diverged")
    return ((x.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def _epoch_order(n: int, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
    """One epoch's permutation, int64 (n,), and which of its places are mirrored, bool (n,)."""
    generator = seeded_generator(seed, epoch)
    return torch.randperm(n, generator=generator), torch.rand(n, generator=generator) < 0.5


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


def _described(x: Tensor) -> str:
    return f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}"
