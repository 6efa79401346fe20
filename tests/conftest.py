"""What several test modules share: the built book, a server for it and a browser."""

import subprocess
from pathlib import Path

import chromium
import pytest
import torch
from filelock import FileLock
from playwright.sync_api import sync_playwright
from serving import serve

import tigerdiff as td

ROOT = Path(__file__).parent.parent
SLOW = {"built_book", "browser", "alone", "networks"}  # what needs these is left out of make quick


def pytest_collection_modifyitems(config, items):
    """Mark as slow whatever needs the book, a browser or an environment of its own.

    What needs a GPU is left out where there is none: make gpu DRY=1 runs it on the CPU.
    """
    if not torch.cuda.is_available():
        gpu = [item for item in items if item.get_closest_marker("gpu")]
        config.hook.pytest_deselected(items=gpu)
        items[:] = [item for item in items if item not in gpu]
    for item in items:
        if SLOW & set(item.fixturenames) or item.path.stem == "test_mutants":
            item.add_marker("slow")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Escape what is no UTF-8 in a report: it could not travel from one process to another."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(autouse=True)
def seeded():
    """The same random numbers whichever tests ran before."""
    torch.manual_seed(0)


@pytest.fixture
def power_cut(monkeypatch):
    """Return a function that lets the power fail at the given updates of a network's average."""

    def fails(*updates):
        made, update = [], td.EMA.update

        def updated(self, model):
            made.append(0)
            if len(made) in updates:
                raise KeyboardInterrupt
            update(self, model)

        monkeypatch.setattr(td.EMA, "update", updated)

    return fails


@pytest.fixture(scope="session")
def built_book(tmp_path_factory, worker_id):
    """The book as a reader builds it, any warning an error; returns its html folder.

    Its pages are executed this once, without a network. The first process that asks for it builds
    it; the other waits.
    """
    shared = tmp_path_factory.getbasetemp()
    shared = shared if worker_id == "master" else shared.parent  # of all processes of this run
    said = shared / "book.txt"
    with FileLock(shared / "book.lock"):
        if not said.exists():
            command = ["make", "book", "CHECK=1"]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            wrong = done.returncode and f"make book: {done.stdout[-6000:]}{done.stderr[-6000:]}"
            said.write_text(wrong or "", encoding="utf-8")
    wrong = said.read_text(encoding="utf-8")
    assert not wrong, wrong
    return ROOT / "_build/html"


@pytest.fixture(scope="session")
def site_url(built_book):
    """http://127.0.0.1:PORT, where the built book is served."""
    with serve(built_book) as url:
        yield url


def patient(make):
    """Let what a browser makes wait for minutes: a busy machine is slow, not wrong."""

    def made(**options):
        context = make(**options)
        context.set_default_timeout(600_000)
        return context

    return made


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium, driven by Playwright."""
    path = chromium.find()
    assert path, "there is no Chromium: run python tools/chromium.py"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        browser.new_context = patient(browser.new_context)
        browser.new_page = patient(browser.new_page)
        yield browser
        browser.close()
