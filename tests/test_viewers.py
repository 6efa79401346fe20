"""Pictures and sliders: what they hold, and that they move in a real browser with no network."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from nbclient import NotebookClient
from PIL import Image

from tigerdiff.notebook import widgets as _widgets
from tigerdiff.notebook.show import compare_slider, show_images, timestep_slider

VALUES = [0, 50, 100, 400, 1000]
WIDGET = "application/vnd.jupyter.widget-view+json"


def picture(seed, size=32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, size, size), generator=generator, dtype=torch.uint8)


def noisy(t, size=64):
    """A colour ramp that dissolves into noise as t goes to 1000, float in and beyond [-1, 1]."""
    ramp = (
        torch.linspace(-1, 1, size).expand(3, size, size)
        * torch.tensor([1, 0.5, -1])[:, None, None]
    )
    eps = torch.randn(3, size, size, generator=torch.Generator().manual_seed(0))
    return (1 - t / 1000) ** 0.5 * ramp + (t / 1000) ** 0.5 * eps


def html(shown):
    return shown._repr_mimebundle_()["text/html"]


def decode(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")


def stored(text):
    """What the slider's script reads."""
    return json.loads(re.search(r'application/json">(.*?)</script>', text, re.DOTALL)[1])


class Elements(HTMLParser):
    """The elements of a piece of HTML; fails when they are not properly nested."""

    def __init__(self, text):
        super().__init__()
        self.open, self.all = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.all.append((tag, dict(attrs)))
        if tag not in {"img", "input"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def named(self, name):
        return [attributes for tag, attributes in self.all if tag == name]


# --- what is in the HTML ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "count"),
    [
        (torch.stack([picture(k) for k in range(3)]), 3),
        (picture(0), 1),
        (noisy(500), 1),
        (noisy(500).numpy(), 1),
        ([picture(0), noisy(0)], 2),
        (torch.stack([noisy(t) for t in VALUES]).double(), 5),
    ],
)
def test_show_images_holds_every_picture(images, count):
    pictures = Elements(html(show_images(images, alt="A tiger"))).named("img")
    assert len(pictures) == count
    assert all(p["alt"].startswith("A tiger") for p in pictures)
    assert len({p["alt"] for p in pictures}) == count


def test_small_pictures_are_exact_and_float_range_is_declared():
    x = picture(0)
    (shown,) = Elements(html(show_images(x, alt="x"))).named("img")
    assert shown["src"].startswith("data:image/webp")
    assert torch.equal(
        torch.tensor(list(decode(shown["src"]).tobytes())), x.permute(1, 2, 0).flatten()
    )
    levels = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0]).expand(3, 5, 5)
    (shown,) = Elements(html(show_images(levels, alt="x"))).named("img")
    assert list(decode(shown["src"]).tobytes()[:15:3]) == [0, 0, 128, 255, 255]


def test_titles_captions_and_alt_are_text():
    shown = show_images(
        [picture(0), picture(1)], alt="<b>", titles=["a < b", '"'], caption="</figure>"
    )
    elements = Elements(html(shown))
    assert [p["alt"] for p in elements.named("img")] == ["<b>: a < b", '<b>: "']
    assert len(elements.named("figcaption")) == 1
    assert not elements.named("b")


def test_one_alt_per_picture():
    shown = show_images([picture(0), picture(1)], alt=["left", "right"])
    assert [p["alt"] for p in Elements(html(shown)).named("img")] == ["left", "right"]


def test_every_form_is_offered():
    bundle = show_images(
        torch.stack([picture(k, 32) for k in range(3)]), alt="A tiger"
    )._repr_mimebundle_()
    assert set(bundle) == {"text/html", "image/png", "text/plain"}
    sheet = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert sheet.size == (3 * 160 + 2 * 8, 160)
    assert bundle["text/plain"] == "3 pictures: A tiger: 1 of 3"


def test_png_sheet_has_a_row_per_row():
    shown = show_images([picture(k, 40) for k in range(5)], alt="x", columns=2)
    sheet = Image.open(io.BytesIO(base64.b64decode(shown._repr_mimebundle_()["image/png"])))
    assert sheet.size == (2 * 160 + 8, 3 * 160 + 2 * 8)


