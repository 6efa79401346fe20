"""Draw in your browser: the page's networks, samplers and seeds against Python's, and the page."""

import base64
import functools
import hashlib
import http.server
import threading
from pathlib import Path

import export_onnx
import fetch_onnxruntime
import live_assets
import numpy as np
import onnxruntime
import pytest
import torch
from conftest import QuietHandler

import tigerdiff as td
from tigerdiff import sampling

ROOT = Path(__file__).parent.parent
SLOW = 120_000  # milliseconds: a network on two busy cores
LARGEST = {"ddpm-tiger-32": 4e6, "ddpm-tiger-64": 11e6, "mini-sd-tiger": 32e6}
TIMES = (1, 10, 250, 500, 750, 999, 1000)
PAGE = """<!doctype html><html lang="en"><title>Live</title>
<link rel="stylesheet" href="live/live.css"><script src="live/live.js" defer></script>
<main><div class="live" data-live="noise"></div></main>"""


@pytest.fixture(scope="session")
def networks():
    """Each exported network's folder, by its name."""
    return {folder.name: folder for folder in export_onnx.export_all()}


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A folder with all that the page loads, and a page without the book around it."""
    folder = tmp_path_factory.mktemp("site")
    live_assets.main(folder / "live")
    (folder / "live.html").write_text(PAGE, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def server(site):
    handler = functools.partial(QuietHandler, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(params=["server", "disk"])
def origin(request, site, server):
    return site.as_uri() if request.param == "disk" else server


@pytest.fixture
def tab(browser):
    """An empty tab that may reach nothing but this machine, with what it asked for."""
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(SLOW)
        page.asked, page.errors = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.route("**/*", lambda route: route.continue_() if ours(route) else route.abort())
        yield page


def ours(route):
    return route.request.url.startswith(("http://127.0.0.1:", "file:", "blob:", "data:"))


@pytest.fixture(scope="module")
def samplers(browser):
    """A tab with samplers.js alone; evaluate runs an expression there."""
    page = browser.new_page()
    page.add_script_tag(path=ROOT / "book/live/samplers.js")
    yield page
    page.close()


def normal(seed):
    """What samplers.js says about seeds, in NumPy: draws of standard normal numbers."""
    drawn = 0

    def uniform(n):
        nonlocal drawn
        k = np.arange(drawn + 1, drawn + n + 1, dtype=np.uint64)
        drawn += n
        state = ((np.uint64(seed) + k * np.uint64(0x6D2B79F5)) % 2**32).astype(np.uint32)
        mixed = (state ^ (state >> 15)) * (state | np.uint32(1))
        mixed ^= mixed + (mixed ^ (mixed >> 7)) * (mixed | np.uint32(61))
        return ((mixed ^ (mixed >> 14)).astype(np.float64) + 0.5) / 2**32

    def draw(n):
        u = uniform(n + n % 2).reshape(-1, 2)
        radius, angle = np.sqrt(-2 * np.log(u[:, 0])), 2 * np.pi * u[:, 1]
        z = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        return z.reshape(-1)[:n].astype(np.float32)

    return draw


# The networks as exported


def parts():
    """Each model of the page with each of its networks."""
    for model in export_onnx.MODELS:
        for name in (
            ("unet",) if model.make is export_onnx.pixel_model else ("text", "unet", "decoder")
        ):
            yield pytest.param(model, name, id=f"{model.name} {name}")


def random_like(example, about, generator):
    """An input of the same shape: noise, token ids, or attributes, -1 for none."""
    if example.is_floating_point():
        return torch.randn(example.shape, generator=generator)
    if about.get("conditions"):
        highs = [len(attribute["values"]) for attribute in about["conditions"]]
        return torch.tensor([[int(torch.randint(-1, h, (), generator=generator)) for h in highs]])
    return torch.randint(0, 300, example.shape, generator=generator)


@pytest.mark.parametrize(("model", "name"), [*parts()])
def test_an_exported_network_equals_pytorchs_at_every_time(model, name, networks):
    session = onnxruntime.InferenceSession(networks[model.name] / f"{name}.onnx")
    found, about = model.make(model.source)
    (part,) = [part for part in found if part.name == name]
    generator = torch.Generator().manual_seed(0)
    for t in TIMES if name == "unet" else (None,):
        inputs = {key: random_like(x, about, generator) for key, x in part.inputs.items()}
        if t is not None:
            inputs["t"] = torch.tensor([t])
        with torch.no_grad():
            expected = part.network.eval()(*inputs.values()).numpy()
        output = session.run(None, {key: x.numpy() for key, x in inputs.items()})[0]
        assert np.abs(expected).max() > 0.1
        assert np.abs(output - expected).max() < 1e-3, t


@pytest.mark.parametrize("model", export_onnx.MODELS, ids=lambda model: model.name)
def test_a_network_is_small_enough_to_load(model, networks):
    size = sum(path.stat().st_size for path in networks[model.name].glob("*.onnx"))
    assert size <= LARGEST[model.name]


# The samplers by themselves


@pytest.mark.parametrize("T", [1, 37, 1000])
def test_the_schedule_is_pythons(T, samplers):
    table = samplers.evaluate("T => Array.from(cosine(T))", T)
    assert table == pytest.approx(td.NoiseSchedule.cosine(T).alpha_bar.tolist(), rel=1e-12)


@pytest.mark.parametrize("T", [37, 1000])
def test_the_timesteps_are_pythons_for_any_number(T, samplers):
    found = samplers.evaluate(
        "T => Array.from({length: T}, (_, k) => timesteps(cosine(T), k + 1))", T
    )
    schedule = td.NoiseSchedule.cosine(T)
    assert found == [td.timesteps(schedule, n) for n in range(1, T + 1)]


def test_a_number_of_steps_that_does_not_fit_is_refused(samplers):
    for n in (0, 1001, 2.5):
        with pytest.raises(Exception, match="steps must be a whole number between 1 and 1000"):
            samplers.evaluate("n => timesteps(cosine(1000), n)", n)


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_a_seed_makes_the_noise_that_is_documented(seed, samplers):
    draws = samplers.evaluate(
        "seed => { const randn = normal(seed); return [randn(4001), randn(4)].map(z => [...z]); }",
        seed,
    )
    randn = normal(seed)
    for z, n in zip(draws, (4001, 4)):
        assert z == pytest.approx(randn(n), rel=1e-6, abs=1e-7)
    assert np.mean(draws[0]) == pytest.approx(0, abs=0.07)
    assert np.std(draws[0]) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize(
    ("sampler", "options"),
    [("ddpm", {}), ("ddim", {}), ("ddim", {"eta": 0.7}), ("dpm_solver", {})],
)
def test_a_sampler_equals_pythons_step_by_step(
    sampler, options, prediction, clip, samplers, monkeypatch
):
    """With a model whose x0 depends on xt and t: xt, x0 and eps of every step."""
    steps = 7
    xT = normal(3)(48).astype(np.float64)
    found = samplers.evaluate(
        """async ([sampler, options, prediction]) => {
            const randn = normal(3), xT = Float64Array.from(randn(48)), path = [];
            const model = async (xt, t) => {
                const a = cosine(1000)[t], signal = Math.sqrt(a), noise = Math.sqrt(1 - a);
                const x0 = xt.map((x) => 1.2 * Math.sin(x * (1 + t / 500)));
                const eps = mix([1 / noise, xt], [-signal / noise, x0]);
                return {x0, eps, v: mix([signal, eps], [-noise, x0])}[prediction];
            };
            model.prediction = prediction;
            for await (const s of SAMPLERS[sampler](model, cosine(1000), xT, {randn, ...options}))
                path.push([s.t, [...s.xt], [...s.x0], [...s.eps]]);
            return path;
        }""",
        [sampler, {**options, "steps": steps, "clip": clip}, prediction],
    )

    def model(xt, t):
        alpha_bar = td.NoiseSchedule.cosine(1000).alpha_bar[t].view(-1, 1, 1, 1)
        signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        x0 = 1.2 * torch.sin(xt * (1 + t.view(-1, 1, 1, 1) / 500))
        eps = (xt - signal * x0) / noise
        return {"x0": x0, "eps": eps, "v": signal * eps - noise * x0}[prediction]

    model.prediction = prediction
    path = python_path(
        sampler, model, xT.reshape(1, 3, 4, 4), 3, monkeypatch, steps=steps, clip=clip, **options
    )
    assert [t for t, *_ in found] == [step.t for step in path]
    for (_, *arrays), step in zip(found, path):
        for array, tensor in zip(arrays, (step.xt, step.x0, step.eps)):
            expected = tensor.flatten().numpy()
            assert np.abs(array - expected).max() <= 1e-6 * max(1, np.abs(expected).max())


def python_path(sampler, model, xT, seed, monkeypatch, **options):
    """The steps of tigerdiff's sampler whose noise is that of the page's seed."""
    randn = normal(seed)
    randn(xT.size)
    monkeypatch.setattr(
        sampling, "randn_like", lambda x, _: torch.from_numpy(randn(x.numel())).to(x).view(x.shape)
    )
    schedule = options.pop("schedule", td.NoiseSchedule.cosine(1000))
    return list(sampling.SAMPLERS[sampler](model, schedule, torch.from_numpy(xT), **options))


# The networks in the browser

DRAW = """async (request) => {
    const {engine, models} = tigerdiffLive;
    const steps = [];
    request.model = models.find(({name}) => name === request.model);
    if (request.x0) request.x0 = Float32Array.from(request.x0);
    const listen = (a) => { if (a.type === "step") steps.push({t: a.t, x0: [...a.x0]}); };
    const done = await engine.draw(request, {id: engine.id(), progress: () => {}, listen});
    return {...done, picture: steps.at(-1).x0, times: steps.map((s) => s.t)};
}"""


def rgb(picture):
    """The bytes of a canvas (R, G, B, A, ...) as a picture (3, S, S)."""
    side = int((len(picture) / 4) ** 0.5)
    return np.array(picture, dtype=int).reshape(side, side, 4)[..., :3].transpose(2, 0, 1)


@pytest.fixture(scope="module")
def drawing(browser, site):
    """A tab in which pictures are drawn, one after the other, from disk."""
    page = browser.new_page()
    page.set_default_timeout(SLOW)
    page.goto(f"{site.as_uri()}/live.html")
    yield lambda **request: page.evaluate(DRAW, request)
    page.close()


@pytest.mark.parametrize("steps", [5, 10, 25])
@pytest.mark.parametrize(
    ("sampler", "eta"), [("ddpm", 0), ("ddim", 0), ("ddim", 0.5), ("dpm_solver", 0)]
)
def test_the_browsers_tiger_is_pythons(sampler, eta, steps, drawing, monkeypatch):
    model, schedule = td.load_pretrained("ddpm-tiger-64")
    found = drawing(model="ddpm-tiger-64", sampler=sampler, steps=steps, eta=eta, seed=7)
    options = {"eta": eta} if sampler == "ddim" else {}
    xT = normal(7)(3 * 64 * 64).reshape(1, 3, 64, 64)
    path = python_path(
        sampler, model, xT, 7, monkeypatch, steps=steps, schedule=schedule, **options
    )
    assert found["times"] == [step.t for step in path]
    expected = td.to_uint8(path[-1].xt)[0].numpy().astype(int)
    assert expected.std() > 30, "a picture, not a plain colour"
    assert np.abs(rgb(found["picture"]) - expected).max() <= 2


# The page


def press(tab, name):
    tab.get_by_role("button", name=name).click()


def wait_for(tab, words):
    """Until the first part's status line says this."""
    tab.locator(".live-status", has_text=words).first.wait_for()


