"""Draw in your browser: the page's networks, samplers and seeds against Python's, and the page."""

import base64
import hashlib
import json
import re
from pathlib import Path

import chromium
import export_onnx
import fetch_onnxruntime
import live_assets
import measure_live
import numpy as np
import onnxruntime
import pytest
import report
import torch
from PIL import Image, ImageOps
from serving import serve

import tigerdiff as td
from tigerdiff import sampling
from tigerdiff.drawing import guided

ROOT = Path(__file__).parent.parent
CHROMIUM = chromium.find()
SLOW = 120_000  # milliseconds: a network on two busy cores
LARGEST = {32: 4e6, 64: 11e6, "words": 32e6}  # bytes of a network, by what it draws
TIMES = (1, 10, 250, 500, 750, 999, 1000)
PARTS = ("device", "noise", "compare", "photo", "words", "plane", "measured")
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
CHAPTERS = {
    "01_theory": ["plane"],
    "04_ddpm_from_scratch": ["noise"],
    "05_ddim": ["compare"],
    "06_stable_diffusion": ["words", "photo"],
}
PAGE = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Live</title>
<meta name="viewport" content="width=device-width">
<link rel="stylesheet" href="live/live.css"><script src="live/live.js" defer></script>
<main>{"".join(f'<div class="live" data-live="{name}"></div>' for name in PARTS)}</main>"""


@pytest.fixture(scope="session")
def networks():
    """Each exported network's folder, by its name."""
    return {folder.name: folder for folder in export_onnx.export_all()}


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A folder with all that the page loads, and a page without the book around it."""
    fetch_onnxruntime.fetch()  # without it the page says that it is not complete
    folder = tmp_path_factory.mktemp("site")
    live_assets.main(folder / "live")
    (folder / "live.html").write_text(PAGE, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def server(site):
    with serve(site) as url:
        yield url


@pytest.fixture(params=["server", "disk"])
def origin(request, site, server):
    return site.as_uri() if request.param == "disk" else server


@pytest.fixture
def tab(browser):
    """An empty tab that may reach nothing but this machine, with what it asked for."""
    with browser.new_context() as context:
        page = context.new_page()
        page.asked, page.errors = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("console", lambda said: faults(said) and page.errors.append(said.text))
        page.route("**/*", lambda route: route.continue_() if ours(route) else route.abort())
        yield page


def faults(said):
    """Whether the page wrote of an error of its own to the console."""
    return said.type == "error" and said.location["url"].endswith("/live.js")


def ours(route):
    return route.request.url.startswith(("http://127.0.0.1:", "file:", "blob:", "data:"))


@pytest.fixture(scope="module")
def samplers(browser):
    """A tab with the page's pure functions; evaluate runs an expression there."""
    page = browser.new_page()
    for name in ("samplers.js", "words.js", "photo.js", "points.js"):
        page.add_script_tag(path=ROOT / "book/live" / name)
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
    about = json.loads((networks[model.name] / "model.json").read_text())
    assert size <= LARGEST["words" if "tokenizer" in about else about["shape"][1]]


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
    request.model = {...models.find(({name}) => name === request.model), ...request.about};
    if (request.x0) request.x0 = Float32Array.from(request.x0);
    const listen = (a) => { if (a.x0) steps.push({t: a.t, x0: [...a.x0]}); };
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
    assert expected.std() > 20, "a picture, not a plain colour"
    assert np.abs(rgb(found["picture"]) - expected).max() <= 2


@pytest.mark.parametrize("steps", [5, 10, 25])
@pytest.mark.parametrize(
    ("sampler", "eta"), [("ddpm", 0), ("ddim", 0), ("ddim", 0.5), ("dpm_solver", 0)]
)
def test_the_browsers_tiger_with_attributes_is_pythons(sampler, eta, steps, drawing, monkeypatch):
    """With guidance towards a golden fur and snow, the other attributes being any."""
    model, schedule = td.load_pretrained("ddpm-tiger-32")
    condition = [model.classes["fur"].index("golden"), model.classes["backdrop"].index("snow")]
    condition += [-1] * (len(model.classes) - 2)
    request = {"sampler": sampler, "steps": steps, "eta": eta, "seed": 3, "guidance_scale": 2.5}
    found = drawing(model="ddpm-tiger-32", condition=condition, **request)
    xT = normal(3)(3 * 32 * 32).reshape(1, 3, 32, 32)
    predict = guided(model, torch.tensor([condition]), 2.5)
    options = {"eta": eta} if sampler == "ddim" else {}
    path = python_path(
        sampler, predict, xT, 3, monkeypatch, steps=steps, schedule=schedule, **options
    )
    expected = td.to_uint8(path[-1].xt)[0].numpy().astype(int)
    assert expected.std() > 20, "a picture, not a plain colour"
    assert np.abs(rgb(found["picture"]) - expected).max() <= 2


@pytest.fixture
def card(browser, site):
    """A tab whose networks run on the graphics card, played by Chromium's software renderer.

    It is part of Chromium, so that a browser without it is a fault of this test's machine.
    """
    flags = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
    options = ["--no-sandbox", "--enable-features=Vulkan", *flags]
    with browser.browser_type.launch(executable_path=CHROMIUM, args=options) as second:
        page = second.new_context().new_page()
        page.set_default_timeout(600_000)
        page.goto(f"{site.as_uri()}/live.html")
        adapter = "navigator.gpu?.requestAdapter().then((adapter) => adapter?.info.architecture)"
        assert page.evaluate(adapter) == "swiftshader", (
            f"Chromium at {CHROMIUM} has no WebGPU in software: without it, nothing here shows that"
            " the networks run on a graphics card. Install Playwright's Chromium or Debian's."
        )
        page.get_by_label("The networks run on").select_option("webgpu")
        yield page


def test_the_graphics_card_draws_the_same_tigers(card, drawing, miniature):
    """Every kind of network but the decoder, which takes minutes in software: its latents are seen.

    The samplers around the networks are the same code.
    """
    words = tokens(miniature, "a roaring white tiger cub at night")
    requests = (
        {"model": "ddpm-tiger-32", "condition": [0, -1, -1, -1]},
        {
            "model": "mini-sd-tiger",
            "ids": words,
            "negative": tokens(miniature, ""),
            "about": {"parts": ["text", "unet"]},
        },
    )
    for request in requests:
        request |= {"sampler": "ddim", "steps": 1, "eta": 0, "seed": 3}
        expected = rgb(drawing(**request)["picture"])
        found = rgb(card.evaluate(DRAW, request)["picture"])
        assert card.evaluate("tigerdiffLive.engine.device") == "webgpu", "it did not fail"
        assert expected.std() > 10
        assert np.abs(found - expected).max() <= 2, request["model"]


@pytest.fixture(scope="module")
def miniature():
    return td.load_pipeline("mini", "cpu")


def tokens(miniature, text):
    return miniature.tokenizer(text, padding="max_length", truncation=True).input_ids


@pytest.mark.parametrize(
    ("sampler", "steps"), [("ddpm", 5), ("ddim", 10), ("dpm_solver", 5), ("dpm_solver", 25)]
)
def test_the_browsers_tiger_from_words_is_pythons(sampler, steps, drawing, miniature, monkeypatch):
    """With guidance against a negative prompt; the pictures, not the latents, are compared.

    The other pairs are compared above, guided too, on 32 pixels, as 256 take long.
    """
    ids, negative = (
        tokens(miniature, "a roaring white tiger cub at night"),
        tokens(miniature, "snow"),
    )
    request = {"sampler": sampler, "steps": steps, "eta": 0, "seed": 11, "guidance_scale": 3}
    found = drawing(model="mini-sd-tiger", ids=ids, negative=negative, **request)
    with torch.no_grad():
        words = miniature.text_encoder(torch.tensor([negative, ids]))[0]

    def predict(xt, t):
        without, conditioned = miniature.unet(xt.repeat(2, 1, 1, 1), t - 1, words).sample.chunk(2)
        return without + 3 * (conditioned - without)

    predict.prediction = "v"
    unet = miniature.unet.config
    shape = (1, unet.in_channels, unet.sample_size, unet.sample_size)
    xT = normal(11)(int(np.prod(shape))).reshape(shape)
    path = python_path(sampler, predict, xT, 11, monkeypatch, steps=steps, clip=False)
    with torch.no_grad():
        latent = path[-1].xt / miniature.vae.config.scaling_factor
        expected = td.to_uint8(miniature.vae.decode(latent).sample)[0].numpy().astype(int)
    assert expected.std() > 20, "a picture, not a plain colour"
    assert np.abs(rgb(found["picture"]) - expected).max() <= 2