def test_slider_holds_each_distinct_picture_once():
    fixed = picture(0)
    frames = [[picture(k), fixed] for k in range(5)]
    text = html(timestep_slider(frames, values=VALUES, alt="x", titles=["x_t", "x0"]))
    Elements(text)
    data = stored(text)
    assert len(data["frames"]) == 5
    # frame 0 is picture 0 twice over; four more are distinct
    assert data["frames"][0] == [0, 0]
    assert len(data["pictures"]) == 5
    uris = re.findall(r"data:image/[^\"]+", text)
    assert len(set(uris)) == 5
    assert len(uris) == 6  # the two images in the page, four in the data


def test_slider_readouts_say_value_range_and_text():
    slider = timestep_slider(
        noisy, values=VALUES, alt="x", start=100, text=lambda t: f"level {t / 1000:.2f}"
    )
    data = stored(html(slider))
    assert data["start"] == 2
    assert data["readouts"][2] == ["t = 100 of 1000", "level 0.10"]
    assert Elements(html(slider)).named("img")[0]["alt"] == "x, t = 100 of 1000"
    scales = timestep_slider(
        [picture(0), picture(1)], values=torch.tensor([1.0, 7.5]), alt="x", label="guidance_scale"
    )
    assert stored(html(scales))["readouts"] == [["guidance_scale = 1"], ["guidance_scale = 7.5"]]


def test_figures_can_be_frames_and_are_closed():
    def plot(t):
        figure, axes = plt.subplots(figsize=(3, 2))
        axes.plot([0, t])
        return figure

    before = plt.get_fignums()
    text = html(timestep_slider(plot, values=[0, 1], alt="A line"))
    assert plt.get_fignums() == before
    (shown,) = Elements(text).named("img")
    assert (shown["width"], shown["height"]) == ("576", "384")
    assert len(html(show_images([plot(1), picture(0)], alt=["A line", "noise"]))) > 0


def test_no_other_host_and_no_ids():
    shown = [
        show_images(picture(0), alt="x", caption="y"),
        timestep_slider(noisy, values=VALUES, alt="x"),
        compare_slider({"a": noisy, "b": noisy}, values=VALUES, alt="x"),
    ]
    for text in map(html, shown):
        markup = re.sub(r"data:image/\w+;base64,[\w+/=]+", "", text)
        assert not re.search(r"https?:|//\w+\.\w|url\(|@import|\bid=", markup)


def test_the_same_call_gives_the_same_page():
    first, second = (html(timestep_slider(noisy, values=VALUES, alt="x")) for _ in range(2))
    assert first == second


def test_twelve_noisy_frames_of_256_are_about_half_a_megabyte():
    values = [0, 10, 25, 50, 100, 150, 200, 300, 400, 500, 700, 1000]
    text = html(timestep_slider(lambda t: noisy(t, 256), values=values, alt="x"))
    pictures = [u for u in stored(text)["pictures"] if u] + [Elements(text).named("img")[0]["src"]]
    assert len(pictures) == 12
    stored_bytes = sum(len(base64.b64decode(uri.partition(",")[2])) for uri in pictures)
    assert stored_bytes < 550_000
    assert len(text) < 750_000


