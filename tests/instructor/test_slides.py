"""The slides: outlines name what the chapters hold, and decks work in a browser, from disk."""

import ast
import re
from urllib.parse import parse_qs, urlsplit

import nbformat
import pytest
import yaml
from execute_pages import ROOT, source_of
from outlines import LINE, book_equations, fill, numbered_chapters, outline_of, read_chapter
from pypdf import PdfReader
from repository_url import slug as slug_of

DECKS = numbered_chapters()
SHOWS = {
    "cell": r"td\.(show_images|table|wipe|player|two_way_choice|\w+_slider)\(|^slider$",
    "print": r"print\(|td\.settings\(|^timesteps\(",
}
OUTSIDE = """() => {
  const stage = document.querySelector("section.present .stage");
  const [frame, foot] = [stage, stage.querySelector(".foot")].map((x) => x.getBoundingClientRect());
  const faults = stage.scrollHeight > 720 || stage.scrollWidth > 1280 ? ["the stage scrolls"] : [];
  for (const each of stage.querySelectorAll("*")) {
    if (each.closest(".foot, mjx-assistive-mml")) continue;
    const box = each.getBoundingClientRect();
    if (!box.width || !box.height) continue;
    const inside = box.left > frame.left - 1 && box.right < frame.right - 20 && box.top > frame.top
      && box.bottom < foot.top + 3;
    if (!inside) faults.push(`${each.tagName} ${each.className} leaves the stage`);
  }
  for (const each of stage.querySelectorAll("[data-zoom]")) {
    if (each.dataset.zoom < 0.6) faults.push(`a figure is shrunk to ${each.dataset.zoom}`);
  }
  return faults;
}"""


def slides_of(name):
    return re.split(r"^---\n", outline_of(name).read_text(encoding="utf-8"), flags=re.M)


@pytest.mark.parametrize("name", DECKS)
def test_outlines_name_what_is_there(name):
    cells = {cell.id: cell for cell in nbformat.read(source_of(name), as_version=4).cells}
    questions = read_chapter(name, 1).questions
    for line in outline_of(name).read_text(encoding="utf-8").splitlines():
        if not (found := LINE.match(line)):
            assert "}`" not in line or line.startswith(("-", "The", "|")) or "{eq}" in line, line
            continue
        what, (key, *rest) = found[1], found[2].split()
        if what in ("cell", "print", "code"):
            assert cells[key].cell_type == "code", line
            assert re.search(SHOWS.get(what, ""), cells[key].source, re.M), line
        if what == "code" and rest:
            parts = [getattr(node, "name", "") for node in ast.parse(cells[key].source).body]
            assert rest[0] in parts, line
        assert what != "equation" or key in book_equations(), line
        assert what not in ("ask", "answer") or key in questions, line


@pytest.mark.parametrize("name", DECKS)
def test_each_slide_has_a_heading_and_something_to_say(name):
    slides = slides_of(name)
    assert 12 <= len(slides) <= 22
    assert slides[0].startswith("# ")
    assert "ask" in [LINE.match(x)[1] for x in "\n".join(slides).splitlines() if LINE.match(x)]
    for slide in slides:
        assert re.search(r"^#{1,2} \S", slide, re.M), slide
        notes = slide[slide.index(":::{notes}") : slide.rindex(":::")]
        assert len(notes.split()) > 8, slide
        assert "$" not in notes, "the window of the notes shows no formulas"


def test_a_fault_in_an_outline_gets_a_sentence():
    chapter = read_chapter("01_theory", 1)
    with pytest.raises(KeyError, match=r"01_theory.md: there is no equation eq-nothing"):
        fill("{equation}`eq-nothing`", chapter)
    with pytest.raises(KeyError, match=r"no question in cell fe40d9de"):
        fill("{ask}`fe40d9de`", chapter)
    with pytest.raises(ValueError, match=r"unknown line .*pictur"):
        fill("{pictur}`fe40d9de`", chapter)
    with pytest.raises(ValueError, match="the box notes has no end"):
        fill(":::{notes}\nwords", chapter)


