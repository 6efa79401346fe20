"""Pictures and sliders: what they hold, and that they move in a real browser with no network."""

import base64
import io
import json
import re
import sys
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from torchvision.transforms.v2.functional import pil_to_tensor

import tigerdiff as td
from tigerdiff.notebook.show import compare_slider, player, show_images, timestep_slider, wipe

VALUES = [0, 50, 100, 400, 1000]


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


def test_show_images_holds_every_picture():
    for images, count in (
        (torch.stack([picture(k) for k in range(3)]), 3),
        (picture(0), 1),
        (noisy(500), 1),
        (noisy(500).numpy(), 1),
        ([picture(0), noisy(0)], 2),
        (torch.stack([noisy(t) for t in VALUES]).double(), 5),
    ):
        pictures = Elements(html(show_images(images, alt="A tiger"))).named("img")
        assert len(pictures) == count
        assert all(p["alt"].startswith("A tiger") for p in pictures)
        assert len({p["alt"] for p in pictures}) == count


def test_rows_of_pictures_have_one_title_each():
    rows = [torch.stack([picture(k + j) for j in range(3)]) for k in (0, 3)]
    text = html(show_images(rows, alt=["Tigers", "Noise"], titles=["first row", "second row"]))
    pictures = Elements(text).named("img")
    assert [p["alt"] for p in pictures] == [
        "Tigers",
        "2 of 3",
        "3 of 3",
        "Noise",
        "2 of 3",
        "3 of 3",
    ]
    assert len(pictures) == 6
    assert text.index(pictures[2]["src"]) < text.index("first row</p>")
    assert text.index("first row</p>") < text.index(pictures[3]["src"])
    assert "--n:3;" in text
    with pytest.raises(ValueError, match=r"images must be rows of one length, got \[3, 1\]"):
        show_images([rows[0], picture(0)], alt="x")


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


def test_a_slider_keeps_noise_exactly_and_smooth_small_frames_nearly():
    """Each column by itself: a page holds hundreds of such frames."""
    t = torch.linspace(-1, 1, 64)
    smooth = (t * t[:, None]).expand(3, -1, -1)
    frames = [[noisy(k, 64), smooth * (k / 1000)] for k in (500, 1000)]
    text = html(timestep_slider(frames, values=[500, 1000], alt="x", width=160))
    noise, plain = (shown["src"] for shown in Elements(text).named("img"))
    exact = td.to_uint8(noisy(500, 64))
    assert torch.equal(
        torch.tensor(list(decode(noise).tobytes())), exact.permute(1, 2, 0).flatten()
    )
    kept = torch.tensor(list(decode(plain).tobytes())).view(64, 64, 3).permute(2, 0, 1)
    assert (kept - td.to_uint8(frames[0][1]).int()).abs().max() <= 6
    assert len(plain) < len(noise) / 3
    film = player({"a film": [frame[0] for frame in frames]}, values=[0, 1], alt="x", width=160)
    assert Elements(html(film)).named("img")[0]["src"].startswith("data:image/jpeg")


def test_a_diagram_has_few_colours_and_a_white_ground():
    figure = plt.figure(figsize=(3, 2))
    for k in range(4):
        figure.gca().plot([0, k], [k, 1], linewidth=2)
    (shown,) = Elements(html(show_images(figure, alt="Lines"))).named("img")
    counts = decode(shown["src"]).convert("RGB").getcolors()
    assert len(counts) <= 32
    assert max(counts)[1] == (255, 255, 255)


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


def test_a_strip_of_small_pictures_is_kept_exactly():
    """As grain is what some strips show: 8 pictures of 32 pixels, but no larger ones."""
    grain = torch.cat([picture(k) for k in range(8)], dim=-1)
    (image,) = Elements(html(show_images(grain, alt="x", width=600))).named("img")
    assert (pil_to_tensor(decode(image["src"])) == grain).all()
    (image,) = Elements(html(show_images(picture(0, 256), alt="x"))).named("img")
    assert image["src"].startswith("data:image/jpeg")


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
        noisy, values=VALUES, alt="x", of=2000, start=100, text=lambda t: f"level {t / 1000:.2f}"
    )
    data = stored(html(slider))
    assert data["start"] == 2
    assert data["readouts"][2] == ["t = 100 of 2000", "level 0.10"]
    assert Elements(html(slider)).named("img")[0]["alt"] == "x, t = 100 of 2000"
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
    assert (shown["width"], shown["height"]) == ("432", "288")
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