def test_noise_keeps_its_colour():
    """Halved colour resolution would leave a third of the chroma's deviation."""
    (shown,) = Elements(html(show_images(noisy(1000, 256), alt="noise"))).named("img")
    kept = torch.tensor(list(decode(shown["src"]).convert("YCbCr").tobytes())).reshape(-1, 3)
    exact = ((noisy(1000, 256).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    image = Image.fromarray(exact.permute(1, 2, 0).contiguous().numpy()).convert("YCbCr")
    truth = torch.tensor(list(image.tobytes())).reshape(-1, 3)
    ratio = kept.double().std(0) / truth.double().std(0)
    assert (ratio > 0.85).all()
    assert (ratio < 1.1).all()


# --- bad input ----------------------------------------------------------------------------------

good = {"values": [0, 1], "alt": "x"}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: show_images(torch.zeros(4, 8, 8), alt="x"), "images must be pictures of shape"),
        (lambda: show_images(torch.zeros(8, 8), alt="x"), "images must be pictures of shape"),
        (lambda: show_images(torch.zeros(3, 0, 8), alt="x"), "images must be pictures of shape"),
        (
            lambda: show_images(torch.zeros(3, 8, 8).long(), alt="x"),
            "images must be uint8 or float",
        ),
        (lambda: show_images(torch.full((3, 8, 8), 255.0), alt="x"), r"images must be .*\[-1, 1\]"),
        (lambda: show_images(torch.full((3, 8, 8), torch.nan), alt="x"), "images must be"),
        (lambda: show_images("tiger.png", alt="x"), "images must hold tensors"),
        (lambda: show_images([], alt="x"), "images is empty"),
        (lambda: show_images(picture(0), alt=" "), "alt must say"),
        (lambda: show_images(picture(0), alt=["a", "b"]), "alt must be one text, or a list of 1"),
        (lambda: show_images(picture(0), alt="x", titles=["a", "b"]), "titles must be a list of 1"),
        (lambda: show_images(picture(0), alt="x", titles="a"), "titles must be a list of 1"),
        (lambda: show_images(picture(0), alt="x", columns=0), "columns must be at least 1"),
        (lambda: show_images(picture(0), alt="x", width=0), "width must be at least 1"),
        (lambda: timestep_slider([picture(0)], **good), "frames has 1 items for 2 values"),
        (lambda: timestep_slider(3, **good), "frames must be a function or one item per value"),
        (
            lambda: timestep_slider([picture(0), picture(1, 40)], **good),
            "frames must have pictures",
        ),
        (
            lambda: timestep_slider([picture(0), [picture(0)] * 2], **good),
            "frames must have pictures",
        ),
        (lambda: timestep_slider(lambda t: None, **good), "frames must hold tensors"),
        (lambda: timestep_slider(noisy, values=[1], alt="x"), "values must be at least two"),
        (lambda: timestep_slider(noisy, values=[1, 1], alt="x"), "values must be at least two"),
        (lambda: timestep_slider(noisy, values=["a", "b"], alt="x"), "values must be numbers"),
        (lambda: timestep_slider(noisy, **good, start=7), "start must be one of values"),
        (lambda: timestep_slider(noisy, **good, interval=0), "interval must be a positive"),
        (lambda: timestep_slider(noisy, **good, text=["a", "b"]), "text must be a function too"),
        (lambda: timestep_slider([picture(0)] * 2, **good, text=["a"]), "text has 1 items"),
        (lambda: compare_slider({"a": noisy}, **good), "tracks needs at least two"),
        (
            lambda: compare_slider({"a": noisy, "b": [picture(0)]}, **good),
            r"tracks\['b'\] has 1 items",
        ),
        (
            lambda: compare_slider({"a": noisy, "b": lambda t: None}, **good),
            "tracks must hold tensors",
        ),
    ],
)
def test_bad_input_names_the_argument(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_alt_is_required():
    with pytest.raises(TypeError, match="alt"):
        show_images(picture(0))


# --- the live form ------------------------------------------------------------------------------


def live(slider, kind):
    """The widget of this kind inside a slider."""
    found, todo = [], [slider._widget]
    while todo:
        widget = todo.pop()
        todo += getattr(widget, "children", ())
        found += [widget] if type(widget).__name__ == kind else []
    return found[0]


def test_the_widget_view_is_offered_only_in_a_live_kernel(monkeypatch):
    slider = timestep_slider(noisy, values=VALUES, alt="x")
    assert set(slider._repr_mimebundle_()) == {"text/html", "image/png", "text/plain"}
    monkeypatch.setattr(_widgets, "kernel_is_live", lambda: True)
    view = slider._repr_mimebundle_()[WIDGET]
    assert view == {"version_major": 2, "version_minor": 0, "model_id": slider._widget.model_id}


@pytest.mark.parametrize("values", [[0, 5, 10], [10, 5, 0]])
def test_the_live_slider_recomputes_every_whole_number(values):
    asked = []

    def frame(t):
        asked.append(t)
        return picture(t)

    slider = timestep_slider(frame, values=values, alt="x", start=5, text=lambda t: f"{t} squared")
    assert asked == values
    handle, shown = live(slider, "SelectionSlider"), live(slider, "HTML")
    whole = list(range(11)) if values[0] == 0 else list(range(10, -1, -1))
    assert [value for _, value in handle.options] == whole
    assert "t = 5 of 10 · 5 squared" in shown.value
    handle.value = 7
    assert asked == [*values, 7]
    assert "t = 7 of 10 · 7 squared" in shown.value
    src = Elements(shown.value).named("img")[0]["src"]
    assert src == Elements(html(show_images(picture(7), alt="x"))).named("img")[0]["src"]
    handle.value = 10
    assert asked == [*values, 7]  # 10 was there already


def test_without_a_function_the_live_slider_moves_over_the_values():
    slider = timestep_slider([picture(k) for k in range(3)], values=[0, 0.5, 1], alt="x")
    assert [name for name, _ in live(slider, "SelectionSlider").options] == ["0", "0.5", "1"]


def test_live_play_steps_over_the_frames_from_where_the_slider_was_left():
    slider = timestep_slider(picture, values=[0, 50, 100], alt="x")
    handle, play = live(slider, "SelectionSlider"), live(slider, "Play")
    assert (play.min, play.max, play.value) == (0, 2, 0)
    playing = "playing" if play.has_trait("playing") else "_playing"  # ipywidgets 8 or 7
    play.set_trait(playing, True)
    handle.value = 63
    assert (getattr(play, playing), play.value, handle.value) == (False, 1, 63)
    play.value = 2  # what the browser does at the next tick
    assert handle.value == 100


def test_the_live_choice_shows_one_track_alone():
    slider = compare_slider({"linear": noisy, "cosine": noisy}, values=VALUES, alt="A ramp")
    shown, choice = live(slider, "HTML"), live(slider, "ToggleButtons")
    assert len(Elements(shown.value).named("img")) == 2
    choice.value = 2
    assert [p["alt"] for p in Elements(shown.value).named("img")] == [
        "A ramp: cosine, t = 0 of 1000"
    ]


def test_an_executed_notebook_carries_both_forms_and_little_state():
    cells = [
        "import torch\nfrom tigerdiff.viewers import timestep_slider",
        "print('before')\n"
        "timestep_slider(lambda t: torch.full((3, 8, 8), t / 4), values=[0, 2, 4], alt='A square')",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    before, output = notebook.cells[1].outputs
    assert before["text"] == "before\n"
    assert {WIDGET, "text/html", "image/png", "text/plain"} == set(output["data"])
    assert "<figure" in output["data"]["text/html"]
    state = notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]
    assert output["data"][WIDGET]["model_id"] in state["state"]
    assert len(json.dumps(state)) < 25_000


# --- in a browser, from a file, with no network -------------------------------------------------

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Test</title>
<meta name="viewport" content="width=device-width"></head>
<body style="font-family: sans-serif; margin: 16px; background: {back}; color: {ink}">
<main><h1>Sliders</h1>{body}</main></body></html>"""


@pytest.fixture
def open_page(browser, tmp_path):
    """Opens HTML from file:// with every other request refused; at the end nothing was wrong."""
    contexts, troubles = [], []

    def refuse(route):
        if route.request.url.startswith(("file:", "data:")):
            return route.continue_()
        troubles.append(f"asked for {route.request.url}")
        return route.abort()

    def open_it(*pieces, scripts=True, width=1280, dark=False):
        path = tmp_path / f"{len(contexts)}.html"
        back, ink = ("#121212", "#ddd") if dark else ("#fff", "#222")
        path.write_text(PAGE.format(back=back, ink=ink, body="<hr>".join(pieces)), encoding="utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": 900}, java_script_enabled=scripts, offline=True
        )
        contexts.append(context)
        page = context.new_page()
        page.route("**/*", refuse)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on(
            "console", lambda m: troubles.append(m.text) if m.type in {"error", "warning"} else None
        )
        page.goto(path.as_uri())
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert not troubles


