"""The two-way choice, as its reader takes it: by keyboard and by click, from a file, offline."""

import json
import re

import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from scipy.stats import binomtest

from tigerdiff.notebook.choice import QUESTION, two_way_choice

N = 8
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Test</title>
<meta name="viewport" content="width=device-width"></head>
<body style="font-family: sans-serif"><main><h1>Choice</h1>{body}</main></body></html>"""


def shades(low):
    """N pictures, each of one grey: the drawn ones are brighter than all that are real."""
    return torch.stack([torch.full((3, 24, 24), low + k, dtype=torch.uint8) for k in range(N)])


def asked(**options):
    alt = [f"grey {k}" for k in range(N)], [f"grey {100 + k}" for k in range(N)]
    return two_way_choice(shades(0), shades(100), alt=alt, **options)


def html(shown):
    return shown._repr_mimebundle_()["text/html"]


def test_each_picture_is_asked_once_and_half_of_the_drawn_ones_are_left():
    shown = asked()
    pairs = json.loads(re.search(r'"application/json">(.*?)</script>', html(shown))[1])
    sides = [pair["drawn"] for pair in pairs]
    assert sum(sides) == N / 2 and len({*sides[:-1]}) == 2
    for pair, side in zip(pairs, sides):
        values = [int(alt.removeprefix("grey ")) for alt in pair["alts"]]
        assert values[side] == values[1 - side] + 100
    seen = [alt for pair in pairs for alt in pair["alts"]]
    assert len(set(seen)) == 2 * N and seen != sorted(seen)
    assert html(asked()) == html(shown) != html(asked(seed=1))
    assert {"image/png", "text/plain"} <= shown._repr_mimebundle_().keys()


def test_what_makes_no_pair_is_refused():
    texts = ["x"] * N
    for real, drawn in ((shades(0), shades(0)[1:]), (shades(0), shades(0)[..., :9]), ([], [])):
        with pytest.raises(ValueError, match="real and drawn must be equally many"):
            two_way_choice(real, drawn, alt=(texts, texts))
    with pytest.raises(ValueError, match="alt must be one text, or a list of 8"):
        two_way_choice(shades(0), shades(9), alt=(texts, texts[1:]))


@pytest.fixture
def page(browser, tmp_path):
    """Two equal questions on one page, from file://, where any request or error is a fault."""
    path, troubles = tmp_path / "page.html", []
    path.write_text(PAGE.format(body=2 * html(asked(caption="A caption."))), encoding="utf-8")
    context = browser.new_context(offline=True, viewport={"width": 390, "height": 800})
    tab = context.new_page()
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    tab.on("console", lambda message: troubles.append(message.text))
    tab.on(
        "request",
        lambda r: None if r.url.startswith(("file:", "data:")) else troubles.append(r.url),
    )
    tab.goto(path.as_uri())
    yield tab
    stored = tab.evaluate("[localStorage.length, sessionStorage.length, document.cookie]")
    assert stored == [0, 0, ""] and troubles == []
    context.close()


def drawn_side(figure):
    """Where the drawn picture is, by its alternative text."""
    texts = [x.get_attribute("alt") for x in figure.get_by_role("img").all()]
    assert [text.partition(":")[0] for text in texts] == ["left", "right"]
    return max((0, 1), key=lambda side: int(texts[side].rpartition(" ")[2]))


def interval(text):
    found, low, high = re.search(r"in (\d+) of .* interval ([\d.]+) % to ([\d.]+) %", text).groups()
    return int(found), float(low), float(high)


def test_by_keyboard_all_right(page):
    figure, other = (page.locator("[data-tigerdiff-choice]").nth(k) for k in (0, 1))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Left"
    status = figure.get_by_role("status")
    for k in range(N):
        assert status.inner_text() == f"Pair {k + 1} of {N}. {QUESTION}"
        side = drawn_side(figure)
        if k % 2:  # by the arrow keys, or by the button
            page.keyboard.press(("ArrowLeft", "ArrowRight")[side])
        else:
            figure.get_by_role("button", name=("Left", "Right")[side]).press("Enter")
    found, low, high = interval(status.inner_text())
    expected = binomtest(N, N).proportion_ci(method="wilson")
    assert (found, high) == (N, 100.0) and low == pytest.approx(100 * expected.low, abs=0.051)
    assert "you can tell them apart" in status.inner_text()
    assert figure.get_by_role("img").count() == 0, "nothing was missed"
    assert page.evaluate("document.activeElement.textContent") == "Start again"
    page.keyboard.press("Enter")
    assert status.inner_text().startswith("Pair 1 of")
    assert page.evaluate("document.activeElement.textContent") == "Left"
    assert other.get_by_role("status").inner_text().startswith("Pair 1 of"), "they do not clash"


@pytest.mark.parametrize(("wrong", "verdict"), [(3, "It holds 50 %"), (N, "It lies below 50 %")])
def test_by_click_with_mistakes(page, wrong, verdict):
    figure = page.locator("[data-tigerdiff-choice]").first
    for k in range(N):
        side = drawn_side(figure)
        name = ("Left", "Right")[1 - side if k < wrong else side]
        figure.get_by_role("button", name=name).click()
    text = figure.get_by_role("status").inner_text()
    found, low, high = interval(text)
    expected = binomtest(N - wrong, N).proportion_ci(method="wilson")
    assert found == N - wrong and verdict in text
    assert (low, high) == pytest.approx((100 * expected.low, 100 * expected.high), abs=0.051)
    alts = [x.get_attribute("alt") for x in figure.get_by_role("img").all()]
    assert len(alts) == 2 * wrong
    for text in alts:
        assert ("drawn" in text) == (int(text.rpartition(" ")[2]) >= 100), text
    assert [x for x in Axe().run(page).response["violations"] if x["id"] != "region"] == []
    figure.get_by_role("button", name="Start again").click()
    assert figure.get_by_role("img").count() == 2


def test_it_is_accessible_and_fits_a_phone(page):
    assert Axe().run(page).response["violations"] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for button in page.get_by_role("button").all():
        assert min(button.bounding_box()["width"], button.bounding_box()["height"]) >= 44
    figure = page.locator("[data-tigerdiff-choice]").first
    tree = figure.aria_snapshot()
    assert f'group "{QUESTION}"' in tree and f"Pair 1 of {N}" in tree


def test_without_scripts_the_first_pair_is_there(browser, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(PAGE.format(body=html(asked())), encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(path.as_uri())
    assert tab.get_by_role("img").count() == 2 and tab.get_by_role("button").count() == 0
    context.close()