def test_networks_of_one_model_are_kept_at_a_time_and_come_back(drawing, miniature):
    """Each network gives its memory to the next one, and draws the same picture when it is back."""
    request = {"sampler": "ddim", "steps": 5, "eta": 0, "seed": 3}
    empty = tokens(miniature, "")
    words = {"model": "mini-sd-tiger", "ids": empty, "negative": empty}
    small = {"model": "ddpm-tiger-32"}
    first, _, again = (drawing(**request, **model)["picture"] for model in (small, words, small))
    assert first == again


def test_a_slow_decoder_makes_pictures_of_some_steps_and_the_last(drawing, miniature):
    ids = tokens(miniature, "a white tiger")
    request = {"model": "mini-sd-tiger", "sampler": "ddim", "steps": 5, "eta": 0, "seed": 1}
    request |= {"ids": ids, "negative": ids}
    each, some = (drawing(**request, about={"decode_every": n}) for n in (1, 2))
    assert len(each["times"]) == 6
    assert some["times"] == [each["times"][k] for k in (0, 2, 4, 5)]
    assert some["picture"] == each["picture"]


def test_a_picture_is_drawn_on_from_its_noise_as_python_does(drawing, monkeypatch):
    """From t = 600 on: the schedule up to there is a schedule of its own."""
    model, schedule = td.load_pretrained("ddpm-tiger-64")
    x0 = td.to_float(td.paint_tiger(64))[None]
    request = {"sampler": "ddim", "steps": 5, "eta": 0, "seed": 5, "start": 600}
    found = drawing(model="ddpm-tiger-64", x0=x0.flatten().tolist(), **request)
    eps = torch.from_numpy(normal(5)(x0.numel())).view(x0.shape)
    shorter = td.NoiseSchedule(schedule.alpha_bar[:601])
    xt = td.add_noise(schedule, x0, 600, eps).numpy()
    path = python_path("ddim", model, xt, 5, monkeypatch, steps=5, schedule=shorter)
    assert found["times"] == [step.t for step in path]
    expected = td.to_uint8(path[-1].xt)[0].numpy().astype(int)
    assert np.abs(rgb(found["picture"]) - expected).max() <= 2


# Words


SENTENCES = [
    "",
    "a roaring white tiger cub at night",
    "An  Orange tiger's 12 cubs, full-grown;\tin THE snow!",
    "it's we're I'll don't 3.14 -- ((x)) <|endoftext|> tiger",
    "naïve Tigér 虎 at noon 🐯",
    "tiger " * 60,
]


@pytest.mark.parametrize("text", SENTENCES)
def test_the_tokens_are_those_of_the_pipeline(text, samplers, miniature, networks):
    tokenizer = json.loads((networks["mini-sd-tiger"] / "model.json").read_text())["tokenizer"]
    found = samplers.evaluate("([tokenizer, text]) => tokenize(tokenizer, text)", [tokenizer, text])
    assert found == tokens(miniature, text)


def test_only_words_without_a_caption_are_marked(samplers, networks):
    tokenizer = json.loads((networks["mini-sd-tiger"] / "model.json").read_text())["tokenizer"]
    unknown = "([tokenizer, texts]) => texts.map((text) => unknown_words(tokenizer, text))"
    tigers = [td.procedural_tigers(1, 16, seed=seed)[1][0] for seed in range(60)]
    captions = [td.caption(tiger, seed) for seed, tiger in enumerate(tigers)]
    assert samplers.evaluate(unknown, [tokenizer, captions]) == [[]] * len(captions)
    text = "a blue tiger, riding a b in the tigers."
    assert samplers.evaluate(unknown, [tokenizer, [text]]) == [["blue", "riding", "b", "tigers"]]
    pieces = "a tiger on its own way th ed ing"  # some are pieces of words in the vocabulary
    found = samplers.evaluate(unknown, [tokenizer, [pieces]])
    assert found == [["own", "way", "th", "ed", "ing"]]
    menus = """(tokenizer) => {
        const all = Object.entries(MENUS).reduce((done, [label, values]) =>
            done.flatMap((d) => Object.keys(values).map((v) => ({...d, [label]: v}))), [{}]);
        return all.map(sentence_of).map((text) => [text, unknown_words(tokenizer, text)]);
    }"""
    sentences = samplers.evaluate(menus, tokenizer)
    assert len(sentences) == 3 * 4 * 2 * 5 * 3
    assert all(words == [] for _, words in sentences)
    assert "an open-mouthed golden tiger cub at night" in dict(sentences)


def test_words_for_which_there_is_no_room_are_named(samplers, networks):
    tokenizer = json.loads((networks["mini-sd-tiger"] / "model.json").read_text())["tokenizer"]
    unread = "([tokenizer, text]) => unread_words(tokenizer, text)"
    text = "a white tiger in the snow at dusk" + ", in the snow at noon" * 10
    left = samplers.evaluate(unread, [tokenizer, text])
    words = text.replace(",", " ,").split()  # each is one token
    assert left == words[tokenizer["length"] - 2 :] != []
    assert samplers.evaluate(unread, [tokenizer, "a white tiger"]) == []


def test_the_times_that_the_page_states_are_of_these_weights():
    measured = json.loads((ROOT / "bench/results/live.json").read_text(encoding="utf-8"))
    assert measured["megabytes_all_networks"] <= 600
    draws = measured["draws"]
    assert draws.keys() == measure_live.REQUESTS.keys()
    for what, request in measure_live.REQUESTS.items():
        folder = measure_live.WEIGHTS / request["model"]
        assert draws[what]["weights_sha256"] == report.weights_sha256(folder)


# The playground


def test_the_gradients_written_by_hand_are_the_slopes_of_the_loss(samplers):
    relative = samplers.evaluate("""() => {
        const network = pointNetwork(3, {hidden: 8}), randn = normal(4), n = 6;
        network.layers[2].W.set(randn(16)); // as it starts small
        const [xt, eps] = [Float64Array.from(randn(2 * n)), randn(2 * n)];
        const t = Float64Array.from({length: n}, (_, i) => 1 + 17 * i);
        network.loss(xt, t, eps);
        const gradients = network.layers.flatMap(
            ({W, b, dW, db}) => [[W, dW.slice()], [b, db.slice()]]);
        return gradients.map(([w, dw]) => {
            const slopes = dw.map((_, i) => {
                const [kept, h] = [w[i], 1e-5];
                w[i] = kept + h;
                const up = network.loss(xt, t, eps);
                w[i] = kept - h;
                const down = network.loss(xt, t, eps);
                w[i] = kept;
                return (up - down) / (2 * h);
            });
            const size = Math.max(...slopes.map(Math.abs));
            return [size, Math.max(...slopes.map((slope, i) => Math.abs(slope - dw[i]))) / size];
        });
    }""")
    assert len(relative) == 6
    for size, error in relative:
        assert size > 1e-3
        assert error < 1e-6


def test_the_network_learns_the_points_and_sampling_lands_on_them(samplers):
    far = samplers.evaluate("""async () => {
        const points = [[0.7, 0.7], [-0.7, 0.2], [0.3, -0.7]], network = pointNetwork(1);
        for (let k = 0; k < 600; k++) network.train(points);
        const sample = async (z) => {
            const randn = normal(2), xT = Float64Array.from(randn(400));
            const {model, alpha_bar} = network, options = {steps: 50, randn: z ?? randn};
            let end;
            for await (const {xt} of ddpm(model, alpha_bar, xT, options)) end = xt;
            return Array.from({length: 200}, (_, i) =>
                points.map(([x, y]) => Math.hypot(x - end[2 * i], y - end[2 * i + 1])));
        };
        const still = (n) => new Float32Array(n);
        return [await sample(), await sample(still)];
    }""")
    with_noise, without = np.array(far)
    assert np.mean(with_noise.min(axis=1) < 0.15) > 0.9
    shares = np.bincount(with_noise.argmin(axis=1), minlength=3) / 200
    assert shares.min() > 0.15, "all three points are found"
    shares = np.bincount(without.argmin(axis=1), minlength=3) / 200
    assert shares.max() > 0.9, "without its noise ddpm ends in one place"


