"""One run at a time in a folder, also after a kill."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep a run's folder for this process; the system gives it back when the process ends.

    Raises:
        FileExistsError: if another process is training in it, with its number and since when.
    """
    out.mkdir(parents=True, exist_ok=True)
    owner = out / ".owner.json"
    # A notebook may leave a run in the middle and start the cell again: the same process may.
    lock = FileLock(out / ".lock", timeout=0, thread_local=False, is_singleton=True)
    try:
        lock.acquire()
    except Timeout:
        raise FileExistsError(
            f"{out} is in use{described(owner)}: wait until it ends, or choose another out"
        ) from None
    except (NotImplementedError, OSError) as error:
        logger.warning("%s cannot be locked (%s): do not start a second run in it", out, error)
        yield
        return
    try:
        mine = {"process": os.getpid(), "computer": socket.gethostname(), "since": time.time()}
        owner.write_text(json.dumps(mine) + "\n", encoding="utf-8")
        yield
    finally:
        if not lock.is_locked or lock.lock_counter <= 1:
            owner.unlink(missing_ok=True)
        lock.release()


def described(owner: Path) -> str:
    """Say in a clause who has a folder and for how long, as far as it is known."""
    try:
        who = json.loads(owner.read_text(encoding="utf-8"))
        minutes = (time.time() - who["since"]) / 60
        return f" by process {who['process']} on {who['computer']} for {minutes:.0f} minutes"
    except (OSError, ValueError, KeyError, TypeError):  # it is just being written
        return " by another run"