def figures(page):
    return [page.locator(".tigerdiff").nth(k) for k in range(page.locator(".tigerdiff").count())]


def pixels(figure):
    return figure.locator(".tigerdiff-grid").screenshot()


def readout(figure):
    return figure.locator(".tigerdiff-readout").inner_text()


def slider_html(**options):
    return html(timestep_slider(noisy, values=VALUES, alt="A ramp", **options))


def test_equal_sliders_move_by_keyboard_and_do_not_clash(open_page):
    page = open_page(slider_html(), slider_html())
    one, other = figures(page)
    first = pixels(one)
    still = pixels(other)
    handle = one.get_by_role("slider", name="t")
    handle.focus()
    seen = {}
    for key, value in [
        ("ArrowRight", 50),
        ("ArrowUp", 100),
        ("ArrowLeft", 50),
        ("PageUp", 400),
        ("PageDown", 50),
        ("ArrowDown", 0),
        ("ArrowDown", 0),
        ("End", 1000),
        ("ArrowRight", 1000),
    ]:
        page.keyboard.press(key)
        assert readout(one) == f"t = {value} of 1000"
        assert handle.get_attribute("aria-valuetext") == f"t = {value} of 1000"
        assert one.get_by_role("img").get_attribute("alt") == f"A ramp, t = {value} of 1000"
        seen[value] = pixels(one)
    assert len(set(seen.values())) == len(VALUES)
    page.keyboard.press("Home")
    assert pixels(one) == first
    assert pixels(other) == still
    assert readout(other) == "t = 0 of 1000"
    other.get_by_role("slider").focus()
    page.keyboard.press("End")
    assert readout(other) == "t = 1000 of 1000"
    assert pixels(other) != still
    assert pixels(one) == first