BAD = [
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
    (
        lambda: show_images(picture(0), alt="x", columns=0),
        "columns must be a whole number of at least 1",
    ),
    (lambda: show_images(picture(0), alt="x", width=0), "width must be a whole number"),
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
        lambda: compare_slider(dict.fromkeys("abc", noisy), **good, wipe=True),
        "wipe compares two tracks, got 3",
    ),
    (lambda: wipe(picture(0), picture(0, 40), alt="x"), "left and right must have one size"),
    (lambda: player({}, alt="x"), "films is empty"),
    (lambda: player({"a": [picture(0)] * 3, "b": []}, alt="x"), "films\\['b'\\] has 0 items"),
    (
        lambda: compare_slider({"a": noisy, "b": [picture(0)]}, **good),
        r"tracks\['b'\] has 1 items",
    ),
    (
        lambda: compare_slider({"a": noisy, "b": lambda t: None}, **good),
        "tracks must hold tensors",
    ),
]


def test_bad_input_names_the_argument():
    for call, words in BAD:
        with pytest.raises(ValueError, match=words):
            call()


def test_alt_is_required():
    with pytest.raises(TypeError, match="alt"):
        show_images(picture(0))


# --- the live form and other front-ends ----------------------------------------------------------


def live(slider, kind):
    """The widget of this kind inside the live form of a slider."""
    found, todo = [], [slider.live()]
    while todo:
        widget = todo.pop()
        todo += getattr(widget, "children", ())
        found += [widget] if type(widget).__name__ == kind else []
    return found[0]


def drawn(output):
    """The HTML that the live form shows."""
    return output.outputs[0]["data"]["text/html"]


@pytest.mark.parametrize("values", [[0, 5, 10], [10, 5, 0]])
def test_the_live_form_computes_every_whole_number(values):
    asked = []

    def frame(t):
        asked.append(t)
        return picture(t)

    slider = timestep_slider(frame, values=values, alt="x", start=5, text=lambda t: f"{t} squared")
    assert asked == values
    handle = slider.live().children[1]
    assert [value for _, value in handle.options] == list(range(11))
    assert asked == values, "5 was there already"
    handle.value = 7
    assert asked == [*values, 7]


def test_without_a_function_the_live_form_moves_over_the_values():
    slider = timestep_slider([picture(k) for k in range(3)], values=[0, 0.5, 1], alt="x")
    assert [name for name, _ in live(slider, "SelectionSlider").options] == ["0", "0.5", "1"]


def test_without_ipywidgets_the_slider_is_there_and_live_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    slider = timestep_slider(picture, values=[0, 5], alt="x")
    assert set(slider._repr_mimebundle_()) == {"text/html", "image/png", "text/plain"}
    with pytest.raises(ImportError, match="pip install ipywidgets"):
        slider.live()


def test_paper_shows_four_frames():
    values = list(range(7))
    sheet = timestep_slider(picture, values=values, alt="x")._repr_mimebundle_()["image/png"]
    shown = Image.open(io.BytesIO(base64.b64decode(sheet)))
    assert shown.size == (4 * 160 + 3 * 8, 160)
    for k, value in enumerate((0, 2, 4, 6)):
        one = shown.crop((k * 168, 0, k * 168 + 160, 160)).resize((32, 32), Image.Resampling.BOX)
        assert one.tobytes() == picture(value).permute(1, 2, 0).numpy().tobytes()


# --- in a browser, from a file, with no network -------------------------------------------------

PAGE = """<!doctype html><html lang="en" data-theme="{theme}">
<head><meta charset="utf-8"><title>Test</title>
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

    def open_it(*pieces, scripts=True, width=1280, dark=False, still=False):
        path = tmp_path / f"{len(contexts)}.html"
        back, ink = ("#121212", "#ddd") if dark else ("#fff", "#222")
        theme = "dark" if dark else "light"
        text = PAGE.format(theme=theme, back=back, ink=ink, body="<hr>".join(pieces))
        path.write_text(text, encoding="utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            java_script_enabled=scripts,
            offline=True,
            reduced_motion="reduce" if still else "no-preference",
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


def record(figure):
    """Keep in the page's list ``seen`` what the readout says, and when the play button changes."""
    figure.evaluate("""figure => {
        const [text, play] = [".tigerdiff-readout", ".tigerdiff-play"].map(
            name => figure.querySelector(name));
        window.seen = [];
        new MutationObserver(() => seen.push(text.innerText)).observe(
            text, {childList: true, characterData: true, subtree: true});
        new MutationObserver(() => seen.push(`pressed: ${play.ariaPressed}`)).observe(
            play, {attributes: true, attributeFilter: ["aria-pressed"]});
    }""")