def picture(tab):
    """What the last canvas shows, as a data URL."""
    return tab.locator("canvas").last.evaluate("canvas => canvas.toDataURL()")


def test_a_reader_draws_looks_back_and_draws_again(tab, origin):
    tab.goto(f"{origin}/live.html")
    assert len(tab.asked) <= 4, "nothing is loaded before a button is pressed"
    tab.get_by_label("Steps").fill("6")
    press(tab, "Draw a tiger")
    wait_for(tab, "Done: DPM-Solver++, 6 steps, seed 1, in")
    first = picture(tab)

    scrub = tab.get_by_label("Look back")
    assert scrub.get_attribute("aria-valuetext") == "step 6 of 6, t = 0"
    scrub.press("Home")
    assert scrub.get_attribute("aria-valuetext") == "step 0 of 6, t = 1000"
    assert picture(tab) != first
    scrub.press("End")
    assert picture(tab) == first

    tab.get_by_label("Sampler").select_option("ddim")
    tab.get_by_label("Seed of the noise").fill("99")
    press(tab, "Again with the same noise")
    wait_for(tab, "Done: DDIM, 6 steps, seed 1, in")
    assert tab.get_by_role(
        "img", name="The first picture: DPM-Solver++, 6 steps, seed 1"
    ).is_visible()
    assert picture(tab) != first

    tab.get_by_label("Sampler").select_option("dpm_solver")
    press(tab, "Draw a tiger")
    wait_for(tab, "Done: DPM-Solver++, 6 steps, seed 1, in")
    assert picture(tab) == first, "a seed is a picture"

    for name, kind in (("PNG", b"\x89PNG"), ("GIF", b"GIF89a")):
        with tab.expect_download() as download:
            press(tab, f"Save as {name}")
        assert download.value.suggested_filename == f"tiger-1.{name.lower()}"
        assert Path(download.value.path()).read_bytes().startswith(kind)

    assert tab.errors == []
    assert tab.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [
        0,
        0,
        "",
    ]


