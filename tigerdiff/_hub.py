"""Models of the Hugging Face Hub: named files only, bounded in time and bytes, and checked."""

from __future__ import annotations

import hashlib
import logging
import math
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, hf_hub_download
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
# The error of a failed connection, from the HTTP library that this huggingface_hub uses: requests,
# whose errors are OSErrors, or httpx.
NO_ANSWER = (OSError, HfHubHTTPError.__mro__[1])

logger = logging.getLogger("tigerdiff")


def fetch(
    repo_id: str,
    files: Sequence[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    endpoint: str | None = None,
    local_files_only: bool = False,
    **options: Any,
) -> Path:
    """The folder in the Hub's cache that holds these files of a repository, and no others.

    Offline, or if the Hub does not answer, what the cache has is taken.

    Args:
        repo_id: "owner/name".
        files: their names.
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

    try:
        if local_files_only or constants.HF_HUB_OFFLINE:
            return cached()
        try:
            ask = HfApi(endpoint=endpoint).model_info
            info = _within(
                ANSWER_SECONDS, ask, repo_id, revision=revision, token=token, files_metadata=True
            )
            there = _described(repo_id, files, info.siblings or [])
            paths = [_fetched(repo_id, there[file], where) for file in files]
            return paths[0].parent
        except (RepositoryNotFoundError, RevisionNotFoundError):
            raise
        except NO_ANSWER as error:
            if getattr(error, "errno", None):  # of the disk, not of the network
                raise
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
        raise ConnectionError(
            f"{repo_id} is no folder here and not in the cache of the Hub, which was not reached: "
            "check the name, or go online"
        ) from None


def _described(repo_id: str, files: Sequence[str], siblings: Sequence[Any]) -> dict[str, Any]:
    """What the Hub says of each file, if it has all of them and they are not too large."""
    there = {sibling.rfilename: sibling for sibling in siblings}
    if missing := [file for file in files if file not in there]:
        raise ValueError(
            f"{repo_id} on the Hub is no model of tigerdiff, as {missing[0]} is missing: name one "
            "that HubUNet.push_to_hub has made"
        )
    sizes = [there[file].size for file in files]
    total = math.inf if None in sizes else sum(sizes)
    if total > MAX_BYTES:
        raise ValueError(
            f"{repo_id} on the Hub has {total / 2**30:.1f} GiB, and more than "
            f"{MAX_BYTES / 2**30:.0f} GiB are not downloaded: name a smaller model"
        )
    return there


def _fetched(repo_id: str, described: Any, where: dict[str, Any]) -> Path:
    """The downloaded file, if it has the hash that the Hub states; else it is deleted."""
    file = described.rfilename
    path = Path(_within(DOWNLOAD_SECONDS, hf_hub_download, repo_id, file, **where))
    data = path.read_bytes()
    if described.lfs is not None:
        sound = hashlib.sha256(data).hexdigest() == described.lfs.sha256
    else:  # a small file, known by its hash in git
        sound = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() == described.blob_id
    if not sound:
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