def shown_since(figure):
    return figure.page.evaluate("seen")


def slider_html(**options):
    return html(timestep_slider(noisy, values=VALUES, alt="A ramp", of=1000, **options))


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
    record(figure)
    page.wait_for_timeout(600)
    assert shown_since(figure) == []  # nothing moves by itself
    play = figure.get_by_role("button", name="Play")
    assert play.get_attribute("aria-pressed") == "false"
    play.click()
    page.wait_for_function("seen.includes('pressed: true')")
    page.wait_for_function("seen.at(-1) === 'pressed: false'")
    assert readout(figure) == "t = 1000 of 1000"
    assert pixels(figure) != first
    (figure,) = figures(open_page(slider_html(interval=60, start=1000)))
    play = figure.get_by_role("button", name="Play")
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
    assert len(rows_of(grid)) == (2 if width == 390 else 1)


def rows_of(grid):
    """How many pictures each row of a grid has."""
    heights = [round(cell.bounding_box()["y"]) for cell in grid.locator(".tigerdiff-cell").all()]
    return [heights.count(y) for y in sorted(set(heights))]


def test_rows_that_do_not_fit_are_halved(open_page):
    """What is side by side on a wide screen is never split as 2 + 1 on a narrow one."""
    expected = {
        260: [[1] * 3, [2, 2], [1] * 6, [2, 2, 2, 1]],
        390: [[3], [2, 2], [3, 3], [2, 2, 2, 1]],
        900: [[3], [4], [6], [7]],
    }
    shown = [
        show_images([picture(k)] * k, alt="x", titles=["a"] * k, columns=k, width=width)
        for k, width in ((3, 160), (4, 160), (6, 160), (7, 84))
    ]
    page = open_page(*map(html, shown), width=900)
    for width, rows in expected.items():
        page.set_viewport_size({"width": width, "height": 600})
        assert [rows_of(grid) for grid in figures(page)] == rows, width


def test_strips_of_pictures_are_below_each_other_on_the_phone(open_page):
    strip = torch.cat([picture(k) for k in range(3)], dim=-1)
    shown = show_images([strip, strip], alt="x", titles=["right", "wrong"], width=320)
    page = open_page(html(shown), width=390)
    (grid,) = figures(page)
    assert rows_of(grid) == [1, 1]
    page.set_viewport_size({"width": 1280, "height": 600})
    assert rows_of(grid) == [2]


def test_the_handle_of_one_picture_is_as_wide_as_it(open_page):
    frames = [noisy(0), noisy(500)]
    film = player({"a": frames, "b": frames}, alt="x", width=320)
    both = compare_slider({"a": frames, "b": frames}, values=[0, 1], alt="x", width=320, wipe=True)
    for shown in (film, timestep_slider(frames, values=[0, 1], alt="x", width=320), both):
        page = open_page(html(shown))
        page.locator(".tigerdiff-play").wait_for()
        # Both at one moment: the film plays, and hides the picture that was found a moment ago.
        handle, shown_picture = page.evaluate(
            """() => [
              document.querySelector(".tigerdiff-controls:has(.tigerdiff-play)"),
              [...document.querySelectorAll(".tigerdiff-cell img")].find(e => e.checkVisibility()),
            ].map((element) => element.getBoundingClientRect()).map(({ x, width }) => [x, width])"""
        )
        assert handle == shown_picture
        assert handle[1] > 100


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


def drag(page, figure, start, end):
    """Drag on the picture, from one share of its width to another."""
    box = figure.locator(".tigerdiff-cell:visible").first.bounding_box()
    y = box["y"] + 60
    page.mouse.move(box["x"] + start * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + end * box["width"], y, steps=4)
    page.mouse.up()


def test_the_picture_itself_is_a_handle(open_page):
    page = open_page(slider_html(start=100), slider_html())
    figure, other = figures(page)
    drag(page, figure, 0.1, 0.9)
    assert readout(figure) == "t = 1000 of 1000"
    drag(page, figure, 0.6, 0.4)
    assert readout(figure) == "t = 400 of 1000"
    page.mouse.move(5, 5)
    assert readout(figure) == "t = 400 of 1000", "the button is up"
    assert readout(other) == "t = 0 of 1000"