def test_a_drawing_stops_when_asked_and_the_next_one_works(tab, origin):
    tab.goto(f"{origin}/live.html")
    tab.get_by_label("Steps").fill("500")
    press(tab, "Draw a tiger")
    wait_for(tab, "Drawing")
    tab.wait_for_function("document.querySelector('progress').value > 0.003")
    press(tab, "Stop")
    wait_for(tab, "Stopped.")
    tab.get_by_label("Steps").fill("2")
    press(tab, "Draw a tiger")
    wait_for(tab, "Done: DPM-Solver++, 2 steps")


@pytest.mark.parametrize("steps", ["0", "1001", "2.5", ""])
def test_steps_that_do_not_fit_are_refused_in_one_sentence(steps, tab, server):
    tab.goto(f"{server}/live.html")
    tab.get_by_label("Steps").fill(steps)
    press(tab, "Draw a tiger")
    wait_for(tab, "Steps must be a whole number between 1 and 1000.")


def test_a_browser_without_webassembly_is_told(tab, server):
    tab.add_init_script("delete globalThis.WebAssembly")
    tab.goto(f"{server}/live.html")
    press(tab, "Draw a tiger")
    wait_for(tab, "This browser cannot run WebAssembly")


def test_a_lost_connection_is_told_and_what_has_arrived_is_kept(tab, server):
    tab.goto(f"{server}/live.html")
    last = "**/ddpm-tiger-64.unet.*.3.js"
    tab.route(last, lambda route: route.abort())
    press(tab, "Draw a tiger")
    wait_for(tab, "A part of the network did not arrive: check the connection")
    tab.unroute(last)
    asked = len(tab.asked)
    tab.get_by_label("Steps").fill("2")
    press(tab, "Draw a tiger")
    wait_for(tab, "Done")
    again = [url for url in tab.asked[asked:] if "/wasm." in url]
    assert again == []