# The page


@pytest.fixture
def noise(tab, server):
    return opened(tab, server, "noise")


def opened(tab, origin, part):
    """One part of the page, by its name."""
    tab.goto(f"{origin}/live.html")
    return tab.locator(f"[data-live={part}]")


def press(part, name):
    part.get_by_role("button", name=name).click()


def wait_for(part, words):
    """Until the part's status line says this."""
    part.locator(".live-status", has_text=words).wait_for()


def until_it_draws(part):
    """Until a part has made a step; while it loads, its bar shows what has arrived."""
    wait_for(part, "Drawing: ")
    drawn = "bar => 0.003 < bar.value && bar.value < 0.9"
    part.page.wait_for_function(drawn, arg=part.locator("progress").element_handle())


def picture(part, k=-1):
    """What a canvas shows, the last one by default, as a data URL."""
    return part.locator("canvas").nth(k).evaluate("canvas => canvas.toDataURL()")


def test_a_reader_draws_looks_back_and_draws_again(tab, origin):
    part = opened(tab, origin, "noise")
    assert len(tab.asked) <= 4, "nothing is loaded before a button is pressed"
    part.get_by_label("Steps", exact=True).fill("4")
    press(part, "Draw a tiger")
    wait_for(part, "Done: DPM-Solver++, 4 steps, seed 11, in")
    first = picture(part)

    scrub = part.get_by_label("Look back")
    assert scrub.get_attribute("aria-valuetext") == "step 4 of 4, t = 0"
    scrub.press("Home")
    assert scrub.get_attribute("aria-valuetext") == (
        "step 0 of 4, t = 1000: pure noise, and the network's first guess"
    )
    assert picture(part) != first
    scrub.press("End")
    assert picture(part) == first == picture(part, -2)
    assert part.locator("figcaption:visible").all_inner_texts() == [
        "finished picture x₀",
        "the same: nothing is left to predict",
    ]

    part.get_by_label("Sampler").select_option("ddim")
    part.get_by_label("Seed of the noise").fill("99")
    press(part, "Again with the same noise")
    wait_for(part, "Done: DDIM, 4 steps, seed 11, in")
    kept = part.get_by_role("img", name="The first picture: DPM-Solver++, 4 steps, seed 11")
    assert kept.is_visible()
    assert picture(part) != first

    part.get_by_label("Sampler").select_option("dpm_solver")
    press(part, "Draw a tiger")
    wait_for(part, "Done: DPM-Solver++, 4 steps, seed 11, in")
    assert picture(part) == first, "a seed is a picture"

    for name, kind, about in (
        ("Save as PNG", b"\x89PNG", " (enlarged 4 times)."),
        ("Save the steps as a film", b"GIF89a", ", 5 frames: clean pictures that"),
    ):
        with tab.expect_download() as download:
            press(part, name)
        file = download.value.suggested_filename
        assert file.startswith("tiger-11-dpm-solver-4-steps.")
        wait_for(part, f"Saved {file}{about}")
        assert Path(download.value.path()).read_bytes().startswith(kind)

        with Image.open(download.value.path()) as saved:
            assert saved.size == (256, 256)
            saved.seek(getattr(saved, "n_frames", 1) - 1)
            levels = np.asarray(saved.convert("RGB")).astype(int)
        inside, between = (abs(np.diff(levels, axis=1))[:, k::4].mean() for k in (0, 3))
        assert inside > 0.5 * between, "enlarged smoothly, not in squares of equal pixels"

    scrub.press("Home")
    with tab.expect_download() as download:
        press(part, "Save as PNG")
    assert download.value.suggested_filename == "tiger-11-dpm-solver-4-steps-step-0.png"
    assert tab.errors == []
    stored = "[localStorage.length, sessionStorage.length, document.cookie.length]"
    assert tab.evaluate(stored) == [0, 0, 0]


@pytest.mark.parametrize(("wish", "how"), [("reduce", "auto"), ("no-preference", "smooth")])
def test_who_asks_for_little_motion_gets_it(wish, how, tab, server):
    tab.emulate_media(reduced_motion=wish)
    part = opened(tab, server, "noise")
    spy = "Element.prototype.scrollIntoView = ({ behavior }) => (window.scrolled = behavior)"
    tab.evaluate(f"() => void ({spy})")
    part.get_by_label("Steps", exact=True).fill("1")
    press(part, "Draw a tiger")
    wait_for(part, "Done: DPM-Solver++, 1 step, seed 11, in")
    assert tab.evaluate("scrolled") == how


def test_a_drawing_stops_when_asked_and_the_next_one_works(noise):
    noise.get_by_label("Steps", exact=True).fill("500")
    press(noise, "Draw a tiger")
    until_it_draws(noise)
    assert re.fullmatch(
        r"Now at step \d+ of 500\.", noise.locator(".live-status p").first.inner_text()
    )
    press(noise, "Stop")
    wait_for(noise, "Press “Draw a tiger” to start again.")
    said = noise.locator(".live-status").inner_text()
    at, shown = re.search(
        r"^Stopped at step (\d+) of 500(?: \(step (\d+) is shown\))?\.", said
    ).groups()
    place = noise.get_by_label("Look back").get_attribute("aria-valuetext")
    assert place.startswith(f"step {shown or at} of 500, "), "not every step is kept"
    noise.get_by_label("Steps", exact=True).fill("2")
    press(noise, "Draw a tiger")
    wait_for(noise, "Done: DPM-Solver++, 2 steps")


def test_on_a_phone_the_pictures_come_into_view(browser, server):
    with browser.new_context(**PHONE) as context:
        part = opened(context.new_page(), server, "words")
        go = part.get_by_role("button", name="Draw what the words say")
        go.evaluate("button => scrollTo(0, scrollY + button.getBoundingClientRect().bottom - 840)")
        seen = """canvas => {
            const {top, bottom} = canvas.getBoundingClientRect();
            return top >= 0 && bottom <= innerHeight;
        }"""
        large = part.locator("canvas").last
        assert not large.evaluate(seen)
        go.tap()
        context.pages[0].wait_for_function(seen, arg=large.element_handle())
        assert go.is_visible()
        press(part, "Stop")


def test_a_second_press_while_it_draws_does_nothing_and_the_keyboard_stays_where_it_is(noise):
    noise.get_by_label("Steps", exact=True).fill("3")
    press(noise, "Draw a tiger")
    wait_for(noise, "Done")
    noise.get_by_label("Steps", exact=True).fill("5")
    go = noise.get_by_role("button", name="Draw a tiger")
    again = noise.get_by_role("button", name="Again with the same noise")
    go.focus()
    go.press("Enter")
    wait_for(noise, "Drawing")
    for button in (go, again):
        assert button.is_disabled()
        button.evaluate("button => button.click()")
    go.press("Enter")
    wait_for(noise, "Done: DPM-Solver++, 5 steps")
    assert noise.locator(".live-trajectory canvas:visible").count() == 2, "no first picture is kept"
    assert noise.get_by_label("Look back").get_attribute("max") == "5"
    assert go.evaluate("button => button === document.activeElement")
    assert noise.page.errors == []


def test_two_parts_share_what_is_loaded_and_wait_for_each_other(tab, server):
    noise, photo = opened(tab, server, "noise"), tab.locator("[data-live=compare]")
    words = tab.locator("[data-live=words] .live-status")
    for part in (noise, photo):
        part.get_by_label("Steps", exact=True).fill("2")
    press(noise, "Draw a tiger")
    assert "The first picture loads" in words.inner_text()
    before = words.inner_text()
    press(photo, "Draw with all three")
    wait_for(photo, "Another part of this page is loading too")
    wait_for(noise, "Done: DPM-Solver++, 2 steps")
    assert words.inner_text() != before, "less is missing now"
    announced = words.locator("[role=status]").inner_text()
    assert announced == "", "a screen reader does not read each new hint"
    wait_for(photo, "Done: three pictures from the noise of seed 11.")
    scripts = [url for url in tab.asked if url.endswith(".js")]
    assert len(scripts) == len(set(scripts)) > 10
    noise.get_by_label("Steps", exact=True).fill("500")
    press(noise, "Draw a tiger")
    until_it_draws(noise)
    press(photo, "Draw with all three")
    wait_for(photo, "Another part of this page is drawing; this one begins when it is done.")
    press(noise, "Stop")
    wait_for(photo, "Done: three pictures from the noise of seed 11.")


