"""Downloads, bounded in time and in bytes, that take their place only when they are sound."""

import hashlib
import queue
import threading
import time
from pathlib import Path

from tigerdiff.data import files as _files

MAX_PHOTO_BYTES = 50_000_000
ANSWER_SECONDS = 6.0  # how long a server, or the name look-up before it, may keep us waiting


def fetched_photo(url: str) -> Path:
    """The cached copy of an address, downloaded if there is none that matches its SHA-256."""
    photo = _files.cache_home() / "photos" / hashlib.sha256(url.encode()).hexdigest()
    digest = photo.with_suffix(".sha256")
    if photo.exists() and digest.exists() and digest.read_text() == sha256(photo):
        return photo
    with _files.replacing(photo) as part:
        download(url, part, max_bytes=MAX_PHOTO_BYTES, max_seconds=60)
        try:
            _files.read_picture(part)  # a web page in place of a picture must not be kept
        except ValueError as error:
            raise ValueError(f"{url} cannot be used: {error}") from error
        with _files.replacing(digest) as digest_part:
            digest_part.write_text(sha256(part))
    return photo


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
                if response.raw.length_remaining:  # urllib3 1 says nothing of a transfer cut short
                    raise requests.ConnectionError
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


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
