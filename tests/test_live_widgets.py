"""The sliders in a live JupyterLab, driven in the browser as a reader would."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import nbformat
import pytest

SLOW = 120_000  # milliseconds: a kernel that imports torch on two busy cores
CELLS = [
    """\
import torch
from IPython.display import HTML
from tigerdiff.notebook.show import timestep_slider

def ramp(t):
    if t == 37:
        raise RuntimeError("no picture for 37")
    row = torch.linspace(-1, 1, 64) * (1 - 2 * t / 100)
    return row.expand(3, 64, 64)

slider = timestep_slider(ramp, values=[0, 50, 100], alt="A ramp", interval=1)
slider""",
    """HTML(slider._repr_mimebundle_()["text/html"])""",
]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def lab_url(tmp_path_factory):
    """A JupyterLab with settings of its own and one notebook, at the URL of that notebook."""
    home = tmp_path_factory.mktemp("lab")
    (home / "work").mkdir()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, home / "work/sliders.ipynb")
    port = free_port()
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    env = os.environ | {name: str(home / name) for name in folders}
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *("--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"),
        *("--IdentityProvider.token=", f"--ServerApp.root_dir={home / 'work'}"),
        "--LabApp.expose_app_in_browser=True",
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


@pytest.fixture(scope="module")
def lab(browser, lab_url):
    """The notebook, all its cells run."""
    page = browser.new_page(viewport={"width": 1280, "height": 1400})
    page.set_default_timeout(SLOW)
    page.goto(lab_url)
    page.locator(".jp-CodeCell").nth(len(CELLS) - 1).wait_for()
    page.evaluate(
        """async () => {
            await jupyterapp.restored;
            await jupyterapp.shell.currentWidget.sessionContext.ready;
            await jupyterapp.commands.execute("notebook:run-all-cells");
        }"""
    )
    for cell in outputs(page):
        cell.locator(".tigerdiff img:not([hidden])").wait_for()
    yield page
    page.close()


def outputs(page):
    return [page.locator(".jp-CodeCell").nth(k).locator(".jp-Cell-outputArea") for k in range(2)]


def pixels(output):
    return output.locator(".tigerdiff-grid").screenshot()


def wait_for_readout(output, words):
    output.locator(".tigerdiff-readout", has_text=words).wait_for()
    return pixels(output)


def test_jupyterlab_shows_ipywidgets(lab):
    live, static = outputs(lab)
    assert live.locator(".jupyter-widgets .noUi-handle").count() == 1
    assert live.locator("input[type=range]").count() == 0
    assert static.locator("input[type=range]").count() == 1


def test_the_live_slider_moves_by_keyboard_to_values_between(lab):
    live, _ = outputs(lab)
    handle = live.locator(".noUi-handle")
    handle.press("Home")
    seen = [wait_for_readout(live, "t = 0 of 100")]
    handle.press("ArrowRight")
    wait_for_readout(live, "t = 1 of 100")
    handle.press("ArrowRight")
    wait_for_readout(live, "t = 2 of 100")
    handle.press("End")
    seen.append(wait_for_readout(live, "t = 100 of 100"))
    handle.press("ArrowLeft")
    wait_for_readout(live, "t = 99 of 100")
    assert seen[0] != seen[1]


def test_the_live_slider_moves_by_mouse(lab):
    live, _ = outputs(lab)
    handle = live.locator(".noUi-handle")
    handle.press("Home")
    first = wait_for_readout(live, "t = 0 of 100")
    track = live.locator(".noUi-target").bounding_box()
    middle = track["y"] + track["height"] / 2
    grip = handle.bounding_box()
    lab.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2)
    lab.mouse.down()
    lab.mouse.move(track["x"] + track["width"] / 2, middle, steps=5)
    lab.mouse.move(track["x"] + track["width"] + 20, middle, steps=5)
    lab.mouse.up()
    assert wait_for_readout(live, "t = 100 of 100") != first


def test_the_live_play_button_runs_to_the_end(lab):
    live, _ = outputs(lab)
    live.locator(".noUi-handle").press("Home")
    wait_for_readout(live, "t = 0 of 100")
    live.locator(".widget-play button").first.click()
    seen = [wait_for_readout(live, f"t = {t} of 100") for t in (50, 100)]
    assert seen[0] != seen[1]


def test_an_error_of_the_readers_function_shows_below_and_passes(lab):
    live, _ = outputs(lab)
    handle = live.locator(".noUi-handle")
    handle.press("Home")
    wait_for_readout(live, "t = 0 of 100")
    for t in range(1, 37):
        handle.press("ArrowRight")
        wait_for_readout(live, f"t = {t} of 100")
    handle.press("ArrowRight")
    live.get_by_text("RuntimeError: no picture for 37").wait_for()
    handle.press("ArrowRight")
    wait_for_readout(live, "t = 38 of 100")
    live.get_by_text("RuntimeError: no picture for 37").wait_for(state="detached")


def test_the_static_slider_keeps_its_keys_in_jupyterlab(lab):
    _, static = outputs(lab)
    handle = static.get_by_role("slider", name="t")
    handle.press("Home")
    first = wait_for_readout(static, "t = 0 of 100")
    handle.press("ArrowDown")
    handle.press("ArrowRight")
    wait_for_readout(static, "t = 50 of 100")
    handle.press("ArrowUp")
    assert wait_for_readout(static, "t = 100 of 100") != first
    handle.press("Home")
    assert wait_for_readout(static, "t = 0 of 100") == first