def test_a_film_says_that_it_waits_for_another_drawing(tab, noise):
    compare = tab.locator("[data-live=compare]")
    noise.get_by_label("Steps", exact=True).fill("2")
    press(noise, "Draw a tiger")
    wait_for(noise, "Done: DPM-Solver++, 2 steps")
    compare.get_by_label("Steps", exact=True).fill("100")
    press(compare, "Draw with all three")
    wait_for(compare, "Drawing")
    with tab.expect_download() as kept:
        press(noise, "Save the steps as a film")
        wait_for(noise, "Another part of this page is drawing; the GIF is made when that is done.")
        press(compare, "Stop")
    assert kept.value.suggested_filename.endswith(".gif")
    wait_for(noise, "Saved tiger-")
    press(compare, "Draw with all three")
    wait_for(compare, "Drawing")
    press(noise, "Save the steps as a film")
    press(noise, "Stop making the GIF")
    wait_for(noise, "The GIF was not made.")
    press(compare, "Stop")
    wait_for(compare, "Stopped")
    assert noise.get_by_role("button", name="Save the steps as a film").is_enabled()
    assert tab.errors == []


def test_what_stopped_before_its_first_step_leaves_no_picture(tab, noise):
    noise.get_by_label("Steps", exact=True).fill("2")
    press(noise, "Draw a tiger")
    wait_for(noise, "Done")
    which = noise.get_by_role("combobox", name="Network")
    which.select_option("ddpm-tiger-32")
    tab.route("**/ddpm-tiger-32.unet.*.js", lambda route: None)  # it never arrives
    press(noise, "Draw a tiger")
    press(noise, "Stop")
    wait_for(noise, "Stopped before the first step.")
    assert noise.get_by_role("img", name="not drawn yet").count() == 2
    empty = "c => c.getContext('2d').getImageData(0, 0, 64, 64).data.every((x) => x === 0)"
    assert noise.locator("canvas:visible").evaluate_all(f"all => all.map({empty})") == [True] * 2


def test_stop_works_while_it_loads_even_if_nothing_arrives(tab, noise):
    late = "**/ddpm-tiger-64.unet.*.3.js"
    held = []
    tab.route(late, lambda route: held.append(route))
    press(noise, "Draw a tiger")
    while not held:
        tab.wait_for_timeout(50)
    press(noise, "Stop")
    wait_for(noise, "Stopped before the first step.")
    held[0].continue_()
    noise.get_by_label("Steps", exact=True).fill("2")
    press(noise, "Draw a tiger")
    wait_for(noise, "Done")


def test_a_connection_that_brings_nothing_is_reported(tab, server):
    tab.clock.install()
    part = opened(tab, server, "noise")
    held = []
    tab.route("**/ddpm-tiger-64.unet.*.0.js", lambda route: held.append(route))
    press(part, "Draw a tiger")
    while not held:
        tab.wait_for_timeout(50)
    tab.clock.fast_forward(21_000)
    wait_for(part, "Less than a megabyte has arrived in 20 seconds")
    held[0].continue_()
    wait_for(part, "Done")


def test_a_page_of_an_error_instead_of_a_part_is_a_lost_connection(tab, noise):
    sign_in = "<!doctype html><title>Sign in to the Wi-Fi</title>"
    tab.route("**/code.wasm.*.0.js", lambda route: route.fulfill(body=sign_in))
    press(noise, "Draw a tiger")
    wait_for(noise, "A part of the network did not arrive: check the connection")


def test_a_tab_in_the_background_draws_and_samples_on(tab, server):
    """Worse than browsers treat it: no timer of the page fires, and no frame is asked for."""
    tab.add_init_script("""
        const [later, frame] = [setTimeout, requestAnimationFrame];
        window.setTimeout = (f, wait) => window.away || later(f, wait);
        window.requestAnimationFrame = (f) => frame((now) => window.away || f(now));
        Object.defineProperty(document, "hidden", {get: () => window.away === true});""")
    plane = opened(tab, server, "plane")
    press(plane, "Train")
    plane.get_by_text(re.compile(r"loss after \d{2,} updates")).wait_for()
    press(plane, "Pause")
    tab.evaluate("window.away = true")
    press(plane, "Sample 300 points")
    plane.locator(".live-status", has_text="300 points in 50 steps").wait_for()
    noise = tab.locator("[data-live=noise]")
    noise.get_by_label("Steps", exact=True).fill("20")
    press(noise, "Draw a tiger")
    wait_for(noise, "Done: DPM-Solver++, 20 steps")
    assert tab.errors == []


def on_the_card(part):
    """Choose the card and a small network, and begin to draw with four steps."""
    part.page.get_by_label("The networks run on").select_option("webgpu")
    part.get_by_role("combobox", name="Network").select_option("ddpm-tiger-32")
    part.get_by_label("Steps", exact=True).fill("4")
    press(part, "Draw a tiger")


def drawn_by_the_processor(part):
    """After the card failed: one sentence, the whole picture, and the card can be chosen again."""
    said = "The graphics card failed, so the processor draws. "
    wait_for(part, f"{said}Done: DPM-Solver++, 4 steps, seed 11, in")
    wait_for(part, "on one core of the processor)")
    assert part.get_by_label("Look back").get_attribute("max") == "4", "no frame of the card's"
    device = part.page.locator("[data-live=device]")
    assert device.get_by_label("The networks run on").input_value() == "wasm"
    assert device.get_by_text("You can choose the card again.").is_visible()
    found = picture(part)
    press(part, "Draw a tiger")
    wait_for(part, re.compile("^Done"))
    assert picture(part) == found


def test_after_a_lost_graphics_card_the_processor_draws(card):
    part = card.locator("[data-live=noise]")
    on_the_card(part)
    wait_for(part, "Drawing: DPM-Solver++")
    card.context.browser.new_browser_cdp_session().send("Browser.crashGpuProcess")
    drawn_by_the_processor(part)


OFFERED = 'Object.defineProperty(navigator, "gpu", {value: {requestAdapter: async () => ({})}});'


def test_if_the_card_is_only_promised_the_processor_draws(tab, server):
    """The page finds an adapter, the worker none: onnxruntime itself throws."""
    tab.add_init_script(OFFERED)
    part = opened(tab, server, "noise")
    on_the_card(part)
    drawn_by_the_processor(part)
    assert tab.errors == []


def test_if_a_step_fails_on_the_card_the_picture_is_drawn_again(tab, server):
    """After two steps, while another part waits, which is drawn on the processor too."""
    tab.add_init_script(f"""{OFFERED}
        const Real = Worker;
        window.Worker = class extends Real {{
            postMessage(job) {{
                if (job.on !== "webgpu") return super.postMessage(job);
                window.waiting = (window.waiting ?? []).concat(job.id);
                const id = waiting[0], grey = new Uint8ClampedArray(4 * 32 * 32);
                if (waiting.length < 2) return;
                for (const k of [0, 1])
                    this.onmessage({{data: {{type: "step", id, k, t: 999, xt: grey, x0: grey}}}});
                this.onmessage({{data: {{type: "error", id, message: "a kernel failed"}}}});
            }}
        }};""")
    part = opened(tab, server, "noise")
    on_the_card(part)
    words = tab.locator("[data-live=words]")
    words.get_by_label("Steps", exact=True).fill("2")
    press(words, "Draw what the words say")
    drawn_by_the_processor(part)
    wait_for(words, re.compile("^The graphics card failed, so the processor draws. Done: a quiet"))
    assert tab.errors == []


def test_another_device_ends_what_is_drawn_and_the_next_one_works(noise):
    noise.get_by_label("Steps", exact=True).fill("500")
    press(noise, "Draw a tiger")
    until_it_draws(noise)
    noise.page.evaluate("tigerdiffLive.engine.move('wasm')")
    wait_for(noise, "Stopped at step")
    noise.get_by_label("Steps", exact=True).fill("2")
    press(noise, "Draw a tiger")
    wait_for(noise, "Done: DPM-Solver++, 2 steps")