def test_sliders_move_by_mouse(open_page):
    page = open_page(slider_html(), slider_html())
    one, other = figures(page)
    first = pixels(other)
    box = other.get_by_role("slider").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 12, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, middle, steps=5)
    assert readout(other) == "t = 100 of 1000"
    halfway = pixels(other)
    page.mouse.move(box["x"] + box["width"] - 12, middle, steps=5)
    page.mouse.up()
    assert readout(other) == "t = 1000 of 1000"
    assert len({first, halfway, pixels(other)}) == 3
    assert readout(one) == "t = 0 of 1000"


def test_play_runs_to_the_end_stops_and_starts_again(open_page):
    page = open_page(slider_html(interval=0.15))
    (figure,) = figures(page)
    first = pixels(figure)
    page.wait_for_timeout(600)
    assert readout(figure) == "t = 0 of 1000"  # nothing moves by itself
    play = figure.get_by_role("button", name="Play")
    assert play.get_attribute("aria-pressed") == "false"
    play.click()
    assert play.get_attribute("aria-pressed") == "true"
    page.wait_for_function(
        "document.querySelector('.tigerdiff-readout').innerText.includes('= 1000')"
    )
    page.wait_for_function("document.querySelector('button').ariaPressed === 'false'")
    assert pixels(figure) != first
    play.press(" ")
    assert readout(figure) == "t = 0 of 1000"
    play.press("Enter")
    assert play.get_attribute("aria-pressed") == "false"


def test_moving_the_slider_stops_the_play(open_page):
    page = open_page(slider_html(interval=0.3))
    (figure,) = figures(page)
    figure.get_by_role("button", name="Play").click()
    figure.get_by_role("slider").press("Home")
    page.wait_for_timeout(700)
    assert readout(figure) == "t = 0 of 1000"


def test_without_scripts_the_starting_frame_is_there(open_page):
    text = slider_html(start=400, caption="A caption")
    (plain,) = figures(open_page(text, scripts=False))
    (alive,) = figures(open_page(text))
    assert pixels(plain) == pixels(alive)
    assert readout(plain) == "t = 400 of 1000"
    assert plain.get_by_role("img").count() == 1
    assert plain.locator("input, button").count() == 0
    assert alive.get_by_role("slider").is_visible()


def test_compare_moves_both_and_can_show_one_alone(open_page):
    tracks = {"linear": noisy, "cosine": lambda t: noisy(t * t / 1000)}
    text = html(compare_slider(tracks, values=VALUES, alt="A ramp", start=400))
    page = open_page(text, text)
    figure, other = figures(page)
    cells = [figure.locator(".tigerdiff-cell").nth(k) for k in range(2)]
    before = [cell.screenshot() for cell in cells]
    assert before[0] != before[1]
    figure.get_by_role("slider").press("ArrowRight")
    after = [cell.screenshot() for cell in cells]
    assert after[0] != before[0]
    assert after[1] != before[1]
    place, height = cells[0].bounding_box(), figure.bounding_box()["height"]
    buttons = {
        name: figure.get_by_role("button", name=name) for name in ("both", "linear", "cosine")
    }
    buttons["cosine"].click()
    assert not cells[0].is_visible()
    assert cells[1].bounding_box() == place
    assert figure.bounding_box()["height"] == height
    pressed = [button.get_attribute("aria-pressed") for button in buttons.values()]
    assert pressed == ["false", "false", "true"]
    buttons["both"].click()
    assert cells[0].is_visible()
    assert other.locator(".tigerdiff-cell").nth(0).is_visible()