def test_a_wipe_shows_one_picture_left_and_one_right_of_its_divider(open_page):
    red, blue = torch.full((2, 3, 40, 40), -1.0)
    red[0] = blue[2] = 1
    text = html(wipe(red, blue, alt="A colour", titles=["red", "blue"]))
    page = open_page(text)
    (figure,) = figures(page)

    def shares():
        image = Image.open(io.BytesIO(pixels(figure))).convert("RGB")
        row = [image.getpixel((x, 20)) for x in range(image.width)]
        return round(sum(r > 200 > b for r, _, b in row) / 16), row[2][0] > row[2][2]

    handle = figure.get_by_role("slider", name="Divider between red and blue")
    assert shares() == (5, True)
    handle.press("End")
    assert shares() == (10, True)
    assert handle.get_attribute("aria-valuetext") == "100 % red, 0 % blue"
    drag(page, figure, 0.5, 0.2)
    assert handle.get_attribute("aria-valuetext") == "20 % red, 80 % blue"
    assert shares()[0] == 2
    handle.press("ArrowLeft")
    assert handle.get_attribute("aria-valuetext") == "15 % red, 85 % blue"
    (plain,) = figures(open_page(text, scripts=False))
    left, right = (plain.get_by_role("img").nth(k).bounding_box() for k in (0, 1))
    assert left["x"] + left["width"] < right["x"] and left["y"] == right["y"]


def test_compare_can_wipe_at_each_value(open_page):
    tracks = {"linear": noisy, "cosine": lambda t: noisy(t * t / 1000)}
    text = html(compare_slider(tracks, values=VALUES, alt="x", of=1000, wipe=True, start=400))
    page = open_page(text)
    (figure,) = figures(page)
    drag(page, figure, 0.5, 0.8)
    assert readout(figure) == "t = 400 of 1000", "the divider was dragged, not the value"
    before = pixels(figure)
    figure.get_by_role("slider", name="t", exact=True).press("ArrowLeft")
    assert readout(figure) == "t = 100 of 1000"
    assert pixels(figure) != before


@pytest.mark.parametrize("still", [False, True])
def test_a_player_plays_once_when_seen_unless_motion_is_unwanted(open_page, still):
    films = {f"seed {k}": [picture(10 * k + j) for j in range(4)] for k in range(3)}
    text = html(player(films, alt="Noise", label="step", of=4, interval=0.2))
    page = open_page("<div style='height: 2000px'></div>", text, still=still)
    (figure,) = figures(page)
    record(figure)
    page.wait_for_timeout(300)
    assert shown_since(figure) == [], "it waits until it is seen"
    figure.scroll_into_view_if_needed()
    if still:
        page.wait_for_timeout(500)
        assert shown_since(figure) == []
    else:
        page.wait_for_function("seen.includes('step = 1 of 4')")
        page.wait_for_function("seen.at(-1) === 'pressed: false'")
    assert readout(figure) == "step = 4 of 4"
    figure.get_by_role("button", name="seed 2").click()
    (alt,) = [image.get_attribute("alt") for image in figure.get_by_role("img").all()]
    assert alt.startswith("Noise: seed 2, step = ")
    drag(page, figure, 0.9, 0.1)
    assert readout(figure) == "step = 1 of 4"
    assert Elements(text).named("img")[1]["alt"] == "Noise: seed 1, step = 4 of 4"
    assert figures(open_page(text, scripts=False))[0].get_by_role("img").count() == 1