def test_equations_have_the_numbers_of_the_book():
    assert book_equations()["eq-noise-step"] == (
        r"x_t = \sqrt{1-\beta_t}\; x_{t-1} + \sqrt{\beta_t}\;\epsilon_t",
        "1.1",
    )
    assert book_equations()["eq-closed-form"][1] == "1.3"
    assert all("$$" not in formula for formula, _ in book_equations().values())


@pytest.fixture(scope="module")
def decks(built_book):
    """The decks as make slides builds them from the book's executed pages, without the PDFs."""
    import slides

    return slides.write_decks(DECKS)


def open_deck(browser, path, **options):
    context = browser.new_context(viewport={"width": 1280, "height": 720}, **options)
    tab = context.new_page()
    tab.asked, tab.faults = [], []
    tab.on("request", lambda request: tab.asked.append(request.url))
    tab.on("requestfailed", lambda request: tab.faults.append(request.url))
    tab.on("pageerror", lambda error: tab.faults.append(str(error)))
    tab.goto(path.as_uri())
    tab.evaluate("() => window.tigerdiffSlides")
    return tab


@pytest.mark.slow
@pytest.mark.parametrize("name", DECKS)
def test_a_deck_shows_all_of_each_slide_and_asks_no_other_host(browser, decks, name):
    tab = open_deck(browser, decks[name])
    assert tab.locator("section").count() == len(slides_of(name))
    assert tab.locator("mjx-merror").count() == 0
    assert "\\(" not in tab.locator(".slides").inner_text()
    faults = {}
    for k in range(tab.locator("section").count()):
        tab.evaluate("(k) => Reveal.slide(k, 0, -1)", k)
        if found := tab.evaluate(OUTSIDE):
            faults[k + 1] = found[:3]
    assert faults == {}
    assert tab.faults == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in tab.asked)


@pytest.mark.slow
def test_keys_go_to_the_slider_or_to_the_slides(browser, decks):
    tab = open_deck(browser, decks["01_theory"])
    at = next(k for k, slide in enumerate(slides_of("01_theory")) if "e94a4a42" in slide)
    tab.evaluate("(k) => Reveal.slide(k)", at)
    slider = tab.locator("section.present input[type=range]")
    before = slider.input_value()
    slider.focus()
    tab.keyboard.press("ArrowRight")
    assert int(slider.input_value()) == int(before) + 1
    assert tab.evaluate("() => Reveal.getIndices().h") == at
    tab.keyboard.press("PageDown")  # what a remote control sends
    assert tab.evaluate("() => Reveal.getIndices().h") == at + 1
    tab.evaluate("(k) => Reveal.slide(k)", at)
    box = slider.bounding_box()
    tab.mouse.click(box["x"] + box["width"] - 5, box["y"] + box["height"] / 2)
    assert int(slider.input_value()) > int(before) + 1
    tab.keyboard.press("ArrowRight")  # the mouse has left no focus behind
    assert tab.evaluate("() => Reveal.getIndices().h") == at + 1
    tab.evaluate("(k) => Reveal.slide(k)", at)
    slider.focus()
    tab.keyboard.press("Escape")
    tab.keyboard.press("ArrowLeft")
    assert tab.evaluate("() => Reveal.getIndices().h") == at - 1


@pytest.mark.slow
def test_an_answer_comes_at_a_key_press_and_notes_in_a_window(browser, decks):
    tab = open_deck(browser, decks["07_guidance"])
    at = next(k for k, slide in enumerate(slides_of("07_guidance")) if "{answer}" in slide)
    tab.evaluate("(k) => Reveal.slide(k)", at)
    answer = tab.locator("section.present .answer")
    assert not answer.is_visible() or answer.evaluate("x => getComputedStyle(x).opacity") == "0"
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("() => Reveal.getIndices().h") == at
    assert "visible" in answer.get_attribute("class")
    with tab.context.expect_page() as opened:
        tab.keyboard.press("s")
    notes = opened.value
    notes.wait_for_selector(".speaker-controls-notes .value >> text=Misconception")


