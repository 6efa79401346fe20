"""A notebook with a slider, run and saved: reopened in JupyterLab and exported as a page."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

SLOW = 120_000  # milliseconds: JupyterLab on two busy cores
CELL = """\
import torch, tigerdiff as td
frames = [torch.linspace(-1, 1, 64).expand(3, 64, 64) * (1 - t / 50) for t in (0, 50, 100)]
td.timestep_slider(frames, values=[0, 50, 100], alt="A ramp", of=100)"""


@pytest.fixture(scope="module")
def saved():
    """The notebook after a run, as Jupyter saves it."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    NotebookClient(notebook, timeout=SLOW / 1000, kernel_name="python3").execute()
    return notebook


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def lab_url(tmp_path_factory, saved):
    """A JupyterLab with settings of its own and the reader's notebook, at that notebook's URL."""
    home = tmp_path_factory.mktemp("lab")
    (home / "work").mkdir()
    nbformat.write(saved, home / "work/sliders.ipynb")
    port = free_port()
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    env = os.environ | {name: str(home / name) for name in folders}
    trust = [sys.executable, "-m", "jupyter", "trust", str(home / "work/sliders.ipynb")]
    subprocess.run(trust, env=env, check=True, stdout=subprocess.DEVNULL)
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *("--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"),
        *("--IdentityProvider.token=", f"--ServerApp.root_dir={home / 'work'}"),
    ]
    log = home / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_for(f"http://127.0.0.1:{port}/api", server, log)
        yield f"http://127.0.0.1:{port}/lab/tree/sliders.ipynb"
    finally:
        server.terminate()
        server.wait(timeout=60)


def wait_for(url, server, log):
    end = time.monotonic() + SLOW / 1000
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10):
                return
        except (urllib.error.URLError, OSError) as error:
            if server.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"JupyterLab did not start:\n{log.read_text()}") from error
            time.sleep(0.5)


def moves(figure, page):
    """Move the slider from end to end, and check that the picture and the readout follow."""
    handle = figure.get_by_role("slider", name="t")
    seen = set()
    for key, value in [("Home", 0), ("ArrowRight", 50), ("ArrowUp", 100)]:
        handle.press(key)
        figure.locator(".tigerdiff-readout", has_text=f"t = {value} of 100").wait_for()
        seen.add(figure.locator(".tigerdiff-grid").screenshot())
    handle.press("Home")
    box = figure.locator(".tigerdiff-grid").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 5, box["y"] + 50, steps=3)
    page.mouse.up()
    figure.locator(".tigerdiff-readout", has_text="t = 100 of 100").wait_for()
    assert len(seen) == 3


def test_reopened_in_jupyterlab_it_is_there_and_moves(browser, lab_url):
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.goto(lab_url)
    output = page.locator(".jp-CodeCell").first.locator(".jp-Cell-outputArea")
    output.locator(".tigerdiff img:not([hidden])").wait_for()
    assert page.locator(".jupyter-widgets").count() == 0
    moves(output, page)
    page.close()


def test_exported_it_is_there_and_moves_without_a_network(browser, saved, tmp_path):
    html, _ = HTMLExporter().from_notebook_node(saved)
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    assert page.locator(".tigerdiff img:not([hidden])").is_visible()
    moves(page.locator(".tigerdiff"), page)
    context.close()


def test_the_saved_output_has_a_picture_for_where_html_is_not_shown_and_no_widget(saved):
    (output,) = saved.cells[0].outputs
    assert set(output["data"]) == {"text/html", "image/png", "text/plain"}
    assert output["data"]["text/plain"].startswith("A ramp")
    assert "widgets" not in saved.metadata
