"""Measure the page "Draw in your browser": sizes, seconds and memory, into bench/results/live.json.

python tools/measure_live.py

Drives headless Chromium on a page from disk, with one thread. "seconds" is the shortest time that a
reader waits for; "cpu_seconds" is what the browser's processes compute meanwhile, the median, which
a busy machine changes less.
"""

import os
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import chromium
import live_assets
import psutil
import report
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench/results/live.json"
WEIGHTS = ROOT / "tigerdiff/pretrained/weights"
PAGE = '<!doctype html><script src="live/live.js"></script>'
DRAW = """async (request) => {
    const {engine, models} = tigerdiffLive;
    const model = models.find(({name}) => name === request.model);
    const began = performance.now();
    let ready = 0;
    const listen = (answer) => { if (answer.type === "ready") ready = performance.now(); };
    const options = {id: engine.id(), progress: () => {}, listen};
    const done = await engine.draw({...request, model}, options);
    return {load: (ready - began) / 1000, seconds: done.seconds};
}"""
REQUESTS: dict[str, dict[str, Any]] = {
    "64 px, DPM-Solver++ 10": {"model": "ddpm-tiger-64", "sampler": "dpm_solver", "steps": 10},
    "32 px, DDIM 20": {"model": "ddpm-tiger-32", "sampler": "ddim", "steps": 20},
    "words, 12 guided steps": {
        "model": "mini-sd-tiger",
        "sampler": "dpm_solver",
        "steps": 12,
        "guidance_scale": 3,
    },
}


def browser_processes() -> list[psutil.Process]:
    """Return Chromium's processes below this one."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has just ended
            found += [child] if "chrom" in child.name() else []
    return found


def cpu_seconds() -> float:
    """Return the seconds that they have computed so far."""
    return sum(sum(process.cpu_times()[:2]) for process in browser_processes())


def megabytes() -> float:
    """Return the memory of the largest, the one with the page and its worker."""
    sizes = [0]
    for process in browser_processes():
        with suppress(psutil.NoSuchProcess):  # it has just ended
            sizes.append(process.memory_info().rss)
    return max(sizes) / 1e6


@contextmanager
def watched() -> Iterator[list[float]]:
    """Look at the memory 20 times a second meanwhile; yield a list whose last entry is the most."""
    most, ended = [megabytes()], Event()

    def look() -> None:
        while not ended.wait(0.05):
            most.append(max(most[-1], megabytes()))

    thread = Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def inputs(model: dict[str, Any]) -> dict[str, Any]:
    """Return what a request of this model needs beside sampler and steps: for words, no words."""
    if "tokenizer" not in model:
        return {"eta": 0}
    start, end = model["tokenizer"]["start"], model["tokenizer"]["end"]
    empty = [start, *[end] * (model["tokenizer"]["length"] - 1)]
    return {"eta": 0, "ids": empty, "negative": empty}


def measure_all(page: Page, models: dict[str, dict[str, Any]]) -> int:
    """Draw once with each network in one page; return the most memory, in MB."""
    with watched() as most:
        for name, model in models.items():
            request = {"model": name, "sampler": "ddim", "steps": 2, "guidance_scale": 2, "seed": 0}
            page.evaluate(DRAW, request | inputs(model))
    return round(most[-1])


def measure(
    page: Page, request: dict[str, Any], model: dict[str, Any], draws: int
) -> dict[str, Any]:
    """Measure seconds of loading and of a draw; the memory after one draw, after all, at most."""
    more, rows = inputs(model), []
    with watched() as most:
        first = page.evaluate(DRAW, {**request, **more, "seed": 0})
        memory = [megabytes()]
        for seed in range(1, draws):
            before = cpu_seconds()
            seconds = page.evaluate(DRAW, {**request, **more, "seed": seed})["seconds"]
            rows.append((seconds, cpu_seconds() - before))
            memory.append(megabytes())
    return {
        "load_seconds": round(first["load"], 2),
        "seconds": round(min(seconds for seconds, _ in rows), 2),
        "cpu_seconds": round(statistics.median(cpu for _, cpu in rows), 2),
        "megabytes_after_one": round(memory[0]),
        f"megabytes_after_{draws}": round(memory[-1]),
        "megabytes_at_most": round(most[-1]),
    }


def main(draws: int = 20) -> None:
    """Measure and write."""
    path = chromium.find()
    print(f"load {os.getloadavg()[0]:.2f}: a fair run needs a quiet machine", flush=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        live_assets.main(folder / "live")
        (folder / "live.html").write_text(PAGE, encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        found: dict[str, Any] = {}
        for what, request in REQUESTS.items():
            page = browser.new_page()
            page.set_default_timeout(0)
            page.goto(f"{folder.as_uri()}/live.html")
            models = {model["name"]: model for model in page.evaluate("tigerdiffLive.models")}
            if request["model"] in models:
                found[what] = measure(page, request, models[request["model"]], draws)
                found[what]["weights_sha256"] = report.weights_sha256(WEIGHTS / request["model"])
                print(what, found[what], flush=True)
            page.close()
        page = browser.new_page()
        page.set_default_timeout(0)
        page.goto(f"{folder.as_uri()}/live.html")
        models = {model["name"]: model for model in page.evaluate("tigerdiffLive.models")}
        about = {
            **report.head("python tools/measure_live.py"),
            "browser": f"Chromium {browser.version}, one thread",
            "megabytes_all_networks": measure_all(page, models),
            "megabytes": {
                folder.name: round(sum(p.stat().st_size for p in folder.glob("*.onnx")) / 1e6, 1)
                for folder in sorted((ROOT / "build/onnx").iterdir())
            },
        }
        browser.close()
    report.write(RESULTS, {**about, "draws": found})


if __name__ == "__main__":
    main()
