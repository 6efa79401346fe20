"""The built site, read as a reader reads it: in a browser, from a server and from disk."""

import json
import re
from functools import cache
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup
from execute_pages import BUILD, listed_pages, source_of
from light_pages import lightened, single
from PIL import Image

ROOT = Path(__file__).parent.parent
PAGES = listed_pages(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8")))
CHAPTERS = [page for page in PAGES if (ROOT / f"book/{page}.ipynb").exists()]
FROM_DISK = ["index", "02_forward_noising", "search"]  # one of each kind; all come from a server
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
LAPTOP = {"viewport": {"width": 1280, "height": 900}}
SLIDER = "[data-tigerdiff-slider]"

# What axe-core finds that is not ours: (rule, element). The theme draws the logo outside any
# landmark; docutils marks up the list of references with roles that ARIA has dropped since.
THEME = {("region", ".only-light")}
DOCUTILS = {
    "references": {
        ("aria-allowed-role", "#id*"),
        ("aria-deprecated-role", "#id*"),
        ("aria-required-children", ".citation-list"),
    }
}


class Visit:
    """One page in the browser, and everything that went wrong on it or left its origin."""

    def __init__(self, browser, origin, page, **context):
        self.context = browser.new_context(**context)
        self.tab = self.context.new_page()
        self.foreign, self.errors = [], []
        self.tab.route("**/*", self._only_from(origin))
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("requestfailed", lambda request: self._note(request.url))
        self.tab.on("console", self._console)
        self.tab.goto(f"{origin}/{page}", wait_until="load")
        # Asked from here: with scripts off no timer runs in a page that waits by itself.
        for _ in range(6000):
            if self.tab.evaluate("document.fonts.status") == "loaded":
                break
            self.tab.wait_for_timeout(100)
        else:
            raise TimeoutError(f"{page} does not load its fonts")

    def _only_from(self, origin):
        def decide(route):
            url = route.request.url
            if url.startswith((origin + "/", "data:", "blob:")):
                route.continue_()
            else:
                self.foreign.append(url)
                route.abort()

        return decide

    def _console(self, message):
        if message.type == "error":
            self._note(f"{message.text} ({message.location.get('url')})")

    def _note(self, error):
        # The theme of Python 3.10 preloads its icon font, which browsers refuse to do from disk;
        # the icons themselves are drawn by a script and show.
        if not re.search(r"file:\S*/_static/vendor/fontawesome/", error):
            self.errors.append(error)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def wait_for_mathematics(self):
        """Until MathJax has set every formula; returns how many there are."""
        self.tab.wait_for_function(
            "[...document.querySelectorAll('article .math')]"
            ".every(formula => formula.querySelector('mjx-container'))"
        )
        assert self.tab.locator("mjx-merror").count() == 0
        return self.tab.locator("article mjx-container").count()


@cache
def soup(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def check_whole(visit):
    """Nothing went wrong, nothing is loaded from elsewhere, and each formula is set by MathJax."""
    formulas = visit.wait_for_mathematics()
    visit.tab.wait_for_load_state("networkidle")
    assert visit.foreign == []
    assert visit.errors == []
    assert visit.tab.evaluate("typeof MathJax !== 'undefined'") == bool(formulas)
    return formulas


@pytest.mark.parametrize("page", [*PAGES, "search", "genindex"])
def test_a_page_is_whole_by_itself(page, browser, site_url):
    """From a server, at a laptop's width, where no line of code is wider than its box."""
    with Visit(browser, site_url, f"{page}.html", **LAPTOP) as visit:
        formulas = check_whole(visit)
        wide = """[...document.querySelectorAll("article div.cell pre")]
            .filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent)"""
        assert visit.tab.evaluate(wide) == []
        if page == "notation" or page[:2] in ("01", "02", "04", "05"):
            assert formulas >= 10
            assert visit.tab.evaluate("MathJax.version").startswith("3.")
            assert visit.tab.locator("mjx-container").first.bounding_box()["width"] > 0
            assert visit.tab.evaluate("[...document.fonts].some(f => /MJX/.test(f.family))")


@pytest.mark.parametrize("page", FROM_DISK)
def test_a_page_is_whole_from_disk(page, browser, built_book):
    with Visit(browser, built_book.as_uri(), f"{page}.html") as visit:
        check_whole(visit)


def test_a_page_is_lightened_of_what_it_does_not_need():
    tag = '\n<meta name="viewport" content="width=device-width">'
    script = '\n<script defer="defer" src="_static/mathjax/tex-chtml.js"></script>'
    page = f"<head>{tag}{tag}{script}<title>One &#8212; Two</title></head><p>{{}}</p>"
    assert lightened(page) == page.replace(tag + tag, tag).replace(script, "")
    formula = page.format('<span class="math notranslate">x</span>')
    assert lightened(formula) == formula.replace(tag + tag, tag)
    assert single("A tiger &#8212; A tiger") == "A tiger"


def test_a_shared_link_shows_the_written_description():
    shared = '<meta property="og:description" content="{}" />'
    written = '<meta content="What it is." name="description" />'
    assert lightened(shared.format("First words")) == shared.format("First words")
    assert lightened(written + shared.format("First words")) == written + shared.format(
        "What it is."
    )


def test_a_formula_keeps_its_punctuation():
    formula = r'<span class="math notranslate nohighlight">\(a &lt; b\)</span>'
    kept = [f"({formula}", f"{formula}).", f"({formula}),"]
    text = f"<p>The {formula} of " + " and ".join(kept) + "</p>"
    wrapped = f"<p>The {formula} of " + " and ".join(f'<span class="keep">{x}</span>' for x in kept)
    assert lightened(text) == wrapped + "</p>"


def test_the_cells_of_a_table_name_their_columns():
    head = (
        '<tr class="row-odd"><th class="head"><p>What</p></th>\n<th class="head"><p>Code</p></th>'
    )
    row = '<tr><td><p>a</p></td>\n<td class="text-right"><p>b</p></td>\n</tr>'
    table = '<table class="table">\n<thead>' + head + "</tr></thead><tbody>{}</tbody></table>"
    named = row.replace("<td class", '<td data-column="Code" class')
    assert lightened(table.format(row)) == table.format(named)


@pytest.mark.parametrize("page", ["index", "05_ddim"])
def test_a_row_becomes_a_list_on_a_phone(page, browser, site_url):
    with Visit(browser, site_url, f"{page}.html", **PHONE) as visit:
        cells = visit.tab.locator("article table.table td").all()
        assert cells
        lefts = {round(cell.bounding_box()["x"]) for cell in cells if cell.is_visible()}
        assert len(lefts) == 1, "one below the other"
        named = visit.tab.locator("article table.table td[data-column]").first
        content = named.evaluate("e => getComputedStyle(e, '::before').content")
        assert named.get_attribute("data-column") in content


def description_of(page):
    """What the source of a page says about it: in a notebook's metadata or in front matter."""
    path = source_of(page)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        head = json.loads(text)["metadata"]
    else:
        head = yaml.safe_load(text.split("---\n")[1]) if text.startswith("---\n") else {}
    return head.get("myst", {}).get("html_meta", {}).get("description", "")


def test_every_page_has_a_written_description_of_its_own():
    texts = {page: description_of(page) for page in PAGES}
    assert {page: text for page, text in texts.items() if not 50 <= len(text) <= 200} == {}
    assert len(set(texts.values())) == len(texts)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_its_description_to_search_engines_and_in_links(page, built_book):
    html = soup(built_book / f"{page}.html")
    for selector in ("meta[name=description]", "meta[property='og:description']"):
        assert [tag["content"] for tag in html.select(selector)] == [description_of(page)]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_at_most_three_megabytes(page, built_book):
    assert (built_book / f"{page}.html").stat().st_size <= 3_000_000


def test_a_page_says_once_what_it_is(built_book):
    titles = {}
    for page in PAGES:
        html = soup(built_book / f"{page}.html")
        assert len(html.select("meta[name=viewport]")) == 1, page
        parts = [part.strip() for part in html.title.get_text().split("—")]
        assert len(parts) == len(set(parts)), page
        titles.setdefault(html.title.get_text(), []).append(page)
    assert {title: pages for title, pages in titles.items() if len(pages) > 1} == {}


def test_the_search_leads_to_the_section(browser, site_url):
    with Visit(browser, site_url, "search.html?q=posterior") as visit:
        visit.tab.wait_for_function("""() => {
            const links = [...document.querySelectorAll("#search-results li a")];
            return links.some(a => /›/.test(a.text))
                && links.every(a => a.hash || /_modules/.test(a.href));
        }""")
        assert visit.errors == []


def test_references_to_equations_lead_to_numbered_equations(built_book):
    references = [
        (page, link)
        for page in PAGES
        for link in soup(built_book / f"{page}.html").select("a[href*='#equation-']")
        if "headerlink" not in link.get("class", [])
    ]
    assert len(references) >= 5
    for page, link in references:
        target, _, fragment = link["href"].partition("#")
        source = built_book / f"{page}.html"
        path = (source.parent / target).resolve() if target else source
        equation = soup(path).find(id=fragment)
        assert equation is not None, (page, link["href"])
        number = equation.select_one(".eqno").get_text()
        assert link.get_text().strip() in number, (page, link["href"])


def test_every_function_of_the_reference_leads_to_its_source(built_book):
    entries = soup(built_book / "api.html").select("dl.py.function > dt, dl.py.class > dt")
    assert len(entries) > 50
    assert [dt["id"] for dt in entries if not dt.select("a[href^='_modules/']")] == []


def test_internal_links_lead_somewhere(built_book):
    broken = []
    pages = [path for path in built_book.rglob("*.html") if "_static" not in path.parts]
    for path in sorted(pages):
        for element in soup(path).select("[href], [src]"):
            url = urlsplit(element.get("href") or element.get("src"))
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            if not target.exists():
                broken.append((path.name, url.geturl()))
            elif url.fragment and target.suffix == ".html":
                name = unquote(url.fragment)
                if not soup(target).find(attrs={"id": name}):
                    broken.append((path.name, url.geturl()))
    assert broken == []


@pytest.mark.parametrize("page", PAGES)
def test_every_picture_says_what_it_shows(page, built_book):
    for image in soup(built_book / f"{page}.html").select("article img"):
        alt = (image.get("alt") or "").strip()
        # Without a text of its own, a picture is given its file name.
        assert alt, str(image)[:200]
        assert not re.search(r"\.(png|webp|svg|jpe?g|gif)$", alt), alt


@pytest.mark.parametrize("page", PAGES)
def test_accessibility(page, browser, site_url):
    """All rules in the light scheme; in the dark one those of colours, as all else is the same."""
    with Visit(browser, site_url, f"{page}.html") as visit:
        visit.wait_for_mathematics()
        visit.tab.add_style_tag(content="* { transition: none !important; }")
        known = {"light": THEME | DOCUTILS.get(page, set()), "dark": set()}
        light = {"resultTypes": ["violations"]}  # to describe all that is right takes half the time
        rules = {
            "light": light,
            "dark": light | {"runOnly": ["color-contrast", "link-in-text-block"]},
        }
        for scheme in ("light", "dark"):
            visit.tab.emulate_media(color_scheme=scheme)
            visit.tab.wait_for_function(
                "scheme => document.documentElement.dataset.theme === scheme", arg=scheme
            )
            findings = Axe().run(visit.tab, options=rules[scheme]).response["violations"]
            found = {
                (finding["id"], re.sub(r"#id\d+", "#id*", " ".join(node["target"])))
                for finding in findings
                for node in finding["nodes"]
            }
            assert found == known[scheme], scheme


@pytest.mark.parametrize("page", PAGES)
def test_a_phone_shows_everything(page, browser, site_url):
    """The page does not scroll sideways, and what is wider than it scrolls by itself."""
    with Visit(browser, site_url, f"{page}.html", **PHONE) as visit:
        visit.wait_for_mathematics()
        assert visit.tab.evaluate("document.documentElement.scrollWidth") <= 390
        cut_off = """
            [...document.querySelectorAll("article mjx-container, article img, article pre")]
                .filter(element => element.getBoundingClientRect().right > 390)
                .filter(element => {
                    for (let e = element; e.tagName !== "ARTICLE"; e = e.parentElement)
                        if (/auto|scroll/.test(getComputedStyle(e).overflowX)) return false;
                    return true;
                })
                .map(element => element.textContent || element.alt)"""
        assert visit.tab.evaluate(cut_off) == []
        printed = """[...document.querySelectorAll("article .cell_output pre")]
            .filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent)"""
        assert visit.tab.evaluate(printed) == []


def test_a_formula_that_is_too_wide_scrolls_by_itself_and_fades(browser, site_url):
    with Visit(browser, site_url, "01_theory.html", **PHONE) as visit:
        visit.wait_for_mathematics()
        tops = """() => [...document.querySelectorAll("p span.math mjx-math")].map(
            e => e.getBoundingClientRect().top - e.closest("p").getBoundingClientRect().top)"""
        placed = visit.tab.evaluate(tops)
        visit.tab.add_style_tag(content=".bd-article span.math { display: inline !important; }")
        assert visit.tab.evaluate(tops) == pytest.approx(placed, abs=1), "they are on the line"
    with Visit(browser, site_url, "01_theory.html", **PHONE) as visit:
        visit.wait_for_mathematics()
        formula = visit.tab.locator("p span.math").first
        faded = "e => getComputedStyle(e).getPropertyValue('--fade')"
        assert formula.evaluate(faded) == "0px"
        formula.evaluate("e => e.closest('p').style.width = e.clientWidth / 2 + 'px'")
        visit.tab.wait_for_function(f"e => ({faded})(e) === '40px'", arg=formula.element_handle())
        assert formula.evaluate("e => e.scrollWidth > e.clientWidth + 5")
        formula.evaluate("e => e.scrollLeft = 10_000")
        visit.tab.wait_for_function(f"e => ({faded})(e) === '0px'", arg=formula.element_handle())
        assert formula.evaluate("e => e.scrollLeft") > 5


def test_the_start_page_leads_to_every_chapter(built_book):
    links = {link.get("href") for link in soup(built_book / "index.html").select("article a")}
    assert {f"{chapter}.html" for chapter in CHAPTERS} <= links


@pytest.mark.parametrize("page", CHAPTERS)
def test_a_chapter_offers_to_run_in_colab_and_binder(page, built_book):
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    place = config["sphinx"]["config"]["plain_notebooks"]
    slug = config["repository"]["url"].removeprefix("https://github.com/")
    links = [link["href"] for link in soup(built_book / f"{page}.html").select("a[href^=https]")]
    assert f"https://colab.research.google.com/github/{slug}/blob/{place}/{page}.ipynb" in links
    assert any(
        link.startswith(f"https://mybinder.org/v2/gh/{slug}/main") and f"book/{page}.ipynb" in link
        for link in links
    )


def test_the_status_page_lists_every_page_that_ran(built_book):
    ran = json.loads((BUILD / "pages.json").read_text())["pages"]
    rows = [row.select("td") for row in soup(built_book / "status.html").select("article tr")]
    listed = {row[0].a["href"].removesuffix(".html"): row for row in rows if row}
    assert listed.keys() == ran.keys() - {"status"}
    assert set(CHAPTERS) <= listed.keys()
    for page, (_, seconds, tflop, *_) in listed.items():
        assert float(seconds.get_text()) == pytest.approx(ran[page]["seconds"], abs=0.6)
        shown = tflop.get_text().removeprefix("below ")  # "below 0.01" where almost nothing ran
        assert float(shown) == pytest.approx(ran[page]["tflop"], abs=0.011)


def pictures(slider):
    """What can be seen of a slider's pictures, as pixels."""
    shot = slider.locator(".tigerdiff-grid").screenshot(animations="disabled")
    return np.asarray(Image.open(BytesIO(shot)).convert("RGB")).astype(int)


def alike(a, b):
    """Whether two screenshots are alike: a few pixels may be redrawn a level or two off."""
    return a.shape == b.shape and abs(a - b).mean() < 0.01


def readout(slider):
    return slider.locator(".tigerdiff-readout").inner_text()


def test_there_are_sliders(built_book):
    assert soup(built_book / "02_forward_noising.html").select(SLIDER)


@pytest.mark.parametrize("page", CHAPTERS)
def test_sliders_move_by_keyboard_mouse_and_play(page, browser, site_url):
    with Visit(browser, site_url, f"{page}.html", **LAPTOP) as visit:
        visit.wait_for_mathematics()
        for button in visit.tab.query_selector_all("article .solution .toggle-button-hidden"):
            button.click()  # a solution may hold a slider
        visit.tab.evaluate("document.querySelectorAll('details').forEach(box => (box.open = true))")
        moving = visit.tab.locator(".tigerdiff-readout")  # which a wipe of two pictures has not
        sliders = visit.tab.locator(SLIDER, has=moving).all()
        for slider in sliders:
            slider.scroll_into_view_if_needed()
            others = [other for other in sliders if other is not slider]
            before_elsewhere = [readout(other) for other in others]
            handle = slider.locator("input[type=range]").last  # a wipe has a divider before it

            handle.focus()
            visit.tab.keyboard.press("Home")
            first = pictures(slider)
            visit.tab.keyboard.press("ArrowRight")
            assert handle.input_value() == "1"
            second = pictures(slider)
            assert not alike(second, first)
            visit.tab.keyboard.press("End")
            last = pictures(slider)
            assert not alike(last, first)
            assert not alike(last, second)

            box = handle.bounding_box()
            visit.tab.mouse.click(box["x"] + 2, box["y"] + box["height"] / 2)
            assert handle.input_value() == "0"
            assert alike(pictures(slider), first)

            play = slider.locator(".tigerdiff-play")
            play.click()
            visit.tab.wait_for_function(
                "input => Number(input.value) >= 2", arg=handle.element_handle()
            )
            play.click()
            assert not alike(pictures(slider), first)
            assert [readout(other) for other in others] == before_elsewhere
        assert visit.foreign == []
        assert visit.errors == []


def test_without_scripts_a_slider_is_its_first_picture(browser, site_url):
    with Visit(browser, site_url, "02_forward_noising.html", java_script_enabled=False) as visit:
        figure = visit.tab.locator(SLIDER).first
        assert figure.locator("img").first.is_visible()
        assert figure.locator(".tigerdiff-readout").inner_text()