def test_on_paper_four_frames_and_their_values(open_page):
    values = list(range(0, 91, 10))
    page = open_page(
        html(timestep_slider(lambda t: [picture(t), picture(0)], values=values, alt="x"))
    )
    page.emulate_media(media="print")
    (figure,) = figures(page)
    assert figure.locator("button:visible, input:visible").count() == 0
    cells = figure.locator(".tigerdiff-cell").all()
    for cell, wanted in zip(cells, ([0, 30, 60, 90], [0, 0, 0, 0]), strict=True):
        images = cell.locator("img:visible").all()
        images.sort(key=lambda image: image.bounding_box()["x"])
        shown = [decode(image.get_attribute("src")).tobytes() for image in images]
        assert shown == [picture(t).permute(1, 2, 0).numpy().tobytes() for t in wanted]
    assert figure.locator(".tigerdiff-printed").inner_text().split("\n") == [
        f"t = {t}" for t in (0, 30, 60, 90)
    ]


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("dark", [False, True])
def test_the_track_has_a_contrast_of_three(open_page, dark):
    page = open_page(slider_html(), dark=dark)
    bar = Image.open(io.BytesIO(page.get_by_role("slider").screenshot())).convert("RGB")
    track, ground = (
        luminance([c / 255 for c in bar.getpixel((bar.width // 2, y))])
        for y in (bar.height // 2, 2)
    )
    light, shade = max(track, ground), min(track, ground)
    assert (light + 0.05) / (shade + 0.05) >= 3


def test_a_diagram_is_light_on_a_dark_page_and_a_picture_is_not_changed(open_page):
    text = html(show_images([td.plot_curves({"a": [1, 2]}), picture(0, 200)], alt="x"))
    seen = {}
    for dark in (False, True):
        images = open_page(text, dark=dark).get_by_role("img").all()
        shots = [Image.open(io.BytesIO(x.screenshot())).convert("RGB") for x in images]
        seen[dark] = [shot.crop((9, 9, shot.width - 9, shot.height - 9)) for shot in shots]
    assert seen[False][0].getpixel((0, 0)) == (255, 255, 255)
    assert seen[True][0].getpixel((0, 0)) == (0x12, 0x12, 0x12), "the page's own"
    assert seen[False][1].tobytes() == seen[True][1].tobytes()


def test_noise_has_hard_pixels_in_all_frames_and_other_pictures_are_smooth():
    frames = [[noisy(t), noisy(0), picture(0, 16) // 2 + 60] for t in VALUES]
    shown = Elements(html(timestep_slider(frames, values=VALUES, alt="x"))).named("img")
    assert [image.get("class") for image in shown] == ["tigerdiff-pixels", None, "tigerdiff-pixels"]
    for pixelated, kind in ((True, "tigerdiff-pixels"), (False, None)):
        text = html(timestep_slider(frames, values=VALUES, alt="x", pixelated=pixelated))
        assert {image.get("class") for image in Elements(text).named("img")} == {kind}


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.36, 0.4, 0.342], ["0.360", "0.400", "0.342"]),
        ([2.0, 1.0, 0.5, 0.125], ["2.000", "1.000", "0.500", "0.125"]),
        ([1.0, 4.0], ["1", "4"]),
        ([0, 0.25, -3.1], ["0.00", "0.25", "-3.10"]),
        ([1000, 25], ["1,000", "25"]),
        ([521.4, 1.08, 0.991], ["521", "1.08", "0.991"]),
        ([1.2e-9, 0.5], ["1.20e-09", "0.500"]),
        ([0.0996, 0.00831, 520.0], ["0.0996", "0.00831", "520"]),
        ([True, "–"], ["True", "–"]),
    ],
)
def test_a_column_of_floats_has_equal_decimals(values, texts):
    table = td.table([{"row": "x", "value": value} for value in values])
    assert [line.split()[-1] for line in str(table).split("\n")[1:]] == texts


def test_a_table_is_aligned_text_and_stacks_on_the_phone(open_page):
    rows = [
        {"sampler": "DDPM", "steps": 1000, "distance": 15.934, "error": "−1.5 ± 0.2"},
        {"sampler": "DDIM <b>", "steps": 25, "distance": torch.tensor(18.5), "error": ""},
    ]
    table = td.table(rows, caption="Samplers")
    assert str(table).split("\n") == [
        "Samplers",
        "sampler   steps  distance       error",
        "DDPM      1,000      15.9  −1.5 ± 0.2",
        "DDIM <b>     25      18.5",
    ]
    wide, narrow = (open_page(html(table), width=width) for width in (1280, 390))
    heights = [
        {
            round(cell.bounding_box()["y"])
            for cell in page.locator("tbody tr").first.locator("th, td").all()
        }
        for page in (wide, narrow)
    ]
    assert [len(each) for each in heights] == [1, 4]
    empty = narrow.locator("tbody tr").last.locator("td").last
    assert empty.is_hidden(), "in a list, a name without a value says nothing"
    assert "steps" in narrow.locator("td").first.evaluate(
        "e => getComputedStyle(e, '::before').content"
    )
    for bad in ([], [{}], [{"a": 1}, {"b": 1}]):
        with pytest.raises(ValueError, match="the same columns"):
            td.table(bad)


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing(open_page, dark):
    page = open_page(
        html(show_images([picture(0), picture(1)], alt="x", titles=["a", "b"], caption="c")),
        slider_html(caption="A caption", titles=["x_t"], text=lambda t: "more"),
        slider_html(),
        html(compare_slider({"linear": noisy, "cosine": noisy}, values=VALUES, alt="x")),
        html(wipe(picture(0), picture(1), alt="x")),
        html(player({"a": [picture(0), picture(1)], "b": [picture(1)] * 2}, alt="x")),
        html(td.table([{"a": "x", "b": 1}])),
        dark=dark,
    )
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
