"""Downloads, bounded in time and in bytes, that are kept only when they are sound."""

import hashlib
import ipaddress
import socket
import threading
import time
from concurrent import futures
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from tigerdiff.data import files

MAX_PHOTO_BYTES = 50_000_000
ANSWER_SECONDS = 6.0  # for the look-up of the server's name and its first answer
REDIRECTS = 5


def fetched_photo(url: str) -> Path:
    """Return the cached copy of an address; download it unless one matches its SHA-256."""
    photo = files.cache_home() / "photos" / hashlib.sha256(url.encode()).hexdigest()
    digest = photo.with_suffix(".sha256")
    if photo.exists() and digest.exists() and digest.read_text() == sha256(photo):
        return photo
    with files.replacing(photo) as part, files.replacing(digest) as digest_part:
        part.write_bytes(download(url, max_bytes=MAX_PHOTO_BYTES, max_seconds=60))
        try:
            files.read_picture(part)  # a web page in place of a picture must not be kept
        except ValueError as error:
            raise ValueError(f"{url} cannot be used: {error}") from error
        digest_part.write_text(sha256(part))
    return photo


def download(url: str, *, max_bytes: int, max_seconds: float) -> bytes:
    """Return what an http(s) address sends.

    Raises:
        ConnectionError: no network, no answer in time, an error status, a redirect to a file or
            into a private network, or a transfer that breaks off or takes over ``max_seconds``.
        ValueError: it is longer than ``max_bytes``.
    """
    import requests

    end = time.monotonic() + ANSWER_SECONDS + max_seconds
    answered: futures.Future[None] = futures.Future()
    received: futures.Future[bytes] = futures.Future()

    def fetch() -> None:
        try:
            with _answer(url) as response:
                answered.set_result(None)
                data = bytearray()
                for piece in response.iter_content(1 << 16):
                    data += piece
                    if len(data) > max_bytes:
                        raise ValueError(f"{url} is larger than {max_bytes / 1e6:.0f} MB")
                    if time.monotonic() > end:
                        raise requests.Timeout
                if response.raw.length_remaining:  # urllib3 1 says nothing of a transfer cut short
                    raise requests.ConnectionError
                received.set_result(bytes(data))
        except Exception as error:
            (received if answered.done() else answered).set_exception(error)

    # In a thread, because no time-out of requests covers the look-up of the host's name or a server
    # that sends a byte now and then.
    threading.Thread(target=fetch, daemon=True).start()
    try:
        answered.result(ANSWER_SECONDS)
        return received.result(max_seconds)
    except (futures.TimeoutError, requests.Timeout):
        reason = "it took too long"
    except (requests.HTTPError, requests.exceptions.InvalidURL) as error:
        reason = str(error)
    except requests.RequestException as error:
        reason = f"the connection failed ({type(error).__name__})"
    raise ConnectionError(f"{url} could not be downloaded: {reason}")


def _answer(url: str) -> Any:
    """Open an address, following redirects, but none to a file or into a private network."""
    import requests

    place, options = url, {"stream": True, "allow_redirects": False, "timeout": ANSWER_SECONDS}
    for _ in range(REDIRECTS + 1):
        response = requests.get(place, headers={"User-Agent": "tigerdiff"}, **options)
        if not response.is_redirect and response.ok:
            return response
        response.close()
        if not response.is_redirect:
            answer = f"{response.status_code} {response.reason}"
            raise requests.HTTPError(f"the server answered {answer}")
        place = urljoin(place, response.headers["location"])
        if urlsplit(place).scheme not in ("http", "https") or _is_private(place) > _is_private(url):
            raise requests.exceptions.InvalidURL(f"it redirects to {place}")
    raise requests.TooManyRedirects


def _is_private(url: str) -> bool:
    """Say whether an address lies in a private network or on this machine."""
    parts = urlsplit(url)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM)
    except socket.gaierror:  # only a proxy knows it
        return False
    return any(not ipaddress.ip_address(str(info[4][0]).split("%")[0]).is_global for info in found)


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    return files.hashed(file, hashlib.sha256())