@pytest.mark.parametrize("width", [390, 1280])
def test_layout_fits_and_never_jumps(open_page, width):
    words = {t: "word " * (t // 50) for t in VALUES}
    page = open_page(
        slider_html(text=words.get, titles=["x_t"], caption="A caption " * 9),
        html(compare_slider({"a": noisy, "b": noisy}, values=VALUES, alt="x")),
        html(
            show_images([picture(k, 64) for k in range(6)], alt="x", titles=[*"abcdef"], columns=6)
        ),
        width=width,
    )
    figure, _, grid = figures(page)
    sizes = set()
    for _ in VALUES:
        sizes.add(tuple(figure.bounding_box().values()))
        figure.get_by_role("slider").press("ArrowRight")
    assert len(sizes) == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for target in page.locator("button, input").all():
        box = target.bounding_box()
        assert box["width"] >= 44
        assert box["height"] >= 44
    rows = {round(cell.bounding_box()["y"]) for cell in grid.locator(".tigerdiff-cell").all()}
    assert len(rows) == (3 if width == 390 else 1)


def test_small_pictures_are_enlarged_in_crisp_pixels(open_page):
    page = open_page(html(show_images([picture(0, 8), picture(0, 200)], alt="x")))
    style = "e => [getComputedStyle(e).imageRendering, e.getBoundingClientRect().width]"
    small, large = (image.evaluate(style) for image in page.get_by_role("img").all())
    assert small == ["pixelated", 160]
    assert large == ["auto", 200]


def test_a_notebook_front_end_may_insert_it_late(open_page):
    """Front-ends set innerHTML and then run the scripts again; and may do so for two at once."""
    page = open_page("<div></div>")
    page.evaluate(
        """(html) => {
            const box = document.querySelector("div");
            box.innerHTML = html + html;
            for (const old of box.querySelectorAll("script")) {
                const fresh = document.createElement("script");
                for (const a of old.attributes) fresh.setAttribute(a.name, a.value);
                fresh.textContent = old.textContent;
                old.replaceWith(fresh);
            }
        }""",
        slider_html(),
    )
    assert page.get_by_role("slider").count() == 2
    one, other = figures(page)
    other.get_by_role("slider").press("End")
    assert readout(other) == "t = 1000 of 1000"
    assert readout(one) == "t = 0 of 1000"


def test_keys_do_not_leak_to_the_front_end(open_page):
    """JupyterLab and the book's theme bind arrow keys, space and enter at the document."""
    page = open_page(slider_html())
    page.evaluate(
        "window.leaked = []; document.addEventListener('keydown', e => leaked.push(e.key))"
    )
    for key in (
        "ArrowLeft",
        "ArrowRight",
        "ArrowUp",
        "ArrowDown",
        "PageUp",
        "PageDown",
        "Home",
        "End",
    ):
        page.get_by_role("slider").press(key)
    page.get_by_role("button", name="Play").press(" ")
    page.get_by_role("button", name="Play").press("Enter")
    assert page.evaluate("leaked") == []
    page.get_by_role("slider").press("Tab")
    assert page.evaluate("leaked") == ["Tab"]


def test_texts_cannot_end_the_script(open_page):
    evil = "</script><!--<script>&amp;"
    page = open_page(slider_html(text=lambda t: evil, label="<t>"))
    (figure,) = figures(page)
    figure.get_by_role("slider").press("ArrowRight")
    assert readout(figure) == f"<t> = 50 of 1000 · {evil}"


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing(open_page, dark):
    page = open_page(
        html(show_images([picture(0), picture(1)], alt="x", titles=["a", "b"], caption="c")),
        slider_html(caption="A caption", titles=["x_t"], text=lambda t: "more"),
        slider_html(),
        html(compare_slider({"linear": noisy, "cosine": noisy}, values=VALUES, alt="x")),
        dark=dark,
    )
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