@pytest.mark.parametrize("steps", ["0", "1001", "2.5", ""])
def test_steps_that_do_not_fit_are_refused_in_one_sentence(steps, noise):
    noise.get_by_label("Steps", exact=True).fill(steps)
    press(noise, "Draw a tiger")
    wait_for(noise, "Steps must be a whole number between 1 and 1000.")


def test_a_browser_without_webassembly_is_reported(tab, server):
    tab.add_init_script("delete globalThis.WebAssembly")
    part = opened(tab, server, "noise")
    press(part, "Draw a tiger")
    wait_for(part, "This browser cannot run WebAssembly")


def test_a_lost_connection_is_reported_and_what_has_arrived_is_kept(tab, noise):
    last = "**/ddpm-tiger-64.unet.*.3.js"
    tab.route(last, lambda route: route.abort())
    press(noise, "Draw a tiger")
    wait_for(noise, "A part of the network did not arrive: check the connection")
    tab.unroute(last)
    asked = len(tab.asked)
    noise.get_by_label("Steps", exact=True).fill("2")
    press(noise, "Draw a tiger")
    wait_for(noise, "Done")
    assert [url for url in tab.asked[asked:] if "/code.wasm." in url] == []


def test_too_little_memory_is_reported(browser, site):
    """Chromium itself refuses more than 40 MB to WebAssembly."""
    options = ["--no-sandbox", "--js-flags=--wasm-max-mem-pages=600"]
    with browser.browser_type.launch(executable_path=CHROMIUM, args=options) as second:
        page = second.new_page()
        page.set_default_timeout(SLOW)
        part = opened(page, site.as_uri(), "noise")
        press(part, "Draw a tiger")
        wait_for(part, "There is too little memory for this network: close other tabs")
        assert part.get_by_role("button", name="Draw a tiger").is_enabled()


FAILS = """
    const Real = Worker;
    window.Worker = class extends Real {
        postMessage(job) {
            if (job.type !== "draw" || window.enough) super.postMessage(job);
            else this.onmessage({data: {type: "error", id: job.id, message: "WHY"}});
        }
    };"""


def test_a_site_that_forbids_webassembly_is_told_so(tab, server):
    why = "Aborted(CompileError: Refused to compile: 'unsafe-eval' is not an allowed source)"
    tab.add_init_script(FAILS.replace("WHY", why))
    part = opened(tab, server, "noise")
    press(part, "Draw a tiger")
    wait_for(part, "This site or this browser does not allow WebAssembly")


def test_after_too_little_memory_the_next_press_starts_again(tab, server):
    tab.add_init_script(FAILS.replace("WHY", "std::bad_alloc"))
    part = opened(tab, server, "noise")
    part.get_by_label("Steps", exact=True).fill("2")
    press(part, "Draw a tiger")
    wait_for(part, "There is too little memory for this network")
    tab.evaluate("window.enough = true")
    press(part, "Draw a tiger")
    wait_for(part, "Done")


def test_a_book_without_networks_says_so(tab, tmp_path, monkeypatch, capsys):
    def fetch():
        raise ConnectionError("npm could not fetch onnxruntime-web 1.30.0")

    monkeypatch.setattr(fetch_onnxruntime, "fetch", fetch)
    live_assets.main(tmp_path / "live")
    assert capsys.readouterr().out == (
        "The page live is built without the networks: npm could not fetch onnxruntime-web 1.30.0\n"
    )
    (tmp_path / "live.html").write_text(PAGE, encoding="utf-8")
    part = opened(tab, tmp_path.as_uri(), "noise")
    press(part, "Draw a tiger")
    wait_for(part, "This book was built without the networks")


def test_a_damaged_package_is_refused_and_fetched_anew(tmp_path):
    archive = tmp_path / "gifenc-1.0.3.tgz"
    archive.write_bytes(b"not what was published")
    right = base64.b64encode(hashlib.sha512(b"what was published").digest()).decode()
    with pytest.raises(ValueError, match=r"gifenc-1.0.3.tgz is damaged"):
        fetch_onnxruntime.unpacked(tmp_path, "gifenc", "1.0.3", right)
    assert not archive.exists()


def test_a_readers_picture_is_noised_and_drawn_on(tab, origin, tmp_path):
    path = tmp_path / "my cat.png"
    Image.fromarray(td.paint_tiger(96).permute(1, 2, 0).numpy()).save(path)
    part = opened(tab, origin, "photo")
    assert part.get_by_role("button", name="Make it a tiger").is_disabled()
    wait_for(part, "Choose a photo first.")
    part.locator("input[type=file]").set_input_files(path)
    wait_for(part, "my cat.png is ready.")
    noisy = picture(part, 1)
    part.get_by_label("Strength").fill("0.3")
    assert picture(part, 1) != noisy
    part.get_by_label("Steps", exact=True).fill("2")
    press(part, "Make it a tiger")
    wait_for(part, "Done: from t = 300 of 1000, DPM-Solver++, 2 steps")
    wait_for(part, "Likeness to your picture: 0.9")
    part.get_by_label("Strength").fill("0.35")
    assert part.get_by_role("button", name="Save as PNG").is_hidden(), (
        "nothing is drawn from it yet"
    )
    press(part, "Compare four strengths")
    part.get_by_text("strength 90 %, likeness").wait_for()
    texts = part.locator("figcaption").all_inner_texts()
    found = [float(text.rpartition(" ")[2]) for text in texts if "likeness" in text]
    assert len(found) == 4
    assert found == sorted(found, reverse=True), "more noise, less likeness"
    wait_for(part, "Done: four strengths, below. Press one to see it large and save it.")
    strength, large = (
        part.get_by_role("slider", name="Strength"),
        part.locator(".live-trajectory canvas").last,
    )
    small = part.locator("button canvas")
    shown = "canvas => canvas.toDataURL()"
    assert strength.input_value() == "0.3", "the strength of the four that is nearest to 35 %"
    assert large.evaluate(shown) == small.first.evaluate(shown)
    press(part, "Show large: strength 70 %")
    assert strength.input_value() == "0.7"
    assert strength.get_attribute("aria-valuetext").startswith("70 %: the noise of time t = 700")
    assert large.evaluate(shown) == small.nth(2).evaluate(shown) != small.first.evaluate(shown)
    with tab.expect_download() as download:
        press(part, "Save as PNG")
    file = download.value.suggested_filename
    assert file.startswith("my cat-as-tiger-70-percent-11-")
    saved = Image.open(download.value.path()).resize((64, 64), Image.Resampling.NEAREST)
    expected = small.nth(2).evaluate("c => [...c.getContext('2d').getImageData(0, 0, 64, 64).data]")
    levels = np.array(saved.convert("RGB")).transpose(2, 0, 1).astype(int)
    assert np.abs(levels - rgb(expected)).mean() < 4, "the same picture, enlarged smoothly"
    wait_for(part, f"Saved {file}")
    assert all(url.startswith((origin, "blob:")) for url in tab.asked)


def test_another_picture_ends_the_drawing_from_the_first(tab, server, tmp_path):
    for name, colour in (("first.png", "red"), ("second.png", "blue")):
        Image.new("RGB", (80, 80), colour).save(tmp_path / name)
    part = opened(tab, server, "photo")
    part.locator("input[type=file]").set_input_files(tmp_path / "first.png")
    wait_for(part, "first.png is ready.")
    part.get_by_label("Steps", exact=True).fill("500")
    press(part, "Make it a tiger")
    until_it_draws(part)
    part.get_by_label("Strength").fill("0.3")
    part.locator("input[type=file]").set_input_files(tmp_path / "second.png")
    wait_for(part, "second.png is ready.")
    assert part.get_by_role("button", name="Make it a tiger").is_enabled()
    part.get_by_label("Steps", exact=True).fill("2")
    press(part, "Make it a tiger")
    wait_for(part, "Done: from t = 300 of 1000, DPM-Solver++, 2 steps")
    wait_for(part, "Likeness to your picture")
    assert tab.errors == []