def test_too_little_memory_is_told_and_the_next_press_starts_afresh(tab, server):
    tab.add_init_script("""
        const Real = Worker;
        window.Worker = class extends Real {
            postMessage(job) {
                if (job.type !== "draw" || window.enough) super.postMessage(job);
                else this.onmessage({data: {type: "error", id: job.id, message: "std::bad_alloc"}});
            }
        };""")
    tab.goto(f"{server}/live.html")
    tab.get_by_label("Steps").fill("2")
    press(tab, "Draw a tiger")
    wait_for(tab, "There is too little memory for this network")
    tab.evaluate("window.enough = true")
    press(tab, "Draw a tiger")
    wait_for(tab, "Done")


def test_a_book_without_networks_says_so(tab, tmp_path, monkeypatch, capsys):
    def fetch():
        raise ConnectionError("npm could not fetch onnxruntime-web 1.30.0")

    monkeypatch.setattr(fetch_onnxruntime, "fetch", fetch)
    live_assets.main(tmp_path / "live")
    assert capsys.readouterr().out == (
        "The page live is built without the networks: npm could not fetch onnxruntime-web 1.30.0\n"
    )
    (tmp_path / "live.html").write_text(PAGE, encoding="utf-8")
    tab.goto(f"{tmp_path.as_uri()}/live.html")
    press(tab, "Draw a tiger")
    wait_for(tab, "This book was built without the networks")


def test_a_damaged_package_is_refused_and_fetched_anew(tmp_path):
    archive = tmp_path / "gifenc-1.0.3.tgz"
    archive.write_bytes(b"not what was published")
    right = base64.b64encode(hashlib.sha512(b"what was published").digest()).decode()
    with pytest.raises(ValueError, match=r"gifenc-1.0.3.tgz is damaged"):
        fetch_onnxruntime.unpacked(tmp_path, "gifenc", "1.0.3", right)
    assert not archive.exists()
