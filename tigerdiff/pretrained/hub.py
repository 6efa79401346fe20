"""Models of the Hugging Face Hub: which files, how large they are, and their download.

huggingface_hub does the work, in a process of its own, so that a time limit or Ctrl-C always ends
it. What it has not finished is not in the cache.
"""

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
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
)  # fmt: skip

from tigerdiff.data.files import hashed

ANSWER_SECONDS = 10.0
DOWNLOAD_SECONDS = 3600.0
MAX_BYTES = 2 * 2**30
REHASHED_BYTES = 2**28  # what is larger is hashed only after its download: that takes seconds
# The error of a failed connection, from the HTTP library that this huggingface_hub uses: requests,
# whose errors are OSErrors, or httpx.
NO_ANSWER = (OSError, HfHubHTTPError.__mro__[1])
DOWNLOAD = """
import json, sys
from huggingface_hub import snapshot_download
try:
    print(snapshot_download(**json.loads(sys.argv[1])))
except Exception as error:
    sys.exit(print(str(error).strip().partition("\\n")[0]) or 1)
"""
# What the Hub's errors mean, and what to do; the first that fits.
SENTENCES: tuple[tuple[type[Exception], type[Exception], str], ...] = (
    (GatedRepoError, PermissionError,
     "{} is gated: accept its terms on its page of the Hub, and log in with hf auth login"),
    (RepositoryNotFoundError, FileNotFoundError,
     "{} is no folder here and no model on the Hub, unless a private one: check the name, or log "
     "in with hf auth login"),
    (HFValidationError, FileNotFoundError, "{} is no folder here and no name of a model"),
    (RevisionNotFoundError, ValueError,
     "{} has no revision {!r}: name one of its branches, tags or commits"),
    (LocalEntryNotFoundError, ConnectionError,
     "there is no folder {} here, and the Hugging Face Hub could not be asked for a model of that "
     "name (revision {!r}): check the spelling, or go online"),
    (HfHubHTTPError, PermissionError,
     "the Hub does not let you have {}: log in with hf auth login, or out with hf auth logout"),
)  # fmt: skip

logger = logging.getLogger("tigerdiff")
Choose = Callable[[Path, Sequence[str]], Sequence[str]]
Before = Callable[[dict[str, int], str], None]


def fetch(
    repo_id: str, first: str, choose: Choose, before: Before = lambda sizes, licence: None,
    max_bytes: int = MAX_BYTES, revision: str = "main",
) -> Path:  # fmt: skip
    """Return the folder in the Hub's cache that holds the chosen files of a repository.

    Offline, or if the Hub does not answer, that is what the cache has. ``first`` is a small file
    that such a repository must have; ``choose`` names the files wanted, given the folder that has
    ``first`` and the names of all files. ``before`` is called ahead of a download with the bytes of
    each file that the cache lacks, and the licence; what it raises is raised.
    """
    try:
        if not constants.HF_HUB_OFFLINE:
            try:
                return _online(repo_id, first, choose, before, max_bytes, revision)
            except (RepositoryNotFoundError, RevisionNotFoundError, ConnectionError):
                raise
            except NO_ANSWER as error:
                status = getattr(getattr(error, "response", None), "status_code", None)
                if getattr(error, "errno", None) or status in (401, 403):
                    raise
        folder = Path(hf_hub_download(repo_id, first, revision=revision, local_files_only=True))
        there = names_in(folder.parent)
        if not set(choose(folder.parent, there)) <= set(there):
            raise LocalEntryNotFoundError("a download was cut short")
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        kind, words = next(x[1:] for x in SENTENCES if isinstance(error, x[0]))
        raise kind(words.format(repo_id, revision)) from None
    if not constants.HF_HUB_OFFLINE:
        logger.warning("the Hub does not answer: %s is taken from its cache", repo_id)
    return folder.parent


def names_in(folder: Path) -> list[str]:
    """Return the names of all files under a folder, as the Hub writes them."""
    return sorted(x.relative_to(folder).as_posix() for x in folder.rglob("*") if x.is_file())


def _online(
    repo_id: str, first: str, choose: Choose, before: Before, max_bytes: int, revision: str
) -> Path:
    about = {"files_metadata": True, "timeout": ANSWER_SECONDS}
    info = HfApi().model_info(repo_id, revision=revision, **about)
    there = {sibling.rfilename: sibling for sibling in info.siblings or []}
    names = [first]
    if first in there:  # who may read this file may read all
        folder = Path(hf_hub_download(repo_id, first, revision=revision)).parent
        names += choose(folder, list(there))
    if missing := [name for name in names if name not in there]:
        raise ValueError(f"{repo_id} on the Hub lacks {missing[0]}: name another model")
    kept = {name: try_to_load_from_cache(repo_id, name, revision=info.sha) for name in names}
    stated = {name: there[name].size for name in names if not isinstance(kept[name], str)}
    sizes = {name: sys.maxsize if size is None else int(size) for name, size in stated.items()}
    if (total := sum(sizes.values())) > max_bytes:
        raise ValueError(
            f"{repo_id} on the Hub has {total / 2**30:.1f} GiB, and more than "
            f"{max_bytes / 2**30:.0f} GiB are not downloaded: name a smaller model"
        )
    if total > (free := shutil.disk_usage(folder).free):
        sizes_of = f"{total / 1e9:.1f} GB to download and {folder} {free / 1e9:.1f} GB free"
        remedy = "make room, or set HF_HOME to a folder on a larger disk"
        raise ValueError(f"{repo_id} has {sizes_of}: {remedy}")
    if sizes:
        card = info.card_data or {}
        before(sizes, card.get("license_name") or card.get("license") or "not stated")
        folder = _download(repo_id, revision, names)
    for name in names:
        if name in sizes or there[name].size < REHASHED_BYTES:
            _check(repo_id, folder / name, there[name])
    return folder


def _download(repo_id: str, revision: str, names: list[str]) -> Path:
    """Download in a process of its own, which ends with this call however it ends."""
    options = {"repo_id": repo_id, "revision": revision, "allow_patterns": names}
    options["cache_dir"] = str(constants.HF_HUB_CACHE)
    command = [sys.executable, "-c", DOWNLOAD, json.dumps(options)]
    how: dict[str, Any] = {"stdout": subprocess.PIPE, "encoding": "utf-8", "errors": "replace"}
    how["env"] = {**os.environ, "PYTHONIOENCODING": "utf-8"}  # any name, on any console
    try:
        done = subprocess.run(command, check=False, timeout=DOWNLOAD_SECONDS, **how)
    except subprocess.TimeoutExpired:
        what = f"the download of {repo_id} took longer than {DOWNLOAD_SECONDS / 60:.0f} minutes"
        raise ConnectionError(f"{what}: load it again, and it continues from there") from None
    said = done.stdout.strip().rpartition("\n")[2]
    if done.returncode:
        raise ConnectionError(f"{repo_id} was not downloaded ({said}): load it again")
    return Path(said)


def _check(repo_id: str, path: Path, stated: Any) -> None:
    """Delete a file that does not have the hash which the Hub states."""
    if stated.lfs is not None:
        digest, wanted = hashlib.sha256(), stated.lfs.sha256
    else:  # a small file, known by its hash in git
        digest, wanted = hashlib.sha1(b"blob %d\0" % path.stat().st_size), stated.blob_id
    if hashed(path, digest) != wanted:
        for copy in {path.resolve(), path}:  # the cache links to it
            copy.unlink(missing_ok=True)
        raise ValueError(
            f"{stated.rfilename} of {repo_id} is damaged, as its hash is not the one that the Hub "
            "states: it is deleted, so load the model again"
        )