def test_of_two_pictures_the_one_chosen_last_is_used(tab, server, tmp_path):
    """Although the first one takes longer to open."""
    tab.add_init_script("""
        const real = createImageBitmap;
        window.createImageBitmap = async (...all) => {
            if (!window.release) await new Promise((resolve) => (window.release = resolve));
            return real(...all);
        };""")
    part = opened(tab, server, "photo")
    for name, colour in (("first.png", "red"), ("second.png", "blue")):
        Image.new("RGB", (80, 80), colour).save(tmp_path / name)
        part.locator("input[type=file]").set_input_files(tmp_path / name)
        tab.wait_for_function("!!window.release")
    wait_for(part, "second.png is ready.")
    tab.evaluate("release()")
    tab.wait_for_timeout(300)
    wait_for(part, "second.png is ready.")
    pixel = "c => [...c.getContext('2d').getImageData(32, 32, 1, 1).data]"
    assert part.locator("canvas").first.evaluate(pixel) == [0, 0, 255, 255]


def test_a_photo_is_turned_upright_and_its_middle_is_taken(tab, server, tmp_path):
    """A camera's photo on its side: after turning, red is on the left of the middle."""
    photo = Image.new("RGB", (300, 400), "red")
    photo.paste("blue", (0, 0, 300, 200))
    exif = Image.Exif()
    exif[274] = 8  # to be turned a quarter to the left
    photo.save(tmp_path / "side.jpg", exif=exif, quality=95)
    part = opened(tab, server, "photo")
    part.locator("input[type=file]").set_input_files(tmp_path / "side.jpg")
    wait_for(part, "ready")
    pixel = "(c, x) => [...c.getContext('2d').getImageData(x, 32, 1, 1).data.slice(0, 3)]"
    left, right = (part.locator("canvas").first.evaluate(pixel, x) for x in (8, 56))
    turned = ImageOps.exif_transpose(Image.open(tmp_path / "side.jpg"))
    assert turned.size == (400, 300)
    assert left == pytest.approx(turned.getpixel((100, 150)), abs=12)
    assert right == pytest.approx(turned.getpixel((300, 150)), abs=12)
    assert left != right