@pytest.mark.slow
@pytest.mark.parametrize("name", DECKS[:2])
def test_a_deck_prints_one_page_for_each_slide(browser, decks, name):
    import slides

    slides.print_decks(browser, [name])
    pages = PdfReader(decks[name].with_suffix(".pdf")).pages
    titles = [re.search(r"^#{1,2} (.+)", part, re.M)[1] for part in slides_of(name)]
    assert len(pages) == len(titles)
    for page, title in zip(pages, titles):
        assert (page.mediabox.width, page.mediabox.height) == (960, 540)
        assert title.split()[0] in page.extract_text()


def test_links_of_the_instructors_page_have_the_form_that_each_service_reads():
    page = (ROOT / "book/instructors.md").read_text(encoding="utf-8")
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    address, slug = config["repository"]["url"], slug_of(config["repository"]["url"])
    links = {
        urlsplit(link).hostname: urlsplit(link) for link in re.findall(r"`(https://\S+)`", page)
    }
    hub = links["hub.example.org"]
    assert hub.path == "/hub/user-redirect/git-pull"
    query = parse_qs(hub.query, strict_parsing=True)
    assert query["repo"] == [address]
    (branch,) = query["branch"]
    assert f"git push origin HEAD:refs/heads/{branch}`" in page  # nbgitpuller reads no tag
    front, folder, file = query["urlpath"][0].partition(f"/{slug[1]}/")
    assert (front, folder) == ("lab/tree", f"/{slug[1]}/")
    binder = links["mybinder.org"]
    assert binder.path == f"/v2/gh/{'/'.join(slug)}/autumn"
    shown = parse_qs(binder.query, strict_parsing=True)["urlpath"][0].removeprefix("lab/tree/")
    colab = links["colab.research.google.com"]
    assert file == shown
    place = re.search(r"`(\S+)` after `plain_notebooks`", page)[1]
    opened = colab.path.removeprefix(f"/github/{'/'.join(slug)}/blob/{place}/")
    folder = re.search(r"tools/plain_notebooks.py (\w+)`", page)[1]
    assert place == f"autumn/{folder}" and file == f"{folder}/{opened}"
    assert (ROOT / "book" / opened).is_file()


def test_the_command_that_freezes_a_version_reaches_each_chapter():
    page = (ROOT / "book/instructors.md").read_text(encoding="utf-8")
    pattern, new = re.search(r"perl -pi -e 's\|(.*)\|(.*)\|' book", page).groups()
    new = new.replace("$1", r"\1").replace(r"\@", "@")
    assignments = sorted((ROOT / "instructor/assignments/source").glob("*/*.ipynb"))
    assert "instructor/assignments/source/*/*.ipynb\n" in page and len(assignments) == 7
    for path in [*map(source_of, numbered_chapters()), *assignments]:
        text = path.read_text(encoding="utf-8")
        frozen, times = re.subn(pattern, new, text)
        assert times == 1, path
        source = nbformat.reads(frozen, as_version=4).cells[1].source
        assert re.search(r'@ git\+https://github\.com/[\w./-]+@autumn"', source), source


def test_each_chapter_has_its_minutes_misconceptions_with_exercises_and_a_discussion():
    page = (ROOT / "book/instructors.md").read_text(encoding="utf-8")
    for name in numbered_chapters():
        source = source_of(name).read_text(encoding="utf-8")
        assert re.search(rf"^\| \[\]\({name}.ipynb\) \| \d+ \| \d+ \| \S", page, re.M), name
        part = page[page.index(f"**[]({name}.ipynb)**") :].split("\n\n")[0]
        labels = re.findall(r"\{ref\}`([\w-]+)`", part)
        assert len(labels) >= 3, name
        assert all(f":label: {label}\\n" in source for label in labels), (name, labels)
        assert "*Discuss:*" in part, name
    assert {"### One day", "### Two weeks", "### Six weeks"} <= set(page.splitlines())
