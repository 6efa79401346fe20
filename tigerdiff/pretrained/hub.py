"""Models of the Hugging Face Hub: named files only, bounded in time and bytes, and checked."""

from __future__ import annotations

import hashlib
import logging
import math
import queue
import shutil
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.utils import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

ANSWER_SECONDS = 10.0  # how long the Hub, or the name look-up before it, may keep us waiting
DOWNLOAD_SECONDS = 3600.0
MAX_BYTES = 2 * 2**30
REHASHED_BYTES = 2**28  # what is larger is hashed only after its download: that takes seconds
# The error of a failed connection, from the HTTP library that this huggingface_hub uses: requests,
# whose errors are OSErrors, or httpx.
NO_ANSWER = (OSError, HfHubHTTPError.__mro__[1])

logger = logging.getLogger("tigerdiff")


def fetch(
    repo_id: str,
    files: Sequence[str],
    *,
    more: Callable[[Path, Sequence[str]], Sequence[str]] | None = None,
    before: Callable[[dict[str, int], str], None] | None = None,
    what: tuple[str, str] = ("model of tigerdiff", "one that HubUNet.push_to_hub has made"),
    max_bytes: int = MAX_BYTES,
    revision: str | None = None,
    token: str | bool | None = None,
    endpoint: str | None = None,
    local_files_only: bool = False,
    **options: Any,
) -> Path:
    """The folder in the Hub's cache that holds these files of a repository, and no others.

    Offline, or if the Hub does not answer, what the cache has is taken; then ``more`` is not asked.

    Args:
        repo_id: "owner/name".
        files: their names; the first is in no folder of its own.
        more: when those are there, which others: of their folder and the names of all files.
        before: called before others are downloaded, with the size in bytes of each one that the
            cache lacks, and the licence; what it raises is raised.
        what: what such a repository is, and what to name if one of ``files`` is missing.
        max_bytes: the most that ``files``, and the others, may have.
        revision: a branch, a tag or a commit; None is "main".
        token: as for ``hf_hub_download``.
        endpoint: the address of a mirror; None is the Hub itself.
        local_files_only: ask nobody.
        options: what else ``hf_hub_download`` takes, such as cache_dir and force_download.

    Raises:
        FileNotFoundError, PermissionError, ConnectionError, ValueError: in a sentence, why not.
    """
    where: dict[str, Any] = {"revision": revision, "token": token, "endpoint": endpoint, **options}

    def cached() -> Path:
        kept = where | {"force_download": False, "local_files_only": True}
        paths = [Path(hf_hub_download(repo_id, file, **kept)) for file in files]
        return paths[0].parent

    def online() -> Path:
        ask = partial(HfApi(endpoint=endpoint).model_info, repo_id, files_metadata=True)
        info = _within(ANSWER_SECONDS, ask, revision=revision, token=token)
        there = {sibling.rfilename: sibling for sibling in info.siblings or []}
        if missing := [file for file in files if file not in there]:
            raise ValueError(
                f"{repo_id} on the Hub is no {what[0]}, as {missing[0]} is missing: name {what[1]}"
            )

        def download(names: Sequence[str], say: Callable[..., None] | None = None) -> Path:
            wanted = [there[name] for name in names]
            sizes = _to_download(repo_id, wanted, info.sha, max_bytes, options)
            if say is not None and sizes:
                say(sizes, _licence(info))
            checked = {*sizes, *(file.rfilename for file in wanted if file.size < REHASHED_BYTES)}
            paths = [_fetched(repo_id, file, file.rfilename in checked, where) for file in wanted]
            return paths[0].parent

        folder = download(files)
        if more is not None:
            download(more(folder, list(there)), before)
        return folder

    try:
        if local_files_only or constants.HF_HUB_OFFLINE:
            return cached()
        try:
            return online()
        except (RepositoryNotFoundError, RevisionNotFoundError):
            raise
        except NO_ANSWER as error:
            if getattr(error, "errno", None):  # of the disk, not of the network
                raise
            if getattr(getattr(error, "response", None), "status_code", None) == 401:
                raise PermissionError(
                    f"the Hub does not know your token, so it does not give {repo_id}: log in anew "
                    "with hf auth login, or out with hf auth logout"
                ) from None
            folder = cached()
            logger.warning("the Hub does not answer: %s is taken from its cache", repo_id)
            return folder
    except GatedRepoError:
        raise PermissionError(
            f"{repo_id} is gated: accept its terms on its page of the Hub, and log in with "
            "hf auth login"
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise FileNotFoundError(
            f"{repo_id} is no folder here and no model on the Hub, unless a private one: check "
            "the name, or log in with hf auth login"
        ) from None
    except RevisionNotFoundError:
        raise ValueError(
            f"{repo_id} has no revision {revision!r}: name one of its branches, tags or commits"
        ) from None
    except LocalEntryNotFoundError:
        at = "" if revision is None else f" at revision {revision!r}"
        raise ConnectionError(
            f"{repo_id} is no folder here and not in the cache of the Hub{at}, which was not "
            "reached: check the name, or go online"
        ) from None


def _to_download(
    repo_id: str, files: Sequence[Any], sha: str, max_bytes: int, options: dict[str, Any]
) -> dict[str, int]:
    """The sizes of those files that the cache lacks, if there is room, and all are not too many."""
    total = math.inf if any(file.size is None for file in files) else sum(x.size for x in files)
    if total > max_bytes:
        raise ValueError(
            f"{repo_id} on the Hub has {total / 2**30:.1f} GiB, and more than "
            f"{max_bytes / 2**30:.0f} GiB are not downloaded: name a smaller model"
        )
    cache = Path(options.get("cache_dir") or constants.HF_HUB_CACHE)
    kept = partial(try_to_load_from_cache, repo_id, cache_dir=cache, revision=sha)
    anew = options.get("force_download", False)
    sizes = {x.rfilename: x.size for x in files if anew or not isinstance(kept(x.rfilename), str)}
    disk = next(x for x in (cache, *cache.absolute().parents) if x.exists())
    if (size := sum(sizes.values())) > (free := shutil.disk_usage(disk).free):
        raise ValueError(
            f"{repo_id} has {size / 1e9:.1f} GB to download and {disk} {free / 1e9:.1f} GB free: "
            "make room, or set HF_HOME to a folder on a larger disk"
        )
    return sizes


def _licence(info: Any) -> str:
    """As its page on the Hub states it."""
    card = info.card_data or {}
    return card.get("license_name") or card.get("license") or "not stated"


def _fetched(repo_id: str, described: Any, check: bool, where: dict[str, Any]) -> Path:
    """The downloaded file, if it has the hash that the Hub states; else it is deleted."""
    file = described.rfilename
    path = Path(_within(DOWNLOAD_SECONDS, hf_hub_download, repo_id, file, **where))
    if not check:
        return path
    if described.lfs is not None:
        digest, stated = hashlib.sha256(), described.lfs.sha256
    else:  # a small file, known by its hash in git
        digest, stated = hashlib.sha1(b"blob %d\0" % path.stat().st_size), described.blob_id
    with path.open("rb") as opened:
        while piece := opened.read(1 << 20):
            digest.update(piece)
    if digest.hexdigest() != stated:
        for copy in {path.resolve(), path}:  # the cache links to it
            copy.unlink(missing_ok=True)
        raise ValueError(
            f"{file} of {repo_id} is damaged, as its hash is not the one that the Hub states: it "
            "is deleted, so load the model again"
        )
    return path


def _within(seconds: float, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """The function's result; in a thread, as no timeout of its covers the look-up of a name."""
    results: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

    def call() -> None:
        try:
            results.put((function(*args, **options), None))
        except Exception as error:
            results.put((None, error))

    threading.Thread(target=call, daemon=True).start()
    try:
        result, error = results.get(timeout=seconds)
    except queue.Empty:
        raise ConnectionError(f"the Hub took longer than {seconds:.0f} seconds") from None
    if error is not None:
        raise error
    return result
