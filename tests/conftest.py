"""What several test modules share: the built book, a server for it and a browser."""

import functools
import http.server
import subprocess
import threading
from pathlib import Path

import chromium
import pytest
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
SLOW = {"built_book", "browser", "alone"}  # what needs these is left out of make quick


def pytest_collection_modifyitems(items):
    """Mark as slow whatever needs the book, a browser or an environment of its own.

    Of two processes that run the tests, one builds the book and runs all that need it.
    """
    for item in items:
        if SLOW & set(item.fixturenames) or item.path.stem == "test_mutants":
            item.add_marker("slow")
        if SLOW & set(item.fixturenames):
            item.add_marker(pytest.mark.xdist_group("book"))


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def built_book():
    """The book as a reader builds it, any warning an error; returns its html folder.

    Its pages are executed this once, without a network.
    """
    command = ["make", "book", "CHECK=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return ROOT / "_build/html"


@pytest.fixture(scope="session")
def site_url(built_book):
    """http://127.0.0.1:PORT, where the built book is served."""
    handler = functools.partial(QuietHandler, directory=built_book)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium, driven by Playwright."""
    path = chromium.find()
    assert path, "there is no Chromium: run python tools/chromium.py"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