DROP = """(part, name) => {
    const dataTransfer = new DataTransfer();
    if (name) dataTransfer.items.add(new File([window.bytes], name, { type: "image/png" }));
    else dataTransfer.setData("text/plain", "a tiger");
    part.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""


def test_a_picture_can_be_dropped(tab, server):
    part = opened(tab, server, "photo")
    field = part.locator("input[type=file]")
    part.evaluate(DROP, None)
    part.get_by_text("What was dropped is not a file: drop a photo, or choose one.").wait_for()
    tab.evaluate("""async () => {
        const canvas = new OffscreenCanvas(90, 80);
        canvas.getContext("2d").fillRect(0, 0, 90, 80);
        window.bytes = await canvas.convertToBlob();
    }""")
    part.evaluate(DROP, "dropped.png")
    wait_for(part, "dropped.png is ready.")
    assert field.evaluate("field => field.files[0].name") == "dropped.png"
    assert part.get_by_text("is not a file").count() == 0


def test_a_picture_for_which_there_is_no_memory_is_named(tab, server, tmp_path):
    tab.add_init_script("""window.createImageBitmap = async () => {
        throw new DOMException("The ImageBitmap could not be allocated.", "InvalidStateError");
    };""")
    Image.new("RGB", (80, 80)).save(tmp_path / "cat.png")
    part = opened(tab, server, "photo")
    part.locator("input[type=file]").set_input_files(tmp_path / "cat.png")
    part.get_by_text("no memory for cat.png, or it is damaged: choose a smaller photo.").wait_for()


def test_stopped_strengths_leave_the_noise_that_the_slider_says(tab, server, tmp_path):
    Image.new("RGB", (80, 80), "red").save(tmp_path / "cat.png")
    part = opened(tab, server, "photo")
    part.locator("input[type=file]").set_input_files(tmp_path / "cat.png")
    wait_for(part, "cat.png is ready.")
    noisy = picture(part, 1)
    tab.route("**/ddpm-tiger-64.unet.*.3.js", lambda route: None)  # it loads for ever
    press(part, "Compare four strengths")
    wait_for(part, "Loading")
    press(part, "Stop")
    wait_for(part, "Stopped before the first step")
    assert part.get_by_role("slider", name="Strength").input_value() == "0.7"
    part.get_by_role("img", name="your picture with noise, t = 700").wait_for()
    assert picture(part, 1) == noisy


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("notes.txt", "The browser cannot open notes.txt as a picture: choose a JPEG, PNG or WebP"),
        ("huge.png", "huge.png has 100 megapixels: choose a photo of at most 40."),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_sentence(name, sentence, tab, server, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    Image.new("1", (10_000, 10_000)).save(tmp_path / "huge.png")
    part = opened(tab, server, "photo")
    part.locator("input[type=file]").set_input_files(tmp_path / name)
    part.get_by_text(sentence).wait_for()
    assert part.get_by_role("button", name="Make it a tiger").is_disabled()
    Image.new("RGB", (80, 80), "red").save(tmp_path / "cat.png")
    part.locator("input[type=file]").set_input_files(tmp_path / "cat.png")
    wait_for(part, "cat.png is ready.")
    assert part.get_by_text(sentence).count() == 0
    part.locator("input[type=file]").set_input_files(tmp_path / name)
    part.get_by_text("cat.png, chosen before, is still in use.").wait_for()


def test_words_become_a_tiger(tab, origin):
    part = opened(tab, origin, "words")
    prompt = part.get_by_label("Prompt", exact=True)
    part.get_by_label("Mouth").select_option("roaring")
    part.get_by_label("Place").select_option("night")
    assert prompt.input_value() == "a roaring adult orange tiger at night"
    assert part.get_by_label("Time").is_hidden(), "a tiger at night has no other time of day"
    part.get_by_text("All words of its captions").click()
    part.get_by_text(re.compile(r"\ba, .*\bsides, .*\bwhite\b")).wait_for()
    prompt.fill("a blue tiger")
    part.get_by_text("Not in the vocabulary: blue.").wait_for()
    part.get_by_label("Steps", exact=True).fill("2")
    press(part, "Draw what the words say")
    wait_for(part, "Done: a blue tiger; DPM-Solver++, 2 steps, seed 11, guidance 3")
    first = picture(part)
    idle = part.get_by_text("At guidance scale 1 the negative prompt has no effect.")
    part.get_by_label("Guidance scale").fill("1")
    assert idle.is_hidden()
    part.get_by_label("Negative prompt").fill("in the snow")
    assert idle.is_visible()
    part.get_by_label("Guidance scale").fill("3")
    assert idle.is_hidden()
    press(part, "Draw what the words say")
    wait_for(part, "Drawing")
    wait_for(part, "Done")
    assert picture(part) != first


def test_steps_that_were_not_decoded_are_left_out_when_the_reader_looks_back(tab, server):
    part = opened(tab, server, "words")
    tab.evaluate("tigerdiffLive.models.find(({tokenizer}) => tokenizer).decode_every = 3")
    part.get_by_label("Steps", exact=True).fill("5")
    press(part, "Draw what the words say")
    wait_for(part, "Done")
    scrub = part.get_by_label("Look back")
    found = [scrub.get_attribute("aria-valuetext")]
    for _ in range(2):
        scrub.press("ArrowLeft")
        found.append(scrub.get_attribute("aria-valuetext"))
    assert [text.partition(",")[0] for text in found] == [f"step {k} of 5" for k in (5, 3, 0)]


def test_of_a_thousand_steps_a_hundred_are_kept(tab, noise):
    noise.get_by_role("combobox", name="Network").select_option("ddpm-tiger-32")
    noise.get_by_label("Steps", exact=True).fill("250")
    press(noise, "Draw a tiger")
    wait_for(noise, "Done: DPM-Solver++, 250 steps")
    scrub = noise.get_by_label("Look back")
    assert scrub.get_attribute("max") == "84", "every third, and the last"
    assert scrub.get_attribute("aria-valuetext") == "step 250 of 250, t = 0"
    scrub.press("ArrowLeft")
    assert scrub.get_attribute("aria-valuetext").startswith("step 249 of 250, t = ")


def test_a_network_with_larger_pictures_fits_into_the_page(tab, server):
    """The answers of a worker whose pictures have 256 pixels and whose latents have 32."""
    tab.add_init_script("""
        const Real = Worker;
        window.Worker = class extends Real {
            postMessage(job) {
                if (job.type !== "draw") return super.postMessage(job);
                const grey = (side) => new Uint8ClampedArray(4 * side * side).fill(128);
                const say = (data) => this.onmessage({data: {id: job.id, ...data}});
                for (const [k, t] of [[0, 1000], [1, 0]])
                    say({type: "step", k, t, xt: grey(32), x0: grey(256)});
                say({type: "done", stopped: false, seconds: 1});
            }
        };""")
    part = opened(tab, server, "words")
    part.get_by_label("Steps", exact=True).fill("1")
    press(part, "Draw what the words say")
    wait_for(part, "Done")
    sizes = "all => all.map((c) => [c.width, c.height, c.getBoundingClientRect().width])"
    latent, drawn = part.locator("canvas:visible").evaluate_all(sizes)
    assert (latent[:2], drawn[:2]) == ([32, 32], [256, 256])
    assert latent[2] == pytest.approx(drawn[2], abs=1), "they are shown equally large"
    ways = "all => all.map((canvas) => getComputedStyle(canvas).imageRendering)"
    assert part.locator("canvas:visible").evaluate_all(ways) == ["pixelated", "auto"]
    tab.set_viewport_size({"width": 390, "height": 844})
    latent, drawn = part.locator("canvas:visible").evaluate_all(sizes)
    assert drawn[2] > 1.8 * latent[2], "on a phone the picture is larger than its latent"
    for name, frames in (("Save as PNG", 1), ("Save the steps as a film", 2)):
        with tab.expect_download() as download:
            press(part, name)
        saved = Image.open(download.value.path())
        assert (saved.size, getattr(saved, "n_frames", 1)) == ((256, 256), frames)
        wait_for(part, "Saved tiger-from-words-11-dpm-solver-1-steps.")
        assert part.get_by_text("enlarged").count() == 0


def test_three_samplers_draw_from_the_same_noise(tab, origin):
    part = opened(tab, origin, "compare")
    part.get_by_label("Steps", exact=True).fill("3")
    press(part, "Draw with all three")
    wait_for(part, "Done: three pictures from the noise of seed 11.")
    assert part.locator("figcaption").all_inner_texts() == [
        "DDPM, 3 steps",
        "DDIM, 3 steps",
        "DPM-Solver++, 3 steps",
    ]
    first = [picture(part, k) for k in range(3)]
    assert len(set(first)) == 3
    scrub = part.get_by_label("Look back")
    scrub.press("Home")
    assert scrub.get_attribute("aria-valuetext") == (
        "step 0 of 3, t = 1000: the first guess, the same for all three"
    )
    earliest = [picture(part, k) for k in range(3)]
    assert len(set(earliest)) == 1, "one noise, one first prediction"
    scrub.press("End")
    assert [picture(part, k) for k in range(3)] == first

    part.get_by_label("Seed of the noise").fill("9")
    part.get_by_label("noise of DDIM").fill("1")
    press(part, "Again with the same noise")
    wait_for(part, "Done: three pictures from the noise of seed 11, below the first three.")
    assert [picture(part, k) for k in range(3)] == first
    below = [picture(part, k) for k in range(3, 6)]
    assert below[0] == below[1] == first[0], "with η = 1, DDIM is DDPM"
    assert below[2] == first[2]

    part.get_by_label("Steps", exact=True).fill("100")
    press(part, "Again with the same noise")
    wait_for(part, "Drawing")
    press(part, "Stop")
    wait_for(part, "Stopped")
    part.get_by_label("Steps", exact=True).fill("2")
    press(part, "Again with the same noise")  # the first row is still there
    wait_for(part, "Done: three pictures from the noise of seed 11, below the first three.")
    assert [picture(part, k) for k in range(3)] == first
    assert tab.errors == []


@pytest.mark.parametrize(("chapter", "names"), CHAPTERS.items())
def test_a_chapter_holds_its_parts_and_elsewhere_one_sentence(chapter, names):
    """Without scripts, and in a notebook, where styles and scripts are left out."""
    cells = json.loads((ROOT / f"book/{chapter}.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = ["".join(c["source"]) for c in cells if "data-live" in "".join(c["source"])]
    assert '<link rel="stylesheet" href="live/live.css">' in sources[0]
    assert '<script src="live/live.js" defer></script>' in sources[0]
    for source, name in zip(sources, names, strict=True):
        assert f'data-live="{name}"' in source
        said = re.search(r'<p>.*<a href="([^"]*)">this chapter\'s page</a>.*</p>', source)
        assert said[1] == f"https://tigerdiff.github.io/tigerdiff/{chapter}.html"


def test_a_chapter_chooses_network_sampler_and_steps(tab, site):
    chosen = 'data-network="ddpm-tiger-64" data-sampler="ddpm" data-steps="25"'
    page = PAGE.replace('data-live="noise"', f'data-live="noise" {chosen}')
    (site / "chapter.html").write_text(page, encoding="utf-8")
    tab.goto(f"{site.as_uri()}/chapter.html")
    part = tab.locator("[data-live=noise]")
    assert part.get_by_role("combobox", name="Network").count() == 0, "it is not offered"
    assert part.get_by_role("combobox", name="Fur").count() == 0, "chapter 7 explains it"
    assert part.get_by_label("Sampler").input_value() == "ddpm"
    assert part.get_by_label("Steps", exact=True).input_value() == "25"


def test_networks_of_one_size_share_their_noise(noise):
    which = noise.get_by_role("combobox", name="Network")
    again = noise.get_by_role("button", name="Again with the same noise")
    which.select_option("ddpm-tiger-32")
    noise.get_by_label("Steps", exact=True).fill("2")
    press(noise, "Draw a tiger")
    wait_for(noise, "Done: DPM-Solver++, 2 steps, seed 11")
    which.select_option("ddpm-tiger-64")
    assert again.is_disabled()
    which.select_option("ddpm-tiger-32-fast")
    assert again.is_enabled()
    again.click()
    wait_for(noise, "Done: DDIM, 4 steps, seed 11")
    noise.get_by_text("first: 32 pixels; DPM-Solver++, 2 steps, seed 11").wait_for()


def test_what_is_asked_for_stays_and_is_named(noise):
    which = noise.get_by_role("combobox", name="Network")
    again = noise.get_by_role("button", name="Again with the same noise")
    idle = noise.get_by_text("The guidance scale has an effect when you choose an attribute.")
    which.select_option("ddpm-tiger-32")
    assert idle.is_visible()
    noise.get_by_role("combobox", name="Fur").select_option("golden")
    assert idle.is_hidden()
    noise.get_by_label("Steps", exact=True).fill("2")
    press(noise, "Draw a tiger")
    wait_for(noise, "Done: golden, guidance 2, DPM-Solver++, 2 steps, seed 11")
    noise.get_by_role("slider", name="Guidance scale").fill("6")
    again.click()
    wait_for(noise, "Done: golden, guidance 6, DPM-Solver++, 2 steps, seed 11")
    noise.get_by_text("first: golden, guidance 2, DPM-Solver++, 2 steps, seed 11").wait_for()
    ways = "all => all.map((canvas) => getComputedStyle(canvas).imageRendering)"
    assert noise.locator("canvas:visible").evaluate_all(ways) == ["auto", "auto", "auto"]
    noise.get_by_label("Look back").fill("0")
    assert noise.locator("canvas:visible").evaluate_all(ways) == ["auto", "pixelated", "auto"]
    which.select_option("ddpm-tiger-32-fast")
    again.click()
    wait_for(noise, "Done: golden, DDIM, 4 steps, seed 11")
    which.select_option("ddpm-tiger-32")
    assert float(noise.get_by_role("slider", name="Guidance scale").input_value()) == 6
    fur = noise.get_by_role("combobox", name="Fur")
    assert fur.locator("option:checked").inner_text() == "golden"
    noise.get_by_label("Steps", exact=True).fill("500")
    again.click()
    until_it_draws(noise)
    press(noise, "Stop")
    wait_for(noise, "Stopped at step")
    assert again.is_enabled(), "the first picture is still there, and its noise is known"
    assert noise.page.errors == []


def test_a_network_chosen_while_another_one_draws_is_for_the_next_drawing(noise):
    which = noise.get_by_role("combobox", name="Network")
    again = noise.get_by_role("button", name="Again with the same noise")
    save = noise.get_by_role("button", name="Save as PNG")
    which.select_option("ddpm-tiger-32")
    noise.get_by_label("Steps", exact=True).fill("2")
    press(noise, "Draw a tiger")
    wait_for(noise, "Done: DPM-Solver++, 2 steps")
    assert again.is_enabled() and save.is_visible()
    noise.get_by_label("Steps", exact=True).fill("500")
    press(noise, "Draw a tiger")
    until_it_draws(noise)
    assert save.is_hidden(), "it would be half a picture under the name of the one before"
    which.select_option("ddpm-tiger-32-fast")
    assert again.is_disabled(), "the noise of which drawing?"
    press(noise, "Stop")
    wait_for(noise, "Stopped at step")
    assert again.is_disabled() and save.is_hidden()
    press(noise, "Draw a tiger")
    wait_for(noise, "Done: DDIM, 4 steps")
    assert again.is_enabled() and save.is_visible()
    assert noise.page.errors == []


def test_the_line_says_what_the_chosen_network_loads(noise):
    said = noise.locator(".live-status")
    before = said.inner_text()
    noise.get_by_role("combobox", name="Network").select_option("ddpm-tiger-32")
    after = said.inner_text()
    megabytes = [int(re.search(r"loads (\d+) MB", text)[1]) for text in (before, after)]
    assert megabytes[0] > megabytes[1] > 0


def test_a_network_brings_the_sampler_and_the_steps_that_it_draws_with(noise):
    which = noise.get_by_role("combobox", name="Network")
    names = which.locator("option").evaluate_all("all => all.map(option => option.value)")
    assert names == [m.name for m in export_onnx.MODELS if m.make is export_onnx.pixel_model]
    for model in export_onnx.MODELS[: len(names)]:
        which.select_option(model.name)
        assert noise.get_by_label("Sampler").input_value() == model.sampler
        assert noise.get_by_label("Steps", exact=True).input_value() == str(model.steps)
        scale = noise.get_by_role("slider", name="Guidance scale")
        guided = model.guidance_scale > 1
        assert scale.count() == guided
        if guided:
            assert float(scale.input_value()) == model.guidance_scale


def test_the_playground_takes_the_colours_of_the_theme(tab, server):
    part = opened(tab, server, "plane")
    pixel = "canvas => [...canvas.getContext('2d').getImageData(3, 3, 1, 1).data]"
    for scheme, dark in (("light", False), ("dark", True)):
        tab.evaluate("scheme => (document.documentElement.dataset.theme = scheme)", scheme)
        for k in range(3):
            red, green, blue, alpha = part.locator("canvas").nth(k).evaluate(pixel)
            assert alpha == 255
            assert (max(red, green, blue) < 60) == dark


def test_the_playground_pauses_when_its_points_are_taken_away(tab, server):
    part = opened(tab, server, "plane")
    press(part, "Train")
    part.get_by_text(re.compile(r"loss after \d{2,} updates")).wait_for()
    part.get_by_role("combobox").select_option("nothing: draw your own")
    part.get_by_role("button", name="Train").wait_for()
    assert tab.errors == []


def test_the_playground_learns_and_samples(tab, origin):
    part = opened(tab, origin, "plane")
    press(part, "Sample 300 points")
    wait_for(part, "Train the network first")
    part.get_by_role("combobox").select_option("nothing: draw your own")
    press(part, "Train")
    wait_for(part, "There is no point to learn")
    field = part.locator("canvas").first
    field.scroll_into_view_if_needed()
    box = field.bounding_box()
    tab.mouse.move(box["x"] + 50, box["y"] + 50)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 150, box["y"] + 80, steps=5)
    tab.mouse.up()
    press(part, "Train")
    wait_for(part, "The network learns to predict the noise.")
    part.get_by_text(re.compile(r"loss after \d{2,} updates: [01]\.")).wait_for()
    press(part, "Pause")
    part.get_by_label("Steps").fill("5")
    before = picture(part)
    press(part, "Sample 300 points")
    wait_for(part, "300 points in 5 steps, with the noise")
    assert picture(part) != before
    press(part, "Forget and start again")
    part.get_by_text("loss, not trained yet").wait_for()
    assert picture(part) == before, "the samples are gone with the network"
    assert part.get_by_text("300 points in 5 steps").count() == 0
    press(part, "Remove my points")
    assert picture(part) != before
    press(part, "Train")
    wait_for(part, "There is no point to learn")
    assert tab.errors == []


def test_the_playground_takes_points_from_the_keyboard(tab, server):
    part = opened(tab, server, "plane")
    part.get_by_role("combobox").select_option("nothing: draw your own")
    wait_for(part, "On the keyboard, the arrow keys move a cross there and Enter puts a point.")
    remove = part.get_by_role("button", name="Remove my points")
    assert remove.is_disabled()
    part.get_by_role("combobox").press("Tab")
    field = part.get_by_role("application", name="the points to learn")
    assert field.evaluate("field => field === document.activeElement")
    at_rest, samples = picture(part, 0), picture(part)
    for _ in range(3):
        field.press("ArrowRight")
    field.press("ArrowUp")
    wait_for(part, "Cross at (0.3, 0.1).")
    assert picture(part, 0) != at_rest, "the cross is seen"
    assert picture(part) == samples, "and is no point"
    field.press("Enter")
    wait_for(part, "Point 1 at (0.3, 0.1).")
    for _ in range(30):
        field.press("ArrowDown")
    field.press("Space")
    wait_for(part, "Point 2 at (0.3, -1.2).")
    field.press("Tab")
    assert picture(part) != samples
    press(part, "Train")
    wait_for(part, "The network learns to predict the noise.")
    press(part, "Remove my points")
    part.get_by_role("button", name="Train").wait_for()
    assert remove.is_disabled()
    assert picture(part) == samples
    assert tab.errors == []


def test_the_mouse_puts_points_only_with_its_main_button_and_within_the_field(tab, server):
    part = opened(tab, server, "plane")
    part.get_by_role("combobox").select_option("nothing: draw your own")
    field = part.get_by_role("application", name="the points to learn")
    field.scroll_into_view_if_needed()
    box = field.bounding_box()
    tab.mouse.click(box["x"] + 50, box["y"] + 50, button="right")
    assert part.get_by_role("button", name="Remove my points").is_disabled()
    tab.mouse.move(box["x"] + 50, box["y"] + 50)
    tab.mouse.down()
    tab.mouse.move(box["x"] - 60, box["y"] + 50)
    tab.mouse.move(box["x"] - 60, box["y"] + 90)
    tab.mouse.up()
    field.press("Enter")
    wait_for(part, "Point 2 at (0.0, 0.0).")


def test_samples_reach_the_edge_of_the_field(tab, server):
    part = opened(tab, server, "plane")
    part.get_by_role("combobox").select_option("nothing: draw your own")
    field = part.get_by_role("application", name="the points to learn")
    for key in ("ArrowRight", "ArrowUp"):
        for _ in range(12):
            field.press(key)
    field.press("Enter")
    wait_for(part, "Point 1 at (1.2, 1.2).")
    press(part, "Train")
    part.get_by_text(re.compile(r"loss after \d{4,} updates")).wait_for()
    press(part, "Pause")
    beyond = """canvas => [...canvas.getContext('2d').getImageData(386, 0, 34, 420).data]
        .filter((value, k) => k % 4 === 0 && value !== 255).length"""  # x from 1.05 on
    before = part.locator("canvas").last.evaluate(beyond)
    press(part, "Sample 300 points")
    wait_for(part, "300 points in 50 steps")
    assert part.locator("canvas").last.evaluate(beyond) > before + 50


def test_a_finger_draws_points_and_the_page_stays_where_it_is(browser, server):
    with browser.new_context(**PHONE) as context:
        page = context.new_page()
        part = opened(page, server, "plane")
        field = part.locator("canvas").first
        field.scroll_into_view_if_needed()
        box, top = field.bounding_box(), page.evaluate("scrollY")
        before = picture(part)
        finger = context.new_cdp_session(page)
        for kind, k in (("touchStart", 0), ("touchMove", 1), ("touchMove", 2), ("touchEnd", None)):
            place = {"x": box["x"] + 150, "y": box["y"] + 50 + 80 * (k or 0)}
            touched = [] if k is None else [place]
            finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touched})
        assert page.evaluate("scrollY") == top
        assert picture(part) != before
        assert part.get_by_role("button", name="Remove my points").is_enabled()
